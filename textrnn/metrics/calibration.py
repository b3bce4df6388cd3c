"""Calibration of a classifier's probabilities, and the temperature that improves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.classification import probabilities
from textrnn.sampling import log_softmax

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
PRIOR_FACTOR = 0.5  # of each of two models
MOST_STEPS, LARGEST_STEP = 100, 0.5  # of Newton's method
HALVINGS = 50  # of the interval between the logarithms of the two: the width left is below float64's precision


@dataclass(frozen=True)
class Bin:
    """The texts whose highest probability is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean highest probability."""
    accuracy: float
    """Share of the texts whose class of highest probability is the true one."""


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return the temperature T with the lowest negative log-likelihood of ``softmax(logits / T)`` (Guo et al. 2017).

    The loss is convex in 1/T, so the sign of its slope shows on which side of T the minimum lies.

    Args:
        logits: float ``(texts, classes)``, of texts that were not trained on.
        targets: the true classes, int ``(texts,)``.

    Returns:
        T, between 0.05 and 20. 1.0 where no T is best: every text has its true class on top, so that the loss falls
        without end as T goes to 0, or the logits of every text are equal, or there is no text.
    """
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    of_targets = np.take_along_axis(logits, np.asarray(targets, np.int64)[:, None], axis=1)
    if not of_targets.any():
        return 1.0

    def slope(sharpness: float) -> float:
        """Return the slope of the loss against 1/T: mean logit under the model less that of the true class."""
        weights = np.exp(sharpness * logits)
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float(expected.mean() - of_targets.mean())

    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if slope(math.exp(-middle)) > 0:  # too sharp
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def fit_scales(first: NDArray[Any], second: NDArray[Any], targets: NDArray[Any]) -> tuple[float, float]:
    """Return the factors of two models' logits whose weighted sum has the lowest negative log-likelihood.

    A normal prior of mean 1/2 and variance 1 stands for what is known without a text: the mean of two models that are
    calibrated, each on its own. The loss is convex; its minimum is found by Newton's method.

    Args:
        first: logits of one model, float ``(texts, classes)``, of texts that were not trained on.
        second: those of the other.
        targets: the true classes, int ``(texts,)``.

    Returns:
        the factors of the two, each between 0.05 and 20, the limits of `fit_temperature`.
    """
    logits = np.stack([np.asarray(each, np.float64) for each in (first, second)])
    of_targets = np.take_along_axis(logits, np.asarray(targets, np.int64)[None, :, None], axis=2)[:, :, 0]
    low, high, factors = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE, np.full(2, PRIOR_FACTOR)
    for _ in range(MOST_STEPS):
        summed = np.tensordot(factors, logits, 1)
        probs = probabilities(summed)
        expected = (probs * logits).sum(axis=2)
        slope = (expected - of_targets).sum(axis=1) + factors - PRIOR_FACTOR
        curvature = np.einsum("nk,ink,jnk->ij", probs, logits, logits) - expected @ expected.T + np.eye(2)
        # A factor stays at its limit if the loss would be lower beyond it. The other factor moves on.
        free = np.flatnonzero(~((factors <= low) & (slope > 0) | (factors >= high) & (slope < 0)))
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        step /= max(1.0, np.abs(step).max() / LARGEST_STEP)
        before, factors = factors, np.clip(factors - step, low, high)
        if np.abs(factors - before).max() < 1e-9:
            break
    return float(factors[0]), float(factors[1])


def mean_nats(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Compute the mean negative log-likelihood of targets ``(texts,)`` under logits ``(texts, classes)``."""
    log_probs = log_softmax(np.asarray(logits, np.float64))
    return float(-np.take_along_axis(log_probs, np.asarray(targets, np.int64)[:, None], axis=1).mean())


def reliability(probs: NDArray[Any], targets: NDArray[Any], bins: int = 15) -> list[Bin]:
    """Group texts by their highest probability into bins of equal width; empty bins are left out.

    Probs float ``(texts, classes)``, targets int ``(texts,)``.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    right = probs.argmax(axis=1) == targets
    edges = np.linspace(0, 1, bins + 1)
    numbers = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    filled = []
    for number in np.unique(numbers):
        inside = numbers == number
        low, high = edges[number : number + 2].tolist()
        means = float(confidence[inside].mean()), float(right[inside].mean())
        filled.append(Bin(low, high, int(inside.sum()), *means))
    return filled


def expected_calibration_error(probs: NDArray[Any], targets: NDArray[Any], bins: int = 15) -> float:
    """Compute the mean distance between accuracy and confidence of the bins (Naeini et al. 2015).

    Probs float ``(texts, classes)``, targets int ``(texts,)``. 0 is perfect, 1 the worst; 0 where there is no text.
    """
    filled = reliability(probs, targets, bins)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in filled) / max(len(targets), 1)
