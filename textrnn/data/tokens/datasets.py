"""Text to token ids on disk, and token ids to batches.

`prepare` tokenises sources once, in bounded memory and several processes, into memory-mapped files, the shards.
`Batches` and `evaluation_batches` read them as parallel streams, so that the state of the network can be carried from
one batch to the next.

Held-out text is chosen by characters or documents, not tokens, so that it is the same for every tokenizer and can be
kept from the tokenizer's own training (`Corpus.training_texts`):

* documents together: the end of the text, ``text[int(len(text) * (1 - held_out)):]``;
* documents apart: every document at which ``int(index * held_out)`` steps up; for 0.1, every tenth.

A folder of prepared text::

    tokens-HASH/train.json          what it is, and its shards; written last
                train-00000.bin     the ids of a chunk of text (`chunks`)
                held_out...         the same of what is held out
                00000.json          the shards of a chunk, while others are still to come
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.data import text_files as reader
from textrnn.data.records import SourceOptions, TextBlock
from textrnn.data.sources import count_bytes, source_fingerprint
from textrnn.data.tokens import chunks
from textrnn.data.tokens.chunks import Chunk, Corpus, reported
from textrnn.data.tokens.processes import GO_ON, ProcessDied, Report
from textrnn.data.tokens.shards import FULL, DiskFull, Ids, Shard, ShardWriter, Unfinished, joined
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.scoring import TextSize, text_size
from textrnn.tokenizers.base import END_ID, Tokenizer

FORMAT_VERSION = 2
COUNTED_AT_ONCE = 1 << 22  # tokens


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """Token ids on disk, and what they stand for.

    Attributes:
        path: the ``.json`` file; the shards are in the same folder.
        ids: memory-mapped, ``(tokens,)``, of the smallest unsigned type that holds the vocabulary; an array, or of
            several shards what is read like one.
        characters, bytes: of the text, as Unicode and as UTF-8; ends of documents are not counted.
        documents: how many end in it.
        counted: the words of the text too, and what the tokenizer did not know of it; None of what is trained on.
    """

    path: Path
    ids: Ids
    tokens: int
    characters: int
    bytes: int
    documents: int
    tokenizer_fingerprint: str
    source_fingerprint: str
    separate_documents: bool
    counted: TextSize | None = None

    @property
    def size(self) -> TextSize:
        """Of the text; no words where they were not counted."""
        return self.counted or TextSize(self.characters, self.bytes, 0)

    @classmethod
    def open(cls, path: Path, whole: bool = False) -> TokenDataset:
        """Open the ``.json`` file that `prepare` wrote.

        Args:
            path: the file.
            whole: read every shard from end to end to see that it has not changed; else its length and some blocks of
                it are looked at.

        Raises:
            UserError: a file is missing, of another format version, or not what was written; the message names it.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            version, dtype = record.pop("format_version"), np.dtype(record.pop("dtype"))
            if version != FORMAT_VERSION:
                raise ValueError(f"format version {version} instead of {FORMAT_VERSION}")
            shards = [Shard.from_dict(shard) for shard in record.pop("shards")]
            ids = joined([shard.open(path.parent, dtype, whole) for shard in shards])
            if len(ids) != record["tokens"]:
                raise ValueError(f"{len(ids)} tokens instead of {record['tokens']}")
            sizes = [shard.counted for shard in shards if shard.counted is not None]
            counted = sum(sizes[1:], sizes[0]) if sizes else None
            return cls(path, ids, **record, counted=counted)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(
                f"{path} must be as it was prepared: {error}; prepare the text again, what is whole is kept"
            ) from error

    @property
    def summary(self) -> str:
        """How much it is, for people."""
        return f"{self.tokens:,} tokens of {self.characters:,} characters"

    def first(self, tokens: int) -> TokenDataset:
        """Return its first tokens; characters, bytes and documents are counted in proportion."""
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
    separate_documents: bool,
    held_out: float | None,
    processes: int = 0,
    measured: bool = False,
    fingerprint: str | None = None,
    quiet: bool = False,
) -> tuple[TokenDataset, TokenDataset | None]:
    """Tokenise sources into `folder`, or open what is there from an earlier call for the same text and tokenizer.

    A call that was ended goes on from the shards that it finished, and one that is damaged is made again. Folders are
    named after everything that decides their content, so those of other text or another tokenizer stay untouched.

    Args:
        separate_documents: end every document with END_ID, which as an input also says that the next one starts; else
            they are joined, a newline between two that have none.
        held_out: share of the text that goes to a dataset of its own, above 0 and below 1; None for none.
        processes: that tokenise, if the text is long; 0 takes all cores. The ids are the same for every number.
        measured: whether models are measured on the first dataset, so that its words are counted, as those of the
            held-out one are.
        fingerprint: of the sources, as `source_fingerprint` gives it, if it is known.
        quiet: show no progress.

    Returns:
        The dataset to train on, and the held-out one (None if `held_out` is).

    Raises:
        UserError: a source cannot be read, the disk refuses, a process dies, or one of the two datasets would be empty.
    """
    corpus = Corpus(sources, options, separate_documents, held_out, processes, quiet)
    source = fingerprint or source_fingerprint(sources, options)
    cut = [reader.BLOCK_BYTES, chunks.CHUNK_BYTES, chunks.OF_EACH_SIZE]
    decides = [FORMAT_VERSION, tokenizer.fingerprint, source, separate_documents, held_out, measured, cut]
    folder /= "tokens-" + hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    parts = ("train",) if held_out is None else ("train", "held_out")
    paths = [folder / f"{part}.json" for part in parts]
    try:
        datasets = [TokenDataset.open(path) for path in paths]
    except UserError:  # not there, or not whole
        _write(tokenizer, corpus, folder, parts, measured, source)
        datasets = [TokenDataset.open(path) for path in paths]
    return datasets[0], None if held_out is None else datasets[1]


