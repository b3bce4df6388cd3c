"""Data that a Python program has in memory, written to a file that is then read like any other source.

A string or a path is a place, as on the command line: a file, a folder, a Hugging Face id. Data in memory are

* a table: a mapping from column names to values, or a DataFrame of pandas or polars. ``{"text": texts}`` is a corpus,
  ``{"text": "one long text"}`` too;
* a pair: ``(texts, labels)``, or ``(x, y)`` of arrays;
* an array: a series ``(time,)`` or ``(time, features)``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, is_several, shown

Source: TypeAlias = Any
"""Places, or data in memory."""

NAME = "memory"  # of the file, without its suffix
FORMS = 'a path, several paths, {"text": texts}, a pair (texts, labels), a DataFrame or an array'


@dataclass(frozen=True)
class DataInMemory:
    """A table in memory.

    Attributes:
        columns: values by column name; the values of a column are as many as there are records.
        is_pair: whether it was given as records and their labels.
        reads_vectors: whether a record is an array.
    """

    columns: Mapping[str, Any]
    is_pair: bool = False
    reads_vectors: bool = False

    @property
    def fraction(self) -> float | None:
        """The first label of a pair that is a number with a fraction; None if there is none."""
        labels = np.asarray(list(self.columns.values())[-1])
        if not self.is_pair or labels.dtype.kind != "f":
            return None
        return next((float(value) for value in labels.ravel() if value % 1), None)

    def write(self, folder: Path) -> Path:
        """Write the data to a file: plain text, arrays (``.npz``) or one JSON object per record.

        Raises:
            UserError: the columns are not equally long, or a value can be neither text, a number nor an array.
        """
        (first, *others) = self.columns.values()
        if isinstance(first, str) and not others:
            path = folder / f"{NAME}.txt"
            path.write_bytes(_bytes_of(first))
            return path
        if _has_arrays(self.columns):
            path = folder / f"{NAME}.npz"
            np.savez(path, **{name: _array(name, values) for name, values in self.columns.items()})  # type: ignore[arg-type]
            return path
        path = folder / f"{NAME}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in self._records())
        return path

    def _records(self) -> Iterator[dict[str, Any]]:
        columns = {name: _several(name, values) for name, values in self.columns.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise UserError(
                f"the columns of a table must be equally long, were: {counts:.200}; give a value for each record"
            )
        for number, row in enumerate(zip(*columns.values(), strict=True), 1):
            yield {
                name: _plain(value, f"{name} of record {number:,}") for name, value in zip(columns, row, strict=True)
            }


def data_of(source: Source, text: str = "text", label: str = "label") -> DataInMemory | None:
    """Return the data in memory that a source is; None if it names places.

    Args:
        source: places or data.
        text: column name for the texts of a pair.
        label: column name for its labels.

    Raises:
        UserError: it is neither places nor a known form of data.
    """
    if source is None or isinstance(source, str | PathLike):
        return None
    if isinstance(source, Mapping):
        columns = {str(name): values for name, values in source.items()}
    elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
        columns = {str(name): source[name] for name in source.columns}
    elif (
        isinstance(source, tuple) and len(source) == 2 and not any(isinstance(part, str | PathLike) for part in source)
    ):
        return _pair(source[0], source[1], text, label)
    elif _is_numbers(source):
        return DataInMemory({"x": source[:, None] if source.ndim == 1 else source}, reads_vectors=True)
    elif is_several(source) and not isinstance(source, bytes):
        return None
    else:
        raise UserError(f"a source must be {FORMS}, was: {shown(source)}; give one of these")
    if not columns:
        raise UserError("a table must have columns, has none; give the records")
    return DataInMemory(columns, reads_vectors=_has_arrays(columns))


def places_of(source: Source) -> tuple[str, ...]:
    """Return the places that a source names.

    Raises:
        UserError: one is no string and no path, or is a text instead of the name of one.
    """
    several = [source] if isinstance(source, str | PathLike) else list(source)
    return tuple(_place(each) for each in several)


def _is_numbers(values: object) -> bool:
    """Return whether a value is an array of numbers."""
    return isinstance(values, np.ndarray) and values.dtype.kind in "biuf"


def _has_arrays(columns: Mapping[str, Any]) -> bool:
    """Return whether a column is an array whose records are arrays."""
    return any(_is_numbers(values) and values.ndim > 1 for values in columns.values())


def _place(source: Any) -> str:
    place = fspath(source) if isinstance(source, str | PathLike) else source
    if not isinstance(place, str):
        raise UserError(f"a source must be {FORMS}, was: {shown(source)}; give one of these")
    if any(character.isspace() for character in place) and not _exists(place):
        raise UserError(
            f"a source in quotes is the name of a file, a folder or a Hugging Face dataset, none has the name:"
            f' {shown(place)}; for text in memory give {{"text": ...}}'
        )
    return place


def _exists(place: str) -> bool:
    try:
        return Path(place).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, NUL in it, home folder of an unknown user
        return False


def _pair(records: Any, labels: Any, text: str, label: str) -> DataInMemory:
    if _is_numbers(records):
        columns: dict[str, Any] = {"x": records, "y": np.asarray(labels)}
        if records.ndim == 1 or len(records) != len(columns["y"]):
            raise UserError(
                f"x must be (records, time) or (records, time, features), with a label each, was: {records.shape} with"
                f" {columns['y'].shape} labels; give as many labels as records"
            )
        return DataInMemory(columns, is_pair=True, reads_vectors=True)
    records = _several(text, records)
    vectors = bool(records) and not isinstance(records[0], str)
    return DataInMemory({"x" if vectors else text: records, label: labels}, is_pair=True, reads_vectors=vectors)


def _several(name: str, values: Any) -> list[Any]:
    if isinstance(values, str):
        return [values]
    if not is_several(values) or isinstance(values, bytes | Mapping):
        raise UserError(
            f"the column {name} must be a list of values, was: {shown(values)}; give a value for each record"
        )
    return list(values)


def _array(name: str, values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([_plain(value, name) for value in array.ravel().tolist()]).reshape(array.shape)
    if array.dtype == object:
        raise UserError(f"arrays must have numbers or labels, {name} has: {shown(values)}; fill in what is missing")
    return array


def _plain(value: Any, place: str) -> Any:
    """Return a value as JSON has it; what is missing is None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each, place) for each in value]
    if hasattr(value, "isoformat"):  # a date
        return str(value.isoformat())
    raise UserError(
        f"a value must be text, a number or a list of numbers, {place} is: {shown(value)}; convert it first"
    )


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"text must be Unicode characters, was with the lone surrogate U+{ord(text[error.start]):04X}; mend it"
        ) from error
