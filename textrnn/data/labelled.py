"""Labelled records on disk, texts or sequences of vectors, and batches of whole records.

Records differ in length. A batch holds records of about the same length, and its shape is one of a few
(`textrnn.classification.padded_length`), so that little padding is computed and few programs are compiled.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from textrnn.data.labels import describe
from textrnn.errors import UserError
from textrnn.files import write_atomically

FORMAT_VERSION = 2
POOL = 50  # batches whose records are sorted by length together

D = TypeVar("D", bound="LabelledDataset")


@dataclass(frozen=True, eq=False)
class LabelledDataset:
    """Records on disk, with their labels.

    Attributes:
        path: the ``.json`` file; a ``.bin`` and an ``.npz`` of the same name are in the same folder.
        values: memory-mapped, all records one after the other: ``(tokens,)`` or ``(steps, features)``.
        offsets: int64 ``(records + 1,)``: record i is ``values[offsets[i]:offsets[i + 1]]``.
        targets: int32 ``(records,)``, places in `labels`; else ``(records, outputs)``: float32 values of a regression,
            or uint8, 1 for each class of a record that may have several.
        records: int64 ``(records,)``: the number of each record among the labelled ones of the source.
        labels: names of the classes; empty for a regression.
        skipped: number of records of the source that were left out, by reason.
        source_fingerprint: digest of the source.
    """

    arrays: ClassVar[tuple[str, ...]] = ("offsets", "targets", "records")
    """Names of the arrays in the ``.npz``."""

    path: Path
    values: NDArray[Any]
    offsets: NDArray[np.int64]
    targets: NDArray[Any]
    records: NDArray[np.int64]
    labels: tuple[str, ...]
    skipped: Mapping[str, int]
    source_fingerprint: str

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens or steps of each record, ``(records,)``."""
        return np.diff(self.offsets)

    @property
    def left_out(self) -> str:
        """End of a summary: what was left out of the source."""
        return f"; left out: {describe(self.skipped)}" if self.skipped else ""

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Records of each class, ``(classes,)``."""
        if self.targets.ndim > 1:
            return np.asarray(self.targets.sum(axis=0), np.int64)
        return np.bincount(self.targets, minlength=len(self.labels))

    @property
    def class_summary(self) -> str:
        """Records of each class, for people."""
        counts = zip(self.labels, self.class_counts.tolist(), strict=True)
        return ", ".join(f"{label} {count:,}" for label, count in counts)

    def record(self, index: int) -> NDArray[Any]:
        """Return a record as it is on disk, ``(tokens,)`` or ``(steps, features)``."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @classmethod
    def open(cls: type[D], path: Path) -> D:
        """Open what was prepared, by its ``.json`` file.

        Raises:
            UserError: a file is missing, of another format version, or not as long as it should be.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts.pop("format_version") != FORMAT_VERSION:
                raise ValueError("another format version")
            # Opened here: `np.load` would leave open what is no whole zip file.
            with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in cls.arrays}
            values = np.asarray(np.memmap(path.with_suffix(".bin"), dtype=facts.pop("dtype"), mode="r"))
            shape = facts.pop("shape")
            if values.size != found["offsets"][-1] * int(np.prod(shape)):
                raise ValueError(f"{values.size} values instead of {found['offsets'][-1] * int(np.prod(shape))}")
            return cls(path, values.reshape(-1, *shape), labels=tuple(facts.pop("labels")), **found, **facts)
        except Exception as error:  # whatever the libraries below make of damaged bytes
            raise UserError(
                f"{path} must be as it was prepared: {error}; delete it and prepare the source again"
            ) from error


def part_paths(folder: Path, kind: str, decides: Sequence[Any], held_out: bool) -> list[Path]:
    """Return the ``.json`` files of training and, if asked for, held-out part.

    Args:
        folder: their folder.
        kind: first word of their names.
        decides: everything that decides their content, ready for JSON.
        held_out: whether there is a held-out part.
    """
    name = f"{kind}-" + hashlib.sha256(json.dumps([FORMAT_VERSION, *decides]).encode()).hexdigest()[:12]
    return [folder / f"{name}.{part}.json" for part in ("train", "held_out")[: 1 + held_out]]


def open_parts(cls: type[D], paths: Sequence[Path]) -> list[D] | None:
    """Open the parts of a source that were prepared before; None where one is not there, or not whole."""
    try:
        return [cls.open(path) for path in paths]
    except UserError:
        return None


def write_part(
    path: Path,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    arrays: Mapping[str, NDArray[Any]],
    labels: Sequence[str],
    skipped: Mapping[str, int],
    fingerprint: str,
) -> None:
    """Write the ``.npz`` and ``.json`` of a part whose ``.bin`` is written.

    Args:
        path: the ``.json`` file.
        dtype: type of the values.
        shape: shape of one token or step.
        arrays: the arrays of the dataset, by name.
        labels: names of the classes.
        skipped: number of records that were left out, by reason.
        fingerprint: digest of the source.
    """
    with write_atomically(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    facts = {
        "format_version": FORMAT_VERSION,
        "dtype": dtype.name,
        "shape": list(shape),
        "labels": list(labels),
        "skipped": dict(skipped),
        "source_fingerprint": fingerprint,
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make the folder of prepared data.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} could not be made: {error.strerror}; choose another folder") from error


class Batch(NamedTuple):
    """Some records of about the same length.

    Attributes:
        inputs: arrays that a model is called with: ids int32 ``(batch, time)``, `PAD_ID` after the end of a text; or
            values float32 ``(batch, time, features)``, zeros after the end, and lengths int32 ``(batch,)`` in steps.
        targets: ``(batch, ...)``, of the type of the dataset's.
        indices: int64 ``(records,)``: which records of the dataset the first rows are; the rows after them are empty.
    """

    inputs: tuple[NDArray[Any], ...]
    targets: NDArray[Any]
    indices: NDArray[np.int64]


class Batches(ABC, Generic[D]):
    """Batches of a dataset for training and, in the order of lengths, for reading all of it.

    In each epoch the records are shuffled, and those of `POOL` batches at a time sorted by length and cut into batches,
    which are then shuffled in turn. Records that fill no batch are left out; the next epoch leaves out others.

    Args:
        dataset: the records.
        batch_size: number of records in a batch.
        lengths: length of each record, ``(records,)``, by which they are sorted.
        seed: seed of the order.
        by_length: False fills every batch in random order.

    Raises:
        UserError: the dataset has fewer records than `batch_size`.
    """

    unit: ClassVar[str]
    """What a record is, for messages."""

    def __init__(
        self, dataset: D, batch_size: int, lengths: NDArray[np.int64], seed: int, by_length: bool = True
    ) -> None:
        if len(dataset) < batch_size:
            raise UserError(
                f"batch size {batch_size} is larger than the training set ({len(dataset)} {self.unit}); lower "
                "train.batch_size or give more"
            )
        self.dataset, self.batch_size, self.lengths, self.seed = dataset, batch_size, lengths, seed
        self.steps_per_epoch = len(dataset) // batch_size
        self._by_length = by_length
        self._epoch, self._order = -1, np.zeros((0, batch_size), np.int64)

    @abstractmethod
    def _inputs(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Return the inputs of a batch of these records."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 through all epochs; it depends on `seed` and `step` alone."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            lengths = self.lengths if self._by_length else None
            self._epoch = epoch
            self._order = shuffled_batches(len(self.dataset), self.batch_size, lengths, self.seed, epoch)
        return self._read(self._order[index])

    def all(self) -> Iterator[Batch]:
        """Yield batches with every record once, the shortest first."""
        order = np.argsort(self.lengths, kind="stable")
        for begin in range(0, len(order), self.batch_size):
            yield self._read(order[begin : begin + self.batch_size])

    def _read(self, indices: NDArray[np.int64]) -> Batch:
        known = self.dataset.targets
        targets = np.zeros((self.batch_size, *known.shape[1:]), known.dtype)
        targets[: len(indices)] = known[indices]
        return Batch(self._inputs(indices), targets, indices)


class MixedBatches(Generic[D]):
    """Batches with rows of several datasets; an epoch is one of the first dataset.

    Args:
        parts: batches of each dataset.
    """

    def __init__(self, parts: Sequence[Batches[D]]) -> None:
        self._parts = parts
        self.dataset, self.steps_per_epoch = parts[0].dataset, parts[0].steps_per_epoch
        self.lengths = np.concatenate([part.lengths for part in parts])

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; the shorter part is padded to the length of the other."""
        found = [part.batch(step) for part in self._parts]
        inputs = tuple(_padded_together(each) for each in zip(*(batch.inputs for batch in found), strict=True))
        targets, indices = (np.concatenate(each) for each in list(zip(*found, strict=True))[1:])
        return Batch(inputs, targets, indices)


def _padded_together(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join arrays ``(rows, ...)``; zeros, which pad ids and vectors, make them as long as the longest."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    rest = [(0, 0)] * (parts[0].ndim - 2)
    return np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]), *rest)) for part in parts])


def shuffled_batches(
    records: int, batch_size: int, lengths: NDArray[np.int64] | None, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return which records make up each batch of an epoch, ``(steps, batch)``.

    Args:
        lengths: length of each record; those of `POOL` batches at a time are sorted by it. None: random order.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(records)[: records // batch_size * batch_size]
    if lengths is not None:
        pool = POOL * batch_size
        pools = [order[begin : begin + pool] for begin in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
    batches: NDArray[np.int64] = order.reshape(-1, batch_size)
    return generator.permutation(batches)
