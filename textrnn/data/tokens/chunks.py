"""Chunks of a corpus, which can be read independently and processed in parallel.

The bounds of chunks depend only on the sources, and lie between blocks of the reader (`read_text`). So the result over
all chunks is the same for any number of processes, and the same as for the whole text.

Plain text files are split by bytes, and each worker process reads its chunk from the file. The records of all other
sources are read in this process, in order, and sent to the workers.
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

# Text of a single chunk is processed without worker processes. After every OF_EACH_SIZE chunks the chunk size doubles,
# so that a large text does not become more files than a process may open.
CHUNK_BYTES = 32 << 20
OF_EACH_SIZE = 128
OF_LITTLE_WORK = 8
HANDED_TO = 4  # maximum number of workers that text is sent to: one chunk more than this is in memory
REPORT_BYTES = 1 << 20

Divided = Iterator[tuple[bool, TextBlock]]
"""An iterator over pairs of an is-held-out flag and a text block."""


class Chunk(Protocol):
    """A chunk of the text."""

    @property
    def index(self) -> int:
        """The index among all chunks, from 0."""

    def read(self) -> Divided:
        """Yield the text blocks of the chunk."""


@dataclass(frozen=True)
class FileStretch:
    """A chunk of plain text files, as a list of spans.

    Args:
        index: index of the chunk.
        spans: spans of the files.
        options: options of reading.
        separate_documents: whether documents are kept separate.
        held_out: fraction of the text that is held out; None for none.
        before: position of the chunk, if some text is held out. It is the number of documents before the chunk if
            documents are separate, else the number of training characters left from the start of the chunk.
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
class TextStretch:
    """A chunk of text blocks that are in memory, or that are read while it is iterated."""

    index: int
    pieces: Iterable[tuple[bool, TextBlock]]

    def read(self) -> Divided:
        return iter(self.pieces)


@dataclass(frozen=True)
class Corpus:
    """Sources with the options of reading and of processing them.

    Args:
        sources, options: as in `read_text`.
        separate_documents: whether documents are kept separate.
        held_out: fraction of the text that is held out, above 0 and below 1; None for none.
        processes: number of processes; 0 means one per core. It changes only the time, not the result.
        quiet: whether to hide the progress.

    Raises:
        UserError: `held_out` is out of range.
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
        """Yield the text blocks of the whole corpus, read in this process."""
        chunks = self.chunks()
        with self._progress("Reading") as report:
            for chunk in chunks:
                yield from reported(chunk.read(), report)

    def training_texts(self) -> Iterator[str]:
        """Return an iterator over the training text, read in this process in blocks of a few megabytes at most."""
        return (piece.text for is_held_out, piece in self.read() if not is_held_out)

    def each(
        self,
        what: str,
        function: Callable[[Any, Report], Any],
        finished: Callable[[int], int | None] = lambda index: None,
    ) -> Generator[Any, None, None]:
        """Apply a function to each chunk; the results are in the order of the text.

        Args:
            what: name of the activity, for the progress bar.
            function: ``(chunk, report) -> result``. It reports the bytes of text it has processed. The function and the
                results are pickled if there are several processes.
            finished: function that maps the index of a chunk to its bytes of text if the chunk is finished and must be
                skipped, else to None.
        """
        return self._each(self.chunks(), what, function, finished)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks. The caller must read each chunk before it requests the next."""
        files = plain_files(self.sources)
        if files is None:
            for index, group in groupby(self._numbered(), key=itemgetter(0)):
                yield TextStretch(index, ((is_held_out, piece) for _, is_held_out, piece in group))
            return
        chunks = list(self._of_files(files))
        if self.held_out is None:
            yield from chunks
            return
        few = len(chunks) <= OF_LITTLE_WORK  # counting them takes less time than to start processes
        counting = replace(self, processes=1) if few else self
        counts = list(counting._each(iter(chunks), "Counting", count))
        total = sum(characters for characters, _ in counts)
        before = 0 if self.separate_documents else int(total * (1 - self.held_out))
        for chunk, (characters, documents) in zip(chunks, counts, strict=True):
            yield replace(chunk, held_out=self.held_out, before=before)
            before = before + documents if self.separate_documents else max(0, before - characters)

    def _of_files(self, files: Sequence[tuple[Path, int]]) -> Iterator[FileStretch]:
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
                    yield FileStretch(index, tuple(spans), self.options, self.separate_documents)
                    index, size, spans = index + 1, 0, []
        if spans:
            yield FileStretch(index, tuple(spans), self.options, self.separate_documents)

    def _numbered(self) -> Iterator[tuple[int, bool, TextBlock]]:
        """Yield chunk index, is-held-out flag and block of sources that can only be read from their start."""
        before = 0
        if self.held_out is not None and not self.separate_documents:
            with self._progress("Counting") as report:
                whole = TextStretch(0, divide(self._pieces(), None, self.separate_documents, 0))
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
        first = next(chunks, None)  # before the progress bar: reading the first chunk may show its own
        if first is None:
            return
        with self._progress(what) as report:

            def is_left(chunk: Chunk) -> bool:
                size = finished(chunk.index)
                report(size or 0)
                return size is None

            left: Iterator[Chunk] = filter(is_left, chain([first], chunks))
            if isinstance(first, TextStretch):  # it may be the only chunk; the text of later ones is sent to workers
                yield from (function(chunk, report) for chunk in islice(left, 1))
            processes = self.processes or cores()
            if isinstance(first, TextStretch):
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
                with lock:  # each worker reports from its own thread
                    progress.update(size)

            yield report


def divide(pieces: Iterable[TextBlock], held_out: float | None, separate_documents: bool, before: int) -> Divided:
    """Split text blocks into training and held-out blocks; `before` as in `FileStretch`."""
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
    """Yield the blocks unchanged, and report their bytes about every `REPORT_BYTES`."""
    size = 0
    for is_held_out, piece in pieces:
        yield is_held_out, piece
        size += utf8_length(piece.text)
        if size >= REPORT_BYTES:
            report(size)
            size = 0
    report(size)


def count(chunk: Chunk, report: Report) -> tuple[int, int]:
    """Return the number of characters of a chunk, and of documents that end in it."""
    characters = documents = 0
    for _, piece in reported(chunk.read(), report):
        characters += len(piece.text)
        documents += piece.ends_document
    return characters, documents


def utf8_length(text: str) -> int:
    """Return the bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def chunk_bytes(index: int) -> int:
    """Return the approximate bytes of text in the chunk of an index."""
    return CHUNK_BYTES << index // OF_EACH_SIZE


def _whole(chunk: Chunk) -> Chunk:
    """Return a chunk that can be pickled for another process."""
    return replace(chunk, pieces=tuple(chunk.read())) if isinstance(chunk, TextStretch) else chunk
