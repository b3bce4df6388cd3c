"""Sources of text, read one document at a time in bounded memory.

A source is a string:

* ``builtin``: the Python language manual in CPython's ``pydoc_data.topics``. Its documents are the topics, sorted by
  name. For labelled text: the short reviews in the folder ``reviews`` next to this file;
* a file. ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` and ``.parquet`` have one document per record, in the column
  `SourceOptions.text`. All other files are plain text, and `SourceOptions.documents` defines their documents.
  All files but ``.parquet`` may be compressed (``.gz``). A ``.csv`` is quoted as in RFC 4180. Its delimiter is
  detected: a comma, semicolon, tab or bar, or the one of a first line ``sep=``. A ``.tsv`` is read as it stands,
  unless its first lines show that fields are in quotes. Both start
  with a header line, unless columns are named by number. Their lines may also end with a single ``\\r``. A ``.json``
  or ``.jsonl`` has one object per line, or one array of objects (which is read into memory); a ``.json`` may also have
  this array in one object. A field ``b`` of a nested object ``a`` is the column ``a.b``;
* a folder: all files in it and its subfolders, sorted by name, without hidden files;
* a Hugging Face dataset: ``NAME[:CONFIG][@SPLIT]``, as in ``wikitext:wikitext-2-raw-v1@validation`` or ``owner/name``.
  The default split is ``train``. It is downloaded once to the cache of Hugging Face and then read from there.

Local files have priority over datasets of the Hub. A file named ``builtin`` is given as ``./builtin``.

Text is UTF-8, or UTF-16 that begins with its byte order mark. Newlines stay exactly as they are in the file. A byte
order mark at the start of a file is dropped: it marks the encoding and is not part of the text. Empty documents are
skipped.

Labelled text (`read_labelled`) is one of these: a record with a label; a line of a plain text file that begins with
``__label__NAME``, as in fastText; a line of a plain text file whose lines are two sides and a tab, read as a ``.tsv``;
a plain text file in a folder that is named after its class, if the source folder has
no record files.
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

from textrnn.config import DataConfig
from textrnn.data.columns import UnclearColumnsError, find_columns
from textrnn.data.hugging_face import HubDataset, read_parquet
from textrnn.data.records import Record, SourceOptions, TextBlock, as_documents, label_value
from textrnn.data.tables import (
    DELIMITERS,
    FASTTEXT,
    delimiter_of,
    has_pairs,
    is_fasttext,
    read_fasttext,
    read_json,
    read_table,
)
from textrnn.data.text_files import (
    decode,
    is_mark,
    is_utf16,
    nearest_name,
    read_plain,
    text_suffix,
    unreadable,
    whole_lines,
)
from textrnn.errors import UserError
from textrnn.files import sha256

_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")


def read_documents(sources: Sequence[str], options: SourceOptions) -> Iterator[TextBlock]:
    """Yield the text of sources, one after the other, in blocks of a few megabytes at most.

    A long plain text is cut after a newline if possible, and never between ``\\r`` and ``\\n``.

    Raises:
        UserError: a source is missing, cannot be read as the type of its suffix, or has no text.
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

    Separate documents are those of `read_documents`. Otherwise the documents are joined to one text, and
    `SourceOptions.documents` has no effect. A newline is put between two documents if the first does not end with one,
    so that two words are never joined.
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
    """Return the non-empty files of the sources with their sizes in bytes; None if not all are uncompressed plain text.

    Raises:
        UserError: a source is missing, cannot be read, or has no text.
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

    Records without text or label, and files of a folder without records, are skipped and counted.

    Args:
        sources: files, folders, Hugging Face ids or ``builtin``.
        options: options of reading; they name the label column.
        skipped: counter of skipped items by kind, updated in place.

    Raises:
        UserError: a source is missing, cannot be read as the type of its suffix, lacks a column, or has no labelled
            text.
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
    """Yield every record of a source with all its columns, in order, even if its text is empty.

    A record of plain text has the column `text`. It is a line of a single file, or a whole file of a folder.

    Raises:
        UserError: the source is missing, cannot be read as the type of its suffix, lacks the column, or has no record.
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
    """Return the SHA-256, in hexadecimal digits, that identifies the text `read_documents` would read.

    A file counts by its size and content, not by its location. A file of a folder also counts by its relative path, a
    single file by its suffix, which decides how it is read. A Hugging Face dataset counts by its name, configuration
    and split, so that a prepared dataset is found again without a network.
    """
    parts = [_locate(source, options.label is not None).identity() for source in sources]
    return hashlib.sha256(json.dumps([parts, asdict(options)]).encode()).hexdigest()


