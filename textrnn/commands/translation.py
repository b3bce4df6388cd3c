"""`textrnn predict` with a model from a text to another: outputs, their alignment, tables of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.actions.messages import refuse
from textrnn.errors import UserError

if TYPE_CHECKING:
    from textrnn.data.records import Record
    from textrnn.runtime.translator import Alignment, Translation, Translator

    Translated = tuple[Record, Translation | None]

STRONG = 0.1  # attention from which on a source token is listed in an alignment


def translate(
    model: Translator,
    records: Iterable[Record],
    arguments: argparse.Namespace,
    at_once: int,
    write_table: Callable[[list[str], Iterable[Any], Path], None],
) -> None:
    """Print the outputs for records, or write a table of them.

    Args:
        model: the model.
        records: records with the source texts.
        arguments: the arguments of the command.
        at_once: number of records in a batch.
        write_table: writes records with new columns to a file.
    """
    refuse(model, arguments, values="vectors", label="classifiers")
    if arguments.why:
        _explain(model, (record.text for record in records), arguments)
        return
    notes = _Notes()
    translated = _translated(model, records, arguments.beams, at_once, notes)
    if arguments.output:
        write_table(["output", "score"], translated, arguments.output)
        print(arguments.output)
    else:
        for number, (record, found) in enumerate(translated, 1):
            if arguments.json:
                facts = found.to_dict() if found else {"reason": "empty text"}
                output = {"record": number, "source": record.text, **{"text": None, **facts}}
                print(json.dumps(output, ensure_ascii=False), flush=True)
            else:
                print(str(found) if found else "", flush=True)
    for note in notes.lines():
        print(note, file=sys.stderr)


class _Notes:
    """What a user should know of outputs."""

    def __init__(self) -> None:
        self.empty = self.longer = self.cut = 0

    def lines(self) -> Iterator[str]:
        if self.empty:
            yield f"without an output: {self.empty:,} empty texts"
        if self.longer:
            yield f"{self.longer:,} texts are longer than any in training: their outputs are uncertain"
        if self.cut:
            yield f"{self.cut:,} outputs did not end and were cut at the longest length in training"


def _translated(
    model: Translator, records: Iterable[Record], beams: int | None, at_once: int, notes: _Notes
) -> Iterator[Translated]:
    """Yield each record with its output, None for a blank text."""
    options: dict[str, Any] = {} if beams is None else {"beams": beams}
    records = iter(records)
    while batch := list(islice(records, at_once)):
        found = iter(model.transform([record.text for record in batch if record.text.strip()], **options))
        for record in batch:
            output = next(found) if record.text.strip() else None
            notes.empty += output is None
            notes.longer += output is not None and output.is_longer
            notes.cut += output is not None and not output.is_whole
            yield record, output


def _explain(model: Translator, texts: Iterator[str], arguments: argparse.Namespace) -> None:
    options: dict[str, Any] = {} if arguments.beams is None else {"beams": arguments.beams}
    for number, text in enumerate(texts):
        if arguments.png and number:
            raise UserError("--png draws one text, was given several; give one")
        alignment = model.align(text, **options)
        if arguments.png:
            from textrnn.metrics.text_to_text import draw_alignment

            draw_alignment(alignment.source, alignment.output, alignment.weights, arguments.png)
        if arguments.json:
            print(json.dumps(alignment.to_dict(), ensure_ascii=False))
        else:
            print("\n".join(_table(alignment)))


def _table(alignment: Alignment) -> Iterator[str]:
    """Yield a line for each output token: the source tokens that it was made from, the strongest first."""
    width = max((len(token) for token in alignment.output), default=0)
    for token, weights in zip(alignment.output, alignment.weights, strict=True):
        order = sorted(range(len(weights)), key=lambda place: -weights[place])
        strong = [place for place in order if weights[place] >= STRONG] or order[:1]
        parts = "  ".join(f"{alignment.source[place]!r} ({place + 1}) {weights[place]:.0%}" for place in strong)
        yield f"{token:{width}}  <-  {parts}"
