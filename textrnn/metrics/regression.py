"""Scaling of regression targets, and errors of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scaling:
    """Standardisation of targets to mean 0 and standard deviation 1, and its inverse for predictions.

    Args:
        values: values ``(records, outputs)`` that give the mean and the deviation. A constant output is only shifted.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        values = np.asarray(values, np.float64)
        deviation = values.std(axis=0)
        self.mean = values.mean(axis=0).astype(np.float32)
        self.scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)

    def standardised(self, values: Any) -> Any:
        """Return standardised values ``(..., outputs)``, an array or a tensor."""
        return (values - self.mean) / self.scale

    def original(self, outputs: Any) -> Any:
        """Return predictions in the units of the data, ``(..., outputs)``."""
        return outputs * self.scale + self.mean


def errors(values: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Compute the errors of predicted values ``(records, outputs)`` over all of them, in the units of the targets.

    ``explained`` is the coefficient of determination (R squared); 0 if the targets are constant.
    """
    difference = np.asarray(values, np.float64) - targets
    squared = float(np.square(difference).mean())
    variance = float(np.square(targets - targets.mean(axis=0)).mean())
    return {
        "mean_squared_error": squared,
        "mean_absolute_error": float(np.abs(difference).mean()),
        "largest_error": float(np.abs(difference).max()),
        "explained": 1.0 - squared / variance if variance > 0 else 0.0,
    }
