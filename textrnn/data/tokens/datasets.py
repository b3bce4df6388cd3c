"""Datasets of token ids on disk, and batches of them.

`prepare` tokenises sources once, in bounded memory and several processes, to memory-mapped files, the shards.
`Batches` and `evaluation_batches` read them as parallel streams, so that the hidden state of the network can be carried
from one batch to the next.

Held-out text is selected by characters or documents, not by tokens. So it is the same for every tokenizer, and the
tokenizer is not trained on it (`Corpus.training_texts`):

* joined documents: the end of the text, ``text[int(len(text) * (1 - held_out)):]``;
* separate documents: every document at which ``int(index * held_out)`` increases; for 0.1, every tenth.

A folder of prepared text::

    tokens-HASH/train.json          metadata and list of shards; written last
                train-00000.bin     token ids of a chunk of text (`chunks`)
                held_out...         the same for the held-out text
                00000.json          shards of a finished chunk, until all chunks are finished
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
    """Token ids on disk, with the size of their text.

    Attributes:
        path: the ``.json`` file; the shards are in the same folder.
        ids: memory-mapped token ids, ``(tokens,)``, of the smallest unsigned dtype that holds the vocabulary: an array
            for one shard, `ShardedIds` for several.
        tokens: number of token ids.
        characters, bytes: size of the text in Unicode characters and in UTF-8 bytes, without ends of documents.
        documents: number of documents that end in the text.
        tokenizer_fingerprint, source_fingerprint: fingerprints of the tokenizer and of the sources.
        separate_documents: whether every document ends with END_ID.
        counted: size of the text with its words and unknown words; None if they were not counted, as in training data.
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
        """The size of the text, with 0 words if words were not counted."""
        return self.counted or TextSize(self.characters, self.bytes, 0)

    @classmethod
    def open(cls, path: Path, whole: bool = False) -> TokenDataset:
        """Open the ``.json`` file that `prepare` wrote.

        Args:
            path: the file.
            whole: whether to read every shard completely to check that it has not changed; else only its length and
                some blocks are checked.

        Raises:
            UserError: a file is missing, has another format version, or has changed. The message names it.
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
        """The number of tokens and characters, as text for the user."""
        return f"{self.tokens:,} tokens of {self.characters:,} characters"

    def first(self, tokens: int) -> TokenDataset:
        """Return the dataset of the first tokens. Characters, bytes and documents are scaled in proportion."""
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
    """Tokenise sources into `folder`, or open the datasets of an earlier call for the same text and tokenizer.

    An interrupted call continues from its finished shards. A damaged shard is written again. The name of the subfolder
    depends on everything that determines its content, so datasets of another text or tokenizer are not changed.

    Args:
        tokenizer: the tokenizer.
        sources: files, folders, Hugging Face ids or ``builtin``.
        options: options of reading.
        folder: folder of prepared datasets; each call uses a subfolder.
        separate_documents: whether to end every document with END_ID, which as an input also marks the start of the
            next one. Otherwise documents are joined, with a newline between them if there is none.
        held_out: fraction of the text for the held-out dataset, above 0 and below 1; None for no such dataset.
        processes: number of processes that tokenise a long text; 0 means one per core. The ids do not depend on it.
        measured: whether models are evaluated on the first dataset. Then its words are counted, as those of the
            held-out dataset always are.
        fingerprint: result of `source_fingerprint`, if it is known.
        quiet: whether to hide the progress.

    Returns:
        The training dataset, and the held-out dataset (None if `held_out` is None).

    Raises:
        UserError: a source cannot be read, a file cannot be written, a process dies, or a dataset would be empty.
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
    except UserError:  # missing or incomplete
        _write(tokenizer, corpus, folder, parts, measured, source)
        datasets = [TokenDataset.open(path) for path in paths]
    return datasets[0], None if held_out is None else datasets[1]


def is_unfinished(folder: Path) -> bool:
    """Return whether a call of `prepare` with this folder was interrupted after it had finished some shards."""
    return any(folder.glob("tokens-*/[0-9]*.json"))


def piece_ids(tokenizer: Tokenizer, piece: TextBlock, separate_documents: bool) -> NDArray[np.int32]:
    """Return the ids of a text block, int32 ``(tokens,)``. Separate documents end with END_ID."""
    ids = tokenizer.encode(piece.text)
    return np.append(ids, np.int32(END_ID)) if piece.ends_document and separate_documents else ids


