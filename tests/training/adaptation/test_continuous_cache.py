"""The cache against its formula, word by word, and the sum of its probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textrnn.training.adaptation import continuous_cache
from textrnn.training.adaptation.continuous_cache import ContinuousCache, mixed


def by_the_formula(
    hidden: NDArray[Any], targets: NDArray[Any], documents: NDArray[Any], size: int, theta: float, t: int, word: int
) -> float | None:
    """p_cache of a word at position t; None where nothing is remembered."""
    remembered = [i for i in range(max(0, t - size), t) if documents[i] == documents[t]]
    weights = {i: math.exp(theta * float(hidden[t] @ hidden[i])) for i in remembered}
    if not remembered:
        return None
    return sum(weights[i] for i in remembered if targets[i] == word) / sum(weights.values())


def test_a_literal_example() -> None:
    hidden = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    cache = ContinuousCache(2, [math.log(3)])
    # Before the third word, 7 followed a state like the present one (weight 3), 8 another (weight 1).
    probs, known = cache.add(hidden, np.array([7, 8, 7]), np.zeros(3, np.int64))
    np.testing.assert_allclose(probs, [[0, 0, 0.75]], rtol=1e-6)
    np.testing.assert_array_equal(known, [False, True, True])
    nats = mixed(np.log([2.0, 2.0, 2.0]), probs[0], known, 0.1)
    np.testing.assert_allclose(np.exp(-nats), [0.5, 0.9 * 0.5, 0.9 * 0.5 + 0.1 * 0.75], rtol=1e-6)


@pytest.mark.parametrize("block", [3, 256])
def test_formula_whatever_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous_cache, "BLOCK", block)
    random = np.random.default_rng(0)
    hidden = (3 * random.normal(size=(30, 4))).astype(np.float32)
    targets, documents = random.integers(0, 5, 30), np.repeat([0, 1, 2], [11, 1, 18])
    thetas = [0.0, 0.3, 2.0]
    cache = ContinuousCache(7, thetas)
    parts = [cache.add(hidden[part], targets[part], documents[part]) for part in (slice(0, 8), slice(8, 30))]
    probs = np.concatenate([part[0] for part in parts], axis=1)
    known = np.concatenate([part[1] for part in parts])
    for number, theta in enumerate(thetas):
        for t in range(30):
            expected = by_the_formula(hidden, targets, documents, 7, theta, t, targets[t])
            assert known[t] == (expected is not None)
            assert probs[number, t] == pytest.approx(expected or 0.0, rel=1e-4, abs=1e-6)


def test_all_words_together_have_a_probability_of_one() -> None:
    random = np.random.default_rng(1)
    hidden, before = random.normal(size=(9, 4)).astype(np.float32), random.integers(0, 5, 8)
    model = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    total = 0.0
    for word in range(5):
        probs, known = ContinuousCache(20, [0.7]).add(hidden, np.append(before, word), np.zeros(9, np.int64))
        nats = -np.log(model[np.append(before, word)])
        total += math.exp(-mixed(nats, probs[0], known, 0.3)[-1])
    assert total == pytest.approx(1.0, rel=1e-6)
