"""Recordings with their transcripts: read from tables, kept as frames and token ids on disk, put into batches."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.config import DataConfig
from textrnn.data.audio.augmentation import AugmentedBatches, augment
from textrnn.data.audio.recordings import AudioFormat, SilentRecording
from textrnn.data.audio.sources import Columns, Labelled, find_recordings, identity
from textrnn.data.labelled import Batch, make_folder, open_parts, part_paths, write_part
from textrnn.data.labelled_vectors import (
    Scaling,
    VectorBatches,
    VectorDataset,
    held_out_at_random,
    held_out_by_group,
    scaling_of,
)
from textrnn.data.labels import describe
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers.base import PAD_ID, Tokenizer

MASKED_FRAMES = 12  # of a mask at most: part of a sound, no word
SHORTEST = 16  # frames to which a batch is padded at least


@dataclass(frozen=True, eq=False)
class TranscribedDataset(VectorDataset):
    """Log-mel frames of recordings on disk, with their transcripts. `targets` holds the number of tokens of each.

    Attributes:
        ids: int32 ``(tokens,)``, all transcripts one after the other.
    """

    arrays: ClassVar[tuple[str, ...]] = (*VectorDataset.arrays, "ids")

    ids: NDArray[np.int32]

    @cached_property
    def _text_offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.targets, dtype=np.int64)])

    @property
    def longest(self) -> int:
        """Tokens of the longest transcript."""
        return int(self.targets.max())

    def transcript(self, index: int) -> NDArray[np.int32]:
        """Return the tokens of a transcript, ``(tokens,)``."""
        return self.ids[self._text_offsets[index] : self._text_offsets[index + 1]]


def transcript_columns(data: DataConfig) -> Columns:
    """Return the columns of a table of recordings and their transcripts."""
    return Columns(data.recording, data.text, data.group, answer="text")


def find_transcripts(sources: Sequence[str], columns: Columns, skipped: Counter[str]) -> list[Labelled]:
    """Return the recordings that sources name, with their transcripts in `label`, without reading them.

    White space in a transcript becomes one blank. Recordings without a transcript are left out and counted.

    Raises:
        UserError: a source is missing, is no table, lacks a column, or has no transcript.
    """
    found = [each for source in sources for each in find_recordings(source, columns, skipped)]
    kept = [each for each in found if each.label]
    if len(kept) < len(found):
        skipped["recordings without a transcript"] += len(found) - len(kept)
    if not kept:
        raise UserError(
            f"a source must hold recordings with their transcripts, found none in: {', '.join(sources)}; give a table "
            f"with the columns {columns.recording} and {columns.label}"
        )
    return kept


def transcripts_fingerprint(sources: Sequence[str], data: DataConfig) -> str:
    """Return the SHA-256, in hexadecimal digits, that identifies recordings, transcripts and the form of the frames."""
    columns = transcript_columns(data)
    parts = [identity(source, columns) for source in sources]
    return hashlib.sha256(json.dumps([parts, columns, data.sample_rate, data.mel_bins]).encode()).hexdigest()


def is_held_out(found: Sequence[Labelled], share: float) -> NDArray[np.bool_]:
    """Draw which recordings are held out, bool ``(recordings,)``: whole groups, if they have groups.

    Raises:
        UserError: there are fewer than two recordings, or groups.
    """
    groups = [each.group for each in found]
    if any(groups):
        return held_out_by_group(groups, share)
    chosen = np.zeros(len(found), bool)
    chosen[held_out_at_random(len(found), share)] = True
    return chosen


def steps_needed(ids: NDArray[Any]) -> int:
    """Return the fewest steps in which a text can be recognised: one a token, one more between two equal tokens."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())


def transcript_paths(folder: Path, decides: Sequence[Any], held_out: bool) -> list[Path]:
    """Return the files of the parts; `decides` is everything that their content depends on."""
    return part_paths(folder, "transcripts", decides, held_out)


def open_transcripts(paths: Sequence[Path]) -> list[TranscribedDataset] | None:
    """Open the parts that were prepared before; None where one is not there, or not whole."""
    return open_parts(TranscribedDataset, paths)


