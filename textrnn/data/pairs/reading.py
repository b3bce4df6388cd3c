"""Pairs of texts from sources: two columns of a table, or lines ``source<TAB>target``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, NamedTuple

from textrnn.config import DataConfig
from textrnn.data.hugging_face import read_parquet
from textrnn.data.records import SourceOptions, require_columns
from textrnn.data.sources import Files, find
from textrnn.data.tables import delimited_rows, header, read_json
from textrnn.data.text_files import text_suffix, whole_lines
from textrnn.errors import UserError
from textrnn.platforms import quoted

SAMPLED_ROWS = 200  # read to find whether the first line names the columns
FEWEST_ROWS = 5  # fewer can differ from the first line by chance
RECORDS = {".json": read_json, ".jsonl": read_json, ".parquet": read_parquet}


class Pair(NamedTuple):
    """A source text and its target."""

    source: str
    target: str


@dataclass(frozen=True)
class PairOptions(SourceOptions):
    """How the two texts of a pair are found; `label` is the column of the target."""

    answer: ClassVar[str] = "target"


def pair_options(data: DataConfig) -> PairOptions:
    """Return how the pairs of a run are read."""
    return PairOptions(text=data.text, errors=data.errors, label=data.target)


def read_pairs(sources: Sequence[str], options: PairOptions, skipped: Counter[str]) -> Iterator[Pair]:
    """Yield pairs of texts, in order. Those with an empty side are skipped and counted.

    A table without a header that names the columns is read as pairs if it has two columns and no column is named by an
    option. Its first line is left out if a side of it is in another script than all other lines. Other text files have
    a pair a line, its sides separated by a tab.

    Args:
        sources: files, folders or Hugging Face ids.
        options: names of the columns.
        skipped: counter of skipped pairs by kind, updated in place.

    Raises:
        UserError: a source is missing, cannot be read as the type of its suffix, lacks a column or a tab, or has no
            pair.
    """
    for source in sources:
        found = False
        for pair in _of_source(source, options):
            if not pair.source.strip() or not pair.target.strip():
                skipped[f"pairs with an empty {'target' if pair.source.strip() else 'source'}"] += 1
            else:
                found = True
                yield Pair(pair.source.strip(), pair.target.strip())
        if not found:
            raise UserError(
                f"a source must hold pairs of texts, found none in: {source}; give a table with the columns"
                f" {options.text} and {options.label}, or lines of a source, a tab and its target"
            )


def pair_notes(sources: Sequence[str], options: PairOptions) -> list[str]:
    """Return a note for each table that is read as pairs from its first line on."""
    notes = []
    for source in sources:
        located = find(source)
        for path in located.paths if isinstance(located, Files) else ():
            if text_suffix(path) in (".csv", ".tsv"):
                rows = (row for _, row in delimited_rows(path, options.errors))
                first = next(rows, [])
                if not _is_headless(first, options):
                    continue
                source, target = map(quoted, first)
                if _has_names(first, rows):
                    note = (
                        f"the first line, {first[0]} and {first[1]}, is read as names, because it is in another script"
                    )
                else:
                    note = f"no column is called {options.text}, so every line is a pair, the first one too; if it has"
                    note += f" names: --text {source} --target {target}"
                notes.append(f"{path}: {note}")
    return notes


def _of_source(source: str, options: PairOptions) -> Iterator[Pair]:
    if source == "builtin":
        raise UserError("text_to_text needs pairs of texts, has none of its own; give a SOURCE")
    located = find(source)
    if not isinstance(located, Files):
        yield from (Pair(record.text, record.label) for record in located.records(options, Counter()))
        return
    for path in located.paths:
        if text_suffix(path) in (".csv", ".tsv"):
            yield from _of_table(path, options)
        elif text_suffix(path) in RECORDS:
            yield from (Pair(record.text, record.label) for record in RECORDS[text_suffix(path)](path, options))
        else:
            yield from _of_lines(path, options)


def _of_table(path: Path, options: PairOptions) -> Iterator[Pair]:
    rows: Iterator[list[str]] = (row for _, row in delimited_rows(path, options.errors))
    first = next(rows, None)
    if first is None:
        return
    names = header(first)
    is_headless = _is_headless(first, options)
    if is_headless:
        sample = list(islice(rows, SAMPLED_ROWS))
        rows = chain(sample if _has_names(first, sample) else [first, *sample], rows)
        names = ["1", "2"]
    elif all(name.isdecimal() for name in options.columns) and not set(options.columns) <= set(names):
        names, rows = [str(number) for number in range(1, len(first) + 1)], chain([first], rows)
    columns = ["1", "2"] if is_headless else options.columns
    if not is_headless:
        require_columns(path, names, options)
    source, target = (names.index(name) for name in columns)
    for row in rows:
        yield Pair(row[source], row[target])


def _is_headless(first: Sequence[str], options: PairOptions) -> bool:
    """Return whether a table with this first row is pairs without a header."""
    defaults = [DataConfig().text, DataConfig().target]
    return len(first) == 2 and options.columns == defaults and not {*defaults} & {*header(first)}


def _has_names(first: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Return whether a first line names its columns: some name is in ASCII letters, which no row has, or in others."""
    sample = list(islice(rows, SAMPLED_ROWS))
    return len(sample) >= FEWEST_ROWS and any(
        _is_a_name(name, [row[place] for row in sample]) for place, name in enumerate(first)
    )


def _is_a_name(name: str, others: Sequence[str]) -> bool:
    letters = [character for character in name if character.isalpha()]
    has_ascii = [any(character.isascii() for character in field if character.isalpha()) for field in others]
    if any(map(str.isascii, letters)):
        return not any(has_ascii)
    return (
        bool(letters) and all(has_ascii) and all(each.isascii() for field in others for each in field if each.isalpha())
    )


def _of_lines(path: Path, options: PairOptions) -> Iterator[Pair]:
    for number, line in enumerate(whole_lines(path, options.errors), 1):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        source, *targets = text.split("\t")
        if len(targets) != 1:
            raise UserError(
                f"a line must be a source, a tab and its target, {path} line {number} has {len(targets)} tabs:"
                f" {text!r:.60}; mend it, or give a table: .csv, .tsv, .jsonl"
            )
        yield Pair(source, targets[0])
