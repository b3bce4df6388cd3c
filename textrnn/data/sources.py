"""Sources of text, read document by document in bounded memory.

A source is a string:

* ``builtin``: the Python language manual that CPython carries in ``pydoc_data.topics``; its documents are the topics,
  in the order of their names. With labels: the short reviews of the folder ``reviews`` beside this file;
* a file. ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` and ``.parquet`` hold a document a record, in the column
  `SourceOptions.text`; every other name is plain text, and `SourceOptions.documents` says what a document is.
  ``.gz`` may follow all but ``.parquet``. A ``.csv`` is quoted as in RFC 4180, and its delimiter is found: a comma,
  semicolon, tab or bar, or what its first line ``sep=`` says. A ``.tsv`` is not quoted at all. Both start with the
  names of their columns, unless columns are named by number; lines may end with a single ``\\r`` too. A ``.json`` or
  ``.jsonl`` is an object a line, or one array of objects (which is read whole);
* a folder: all files in it and below, in the order of their names, hidden ones left out;
* a Hugging Face dataset: ``NAME[:CONFIG][@SPLIT]``, as in ``wikitext:wikitext-2-raw-v1@validation`` or ``owner/name``;
  the split is ``train`` unless said. It is downloaded once to Hugging Face's own cache and read from there afterwards.

What is on this disk goes before what is on the Hub; a file named ``builtin`` is ``./builtin``.

Text is UTF-8. Newlines stay exactly as they are in the file. A byte order mark at the start of a file is dropped: it
marks the encoding and is no part of the text. A document without a single character is no document.

Labelled text (`read_labelled`) is a record with its label; or a line of a plain text file that begins with
``__label__NAME``, as fastText has it; or, in a folder without such files, a plain text file in the folder of its class.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import gzip
import hashlib
import io
import json
import math
import re
import threading
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.util import find_spec, module_from_spec
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple, Protocol

from textrnn.errors import UserError
from textrnn.files import sha256

BLOCK_BYTES = 4 << 20
# A quote that is never closed would otherwise take the rest of a .csv into memory as one field.
LONGEST_FIELD = 64 << 20  # characters
RECORDS_AT_ONCE = 100
HUB_SECONDS = 10
# By which the delimiter of a .csv is found.
SAMPLED_LINES = 200
SAMPLED_CHARACTERS = 1 << 18
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_FASTTEXT = "__label__"
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")

_SIGNATURES = {
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook, whose sheet can be saved as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old office document, whose sheet can be saved as CSV UTF-8",
    b"\x1f\x8b": "gzip data without the name .gz",
    b"\x7fELF": "a program",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class SourceOptions:
    """How the text is found in a source.

    Args:
        text: the column that holds the text, in files of records and Hugging Face datasets: its name, or its number
            from 1 on in a ``.csv`` or ``.tsv`` whose first line is a record like all others.
        errors: what becomes of bytes that are not UTF-8: ``strict`` raises, ``replace`` puts U+FFFD in their place.
        documents: what a document is in plain text: a whole ``file``, or each ``line`` without its newline.
        label: the column that holds the label, as `text`; None where labels are not read.
    """

    text: str = "text"
    errors: str = "strict"
    documents: str = "file"
    label: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that are read: the text, and the label if it is."""
        return [self.text] if self.label is None else [self.text, self.label]

    def __post_init__(self) -> None:
        if self.errors not in ("strict", "replace"):
            raise UserError(f"errors must be strict or replace, was: {self.errors}")
        if self.documents not in ("file", "line"):
            raise UserError(f"documents must be file or line, was: {self.documents}")


class Piece(NamedTuple):
    """A stretch of a document. A document is one piece or several, the last of which ends it and may be empty."""

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


def read_documents(sources: Sequence[str], options: SourceOptions) -> Iterator[Piece]:
    """Read sources, one after the other, in pieces of a few megabytes at most.

    A long plain text is cut after a newline where there is one, and never between ``\\r`` and ``\\n``.

    Raises:
        UserError: a source is missing, not readable as what its name says, or without text.
    """
    for source, located in [(source, _locate(source)) for source in sources]:
        has_text = in_document = False
        for piece in located.read(options):
            if piece.text or in_document:
                yield piece
                has_text = True
            in_document = (in_document or piece.text != "") and not piece.ends_document
        if not has_text:
            raise _without_text(source)


