"""Labelled sequences of vectors: sources to numbers on disk, and those to batches.

On disk are the numbers as the source has them; a model subtracts `VectorDataset.mean` and divides by
`VectorDataset.scale`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.classification import padded_length
from textrnn.data.labelled import Batches, LabelledDataset, make_folder, open_parts, part_paths, write_part
from textrnn.data.labels import SPLIT_SEED, Labels, describe
from textrnn.data.vector_sources import Target, VectorOptions, read_grouped, vectors_fingerprint
from textrnn.data.vectors import padded
from textrnn.errors import UserError
from textrnn.files import write_atomically

VALUES_AT_ONCE = 1 << 20  # in what is computed of all steps

Scaling = tuple[NDArray[np.float32], NDArray[np.float32]]
Targets = NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VectorDataset(LabelledDataset):
    """Sequences of vectors on disk, uint8 if all of the source are, else float32, with their labels.

    Attributes:
        mean: float32 ``(features,)``, mean of all training steps; 0 for uint8.
        scale: float32 ``(features,)``, their standard deviation, 1 for a feature that never changes; 255 for uint8.
    """

    arrays: ClassVar[tuple[str, ...]] = (*LabelledDataset.arrays, "mean", "scale")

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def features(self) -> int:
        """Values of each step."""
        return int(self.values.shape[1])

    @property
    def summary(self) -> str:
        """Size of the dataset, for people."""
        shortest, longest = self.lengths.min(), self.lengths.max()
        steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        targets = self.class_summary if self.labels else f"labels {self.targets.min():g} to {self.targets.max():g}"
        return f"{len(self):,} sequences of {steps} steps of {self.features:,} values ({targets}){self.left_out}"

    def sequence(self, index: int) -> NDArray[np.float32]:
        """Return a sequence as the source has it, ``(time, features)``."""
        return self.record(index).astype(np.float32)


def some_sequences(dataset: VectorDataset) -> list[NDArray[np.float32]]:
    """Return 1,000 sequences of a dataset, spread over it, or all if it has fewer."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, 1000).round().astype(np.int64))
    return [dataset.sequence(int(index)) for index in chosen]


def prepare_vectors(
    sources: Sequence[str],
    options: VectorOptions,
    folder: Path,
    *,
    labels: Labels | None,
    classes: Sequence[str] | None = None,
    before: Sequence[str] = (),
    always_before: bool = False,
    held_out: float | None = None,
    scaling: Scaling | None = None,
    fingerprint: str | None = None,
    quiet: bool = False,
) -> list[VectorDataset]:
    """Write labelled sequences into `folder`, or open what is there from an earlier call for the same.

    The source is read once, into a file without a name; that is then cut into what is trained on and what is held out.

    Args:
        sources: the sources.
        options: how they are read.
        folder: where the files go.
        labels: what the labels mean; None for values of a regression.
        classes: the classes; a sequence with another label is left out and counted. None for those of the source.
        before: the classes of a model that learns on, and `always_before`, as `Labels.classes_with` takes them.
        always_before: see there.
        held_out: the share that goes to a dataset of its own, of every class as much, always the same; None for none.
        scaling: mean and scale, of a dataset that was prepared before; None computes them of what is trained on.
        fingerprint: of the sources, as `vectors_fingerprint` gives it, if it is known.
        quiet: show no progress.

    Returns:
        The dataset to train on and, if asked for, the held-out one.

    Raises:
        UserError: a source cannot be read, the disk refuses, or too little is left.
    """
    fingerprint = fingerprint or vectors_fingerprint(sources, options)
    given = None if scaling is None else [array.tolist() for array in scaling]
    known = None if classes is None else list(classes)
    decides = [fingerprint, labels and labels.decides, known, held_out, given]
    decides += [list(before), always_before] if before else []
    paths = part_paths(folder, "vectors", decides, held_out is not None)
    if found := open_parts(VectorDataset, paths):
        return found
    skipped = Counter[str]()
    make_folder(folder)
    features = 0 if scaling is None else len(scaling[0])
    records = read_grouped(sources, options, skipped, features, is_valued=labels is None)
    progress = tqdm(records, desc="Reading", unit="sequence", unit_scale=True, disable=quiet, delay=1, leave=False)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            spool = _Spool(file, progress)
            if labels:
                names = [str(label) for label in spool.targets]
                if before and classes is None:
                    classes = labels.classes_with(before, names, "sequences", always_before)
                cut = _cut_by_class(spool, labels, classes, held_out)
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
        scaling = scaling_of(values.reshape(-1, spool.features))
    lengths = np.array(spool.lengths, np.int64)
    for part, path in enumerate(paths):
        chosen = np.flatnonzero(cut.parts == part)
        arrays = {
            "offsets": np.cumsum([0, *lengths[chosen]]),
            "targets": cut.targets[chosen],
            "records": chosen,
            "mean": scaling[0],
            "scale": scaling[1],
        }
        write_part(path, spool.dtype, (spool.features,), arrays, cut.classes, skipped, fingerprint)
    return [VectorDataset.open(path) for path in paths]


