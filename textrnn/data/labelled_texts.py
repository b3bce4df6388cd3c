"""Labelled text to token ids on disk, and token ids to batches of whole texts.

Texts differ in length. A batch holds texts of about the same length, and its shape is one of a few (`padded_length`),
so that little padding is computed and few programs are compiled.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.classification import head_and_tail, padded_length
from textrnn.data.records import SourceOptions
from textrnn.data.sources import read_labelled, source_fingerprint
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers.base import PAD_ID, Tokenizer

FORMAT_VERSION = 1
SPLIT_SEED = 0  # the same texts are held out whatever the seed of a run, so that runs can be compared
POOL = 50  # batches whose texts are sorted by length together


class Scan(NamedTuple):
    """The labels of a source, before anything else of it is kept.

    Attributes:
        labels: one for each labelled text, in order.
        skipped: how many records were left out, by reason.
    """

    labels: list[str]
    skipped: Counter[str]


@dataclass(frozen=True, eq=False)
class LabelledDataset:
    """Texts as token ids on disk, with their labels.

    Attributes:
        path: the ``.json`` file; a ``.bin`` and an ``.npz`` of the same name lie beside it.
        ids: memory-mapped, ``(tokens,)``, all texts one after the other.
        offsets: int64 ``(texts + 1,)``: text i is ``ids[offsets[i]:offsets[i + 1]]``.
        targets: int32 ``(texts,)``, places in `labels`.
        records: int64 ``(texts,)``: which labelled text of the source each one is.
        labels: the names of the classes.
        skipped: how many records of the source were left out, by reason.
    """

    path: Path
    ids: NDArray[Any]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    records: NDArray[np.int64]
    labels: tuple[str, ...]
    skipped: Mapping[str, int]
    source_fingerprint: str

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def summary(self) -> str:
        """How much it is, for people."""
        counts = np.bincount(self.targets, minlength=len(self.labels))
        classes = ", ".join(f"{label} {count:,}" for label, count in zip(self.labels, counts, strict=True))
        left_out = f"; left out: {describe(self.skipped)}" if self.skipped else ""
        return f"{len(self):,} texts of {len(self.ids):,} tokens ({classes}){left_out}"

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, ``(texts,)``."""
        return np.diff(self.offsets)

    def text(self, index: int, max_length: int) -> NDArray[Any]:
        """Ids of a text, ``(tokens,)``, or the head and tail of a longer one."""
        return head_and_tail(self.ids[self.offsets[index] : self.offsets[index + 1]], max_length)

    @classmethod
    def open(cls, path: Path) -> LabelledDataset:
        """Open what `prepare_labelled` wrote, by its ``.json`` file.

        Raises:
            UserError: a file is missing, of another format version, or not as long as it should be.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts.pop("format_version") != FORMAT_VERSION:
                raise ValueError("another format version")
            # Opened here: `np.load` would leave open what is no whole zip file.
            with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                offsets, targets, records = (arrays[name] for name in ("offsets", "targets", "records"))
            ids = np.memmap(path.with_suffix(".bin"), dtype=facts.pop("dtype"), mode="r")
            if len(ids) != offsets[-1]:
                raise ValueError(f"{len(ids)} tokens instead of {offsets[-1]}")
            labels = tuple(facts.pop("labels"))
            return cls(path, np.asarray(ids), offsets, targets, records, labels, **facts)
        except Exception as error:  # whatever the libraries below make of damaged bytes
            raise UserError(
                f"{path} must be as it was prepared: {error}; delete it and prepare the text again"
            ) from error


def scan(
    sources: Sequence[str],
    options: SourceOptions,
    names: Sequence[str] = (),
    quiet: bool = False,
    validation: Sequence[str] = (),
) -> Scan:
    """Read the labels of sources.

    Args:
        names: better names of labels, ``"0=negative"``.
        validation: other sources, whose labels may be renamed too.

    Raises:
        UserError: as `read_labelled`, or no source has a label that is to be renamed.
    """
    skipped: Counter[str] = Counter()
    renamed = renaming(names)
    records = _with_progress("Labels", read_labelled(sources, options, skipped), None, quiet)
    labels = [label for _, label in records]
    if set(renamed) - set(labels):
        others = [label for _, label in read_labelled(validation, options, Counter())]
        require_labels(renamed, [*labels, *others])
    return Scan([renamed.get(label, label) for label in labels], skipped)


def class_names(labels: Sequence[str], what: str = "texts") -> tuple[str, ...]:
    """The classes, numbers in their order and else by the alphabet; `what` has the labels, for people.

    Raises:
        UserError: there is only one.
    """
    found = sorted(
        set(labels), key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)
    )
    if len(found) < 2:
        raise UserError(
            f"classification needs two labels or more, all {len(labels)} {what} have: {found[0]!r}; "
            f"give {what} of the other classes too, or another label column"
        )
    return tuple(found)


def stratified_split(labels: Sequence[str], share: float, what: str = "texts") -> NDArray[np.bool_]:
    """Which texts are held out, bool ``(texts,)``: of every class the same share, drawn at random, always the same.

    Of a class of two texts or more at least one is held out, and at least one is not. `what` has the labels, for
    people.

    Raises:
        UserError: no class has two texts.
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    held_out = np.zeros(len(labels), bool)
    generator = np.random.default_rng(SPLIT_SEED)
    for name in sorted(places):
        shuffled = generator.permutation(places[name])
        count = min(max(1, round(share * len(shuffled))), len(shuffled) - 1)
        held_out[shuffled[:count]] = True
    if not held_out.any():
        raise UserError(
            f"a class needs two {what} or more, one of them to be held out, each of the {len(places)} labels has one; "
            f"give more {what}, another label column, or data.validation"
        )
    return held_out


