"""A model that learns while it is measured: what it gains, and that it never learns before it tells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID
from textrnn.training.adaptation.adaptation import _climb
from textrnn.training.adaptation.dynamic_evaluation import DynamicEvaluation
from textrnn.training.network.language_model import LanguageModel

VOCABULARY_SIZE, SEGMENT, START, RATE = 12, 4, 5, 2e-3


def reader(apart: bool) -> DynamicEvaluation:
    config = ModelConfig(hidden_dim=8, embedding_dim=6, layers=1, tied=True)
    model = LanguageModel(config, VOCABULARY_SIZE, seed=0, separate_documents=apart)
    return DynamicEvaluation(model, np.random.default_rng(0).integers(3, VOCABULARY_SIZE, 400), SEGMENT)


@pytest.fixture(scope="module")
def together() -> DynamicEvaluation:
    return reader(apart=False)


def nats(evaluation: DynamicEvaluation, ids: Any, learning_rate: float, decay: float = 0.0) -> NDArray[Any]:
    return np.concatenate([reading.nats for reading in evaluation.read(ids, START, learning_rate, decay)])


PATTERN = np.array([4, 7, 9, 6, 11, 8] * 20)


def test_a_pattern_that_returns_is_learned_after_it_was_told(together: DynamicEvaluation) -> None:
    static = nats(together, PATTERN, 0.0)
    dynamic = nats(together, PATTERN, RATE)
    np.testing.assert_allclose(dynamic[:SEGMENT], static[:SEGMENT], rtol=1e-5)
    assert dynamic[-20:].mean() < 0.7 * static[-20:].mean()
    # Drawn back after each segment, less is kept of what was learned.
    drawn_back = nats(together, PATTERN, RATE, decay=1.0)
    assert static[-20:].mean() > drawn_back[-20:].mean() > dynamic[-20:].mean()


def test_no_token_changes_what_was_told_before_it(together: DynamicEvaluation) -> None:
    whole = nats(together, PATTERN, RATE)
    for place in (9, 10, 11):  # within a segment and at its ends
        changed = PATTERN.copy()
        changed[place] = 3
        np.testing.assert_array_equal(nats(together, changed, RATE)[:place], whole[:place])
        assert nats(together, changed, RATE)[-1] != whole[-1]


def test_the_weights_are_the_trained_ones_again(together: DynamicEvaluation) -> None:
    before = together.model.arrays()
    reading = together.read(PATTERN, START, RATE, 0.0)
    for _ in range(3):
        next(reading)
    assert any((array != before[name]).any() for name, array in together.model.arrays().items())
    reading.close()  # type: ignore[attr-defined]
    for name, array in together.model.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_document_apart_is_told_the_same_whatever_came_before() -> None:
    apart = reader(apart=True)
    document = np.array([4, 7, 9, 6, 11, 4, 7, 9, 6, END_ID])
    told = np.concatenate([r.nats for r in apart.read(np.tile(document, 3), END_ID, RATE, 0.0)])
    np.testing.assert_allclose(told.reshape(3, -1), np.tile(told[: len(document)], (3, 1)), rtol=1e-6)


@pytest.mark.parametrize("best", [8e-4, 1e-4, 2.5e-5, 7.8125e-7])
def test_the_search_finds_a_learning_rate_that_is_far_below_those_that_diverge(best: float) -> None:
    def loss(rate: float) -> float:
        return math.inf if rate > 2 * best else abs(math.log(rate / best))

    assert _climb(loss, 1e-4) == pytest.approx(best)


def test_the_search_ends_where_every_learning_rate_diverges() -> None:
    assert _climb(lambda _: math.inf, 1e-4) > 0