def read_whole(sources: Sequence[str], options: SourceOptions) -> Iterator[str]:
    """The documents of `read_documents`, each as one string."""
    pieces: list[str] = []
    for text, ends_document in read_documents(sources, options):
        pieces.append(text)
        if ends_document:
            yield "".join(pieces)
            pieces = []


def read_text(sources: Sequence[str], options: SourceOptions, documents_apart: bool) -> Iterator[Piece]:
    """Sources as a model reads them.

    Documents apart are those of `read_documents`. Together they are one text: what a document is in plain text makes no
    difference then, and one that does not end with a newline gets one before the next, so that no two words are glued.
    """
    if documents_apart:
        yield from read_documents(sources, options)
        return
    last, starts_document = "\n", False
    for text, ends_document in read_documents(sources, replace(options, documents="file")):
        if starts_document and last != "\n":
            text = "\n" + text
        yield Piece(text, ends_document)
        last, starts_document = text[-1:] or last, ends_document


class Span(NamedTuple):
    """Some blocks of a plain text file, which can be read without what comes before them.

    Args:
        path: the file.
        first: the block it starts with, counted from 0.
        end: the first block that it no longer has.
        block_bytes: bytes of a block.
        after_newline: start with a newline, as the text before ends without one.
    """

    path: Path
    first: int
    end: int
    block_bytes: int
    after_newline: bool = False


def plain_files(sources: Sequence[str]) -> list[tuple[Path, int]] | None:
    """The files of the sources that hold any text, with their bytes; None where some are more than plain text files.

    Raises:
        UserError: a source is missing, not readable, or without text.
    """
    found: list[tuple[Path, int]] = []
    for source, located in [(source, _locate(source)) for source in sources]:
        if not isinstance(located, Files) or located.text_bytes() is None:
            return None
        try:
            files = [(path, path.stat().st_size) for path in located.paths]
            with_text = [(path, size) for path, size in files if size > 3 or (size and not _is_mark(path))]
        except OSError as error:
            raise _unreadable(error) from error
        if not with_text:
            raise _without_text(source)
        found += with_text
    return found


def ends_with_newline(path: Path) -> bool:
    """Whether the last character of a plain text file is a newline."""
    with opened(path) as file:
        file.seek(-1, io.SEEK_END)
        return file.read(1) == b"\n"


def read_spans(spans: Sequence[Span], options: SourceOptions, documents_apart: bool) -> Iterator[Piece]:
    """The pieces of `read_text` that lie in these spans, the very same ones wherever the text was cut into spans."""
    by_line = documents_apart and options.documents == "line"
    for span in spans:
        pieces = _decode(span.path, options.errors, span)
        in_document = span.first > 0 and not (by_line and _starts_line(span))
        after_newline = span.after_newline
        for text, ends_document in _split_lines(pieces) if by_line else pieces:
            if text or in_document:
                yield Piece("\n" + text if after_newline else text, ends_document)
                after_newline = False
            in_document = (in_document or text != "") and not ends_document


