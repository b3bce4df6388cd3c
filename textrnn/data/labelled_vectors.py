"""Labelled sequences of vectors to numbers on disk, and those to batches.

What is on disk are the numbers as the source has them; `VectorDataset.mean` and `VectorDataset.scale` are what a model
subtracts and divides by.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.classification import padded_length
from textrnn.data.labelled_texts import (
    SPLIT_SEED,
    class_names,
    describe,
    renaming,
    require_labels,
    shuffled_batches,
    stratified_split,
)
from textrnn.data.vector_sources import Target, read_vectors, vectors_fingerprint
from textrnn.data.vector_sources import VectorOptions as VectorOptions
from textrnn.data.vectors import padded
from textrnn.errors import UserError
from textrnn.files import write_atomically

FORMAT_VERSION = 1
VALUES_AT_ONCE = 1 << 20  # in what is computed of all steps

Scaling = tuple[NDArray[np.float32], NDArray[np.float32]]
Targets = NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VectorDataset:
    """Sequences of vectors on disk, with their labels.

    Attributes:
        path: the ``.json`` file; a ``.bin`` and an ``.npz`` of the same name lie beside it.
        values: memory-mapped, ``(steps, features)``, all sequences one after the other: uint8 if all of the source
            are, else float32.
        offsets: int64 ``(records + 1,)``: sequence i is ``values[offsets[i]:offsets[i + 1]]``.
        targets: int32 ``(records,)``, places in `labels`; of a regression float32 ``(records, outputs)``.
        records: int64 ``(records,)``: which labelled record of the source each one is.
        labels: the names of the classes; none for a regression.
        mean: float32 ``(features,)``, of all steps that are trained on; 0 for uint8.
        scale: float32 ``(features,)``, their standard deviation, 1 for a feature that never changes; 255 for uint8.
        skipped: how many records of the source were left out, by reason.
    """

    path: Path
    values: NDArray[Any]
    offsets: NDArray[np.int64]
    targets: Targets
    records: NDArray[np.int64]
    labels: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    skipped: Mapping[str, int]
    source_fingerprint: str

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def features(self) -> int:
        """Values of each step."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, ``(records,)``."""
        return np.diff(self.offsets)

    @property
    def summary(self) -> str:
        """How much it is, for people."""
        shortest, longest = self.lengths.min(), self.lengths.max()
        steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        left_out = f"; left out: {describe(self.skipped)}" if self.skipped else ""
        return f"{len(self):,} sequences of {steps} steps of {self.features:,} values ({self._targets_told}){left_out}"

    @property
    def _targets_told(self) -> str:
        if not self.labels:
            return f"labels {self.targets.min():g} to {self.targets.max():g}"
        counts = np.bincount(self.targets, minlength=len(self.labels))
        return ", ".join(f"{label} {count:,}" for label, count in zip(self.labels, counts, strict=True))

    def sequence(self, index: int) -> NDArray[np.float32]:
        """Numbers of a sequence as the source has them, ``(time, features)``."""
        return self.values[self.offsets[index] : self.offsets[index + 1]].astype(np.float32)

    @classmethod
    def open(cls, path: Path) -> VectorDataset:
        """Open what `prepare_vectors` wrote, by its ``.json`` file.

        Raises:
            UserError: a file is missing, of another format version, or not as long as it should be.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts.pop("format_version") != FORMAT_VERSION:
                raise ValueError("another format version")
            # Opened here: `np.load` would leave open what is no whole zip file.
            with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                offsets, targets, records, mean, scale = (
                    arrays[name] for name in ("offsets", "targets", "records", "mean", "scale")
                )
            values = np.asarray(np.memmap(path.with_suffix(".bin"), dtype=facts.pop("dtype"), mode="r"))
            if len(values) != offsets[-1] * len(mean):
                raise ValueError(f"{len(values)} values instead of {offsets[-1] * len(mean)}")
            values, labels = values.reshape(-1, len(mean)), tuple(facts.pop("labels"))
            return cls(path, values, offsets, targets, records, labels, mean, scale, **facts)
        except Exception as error:  # whatever the libraries below make of damaged bytes
            raise UserError(
                f"{path} must be as it was prepared: {error}; delete it and prepare the source again"
            ) from error


def prepare_vectors(
    sources: Sequence[str],
    options: VectorOptions,
    folder: Path,
    *,
    task: str,
    names: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    held_out: float | None = None,
    scaling: Scaling | None = None,
    fingerprint: str | None = None,
    quiet: bool = False,
) -> list[VectorDataset]:
    """Write labelled sequences into `folder`, or open what is there from an earlier call for the same.

    The source is read once, into a file without a name; that is then cut into what is trained on and what is held out.

    Args:
        task: ``classification`` or ``regression``.
        names: better names of labels, ``"0=negative"``.
        classes: the classes; a sequence with another label is left out and counted. None for those of the source.
        held_out: the share that goes to a dataset of its own, of every class as much, always the same; None for none.
        scaling: mean and scale, of a dataset that was prepared before; None computes them of what is trained on.
        fingerprint: of the sources, as `vectors_fingerprint` gives it, if it is known.
        quiet: show no progress.

    Returns:
        The dataset to train on and, if asked for, the held-out one.

    Raises:
        UserError: a source cannot be read, the disk refuses, or too little is left.
    """
    source = fingerprint or vectors_fingerprint(sources, options)
    given = None if scaling is None else [array.tolist() for array in scaling]
    known = None if classes is None else list(classes)
    decides = [FORMAT_VERSION, source, task, list(names), known, held_out, given]
    name = "vectors-" + hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    parts = ["train"] if held_out is None else ["train", "held_out"]
    paths = [folder / f"{name}.{part}.json" for part in parts]
    try:
        return [VectorDataset.open(path) for path in paths]
    except UserError:  # not there, or not whole
        pass
    renamed, skipped = renaming(names), Counter[str]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} could not be made: {error.strerror}; choose another folder") from error
    records = read_vectors(sources, options, task, skipped, 0 if scaling is None else len(scaling[0]))
    progress = tqdm(records, desc="Reading", unit="sequence", unit_scale=True, disable=quiet, delay=1, leave=False)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            spool = _Spool(file, progress)
            if task == "classification":
                cut = _cut_by_class(spool.targets, renamed, classes, held_out)
            else:
                cut = _cut_at_random(spool.targets, held_out)
            if left_out := int(np.count_nonzero(cut.parts < 0)):
                skipped["sequences with a label never seen in training"] += left_out
            if not {*range(len(paths))} <= {*cut.parts.tolist()}:
                raise UserError(
                    f"labels must be {', '.join(cut.classes)!r:.200}, too few sequences of {', '.join(sources)} have "
                    f"one: {describe(skipped)}; name the label column, or names for labels in data.label_names"
                )
            spool.write([path.with_suffix(".bin") for path in paths], cut.parts)
    except OSError as error:
        raise UserError(
            f"{folder} could not be written: {error.strerror}; free space or choose another folder"
        ) from error
    if scaling is None:
        values = np.asarray(np.memmap(paths[0].with_suffix(".bin"), dtype=spool.dtype, mode="r"))
        scaling = _scaling_of(values.reshape(-1, spool.features))
    lengths = np.array(spool.lengths, np.int64)
    facts = {
        "format_version": FORMAT_VERSION,
        "dtype": spool.dtype.name,
        "labels": list(cut.classes),
        "skipped": dict(skipped),
        "source_fingerprint": source,
    }
    for part, path in enumerate(paths):
        chosen = np.flatnonzero(cut.parts == part)
        offsets = np.cumsum([0, *lengths[chosen]])
        with write_atomically(path.with_suffix(".npz")) as temporary, temporary.open("wb") as arrays:
            np.savez(
                arrays,
                offsets=offsets,
                targets=cut.targets[chosen],
                records=chosen,
                mean=scaling[0],
                scale=scaling[1],
            )
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [VectorDataset.open(path) for path in paths]


class _Cut(NamedTuple):
    """What becomes of the records of a source.

    Attributes:
        parts: ``(records,)``: 0 for those trained on, 1 for those held out, -1 for those left out.
    """

    classes: Sequence[str]
    targets: Targets
    parts: NDArray[np.int64]


def _cut_by_class(
    found: Sequence[Target], renamed: Mapping[str, str], classes: Sequence[str] | None, held_out: float | None
) -> _Cut:
    labels = [renamed.get(label, label) for label in map(str, found)]
    if classes is None:
        if held_out is not None:  # else the sources to evaluate on may have them
            require_labels(renamed, map(str, found))
        classes = class_names(labels, "sequences")
    place = {label: index for index, label in enumerate(classes)}
    targets = np.array([place.get(label, -1) for label in labels], np.int32)
    parts = np.zeros(len(labels), np.int64)
    if held_out is not None:
        parts[stratified_split(labels, held_out, "sequences")] = 1
    parts[targets < 0] = -1
    return _Cut(classes, targets, parts)


def _cut_at_random(found: Sequence[Target], held_out: float | None) -> _Cut:
    parts = np.zeros(len(found), np.int64)
    if held_out is not None:
        parts[_held_out_at_random(len(found), held_out)] = 1
    return _Cut((), np.array(found, np.float32), parts)


def _held_out_at_random(records: int, share: float) -> NDArray[np.int64]:
    """Which records are held out: at least one, and not all."""
    if records < 2:
        raise UserError(
            f"there must be two sequences or more, one of them to be held out, was: {records}; give more, "
            "or data.validation"
        )
    count = min(max(1, round(share * records)), records - 1)
    return np.random.default_rng(SPLIT_SEED).permutation(records)[:count]


def _scaling_of(values: NDArray[Any]) -> Scaling:
    """Mean and standard deviation of each feature of ``(steps, features)``; 0 and 255 for uint8."""
    steps, features = values.shape
    if values.dtype == np.uint8:
        return np.zeros(features, np.float32), np.full(features, 255, np.float32)
    at_once = max(1, VALUES_AT_ONCE // features)
    blocks = [values[begin : begin + at_once] for begin in range(0, steps, at_once)]  # of what is mapped: no copies
    total, squares, changes = np.zeros(features), np.zeros(features), np.zeros(features, bool)
    for block in blocks:
        total += block.sum(axis=0, dtype=np.float64)
        changes |= (block != values[0]).any(axis=0)
    mean = total / steps
    for block in blocks:  # a second time: squares less the square of the mean would lose all digits of a small spread
        squares += np.square(block - mean).sum(axis=0)
    scale = np.where(changes, np.sqrt(squares / steps), 1).astype(np.float32)
    return mean.astype(np.float32), np.where(scale == 0, np.float32(1), scale)


class _Spool:
    """All sequences of a source in one file, in their order, until it is known which part each belongs to.

    Attributes:
        lengths: steps of each.
        targets: label or numbers of each.
        features: values of a step, the same for all.
    """

    def __init__(self, file: IO[bytes], records: Iterable[tuple[NDArray[Any], Target]]) -> None:
        self._file = file
        self.features, self.lengths, self.targets = 0, list[int](), list[Target]()
        self._is_uint8 = bytearray()  # of each record: images may be of both kinds
        for sequence, target in records:
            file.write(np.ascontiguousarray(sequence).data)
            self.features = sequence.shape[1]
            self.lengths.append(len(sequence))
            self.targets.append(target)
            self._is_uint8.append(sequence.dtype == np.uint8)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That holds all: uint8 or float32."""
        return np.dtype(np.uint8 if all(self._is_uint8) else np.float32)

    def write(self, paths: Sequence[Path], parts: NDArray[np.int64]) -> None:
        """Write each sequence to the file of its part ``(records,)``; -1 leaves it out."""
        dtype = self.dtype
        self._file.seek(0)
        with ExitStack() as stack:
            temporary = [stack.enter_context(write_atomically(path)) for path in paths]
            files = [stack.enter_context(path.open("wb")) for path in temporary]
            for length, is_uint8, part in zip(self.lengths, self._is_uint8, parts, strict=True):
                kind = np.dtype(np.uint8 if is_uint8 else np.float32)
                data = self._file.read(length * self.features * kind.itemsize)
                if part >= 0:
                    files[part].write(np.frombuffer(data, kind).astype(dtype, copy=False).data)