def piece_size(tokenizer: Tokenizer, piece: TextBlock, separate_documents: bool) -> TextSize:
    """Return the size of a text block. The end of a separate document counts as a word."""
    size = text_size(tokenizer, piece.text)
    return replace(size, words=size.words + (piece.ends_document and separate_documents))


Shards = dict[str, Shard]
"""The shards of one chunk of text by dataset name. A dataset that gets no text of the chunk has no entry."""


@dataclass(frozen=True)
class _Tokenize:
    """A function that writes the shards of a chunk, and a ``.json`` file that lists them."""

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
            if isinstance(error.__cause__, OSError):  # the cause is lost between processes
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
    """Write the missing shards. When all are complete, write the ``.json`` of each dataset."""
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
    except UserError:  # the user must change the text, so its shards are useless
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
    """Return the shards of all finished chunks, by chunk index. Missing or changed shards are ignored."""
    records: dict[int, dict[str, Any]] = {}
    try:
        for part in parts:
            for shard in json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))["shards"]:
                records.setdefault(int(Path(shard["name"]).stem.rpartition("-")[2]), {})[part] = shard
    except (OSError, ValueError, KeyError, TypeError):  # not all chunks were finished, or the file is damaged
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
    """Return the end of the message about a full disk: free and needed space, and how to continue."""
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
    """Return the count of each token, int64 ``(vocabulary,)``, in ids ``(tokens,)``. Memory is bounded."""
    counts = np.zeros(vocabulary_size, np.int64)
    for begin in range(0, len(ids), COUNTED_AT_ONCE):
        counts += np.bincount(np.asarray(ids[begin : begin + COUNTED_AT_ONCE]), minlength=vocabulary_size)
    return counts


class Batches:
    """Batches of parallel streams, for truncated back-propagation through time with carried state.

    In each epoch, the corpus is treated as a ring and rotated by a random offset. It is cut into `batch_size`
    contiguous streams of equal length. Each step reads `sequence_length` tokens of every stream. Up to one batch of
    tokens at the end is left out; the next epoch has another offset and leaves out others. Once per epoch, one stream
    continues from the last token of the corpus to the first: one false transition in the whole corpus.

    Args:
        ids: token ids ``(tokens,)``, of any integer dtype. They are not copied, so they may be memory-mapped, in
            several shards and larger than memory.
        batch_size: number of parallel streams.
        sequence_length: tokens per stream and step.
        seed: random seed of the offsets.

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
        """Return the batch of a step, which is counted from 0 over all epochs. It depends only on `seed` and `step`.

        Returns:
            inputs int32 ``(batch, time)``; targets int32 ``(batch, time)``, the next tokens; whether an epoch starts
            and the carried state must be reset.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        offset = np.random.Generator(np.random.PCG64([self.seed, epoch])).integers(len(self.ids))
        positions = offset + index * self._sequence_length + self._streams + self._window
        tokens = self.ids.take(positions, mode="wrap").astype(np.int32)
        return tokens[:, :-1], tokens[:, 1:], index == 0


class MixedBatches:
    """Batches whose streams are of several corpora; an epoch is one of the first corpus.

    Args:
        parts: batches of each corpus, of the same length.
    """

    def __init__(self, parts: Sequence[Batches]) -> None:
        self._parts = parts
        self.steps_per_epoch = parts[0].steps_per_epoch

    def batch(self, step: int) -> tuple[NDArray[np.int32], NDArray[np.int32], bool]:
        """Return the batch of a step, as `Batches.batch` does; all states are reset where any corpus begins again."""
        inputs, targets, starts = zip(*(part.batch(step) for part in self._parts), strict=True)
        return np.concatenate(inputs), np.concatenate(targets), any(starts)


def evaluation_batches(
    ids: Ids, batch_size: int, sequence_length: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
    """Yield batches in which every token but the first is a target exactly once, for evaluation with carried state.

    The corpus is cut into `batch_size` contiguous parallel streams. The first input of a stream is the last token of
    the stream before it. Only the start of a stream lacks context, so fewer streams are more exact, but slower.

    Args:
        ids: token ids ``(tokens,)``, of any integer dtype.
        batch_size: number of parallel streams.
        sequence_length: tokens per stream and batch.

    Yields:
        inputs int32 ``(batch, time)``; targets int32 ``(batch, time)``; weights float32 ``(batch, time)``, 1 for a
        target and 0 for padding at the end of a stream. All batches have the same shape.

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
