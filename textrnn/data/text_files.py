"""Readers of text files in UTF-8, or UTF-16 with its mark: bounded blocks, whole lines, documents."""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

from textrnn.data.records import SourceOptions, TextBlock
from textrnn.errors import UserError

BLOCK_BYTES = 4 << 20
SAMPLED_CHARACTERS = 1 << 18  # read to find the line ending and the delimiter of a table
_RECORDING = "a recording, which --set data.reads=audio reads"
_SIGNATURES = {
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive, an office document or an Excel workbook, whose sheet can be saved as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old office document, whose sheet can be saved as CSV UTF-8",
    b"\x1f\x8b": "gzip data without the name .gz",
    b"\x7fELF": "a program",
    codecs.BOM_UTF32_LE: "UTF-32 text",
    codecs.BOM_UTF32_BE: "UTF-32 text",
    b"fLaC": _RECORDING,
    b"OggS": _RECORDING,
    b"ID3": _RECORDING,
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Span(NamedTuple):
    """Consecutive blocks of a plain text file, which can be read without the blocks before them.

    Args:
        path: the file.
        first: index of the first block, from 0.
        end: index after the last block.
        block_bytes: bytes of a block.
        after_newline: whether to put a newline before the text, because the text before it ends without one.
    """

    path: Path
    first: int
    end: int
    block_bytes: int
    after_newline: bool = False


def ends_with_newline(path: Path) -> bool:
    """Return whether the last character of a plain text file is a newline."""
    with opened(path) as file:
        file.seek(-1, io.SEEK_END)
        return file.read(1) == b"\n"


def read_spans(spans: Sequence[Span], options: SourceOptions, separate_documents: bool) -> Iterator[TextBlock]:
    """Yield the blocks of `read_text` that lie in these spans. The blocks do not depend on how spans cut the text."""
    by_line = separate_documents and options.documents == "line"
    for span in spans:
        pieces = decode(span.path, options.errors, span)
        in_document = span.first > 0 and not (by_line and starts_line(span))
        after_newline = span.after_newline
        for text, ends_document in split_lines(pieces) if by_line else pieces:
            if text or in_document:
                yield TextBlock("\n" + text if after_newline else text, ends_document)
                after_newline = False
            in_document = (in_document or text != "") and not ends_document


def text_suffix(path: Path) -> str:
    """Return the suffix that gives the file type: ``.csv`` for ``reviews.CSV.gz``."""
    return PurePath(path.name.lower().removesuffix(".gz")).suffix


def unreadable(error: OSError) -> UserError:
    return UserError(f"a source must be readable, {error.filename} is not: {error.strerror}")


# Plain text


def read_plain(path: Path, options: SourceOptions) -> Iterator[TextBlock]:
    pieces = decode(path, options.errors)
    return split_lines(pieces) if options.documents == "line" else pieces


def decode(path: Path, errors: str, span: Span | None = None) -> Iterator[TextBlock]:
    """Yield the text of a file as one document, one `TextBlock` per block of bytes.

    With `span`, yield only the blocks of the span; they are cut as those of the whole file.

    Raises:
        UserError: the file is binary, or is not UTF-8 and `errors` is ``strict``.
    """
    first, end_block, size = (span.first, span.end, span.block_bytes) if span else (0, None, BLOCK_BYTES)
    with opened_text(path, errors) as file:
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
                # Unless the block is the last, a character that is cut at its end is left for the next block.
                text, used = codecs.utf_8_decode(data[:end], errors, is_last)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"text must be UTF-8, {path} has the byte 0x{data[error.start]:02x} at offset "
                    f"{offset + error.start}; {_way_to_utf8(data)}, or go on with --errors replace"
                ) from error
            if text.endswith("\r") and not is_last:
                text, used = text[:-1], used - 1
            yield TextBlock(text, is_last)
            rest, offset = data[used:], offset + used


def _way_to_utf8(data: bytes) -> str:
    """Return how to convert bytes that are not UTF-8, with their encoding if it can be guessed."""
    guess, codec = "", "ENCODING"
    if _is_gb18030(data):
        guess, codec = "it seems to be GB18030: ", "gb18030"
    elif _can_be_western(data):
        guess, codec = "it may be Windows-1252, as Western European text often is: ", "cp1252"
    return f"{guess}convert it (iconv -f {codec} -t utf-8, or save as CSV UTF-8)"


def _is_gb18030(data: bytes) -> bool:
    """Return whether bytes are the usual encoding of Chinese text."""
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(data)
    except UnicodeDecodeError:
        return False
    beyond = [character.encode("gb18030") for character in text if character > "\x7f"]
    # Of other encodings, few bytes are the 3,755 most common characters: 0xb0 to 0xd7, then 0xa1 to 0xfe.
    common = sum(len(each) == 2 and 0xB0 <= each[0] <= 0xD7 and each[1] >= 0xA1 for each in beyond)
    return 3 * common > 2 * len(beyond)