class _Cut(NamedTuple):
    """The parts that the records of a source belong to.

    Attributes:
        classes: names of the classes.
        targets: ``(records,)`` or ``(records, outputs)``.
        parts: ``(records,)``: 0 for those trained on, 1 for those held out, -1 for those left out.
    """

    classes: Sequence[str]
    targets: Targets
    parts: NDArray[np.int64]


def _cut_by_class(spool: _Spool, labels: Labels, classes: Sequence[str] | None, held_out: float | None) -> _Cut:
    names = [str(label) for label in spool.targets]
    if classes is None:
        if held_out is not None:  # else the sources to evaluate on may have them
            labels.require_names(names)
        classes = labels.classes(names, "sequences")
    places = {name: place for place, name in enumerate(classes)}
    targets = [labels.target(name, places) for name in names]
    parts = np.zeros(len(names), np.int64)
    if held_out is not None:
        if any(spool.groups):
            parts[held_out_by_group(spool.groups, held_out)] = 1
        else:
            parts[labels.split(names, held_out, "sequences")] = 1
    parts[[target is None for target in targets]] = -1
    return _Cut(classes, np.array([0 if target is None else target for target in targets], labels.dtype), parts)


def _cut_at_random(found: Sequence[Target], held_out: float | None) -> _Cut:
    parts = np.zeros(len(found), np.int64)
    if held_out is not None:
        parts[held_out_at_random(len(found), held_out)] = 1
    return _Cut((), np.array(found, np.float32), parts)


def held_out_by_group(groups: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Return which records are held out: those of whole groups, so many that they have the share or a little more.

    Raises:
        UserError: there are fewer than two groups.
    """
    names, places, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise UserError(
            f"data.group holds out whole groups, all records are of one: {str(names[0])!r:.60}; leave it out, or "
            "give others too"
        )
    chosen = np.zeros(len(names), bool)
    for group in np.random.default_rng(SPLIT_SEED).permutation(len(names))[:-1]:
        if counts[chosen].sum() >= share * len(groups):
            break
        chosen[group] = True
    held_out: NDArray[np.bool_] = chosen[places]
    return held_out


def held_out_at_random(records: int, share: float) -> NDArray[np.int64]:
    """Return the numbers of the records that are held out: at least one, and not all.

    Raises:
        UserError: there are fewer than two records.
    """
    if records < 2:
        raise UserError(
            f"there must be two sequences or more, one of them to be held out, was: {records}; give more, "
            "or data.validation"
        )
    count = min(max(1, round(share * records)), records - 1)
    return np.random.default_rng(SPLIT_SEED).permutation(records)[:count]


def scaling_of(values: NDArray[Any]) -> Scaling:
    """Compute mean and standard deviation of each feature of ``(steps, features)``; 0 and 255 for uint8."""
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
        groups: name of the group of each; empty for none.
        features: values of a step, the same for all.
    """

    def __init__(self, file: IO[bytes], records: Iterable[tuple[NDArray[Any], Target, str]]) -> None:
        self._file = file
        self.features, self.lengths, self.targets, self.groups = 0, list[int](), list[Target](), list[str]()
        self._is_uint8 = bytearray()  # of each record: images may be of both kinds
        for sequence, target, group in records:
            file.write(np.ascontiguousarray(sequence).data)
            self.features = sequence.shape[1]
            self.lengths.append(len(sequence))
            self.targets.append(target)
            self.groups.append(group)
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


class VectorBatches(Batches[VectorDataset]):
    """Batches of whole sequences.

    Sequences of one length alone are not padded; others to one of a few lengths.

    Args:
        dataset: the sequences.
        batch_size: number of sequences in a batch.
        seed: seed of the order.

    Raises:
        UserError: the dataset has fewer sequences than `batch_size`.
    """

    unit = "sequences"

    def __init__(self, dataset: VectorDataset, batch_size: int, seed: int) -> None:
        lengths = dataset.lengths
        is_table = bool((lengths == lengths[:1]).all())
        super().__init__(dataset, batch_size, lengths, seed, by_length=not is_table)
        self._table = dataset.values.reshape(len(dataset), -1, dataset.features) if is_table else None

    def padded_length(self, length: int) -> int:
        """Return the number of steps to which a batch is padded whose longest sequence has `length` steps."""
        return padded_length(length, 0)

    def _inputs(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        rows = self.batch_size
        if self._table is None:
            length = self.padded_length(int(self.lengths[indices].max()))
            return padded([self.dataset.record(index) for index in indices], length, rows)
        values = np.zeros((rows, *self._table.shape[1:]), np.float32)
        values[: len(indices)] = self._table[indices]
        lengths = np.zeros(rows, np.int32)
        lengths[: len(indices)] = self._table.shape[1]
        return values, lengths