def read_labelled(sources: Sequence[str], options: SourceOptions, skipped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Texts with their labels, in order.

    Records that lack one of the two, and files of a folder that hold no records, are left out and counted.

    Args:
        options: with the column of the label.
        skipped: counts what is left out, by what it is.

    Raises:
        UserError: a source is missing, not readable as what its name says, lacks a column, or has nothing labelled.
    """
    for source, located in [(source, _locate(source, labelled=True)) for source in sources]:
        found = False
        for text, label, _, _ in located.records(options, skipped):
            if not text.strip():
                skipped["empty texts"] += 1
            elif not label:
                skipped["texts without a label"] += 1
            else:
                found = True
                yield text, label
        if not found:
            raise UserError(
                f"a source must hold some labelled text, found none in: {source}; give a file of records "
                f"({', '.join(_RECORD_READERS)}) with text and label in two columns, lines that begin with "
                f"{_FASTTEXT}NAME, or a folder of text files with a folder for each class"
            )


def read_rows(source: str, options: SourceOptions) -> Iterator[Record]:
    """Yield every record of a source with all its columns, in order, those without text too.

    Of plain text a record is a line of a file, or a file of a folder, and its column is `text`.

    Raises:
        UserError: the source is missing, not readable as what its name says, lacks the column, or has no record.
    """
    located, found = _locate(source, labelled=True), False
    for record in located.rows(options):
        found = True
        yield record
    if not found:
        raise _without_text(source)


def _plain_record(text: str) -> Record:
    return Record(text, names=("text",), values=(text,))


def source_fingerprint(sources: Sequence[str], options: SourceOptions) -> str:
    """SHA-256, as hexadecimal digits, of what `read_documents` would read.

    Files count by size and content, wherever they lie; those of a folder by their names inside it too, a single one by
    the end of its name, which says how it is read. A Hugging Face dataset
    counts by its name, configuration and split, so that a prepared one is found again without a network.
    """
    parts = [_locate(source, options.label is not None).identity() for source in sources]
    return hashlib.sha256(json.dumps([parts, asdict(options)]).encode()).hexdigest()


def count_bytes(sources: Sequence[str]) -> int | None:
    """Bytes of UTF-8 text in the sources, or None where that is not known without reading them."""
    sizes = [_locate(source).text_bytes() for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


class _Source(Protocol):
    """A place that text is read from."""

    def read(self, options: SourceOptions) -> Iterator[Piece]:
        """The documents, in pieces."""

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        """The documents with their labels."""

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield every record with all its columns."""

    def identity(self) -> list[Any]:
        """What tells this text from another, as JSON values."""

    def text_bytes(self) -> int | None:
        """Bytes of UTF-8 text, where that is known without reading."""


def _locate(source: str, labelled: bool = False) -> _Source:
    """Find what a source string stands for, without reading it; `labelled`: whether its labels are wanted."""
    if source == "builtin":
        return _reviews() if labelled else _Manual()
    return find(source)


def find(source: str) -> Files | HubDataset:
    """What is on this disk or on the Hub by that name, without reading it.

    Raises:
        UserError: nothing on this disk has that name, and it is not how a Hugging Face dataset is named.
    """
    try:
        path = Path(source).expanduser()
        if source and (files := _files(path)):
            if not files.is_folder and text_suffix(path) in _WORKBOOKS:
                raise UserError(
                    f"a table must be a text file, {source} is a workbook; save its sheet as CSV UTF-8, and give that"
                )
            return files
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL in it, the home of nobody
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"a source must be a file or folder that can be read, {source!r:.60} is not: {reason}"
        ) from error
    hub_name = re.fullmatch(r"((?:[\w.-]+/)?[\w.-]+)(?::([^@]+))?(?:@([\w.-]+))?", source)
    in_folder_here = path.parent != Path() and path.parent.is_dir()
    is_file_name = text_suffix(path) in (*_RECORD_READERS, ".txt", ".md", ".npz") or "-ubyte" in path.name
    if hub_name and not in_folder_here and not is_file_name:
        name, config, split = hub_name.groups()
        return HubDataset(name, config, split or "train")
    raise UserError(f"a source must be a file or folder that exists, was: {source!r}{_nearest_name(path)}")


