"""A continuous cache: words that recently followed a similar state become more probable.

The cache holds the last N positions: each hidden state ``h_i`` and the word ``w_i`` that came after it (Grave, Joulin &
Usunier 2017, "Improving neural language models with a continuous cache"):

    p_cache(w)  is proportional to the sum of exp(theta h_t . h_i) over all i at which w_i = w
    p(w)        = (1 - weight) p_model(w) + weight p_cache(w)

Nothing is trained. ``h`` is the input of the output layer. A word enters the cache only after it has been predicted.
While the cache is empty, p is p_model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Nats = NDArray[np.float64]

BLOCK = 256  # maximum number of positions whose products with earlier states are one matrix product
BLOCK_PRODUCTS = 1 << 20  # maximum number of products in one matrix: 4 MB


class ContinuousCache:
    """A cache of the last positions of one text; it gives the probability of each next word.

    Args:
        size: number of positions in the cache.
        thetas: values of theta; the cache returns one probability for each.
    """

    def __init__(self, size: int, thetas: Sequence[float]) -> None:
        self.size = size
        self.thetas = tuple(thetas)
        self._hidden: NDArray[np.float32] | None = None
        self._targets = np.zeros(0, np.int64)
        self._documents = np.zeros(0, np.int64)

    def add(
        self, hidden: NDArray[np.float32], targets: NDArray[Any], documents: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Add positions after the earlier ones, and return their probabilities.

        Args:
            hidden: input of the output layer before each token is predicted, float32 ``(tokens, n)``.
            targets: the tokens, int ``(tokens,)``.
            documents: document number of each token; positions of another document are ignored.

        Returns:
            the probability of each token given the earlier positions, ``(thetas, tokens)``, and whether there were any,
            ``(tokens,)``; without any the probability is 0.
        """
        predicted, known = [], []
        block = max(1, min(BLOCK, BLOCK_PRODUCTS // self.size))
        for begin in range(0, len(targets), block):
            part = slice(begin, begin + block)
            probs, any_before = self._add_block(hidden[part], np.asarray(targets[part]), np.asarray(documents[part]))
            predicted.append(probs)
            known.append(any_before)
        if not predicted:
            return np.zeros((len(self.thetas), 0)), np.zeros(0, np.bool_)
        return np.concatenate(predicted, axis=1), np.concatenate(known)

    def _add_block(
        self, hidden: NDArray[np.float32], targets: NDArray[Any], documents: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        before = len(self._targets)
        all_hidden = hidden if self._hidden is None else np.concatenate([self._hidden, hidden])
        all_targets = np.concatenate([self._targets, targets])
        all_documents = np.concatenate([self._documents, documents])
        here = before + np.arange(len(targets))[:, None]
        there = np.arange(len(all_targets))
        seen = (there < here) & (there >= here - self.size) & (all_documents == documents[:, None])
        products = hidden @ all_hidden.T
        products[~seen] = -np.inf
        any_before = seen.any(axis=1)
        peak = np.where(any_before, products.max(axis=1, initial=-np.inf), 0.0)[:, None]
        same = all_targets == targets[:, None]
        probs = np.zeros((len(self.thetas), len(targets)))
        for number, theta in enumerate(self.thetas):
            # With theta 0, minus infinity times 0 would be NaN.
            weights = np.exp(np.float32(theta) * (products - peak)) if theta else seen.astype(np.float32)
            total = weights.sum(axis=1, dtype=np.float64)
            probs[number] = (weights * same).sum(axis=1, dtype=np.float64) / np.where(any_before, total, 1.0)
        self._hidden = all_hidden[-self.size :]
        self._targets, self._documents = all_targets[-self.size :], all_documents[-self.size :]
        return probs, any_before


def mixed(nats: Nats, probs: NDArray[np.float64], known: NDArray[np.bool_], weight: float) -> Nats:
    """Return the nats of each token, ``(tokens,)``, under the mixture of model and cache.

    Args:
        nats: nats of the model.
        probs: probabilities of the cache.
        known: whether the cache had any position for the token.
        weight: weight of the cache.
    """
    by_cache = weight * probs
    of_cache = np.log(by_cache, where=by_cache > 0, out=np.full_like(probs, -np.inf))
    return np.where(known, -np.logaddexp(np.log1p(-weight) - nats, of_cache), nats)
