"""Labelled texts: sources to token ids on disk, and those to batches."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.classification import head_and_tail, padded_length
from textrnn.data.labelled import (
    Batches,
    LabelledDataset,
    make_folder,
    open_parts,
    part_paths,
    write_part,
)
from textrnn.data.labels import Labels, describe
from textrnn.data.records import SourceOptions
from textrnn.data.sources import read_labelled, source_fingerprint
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers.base import PAD_ID, Tokenizer


class TextDataset(LabelledDataset):
    """Texts as token ids on disk, with their labels."""

    @property
    def summary(self) -> str:
        """Size of the dataset, for people."""
        return f"{len(self):,} texts of {len(self.values):,} tokens ({self.class_summary}){self.left_out}"

    def text(self, index: int, max_length: int) -> NDArray[Any]:
        """Return the ids of a text, ``(tokens,)``, or the head and tail of a longer one."""
        return head_and_tail(self.record(index), max_length)


@dataclass
class LabelledCorpus:
    """Labelled texts of some sources. They are read once, into a temporary file that lives as long as the context.

    Attributes:
        sources: the sources.
        options: how they are read.
        labels: what their labels mean.
        folder: folder of the temporary file, and of what is prepared.
        held_out: share of every class that is held out; None for none.
        classes_known: the classes; a text with another label is left out and counted. None: those of the sources.
        classes_before: the classes of the model that learns on. If the sources have any of them, they come first, and
            the others of the sources after them; else they are not kept.
        always_before: keep them even so.
        validation: other sources, whose labels may be renamed too.
        quiet: show no progress.
    """

    sources: Sequence[str]
    options: SourceOptions
    labels: Labels
    folder: Path
    held_out: float | None = None
    classes_known: Sequence[str] | None = None
    classes_before: Sequence[str] = ()
    always_before: bool = False
    validation: Sequence[str] = ()
    quiet: bool = False

    @cached_property
    def _texts(self) -> _TextFile:
        make_folder(self.folder)
        skipped: Counter[str] = Counter()
        records = read_labelled(self.sources, self.options, skipped)
        try:
            return _TextFile(self.folder, self._with_progress("Reading", records), skipped)
        except OSError as error:
            raise UserError(
                f"{self.folder} could not be written: {error.strerror}; free space or choose another folder"
            ) from error

    def __enter__(self) -> LabelledCorpus:
        return self

    def __exit__(self, *_: object) -> None:
        if texts := self.__dict__.pop("_texts", None):
            texts.close()

    @property
    def skipped(self) -> Counter[str]:
        """Number of records that were left out, by reason."""
        return self._texts.skipped

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes, in order."""
        if self.classes_known is not None:
            return tuple(self.classes_known)
        labels = self._texts.labels
        if self.classes_before:
            return self.labels.classes_with(self.classes_before, labels, "texts", self.always_before)
        if set(self.labels.renamed) - set(labels):
            others = [label for _, label in read_labelled(self.validation, self.options, Counter())]
            self.labels.require_names([*labels, *others])
        return self.labels.classes(labels, "texts")

    @cached_property
    def is_held_out(self) -> NDArray[np.bool_]:
        """Which texts are held out, bool ``(texts,)``."""
        if self.held_out is None:
            return np.zeros(len(self._texts.labels), bool)
        return self.labels.split(self._texts.labels, self.held_out, "texts")

    def records(self, what: str) -> Iterator[tuple[str, str]]:
        """Yield all texts with their labels; `what` is said beside the progress bar."""
        return iter(self._with_progress(what, self._texts.read(), len(self._texts.labels)))

    def training_texts(self) -> Iterator[str]:
        """Yield the texts that are not held out."""
        held_out = self.is_held_out
        return (text for index, (text, _) in enumerate(self.records("Tokenizer")) if not held_out[index])

    def _with_progress(self, what: str, records: Any, total: int | None = None) -> Any:
        return tqdm(
            records, desc=what, total=total, unit="text", unit_scale=True, disable=self.quiet, delay=1, leave=False
        )


class _TextFile:
    """Texts in a file without a name, with their labels in memory."""

    def __init__(self, folder: Path, records: Iterator[tuple[str, str]], skipped: Counter[str]) -> None:
        self.skipped = skipped
        self.labels, self._sizes = list[str](), list[int]()
        with ExitStack() as stack:
            self._file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            for text, label in records:
                self._sizes.append(self._file.write(text.encode("utf-8")))
                self.labels.append(label)
            self._file.flush()
            stack.pop_all()  # it stays open

    def close(self) -> None:
        self._file.close()

    def read(self) -> Iterator[tuple[str, str]]:
        self._file.seek(0)
        for size, label in zip(self._sizes, self.labels, strict=True):
            yield self._file.read(size).decode("utf-8"), label