def _files(path: Path) -> Files | None:
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file()]
        return Files(path, tuple(sorted(file for file in found if not _is_hidden(file.relative_to(path)))), True)
    if path.exists() and not path.is_file():
        raise ValueError("neither of the two; save its text to a file first")
    return Files(path.parent, (path,)) if path.is_file() else None


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _nearest_name(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return "".join(f"; did you mean {path.with_name(name)}?" for name in difflib.get_close_matches(path.name, names, 1))


def text_suffix(path: Path) -> str:
    """The end of the name that says what the file holds: ``.csv`` for ``reviews.CSV.gz``."""
    return PurePath(path.name.lower().removesuffix(".gz")).suffix


class _Manual:
    """The Python language manual that comes with CPython: 459,000 characters in Python 3.10, 511,000 in 3.13."""

    def topics(self) -> list[str]:
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise UserError("this Python comes without its manual (pydoc_data.topics); give a text file") from error
        return [topics[name] for name in sorted(topics)]

    def read(self, options: SourceOptions) -> Iterator[Piece]:
        return (Piece(topic, True) for topic in self.topics())

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        return (Record(topic) for topic in self.topics())

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        return (_plain_record(topic) for topic in self.topics())

    def identity(self) -> list[Any]:
        # The manual differs between versions of Python.
        return ["builtin", hashlib.sha256("".join(self.topics()).encode()).hexdigest()]

    def text_bytes(self) -> int:
        return len("".join(self.topics()).encode())


@dataclass(frozen=True)
class Files:
    """One file, or those of a folder."""

    folder: Path
    paths: tuple[Path, ...]
    is_folder: bool = False

    def read(self, options: SourceOptions) -> Iterator[Piece]:
        for path in self.paths:
            if text_suffix(path) in _RECORD_READERS:
                yield from _as_documents(_RECORD_READERS[text_suffix(path)](path, options))
            else:
                yield from _read_plain(path, options)

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        """Yield those of the files that hold any; the others are counted."""
        for path in self.paths:
            if text_suffix(path) in _RECORD_READERS:
                yield from _RECORD_READERS[text_suffix(path)](path, options)
            elif _is_fasttext(path):
                yield from _read_fasttext(path, options)
            elif path in self.class_files:
                yield self._class_record(path, options)
            else:
                skipped["files without records"] += 1

    @cached_property
    def class_files(self) -> frozenset[Path]:
        """The plain text files of a folder a class; none where the folder has files of records."""
        if not self.is_folder or any(text_suffix(path) in _RECORD_READERS for path in self.paths):
            return frozenset()
        return frozenset(path for path in self.paths if len(path.relative_to(self.folder).parts) > 1)

    def _class_record(self, path: Path, options: SourceOptions) -> Record:
        text = "".join(piece.text for piece in _decode(path, options.errors))
        return Record(text, label_value(path, path.relative_to(self.folder).parts[0]))

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield those of files of records, the lines of a plain text file, and of a folder each such file as one."""
        for path in self.paths:
            if text_suffix(path) == ".parquet":
                yield from _read_parquet(path, options, whole=True)
            elif text_suffix(path) in _RECORD_READERS:
                yield from _RECORD_READERS[text_suffix(path)](path, options)
            elif _is_fasttext(path):
                yield from _read_fasttext(path, options)
            elif self.is_folder:
                yield _plain_record("".join(piece.text for piece in _decode(path, options.errors)))
            else:
                for line in _whole_lines(path, options.errors):
                    yield _plain_record(line.removesuffix("\n").removesuffix("\r"))

    def identity(self) -> list[Any]:
        try:
            return [[self._name(path), path.stat().st_size, sha256(path)] for path in self.paths]
        except OSError as error:
            raise _unreadable(error) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if self.is_folder else text_suffix(path)

    def text_bytes(self) -> int | None:
        if any(path.suffix.lower() == ".gz" or text_suffix(path) in _RECORD_READERS for path in self.paths):
            return None
        return sum(path.stat().st_size for path in self.paths)


def _reviews() -> Files:
    """The labelled example that is shipped: short reviews in English and Chinese, written for it."""
    folder = Path(__file__).with_name("reviews")
    return Files(folder, tuple(sorted(folder.glob("*.jsonl"))))


def _as_documents(records: Iterable[Record]) -> Iterator[Piece]:
    return (Piece(record.text, True) for record in records)


def _without_text(source: str) -> UserError:
    return UserError(f"a source must hold some text, found none in: {source}; give another file, folder or column")


def _unreadable(error: OSError) -> UserError:
    return UserError(f"a source must be readable, {error.filename} is not: {error.strerror}")


# Plain text


def _read_plain(path: Path, options: SourceOptions) -> Iterator[Piece]:
    pieces = _decode(path, options.errors)
    return _split_lines(pieces) if options.documents == "line" else pieces


def _decode(path: Path, errors: str, span: Span | None = None) -> Iterator[Piece]:
    """The text of a file as one document, a piece a block; or a span of it, in the pieces of the whole."""
    first, end_block, size = (span.first, span.end, span.block_bytes) if span else (0, None, BLOCK_BYTES)
    with opened(path) as file:
        begin = _end_of_block(file, first - 1, size) if first else 0
        if first:
            file.seek(begin)
        block, rest = file.read((first + 1) * size - begin), b""
        if not first:
            _refuse_binary(path, block)
        offset = begin + (3 if not first and block.startswith(codecs.BOM_UTF8) else 0)
        block = block[offset - begin :]
        number = first
        while block and number != end_block:
            number += 1
            data, block = rest + block, file.read(size)
            is_last = not block
            end = len(data) if is_last else data.rfind(b"\n") + 1 or len(data)
            try:
                # Not being last, it leaves a character that is cut at the end for the next piece.
                text, used = codecs.utf_8_decode(data[:end], errors, is_last)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"text must be UTF-8, {path} has the byte 0x{data[error.start]:02x} at offset "
                    f"{offset + error.start}; convert it, or go on with --errors replace"
                ) from error
            if text.endswith("\r") and not is_last:
                text, used = text[:-1], used - 1
            yield Piece(text, is_last)
            rest, offset = data[used:], offset + used


def _end_of_block(file: BinaryIO, block: int, size: int) -> int:
    """The byte at which the piece of a block ends that is not the last one, by what is in the block alone."""
    file.seek(block * size)
    data = file.read(size)
    if newline := data.rfind(b"\n") + 1:
        return block * size + newline
    text, used = codecs.utf_8_decode(data[-4:], "replace", False)
    return block * size + len(data) - len(data[-4:]) + used - text.endswith("\r")


def _starts_line(span: Span) -> bool:
    with opened(span.path) as file:
        file.seek(_end_of_block(file, span.first - 1, span.block_bytes) - 1)
        return file.read(1) == b"\n"


def _is_mark(path: Path) -> bool:
    """Whether a byte order mark is all there is in a file."""
    with path.open("rb") as file:
        return file.read(4) == codecs.BOM_UTF8


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if its name ends in ``.gz``.

    Raises:
        UserError: it cannot be read, or is no whole gzip file.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"a .gz must be one whole gzip file, {path} is not: {error}; compress it again") from error
    except OSError as error:
        raise _unreadable(error) from error


def _refuse_binary(path: Path, start: bytes) -> None:
    kind = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None and b"\0" in start:
        try:
            codecs.utf_8_decode(start, "strict", False)
        except UnicodeDecodeError:
            kind = "binary"
    if kind:
        raise UserError(f"text must be UTF-8, {path} is {kind}; convert it or leave it out")


def _split_lines(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Make each line a document, without its newline. Only ``\\n`` and ``\\r\\n`` end a line."""
    for piece in pieces:
        *lines, rest = piece.text.split("\n")
        yield from (Piece(line.removesuffix("\r"), True) for line in lines)
        if rest:
            yield Piece(rest, piece.ends_document)


# Files of records


def _whole_lines(path: Path, errors: str, newline: str = "\n") -> Iterator[str]:
    """Yield the lines of a file with their newlines; nothing else ends one."""
    start = ""
    for piece in _decode(path, errors):
        for line in io.StringIO(piece.text, newline=newline):
            start += line
            if line.endswith(newline):
                yield start
                start = ""
    if start:
        yield start


@cache
def _csv_parser() -> Any:
    """Return the parser of `csv` as a module of its own, whose field size limit the caller's `csv` does not share."""
    spec = find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("Python must have its module _csv")
    parser = module_from_spec(spec)
    spec.loader.exec_module(parser)
    parser.field_size_limit(LONGEST_FIELD)
    return parser


def _newline_of(path: Path) -> str:
    """Return what ends the lines of a table: ``\\r`` where no ``\\n`` is near its start, as old spreadsheets write."""
    with opened(path) as file:
        start = file.read(SAMPLED_CHARACTERS)
    return "\r" if b"\r" in start and b"\n" not in start else "\n"


def delimiter_of(path: Path) -> str:
    """Return the delimiter of a ``.csv`` or ``.tsv``, of `DELIMITERS` or what a first line ``sep=`` says."""
    lines = _whole_lines(path, "replace", _newline_of(path))
    sample, characters = list[str](), 0
    for line in islice(lines, SAMPLED_LINES):
        sample.append(line)
        characters += len(line)
        if characters > SAMPLED_CHARACTERS:
            break
    if sample and (said := _said_delimiter(sample[0])):
        return said
    if text_suffix(path) == ".tsv":
        return "\t"
    is_whole = next(lines, None) is None
    rows = {delimiter: _sampled_rows(sample, delimiter, is_whole) for delimiter in DELIMITERS}
    widths = {delimiter: {len(row) for row in found} for delimiter, found in rows.items() if len(found) > 1}
    agreeing = {delimiter: max(found) for delimiter, found in widths.items() if len(found) == 1 and max(found) > 1}
    # A comma goes before others, unless it stands in numbers alone: 1,5;2,5
    if "," in agreeing and not (";" in agreeing and _has_decimal_commas(rows[";"])):
        return ","
    agreeing.pop(",", None)
    if not agreeing and len(rows[";"]) > 1 and _has_decimal_commas(rows[";"][1:]) and max(widths[";"]) == 1:
        return ";"  # one column of numbers with decimal commas
    return max(agreeing, key=lambda delimiter: agreeing[delimiter], default=",")


def _said_delimiter(line: str) -> str:
    """Return the delimiter that a first line ``sep=;`` names, as spreadsheets write it; empty for any other line."""
    said = re.fullmatch(r"\"?sep=(.)\"?[\r\n]*", line, re.IGNORECASE)
    return said[1] if said else ""


def _sampled_rows(lines: Sequence[str], delimiter: str, is_whole: bool) -> list[list[str]]:
    try:
        rows = list(filter(None, _csv_parser().reader(lines, delimiter=delimiter)))
    except _csv_parser().Error:
        return []
    return rows if is_whole else rows[:-1]  # the last may be cut


def _has_decimal_commas(rows: Iterable[Sequence[str]]) -> bool:
    """Return whether some fields have a comma, and all that do are numbers with a decimal comma."""
    with_comma = [field for row in rows for field in row if "," in field]
    return bool(with_comma) and all(DECIMAL_COMMA.fullmatch(field.strip()) for field in with_comma)


DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)


