"""`textrnn predict`: labels of texts, labels or values of sequences of vectors, and texts from texts."""

from __future__ import annotations

import argparse
import codecs
import csv
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.actions.messages import refuse, say_how_tables_are_read
from textrnn.commands.arguments import add_command, add_reading_options
from textrnn.commands.translation import translate
from textrnn.errors import UserError
from textrnn.files import write_atomically

if TYPE_CHECKING:
    from textrnn.classification import TextPrediction
    from textrnn.data.records import Record
    from textrnn.runtime.audio_classifier import AudioClassifier
    from textrnn.runtime.text_classifier import Classifier
    from textrnn.runtime.translator import Translator
    from textrnn.runtime.vector_models import Regressor, VectorClassifier

    Classified = tuple[Record, TextPrediction | None]


CLASSIFIED_AT_ONCE = 256  # records in a batch
RECORDINGS_AT_ONCE = 32
TABLES = (".csv", ".jsonl")  # that --output writes


def add_predict(commands: Any) -> None:
    """Add the command and its arguments."""
    predict = add_command(
        commands,
        "predict",
        predict_command,
        "predict labels or values, one JSON object a line, or a short line on a terminal; or texts, one a line",
        model=True,
        repeated="texts",
        alias="classify",
    )
    predict.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input), or recordings"
    )
    predict.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="one text a line, or a table (.csv, .jsonl, ...); vectors: .npz and IDX too. Every record gives one row",
    )
    predict.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the table of --input with the predictions as new columns: .csv or .jsonl",
    )
    add_reading_options(predict)
    predict.add_argument("--text", metavar="COLUMN", help="text column of --input (default: as in training)")
    predict.add_argument(
        "--why",
        action="store_true",
        help="explain: the contribution of each token to the label, or the source tokens of each output token",
    )
    predict.add_argument(
        "--label", metavar="LABEL", help="with --why: the label to explain (default: the most probable)"
    )
    predict.add_argument("--png", type=Path, metavar="FILE", help="with --why: save the explanation as a picture")
    predict.add_argument(
        "--beams", type=int, metavar="N", help="text to text: hypotheses of the beam search (default: 4; 1 is greedy)"
    )
    predict.add_argument(
        "--json", action="store_true", help="print JSON on a terminal too; text to text: the best outputs with scores"
    )


def predict_command(arguments: argparse.Namespace) -> None:
    from textrnn.runtime.load import load, require_classifier
    from textrnn.runtime.translator import Translator
    from textrnn.runtime.vector_models import Regressor, VectorClassifier

    loaded = load(arguments.model)
    if not isinstance(loaded, Translator):
        refuse(loaded, arguments, beams="text to text")
    if isinstance(loaded, VectorClassifier | Regressor):
        _classify_vectors(loaded, arguments)
        return
    model = loaded if isinstance(loaded, Translator) else require_classifier(loaded, arguments.model)
    refuse(model, arguments, values="vectors")
    for option in ("png", "label"):
        if getattr(arguments, option) and not arguments.why:
            raise UserError(f"--{option} is of what --why says; give both")
    if arguments.text and not arguments.input:
        raise UserError("--text is of the records of --input FILE; give both")
    if arguments.output and arguments.why:
        raise UserError("--output writes labels, --why shows one text at a time, both were given; leave one out")
    if arguments.output and arguments.output.suffix.lower() not in TABLES:
        raise UserError(f"--output must end in {' or '.join(TABLES)}, was: {arguments.output}; rename it")
    records = _records_to_classify(model, arguments)
    is_typed = not (arguments.texts or arguments.input) and sys.stdin is not None and sys.stdin.isatty()
    at_once = 1 if is_typed else CLASSIFIED_AT_ONCE
    if isinstance(model, Translator):
        translate(model, records, arguments, at_once, _write_table)
        return
    if arguments.why:
        _explain(model, (record.text for record in records), arguments)
        return
    skipped: Counter[str] = Counter()
    classified = _classified(model, records, skipped, at_once)
    if arguments.output:
        _write_table(model.columns(), classified, arguments.output)
        print(arguments.output)
    else:
        width = max(len(label) for label in model.labels) + 5
        for number, (record, prediction) in enumerate(classified, 1):
            if _is_for_a_person(arguments):
                summary = prediction.summary() if prediction else "empty text"
                print(f"{summary:<{width}}  {record.text}", flush=True)
                continue
            facts = prediction.to_dict() if prediction else {**model.no_prediction, "reason": "empty text"}
            print(json.dumps({"record": number, "text": record.text, **facts}, ensure_ascii=False), flush=True)
    if skipped:
        print(f"without a label: {skipped['empty']:,} of {skipped.total():,} texts, which are empty", file=sys.stderr)