# Batches


class VectorBatch(NamedTuple):
    """Some sequences of about the same length.

    Attributes:
        values: float32 ``(batch, time, features)`` as the source has them, zeros behind the end of a sequence.
        lengths: int32 ``(batch,)``, in steps; 0 in rows that are empty.
        targets: int32 ``(batch,)``; of a regression float32 ``(batch, outputs)``.
        indices: int64 ``(sequences,)``: which of the dataset the first rows are; rows beyond them are empty.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int32]
    targets: Targets
    indices: NDArray[np.int64]

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """What a model is called with."""
        return self.values, self.lengths


class VectorBatches:
    """Batches of a dataset for training and, in the order of lengths, for reading all of it, as `TextBatches`.

    Sequences of one length alone are not padded; others to one of a few lengths.

    Args:
        batch_size: sequences of a batch.
        seed: of the order.

    Raises:
        UserError: the dataset has fewer sequences than `batch_size`.
    """

    def __init__(self, dataset: VectorDataset, batch_size: int, seed: int) -> None:
        if len(dataset) < batch_size:
            raise UserError(
                f"a batch of {batch_size} sequences needs as many, was: {len(dataset)}; lower train.batch_size "
                "or give more"
            )
        self.dataset = dataset
        self.seed = seed
        self.steps_per_epoch = len(dataset) // batch_size
        self.lengths = dataset.lengths
        self._batch_size = batch_size
        is_table = bool((self.lengths == self.lengths[0]).all())
        self._table = dataset.values.reshape(len(dataset), -1, dataset.features) if is_table else None
        self._epoch, self._order = -1, np.zeros((0, batch_size), np.int64)

    def batch(self, step: int) -> VectorBatch:
        """The batch of a step, counted from 0 through all epochs; it depends on nothing but `seed` and `step`."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            by_length = self.lengths if self._table is None else None
            self._epoch = epoch
            self._order = shuffled_batches(len(self.dataset), self._batch_size, by_length, self.seed, epoch)
        return self._read(self._order[index])

    def all(self) -> Iterator[VectorBatch]:
        """Every sequence once, the shortest first."""
        order = np.argsort(self.lengths, kind="stable")
        for begin in range(0, len(order), self._batch_size):
            yield self._read(order[begin : begin + self._batch_size])

    def _read(self, indices: NDArray[np.int64]) -> VectorBatch:
        dataset, rows = self.dataset, self._batch_size
        if self._table is None:
            length = padded_length(int(self.lengths[indices].max()), 0)
            offsets = dataset.offsets
            sequences = [dataset.values[offsets[index] : offsets[index + 1]] for index in indices]
            values, lengths = padded(sequences, length, rows)
        else:
            values = np.zeros((rows, *self._table.shape[1:]), np.float32)
            values[: len(indices)] = self._table[indices]
            lengths = np.zeros(rows, np.int32)
            lengths[: len(indices)] = self._table.shape[1]
        targets = np.zeros((rows, *dataset.targets.shape[1:]), dataset.targets.dtype)
        targets[: len(indices)] = dataset.targets[indices]
        return VectorBatch(values, lengths, targets, indices)
