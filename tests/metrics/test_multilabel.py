"""Figures of multi-label classifiers, beside the same written out decision by decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.classification import probabilities
from textrnn.metrics.multilabel import ENOUGH_POSITIVES, as_decisions, fit_thresholds, measure, sigmoid

LABELS = ("a", "b", "c")


def f1(right: int, predicted: int, true: int) -> float:
    return 2 * right / (predicted + true) if predicted + true else 0.0


def drawn(seed: int, texts: int) -> tuple[NDArray[Any], NDArray[Any]]:
    generator = np.random.default_rng(seed)
    targets = (generator.random((texts, 3)) < [0.5, 0.2, 0.05]).astype(np.uint8)
    return np.clip(0.3 + 0.4 * targets + generator.normal(0, 0.2, targets.shape), 0.001, 0.999), targets


@given(seed=st.integers(0, 1000), texts=st.integers(1, 40))
def test_figures_are_those_of_all_decisions(seed: int, texts: int) -> None:
    probs, targets = drawn(seed, texts)
    thresholds = np.array([0.5, 0.4, 0.6])
    metrics = measure(probs, targets, LABELS, thresholds)
    counts = np.zeros((3, 3), int)
    whole, nats = 0, 0.0
    for row, truth in zip(probs, targets, strict=True):
        decided = [p >= t for p, t in zip(row, thresholds, strict=True)]
        whole += decided == [bool(t) for t in truth]
        for label in range(3):
            counts[label] += [decided[label] and truth[label], decided[label], truth[label]]
            nats -= np.log(row[label] if truth[label] else 1 - row[label])
    assert metrics.micro_f1 == pytest.approx(f1(*counts.sum(axis=0).tolist()))
    assert metrics.macro_f1 == pytest.approx(np.mean([f1(*each) for each in counts.tolist()]))
    assert metrics.exact_match == pytest.approx(whole / texts)
    assert metrics.nats == pytest.approx(nats / texts / 3)
    assert [figures["texts"] for figures in metrics.classes.values()] == counts[:, 2].tolist()
    assert metrics.to_dict()["micro_f1"] == metrics.micro_f1


def test_a_threshold_has_the_highest_f1_of_its_label() -> None:
    probs, targets = drawn(1, 400)
    thresholds = fit_thresholds(probs, targets)
    assert targets.sum(axis=0).min() >= ENOUGH_POSITIVES
    for label in range(3):
        best = max(
            f1(
                int(((probs[:, label] >= each) & (targets[:, label] == 1)).sum()),
                int((probs[:, label] >= each).sum()),
                int(targets[:, label].sum()),
            )
            for each in np.arange(0.05, 0.951, 0.01)
        )
        found = measure(probs, targets, LABELS, thresholds).classes[LABELS[label]]["f1"]
        assert found == pytest.approx(best)


def test_a_label_of_few_texts_takes_the_threshold_of_all() -> None:
    probs = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.1], [0.2, 0.1]] * 5)
    targets = np.array([[1, 0], [1, 0], [0, 0], [0, 0]] * 5)
    targets[0, 1] = 1  # at 0.15 this label alone would be right
    assert fit_thresholds(probs, targets).tolist() == [0.5, 0.5]


def test_a_label_is_a_choice_of_two_classes() -> None:
    logits, targets = np.array([[2.0, -1.0], [0.0, 800.0]]), np.array([[1, 0], [0, 1]])
    decided, right = as_decisions(logits, targets)
    assert right.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(probabilities(decided)[:, 1].reshape(2, 2), sigmoid(logits))
    assert sigmoid(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]


def test_no_text_is_nothing_to_measure() -> None:
    message = error_of(lambda: measure(np.zeros((0, 3)), np.zeros((0, 3)), LABELS, np.full(3, 0.5)))
    assert "at least one labelled text" in message
