"""Decoding of recognizers: beam search and probabilities beside brute force over all paths."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from textrnn.decoding.ctc import BLANK, beam_search, greedy, log_probability

EVERY = 10_000  # more beams than there are prefixes


def text_of(path: tuple[int, ...]) -> tuple[int, ...]:
    """The definition: join what repeats, then drop the blanks."""
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def by_brute_force(log_probs: NDArray[np.float64]) -> dict[tuple[int, ...], float]:
    """The log-probability of every text, over all paths."""
    steps, tokens = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(tokens), repeat=steps):
        total = sum(log_probs[t, token] for t, token in enumerate(path))
        found[text_of(path)] = float(np.logaddexp(found.get(text_of(path), -np.inf), total))
    return found


class Bigrams:
    """A language model whose state is the last token, and that counts the texts it has read."""

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.table = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
        self.largest = 0

    def begin(self) -> tuple[NDArray[np.float64], NDArray[Any]]:
        return self.table[:1], np.zeros((1, 1, 1))

    def read(self, tokens: NDArray[np.int64], state: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        assert state.shape == (1, len(tokens), 1)
        self.largest = max(self.largest, len(tokens))
        return self.table[tokens], tokens[None, :, None].astype(float)

    def log_prob(self, ids: tuple[int, ...]) -> float:
        return float(sum(self.table[one, other] for one, other in itertools.pairwise((BLANK, *ids, BLANK))))


@st.composite
def outputs(draw: Any) -> NDArray[np.float64]:
    """Log-probabilities of few steps and tokens, some of them of equal size."""
    steps, tokens = draw(st.integers(0, 5)), draw(st.integers(2, 3))
    logits = draw(arrays(np.float64, (steps, tokens), elements=st.sampled_from([-6.0, -2.0, -1.0, 0.0, 1.5])))
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


@settings(max_examples=60, deadline=None)
@given(outputs())
def test_with_all_prefixes_beam_search_is_exact(log_probs: NDArray[np.float64]) -> None:
    expected = by_brute_force(log_probs)
    found = beam_search(log_probs, EVERY)
    assert {each.ids for each in found} == set(expected)
    for each in found:
        assert each.log_prob == pytest.approx(expected[each.ids], abs=1e-9)
        assert log_probability(log_probs, each.ids) == pytest.approx(expected[each.ids], abs=1e-9)
    assert [each.score for each in found] == sorted((each.log_prob for each in found), reverse=True)
    assert math.fsum(math.exp(each.log_prob) for each in found) == pytest.approx(1.0)
    best = log_probs.argmax(axis=1)
    assert greedy(log_probs) == text_of(tuple(best.tolist()))


@settings(max_examples=60, deadline=None)
@given(
    outputs(),
    arrays(np.float64, (3, 3), elements=st.sampled_from([-3.0, -1.0, 0.0])),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([-0.7, 0.0, 1.0]),
)
def test_a_language_model_adds_its_log_probability_and_the_length(
    log_probs: NDArray[np.float64], table: NDArray[np.float64], alpha: float, beta: float
) -> None:
    tokens = log_probs.shape[1]
    model = Bigrams(table[:tokens, :tokens])
    expected = {
        ids: total + alpha * model.log_prob(ids) + beta * len(ids) for ids, total in by_brute_force(log_probs).items()
    }
    found = beam_search(log_probs, EVERY, model, alpha, beta)
    assert {each.ids: each.score for each in found} == pytest.approx(expected, abs=1e-9)


def test_few_beams_keep_the_best_and_read_the_language_model_in_one_batch() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 3, (40, 6))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    few, more = beam_search(log_probs, 2), beam_search(log_probs, 30)
    assert len(few) == 2
    assert log_probability(log_probs, greedy(log_probs)) <= log_probability(log_probs, more[0].ids) + 1e-9
    for each in more[:5]:  # the search sums most paths, and none twice
        assert each.log_prob <= log_probability(log_probs, each.ids) + 1e-9
    kept = {each.ids: each.log_prob for each in more}
    assert all(kept.get(each.ids, 0.0) >= each.log_prob - 1e-9 for each in few)
    model = Bigrams(draw.normal(0, 1, (6, 6)))
    assert beam_search(log_probs, 8, model, 1.0)[0].ids
    assert 1 < model.largest <= 8


def test_texts_that_no_path_can_spell_have_no_probability() -> None:
    even = np.log(np.full((3, 3), 1 / 3))
    assert log_probability(even, (1, 1)) == pytest.approx(np.log(1 / 27))  # needs the blank between
    assert log_probability(even, (1, 1, 1)) == -np.inf
    assert log_probability(even[:0], ()) == 0.0
    assert greedy(even[:0]) == ()
    assert beam_search(even[:0], 3)[0].ids == ()
