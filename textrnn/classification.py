"""What a classifier does around its network: cut long texts, batch sequences, turn logits into labels.

`read` is the network of one of texts: ids int32 ``(batch, time)``, padded with `PAD_ID`, to logits float32
``(batch, classes)``.
"""

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
SHORTEST = 16  # the smallest length that a text is padded to


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of a text, or of a sequence of vectors."""

    label: str
    """The most probable class."""
    probs: dict[str, float]
    """Probability of each class."""

    @property
    def probability(self) -> float:
        """That of `label`."""
        return self.probs[self.label]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"label": self.label, "probability": self.probability, **asdict(self)}


@dataclass(frozen=True)
class TextPrediction(Prediction):
    """What a classifier says of a text."""

    tokens: int
    """Tokens of the text."""
    tokens_read: int
    """Fewer than `tokens` where only head and tail of a long text were read."""


def head_and_tail(ids: NDArray[Any], max_length: int) -> NDArray[Any]:
    """Ids ``(tokens,)`` of a text, or of one longer than `max_length` its first and last half so many."""
    if len(ids) <= max_length:
        return ids
    tail = max_length // 2
    return np.concatenate([ids[: max_length - tail], ids[len(ids) - tail :]])


def padded_length(length: int, segment_length: int) -> int:
    """The length that a batch is padded to: one of a few, so that few programs are compiled.

    Above `segment_length`, if that is not 0, it is a multiple of it. Padding is less than a quarter of it, or than
    `SHORTEST` tokens or one segment.
    """
    length = max(1, length)
    unit = segment_length if 0 < segment_length < length else SHORTEST
    needed = -(-length // unit)
    step = 1 << max(0, needed.bit_length() - 3)
    padded = -(-needed // step) * step * unit
    return min(padded, segment_length) if length <= segment_length else padded


def read_texts(
    read: Read, texts: Sequence[NDArray[Any]], classes: int, max_length: int, segment_length: int
) -> NDArray[np.float32]:
    """Logits ``(texts, classes)`` of texts of any length, each ids ``(tokens,)``, read in batches of similar length."""
    lengths = np.array([min(len(text), max_length) for text in texts], np.int64)
    logits = np.empty((len(texts), classes), np.float32)
    for rows, padded in like_lengths(lengths, lambda length: padded_length(length, segment_length), BATCH_TOKENS):
        ids = np.full((len(rows), padded), PAD_ID, np.int32)
        for row, index in enumerate(rows):
            ids[row, : lengths[index]] = head_and_tail(texts[index], max_length)
        logits[rows] = read(ids)
    return logits


def like_lengths(
    lengths: NDArray[np.int64], padded: Callable[[int], int], room: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Which sequences of these lengths are read together, the shortest first, and the length they are padded to.

    Args:
        lengths: of each sequence.
        padded: the length that a batch is padded to whose longest sequence has this one.
        room: of a batch, padding counted in; a longer sequence is read alone.
    """
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        # As many as fit when padded to the longest of them.
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * padded(int(lengths[order[end]])) <= room:
            end += 1
        rows = order[begin:end]
        yield rows, padded(int(lengths[rows[-1]]))
        begin = end


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax in float64 over the last axis."""
    return np.exp(log_softmax(np.asarray(logits, np.float64)))