def is_unfinished(folder: Path) -> bool:
    """Return whether an earlier call of `prepare` with this folder stopped between its shards."""
    return any(folder.glob("tokens-*/[0-9]*.json"))


def piece_ids(tokenizer: Tokenizer, piece: TextBlock, separate_documents: bool) -> NDArray[np.int32]:
    """Return the ids of a block, int32 ``(tokens,)``; separate documents end with their end token."""
    ids = tokenizer.encode(piece.text)
    return np.append(ids, np.int32(END_ID)) if piece.ends_document and separate_documents else ids


def piece_size(tokenizer: Tokenizer, piece: TextBlock, separate_documents: bool) -> TextSize:
    """Return the size of a block; the end of a separate document counts as a word."""
    size = text_size(tokenizer, piece.text)
    return replace(size, words=size.words + (piece.ends_document and separate_documents))


Shards = dict[str, Shard]
"""Those of one chunk of text, by the dataset they belong to; one that got nothing of it has none."""


@dataclass(frozen=True)
class _Tokenize:
    """Writes the shards of a chunk, and a file that says so."""

    tokenizer: Tokenizer
    folder: Path
    parts: Sequence[str]
    measured: bool
    separate_documents: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.min_scalar_type(self.tokenizer.vocabulary_size - 1))

    def __call__(self, chunk: Chunk, report: Report) -> tuple[int, Shards]:
        try:
            return chunk.index, self._write(chunk, report)
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # which does not reach another process
                raise (DiskFull if error.__cause__.errno in FULL else Unfinished)(str(error)) from error
            raise

    def _write(self, chunk: Chunk, report: Report) -> Shards:
        writers: dict[str, ShardWriter] = {}
        with ExitStack() as stack:
            for is_held_out, piece in reported(chunk.read(), report):
                part = self.parts[is_held_out]
                if part not in writers:
                    temporary = stack.enter_context(write_atomically(self._path(chunk, part)))
                    writers[part] = stack.enter_context(ShardWriter(temporary, self.dtype))
                ids = piece_ids(self.tokenizer, piece, self.separate_documents)
                counts_words = is_held_out or self.measured
                counted = piece_size(self.tokenizer, piece, self.separate_documents) if counts_words else None
                writers[part].write(ids, piece.text, piece.ends_document, counted)
        shards = {part: writer.shard(self._path(chunk, part)) for part, writer in writers.items() if writer.tokens}
        record = {part: shard.to_dict() for part, shard in shards.items()}
        _write_json(self.folder / f"{chunk.index:05}.json", record)
        return shards

    def _path(self, chunk: Chunk, part: str) -> Path:
        return self.folder / f"{part}-{chunk.index:05}.bin"