def prepare_labelled(
    tokenizer: Tokenizer,
    sources: Sequence[str],
    options: SourceOptions,
    folder: Path,
    *,
    classes: Sequence[str],
    names: Sequence[str] = (),
    held_out: NDArray[np.bool_] | None = None,
    fingerprint: str | None = None,
    quiet: bool = False,
) -> list[LabelledDataset]:
    """Tokenise labelled sources into `folder`, or open what is there from an earlier call for the same.

    Args:
        classes: the classes; a text with another label is left out and counted.
        names: better names of labels, ``"0=negative"``.
        held_out: which texts go to a dataset of their own, bool ``(texts,)``; None for none.
        fingerprint: of the sources, as `source_fingerprint` gives it, if it is known.
        quiet: show no progress.

    Returns:
        The dataset to train on and, if asked for, the held-out one.

    Raises:
        UserError: a source cannot be read, the disk refuses, or no text is left.
    """
    source = fingerprint or source_fingerprint(sources, options)
    split = None if held_out is None else hashlib.sha256(held_out.tobytes()).hexdigest()
    decides = [FORMAT_VERSION, tokenizer.fingerprint, source, list(classes), list(names), split]
    name = "texts-" + hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    parts = ["train"] if held_out is None else ["train", "held_out"]
    paths = [folder / f"{name}.{part}.json" for part in parts]
    try:
        return [LabelledDataset.open(path) for path in paths]
    except UserError:  # not there, or not whole
        pass
    place = {label: index for index, label in enumerate(classes)}
    renamed, skipped = renaming(names), Counter[str]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} could not be made: {error.strerror}; choose another folder") from error
    total = None if held_out is None else len(held_out)
    with ExitStack() as stack:
        temporary = [stack.enter_context(write_atomically(path.with_suffix(".bin"))) for path in paths]
        writers = [_TextWriter(stack.enter_context(path.open("wb")), tokenizer) for path in temporary]
        records = _with_progress("Tokenising", read_labelled(sources, options, skipped), total, quiet)
        for index, (text, label) in enumerate(records):
            target = place.get(renamed.get(label, label))
            if target is None:
                skipped["texts with a label never seen in training"] += 1
            else:
                writers[int(held_out is not None and held_out[index])].write(text, target, index)
        if not all(writer.targets for writer in writers):
            raise UserError(
                f"labels must be {', '.join(classes)!r:.200}, too few texts of {', '.join(sources)} have one: "
                f"{describe(skipped)}; name the label column, or names for labels in data.label_names"
            )
    for path, writer in zip(paths, writers, strict=True):
        writer.finish(path, classes, skipped, source)
    return [LabelledDataset.open(path) for path in paths]


def training_records(
    sources: Sequence[str], options: SourceOptions, held_out: NDArray[np.bool_] | None, quiet: bool = False
) -> Iterator[str]:
    """The texts that are not held out."""
    total = None if held_out is None else len(held_out)
    for index, (text, _) in enumerate(
        _with_progress("Reading", read_labelled(sources, options, Counter()), total, quiet)
    ):
        if held_out is None or not held_out[index]:
            yield text


def texts_of_records(sources: Sequence[str], options: SourceOptions, wanted: Sequence[int]) -> dict[int, str]:
    """Some labelled texts as they stand in the source, by their number."""
    places = set(wanted)
    records = enumerate(read_labelled(sources, options, Counter()))
    return {index: text for index, (text, _) in records if index in places}


def renaming(names: Sequence[str]) -> dict[str, str]:
    """Better names by label, of ``["0=negative", ...]``.

    Raises:
        UserError: one is not of this form.
    """
    pairs = [name.partition("=") for name in names]
    for name, (label, _, better) in zip(names, pairs, strict=True):
        if not (label and better):
            raise UserError(f"data.label_names must be LABEL=NAME, was: {name!r}; for example 1=positive")
    return {label: better for label, _, better in pairs}


def require_labels(renamed: Mapping[str, str], labels: Iterable[str]) -> None:
    """Raise a UserError if a label that `data.label_names` renames is not among the labels of the source."""
    found = sorted(set(labels))
    if missing := sorted(set(renamed) - set(found)):
        raise UserError(
            f"data.label_names must rename labels that occur, which are {', '.join(found)!r:.200}, was: "
            f"'{missing[0]}={renamed[missing[0]]}'; correct or remove it"
        )