def write_transcripts(
    paths: Sequence[Path],
    parts: Sequence[Sequence[tuple[int, Labelled]]],
    data: DataConfig,
    tokenizer: Tokenizer,
    frame_stack: int,
    skipped: Counter[str],
    fingerprint: str,
    scaling: Scaling | None = None,
    quiet: bool = False,
) -> list[TranscribedDataset]:
    """Read parts of recordings, each with its number in the sources, and write their frames and transcripts.

    Silent recordings, and those that are too short for their transcript, are left out and counted.

    Args:
        paths: a ``.json`` file for each part.
        parts: the recordings.
        data: how they are read.
        tokenizer: the tokenizer of the transcripts.
        frame_stack: frames of a step of the network.
        skipped: what was left out of the sources already.
        fingerprint: digest of the sources.
        scaling: mean and scale of the frames; None computes them of the first part.
        quiet: show no progress.

    Raises:
        UserError: a recording cannot be read, none is left of a part, or the disk refuses.
    """
    make_folder(paths[0].parent)
    form = AudioFormat(data.sample_rate, data.mel_bins)
    skipped, written = Counter(skipped), []
    progress = tqdm(total=sum(map(len, parts)), desc="Reading", unit="recording", disable=quiet, delay=1, leave=False)
    with ExitStack() as stack:
        stack.enter_context(progress)
        for path, part in zip(paths, parts, strict=True):
            file = stack.enter_context(stack.enter_context(write_atomically(path.with_suffix(".bin"))).open("wb"))
            lengths, texts, records = list[int](), list[NDArray[np.int32]](), list[int]()
            for number, recording in part:
                progress.update()
                try:
                    frames = form.frames(recording.path, recording.place)
                except SilentRecording:
                    skipped["silent recordings"] += 1
                    continue
                ids, _ = tokenizer.encode_whole(recording.label)
                if len(frames) // frame_stack < steps_needed(ids):
                    skipped["recordings too short for their transcript"] += 1
                    continue
                file.write(np.ascontiguousarray(frames, np.float32).data)
                lengths.append(len(frames))
                texts.append(ids)
                records.append(number)
            written.append((lengths, texts, records))
        if not all(lengths for lengths, *_ in written):
            raise UserError(
                "some recordings of every part must have sound and be long enough for their transcripts, too few are: "
                f"{describe(skipped)}; lower model.frame_stack, or give others"
            )
    if scaling is None:
        values = np.asarray(np.memmap(paths[0].with_suffix(".bin"), dtype=np.float32, mode="r"))
        scaling = scaling_of(values.reshape(-1, data.mel_bins))
    for path, (lengths, texts, records) in zip(paths, written, strict=True):
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.cumsum([0, *lengths]),
            "targets": np.array([len(text) for text in texts], np.int32),
            "records": np.array(records, np.int64),
            "mean": scaling[0],
            "scale": scaling[1],
            "ids": np.concatenate(texts),
        }
        write_part(path, np.dtype(np.float32), (data.mel_bins,), arrays, (), skipped, fingerprint)
    return [TranscribedDataset.open(path) for path in paths]


class TranscribedBatches(VectorBatches):
    """Batches of recordings of about the same length. Targets are ids, int32 ``(batch, longest)``, `PAD_ID` at the end.

    All batches have targets of one length, and frames of one of a few lengths, two for each doubling, so that few
    programs are compiled.
    """

    unit = "recordings"
    dataset: TranscribedDataset

    def padded_length(self, length: int) -> int:
        unit = max(SHORTEST, 1 << max(0, length.bit_length() - 2))
        return -(-length // unit) * unit

    def _read(self, indices: NDArray[np.int64]) -> Batch:
        targets = np.full((self.batch_size, self.dataset.longest), PAD_ID, np.int32)
        for row, index in enumerate(indices):
            ids = self.dataset.transcript(int(index))
            targets[row, : len(ids)] = ids
        return Batch(self._inputs(indices), targets, indices)


class AugmentedTranscribedBatches(TranscribedBatches, AugmentedBatches):
    """Batches whose recordings are changed at random for training, but never below the length that they need.

    Args:
        dataset: the recordings.
        batch_size: number of recordings in a batch.
        seed: seed of the order and the changes.
        frame_stack: frames of a step of the network.
    """

    def __init__(self, dataset: TranscribedDataset, batch_size: int, seed: int, frame_stack: int) -> None:
        super().__init__(dataset, batch_size, seed)
        self._frame_stack = frame_stack

    def changed(self, index: int, generator: np.random.Generator) -> NDArray[np.float32]:
        frames = self.dataset.sequence(index)
        found = augment(frames, self.dataset.mean, generator, MASKED_FRAMES)
        needed = steps_needed(self.dataset.transcript(index))
        return found if len(found) // self._frame_stack >= needed else frames
