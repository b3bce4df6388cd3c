"""What it costs to spell a word that a tokenizer does not know.

A model of words tells that an unknown word comes, which says nothing of which one; characters and pieces tell every
word. So that they can be compared, the word is charged for: the model gives the unknown token, and a small model of
spellings the word itself (Mielke & Eisner 2019, "Spell once, summon anywhere", whose spelling model is a network):

    p(word | text) = p(unknown | text) p_spell(word)

Both together give every word there is a probability, and all words no more than 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

ORDER = 4  # bytes before each that are looked at
END = b"\n"  # the byte that no word holds
SYMBOLS = 256


class SpellingModel:
    """Probabilities of spellings, learned from words, each counted once: unknown words are like rare ones.

    A word is its bytes in UTF-8 and an end. The probability of a byte after those before it, the last `ORDER` of them,
    is smoothed by that after one byte less (Witten & Bell 1991, interpolated: Chen & Goodman 1999), that after none by
    1 / `SYMBOLS`:

        p(b | c) = (count(c b) + kinds(c) p(b | c without its first byte)) / (count(c) + kinds(c))

    ``kinds(c)`` is how many different bytes came after ``c``.
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
        """``-log p_spell`` of a word without blanks or newlines."""
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
    """Each byte of a word and its end, with what stands before it: at most `ORDER` bytes, the beginning as an end."""
    whole = END + word.encode() + END
    return [(whole[max(0, place - ORDER) : place], whole[place : place + 1]) for place in range(1, len(whole))]
