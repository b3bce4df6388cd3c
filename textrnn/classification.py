"""What a text classifier does around its network: cut long texts, batch texts of any length, tell labels.

`read` is the network: ids int32 ``(batch, time)``, padded with `PAD_ID`, to logits float32 ``(batch, classes)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """What a classifier says of a text."""

    label: str
    """The most probable class."""
    probs: dict[str, float]
    """Probability of each class."""
    tokens: int
    """Tokens of the text."""
    tokens_read: int
    """Fewer than `tokens` where only head and tail of a long text were read."""

    @property
    def probability(self) -> float:
        """That of `label`."""
        return self.probs[self.label]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"label": self.label, "probability": self.probability, **asdict(self)}


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
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        # As many as fit when padded to the longest of them.
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * padded_length(int(lengths[order[end]]), segment_length) <= (
            BATCH_TOKENS
        ):
            end += 1
        rows = order[begin:end]
        ids = np.full((len(rows), padded_length(int(lengths[rows[-1]]), segment_length)), PAD_ID, np.int32)
        for row, index in enumerate(rows):
            ids[row, : lengths[index]] = head_and_tail(texts[index], max_length)
        logits[rows] = read(ids)
        begin = end
    return logits


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax in float64 over the last axis."""
    return np.exp(log_softmax(np.asarray(logits, np.float64)))
