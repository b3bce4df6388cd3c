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

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Protocol

from textrnn.data.hugging_face import HubDataset, read_parquet
from textrnn.data.records import Record, SourceOptions, TextBlock, as_documents, label_value
from textrnn.data.tables import DELIMITERS, FASTTEXT, delimiter_of, is_fasttext, read_fasttext, read_json, read_table
from textrnn.data.text_files import decode, is_mark, nearest_name, read_plain, text_suffix, unreadable, whole_lines
from textrnn.errors import UserError
from textrnn.files import sha256

_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")


def read_documents(sources: Sequence[str], options: SourceOptions) -> Iterator[TextBlock]:
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
    """Yield the documents of `read_documents`, each as one string."""
    pieces: list[str] = []
    for text, ends_document in read_documents(sources, options):
        pieces.append(text)
        if ends_document:
            yield "".join(pieces)
            pieces = []


def read_text(sources: Sequence[str], options: SourceOptions, separate_documents: bool) -> Iterator[TextBlock]:
    """Yield the text of sources as a model reads it.

    Documents apart are those of `read_documents`. Together they are one text: what a document is in plain text makes no
    difference then, and one that does not end with a newline gets one before the next, so that no two words are glued.
    """
    if separate_documents:
        yield from read_documents(sources, options)
        return
    last, starts_document = "\n", False
    for text, ends_document in read_documents(sources, replace(options, documents="file")):
        if starts_document and last != "\n":
            text = "\n" + text
        yield TextBlock(text, ends_document)
        last, starts_document = text[-1:] or last, ends_document


def plain_files(sources: Sequence[str]) -> list[tuple[Path, int]] | None:
    """Return the files with text and their sizes in bytes; None if a source is more than plain text files.

    Raises:
        UserError: a source is missing, not readable, or without text.
    """
    found: list[tuple[Path, int]] = []
    for source, located in [(source, _locate(source)) for source in sources]:
        if not isinstance(located, Files) or located.text_bytes() is None:
            return None
        try:
            files = [(path, path.stat().st_size) for path in located.paths]
            with_text = [(path, size) for path, size in files if size > 3 or (size and not is_mark(path))]
        except OSError as error:
            raise unreadable(error) from error
        if not with_text:
            raise _without_text(source)
        found += with_text
    return found


def read_labelled(sources: Sequence[str], options: SourceOptions, skipped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield texts with their labels, in order.

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
            elif not label and not options.several_labels:
                skipped["texts without a label"] += 1
            else:
                found = True
                yield text, label
        if not found:
            raise UserError(
                f"a source must hold some labelled text, found none in: {source}; give a file of records "
                f"({', '.join(_RECORD_READERS)}) with text and label in two columns, lines that begin with "
                f"{FASTTEXT}NAME, or a folder of text files with a folder for each class"
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
    """Compute the SHA-256, as hexadecimal digits, of what `read_documents` would read.

    Files count by size and content, wherever they lie; those of a folder by their names inside it too, a single one by
    the end of its name, which says how it is read. A Hugging Face dataset
    counts by its name, configuration and split, so that a prepared one is found again without a network.
    """
    parts = [_locate(source, options.label is not None).identity() for source in sources]
    return hashlib.sha256(json.dumps([parts, asdict(options)]).encode()).hexdigest()


def count_bytes(sources: Sequence[str]) -> int | None:
    """Count the bytes of UTF-8 text in the sources; None if that is not known without reading them."""
    sizes = [_locate(source).text_bytes() for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


class _Source(Protocol):
    """A place that text is read from."""

    def read(self, options: SourceOptions) -> Iterator[TextBlock]:
        """Yield the documents, block by block."""

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        """Yield the documents with their labels."""

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield every record with all its columns."""

    def identity(self) -> list[Any]:
        """Return what identifies this text, as JSON values."""

    def text_bytes(self) -> int | None:
        """Count the bytes of UTF-8 text; None if that is not known without reading."""


def _locate(source: str, labelled: bool = False) -> _Source:
    """Find the source that a string names, without reading it; `labelled`: whether its labels are wanted."""
    if source == "builtin":
        return _reviews() if labelled else _Manual()
    return find(source)


def find(source: str) -> Files | HubDataset:
    """Find a source on this disk or on the Hub, without reading it.

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
    raise UserError(f"a source must be a file or folder that exists, was: {source!r}{nearest_name(path)}")


def _files(path: Path) -> Files | None:
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file()]
        return Files(path, tuple(sorted(file for file in found if not _is_hidden(file.relative_to(path)))), True)
    if path.exists() and not path.is_file():
        raise ValueError("neither of the two; save its text to a file first")
    return Files(path.parent, (path,)) if path.is_file() else None


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


class _Manual:
    """The Python language manual that comes with CPython: 459,000 characters in Python 3.10, 511,000 in 3.13."""

    def topics(self) -> list[str]:
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise UserError("this Python comes without its manual (pydoc_data.topics); give a text file") from error
        return [topics[name] for name in sorted(topics)]

    def read(self, options: SourceOptions) -> Iterator[TextBlock]:
        return (TextBlock(topic, True) for topic in self.topics())

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

    def read(self, options: SourceOptions) -> Iterator[TextBlock]:
        for path in self.paths:
            if text_suffix(path) in _RECORD_READERS:
                yield from as_documents(_RECORD_READERS[text_suffix(path)](path, options))
            else:
                yield from read_plain(path, options)

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        """Yield those of the files that hold any; the others are counted."""
        for path in self.paths:
            if text_suffix(path) in _RECORD_READERS:
                yield from _RECORD_READERS[text_suffix(path)](path, options)
            elif is_fasttext(path):
                yield from read_fasttext(path, options)
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
        text = "".join(piece.text for piece in decode(path, options.errors))
        return Record(text, label_value(path, path.relative_to(self.folder).parts[0]))

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield those of files of records, the lines of a plain text file, and of a folder each such file as one."""
        for path in self.paths:
            if text_suffix(path) == ".parquet":
                yield from read_parquet(path, options, whole=True)
            elif text_suffix(path) in _RECORD_READERS:
                yield from _RECORD_READERS[text_suffix(path)](path, options)
            elif is_fasttext(path):
                yield from read_fasttext(path, options)
            elif self.is_folder:
                yield _plain_record("".join(piece.text for piece in decode(path, options.errors)))
            else:
                for line in whole_lines(path, options.errors):
                    yield _plain_record(line.removesuffix("\n").removesuffix("\r"))

    def identity(self) -> list[Any]:
        try:
            return [[self._name(path), path.stat().st_size, sha256(path)] for path in self.paths]
        except OSError as error:
            raise unreadable(error) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if self.is_folder else text_suffix(path)

    def text_bytes(self) -> int | None:
        if any(path.suffix.lower() == ".gz" or text_suffix(path) in _RECORD_READERS for path in self.paths):
            return None
        return sum(path.stat().st_size for path in self.paths)


def _reviews() -> Files:
    """Return the built-in example: short reviews in English and Chinese, with labels."""
    folder = Path(__file__).with_name("reviews")
    return Files(folder, tuple(sorted(folder.glob("*.jsonl"))))


def _without_text(source: str) -> UserError:
    return UserError(f"a source must hold some text, found none in: {source}; give another file, folder or column")


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


_RECORD_READERS = {
    ".csv": read_table,
    ".tsv": read_table,
    ".json": read_json,
    ".jsonl": read_json,
    ".parquet": read_parquet,
}