def table_notes(sources: Sequence[str], labelled: bool = False) -> list[str]:
    """Return what a user should know of how tables are read, a line each: delimiters that are not the ordinary ones.

    Args:
        labelled: whether labels are read, which may be the names of folders.
    """
    notes = []
    for source in sources:
        located = _locate(source)
        if not isinstance(located, Files):
            continue
        for path in located.paths:
            if text_suffix(path) in (".csv", ".tsv"):
                delimiter = delimiter_of(path)
                if delimiter != ("\t" if text_suffix(path) == ".tsv" else ","):
                    notes.append(f"{path}: fields are separated by {DELIMITERS.get(delimiter, repr(delimiter))}")
        if labelled and (classes := {path.relative_to(located.folder).parts[0] for path in located.class_files}):
            notes.append(f"{source}: the label of a text is the name of its folder: {', '.join(sorted(classes)):.200}")
    return notes


def delimited_rows(path: Path, errors: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line of a ``.csv`` or ``.tsv`` that is not empty, with the number of the line.

    Raises:
        UserError: the file is malformed, or a line has not as many fields as the first.
    """
    parser = _csv_parser()
    delimiter = delimiter_of(path)
    record: list[str] = []  # its lines
    lines = _kept_in(record, _whole_lines(path, errors, _newline_of(path)))
    if text_suffix(path) == ".tsv":
        rows = parser.reader(lines, delimiter=delimiter, quoting=parser.QUOTE_NONE)
    else:
        rows = parser.reader(lines, delimiter=delimiter, strict=True)
    width = 0
    try:
        for row in rows:
            is_separator = rows.line_num == 1 and _said_delimiter(record[0])
            record.clear()
            if not row or is_separator:  # an empty line is no record
                continue
            width = width or len(row)
            if len(row) != width:
                raise UserError(
                    f"every record must have {width} fields as the first line has, {path} line {rows.line_num} "
                    f"has {len(row)}; mend it (a delimiter or newline inside a field of a .csv needs quotes around it)"
                )
            yield rows.line_num, row
    except parser.Error as error:
        name = text_suffix(path)[1:].upper()
        if opened_in := _line_of_quote(record, delimiter):
            line = rows.line_num - len(record) + opened_in
            raise UserError(
                f"{path} must be {name}, the quote that opens in line {line} does not close before the end of its "
                f"field: {error}; close it, and double quotes inside a field"
            ) from error
        raise UserError(f"{path} must be {name}, line {rows.line_num}: {error}") from error


def _kept_in(kept: list[str], lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


def _line_of_quote(lines: Sequence[str], delimiter: str) -> int:
    """Return the line, from 1 on, in which the quoted field opens that makes a record malformed; 0 if none does."""
    found, state = 0, "start"
    for number, line in enumerate(lines, 1):
        for character in line:
            if state == "quoted":
                state = "closing" if character == '"' else "quoted"
            elif character == '"' and state in ("start", "closing"):  # one after another is a quote inside the field
                found = number if state == "start" else found
                state = "quoted"
            elif character == delimiter or character in "\r\n":
                state = "start"
            elif state == "closing":
                return found
            else:
                state = "plain"
    return found if state == "quoted" else 0


def header(fields: Sequence[str]) -> list[str]:
    """Return the names of columns that a first line holds, without the blanks and byte order marks around them."""
    return [field.strip().strip("\ufeff").strip() for field in fields]


def _read_delimited(path: Path, options: SourceOptions) -> Iterator[Record]:
    rows: Iterator[list[str]] = (row for _, row in delimited_rows(path, options.errors))
    first = next(rows, None)
    if first is None:
        return
    names = header(first)
    # By number, unless all names in the file are numbers: the first record of one without names may hold "1".
    if all(name.isdecimal() for name in options.columns) and not all(name.isdecimal() for name in names):
        names, rows = [str(number) for number in range(1, len(first) + 1)], chain([first], rows)
    _require_columns(path, names, options)
    places = [names.index(name) for name in options.columns]
    for row in rows:
        text, *label = (row[place] for place in places)
        yield Record(text, label_value(path, label[0]) if label else "", names, row)


def _is_fasttext(path: Path) -> bool:
    """Return whether the first line that is not empty begins with a label of fastText."""
    with opened(path) as file:
        start = file.read(1 << 10)
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_FASTTEXT.encode())


def _read_fasttext(path: Path, options: SourceOptions) -> Iterator[Record]:
    for number, line in enumerate(_whole_lines(path, options.errors), 1):
        labels = re.findall(rf"(?<!\S){_FASTTEXT}(\S+)", line)
        if len(labels) > 1:
            raise UserError(
                f"a text must have one label, {path} line {number} has {len(labels)}: {', '.join(labels):.200}; keep "
                "one, or train a classifier for each"
            )
        text = re.sub(rf"(?<!\S){_FASTTEXT}\S+\s?", "", line).strip()
        label = label_value(path, labels[0]) if labels else ""
        yield Record(text, label, ("label", "text"), (label, text))


def json_objects(path: Path, errors: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a ``.json`` or ``.jsonl``, with its place for people.

    Raises:
        UserError: the file is malformed, or holds something else.
    """
    lines = _whole_lines(path, errors)
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        is_array = line.lstrip().startswith("[")
        try:
            records = json.loads(line + "".join(lines)) if is_array else [json.loads(line)]
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} must hold a JSON object a line, or one array of them; line {number}: {error}"
            ) from error
        for index, record in enumerate(records, 1):
            place = f"{path} record {index}" if is_array else f"{path} line {number}"
            if not isinstance(record, dict):
                raise UserError(f"a JSON record must be an object, {place} is: {json.dumps(record):.60}")
            yield place, record


