"""Targets of a regression: their scaling for the network, and the errors of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scaling:
    """Scales values to mean 0 and standard deviation 1, and predictions back.

    Args:
        values: ``(records, outputs)``, whose mean and deviation they are; an output that never changes is not divided.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        values = np.asarray(values, np.float64)
        deviation = values.std(axis=0)
        self.mean = values.mean(axis=0).astype(np.float32)
        self.scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)

    def standardised(self, values: Any) -> Any:
        """Standardise values ``(..., outputs)``, an array or a tensor."""
        return (values - self.mean) / self.scale

    def original(self, outputs: Any) -> Any:
        """Return predictions in the units of the data, ``(..., outputs)``."""
        return outputs * self.scale + self.mean


def errors(values: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Measure the errors of values ``(records, outputs)``, over all of them, in the units of the targets.

    `explained` is the share of the variance of the targets that the values account for (R squared); 0 where the
    targets never change.
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