def _can_be_western(data: bytes) -> bool:
    """Return whether bytes can be Windows-1252: mostly ASCII letters, and no sign inside a word."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    is_mostly_ascii = 2 * sum(map(str.isascii, letters)) > len(letters)
    return is_mostly_ascii and not re.search(r"[^\W\d_][\xa1-\xb6\xb8-\xbf\xd7\xf7][^\W\d_]", text)


def _end_of_block(file: BinaryIO, block: int, size: int) -> int:
    """Return the byte offset where the text of a block ends, from the block alone. It must not be the last one."""
    file.seek(block * size)
    data = file.read(size)
    if newline := data.rfind(b"\n") + 1:
        return block * size + newline
    text, used = codecs.utf_8_decode(data[-4:], "replace", False)
    return block * size + len(data) - len(data[-4:]) + used - text.endswith("\r")


def starts_line(span: Span) -> bool:
    with opened(span.path) as file:
        file.seek(_end_of_block(file, span.first - 1, span.block_bytes) - 1)
        return file.read(1) == b"\n"


def is_mark(path: Path) -> bool:
    """Return whether a file has only a byte order mark."""
    with path.open("rb") as file:
        return file.read(4) in (codecs.BOM_UTF8, *_UTF16)


class _AsUtf8(io.RawIOBase):
    """The text of a UTF-16 file as UTF-8. Its mark gives the order of the bytes."""

    def __init__(self, file: BinaryIO, errors: str) -> None:
        self._file, self._rest = file, b""
        self._decoder = codecs.getincrementaldecoder("utf-16")(errors)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            data = self._file.read(BLOCK_BYTES)
            self._rest = self._decoder.decode(data, not data).encode()
            if not data:
                break
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def is_utf16(path: Path) -> bool:
    """Return whether a file begins with the byte order mark of UTF-16."""
    with opened(path) as file:
        return _begins_as_utf16(file.read(4))


def _begins_as_utf16(start: bytes) -> bool:
    return start[:2] in _UTF16 and start != codecs.BOM_UTF32_LE


@contextmanager
def opened_text(path: Path, errors: str) -> Iterator[BinaryIO]:
    """Open a text file for reading bytes of UTF-8, as `opened`; UTF-16 is converted.

    Raises:
        UserError: as of `opened`; or the file is broken UTF-16, and `errors` is ``strict``.
    """
    with opened(path) as file:
        start = file.read(4)
        file.seek(0)
        if not _begins_as_utf16(start):
            yield file
            return
        try:
            yield io.BufferedReader(_AsUtf8(file, errors))
        except UnicodeDecodeError as error:
            raise UserError(
                f"text that begins with the mark of UTF-16 must be UTF-16, {path} is not: {error.reason}; save it as "
                "UTF-8, or go on with --errors replace"
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, decompressed if its name ends in ``.gz``.

    Raises:
        UserError: the file cannot be read, or is not a complete gzip file.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"a .gz must be one whole gzip file, {path} is not: {error}; compress it again") from error
    except OSError as error:
        raise unreadable(error) from error


def _refuse_binary(path: Path, start: bytes) -> None:
    kind = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if start.startswith(b"RIFF") and start[8:12] == b"WAVE":
        kind = _RECORDING
    if kind is None and b"\0" in start:
        try:
            codecs.utf_8_decode(start, "strict", False)
        except UnicodeDecodeError:
            kind = "binary"
    if kind:
        raise UserError(f"text must be UTF-8, {path} is {kind}; convert it or leave it out")


def split_lines(pieces: Iterable[TextBlock]) -> Iterator[TextBlock]:
    """Yield each line as a document, without its newline. Only ``\\n`` and ``\\r\\n`` end a line."""
    for piece in pieces:
        *lines, rest = piece.text.split("\n")
        yield from (TextBlock(line.removesuffix("\r"), True) for line in lines)
        if rest:
            yield TextBlock(rest, piece.ends_document)


# Files of records


def whole_lines(path: Path, errors: str, newline: str = "\n") -> Iterator[str]:
    """Yield the lines of a file with their newlines. Only `newline` ends a line."""
    start = ""
    for piece in decode(path, errors):
        for line in io.StringIO(piece.text, newline=newline):
            start += line
            if line.endswith(newline):
                yield start
                start = ""
    if start:
        yield start


def newline_of(path: Path) -> str:
    """Return the newline of a table: ``\\r`` if its start has no ``\\n``, as in files of old spreadsheets."""
    with opened_text(path, "replace") as file:
        start = file.read(SAMPLED_CHARACTERS)
    return "\r" if b"\r" in start and b"\n" not in start else "\n"


def nearest_name(path: Path) -> str:
    """Return a hint that names a file with a similar name, for a message; empty if there is none."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return "".join(f"; did you mean {path.with_name(name)}?" for name in difflib.get_close_matches(path.name, names, 1))
