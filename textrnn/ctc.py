"""Decoding of a recognizer's output: texts from log-probabilities at each step, of the tokens and the blank.

A path is a token or the blank at each step. Its text is what remains when repeated tokens are joined and blanks are
dropped (Graves et al. 2006). The probability of a text is the sum over all its paths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textrnn.tokenizers.base import PAD_ID

BLANK = PAD_ID

LogProbs = NDArray[np.float64]
"""Log-probabilities ``(steps, tokens)``."""


def greedy(log_probs: LogProbs) -> tuple[int, ...]:
    """Return the text of the most probable path, as tokens."""
    best = log_probs.argmax(axis=1)
    kept = best[np.concatenate([[True], best[1:] != best[:-1]])[: len(best)]]
    return tuple(kept[kept != BLANK].tolist())


def log_probability(log_probs: LogProbs, ids: Sequence[int]) -> float:
    """Compute the log-probability of a text over all its paths, by the forward recursion of Graves et al. (2006).

    Args:
        log_probs: log-probabilities of a recording.
        ids: tokens of the text.
    """
    # The states are the tokens with a blank before, between and after them.
    states = np.full(2 * len(ids) + 1, BLANK)
    states[1::2] = ids
    may_skip = np.zeros(len(states), bool)  # the blank between two tokens that differ
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    reached = np.full(len(states), -np.inf)
    reached[0] = 0.0  # before the first step, as if at the first blank
    nothing = np.full(2, -np.inf)
    for row in log_probs:
        one = np.concatenate([nothing[:1], reached])[: len(states)]
        two = np.where(may_skip, np.concatenate([nothing, reached])[: len(states)], -np.inf)
        reached = np.logaddexp(np.logaddexp(reached, one), two) + row[states]
    return float(np.logaddexp.reduce(reached[-2:]))