def prepare_labelled(tokenizer: Tokenizer, corpus: LabelledCorpus, fingerprint: str | None = None) -> list[TextDataset]:
    """Tokenise labelled texts into the folder of the corpus, or open what is there from an earlier call.

    Args:
        tokenizer: the tokenizer.
        corpus: the texts.
        fingerprint: digest of the sources, as `source_fingerprint` gives it, if it is known.

    Returns:
        The training set and, if a share is held out, the held-out set.

    Raises:
        UserError: a source cannot be read, the disk refuses, or no text is left.
    """
    fingerprint = fingerprint or source_fingerprint(corpus.sources, corpus.options)
    known = None if corpus.classes_known is None else list(corpus.classes_known)
    decides = [tokenizer.fingerprint, fingerprint, *corpus.labels.decides, known, corpus.held_out]
    decides += [corpus.classes_before, corpus.always_before] if corpus.classes_before else []
    paths = part_paths(corpus.folder, "texts", decides, corpus.held_out is not None)
    if found := open_parts(TextDataset, paths):
        return found
    places = {name: place for place, name in enumerate(corpus.classes)}
    held_out, skipped = corpus.is_held_out, Counter(corpus.skipped)
    with ExitStack() as stack:
        temporary = [stack.enter_context(write_atomically(path.with_suffix(".bin"))) for path in paths]
        writers = [_TextWriter(stack.enter_context(path.open("wb")), tokenizer) for path in temporary]
        for index, (text, label) in enumerate(corpus.records("Tokenising")):
            target = corpus.labels.target(label, places)
            if target is None:
                skipped["texts with a label never seen in training"] += 1
            else:
                writers[int(held_out[index])].write(text, target, index)
        if not all(writer.targets for writer in writers):
            raise UserError(
                f"labels must be {', '.join(corpus.classes)!r:.200}, too few texts of {', '.join(corpus.sources)} have"
                f" one: {describe(skipped)}; name the label column, or names for labels in data.label_names"
            )
    for path, writer in zip(paths, writers, strict=True):
        arrays = {
            "offsets": np.array(writer.offsets, np.int64),
            "targets": np.array(writer.targets, corpus.labels.dtype),
            "records": np.array(writer.records, np.int64),
        }
        write_part(path, writer.dtype, (), arrays, corpus.classes, skipped, fingerprint)
    return [TextDataset.open(path) for path in paths]


class _TextWriter:
    """Writes the ids of one part."""

    def __init__(self, file: BinaryIO, tokenizer: Tokenizer) -> None:
        self.file, self.tokenizer = file, tokenizer
        self.dtype = np.min_scalar_type(tokenizer.vocabulary_size - 1)
        self.offsets, self.targets, self.records = [0], list[Any](), list[int]()

    def write(self, text: str, target: Any, record: int) -> None:
        ids = self.tokenizer.encode(text)
        self.file.write(ids.astype(self.dtype).data)
        self.offsets.append(self.offsets[-1] + len(ids))
        self.targets.append(target)
        self.records.append(record)


def texts_of_records(sources: Sequence[str], options: SourceOptions, wanted: Sequence[int]) -> Mapping[int, str]:
    """Return some labelled texts as they are in the source, by their number."""
    places = set(wanted)
    records = enumerate(read_labelled(sources, options, Counter()))
    return {index: text for index, (text, _) in records if index in places}


class TextBatches(Batches[TextDataset]):
    """Batches of whole texts.

    Args:
        dataset: the texts.
        batch_size: number of texts in a batch.
        max_length: tokens of a text that are read.
        segment_length: number of which a padded length must be a multiple; 0 for none.
        seed: seed of the order.
        by_length: False fills every batch in random order.

    Raises:
        UserError: the dataset has fewer texts than `batch_size`.
    """

    unit = "texts"

    def __init__(
        self,
        dataset: TextDataset,
        batch_size: int,
        max_length: int,
        segment_length: int,
        seed: int,
        by_length: bool = True,
    ) -> None:
        super().__init__(dataset, batch_size, np.minimum(dataset.lengths, max_length), seed, by_length)
        self._max_length, self._segment_length = max_length, segment_length

    def _inputs(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        length = padded_length(int(self.lengths[indices].max()), self._segment_length)
        ids = np.full((self.batch_size, length), PAD_ID, np.int32)
        for row, index in enumerate(indices):
            text = self.dataset.text(index, self._max_length)
            ids[row, : len(text)] = text
        return (ids,)