def describe(skipped: Mapping[str, int]) -> str:
    """What was left out, for people; empty where nothing was."""
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())


class _TextWriter:
    """Writes texts of one part, and when all are written what belongs to them."""

    def __init__(self, file: BinaryIO, tokenizer: Tokenizer) -> None:
        self.file, self.tokenizer = file, tokenizer
        self.dtype = np.min_scalar_type(tokenizer.vocabulary_size - 1)
        self.offsets, self.targets, self.records = [0], list[int](), list[int]()

    def write(self, text: str, target: int, record: int) -> None:
        ids = self.tokenizer.encode(text)
        self.file.write(ids.astype(self.dtype).data)
        self.offsets.append(self.offsets[-1] + len(ids))
        self.targets.append(target)
        self.records.append(record)

    def finish(self, path: Path, classes: Sequence[str], skipped: Mapping[str, int], source: str) -> None:
        with write_atomically(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                offsets=np.array(self.offsets, np.int64),
                targets=np.array(self.targets, np.int32),
                records=np.array(self.records, np.int64),
            )
        facts = {
            "format_version": FORMAT_VERSION,
            "dtype": self.dtype.name,
            "labels": list(classes),
            "skipped": dict(skipped),
            "source_fingerprint": source,
        }
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_progress(what: str, records: Any, total: int | None, quiet: bool) -> Any:
    return tqdm(records, desc=what, total=total, unit="text", unit_scale=True, disable=quiet, delay=1, leave=False)


# Batches


class TextBatch(NamedTuple):
    """Some texts of about the same length.

    Attributes:
        ids: int32 ``(batch, time)``, `PAD_ID` after the end of a text.
        targets: int32 ``(batch,)``.
        indices: int64 ``(texts,)``: which texts of the dataset the first rows are; rows beyond them are empty.
    """

    ids: NDArray[np.int32]
    targets: NDArray[np.int32]
    indices: NDArray[np.int64]

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """What a model is called with."""
        return (self.ids,)


class TextBatches:
    """Batches of a dataset for training and, in the order of lengths, for reading all of it.

    In each epoch the texts are shuffled, and those of `POOL` batches at a time sorted by length and cut into batches,
    which are then shuffled in turn. Texts that fill no batch are left out; the next epoch leaves out others.

    Args:
        batch_size: texts of a batch.
        max_length: tokens of a text that are read.
        segment_length: what a padded length must be a multiple of; 0 for nothing.
        seed: of the order.
        by_length: False fills every batch in random order; for measuring what sorting is worth.

    Raises:
        UserError: the dataset has fewer texts than `batch_size`.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        batch_size: int,
        max_length: int,
        segment_length: int,
        seed: int,
        by_length: bool = True,
    ) -> None:
        if len(dataset) < batch_size:
            raise UserError(
                f"a batch of {batch_size} texts needs as many, was: {len(dataset)}; lower train.batch_size or give more"
            )
        self.dataset = dataset
        self.seed = seed
        self.steps_per_epoch = len(dataset) // batch_size
        self.lengths = np.minimum(dataset.lengths, max_length)
        self._batch_size, self._max_length, self._segment_length = batch_size, max_length, segment_length
        self._by_length = by_length
        self._epoch, self._order = -1, np.zeros((0, batch_size), np.int64)

    def batch(self, step: int) -> TextBatch:
        """The batch of a step, counted from 0 through all epochs; it depends on nothing but `seed` and `step`."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            by_length = self.lengths if self._by_length else None
            self._epoch = epoch
            self._order = shuffled_batches(len(self.dataset), self._batch_size, by_length, self.seed, epoch)
        return self._read(self._order[index])

    def all(self) -> Iterator[TextBatch]:
        """Every text once, the shortest first."""
        order = np.argsort(self.lengths, kind="stable")
        for begin in range(0, len(order), self._batch_size):
            yield self._read(order[begin : begin + self._batch_size])

    def _read(self, indices: NDArray[np.int64]) -> TextBatch:
        length = padded_length(int(self.lengths[indices].max()), self._segment_length)
        ids = np.full((self._batch_size, length), PAD_ID, np.int32)
        targets = np.zeros(self._batch_size, np.int32)
        for row, index in enumerate(indices):
            text = self.dataset.text(index, self._max_length)
            ids[row, : len(text)] = text
            targets[row] = self.dataset.targets[index]
        return TextBatch(ids, targets, indices)


def shuffled_batches(
    records: int, batch_size: int, lengths: NDArray[np.int64] | None, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Which records make up each batch of an epoch, ``(steps, batch)``.

    Args:
        lengths: of the records; those of `POOL` batches at a time are sorted by it. None fills batches at random.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(records)[: records // batch_size * batch_size]
    if lengths is not None:
        pool = POOL * batch_size
        pools = [order[begin : begin + pool] for begin in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
    batches: NDArray[np.int64] = order.reshape(-1, batch_size)
    return generator.permutation(batches)
