"""Calibration of a classifier's probabilities, and the temperature that improves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
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