def _is_for_a_person(arguments: argparse.Namespace) -> bool:
    return not arguments.json and sys.stdout is not None and sys.stdout.isatty()


def _classify_vectors(model: VectorClassifier | Regressor, arguments: argparse.Namespace) -> None:
    from textrnn.config import data_of_bundle
    from textrnn.data.labels import describe
    from textrnn.data.vector_sources import read_unlabelled, vector_options
    from textrnn.metrics.evaluation import in_batches
    from textrnn.runtime.audio_classifier import AudioClassifier
    from textrnn.runtime.vector_models import VectorClassifier

    refuse(model, arguments, **dict.fromkeys(("why", "label", "png", "text", "output"), "classifiers of texts"))
    if isinstance(model, AudioClassifier):
        _classify_recordings(model, arguments)
        return
    if arguments.texts or str(arguments.input or "-") == "-":
        was = f"text: {arguments.texts[0]!r:.60}" if arguments.texts else "none"
        raise UserError(f"{arguments.model} reads vectors of a file, was given {was}; give --input FILE")
    options = vector_options(data_of_bundle(model.manifest.runtime))
    given = {"values": tuple(arguments.values), "errors": arguments.errors}
    options = replace(options, **{name: value for name, value in given.items() if value})
    skipped: Counter[str] = Counter()
    say_how_tables_are_read([str(arguments.input)])
    records = read_unlabelled(str(arguments.input), options, skipped, model.features)
    for batch in in_batches(records, CLASSIFIED_AT_ONCE):
        sequences = [sequence for sequence, _ in batch]
        if isinstance(model, VectorClassifier):
            classified = model.classify(sequences, arranged=True)
            rows = [(prediction.to_dict(), prediction.summary()) for prediction in classified]
        else:  # by way of their digits: as many as float32 has
            values = [list(map(str, row)) for row in model.predict(sequences, arranged=True)]
            rows = [({"values": list(map(float, row))}, " ".join(row)) for row in values]
        for (_, number), (facts, summary) in zip(batch, rows, strict=True):
            if _is_for_a_person(arguments):
                print(f"{number:>6}  {summary}", flush=True)
            else:
                print(json.dumps({"record": number, **facts}, ensure_ascii=False), flush=True)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)


def _classify_recordings(model: AudioClassifier, arguments: argparse.Namespace) -> None:
    from textrnn.config import data_of_bundle
    from textrnn.data.audio.sources import Columns, find_recordings
    from textrnn.data.labels import describe

    refuse(model, arguments, values="vectors", errors="texts")
    if bool(arguments.texts) == bool(arguments.input):
        was = "both" if arguments.texts else "none"
        raise UserError(f"{arguments.model} reads recordings or --input FILE, was given {was}; give one of them")
    skipped: Counter[str] = Counter()
    if arguments.input:
        columns = Columns(data_of_bundle(model.manifest.runtime).recording, "")
        paths = (str(found.path) for found in find_recordings(str(arguments.input), columns, skipped))
    else:
        paths = iter(arguments.texts)
    number, width = 0, max(map(len, model.labels)) + 5
    while batch := list(islice(paths, RECORDINGS_AT_ONCE)):
        for path, prediction in zip(batch, model.classify(batch), strict=True):
            number += 1
            if _is_for_a_person(arguments):
                print(f"{prediction.summary():<{width}}  {path}", flush=True)
                continue
            facts = {"record": number, "path": path, **prediction.to_dict()}
            print(json.dumps(facts, ensure_ascii=False), flush=True)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)


