"""Pairs of texts as token ids on disk, and batches of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.data.labelled import Batch, Batches, LabelledDataset, make_folder, open_parts, part_paths, write_part
from textrnn.data.labels import describe
from textrnn.data.pairs.reading import Pair
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers.base import BEGINNING_ID, END_ID, PAD_ID, Tokenizer

PADDED_TO = 4  # lengths are multiples of it
SPLIT_SEED = 80_000  # first part of the seed that draws the held-out pairs


class PairDataset(LabelledDataset):
    """Pairs of texts as token ids on disk.

    A record holds the tokens of the source, then those of the target; `targets`, int32 ``(pairs,)``, are the numbers of
    tokens of the sources.
    """

    @property
    def source_lengths(self) -> NDArray[np.int64]:
        """Tokens of each source, ``(pairs,)``."""
        return self.targets.astype(np.int64)

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        """Tokens of each target, ``(pairs,)``."""
        return self.lengths - self.source_lengths

    def pair(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the tokens of a source and its target."""
        record, source = self.record(index), int(self.targets[index])
        return record[:source], record[source:]


def is_held_out(pairs: Sequence[Pair], share: float) -> NDArray[np.bool_]:
    """Draw which pairs are held out, bool ``(pairs,)``: all pairs of a source text or none.

    Raises:
        UserError: there are fewer than two different sources.
    """
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    if len(sources) < 2:
        raise UserError(
            f"pairs must have at least 2 different sources, one to hold out, were: {len(sources)}; give more, or"
            " data.validation"
        )
    order = np.random.Generator(np.random.PCG64([SPLIT_SEED, len(sources)])).permutation(len(sources))
    count = min(len(sources) - 1, max(1, round(share * len(sources))))
    chosen = {sources[place] for place in order[:count]}
    return np.array([pair.source in chosen for pair in pairs], bool)


def pair_paths(folder: Path, decides: Sequence[Any], held_out: bool) -> list[Path]:
    """Return the files of the parts; `decides` is everything that their content depends on."""
    return part_paths(folder, "pairs", decides, held_out)


def open_pairs(paths: Sequence[Path]) -> list[PairDataset] | None:
    """Open the parts that were prepared before; None where one is not there, or not whole."""
    return open_parts(PairDataset, paths)


def write_pairs(
    paths: Sequence[Path],
    parts: Sequence[Sequence[tuple[int, Pair]]],
    tokenizers: tuple[Tokenizer, Tokenizer],
    max_length: int,
    skipped: Counter[str],
    fingerprint: str,
) -> list[PairDataset]:
    """Tokenise parts of pairs, each with its number in the sources, and write them.

    Args:
        paths: a ``.json`` file for each part.
        parts: the pairs.
        tokenizers: those of sources and targets.
        max_length: pairs with more tokens on a side are left out and counted.
        skipped: what was left out of the sources already.
        fingerprint: digest of the sources.

    Raises:
        UserError: no pair is left of a part, or the disk refuses.
    """
    make_folder(paths[0].parent)
    dtype = np.min_scalar_type(max(tokenizer.vocabulary_size for tokenizer in tokenizers) - 1)
    written = []
    skipped = Counter(skipped)
    with ExitStack() as stack:
        for path, part in zip(paths, parts, strict=True):
            file = stack.enter_context(stack.enter_context(write_atomically(path.with_suffix(".bin"))).open("wb"))
            offsets, sources, records = [0], list[int](), list[int]()
            for number, pair in part:
                source, target = (
                    tokenizer.encode_whole(text)[0] for tokenizer, text in zip(tokenizers, pair, strict=True)
                )
                if not 0 < len(source) <= max_length or not 0 < len(target) <= max_length:
                    skipped["pairs with more than data.max_length tokens"] += 1
                    continue
                file.write(np.concatenate([source, target]).astype(dtype).data)
                offsets.append(offsets[-1] + len(source) + len(target))
                sources.append(len(source))
                records.append(number)
            if not sources:
                raise UserError(
                    f"pairs must have at most {max_length} tokens on each side, none has: {describe(skipped)}; raise"
                    " data.max_length"
                )
            written.append((offsets, sources, records))
    for path, (offsets, sources, records) in zip(paths, written, strict=True):
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.array(offsets, np.int64),
            "targets": np.array(sources, np.int32),
            "records": np.array(records, np.int64),
        }
        write_part(path, dtype, (), arrays, (), skipped, fingerprint)
    return [PairDataset.open(path) for path in paths]


class PairBatches(Batches[PairDataset]):
    """Batches of pairs of about the same length.

    The inputs of a batch are the sources, int32 ``(batch, source)``, and what the decoder reads, int32 ``(batch,
    time)``: the beginning token and the target. Its targets, int32 ``(batch, time)``, are the target and the end token.

    Args:
        dataset: the pairs.
        batch_size: number of pairs in a batch.
        seed: seed of the order.

    Raises:
        UserError: the dataset has fewer pairs than `batch_size`.
    """

    unit = "pairs"

    def __init__(self, dataset: PairDataset, batch_size: int, seed: int) -> None:
        super().__init__(dataset, batch_size, 1000 * dataset.target_lengths + dataset.source_lengths, seed)

    def _inputs(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        pairs = [self.dataset.pair(int(index)) for index in indices]
        sources = padded([source for source, _ in pairs], self.batch_size)
        ends = np.array([END_ID])
        targets = padded([np.concatenate([target, ends]) for _, target in pairs], self.batch_size)
        inputs = np.roll(targets, 1, axis=1)
        inputs[:, 0] = BEGINNING_ID
        return sources, np.where(inputs == END_ID, PAD_ID, inputs), targets

    def _read(self, indices: NDArray[np.int64]) -> Batch:
        sources, inputs, targets = self._inputs(indices)
        return Batch((sources, inputs), targets, indices)


def padded_length(length: int) -> int:
    """Return the length that texts of a batch are padded to: one of a few, so that few programs are compiled."""
    needed = -(-length // PADDED_TO)
    step = 1 << max(0, needed.bit_length() - 2)
    return -(-needed // step) * step * PADDED_TO


def padded(texts: Sequence[NDArray[Any]], rows: int) -> NDArray[np.int32]:
    """Return texts as ids ``(rows, time)``, each followed by padding; rows without a text are padding."""
    ids = np.full((rows, padded_length(max(map(len, texts)))), PAD_ID, np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return ids
