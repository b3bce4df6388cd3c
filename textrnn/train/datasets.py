"""Text to token ids on disk, and token ids to batches.

`prepare` tokenises sources once, in bounded memory, into memory-mapped files. `Batches` and `evaluation_batches` read
them as parallel streams, so that the state of the network can be carried from one batch to the next.

Held-out text is chosen by characters or documents, not tokens, so that it is the same for every tokenizer and can be
kept from the tokenizer's own training (`training_texts`):

* documents together: the end of the text, ``text[int(len(text) * (1 - held_out)):]``;
* documents apart: every document at which ``int(index * held_out)`` steps up; for 0.1, every tenth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.scoring import TextSize, text_size
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.train.sources import Piece, SourceOptions, count_bytes, read_text, source_fingerprint

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """Token ids on disk, and what they stand for.

    Attributes:
        path: the ``.bin`` file; a ``.json`` of the same name lies beside it.
        ids: memory-mapped, ``(tokens,)``, of the smallest unsigned type that holds the vocabulary.
        characters, bytes: of the text, as Unicode and as UTF-8; ends of documents are not counted.
        documents: how many end in it.
        counted: the words of the text too, and what the tokenizer did not know of it; None of what is trained on.
    """

    path: Path
    ids: NDArray[Any]
    tokens: int
    characters: int
    bytes: int
    documents: int
    tokenizer_fingerprint: str
    source_fingerprint: str
    documents_apart: bool
    counted: TextSize | None = None

    @property
    def size(self) -> TextSize:
        """Of the text; no words where they were not counted."""
        return self.counted or TextSize(self.characters, self.bytes, 0)

    @classmethod
    def open(cls, path: Path) -> TokenDataset:
        """Open the ``.bin`` file that `prepare` wrote.

        Raises:
            UserError: a file is missing, of another format version, or not as long as it should be.
        """
        try:
            counts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            version, dtype = counts.pop("format_version"), counts.pop("dtype")
            if version != FORMAT_VERSION:
                raise ValueError(f"format version {version} instead of {FORMAT_VERSION}")
            ids = np.memmap(path, dtype=dtype, mode="r")
            if len(ids) != counts["tokens"]:
                raise ValueError(f"{len(ids)} tokens instead of {counts['tokens']}")
            counted = counts.pop("counted", None)
            return cls(path, np.asarray(ids), **counts, counted=TextSize(**counted) if counted else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} must be as it was prepared: {error}; delete it and prepare the text again"
            ) from error

    @property
    def summary(self) -> str:
        """How much it is, for people."""
        return f"{self.tokens:,} tokens of {self.characters:,} characters"

    def first(self, tokens: int) -> TokenDataset:
        """Its first tokens; characters, bytes and documents counted in proportion."""
        if tokens >= self.tokens:
            return self
        share = tokens / self.tokens
        return replace(
            self,
            ids=self.ids[:tokens],
            tokens=tokens,
            characters=round(self.characters * share),
            bytes=round(self.bytes * share),
            documents=round(self.documents * share),
            counted=self.counted and self.counted.share(share),
        )


def prepare(
    tokenizer: Tokenizer,
    sources: Sequence[str],
    options: SourceOptions,
    folder: Path,
    *,
    documents_apart: bool,
    held_out: float | None,
    measured: bool = False,
    quiet: bool = False,
) -> tuple[TokenDataset, TokenDataset | None]:
    """Tokenise sources into `folder`, or open what is there from an earlier call for the same text and tokenizer.

    Files are named after everything that decides their content, so those of other text or another tokenizer stay
    beside them untouched.

    Args:
        documents_apart: end every document with END_ID, which as an input also says that the next one starts; else
            they are joined, a newline between two that have none.
        held_out: share of the text that goes to a dataset of its own, above 0 and below 1; None for none.
        measured: whether models are measured on the first dataset, so that its words are counted, as those of the
            held-out one are.
        quiet: show no progress.

    Returns:
        The dataset to train on, and the held-out one (None if `held_out` is).

    Raises:
        UserError: a source cannot be read, the disk refuses, or one of the two datasets would be empty.
    """
    source = source_fingerprint(sources, options)
    decides = [FORMAT_VERSION, tokenizer.fingerprint, source, documents_apart, held_out]
    name = "tokens-" + hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    parts = ["train"] if held_out is None else ["train", "held_out"]
    paths = [folder / f"{name}.{part}.bin" for part in parts]
    try:
        datasets = [TokenDataset.open(path) for path in paths]
        if (measured or held_out is not None) and datasets[-1].counted is None:
            raise UserError("written for training alone, or by an older version")
    except UserError:  # not there, or not whole
        pieces = _divide(sources, options, held_out, documents_apart, quiet)
        origin = {"source_fingerprint": source, "documents_apart": documents_apart}
        _write(tokenizer, pieces, paths, origin, [measured, True][: len(paths)])
        datasets = [TokenDataset.open(path) for path in paths]
    return datasets[0], None if held_out is None else datasets[1]


def training_texts(
    sources: Sequence[str],
    options: SourceOptions,
    held_out: float | None,
    documents_apart: bool,
    quiet: bool = False,
) -> Iterator[str]:
    """The text that `prepare` gives to the first of its datasets, in stretches of a few megabytes at most."""
    for is_held_out, piece in _divide(sources, options, held_out, documents_apart, quiet):
        if not is_held_out:
            yield piece.text


def _divide(
    sources: Sequence[str], options: SourceOptions, held_out: float | None, documents_apart: bool, quiet: bool
) -> Iterator[tuple[bool, Piece]]:
    """All pieces of the text, each with whether it is held out."""
    if held_out is None:
        for piece in _with_progress("Reading", sources, options, documents_apart, quiet):
            yield False, piece
        return
    if not 0 < held_out < 1:
        raise UserError(f"held_out must be above 0 and below 1, was: {held_out}; 0.1 keeps a tenth for evaluation")
    if documents_apart:
        index = 0
        for piece in _with_progress("Reading", sources, options, documents_apart, quiet):
            yield int((index + 1) * held_out) > int(index * held_out), piece
            index += piece.ends_document
        return
    characters = sum(len(piece.text) for piece in _with_progress("Counting", sources, options, documents_apart, quiet))
    remaining = int(characters * (1 - held_out))
    for text, ends_document in _with_progress("Reading", sources, options, documents_apart, quiet):
        if remaining:
            yield False, Piece(text[:remaining], ends_document and len(text) <= remaining)
        if len(text) > remaining:
            yield True, Piece(text[remaining:], ends_document)
        remaining = max(0, remaining - len(text))


def _with_progress(
    what: str, sources: Sequence[str], options: SourceOptions, documents_apart: bool, quiet: bool
) -> Iterator[Piece]:
    total = None if quiet else count_bytes(sources)
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=quiet, delay=1, leave=False) as progress:
        for piece in read_text(sources, options, documents_apart):
            yield piece
            progress.update(len(piece.text.encode()))


def _write(
    tokenizer: Tokenizer,
    pieces: Iterator[tuple[bool, Piece]],
    paths: Sequence[Path],
    origin: dict[str, Any],
    measured: Sequence[bool],
) -> None:
    """Write one ``.bin`` a path (training, held out), and when all of them are whole their ``.json``."""
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{paths[0].parent} could not be made: {error.strerror}; choose another folder") from error
    dtype = np.min_scalar_type(tokenizer.vocabulary_size - 1)
    with ExitStack() as stack:
        temporary = [stack.enter_context(write_atomically(path)) for path in paths]
        writers = [
            _TokenWriter(stack.enter_context(path.open("wb")), tokenizer, dtype, counts)
            for path, counts in zip(temporary, measured, strict=True)
        ]
        for is_held_out, piece in pieces:
            writers[is_held_out].write(piece, origin["documents_apart"])
        for path, writer in zip(paths, writers, strict=True):
            if not writer.tokens:
                raise UserError(
                    f"training and held-out text must each have a document and a token, none was left for {path.name}; "
                    "give more text, or held-out text of its own (in one file: make each line a document)"
                )
    for path, writer in zip(paths, writers, strict=True):
        counts = {
            "format_version": FORMAT_VERSION,
            "dtype": dtype.name,
            "tokens": writer.tokens,
            "characters": writer.characters,
            "bytes": writer.bytes,
            "documents": writer.documents,
            "tokenizer_fingerprint": tokenizer.fingerprint,
            **origin,
            **({} if writer.counted is None else {"counted": asdict(writer.counted)}),
        }
        with write_atomically(path.with_suffix(".json")) as temporary_json:
            temporary_json.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


class _TokenWriter:
    def __init__(self, file: BinaryIO, tokenizer: Tokenizer, dtype: np.dtype[Any], counts_words: bool) -> None:
        self.file, self.tokenizer, self.dtype = file, tokenizer, dtype
        self.counted = TextSize(0, 0, 0) if counts_words else None
        self.tokens = self.characters = self.bytes = self.documents = 0

    def write(self, piece: Piece, documents_apart: bool) -> None:
        ids = self.tokenizer.encode(piece.text)
        if piece.ends_document and documents_apart:
            ids = np.append(ids, END_ID)
        self.file.write(ids.astype(self.dtype).data)
        self.tokens += len(ids)
        self.characters += len(piece.text)
        self.bytes += len(piece.text.encode())
        self.documents += piece.ends_document
        if self.counted is not None:
            size = text_size(self.tokenizer, piece.text)
            self.counted += replace(size, words=size.words + (piece.ends_document and documents_apart))


class Batches:
    """Batches of parallel streams, for truncated back-propagation through time with carried state.

    In each epoch the corpus, closed to a ring and turned by a random offset, is cut into `batch_size` contiguous
    streams of equal length, which are read `sequence_length` tokens at a time. Up to one batch of tokens at the end is
    left out; the next offset moves it elsewhere. Once an epoch, one stream reads across the junction of the ring from
    the last token of the corpus to the first, as if the text went on: one false transition in the whole corpus.

    Args:
        ids: ``(tokens,)``, any integer type; not copied, so it may be memory-mapped and larger than memory.
        batch_size: parallel streams.
        sequence_length: tokens a stream reads in one step.
        seed: of the offsets.

    Raises:
        UserError: there are fewer than ``batch_size * (sequence_length + 1)`` tokens.
    """

    def __init__(self, ids: NDArray[Any], batch_size: int, sequence_length: int, seed: int) -> None:
        needed = batch_size * (sequence_length + 1)
        if len(ids) < needed:
            raise UserError(
                f"a batch of {batch_size} streams of {sequence_length} tokens needs a corpus of {needed} tokens, was: "
                f"{len(ids)}; lower batch_size or sequence_length, or give more text"
            )
        self.ids = ids
        self.seed = seed
        self.steps_per_epoch = len(ids) // batch_size // sequence_length
        self._streams = np.arange(batch_size)[:, None] * (len(ids) // batch_size)
        self._window = np.arange(sequence_length + 1)
        self._sequence_length = sequence_length

    def batch(self, step: int) -> tuple[NDArray[np.int32], NDArray[np.int32], bool]:
        """The batch of a step, counted from 0 through all epochs; it depends on nothing but `seed` and `step`.

        Returns:
            inputs ``(batch, time)``; targets ``(batch, time)``, the tokens that follow them; whether an epoch starts
            here and the carried state must be reset.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        offset = np.random.Generator(np.random.PCG64([self.seed, epoch])).integers(len(self.ids))
        positions = offset + index * self._sequence_length + self._streams + self._window
        tokens = self.ids.take(positions, mode="wrap").astype(np.int32)
        return tokens[:, :-1], tokens[:, 1:], index == 0


