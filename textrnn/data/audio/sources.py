"""Sources of recordings: a folder with a folder for each class, a table of paths and labels or texts, or one file.

A table is .csv, .tsv, .json or .jsonl, or a .txt of lines with a tab. Its paths are relative to its folder. A folder
with tables is read by its tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.config import DataConfig
from textrnn.data.audio.recordings import SUFFIXES, AudioFormat, SilentRecording, sample_rate_of
from textrnn.data.records import label_value
from textrnn.data.sources import Files, find
from textrnn.data.tables import delimited_rows, header, json_objects
from textrnn.data.text_files import text_suffix
from textrnn.data.vector_sources import VectorOptions, vector_options
from textrnn.errors import UserError

TABLES = (".csv", ".tsv", ".json", ".jsonl")
HIGHEST_RATE = 16_000  # that is chosen; speech has little above 8 kHz


class Labelled(NamedTuple):
    """A recording of a source.

    Attributes:
        path: its file.
        place: for messages.
        label: empty where there is none.
        group: empty where no group is read.
    """

    path: Path
    place: str
    label: str = ""
    group: str = ""


class Columns(NamedTuple):
    """The columns of a table of recordings.

    Attributes:
        recording: the paths; if the table lacks it, its only column of names of recordings is taken.
        label: the labels, or the transcripts; empty where none are read.
        group: what is held out together; empty where nothing is.
        answer: what `label` is, ``label`` or ``text``: its setting is ``data.label`` or ``data.text``.
    """

    recording: str
    label: str
    group: str = ""
    answer: str = "label"


def find_recordings(source: str, columns: Columns, skipped: Counter[str]) -> Iterator[Labelled]:
    """Yield the recordings that a source names, without reading them. Other files of a folder are counted.

    Raises:
        UserError: the source is missing, is no recording, folder or table, or a table lacks a column.
    """
    located = _files(source)
    tables = _tables(located)
    for path in tables:
        yield from _of_table(path, columns)
    if tables:
        return
    if columns.answer == "text":
        raise UserError(
            f"transcripts are read from a table of recordings, {source} has none; write one with the columns "
            f"{columns.recording} and {columns.label}, or lines of a path, a tab and its transcript"
        )
    if columns.group:
        raise UserError(
            f"data.group names a column of a table of recordings, {source} has no table; write one with the columns "
            f"{columns.recording}, {columns.label or 'label'}, {columns.group}"
        )
    for path in located.paths:
        inner = path.relative_to(located.folder).parts
        if text_suffix(path) not in SUFFIXES:
            skipped["files that are no recordings"] += 1
        else:
            yield Labelled(path, str(path), label_value(path, inner[0]) if len(inner) > 1 else "")


@dataclass(frozen=True)
class AudioSources:
    """How sources of recordings are read; see `textrnn.data.vector_sources.Recordings`.

    Args:
        format: how a recording becomes frames.
        recording: column of a table that holds the paths.
        group: column of what is held out together; empty for none.
    """

    format: AudioFormat
    recording: str
    group: str = ""

    def records(
        self, source: str, label: str, skipped: Counter[str]
    ) -> Iterator[tuple[str, NDArray[np.float32], str, str]]:
        for path, place, name, group in find_recordings(source, self._columns(label), skipped):
            try:
                frames = self.format.frames(path, place)
            except SilentRecording:
                if not label:  # whoever asks for predictions wants one for each
                    raise
                skipped["silent recordings"] += 1
                continue
            yield place, frames, name, group

    def identity(self, source: str, label: str) -> list[Any]:
        return identity(source, self._columns(label))

    def _columns(self, label: str) -> Columns:
        return Columns(self.recording, label, self.group)


def reading_options(data: DataConfig) -> VectorOptions:
    """Return the options of reading the sources of a run, of vectors or recordings."""
    if data.reads != "audio":
        return vector_options(data)
    return vector_options(data, AudioSources(AudioFormat(data.sample_rate, data.mel_bins), data.recording, data.group))


def identity(source: str, columns: Columns) -> list[Any]:
    """Return JSON values that identify the recordings of a source, and the tables that name them."""
    located = _files(source)
    if tables := _tables(located):
        named = tuple(dict.fromkeys(found.path for found in find_recordings(source, columns, Counter())))
        return [replace(located, paths=tuple(tables)).identity(), Files(Path(), named).identity()]
    return located.identity()


def with_sample_rate(data: DataConfig) -> tuple[DataConfig, list[str]]:
    """Return the settings with the lowest sample rate of the recordings to train on, and a note that says so.

    Raises:
        UserError: there are no recordings, or one is missing or no recording.
    """
    if data.sample_rate:
        return data, []
    columns = Columns(data.recording, "")
    rates = Counter(
        sample_rate_of(found.path) for source in data.source for found in find_recordings(source, columns, Counter())
    )
    if not rates:
        raise UserError(
            f"a source must hold some recordings ({', '.join(SUFFIXES)}), found none in: {', '.join(data.source)}; "
            "give a folder with a folder for each class, or a table of paths and labels or texts"
        )
    rate = min(HIGHEST_RATE, *rates)
    several = f", those to train on have {', '.join(f'{each:,}' for each in sorted(rates))}" if len(rates) > 1 else ""
    return replace(data, sample_rate=rate), [f"recordings are read at {rate:,} samples a second{several}"]


def _files(source: str) -> Files:
    located = find(source) if source != "builtin" else None
    if not isinstance(located, Files):
        raise UserError(
            f"recordings are read from files, was: {source!r}; give a folder with a folder for each class, or a table "
            "of paths and labels or texts"
        )
    return located


def _tables(located: Files) -> list[Path]:
    """Return the tables of a source; a .txt is one if it is the source itself, no file of a folder."""
    suffixes = TABLES if located.is_folder else (*TABLES, ".txt")
    return [path for path in located.paths if text_suffix(path) in suffixes]


def _of_table(path: Path, columns: Columns) -> Iterator[Labelled]:
    names: list[str] = []
    recording = answer = ""
    for place, record in _records(path, columns):
        if not names or not {*names} <= record.keys():
            recording = _column_of_paths(place, record, columns)
            answer = _column_of_answers(record, recording, columns)
            names = [recording, *filter(None, (answer, columns.group))]
            roles = ("recording", columns.answer, "group")
            for what, name in zip(roles, (recording, answer, columns.group), strict=True):
                if name and name not in record:
                    raise UserError(
                        f"the {what} column must be one of {', '.join(record)!r:.200} in {place}, was: {name!r}; name "
                        f"the column: data.{what}=NAME"
                    )
        value = record[recording]
        if not isinstance(value, str) or not value.strip():
            raise UserError(
                f"the column {recording} must hold paths of recordings, {place} has: {value!r:.60}; mend it"
            )
        label, group = (label_value(place, record[name]) if name else "" for name in (answer, columns.group))
        if columns.answer == "text" and isinstance(record[answer], str):  # as written: 7.0 is no number here
            label = " ".join(record[answer].split())
        if columns.group and not group:
            raise UserError(f"every record needs a group where data.group is set, {place} has none; fill it in")
        yield Labelled(path.parent / value.strip(), f"{value.strip()} ({place})", label, group)


def _column_of_paths(place: str, record: dict[str, Any], columns: Columns) -> str:
    """Return the named column, or the only one whose value ends as the name of a recording does."""
    if columns.recording in record:
        return columns.recording
    found = [name for name, value in record.items() if str(value).lower().endswith(SUFFIXES)]
    return found[0] if len(found) == 1 else columns.recording


def _column_of_answers(record: dict[str, Any], recording: str, columns: Columns) -> str:
    """Return the column of labels or transcripts; where none is named text, the only other one has the transcripts."""
    others = [name for name in record if name not in (recording, columns.group)]
    is_named = columns.label in record or columns.label != "text"
    return columns.label if is_named or len(others) != 1 else others[0]


def _records(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of a table. One without a header has one or two columns; its first row names a recording."""
    if text_suffix(path) in (".json", ".jsonl"):
        yield from json_objects(path, "strict")
        return
    names: Sequence[str] = ()
    for line, row in delimited_rows(path, "strict"):
        if not names and len(row) <= 2 and row[0].strip().lower().endswith(SUFFIXES):
            names = (columns.recording, columns.label or columns.answer)[: len(row)]
        elif not names:
            names = header(row)
            continue
        yield f"{path} line {line}", dict(zip(names, row, strict=True))
