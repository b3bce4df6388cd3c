"""N-grams of tokens, and the hash table that numbers them.

The exported graph looks n-grams up as `NgramTable.rows` does, with the standard operators of ONNX. So the hash uses
nothing but products, sums and remainders of int64, none of which can overflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 5
"""Tokens of the longest n-gram."""
PRIME = 2**31 - 1
FINGERPRINTS = 32_749  # the largest prime below 2**15
SPARSITY = 2.2  # slots for each n-gram: with two places for each, nearly all find one (cuckoo hashing)
MOST_MOVES = 200  # rounds in which n-grams look for a free slot

BASES = (16_807, 48_271, 69_621)  # multipliers with a full period (Park & Miller 1988), far enough from each other
# Three hashes, polynomials of the tokens: two for the places of an n-gram in the table, one for its fingerprint. They
# must never change: the tables in bundles and run folders were built with them.
FACTORS = np.array([[pow(base, back + 1, PRIME) for base in BASES] for back in range(LONGEST)])
"""Factor of the token at each place of an n-gram, the last token first, int64 ``(LONGEST, 3)``."""
TERMS = np.array([[pow(base, back + LONGEST + 2, PRIME) for base in BASES] for back in range(LONGEST)])
"""Term of the n-grams of each length, int64 ``(LONGEST, 3)``."""

Ids = NDArray[np.integer[Any]]


def hashes(ids: Ids, texts: NDArray[np.int64], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compute the three hashes of all n-grams of up to `order` tokens.

    Args:
        ids: tokens of some texts, one text after the other, ``(tokens,)``.
        texts: number of the text of each token, ``(tokens,)``, never falling.
        order: tokens of the longest n-gram.

    Returns:
        int64 ``(n-grams, 3)``, each below `PRIME`, and the number of the text of each n-gram.
    """
    tokens = ids.astype(np.int64)[:, None]
    sums = np.zeros((len(tokens), 3), np.int64)
    found, owners = [], []
    for back in range(min(order, len(tokens))):
        sums = sums[back and 1 :] + tokens[: len(tokens) - back] * FACTORS[back]
        whole = texts[back:] == texts[: len(texts) - back]
        found.append((sums[whole] + TERMS[back]) % PRIME)
        owners.append(texts[back:][whole])
    if not found:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    return np.concatenate(found), np.concatenate(owners)


def identities(hashed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each n-gram, from hashes ``(n-grams, 3)``; two n-grams share one by chance in 2^62."""
    return hashed[:, 0] * PRIME + hashed[:, 1]


@dataclass(frozen=True, eq=False)
class NgramTable:
    """A hash table from n-grams to numbers.

    Attributes:
        order: tokens of the longest n-gram.
        fingerprints: int16 ``(slots,)``: the fingerprint of the n-gram in a slot; -1 in an empty one.
        numbers: int32 ``(slots,)``: the number of the n-gram in a slot, from 1; 0 in an empty one.
    """

    order: int
    fingerprints: NDArray[np.int16]
    numbers: NDArray[np.int32]

    @classmethod
    def build(cls, order: int, hashed: NDArray[np.int64]) -> NgramTable:
        """Build a table.

        Args:
            order: tokens of the longest n-gram.
            hashed: hashes of the n-grams, ``(n-grams, 3)``, all different. N-gram i gets the number i + 1.
        """
        slots = max(2, int(len(hashed) * SPARSITY)) | 1
        places = hashed[:, :2] % slots
        holder = np.full(slots, -1, np.int64)
        side = np.zeros(len(hashed), np.int64)
        moving = np.arange(len(hashed))
        for _ in range(MOST_MOVES):
            before = holder[places[moving, side[moving]]]
            holder[places[moving, side[moving]]] = moving  # of several the last one stays
            stayed = holder[places[moving, side[moving]]] == moving
            moving = np.unique(np.concatenate([moving[~stayed], before[before >= 0]]))
            # One that was put where it had been before is not moving at all.
            moving = moving[holder[places[moving, side[moving]]] != moving]
            if not len(moving):
                break
            side[moving] = 1 - side[moving]
        numbers = (holder + 1).astype(np.int32)
        prints = np.where(holder < 0, -1, hashed[holder, 2] % FINGERPRINTS if len(hashed) else -1)
        return cls(order, prints.astype(np.int16), numbers)

    def rows(self, ids: Ids, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up the n-grams of some texts; each n-gram counts once in a text.

        Args:
            ids: tokens of the texts, one text after the other, ``(tokens,)``.
            texts: number of the text of each token, ``(tokens,)``, never falling.

        Returns:
            numbers of known n-grams, sorted within a text, and the number of the text of each.
        """
        hashed, owners = hashes(ids, texts, self.order)
        numbers = self.look_up(hashed)
        pairs = np.unique(owners[numbers > 0] << 32 | numbers[numbers > 0])
        return pairs & 0xFFFFFFFF, pairs >> 32

    def look_up(self, hashed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of n-grams from their hashes ``(n-grams, 3)``; 0 for one that is not in the table."""
        prints = hashed[:, 2] % FINGERPRINTS
        first, second = (hashed[:, :2] % len(self.numbers)).T
        numbers = np.where(self.fingerprints[second] == prints, self.numbers[second], 0)
        return np.where(self.fingerprints[first] == prints, self.numbers[first], numbers).astype(np.int64)
