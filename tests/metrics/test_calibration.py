"""Temperatures against closed forms and a grid; bins and calibration error worked by hand and by a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.metrics.calibration import Bin, expected_calibration_error, fit_scales, fit_temperature, reliability

Predictions = tuple[NDArray[np.float64], NDArray[np.int64]]


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    """Logits (texts, classes) in quarters, and the true classes."""
    texts, classes = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    quarters = st.lists(st.integers(-40, 40), min_size=texts * classes, max_size=texts * classes)
    targets = st.lists(st.integers(0, classes - 1), min_size=texts, max_size=texts)
    return np.array(draw(quarters)).reshape(texts, classes) / 4, np.array(draw(targets))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def mean_nats(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_totals = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_totals - shifted[np.arange(len(targets)), targets]))


# Temperature


@pytest.mark.parametrize("margin", [0.5, 2.0, 10.0])
def test_probability_becomes_the_share_that_is_right(margin: float) -> None:
    # Three of four are right, so that the best probability is 3/4: margin / T is its log odds, ln 3.
    logits = np.array([[margin, 0.0]] * 4)
    assert fit_temperature(logits, np.array([0, 0, 1, 0])) == pytest.approx(margin / math.log(3))


def test_temperatures_stay_within_bounds() -> None:
    always_wrong = np.array([[1.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(always_wrong, np.array([1, 0])) == pytest.approx(20.0)
    far_too_timid = np.array([[0.01, 0.0]] * 10)
    assert fit_temperature(far_too_timid, np.array([0] * 9 + [1])) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        pytest.param([[1e6, 0.0], [0.0, 1e6]], [0, 1], id="all right by far"),
        pytest.param([[0.2, 0.1], [0.1, 0.2]], [0, 1], id="all right by little"),
        pytest.param([[3.0, 3.0], [-7.0, -7.0]], [0, 1], id="all logits equal"),
        pytest.param(np.empty((0, 2)), [], id="no text"),
    ],
)
def test_temperature_is_one_where_none_is_best(logits: Any, targets: Any) -> None:
    assert fit_temperature(np.array(logits), np.array(targets, np.int64)) == 1.0


def test_logits_of_any_size_and_type() -> None:
    logits = np.array([[1e4, 0.0], [1e4, 0.0], [2.0, 0.0]], np.float32)
    assert fit_temperature(logits, np.array([0, 1, 0], np.uint8)) == pytest.approx(20.0)
    shifted = np.array([[1e9 + 2, 1e9]] * 4)
    assert fit_temperature(shifted, np.array([0, 0, 1, 0])) == pytest.approx(2 / math.log(3))


@given(predictions())
def test_no_temperature_has_a_lower_loss(example: Predictions) -> None:
    logits, targets = example
    temperature = fit_temperature(logits, targets)
    loss = mean_nats(logits / temperature, targets)
    assert loss <= mean_nats(logits, targets) + 1e-9
    if (logits[np.arange(len(targets)), targets] < logits.max(axis=1)).any():
        assert all(loss <= mean_nats(logits / other, targets) + 1e-9 for other in np.geomspace(0.05, 20, 50))


@given(predictions(), st.floats(0.01, 100))
def test_scaled_logits_scale_the_temperature(example: Predictions, scale: float) -> None:
    # Fifty texts, four of five right, outweigh the drawn ones: the best temperature lies within the bounds.
    fifty = np.zeros((50, example[0].shape[1]))
    fifty[:, 0] = 5
    logits = np.concatenate([example[0] / 4, fifty])
    targets = np.concatenate([example[1], [0] * 40, [1] * 10])
    expected = fit_temperature(logits, targets)
    assert 0.05 < expected < 20
    assert fit_temperature(logits * scale, targets) == pytest.approx(np.clip(expected * scale, 0.05, 20), rel=1e-6)


# Reliability


def certain(*confidences: float) -> NDArray[np.float64]:
    """Probabilities of two classes, the first as given."""
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


def test_bins_by_hand() -> None:
    probs = certain(0.95, 0.97, 0.55, 0.3)  # the last is 0.7 for the second class
    bins = reliability(probs, np.array([0, 1, 0, 1]), bins=5)
    assert [(part.count, part.accuracy) for part in bins] == [(1, 1.0), (1, 1.0), (2, 0.5)]
    assert [part.confidence for part in bins] == pytest.approx([0.55, 0.7, 0.96])
    assert [part.low for part in bins] == pytest.approx([0.4, 0.6, 0.8])
    assert [part.high for part in bins] == pytest.approx([0.6, 0.8, 1.0])


def test_an_upper_edge_belongs_to_its_bin() -> None:
    bins = reliability(certain(0.75, 0.5, 1.0), np.array([0, 0, 0]), bins=4)
    assert bins == [Bin(0.25, 0.5, 1, 0.5, 1.0), Bin(0.5, 0.75, 1, 0.75, 1.0), Bin(0.75, 1.0, 1, 1.0, 1.0)]


def test_a_probability_rounded_above_one_is_in_the_last_bin() -> None:
    probs = np.array([[1.0000001, 0.0]], np.float32)
    (only,) = reliability(probs, np.array([0]))
    assert (only.high, only.count) == (1.0, 1)


def test_calibration_error_by_hand() -> None:
    # Half of the texts at 0.95 with half of them right, half at 0.55 with all right: 0.5 * 0.45 + 0.5 * 0.45.
    probs, targets = certain(0.95, 0.95, 0.55, 0.55), np.array([0, 1, 0, 0])
    assert expected_calibration_error(probs, targets, bins=10) == pytest.approx(0.45)
    # In one bin over-confidence and its opposite cancel out: accuracy and mean confidence are both 0.75.
    assert expected_calibration_error(probs, targets, bins=1) == pytest.approx(0.0)


def test_calibration_error_of_the_best_and_the_worst() -> None:
    assert expected_calibration_error(certain(0.75, 0.75, 0.75, 0.75), np.array([0, 0, 1, 0])) == 0.0
    assert expected_calibration_error(certain(1.0, 1.0), np.array([1, 1])) == 1.0
    assert expected_calibration_error(np.empty((0, 2)), np.empty(0, np.int64)) == 0.0


@given(predictions(), st.integers(1, 20))
def test_every_text_is_in_its_bin(example: Predictions, bins: int) -> None:
    logits, targets = example
    probs = softmax(logits)
    parts = reliability(probs, targets, bins)
    error = 0.0
    for part in parts:
        assert part.high - part.low == pytest.approx(1 / bins)
        inside = [row for row, of_text in enumerate(probs) if part.low < of_text.max() <= part.high]
        assert part.count == len(inside)
        right = sum(int(probs[row].argmax()) == targets[row] for row in inside)
        assert part.accuracy == pytest.approx(right / len(inside))
        assert part.confidence == pytest.approx(sum(probs[row].max() for row in inside) / len(inside))
        error += abs(right - sum(probs[row].max() for row in inside)) / len(targets)
    assert sum(part.count for part in parts) == len(targets)
    assert [part.low for part in parts] == sorted({part.low for part in parts})
    measured = expected_calibration_error(probs, targets, bins)
    assert 0 <= measured <= 1
    assert measured == pytest.approx(error)


# Scales of two models


@given(predictions(), st.integers(0, 2**32 - 1))
def test_no_scales_have_a_lower_loss(example: Predictions, seed: int) -> None:
    first, targets = example
    second = np.random.default_rng(seed).normal(size=first.shape) * 3
    scales = np.array(fit_scales(first, second, targets))
    assert np.all((scales >= 0.05) & (scales <= 20))

    def loss(scales: NDArray[np.float64]) -> float:
        return (
            mean_nats(scales[0] * first + scales[1] * second, targets) * len(targets) + ((scales - 0.5) ** 2).sum() / 2
        )

    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01], [0.01, 0.01], [-0.01, 0.01]):
        assert loss(np.clip(scales + step, 0.05, 20)) >= loss(scales) - 1e-9


def test_scales_without_a_text_are_those_of_the_mean_of_two_models() -> None:
    nothing = np.zeros((0, 3))
    assert fit_scales(nothing, nothing, np.zeros(0, np.int64)) == (0.5, 0.5)


def test_of_two_models_the_better_one_weighs_more() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 500)
    good = generator.normal(size=(500, 3)) + 3 * np.eye(3)[targets]
    noise = generator.normal(size=(500, 3))
    of_good, of_noise = fit_scales(good, noise, targets)
    assert of_good > 1
    assert of_noise < 0.15
