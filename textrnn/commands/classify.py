"""`textrnn classify`: labels of texts, and labels or values of sequences of vectors."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from textrnn.commands.messages import refuse
from textrnn.errors import UserError

if TYPE_CHECKING:
    from textrnn.runtime import Classifier
    from textrnn.vector_runtime import Regressor, VectorClassifier


CLASSIFIED_AT_ONCE = 256  # texts or other records, of which the first is told when all are read


def classify_command(arguments: argparse.Namespace) -> None:
    from textrnn.runtime import load, require_classifier
    from textrnn.vector_runtime import Regressor, VectorClassifier

    loaded = load(arguments.model)
    if isinstance(loaded, VectorClassifier | Regressor):
        _classify_vectors(loaded, arguments)
        return
    model = require_classifier(loaded, arguments.model)
    for option in ("png", "label"):
        if getattr(arguments, option) and not arguments.why:
            raise UserError(f"--{option} is of what --why says; give both")
    if arguments.column and not arguments.input:
        raise UserError("--column is of the records of --input FILE; give both")
    texts = _texts_to_classify(arguments)
    if arguments.why:
        _explain(model, texts, arguments)
        return
    while batch := list(islice(texts, CLASSIFIED_AT_ONCE)):
        for text, prediction in zip(batch, model.classify(batch), strict=True):
            print(json.dumps({"text": text, **prediction.to_dict()}, ensure_ascii=False), flush=True)


def _classify_vectors(model: VectorClassifier | Regressor, arguments: argparse.Namespace) -> None:
    from textrnn.config import data_of_bundle
    from textrnn.train.evaluation import in_batches
    from textrnn.train.labelled import describe
    from textrnn.train.run import vector_options
    from textrnn.train.vector_sources import read_unlabelled
    from textrnn.vector_runtime import VectorClassifier

    refuse(model, arguments, why="classifiers of texts", label="classifiers of texts", png="classifiers of texts")
    if arguments.text or str(arguments.input or "-") == "-":
        was = f"text: {arguments.text[0]!r:.60}" if arguments.text else "none"
        raise UserError(f"{arguments.model} reads vectors of a file, was given {was}; give --input FILE")
    options = replace(vector_options(data_of_bundle(model.manifest.runtime_section("data"))), errors="replace")
    if arguments.column:
        options = replace(options, values=(arguments.column,))
    skipped: Counter[str] = Counter()
    records = read_unlabelled(str(arguments.input), options, skipped, model.features)
    for batch in in_batches(records, CLASSIFIED_AT_ONCE):
        sequences, told = [sequence for sequence, _ in batch], list[dict[str, Any]]()
        if isinstance(model, VectorClassifier):
            told = [prediction.to_dict() for prediction in model.classify(sequences, arranged=True)]
        else:  # by way of their digits: as many as float32 has
            values = model.predict(sequences, arranged=True)
            told = [{"values": [float(str(value)) for value in row]} for row in values]
        for (_, number), facts in zip(batch, told, strict=True):
            print(json.dumps({"record": number, **facts}, ensure_ascii=False), flush=True)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)


def _texts_to_classify(arguments: argparse.Namespace) -> Iterator[str]:
    """Arguments, or the records or lines of a file, or the lines of standard input."""
    if arguments.text and arguments.input:
        raise UserError("classify takes texts or --input FILE, was given both; leave one out")
    if arguments.text:
        return iter(arguments.text)
    if arguments.input and str(arguments.input) != "-":
        from textrnn.train.sources import SourceOptions, read_whole

        options = SourceOptions(text=arguments.column or "text", errors="replace", documents="line")
        return read_whole([str(arguments.input)], options)
    if isinstance(sys.stdin, io.TextIOWrapper):  # read as a file is, whatever the locale
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    if sys.stdin.isatty():
        print("a text a line, Ctrl-D ends", file=sys.stderr)
    return (line.rstrip("\r\n") for line in sys.stdin)


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