def _records_to_classify(model: Classifier | Translator, arguments: argparse.Namespace) -> Iterator[Record]:
    """Yield the arguments, or the records or lines of a file, or the lines of standard input, as records."""
    from textrnn.config import data_of_bundle
    from textrnn.data.records import Record, SourceOptions
    from textrnn.data.sources import read_rows

    if arguments.texts and arguments.input:
        raise UserError("classify takes texts or --input FILE, was given both; leave one out")
    data = data_of_bundle(model.manifest.runtime)
    options = SourceOptions(text=arguments.text or data.text, errors=arguments.errors or data.errors)
    if arguments.input and str(arguments.input) != "-":
        say_how_tables_are_read([str(arguments.input)])
        return read_rows(str(arguments.input), options)
    texts = arguments.texts or _lines_of_standard_input(options.errors)
    return (Record(text, names=("text",), values=(text,)) for text in texts)


def _lines_of_standard_input(errors: str) -> Iterator[str]:
    """Yield its lines without their ends, read as a file is: UTF-8 whatever the locale, without a byte order mark."""
    if sys.stdin is None:
        raise UserError("classify reads standard input, it is closed; give texts or --input FILE")
    if sys.stdin.isatty():
        print("a text a line, Ctrl-D ends", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise UserError(
                f"text must be UTF-8, line {number} of standard input has the byte 0x{error.object[error.start]:02x}; "
                "convert it, or go on with --errors replace"
            ) from error
        yield text.rstrip("\r\n")


def _classified(
    model: Classifier, records: Iterable[Record], counts: Counter[str], at_once: int = CLASSIFIED_AT_ONCE
) -> Iterator[Classified]:
    """Yield each record with its prediction, None of a text that is empty or blank, as training leaves out such ones.

    Args:
        model: the classifier.
        records: the records.
        counts: filled when an empty text was found: ``empty`` and ``other`` texts.
    """
    records, read, empty = iter(records), 0, 0
    while batch := list(islice(records, at_once)):
        predictions = iter(model.classify(record.text for record in batch if record.text.strip()))
        for record in batch:
            read += 1
            empty += not record.text.strip()
            yield record, next(predictions) if record.text.strip() else None
    if empty:
        counts.update(empty=empty, other=read - empty)


def _write_table(added: Sequence[str], classified: Iterable[Classified], path: Path) -> None:
    """Write records with the columns `added` of their predictions.

    Raises:
        UserError: a record has one of these columns, or for a .csv other columns than the first; or the disk refuses.
    """
    is_csv, header = path.suffix.lower() == ".csv", tuple[str, ...]()
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for number, (record, prediction) in enumerate(classified, 1):
            names, values = (*record.names, *added), list[Any](record.values)
            if taken := sorted(set(record.names) & set(added)):
                raise UserError(
                    f"--output adds the column {taken[0]!r}, record {number} has it already; rename it first"
                )
            values += list(prediction.columns().values()) if prediction else [None for _ in added]
            if not is_csv:
                row = dict(zip(names, values, strict=True))
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                continue
            if not header:
                table.writerow(names)
                header = names
            if names != header:
                raise UserError(
                    f"records of a .csv must have the columns of the first, record {number} has "
                    f"{', '.join(record.names)!r:.200}; give --output FILE.jsonl"
                )
            table.writerow(
                json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value
                for value in values
            )


def _explain(model: Classifier, texts: Iterator[str], arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from textrnn.explanation import draw, to_terminal

    for number, text in enumerate(texts):
        if arguments.png and number:
            raise UserError("--png draws one text, was given several; give one")
        with tqdm(desc="reading", unit="text", disable=arguments.json, delay=1, leave=False, file=sys.stderr) as bar:
            explanation = model.explain(text, arguments.label, bar.update)
        if arguments.png:
            draw(explanation, arguments.png)
        if arguments.json:
            print(json.dumps(explanation.to_dict(), ensure_ascii=False))
        else:
            width = shutil.get_terminal_size().columns
            print(to_terminal(explanation, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ, width=width))
