"""Character n-grams of words (Bojanowski et al. 2017), from which the direct path learns what forms of a word share.

They are read in training alone. A word always has the same ones, so the finished path holds their sum in the row of
the word: it is as large and as fast as without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textrnn.tokenizers import SPECIAL_TOKENS, Tokenizer, WordTokenizer
from textrnn.training.direct.model import Ngrams
from textrnn.training.direct.ngrams import NgramTable, hashes

SHORTEST, LONGEST = 2, 4
"""Characters of a subword. The word has one blank before it and one after it, which count."""
LONGEST_WORD = 64  # characters; longer tokens are addresses or codes, whose many subwords would only cost memory
FEWEST_WORDS = 2  # that must share a subword; a subword of one word adds no information to the word


def spellings(tokenizer: Tokenizer | None) -> list[str]:
    """Return the text of each token that is a word, and an empty one for all others."""
    if not isinstance(tokenizer, WordTokenizer):
        return []
    others = len(SPECIAL_TOKENS)
    return [""] * others + [tokenizer.token_text(id).strip() for id in range(others, tokenizer.vocabulary_size)]


def subwords(word: str) -> set[str]:
    """Return the subwords of a word; none of one that is longer than `LONGEST_WORD`."""
    if len(word) > LONGEST_WORD:
        return set()
    padded = f" {word} "
    return {
        padded[begin : begin + length]
        for length in range(SHORTEST, LONGEST + 1)
        for begin in range(len(padded) - length + 1)
    } - {padded}


def features_of(table: NgramTable, ngrams: int, words: Sequence[str]) -> Ngrams:
    """Return the features of each n-gram of a table: itself and, if it is a word, the subwords of the word.

    Args:
        table: n-grams, with numbers from 1.
        ngrams: how many.
        words: the text of each token; empty for tokens without subwords.

    Returns:
        the features of n-grams 0, which has none, to `ngrams`. Feature i is n-gram i; larger numbers are subwords.
    """
    tokens = np.flatnonzero([bool(word) for word in words])
    numbers = table.look_up(hashes(tokens, np.arange(len(tokens)), 1)[0])
    of_number = {
        number: subwords(words[token])
        for number, token in zip(numbers.tolist(), tokens.tolist(), strict=True)
        if number
    }
    counts = Counter(subword for found in of_number.values() for subword in found)
    known = sorted(subword for subword, count in counts.items() if count >= FEWEST_WORDS)
    number_of = {subword: ngrams + 1 + place for place, subword in enumerate(known)}
    features: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for number in range(1, ngrams + 1):
        of_word = sorted(number_of[each] for each in of_number.get(number, ()) if each in number_of)
        features.append(np.array([number, *of_word], np.int64))
    return Ngrams(np.concatenate(features), np.cumsum([0, *map(len, features)]))
