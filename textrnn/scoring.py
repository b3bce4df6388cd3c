"""Evaluation of a language model on a text: the loss of every token, and the usual metrics computed from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.tokenizers.base import END_ID, Tokenizer

Read = Callable[[NDArray[np.int32], Any], tuple[NDArray[np.float32], Any]]
"""``(ids (batch, time) int32, state) -> (logits (batch, time, vocabulary) float32, state)``.

A state of None is the zero state.
"""

# Code points of scripts without spaces between words: Chinese and Japanese, Thai and Lao, Burmese, Khmer.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x30FF),
    (0x3400, 0x9FFF),
    (0x20000, 0x3FFFF),
)
MOST_UNSPACED = 0.1  # maximum fraction of such characters in a text whose words are counted

COUNTED_AT_ONCE = 1 << 16  # characters per block, which bounds memory for any text
BLANKS = np.array([chr(code).isspace() for code in range(0x3002)])  # the last entry, U+3001, is used for all above it

CHUNK_LOGITS = 1 << 23  # maximum logits in memory, 32 MB, for any vocabulary


@dataclass(frozen=True)
class TextSize:
    """The size of a text, independent of a tokenizer, and the words that a tokenizer does not know.

    Attributes:
        characters, bytes: counts in Unicode and in UTF-8; ends of documents are not counted.
        words: whitespace-separated words, plus one for each end of a line, as the papers on Penn Treebank and WikiText
            count; with separate documents, plus one for each end of a document.
        unspaced: characters of scripts without spaces between words.
        unknown: words that became the unknown token. ``<unk>`` in the text itself counts as a normal word.
        spelling_nats: nats of the spellings of unknown words, see `textrnn.spelling`.
    """

    characters: int
    bytes: int
    words: int
    unspaced: int = 0
    unknown: int = 0
    spelling_nats: float = 0.0

    @classmethod
    def of(cls, text: str) -> TextSize:
        """Return the size of a text without unknown words."""
        words, unspaced, after_blank = 0, 0, True
        for begin in range(0, len(text), COUNTED_AT_ONCE):
            codes = np.frombuffer(text[begin : begin + COUNTED_AT_ONCE].encode("utf-32-le"), np.uint32)
            blank = BLANKS.take(codes, mode="clip")
            words += int((~blank[1:] & blank[:-1]).sum()) + int(after_blank and not blank[0])
            after_blank = bool(blank[-1])
            if codes.max() >= UNSPACED[0][0]:
                unspaced += sum(int(((first <= codes) & (codes <= last)).sum()) for first, last in UNSPACED)
        return cls(len(text), len(text.encode()), words + text.count("\n"), unspaced)

    def __add__(self, other: TextSize) -> TextSize:
        return TextSize(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def share(self, share: float) -> TextSize:
        """Return the size of a fraction of the text, all counts in proportion."""
        names = ("characters", "bytes", "words", "unspaced", "unknown")
        counts = {name: round(getattr(self, name) * share) for name in names}
        return TextSize(**counts, spelling_nats=self.spelling_nats * share)


@dataclass(frozen=True)
class TextMetrics:
    """The metrics of a model on one text.

    Tokens, characters, bytes and words are different units. Bits per character, bits per byte and word perplexity
    compare models with different tokenizers on the same text. Nats per token and perplexity do not.

    A word-level model predicts unknown words too easily: it predicts that one comes, but not which one. The ``spelled``
    metrics add the cost of spelling each unknown word with `textrnn.spelling`. They are comparable with models that
    have an open vocabulary.
    """

    nats: float
    """Total negative log-likelihood of the text."""
    tokens: int
    characters: int
    bytes: int
    words: int | None = None
    """Number of words as in `TextSize`; None if they were not counted or words are not separated by spaces."""
    unknown: int = 0
    """Number of tokens for words that the tokenizer does not know."""
    spelling_nats: float = 0.0
    """Nats of the spellings of unknown words."""

    @classmethod
    def of(cls, nats: float, tokens: int, size: TextSize) -> TextMetrics:
        """Return the metrics of a text of that size."""
        spaced = size.unspaced <= MOST_UNSPACED * size.characters
        words = size.words if spaced and size.words else None
        return cls(nats, tokens, size.characters, size.bytes, words, size.unknown, size.spelling_nats)

    @property
    def nats_per_token(self) -> float:
        return self.nats / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return _exp(self.nats_per_token)

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2) / max(self.characters, 1)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / max(self.bytes, 1)

    @property
    def word_perplexity(self) -> float | None:
        """exp(nats per word), for any tokens; None if words are not counted."""
        return None if self.words is None else _exp(self.nats / max(self.words, 1))

    @property
    def spelled_bits_per_character(self) -> float:
        """Bits per character with unknown words spelled."""
        return (self.nats + self.spelling_nats) / math.log(2) / max(self.characters, 1)

    @property
    def spelled_word_perplexity(self) -> float | None:
        """Word perplexity with unknown words spelled; None if words are not counted."""
        return None if self.words is None else _exp((self.nats + self.spelling_nats) / max(self.words, 1))

    def to_dict(self) -> dict[str, float]:
        """Return all metrics, ready for JSON.

        Word metrics are included if words are counted, ``spelled`` metrics if a word is unknown.
        """
        names = ["nats", "tokens", "characters", "bytes"]
        names += ["nats_per_token", "perplexity", "bits_per_character", "bits_per_byte"]
        names += ["words", "word_perplexity"] if self.words is not None else []
        if self.unknown:
            names += ["unknown", "spelling_nats", "spelled_bits_per_character"]
            names += ["spelled_word_perplexity"] if self.words is not None else []
        return {name: getattr(self, name) for name in names}


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))


def text_size(tokenizer: Tokenizer, text: str) -> TextSize:
    """Return the size of a text, including the words that the tokenizer does not know."""
    unknown, spelling_nats = tokenizer.unknown(text)
    return replace(TextSize.of(text), unknown=unknown, spelling_nats=spelling_nats)


def token_nats(logits: NDArray[np.float32], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Compute ``-log softmax(logits)[target]``, float64 ``(...)``.

    Args:
        logits: ``(..., vocabulary)``.
        targets: ids ``(...)``.
    """
    peak = logits.max(axis=-1, keepdims=True)
    log_total = np.log(np.exp(logits - peak).sum(axis=-1, dtype=np.float64))
    chosen = np.take_along_axis(logits - peak, np.asarray(targets, np.int64)[..., None], axis=-1)[..., 0]
    return np.asarray(log_total - chosen, np.float64)


class Scorer:
    """A scorer of one text, read part by part: each token's loss is computed once, and the state is carried throughout.

    With `apart` the state is reset after every end token, so that each document starts from the zero state.
    """

    def __init__(self, read: Read, vocabulary_size: int, start_id: int, apart: bool = False) -> None:
        self._read = read
        self._chunk = max(1, min(1024, CHUNK_LOGITS // vocabulary_size))
        self._last_id = start_id
        self._apart = apart
        self._state: Any = None

    def add(self, ids: NDArray[Any]) -> NDArray[np.float64]:
        """Return the nats, float64 ``(tokens,)``, of the next tokens of the text, int ``(tokens,)``."""
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
    """Compute the loss in consecutive windows that each start from the zero state.

    Systems without a carried state are evaluated like this. Each window reads `window` tokens and predicts the token
    after each. Returns the total nats and the number of predicted tokens.
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