def evaluation_batches(
    ids: NDArray[Any], batch_size: int, sequence_length: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
    """Every token but the first as a target exactly once, in parallel streams with carried state.

    The corpus is cut into `batch_size` contiguous streams, each of which starts by reading the last token of the one
    before. Only the start of a stream lacks the context before it: fewer streams measure more exactly, if slower.

    Args:
        ids: ``(tokens,)``, any integer type.

    Yields:
        inputs int32 ``(batch, time)``; targets int32 ``(batch, time)``; weights float32 ``(batch, time)``, 1 for a
        target and 0 for the filling at the end of a stream. All batches have the same shape.

    Raises:
        UserError: there are fewer than two tokens.
    """
    targets = len(ids) - 1
    if targets < 1:
        raise UserError(f"text to evaluate must have at least 2 tokens, was: {len(ids)}; give more text")
    stream_length = -(-targets // batch_size)
    streams = np.arange(batch_size)[:, None] * stream_length
    for start in range(0, stream_length, sequence_length):
        within = start + np.arange(sequence_length)
        positions = streams + within
        weights = (within < stream_length) & (positions < targets)
        yield (
            ids.take(positions, mode="clip").astype(np.int32),
            ids.take(positions + 1, mode="clip").astype(np.int32),
            weights.astype(np.float32),
        )
