"""Sources cut into chunks of text that can be read each by itself, and something done with every one of them.

Where a chunk begins and ends depends on the sources alone, and lies where the reader cuts anyway (`read_text`): what
is made of the chunks, in however many processes, is what one process makes of the whole text.

Plain text files are cut by bytes, and whoever works on a chunk reads it from the file itself. Of every other source
the records are read here, in order, and handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from tqdm import tqdm

from textrnn.data import text_files as reader
from textrnn.data.records import SourceOptions, TextBlock
from textrnn.data.sources import count_bytes, plain_files, read_text
from textrnn.data.text_files import Span, ends_with_newline, read_spans
from textrnn.data.tokens.processes import Processes, Report
from textrnn.errors import UserError
from textrnn.hardware import cores

# Of less text no process beside this one is started. Chunks grow with the text, so that a large one is not cut into
# more files than a process may have open: there are so many of a size before the next ones are twice as long.
CHUNK_BYTES = 32 << 20
OF_EACH_SIZE = 128
OF_LITTLE_WORK = 8
HANDED_TO = 4  # processes at most, where text is handed on: so many chunks and one are in memory at a time
REPORT_BYTES = 1 << 20

Divided = Iterator[tuple[bool, TextBlock]]
"""Pieces of text, each with whether it is held out."""


class Chunk(Protocol):
    """Some of the text."""

    @property
    def index(self) -> int:
        """Of all chunks, counted from 0."""

    def read(self) -> Divided:
        """Yield its blocks."""


@dataclass(frozen=True)
class FileChunk:
    """Spans of plain text files.

    Args:
        before: what comes before, where some text is held out: documents, if those are apart; else how many characters
            are left, from here on, to train on.
    """

    index: int
    spans: tuple[Span, ...]
    options: SourceOptions
    separate_documents: bool
    held_out: float | None = None
    before: int = 0

    def read(self) -> Divided:
        pieces = read_spans(self.spans, self.options, self.separate_documents)
        return divide(pieces, self.held_out, self.separate_documents, self.before)


@dataclass(frozen=True)
class TextChunk:
    """Text that was read already, or that is read here and now."""

    index: int
    pieces: Iterable[tuple[bool, TextBlock]]

    def read(self) -> Divided:
        return iter(self.pieces)


@dataclass(frozen=True)
class Corpus:
    """Sources, how they are read, and how the work on them is done.

    Args:
        sources, options: as `read_text` takes them.
        separate_documents: whether they are kept apart.
        held_out: share of the text that is held out, above 0 and below 1; None for none.
        processes: that work on it; 0 takes all cores. It changes nothing but the time it takes.
        quiet: show no progress.

    Raises:
        UserError: `held_out` is out of its range.
    """

    sources: Sequence[str]
    options: SourceOptions
    separate_documents: bool
    held_out: float | None
    processes: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise UserError(
                f"held_out must be above 0 and below 1, was: {self.held_out}; 0.1 keeps a tenth for evaluation"
            )

    def read(self) -> Divided:
        """Read all of it in this process."""
        chunks = self.chunks()
        with self._progress("Reading") as report:
            for chunk in chunks:
                yield from reported(chunk.read(), report)

    def training_texts(self) -> Iterator[str]:
        """Yield the training text, read in this process, a few megabytes at a time at most."""
        return (piece.text for is_held_out, piece in self.read() if not is_held_out)

    def each(
        self,
        what: str,
        function: Callable[[Any, Report], Any],
        finished: Callable[[int], int | None] = lambda index: None,
    ) -> Generator[Any, None, None]:
        """Give each chunk to a function; its results in the order of the text.

        Args:
            what: is done, for the progress that is shown.
            function: ``(chunk, report) -> result``, which reports bytes of text as it goes; it and the results are
                pickled where several processes do the work.
            finished: bytes of text in the chunk of an index, if nothing need be done about it.
        """
        return self._each(self.chunks(), what, function, finished)

    def chunks(self) -> Iterator[Chunk]:
        """Yield its chunks; read each before you ask for the next."""
        files = plain_files(self.sources)
        if files is None:
            for index, group in groupby(self._numbered(), key=itemgetter(0)):
                yield TextChunk(index, ((is_held_out, piece) for _, is_held_out, piece in group))
            return
        chunks = list(self._of_files(files))
        if self.held_out is None:
            yield from chunks
            return
        few = len(chunks) <= OF_LITTLE_WORK  # which are counted before processes have started
        counting = replace(self, processes=1) if few else self
        counts = list(counting._each(iter(chunks), "Counting", count))
        total = sum(characters for characters, _ in counts)
        before = 0 if self.separate_documents else int(total * (1 - self.held_out))
        for chunk, (characters, documents) in zip(chunks, counts, strict=True):
            yield replace(chunk, held_out=self.held_out, before=before)
            before = before + documents if self.separate_documents else max(0, before - characters)

    def _of_files(self, files: Sequence[tuple[Path, int]]) -> Iterator[FileChunk]:
        block_bytes = reader.BLOCK_BYTES
        index = size = 0
        spans: list[Span] = []
        before: Path | None = None
        for path, file_bytes in files:
            after_newline = not self.separate_documents and before is not None and not ends_with_newline(before)
            before = path
            first, blocks = 0, -(-file_bytes // block_bytes)
            while first < blocks:
                end = min(blocks, first + max(1, (chunk_bytes(index) - size) // block_bytes))
                spans.append(Span(path, first, end, block_bytes, after_newline and not first))
                size += min(end * block_bytes, file_bytes) - first * block_bytes
                first = end
                if size >= chunk_bytes(index):
                    yield FileChunk(index, tuple(spans), self.options, self.separate_documents)
                    index, size, spans = index + 1, 0, []
        if spans:
            yield FileChunk(index, tuple(spans), self.options, self.separate_documents)

    def _numbered(self) -> Iterator[tuple[int, bool, TextBlock]]:
        """Yield blocks of sources that can only be read from their start, each with the index of its chunk."""
        before = 0
        if self.held_out is not None and not self.separate_documents:
            with self._progress("Counting") as report:
                whole = TextChunk(0, divide(self._pieces(), None, self.separate_documents, 0))
                characters, _ = count(whole, report)
            before = int(characters * (1 - self.held_out))
        index = size = 0
        for is_held_out, piece in divide(self._pieces(), self.held_out, self.separate_documents, before):
            yield index, is_held_out, piece
            size += utf8_length(piece.text)
            if size >= chunk_bytes(index):
                index, size = index + 1, 0

    def _pieces(self) -> Iterator[TextBlock]:
        return read_text(self.sources, self.options, self.separate_documents)

    def _each(
        self,
        chunks: Iterator[Chunk],
        what: str,
        function: Callable[[Any, Report], Any],
        finished: Callable[[int], int | None] = lambda index: None,
    ) -> Generator[Any, None, None]:
        first = next(chunks, None)  # before any progress is shown: what comes first may show some itself
        if first is None:
            return
        with self._progress(what) as report:

            def is_left(chunk: Chunk) -> bool:
                size = finished(chunk.index)
                report(size or 0)
                return size is None

            left: Iterator[Chunk] = filter(is_left, chain([first], chunks))
            if isinstance(first, TextChunk):  # which may be the only one; the text of those that follow is handed on
                yield from (function(chunk, report) for chunk in islice(left, 1))
            processes = self.processes or cores()
            if isinstance(first, TextChunk):
                processes = min(processes, HANDED_TO)
            if processes > 1:
                left = map(_whole, left)
                two = list(islice(left, 2))
                if len(two) == 2:
                    with Processes(processes, function, report, f"was {what.lower()}") as working:
                        yield from working.map(chain(two, left))
                    return
                left = iter(two)
            for chunk in left:
                yield function(chunk, report)

    @contextmanager
    def _progress(self, what: str) -> Iterator[Report]:
        total = None if self.quiet else count_bytes(self.sources)
        lock = Lock()
        with tqdm(
            total=total, desc=what, unit="B", unit_scale=True, disable=self.quiet, delay=1, leave=False
        ) as progress:

            def report(size: int) -> None:
                with lock:  # processes report from threads of their own
                    progress.update(size)

            yield report


def divide(pieces: Iterable[TextBlock], held_out: float | None, separate_documents: bool, before: int) -> Divided:
    """Yield blocks, each with whether it is held out; `before` is that of a `FileChunk`."""
    if held_out is None:
        yield from ((False, piece) for piece in pieces)
    elif separate_documents:
        for piece in pieces:
            yield int((before + 1) * held_out) > int(before * held_out), piece
            before += piece.ends_document
    else:
        for text, ends_document in pieces:
            if before:
                yield False, TextBlock(text[:before], ends_document and len(text) <= before)
            if len(text) > before:
                yield True, TextBlock(text[before:], ends_document)
            before = max(0, before - len(text))


def reported(pieces: Divided, report: Report) -> Divided:
    """Yield the same blocks, and report their bytes now and then."""
    size = 0
    for is_held_out, piece in pieces:
        yield is_held_out, piece
        size += utf8_length(piece.text)
        if size >= REPORT_BYTES:
            report(size)
            size = 0
    report(size)


def count(chunk: Chunk, report: Report) -> tuple[int, int]:
    """Count the characters of a chunk and the documents that end in it."""
    characters = documents = 0
    for _, piece in reported(chunk.read(), report):
        characters += len(piece.text)
        documents += piece.ends_document
    return characters, documents


def utf8_length(text: str) -> int:
    """Count the bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def chunk_bytes(index: int) -> int:
    """Return the approximate size of a chunk in bytes."""
    return CHUNK_BYTES << index // OF_EACH_SIZE


def _whole(chunk: Chunk) -> Chunk:
    """Return a chunk that can be sent to another process."""
    return replace(chunk, pieces=tuple(chunk.read())) if isinstance(chunk, TextChunk) else chunk
