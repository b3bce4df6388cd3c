"""How well a language model predicts a text: the loss of every token, and what it amounts to in the field's units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.tokenizers.base import END_ID

Read = Callable[[NDArray[np.int32], Any], tuple[NDArray[np.float32], Any]]
"""``(ids (batch, time) int32, state) -> (logits (batch, time, vocabulary) float32, state)``.

A state of None is the zero state.
"""

CHUNK_LOGITS = 1 << 23  # logits held at once, 32 MB: bounds memory whatever the vocabulary


@dataclass(frozen=True)
class TextMetrics:
    """The loss on one text.

    A token, a character and a byte are different things: bits per character and per byte compare models with different
    tokenizers on the same text, nats per token and perplexity do not.
    """

    nats: float
    """Total negative log-likelihood of the text."""
    tokens: int
    characters: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return math.exp(min(self.nats_per_token, 700.0))

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2) / max(self.characters, 1)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / max(self.bytes, 1)

    def to_dict(self) -> dict[str, float]:
        """All figures, ready for JSON."""
        names = ("nats_per_token", "perplexity", "bits_per_character", "bits_per_byte")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def token_nats(logits: NDArray[np.float32], targets: NDArray[Any]) -> NDArray[np.float64]:
    """``-log softmax(logits)[target]``: logits ``(..., vocabulary)``, targets ``(...)`` to nats, float64 ``(...)``."""
    peak = logits.max(axis=-1, keepdims=True)
    log_total = np.log(np.exp(logits - peak).sum(axis=-1, dtype=np.float64))
    chosen = np.take_along_axis(logits - peak, np.asarray(targets, np.int64)[..., None], axis=-1)[..., 0]
    return np.asarray(log_total - chosen, np.float64)


class Scorer:
    """Reads one text, part by part, and gives the loss of each of its tokens once, the state carried throughout.

    With `apart` the state is forgotten after every end token: each document starts anew.
    """

    def __init__(self, read: Read, vocabulary_size: int, start_id: int, apart: bool = False) -> None:
        self._read = read
        self._chunk = max(1, min(1024, CHUNK_LOGITS // vocabulary_size))
        self._last_id = start_id
        self._apart = apart
        self._state: Any = None

    def add(self, ids: NDArray[Any]) -> NDArray[np.float64]:
        """The next tokens of the text, int ``(tokens,)``, to their nats, float64 ``(tokens,)``."""
        ids = np.asarray(ids, np.int32)
        inputs = np.concatenate([np.array([self._last_id], np.int32), ids[:-1]]) if len(ids) else ids
        nats = np.empty(len(ids))
        begin = 0
        while begin < len(ids):
            end = min(begin + self._chunk, len(ids))
            if self._apart:
                if inputs[begin] == END_ID:
                    self._state = None
                resets = np.flatnonzero(inputs[begin + 1 : end] == END_ID)
                end = begin + 1 + int(resets[0]) if resets.size else end
            logits, self._state = self._read(inputs[None, begin:end], self._state)
            nats[begin:end] = token_nats(logits[0], ids[begin:end])
            begin = end
        if len(ids):
            self._last_id = int(ids[-1])
        return nats


def windowed_nats(read: Read, vocabulary_size: int, ids: NDArray[Any], window: int) -> tuple[float, int]:
    """Loss in consecutive windows that each start from a fresh state, as systems without a carried state are measured.

    Each window reads `window` tokens and predicts the one after each. Total nats, and the number of tokens predicted.
    """
    ids = np.asarray(ids, np.int32)
    count = (len(ids) - 1) // window
    inputs = ids[: count * window].reshape(count, window)
    targets = ids[1 : count * window + 1].reshape(count, window)
    batch = max(1, CHUNK_LOGITS // (window * vocabulary_size))
    total = 0.0
    for begin in range(0, count, batch):
        logits, _ = read(inputs[begin : begin + batch], None)
        total += float(token_nats(logits, targets[begin : begin + batch]).sum())
    return total, count * window
