"""The work of a classifier around its network: cut long texts, batch sequences, turn logits into labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.sampling import log_softmax
from textrnn.tokenizers.base import PAD_ID

Read = Callable[[NDArray[np.int32]], NDArray[np.float32]]

BATCH_TOKENS = 1 << 11  # read at once, padding counted in: their states stay in the cache, more would be slower
# What a batch of its own costs, in tokens: so many for the call, and so many rows of a step, however few it has.
CALL_TOKENS, STEP_ROWS = 32, 8
SHORTEST = 16  # the smallest length that a text is padded to


@dataclass(frozen=True)
class Prediction:
    """The class of a text or of a sequence of vectors."""

    label: str
    """The most probable class."""
    probs: dict[str, float]
    """Probability of each class."""

    @property
    def probability(self) -> float:
        """That of `label`."""
        return self.probs[self.label]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {"label": self.label, "probability": self.probability, **asdict(self)}

    def summary(self) -> str:
        """Return the label and its probability for a person to read."""
        return f"{self.label} {self.probability:.2f}"

    def columns(self) -> dict[str, Any]:
        """Return the columns of the prediction in a table, by name."""
        probs = {f"prob_{label}": value for label, value in self.probs.items()}
        return {"predicted_label": self.label, "probability": self.probability, **probs}


@dataclass(frozen=True)
class TextPrediction(Prediction):
    """The class of a text."""

    tokens: int
    """Tokens of the text."""
    tokens_read: int
    """Fewer than `tokens` where only head and tail of a long text were read."""


def head_and_tail(ids: NDArray[Any], max_length: int) -> NDArray[Any]:
    """Return ids ``(tokens,)`` of a text; of one longer than `max_length` the first and last max_length/2."""
    if len(ids) <= max_length:
        return ids
    tail = max_length // 2
    return np.concatenate([ids[: max_length - tail], ids[len(ids) - tail :]])


def padded_length(length: int, segment_length: int) -> int:
    """Return the length that a batch is padded to: one of a few, so that few programs are compiled.

    Above `segment_length`, if that is not 0, it is a multiple of it. Padding is less than a quarter of the length, or
    less than `SHORTEST` tokens or one segment.
    """
    length = max(1, length)
    unit = segment_length if 0 < segment_length < length else SHORTEST
    needed = -(-length // unit)
    step = 1 << max(0, needed.bit_length() - 3)
    padded = -(-needed // step) * step * unit
    return min(padded, segment_length) if length <= segment_length else padded


def whole_segments(length: int, segment_length: int) -> int:
    """Return the shortest length that holds a text: its own, or whole segments above `segment_length`."""
    length = max(1, length)
    return -(-length // segment_length) * segment_length if 0 < segment_length < length else length


def read_texts(
    read: Read, texts: Sequence[NDArray[Any]], classes: int, max_length: int, segment_length: int
) -> NDArray[np.float32]:
    """Compute logits ``(texts, classes)`` of texts of any length, in batches of similar length.

    Equal texts are read once, and the order of the texts changes nothing: in another row of a batch, the logits of a
    text can differ in their last digit.

    Args:
        read: the network: ids int32 ``(batch, time)``, padded, to logits float32 ``(batch, classes)``.
        texts: each ids ``(tokens,)``.
        classes: number of classes.
        max_length: tokens of a text that are read.
        segment_length: number of which a padded length must be a multiple; 0 for none.
    """
    keys = [head_and_tail(text, max_length).astype(np.int32).tobytes() for text in texts]
    distinct = sorted(set(keys), key=lambda key: (len(key), key))
    number = {key: index for index, key in enumerate(distinct)}
    lengths = np.array([len(key) // 4 for key in distinct], np.int64)
    logits = np.empty((len(distinct), classes), np.float32)

    def padded_to(length: int) -> int:
        return whole_segments(length, segment_length)

    def own_batch(length: int) -> int:
        return CALL_TOKENS + STEP_ROWS * min(length, segment_length or length)

    for rows, padded in like_lengths(lengths, padded_to, BATCH_TOKENS, own_batch):
        ids = np.full((len(rows), padded), PAD_ID, np.int32)
        for row, index in enumerate(rows):
            ids[row, : lengths[index]] = np.frombuffer(distinct[index], np.int32)
        logits[rows] = read(ids)
    return logits[np.array([number[key] for key in keys], np.int64)]


def like_lengths(
    lengths: NDArray[np.int64],
    padded: Callable[[int], int],
    room: int,
    own_batch: Callable[[int], int] | None = None,
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield batches of sequences of similar length, the shortest first: their numbers and their padded length.

    Args:
        lengths: length of each sequence.
        padded: function from the longest length of a batch to its padded length.
        room: largest size of a batch, with padding; a longer sequence is read alone.
        own_batch: function from the padded length of a batch to the padding that costs as much as one batch more. A
            sequence with which the shorter ones of its batch need more is left to the next. None: no padding does.
    """
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        # As many as fit when padded to the longest of them.
        end, total = begin, 0
        while end < len(order):
            size = padded(int(lengths[order[end]]))
            padding = (end - begin) * size - total
            if end > begin and ((end + 1 - begin) * size > room or (own_batch and padding > own_batch(size))):
                break
            end, total = end + 1, total + size
        yield order[begin:end], padded(int(lengths[order[end - 1]]))
        begin = end


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Compute softmax in float64 over the last axis."""
    return np.exp(log_softmax(np.asarray(logits, np.float64)))
