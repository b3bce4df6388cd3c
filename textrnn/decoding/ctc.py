"""Decoding of a recognizer's output: texts from log-probabilities at each step, of the tokens and the blank.

A path is a token or the blank at each step. Its text is what remains when repeated tokens are joined and blanks are
dropped (Graves et al. 2006). The probability of a text is the sum over all its paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

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


class Scorer(Protocol):
    """A language model over the tokens. It scores texts by their next token; column `BLANK` is the end of a text."""

    def begin(self) -> tuple[LogProbs, NDArray[Any]]:
        """Return the log-probabilities of a first token, ``(1, tokens)``, and the state, ``(layers, 1, hidden)``."""

    def read(self, tokens: NDArray[np.int64], state: NDArray[Any]) -> tuple[LogProbs, NDArray[Any]]:
        """Return the log-probabilities after one more token of each text, ``(texts, tokens)``, and the next state.

        Args:
            tokens: ``(texts,)``.
            state: ``(layers, texts, hidden)``.
        """


class Decoded(NamedTuple):
    """A text that the search found."""

    ids: tuple[int, ...]
    """Tokens."""
    log_prob: float
    """Log-probability of the text, over the paths that the search kept."""
    score: float
    """By which texts are compared."""


class _Beam(NamedTuple):
    """The prefixes that are kept, each with all its paths up to a step.

    Attributes:
        prefixes: tokens of each.
        last: last token of each, ``(prefixes,)``; `BLANK` for the empty one.
        blank: log-probability of the paths that end with the blank, ``(prefixes,)``.
        token: the same of those that end with the last token.
        bonus: what language model and length add to the score, ``(prefixes,)``.
        following: log-probabilities of the next token by the language model, ``(prefixes, tokens)``; zeros without one.
        state: its state, ``(layers, prefixes, hidden)``.
    """

    prefixes: list[tuple[int, ...]]
    last: NDArray[np.int64]
    blank: NDArray[np.float64]
    token: NDArray[np.float64]
    bonus: NDArray[np.float64]
    following: LogProbs
    state: NDArray[Any]


def beam_search(
    log_probs: LogProbs, beams: int, scorer: Scorer | None = None, alpha: float = 0.0, beta: float = 0.0
) -> list[Decoded]:
    """Search the texts with the highest scores by a prefix beam search (Hannun et al. 2014), which sums the paths.

    The score of a text is ``log p(text | recording) + alpha log p(text) + beta tokens``.

    Args:
        log_probs: log-probabilities of a recording.
        beams: prefixes that are kept at each step. With as many as there are, the result is exact.
        scorer: a language model.
        alpha: weight of the language model.
        beta: what each token adds; a language model prefers short texts, which this undoes.

    Returns:
        texts, the best first: `beams` at most, one at least.
    """
    tokens = log_probs.shape[1]
    following, state = scorer.begin() if scorer else (np.zeros((1, tokens)), np.zeros((0, 1, 0)))
    beam = _Beam([()], np.array([BLANK]), np.zeros(1), np.full(1, -np.inf), np.zeros(1), following, state)
    for row in log_probs:
        beam = _step(beam, row, beams, scorer, alpha, beta)
    found = np.logaddexp(beam.blank, beam.token)
    scores = found + beam.bonus + (alpha * beam.following[:, BLANK] if scorer else 0.0)
    order = np.argsort(-scores, kind="stable").tolist()
    return [Decoded(beam.prefixes[place], float(found[place]), float(scores[place])) for place in order]


def _step(beam: _Beam, row: NDArray[np.float64], beams: int, scorer: Scorer | None, alpha: float, beta: float) -> _Beam:
    """Return the best prefixes after one more step, whose log-probabilities are `row`."""
    count, numbers = len(beam.prefixes), np.arange(len(beam.prefixes))
    both = np.logaddexp(beam.blank, beam.token)
    blank = both + row[BLANK]
    token = beam.token + row[beam.last]  # the last token again, which adds none
    longer = both[:, None] + row
    longer[numbers, beam.last] = beam.blank + row[beam.last]  # a second such token needs a blank between
    longer[:, BLANK] = -np.inf
    places = {prefix: place for place, prefix in enumerate(beam.prefixes)}
    for place, prefix in enumerate(beam.prefixes):
        shorter = places.get(prefix[:-1]) if prefix else None
        if shorter is not None:  # the same text, on other paths
            token[place] = np.logaddexp(token[place], longer[shorter, prefix[-1]])
            longer[shorter, prefix[-1]] = -np.inf
    bonus = beam.bonus[:, None] + alpha * beam.following + beta
    scores = np.concatenate([np.logaddexp(blank, token) + beam.bonus, (longer + bonus).ravel()])
    best = np.argsort(-scores, kind="stable")[:beams]
    best = best[scores[best] > -np.inf]
    kept, (parents, added) = best[best < count], np.divmod(best[best >= count] - count, len(row))
    following, state = beam.following[kept], beam.state[:, kept]
    if scorer and len(added):
        found, next_state = scorer.read(added, beam.state[:, parents])
        following = np.concatenate([following, found])
        state = np.concatenate([state, next_state], axis=1)
    elif len(added):
        following = np.zeros((len(best), len(row)))
        state = np.zeros((0, len(best), 0))
    return _Beam(
        [
            *(beam.prefixes[place] for place in kept),
            *((*beam.prefixes[p], t) for p, t in zip(parents, added.tolist(), strict=True)),
        ],
        np.concatenate([beam.last[kept], added]),
        np.concatenate([blank[kept], np.full(len(added), -np.inf)]),
        np.concatenate([token[kept], longer[parents, added]]),
        np.concatenate([beam.bonus[kept], bonus[parents, added]]),
        following,
        state,
    )
