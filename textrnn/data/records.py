"""Records of a source, each with a text, a label and columns; options of reading sources."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from textrnn.config import DataConfig
from textrnn.errors import UserError


@dataclass(frozen=True)
class SourceOptions:
    """Options of reading text from a source.

    Args:
        text: text column of record files and Hugging Face datasets: its name, or its number (from 1) in a ``.csv`` or
            ``.tsv`` without a header line.
        errors: handling of bytes that are not UTF-8: ``strict`` raises an error, ``replace`` substitutes U+FFFD.
        documents: unit of a document in plain text: a whole ``file``, or each ``line`` without its newline.
        label: label column, by name or number as `text`; None if labels are not read.
    """

    text: str = "text"
    errors: str = "strict"
    documents: str = "file"
    label: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns to read: the text column, and the label column if there is one."""
        return [self.text] if self.label is None else [self.text, self.label]

    def __post_init__(self) -> None:
        if self.errors not in ("strict", "replace"):
            raise UserError(f"errors must be strict or replace, was: {self.errors}")
        if self.documents not in ("file", "line"):
            raise UserError(f"documents must be file or line, was: {self.documents}")


class TextBlock(NamedTuple):
    """A block of a document. A document has one or more blocks. Its last block ends it and may be empty."""

    text: str
    ends_document: bool


class Record(NamedTuple):
    """A document from a record file or a Hugging Face dataset.

    Args:
        text: text of the document.
        label: label of the document; empty if it has none.
        names: names of the columns that were read.
        values: value of each column, as it is in the file.
    """

    text: str
    label: str = ""
    names: Sequence[str] = ()
    values: Sequence[Any] = ()


def as_documents(records: Iterable[Record]) -> Iterator[TextBlock]:
    return (TextBlock(record.text, True) for record in records)


def whole_characters(place: str, text: str, errors: str) -> str:
    """Return the text without lone surrogates. JSON can contain them, UTF-8 cannot.

    Args:
        place: name of the record, for the message.
        text: the text.
        errors: as in `SourceOptions`.

    Raises:
        UserError: the text has a lone surrogate and `errors` is ``strict``.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if errors == "strict":
            raise UserError(
                f"text must be Unicode characters, {place} has the lone surrogate "
                f"U+{ord(text[error.start]):04X}; mend it, or go on with --errors replace"
            ) from error
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text


def require_columns(source: object, columns: Sequence[str], options: SourceOptions) -> None:
    for what, name in zip(("text", "label"), options.columns, strict=False):
        if name not in columns:
            raise UserError(
                f"the {what} column must be one of {', '.join(columns)!r:.200} in {source}, was: {name!r}; "
                f"name the column that holds the {what}: --{what} NAME"
            )


def text_value(source: object, value: object, options: SourceOptions) -> str:
    if value is not None and not isinstance(value, str):
        raise UserError(f"the column {options.text} must hold text, {source} has: {value!r:.60}; name another column")
    return value or ""


def label_value(source: object, value: object, names: Sequence[str] | None = None) -> str:
    """Return a label as text. An integer label becomes its class name if the dataset has class names."""
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas writes a missing value as NaN
        return ""
    if names and value == -1:  # the Hub's value for a hidden label
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise UserError(f"a label must be text or a number, {source} has: {value!r:.60}; name another column")
    if names and isinstance(value, int):
        return names[value]
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    text = str(value).strip()
    whole = re.fullmatch(r"([+-]?\d+)\.0+", text)  # tables write integers so if the column has missing values
    return whole[1] if whole else text


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message, or the error's type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def source_options(data: DataConfig) -> SourceOptions:
    """Return the options of reading the sources of a run."""
    return SourceOptions(text=data.text, errors=data.errors, documents=data.document)


def labelled_options(data: DataConfig) -> SourceOptions:
    """Return the options of reading the labelled sources of a run."""
    return replace(source_options(data), label=data.label)
