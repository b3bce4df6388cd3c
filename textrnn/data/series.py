"""Time series: one vector of numbers per time step, with the last steps held out.

A source is a string, as in `textrnn.data.sources`. Several sources or files are concatenated. These are read:

* ``.csv`` and ``.tsv``: one time step per line. The values are in the named columns. By default these are all columns
  with numbers, without a first column that counts the rows. A number may have a decimal comma if the delimiter is not a
  comma, separated thousands, and the sign of a currency or of percent. Lines of empty fields are skipped. If the first
  line has a number, it is a record, and the columns are named by number, from 1;
* ``.npz``: the named array, else the only array, else ``x``. Its shape is ``(time,)`` or ``(time, features)``;
* ``.json``, ``.jsonl`` and ``.parquet``, and Hugging Face datasets: one time step per record. A column has a number or
  a list of numbers.

A column of dates is not a feature. It sets the time order of the steps.

A missing value is an error: only the user knows how to fill it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.data.columns import (
    Reader,
    counts,
    is_compact_dates,
    number_with_comma,
    order_in_time,
    order_of_count,
    plain_number,
    reader_of,
)
from textrnn.data.hugging_face import HubDataset, reading_parquet, record_batches
from textrnn.data.records import first_line
from textrnn.data.sources import find
from textrnn.data.tables import delimited_rows, delimiter_of, json_objects
from textrnn.data.text_files import text_suffix
from textrnn.data.vectors import require_width, to_numbers
from textrnn.errors import UserError

RECORDS_AT_ONCE = 1000
SHORTEST_TRAINING = 3  # steps besides the horizon: two to measure a standard deviation, one to forecast from
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Series:
    """A time series: the training part, followed in time by the held-out part.

    Attributes:
        values: float32 ``(time, features)``.
        training: number of training steps, the first steps of `values`.
        columns: names of the features.
        mean: float32 ``(features,)``, mean of the training part.
        scale: float32 ``(features,)``, standard deviation of the training part; 1 for a constant feature.
        notes: notes of `read_series`.
    """

    values: Array
    training: int
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def features(self) -> int:
        return int(self.values.shape[1])

    @property
    def mean(self) -> Array:
        mean: NDArray[np.float64] = self.values[: self.training].mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)

    @property
    def scale(self) -> Array:
        deviation = self.values[: self.training].std(axis=0, dtype=np.float64).astype(np.float32)
        return np.where(deviation > 0, deviation, np.float32(1))

    @property
    def source_fingerprint(self) -> str:
        """The SHA-256, in hexadecimal digits, of the values and the number of training steps."""
        return hashlib.sha256(f"{self.values.shape} {self.training} ".encode() + self.values.tobytes()).hexdigest()

    def __str__(self) -> str:
        names = ", ".join(self.columns)
        return f"{self.training:,} steps to train on, {len(self.values) - self.training:,} held out, of: {names:.200}"


def prepare_series(
    sources: Sequence[str],
    columns: Sequence[str],
    *,
    held_out: float,
    validation: Sequence[str] = (),
    horizon: int,
) -> Series:
    """Read a time series and split it into a training and a held-out part.

    Args:
        sources: files, folders or Hugging Face ids, in time order.
        columns: names of the columns of numbers; if empty, they are detected.
        held_out: fraction of the last steps to hold out if there is no `validation`; at least `horizon` steps are held
            out.
        validation: sources of the held-out part, which follows `sources` in time.
        horizon: forecast horizon: steps predicted at each time step.

    Raises:
        UserError: an error of `read_series`, or the series is too short to train on or to evaluate a forecast.
    """
    notes: list[str] = []
    values, names = read_series(sources, columns, notes)
    whole = len(values)
    count = 0 if validation else max(horizon, round(held_out * whole))
    training = whole - count
    if validation:
        later, _ = read_series(validation, columns, notes)
        require_width(later, values.shape[1], ", ".join(validation), f"the training part {names} has")
        values = np.concatenate([values, later])
    needed = horizon + SHORTEST_TRAINING
    if training < needed or len(values) - training < horizon:
        held_back = "" if validation else f", {horizon:,} more to measure a forecast on"
        held_out_now = f" and {len(values) - training:,} held out" if validation else ""
        most = max(1, whole - SHORTEST_TRAINING if validation else (whole - SHORTEST_TRAINING) // 2)
        raise UserError(
            f"a series must have at least {needed:,} steps to train on{held_back}, model.horizon is {horizon:,} and "
            f"the series has {whole:,} steps{held_out_now}; give more steps or set model.horizon to"
            f" {most:,} or less"
        )
    return Series(values, training, names, tuple(notes))


def read_series(
    sources: Sequence[str], columns: Sequence[str] = (), notes: list[str] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """Return the values of sources in time order, float32 ``(time, features)``, and the names of the features.

    Args:
        sources: files, folders or Hugging Face ids, in time order.
        columns: names of the columns of numbers; if empty, they are detected.
        notes: list that gets one line for each date or counter column that is left out and for each change of order.

    Raises:
        UserError: a source is missing, cannot be read as the type of its suffix, or lacks a column; no column has
            numbers; a value is missing or not finite. The message names the line.
    """
    tables = [table for source in sources for table in _tables(source, columns)]
    if not tables:
        raise UserError(f"a series must be in a file ({', '.join(_READERS)}), found none in: {', '.join(sources)}")
    if notes is not None:
        notes += [f"{table.place}: {note}" for table in tables for note in table.notes]
    first = tables[0]
    for table in tables[1:]:
        require_width(table.values, first.values.shape[1], table.place, f"{first.place} has")
    return np.concatenate([table.values for table in tables]), first.columns


class _Table(NamedTuple):
    place: str
    values: Array
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _tables(source: str, columns: Sequence[str]) -> Iterator[_Table]:
    if source == "builtin":
        raise UserError("a forecast goes on from a series of your own, there is no builtin one; give a file of numbers")
    located = find(source)
    if isinstance(located, HubDataset):
        records = located.load()
        rows = ((f"{source} record {number}", record) for number, record in enumerate(records, 1))
        yield _of_records(source, rows, columns)
        return
    for path in located.paths:
        if text_suffix(path) in _READERS:
            yield _READERS[text_suffix(path)](path, columns)


def _read_delimited(path: Path, columns: Sequence[str]) -> _Table:
    rows: Iterator[tuple[int, list[str]]] = delimited_rows(path, "strict")
    first = next(rows, None)
    if first is None:
        raise UserError(f"a series must hold values, {path} is empty; give another file")
    may_have_commas = delimiter_of(path) != ","
    number = number_with_comma if may_have_commas else plain_number
    names = [_field(field) for field in first[1]]
    if any(number(name) is not None for name in names) and not (columns and set(columns) <= set(names)):
        names, rows = [str(number) for number in range(1, len(names) + 1)], chain([first], rows)
    lines = [(line, fields) for line, row in rows if any(fields := [_field(field) for field in row])]
    filled = [[row[place] for _, row in lines if row[place]] for place in range(len(names))]
    readers = [reader_of(fields, may_have_commas) for fields in filled]
    if columns:
        _require_columns(path, names, columns)
        places = [names.index(column) for column in columns]
    else:
        places = [place for place, reader in enumerate(readers) if reader]
    if not columns and len(places) > 1 and is_compact_dates([row[places[0]] for _, row in lines]):
        del places[0]
    if not places:
        raise _no_numbers(path, names)
    values: list[list[float]] = []
    for line, row in lines:
        values.append([])
        for place in places:
            read = readers[place] or number
            value = read(row[place])
            if value is None:
                what = f"has {row[place]!r:.60}" if row[place] else "has none"
                gaps = sum(read(other[place]) is None for _, other in lines)
                also = _also(gaps - 1)
                raise UserError(
                    f"every step must have a number, {path} line {line} {what} in the column {names[place]!r}{also}; "
                    f"fill the gap{'s' if also else ''}, or name other columns: data.values"
                )
            values[-1].append(value)
    steps = [to_numbers(row, f"{path} line {line}") for (line, _), row in zip(lines, values, strict=True)]
    others = {name: [row[place] for _, row in lines] for place, name in enumerate(names) if place not in places}
    of_places = [[names[place]] for place in places]
    table = _in_time(
        path, [np.asarray(step) for step in steps], of_places, others, [] if columns else [row[0] for row in values]
    )
    notes = [
        note for place in places if (note := _note_of_numbers(names[place], filled[place], readers[place], number))
    ]
    return table._replace(notes=(*notes, *table.notes))


def _also(gaps: int) -> str:
    others = "1 other line of it has a gap" if gaps == 1 else f"{gaps:,} other lines of it have gaps"
    return f" and {others} too" if gaps else ""


def _note_of_numbers(name: str, fields: Sequence[str], reader: Reader | None, usual: Reader) -> str:
    """Return a note about numbers that are not written as programs write them; empty if there are none."""
    shown = next((field for field in fields if reader and usual(field) != reader(field)), None)
    return (
        f"the column {name!r} has numbers such as {shown}, which is read as {reader(shown):g}"
        if reader and shown
        else ""
    )


def _in_time(
    source: object,
    steps: Sequence[Array],
    columns: Sequence[Sequence[str]],
    others: Mapping[str, Sequence[str]],
    count: Sequence[float],
) -> _Table:
    """Return a table of steps in time order.

    Args:
        source: name of the source, for messages.
        steps: values of each step, ``(features,)``.
        columns: names of the features of each column.
        others: fields of the columns that are not read, by column name.
        count: exact values of the first column if it may be a row counter, which is left out; else empty.
    """
    values, names, notes = _stacked(source, steps), [name for column in columns for name in column], []
    order = order_in_time(others, len(steps))
    if count and len(columns) > 1 and counts(names[0], count):
        order = order or order_of_count(names[0], count)
        notes.append(f"the column {names[0]!r} counts the rows and is not forecast, unless --values names it")
        values, names = values[:, 1:], names[1:]
    if order:
        values = values[order.places]
        notes += [order.note] if order.note else []
    return _Table(str(source), values, tuple(names), tuple(notes))


def _field(field: str) -> str:
    """Strip spaces and the quotes that the reader keeps in a .tsv."""
    return field.strip().strip('"').strip()


def _read_npz(path: Path, columns: Sequence[str]) -> _Table:
    if len(columns) > 1:
        raise UserError(f"an .npz has its series in one array, data.values was: {', '.join(columns)}; name one")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            name = columns[0] if columns else names[0] if len(names) == 1 else "x"
            array = arrays[name] if name in names else None
    except Exception as error:  # damaged bytes raise various errors in zipfile, zlib and numpy
        raise UserError(f"{path} must be an .npz of numpy: {first_line(error)}; save it again") from error
    if array is None:
        raise UserError(f"the array must be one of {', '.join(names)!r:.200} in {path}, was: {name!r}; set data.values")
    if array.ndim not in (1, 2) or not array.size:
        raise UserError(
            f"a series must be an array (time,) or (time, features), {name!r} of {path} is {array.shape}; reshape it"
        )
    values = to_numbers(array, f"{name} of {path}").astype(np.float32).reshape(len(array), -1)
    return _Table(str(path), values, _feature_names([name], [values.shape[1]]))


def _read_json(path: Path, columns: Sequence[str]) -> _Table:
    return _of_records(path, json_objects(path, "strict"), columns)


def _read_parquet(path: Path, columns: Sequence[str]) -> _Table:
    with reading_parquet(path) as load:
        records = (record for batch in record_batches(load()) for record in _unbatched(batch))
        return _of_records(path, ((f"{path} record {n}", record) for n, record in enumerate(records, 1)), columns)


def _unbatched(batch: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True))


def _of_records(source: object, records: Iterable[tuple[str, dict[str, Any]]], columns: Sequence[str]) -> _Table:
    """Return a table of one time step per record."""
    stated = bool(columns)
    steps: list[Array] = []
    widths: list[int] = []
    others: dict[str, list[str]] = {}
    count: list[float] = []
    for place, record in records:
        if not columns:
            columns = [name for name, value in record.items() if _holds_numbers(value)]
            others = {name: [] for name, value in record.items() if isinstance(value, str)}
            if not columns:
                raise _no_numbers(source, list(record))
        _require_columns(place, list(record), columns)
        for name in columns:
            if not _holds_numbers(record[name]):
                raise UserError(
                    f"every step must have a number, {place} has {record[name]!r:.60} in the column {name!r}; fill the "
                    "gap, or name other columns: data.values"
                )
        parts = [np.atleast_1d(to_numbers(record[name], place)) for name in columns]
        widths = widths or [len(part) for part in parts]
        step = np.concatenate(parts)
        require_width(step[None], sum(widths), place, "the first had")
        steps.append(step)
        for name, fields in others.items():
            fields.append(str(record.get(name)))
        if not stated and not isinstance(record[columns[0]], list):
            count.append(record[columns[0]])
    names = [[name] if width == 1 else _numbered(name, width) for name, width in zip(columns, widths, strict=False)]
    return _in_time(source, steps, names, others, count)


def _holds_numbers(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_holds_numbers(item) and not isinstance(item, list) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _feature_names(columns: Sequence[str], widths: Sequence[int]) -> tuple[str, ...]:
    pairs = zip(columns, widths, strict=True)
    return tuple(name for column, width in pairs for name in ([column] if width == 1 else _numbered(column, width)))


def _numbered(column: str, width: int) -> list[str]:
    return [f"{column} {number}" for number in range(1, width + 1)]


def _stacked(source: object, steps: Sequence[Array]) -> Array:
    if not steps:
        raise UserError(f"a series must hold values, {source} has none; give another file")
    return np.stack(steps).astype(np.float32)


def _require_columns(source: object, names: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in names:
            raise UserError(
                f"the columns of values must be of {', '.join(names)!r:.200} in {source}, was: {column!r}; set "
                "data.values=NAME"
            )


def _no_numbers(source: object, names: Sequence[str]) -> UserError:
    return UserError(
        f"a column must hold numbers, {source} has none among: {', '.join(names)!r:.200}; give another file, or name "
        "the column: data.values=NAME"
    )


_READERS: dict[str, Callable[[Path, Sequence[str]], _Table]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".npz": _read_npz,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}


# Training windows


class Window(NamedTuple):
    """A batch of windows of a series.

    Attributes:
        values: float32 ``(batch, warm_up + time, features)``, in units of the data.
        targets: float32 ``(time, batch, horizon * features)``, standardised: for each of the last `time` steps the
            next `horizon` vectors, the nearest first.
    """

    values: Array
    targets: Array


class Windows:
    """Windows of the training part at random offsets.

    Args:
        series: the series.
        batch_size: windows per batch.
        length: steps with targets in each window.
        horizon: forecast horizon in steps.
        warm_up: steps without targets at the start of each window, which fill the state; at most half of the
            training steps that remain beside `length` and `horizon`.
        seed: random seed of the offsets.
    """

    def __init__(self, series: Series, batch_size: int, length: int, horizon: int, warm_up: int, seed: int) -> None:
        training = series.values[: series.training]
        standardised = (training - series.mean) / series.scale
        self.steps_per_epoch = max(1, len(training) // (batch_size * length))
        offsets = len(training) - length - horizon
        self.warm_up = min(warm_up, offsets // 2)
        self._seed, self._batch_size, self._length = seed, batch_size, self.warm_up + length
        self._starts = offsets - self.warm_up + 1
        self._values, self._following = training, following(standardised, horizon)

    def batch(self, step: int) -> Window:
        """Return the batch of a training step. It depends only on `seed` and `step`."""
        starts = np.random.default_rng([self._seed, step]).integers(0, self._starts, self._batch_size)
        places = starts[:, None] + np.arange(self._length)
        return Window(self._values[places], self._following[places[:, self.warm_up :]].swapaxes(0, 1))


def following(values: NDArray[Any], horizon: int) -> NDArray[Any]:
    """Return the next `horizon` vectors of each step of ``(time, features)``: ``(time - horizon, horizon * features)``.

    >>> following(np.array([[1], [2], [3], [4]]), 2).tolist()
    [[2, 3], [3, 4]]
    """
    count = len(values) - horizon
    return np.concatenate([values[1 + ahead : 1 + ahead + count] for ahead in range(horizon)], axis=1)