def _read_json(path: Path, options: SourceOptions) -> Iterator[Record]:
    for place, record in json_objects(path, options.errors):
        _require_columns(place, list(record), options)
        text = _text_value(place, record[options.text], options)
        label = "" if options.label is None else label_value(place, record[options.label])
        text, label = (whole_characters(place, value, options.errors) for value in (text, label))
        yield Record(text, label, tuple(record), tuple(record.values()))


def whole_characters(place: str, text: str, errors: str) -> str:
    """The text, or an error: JSON can spell half a surrogate pair, UTF-8 cannot."""
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


def _require_columns(source: object, columns: Sequence[str], options: SourceOptions) -> None:
    for what, name in zip(("text", "label"), options.columns, strict=False):
        if name not in columns:
            raise UserError(
                f"the {what} column must be one of {', '.join(columns)!r:.200} in {source}, was: {name!r}; "
                f"name the column that holds the {what}: --{what} NAME"
            )


def _text_value(source: object, value: object, options: SourceOptions) -> str:
    if value is not None and not isinstance(value, str):
        raise UserError(f"the column {options.text} must hold text, {source} has: {value!r:.60}; name another column")
    return value or ""


def label_value(source: object, value: object, names: Sequence[str] | None = None) -> str:
    """A label as text: of a number its name, where the data set names its numbers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN: how pandas writes that none is there
        return ""
    if names and value == -1:  # the Hub's word for a label that is kept secret
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
    whole = re.fullmatch(r"([+-]?\d+)\.0+", text)  # as tables write a whole number whose column has gaps
    return whole[1] if whole else text


# What Hugging Face `datasets` reads


def _read_parquet(path: Path, options: SourceOptions, whole: bool = False) -> Iterator[Record]:
    """Yield the records of a file; `whole`: with all their columns."""
    with reading_parquet(path) as load:
        names = load().column_names
        _require_columns(path, names, options)
        columns = names if whole else options.columns
        yield from _read_records(path, load(columns=columns, batch_size=RECORDS_AT_ONCE), options)


@contextmanager
def reading_parquet(path: Path) -> Iterator[Callable[..., Any]]:
    """What opens a ``.parquet`` as a streaming dataset, with the options of `datasets`; its errors become one line."""
    import datasets

    files = {"data_files": [glob.escape(str(path.absolute()))], "split": "train", "streaming": True}

    def load(**options: Any) -> Any:
        with _quiet_datasets():
            return datasets.load_dataset("parquet", **files, **options)

    try:
        yield load
    except UserError:
        raise
    except Exception as error:  # of any library below `datasets`
        raise UserError(f"{path} must be a parquet file: {first_line(error)}") from error


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the Hugging Face Hub, or of its cache on this disk."""

    name: str
    config: str | None
    split: str

    def read(self, options: SourceOptions) -> Iterator[Piece]:
        yield from _as_documents(self.records(options))

    def load(self) -> Any:
        """The split.

        Raises:
            UserError: it is neither on this disk nor to be had from the Hub.
        """
        try:
            with _quiet_datasets(), _offline_without_answer():
                import datasets

                return datasets.load_dataset(self.name, self.config, split=self.split)
        except Exception as error:  # of any library below `datasets`
            raise UserError(
                f"a source must be a file, a folder, builtin or a Hugging Face dataset; {self.name} is not on this "
                f"disk and cannot be had from the Hub: {first_line(error)}{_nearest_name(Path(self.name))}"
            ) from error

    def records(self, options: SourceOptions, skipped: Counter[str] | None = None) -> Iterator[Record]:
        """Those of the split."""
        records = self.load()
        _require_columns(self.name, records.column_names, options)
        yield from _read_records(self.name, records.select_columns(options.columns), options)

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield those of the split with all their columns."""
        records = self.load()
        _require_columns(self.name, records.column_names, options)
        yield from _read_records(self.name, records, options)

    def identity(self) -> list[Any]:
        return ["hub", self.name, self.config, self.split]

    def text_bytes(self) -> None:
        return None


_datasets_lock = threading.RLock()  # two threads that change a switch and restore it would leave it changed


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Silence the log of `datasets` in the block: what it logs, it also raises."""
    import datasets  # takes seconds and a hundred megabytes

    with _datasets_lock:
        before = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        try:
            yield
        finally:
            datasets.logging.set_verbosity(before)


