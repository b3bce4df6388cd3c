"""Records of a source: a text, its label, its columns; and how sources are read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from textrnn.config import DataConfig
from textrnn.data.labels import LIST_SEPARATOR
from textrnn.errors import UserError


@dataclass(frozen=True)
class SourceOptions:
    """How the text is found in a source.

    Args:
        text: the column that holds the text, in files of records and Hugging Face datasets: its name, or its number
            from 1 on in a ``.csv`` or ``.tsv`` whose first line is a record like all others.
        errors: what becomes of bytes that are not UTF-8: ``strict`` raises, ``replace`` puts U+FFFD in their place.
        documents: what a document is in plain text: a whole ``file``, or each ``line`` without its newline.
        label: the column that holds the label, as `text`; None where labels are not read.
        several_labels: whether a text may have several labels, in a list too, or none.
    """

    answer: ClassVar[str] = "label"
    """What the second column is, for messages; its name is an option too."""

    text: str = "text"
    errors: str = "strict"
    documents: str = "file"
    label: str | None = None
    several_labels: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that are read: the text, and the label if it is."""
        return [self.text] if self.label is None else [self.text, self.label]

    def __post_init__(self) -> None:
        if self.errors not in ("strict", "replace"):
            raise UserError(f"errors must be strict or replace, was: {self.errors}")
        if self.documents not in ("file", "line"):
            raise UserError(f"documents must be file or line, was: {self.documents}")


class TextBlock(NamedTuple):
    """A block of a document. A document is one block or several; the last one ends it and may be empty."""

    text: str
    ends_document: bool


class Record(NamedTuple):
    """A document of a file of records, or of a Hugging Face dataset.

    Args:
        text: of the document.
        label: empty where there is none.
        names: the columns that were read.
        values: what the record has in each of them, as the file has it.
    """

    text: str
    label: str = ""
    names: Sequence[str] = ()
    values: Sequence[Any] = ()


def as_documents(records: Iterable[Record]) -> Iterator[TextBlock]:
    return (TextBlock(record.text, True) for record in records)


def whole_characters(place: str, text: str, errors: str) -> str:
    """Return the text, or raise an error: JSON can spell half a surrogate pair, UTF-8 cannot."""
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
    roles = ("text", options.answer)[: len(options.columns)]
    missing = [what for what, name in zip(roles, options.columns, strict=True) if name not in columns]
    if missing:
        name = options.columns[roles.index(missing[0])]
        there = ", ".join(filter(None, columns))
        which = "column that holds" if len(missing) == 1 else "columns that hold"
        raise UserError(
            f"the {missing[0]} column must be one of {there!r:.200} in {source}, was:"
            f" {name!r}; name the {which} the {' and the '.join(missing)}:"
            f" {' '.join(f'--{what} NAME' for what in missing)}"
        )


def text_value(source: object, value: object, options: SourceOptions) -> str:
    if value is not None and not isinstance(value, str):
        raise UserError(f"the column {options.text} must hold text, {source} has: {value!r:.60}; name another column")
    return value or ""


def label_value(source: object, value: object, names: Sequence[str] | None = None, several: bool = False) -> str:
    """Return a label as text. A number becomes its name if the data set names its numbers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN: how pandas writes that none is there
        return ""
    if names and value == -1:  # the Hub's word for a label that is kept secret
        return ""
    if several and isinstance(value, list | tuple):
        return LIST_SEPARATOR.join(label_value(source, each, names) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        raise UserError(
            f"a label must be text or a number, {source} has: {value!r:.60}; lists of labels are for --task multilabel"
        )
    if not isinstance(value, (str, int, float)):
        raise UserError(f"a label must be text or a number, {source} has: {value!r:.60}; name another column")
    if names and isinstance(value, int):
        return names[value]
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    text = str(value).strip()
    whole = re.fullmatch(r"([+-]?\d+)\.0+", text)  # as tables write a whole number whose column has gaps
    return whole[1] if whole else text


def first_line(error: Exception) -> str:
    """Return the first line of another library's error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def source_options(data: DataConfig) -> SourceOptions:
    """Return how the sources of a run are read."""
    return SourceOptions(text=data.text, errors=data.errors, documents=data.document)


def labelled_options(data: DataConfig) -> SourceOptions:
    """Return how the labelled sources of a run are read."""
    return replace(source_options(data), label=data.label, several_labels=bool(data.label_separator))
