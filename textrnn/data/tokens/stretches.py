"""Sources cut into stretches of text that can be read each by itself, and something done with every one of them.

Where a stretch begins and ends depends on the sources alone, and lies where the reader cuts anyway (`read_text`): what
is made of the stretches, in however many processes, is what one process makes of the whole text.

Plain text files are cut by bytes, and whoever works on a stretch reads it from the file itself. Of every other source
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
from textrnn.data.records import Piece, SourceOptions
from textrnn.data.sources import count_bytes, plain_files, read_text
from textrnn.data.text_files import Span, ends_with_newline, read_spans
from textrnn.data.tokens.processes import Processes, Report
from textrnn.errors import UserError
from textrnn.hardware import cores

# Of less text no process beside this one is started. Stretches grow with the text, so that a large one is not cut into
# more files than a process may have open: there are so many of a size before the next ones are twice as long.
STRETCH_BYTES = 32 << 20
OF_EACH_SIZE = 128
OF_LITTLE_WORK = 8
HANDED_TO = 4  # processes at most, where text is handed on: so many stretches and one are in memory at a time
REPORT_BYTES = 1 << 20

Divided = Iterator[tuple[bool, Piece]]
"""Pieces of text, each with whether it is held out."""


class Stretch(Protocol):
    """Some of the text."""

    @property
    def index(self) -> int:
        """Of all stretches, counted from 0."""

    def read(self) -> Divided:
        """Its pieces."""


@dataclass(frozen=True)
class FileStretch:
    """Spans of plain text files.

    Args:
        before: what comes before, where some text is held out: documents, if those are apart; else how many characters
            are left, from here on, to train on.
    """

    index: int
    spans: tuple[Span, ...]
    options: SourceOptions
    documents_apart: bool
    held_out: float | None = None
    before: int = 0

    def read(self) -> Divided:
        pieces = read_spans(self.spans, self.options, self.documents_apart)
        return divide(pieces, self.held_out, self.documents_apart, self.before)


@dataclass(frozen=True)
class TextStretch:
    """Text that was read already, or that is read here and now."""

    index: int
    pieces: Iterable[tuple[bool, Piece]]

    def read(self) -> Divided:
        return iter(self.pieces)


@dataclass(frozen=True)
class Corpus:
    """Sources, how they are read, and how the work on them is done.

    Args:
        sources, options: as `read_text` takes them.
        documents_apart: whether they are kept apart.
        held_out: share of the text that is held out, above 0 and below 1; None for none.
        processes: that work on it; 0 takes all cores. It changes nothing but the time it takes.
        quiet: show no progress.

    Raises:
        UserError: `held_out` is out of its range.
    """

    sources: Sequence[str]
    options: SourceOptions
    documents_apart: bool
    held_out: float | None
    processes: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise UserError(
                f"held_out must be above 0 and below 1, was: {self.held_out}; 0.1 keeps a tenth for evaluation"
            )

    def read(self) -> Divided:
        """All of it, read in this process."""
        stretches = self.stretches()
        with self._progress("Reading") as report:
            for stretch in stretches:
                yield from reported(stretch.read(), report)

    def training_texts(self) -> Iterator[str]:
        """What is not held out, read in this process, a few megabytes at a time at most."""
        return (piece.text for is_held_out, piece in self.read() if not is_held_out)

    def each(
        self,
        what: str,
        function: Callable[[Any, Report], Any],
        finished: Callable[[int], int | None] = lambda index: None,
    ) -> Generator[Any, None, None]:
        """Give each stretch to a function; its results in the order of the text.

        Args:
            what: is done, for the progress that is shown.
            function: ``(stretch, report) -> result``, which reports bytes of text as it goes; it and the results are
                pickled where several processes do the work.
            finished: bytes of text in the stretch of an index, if nothing need be done about it.
        """
        return self._each(self.stretches(), what, function, finished)

    def stretches(self) -> Iterator[Stretch]:
        """Its stretches; read each before you ask for the next."""
        files = plain_files(self.sources)
        if files is None:
            for index, group in groupby(self._numbered(), key=itemgetter(0)):
                yield TextStretch(index, ((is_held_out, piece) for _, is_held_out, piece in group))
            return
        stretches = list(self._of_files(files))
        if self.held_out is None:
            yield from stretches
            return
        few = len(stretches) <= OF_LITTLE_WORK  # which are counted before processes have started
        counting = replace(self, processes=1) if few else self
        counts = list(counting._each(iter(stretches), "Counting", count))
        total = sum(characters for characters, _ in counts)
        before = 0 if self.documents_apart else int(total * (1 - self.held_out))
        for stretch, (characters, documents) in zip(stretches, counts, strict=True):
            yield replace(stretch, held_out=self.held_out, before=before)
            before = before + documents if self.documents_apart else max(0, before - characters)

    def _of_files(self, files: Sequence[tuple[Path, int]]) -> Iterator[FileStretch]:
        block_bytes = reader.BLOCK_BYTES
        index = size = 0
        spans: list[Span] = []
        before: Path | None = None
        for path, file_bytes in files:
            after_newline = not self.documents_apart and before is not None and not ends_with_newline(before)
            before = path
            first, blocks = 0, -(-file_bytes // block_bytes)
            while first < blocks:
                end = min(blocks, first + max(1, (stretch_bytes(index) - size) // block_bytes))
                spans.append(Span(path, first, end, block_bytes, after_newline and not first))
                size += min(end * block_bytes, file_bytes) - first * block_bytes
                first = end
                if size >= stretch_bytes(index):
                    yield FileStretch(index, tuple(spans), self.options, self.documents_apart)
                    index, size, spans = index + 1, 0, []
        if spans:
            yield FileStretch(index, tuple(spans), self.options, self.documents_apart)

    def _numbered(self) -> Iterator[tuple[int, bool, Piece]]:
        """Pieces of sources that can only be read from their start, each with the index of its stretch."""
        before = 0
        if self.held_out is not None and not self.documents_apart:
            with self._progress("Counting") as report:
                whole = TextStretch(0, divide(self._pieces(), None, self.documents_apart, 0))
                characters, _ = count(whole, report)
            before = int(characters * (1 - self.held_out))
        index = size = 0
        for is_held_out, piece in divide(self._pieces(), self.held_out, self.documents_apart, before):
            yield index, is_held_out, piece
            size += utf8_length(piece.text)
            if size >= stretch_bytes(index):
                index, size = index + 1, 0

    def _pieces(self) -> Iterator[Piece]:
        return read_text(self.sources, self.options, self.documents_apart)

    def _each(
        self,
        stretches: Iterator[Stretch],
        what: str,
        function: Callable[[Any, Report], Any],
        finished: Callable[[int], int | None] = lambda index: None,
    ) -> Generator[Any, None, None]:
        first = next(stretches, None)  # before any progress is shown: what comes first may show some itself
        if first is None:
            return
        with self._progress(what) as report:

            def is_left(stretch: Stretch) -> bool:
                size = finished(stretch.index)
                report(size or 0)
                return size is None

            left: Iterator[Stretch] = filter(is_left, chain([first], stretches))
            if isinstance(first, TextStretch):  # which may be the only one; the text of those that follow is handed on
                yield from (function(stretch, report) for stretch in islice(left, 1))
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
            for stretch in left:
                yield function(stretch, report)

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


def divide(pieces: Iterable[Piece], held_out: float | None, documents_apart: bool, before: int) -> Divided:
    """Pieces, each with whether it is held out; `before` as that of a `FileStretch`."""
    if held_out is None:
        yield from ((False, piece) for piece in pieces)
    elif documents_apart:
        for piece in pieces:
            yield int((before + 1) * held_out) > int(before * held_out), piece
            before += piece.ends_document
    else:
        for text, ends_document in pieces:
            if before:
                yield False, Piece(text[:before], ends_document and len(text) <= before)
            if len(text) > before:
                yield True, Piece(text[before:], ends_document)
            before = max(0, before - len(text))


def reported(pieces: Divided, report: Report) -> Divided:
    """The same pieces; how many bytes they are is reported now and then."""
    size = 0
    for is_held_out, piece in pieces:
        yield is_held_out, piece
        size += utf8_length(piece.text)
        if size >= REPORT_BYTES:
            report(size)
            size = 0
    report(size)


def count(stretch: Stretch, report: Report) -> tuple[int, int]:
    """Characters of a stretch, and the documents that end in it."""
    characters = documents = 0
    for _, piece in reported(stretch.read(), report):
        characters += len(piece.text)
        documents += piece.ends_document
    return characters, documents


def utf8_length(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def stretch_bytes(index: int) -> int:
    """About how much text a stretch is."""
    return STRETCH_BYTES << index // OF_EACH_SIZE


def _whole(stretch: Stretch) -> Stretch:
    """A stretch that can be handed to another process."""
    return replace(stretch, pieces=tuple(stretch.read())) if isinstance(stretch, TextStretch) else stretch