def _write(
    tokenizer: Tokenizer, corpus: Corpus, folder: Path, parts: Sequence[str], measured: bool, source: str
) -> None:
    """Write the shards that are not there yet, and when all of them are whole the ``.json`` of each dataset."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} could not be made: {error.strerror}; choose another folder") from error
    tokenize = _Tokenize(tokenizer, folder, parts, measured, corpus.separate_documents)
    found = _finished(folder, parts, tokenize.dtype)
    sizes = {index: sum(shard.bytes for shard in shards.values()) for index, shards in found.items()}
    try:
        with closing(corpus.each("Tokenizing", tokenize, sizes.get)) as finished:
            found.update(finished)
    except DiskFull as error:
        found = _finished(folder, parts, tokenize.dtype)
        raise DiskFull(f"{error}; {_room_needed(folder, corpus, found, tokenize.dtype)}") from error
    except (Unfinished, ProcessDied):
        raise
    except UserError:  # the text has to be mended, and is another one then
        shutil.rmtree(folder)
        raise
    finally:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
    datasets = {part: [found[index][part] for index in sorted(found) if part in found[index]] for part in parts}
    for part, shards in datasets.items():
        if not shards:
            shutil.rmtree(folder)
            raise UserError(
                f"training and held-out text must each have a document and a token, none was left for {part}; "
                "give more text, or held-out text of its own (in one file: make each line a document)"
            )
    for part, shards in reversed(datasets.items()):
        counted = ("tokens", "characters", "bytes", "documents")
        record = {
            "format_version": FORMAT_VERSION,
            "dtype": tokenize.dtype.name,
            **{name: sum(getattr(shard, name) for shard in shards) for name in counted},
            "tokenizer_fingerprint": tokenizer.fingerprint,
            "source_fingerprint": source,
            "separate_documents": corpus.separate_documents,
            "shards": [shard.to_dict() for shard in shards],
        }
        _write_json(folder / f"{part}.json", record)
    for path in folder.glob("[0-9]*.json"):
        path.unlink()


def _finished(folder: Path, parts: Sequence[str], dtype: np.dtype[Any]) -> dict[int, Shards]:
    """Return the chunks whose shards are complete."""
    records: dict[int, dict[str, Any]] = {}
    try:
        for part in parts:
            for shard in json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))["shards"]:
                records.setdefault(int(Path(shard["name"]).stem.rpartition("-")[2]), {})[part] = shard
    except (OSError, ValueError, KeyError, TypeError):  # not all was finished, or its size is not known
        records = {}
    for path in folder.glob("[0-9]*.json"):
        try:
            records[int(path.stem)] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    found: dict[int, Shards] = {}
    for index, record in records.items():
        try:
            shards = {part: Shard.from_dict(shard) for part, shard in record.items()}
            for shard in shards.values():
                shard.open(folder, dtype)
        except (ValueError, TypeError, AttributeError):
            continue
        found[index] = shards
    return found


def _room_needed(folder: Path, corpus: Corpus, found: Mapping[int, Shards], dtype: np.dtype[Any]) -> str:
    """Return the free space of a full disk, as the end of a message."""
    shards = [shard for shards in found.values() for shard in shards.values()]
    done = sum(shard.bytes for shard in shards)
    line = f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB are left"
    if total := count_bytes(corpus.sources):
        tokens_a_byte = sum(shard.tokens for shard in shards) / done if done else 1.0
        line = f"about {(total - done) * tokens_a_byte * dtype.itemsize / 1e9:,.1f} GB more are needed, {line}"
    return f"{line}; what is finished, {done / 1e6:,.0f} MB of text, is kept: {GO_ON}"


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def count_tokens(ids: Ids, vocabulary_size: int) -> NDArray[np.int64]:
    """Return how often each token occurs in ids ``(tokens,)``, ``(vocabulary,)``, in bounded memory."""
    counts = np.zeros(vocabulary_size, np.int64)
    for begin in range(0, len(ids), COUNTED_AT_ONCE):
        counts += np.bincount(np.asarray(ids[begin : begin + COUNTED_AT_ONCE]), minlength=vocabulary_size)
    return counts


class Batches:
    """Batches of parallel streams, for truncated back-propagation through time with carried state.

    In each epoch the corpus, closed to a ring and turned by a random offset, is cut into `batch_size` contiguous
    streams of equal length, which are read `sequence_length` tokens at a time. Up to one batch of tokens at the end is
    left out; the next offset moves it elsewhere. Once an epoch, one stream reads across the junction of the ring from
    the last token of the corpus to the first, as if the text went on: one false transition in the whole corpus.

    Args:
        ids: ``(tokens,)``, any integer type; not copied, so it may be memory-mapped and larger than memory, and lie in
            several shards.
        batch_size: parallel streams.
        sequence_length: tokens a stream reads in one step.
        seed: of the offsets.

    Raises:
        UserError: there are fewer than ``batch_size * (sequence_length + 1)`` tokens.
    """

    def __init__(self, ids: Ids, batch_size: int, sequence_length: int, seed: int) -> None:
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
        """Return the batch of a step, counted from 0 through all epochs; it depends on `seed` and `step` alone.

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
    ids: Ids, batch_size: int, sequence_length: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
    """Yield every token but the first as a target exactly once, in parallel streams with carried state.

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
