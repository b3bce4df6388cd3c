"""The cost of spelling a word that a tokenizer does not know.

A word-level model predicts that an unknown word comes, but not which one. Models of characters and subwords predict
every word. To make them comparable, the word is added to the cost: the model predicts the unknown token, and a small
spelling model predicts the word itself (Mielke & Eisner 2019, "Spell once, summon anywhere", whose spelling model is a
network):

    p(word | text) = p(unknown | text) p_spell(word)

Together they give every possible word a probability, and the sum over all words is at most 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

ORDER = 4  # bytes of context
END = b"\n"  # a byte that occurs in no word
SYMBOLS = 256


class SpellingModel:
    """A byte n-gram model of spellings, trained on words, each counted once: unknown words are like rare words.

    A word is its UTF-8 bytes and an end. The probability of a byte after a context of up to `ORDER` bytes is smoothed
    with the probability after a context one byte shorter (Witten & Bell 1991, interpolated: Chen & Goodman 1999).
    Without any context it is smoothed with 1 / `SYMBOLS`:

        p(b | c) = (count(c b) + kinds(c) p(b | c without its first byte)) / (count(c) + kinds(c))

    ``kinds(c)`` is the number of different bytes that followed ``c``.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._counts: Counter[bytes] = Counter()
        self._totals: Counter[bytes] = Counter()
        self._kinds: Counter[bytes] = Counter()
        for word in words:
            for context, symbol in _spelled(word):
                for begin in range(len(context) + 1):
                    shorter = context[begin:]
                    self._kinds[shorter] += shorter + symbol not in self._counts
                    self._counts[shorter + symbol] += 1
                    self._totals[shorter] += 1

    def nats(self, word: str) -> float:
        """Return ``-log p_spell`` of a word without spaces or newlines."""
        return -sum(math.log(self._prob(context, symbol)) for context, symbol in _spelled(word))

    def _prob(self, context: bytes, symbol: bytes) -> float:
        prob = 1 / SYMBOLS
        for begin in range(len(context), -1, -1):
            shorter = context[begin:]
            total = self._totals[shorter]
            if not total:
                break
            kinds = self._kinds[shorter]
            prob = (self._counts[shorter + symbol] + kinds * prob) / (total + kinds)
        return prob


def _spelled(word: str) -> list[tuple[bytes, bytes]]:
    """Return each byte of a word, and its end, as pairs (context, byte).

    A context has at most `ORDER` bytes, and the beginning of a word counts as an end.
    """
    whole = END + word.encode() + END
    return [(whole[max(0, place - ORDER) : place], whole[place : place + 1]) for place in range(1, len(whole))]