@contextmanager
def _offline_without_answer() -> Iterator[None]:
    """Let `datasets` look only in its cache in the block if the Hub does not answer, else it retries for long."""
    from datasets import config

    with _datasets_lock:
        before = config.HF_HUB_OFFLINE
        config.HF_HUB_OFFLINE = before or not _answers(config.HF_ENDPOINT)
        try:
            yield
        finally:
            config.HF_HUB_OFFLINE = before


def record_batches(records: Any) -> Iterator[dict[str, list[Any]]]:
    """Yield the records of a data set, `RECORDS_AT_ONCE` at a time, by column."""
    batches = records.iter(RECORDS_AT_ONCE)
    while True:
        with _quiet_datasets():  # not around the yield: the caller's log stays as it is
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def _read_records(source: object, records: Any, options: SourceOptions) -> Iterator[Record]:
    names = getattr((records.features or {}).get(options.label), "names", None)
    for batch in record_batches(records):
        columns = tuple(batch)
        for values in zip(*batch.values(), strict=True):
            record = dict(zip(columns, values, strict=True))
            label = "" if options.label is None else label_value(source, record[options.label], names)
            yield Record(_text_value(source, record[options.text], options), label, columns, values)


def first_line(error: Exception) -> str:
    """What an error of another library says, as part of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_RECORD_READERS = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}