def count_bytes(sources: Sequence[str]) -> int | None:
    """Return the bytes of UTF-8 text in the sources; None if they must be read to know it."""
    sizes = [_locate(source).text_bytes() for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


class _Source(Protocol):
    """A source of text."""

    def read(self, options: SourceOptions) -> Iterator[TextBlock]:
        """Yield the documents in blocks."""

    def records(self, options: SourceOptions, skipped: Counter[str]) -> Iterator[Record]:
        """Yield the documents with their labels."""

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield every record with all its columns."""

    def identity(self) -> list[Any]:
        """Return JSON values that identify this text."""

    def text_bytes(self) -> int | None:
        """Return the bytes of UTF-8 text; None if the source must be read to know it."""


def _locate(source: str, labelled: bool = False) -> _Source:
    """Return the source that a string names, without reading it; `labelled`: whether labels will be read."""
    if source == "builtin":
        return _reviews() if labelled else _Manual()
    return find(source)


def find(source: str) -> Files | HubDataset:
    """Return the files or the Hub dataset that a source string names, without reading them.

    Raises:
        UserError: no file or folder has this name, and it is not a valid name of a Hugging Face dataset; or the file is
            a workbook.
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
    except (OSError, ValueError, RuntimeError) as error:  # name too long, NUL in it, home folder of an unknown user
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
    """The Python language manual of CPython: 459,000 characters in Python 3.10, 511,000 in 3.13."""

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
    """A single file, or all files of a folder."""

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
        """Yield the records of all files that have records. Count the other files in `skipped`."""
        for path in self.paths:
            if text_suffix(path) in _RECORD_READERS:
                yield from _RECORD_READERS[text_suffix(path)](path, options)
            elif is_fasttext(path):
                yield from read_fasttext(path, options)
            elif path in self.class_files:
                yield self._class_record(path, options)
            elif self.has_lines_of_pairs(path):
                yield from read_table(path, options)
            else:
                skipped["files without records"] += 1

    @cached_property
    def class_files(self) -> frozenset[Path]:
        """The plain text files in the class folders of a folder; none if the folder has record files."""
        if not self.is_folder or any(text_suffix(path) in _RECORD_READERS for path in self.paths):
            return frozenset()
        return frozenset(path for path in self.paths if len(path.relative_to(self.folder).parts) > 1)

    def has_lines_of_pairs(self, path: Path) -> bool:
        """Return whether plain text is a table of texts and labels: the source itself, of lines with a tab each."""
        return not self.is_folder and not is_fasttext(path) and has_pairs(path)

    def _class_record(self, path: Path, options: SourceOptions) -> Record:
        text = "".join(piece.text for piece in decode(path, options.errors))
        return Record(text, label_value(path, path.relative_to(self.folder).parts[0]))

    def rows(self, options: SourceOptions) -> Iterator[Record]:
        """Yield each record of record files, each line of a single text file, each plain text file of a folder."""
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
        if any(map(is_utf16, self.paths)):
            return None
        return sum(path.stat().st_size for path in self.paths)


def _reviews() -> Files:
    """Return the files of the built-in labelled data: short reviews in English and Chinese, written for textrnn."""
    folder = Path(__file__).with_name("reviews")
    return Files(folder, tuple(sorted(folder.glob("*.jsonl"))))


def _without_text(source: str) -> UserError:
    return UserError(f"a source must hold some text, found none in: {source}; give another file, folder or column")


def table_notes(sources: Sequence[str], labelled: bool = False) -> list[str]:
    """Return notes for the user about how tables are read, one line each: unusual delimiters, labels from folder names.

    Args:
        sources: files, folders, Hugging Face ids or ``builtin``.
        labelled: whether labels are read; only then the notes mention folder names that are used as labels.
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


def with_found_columns(data: DataConfig, options: SourceOptions) -> tuple[DataConfig, list[str]]:
    """Name the columns of a table that go by other names than the settings say, where there is no doubt.

    Args:
        data: settings of the data.
        options: how the data are read with them.

    Returns:
        The settings, with the columns of the first table if they are found, and notes that say so. A source that cannot
        be read changes nothing: whoever reads it next tells why.

    Raises:
        UserError: several columns can be the text, or the label.
    """
    labelled = options.label is not None
    defaults = replace(options, text=DataConfig().text, label=DataConfig().label if labelled else None)
    try:
        tables = (path for source in data.source for path in _tables(_locate(source, labelled), labelled))
        path = next(tables, None)
        if path and (found := find_columns(path, options, defaults)):
            names = [f"column {name}" if name.isdecimal() else f"the column {name!r:.60}" for name in found]
            first = "the first line is a record too, " if found[0].isdecimal() else ""
            label = f", labels in {names[1]} (--text and --label name others)" if labelled else ""
            named = replace(data, text=found[0], label=found[1] if labelled else data.label)
            return named, [f"{path}: {first}texts are in {names[0]}{label}"]
    except UnclearColumnsError:
        raise
    except (UserError, OSError, ValueError):
        pass
    return data, []


def _tables(located: _Source, labelled: bool) -> Iterator[Path]:
    """Yield the tables of a source that are text; also plain text whose lines are two sides and a tab, for labels."""
    if not isinstance(located, Files):
        return
    for path in located.paths:
        is_plain = text_suffix(path) not in _RECORD_READERS
        if text_suffix(path) in _TEXT_TABLES or (labelled and is_plain and located.has_lines_of_pairs(path)):
            yield path


_TEXT_TABLES = (".csv", ".tsv", ".json", ".jsonl")

_RECORD_READERS = {
    ".csv": read_table,
    ".tsv": read_table,
    ".json": read_json,
    ".jsonl": read_json,
    ".parquet": read_parquet,
}
