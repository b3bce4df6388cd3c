"""The forecaster: the backbone reads a series, an output layer predicts the next values at each step.

A prediction is the last value read plus a difference: ``y_t+k = x_t + V_k h_t + c_k``, k = 1 to the horizon. A network
that has learned nothing yet is then the forecast that nothing changes, which is hard to beat over a step or two.

Two starts make little data go far. The angles by which units turn are spread evenly over the logarithm of their
periods, 2 steps to twice `memory`: seasons are slow, and of angles spread evenly next to none would be. And the output
layer starts as the least-squares solution over what is trained on, for the states as they are then: an echo state
network (Jaeger 2001), from which training goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.data.series import Series, following
from textrnn.training.network.backbone import Backbone, Masks
from textrnn.training.network.layers import DiagonalLayer
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor, dense

READ_AT_ONCE = 4096  # steps
RIDGE = 0.01  # of the variance of a standardised value


class Forecaster(Model):
    """Tells the next `horizon` vectors after each one read, standardised as the vectors that are read.

    Args:
        config: of the network.
        features: numbers in each vector.
        seed: of the weights.
        precision: of the matrix products when training, "float32" or "bfloat16".
    """

    def __init__(self, config: ModelConfig, features: int, seed: int = 0, precision: str = "float32") -> None:
        super().__init__(name="forecaster")
        self.config = config
        self.precision = precision
        self.backbone = Backbone(config, 0, seed, precision, features=features)
        for number, layer in enumerate(self.backbone.stack.recurrent_layers):
            if isinstance(layer, DiagonalLayer) and layer.angle is not None:
                generator = np.random.default_rng([seed, number])
                slowest = math.log(math.pi / config.memory)
                layer.angle.assign(np.exp(generator.uniform(slowest, math.log(math.pi), layer.angle.shape)))
        width = config.horizon * features
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(config.hidden_dim, width),
            initializer=keras.initializers.VarianceScaling(
                scale=0.01, mode="fan_in", distribution="untruncated_normal", seed=seed + 3
            ),
        )
        self.output_bias = self.add_weight(name="output_bias", shape=(width,), initializer="zeros")
        self.built = True

    def call(self, values: Tensor, state: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """What comes after each vector.

        Args:
            values: float32 ``(batch, time, features)``, in units of the data.
            state: float32 ``(layers, batch, hidden)``.
            masks: what is dropped, from `Backbone.draw_masks`, when training; None when not.

        Returns:
            forecasts, float32 ``(time, batch, horizon * features)``, the next vector first, of values with mean 0 and
            deviation 1; and the final state, shaped as `state`.
        """
        precision = "float32" if masks is None else self.precision
        hidden, state = self.backbone(values, state, masks=masks)
        change = ops.cast(dense(hidden, self.output_kernel, precision=precision), "float32") + self.output_bias
        return change + ops.tile(self.backbone.scaled(values), (1, 1, self.config.horizon)), state

    def draw_masks(self, batch_size: int, length: int, random_seed: Tensor) -> Masks:
        """What one step of training drops: as `Backbone.draw_masks`."""
        return self.backbone.draw_masks(batch_size, length, random_seed)

    def start_from(self, series: Series) -> None:
        """Set the scaling to that of what is trained on, and the output layer to its least-squares solution there.

        The steps that a unit needs to fill its state, the first `memory` or an eighth of all, do not count.
        """
        self.backbone.set_scaling(series.mean, series.scale)
        horizon, width = self.config.horizon, self.config.hidden_dim + 1
        values = series.values[: series.training]
        standardised = ((values - series.mean) / series.scale).astype(np.float64)
        changes = following(standardised, horizon) - np.tile(standardised[:-horizon], (1, horizon))
        warm = min(int(self.config.memory), len(changes) // 8)
        squares, products = np.zeros((width, width)), np.zeros((width, changes.shape[1]))
        for begin, hidden in self._hidden(values[: len(changes)]):
            first = max(warm - begin, 0)
            rows = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)[first:]
            squares += rows.T @ rows
            products += rows.T @ changes[begin + first : begin + len(hidden)]
        penalty = np.full(width, RIDGE * (len(changes) - warm))
        penalty[-1] = 0  # the mean is free
        solution = np.linalg.solve(squares + np.diag(penalty), products)
        self.output_kernel.assign(solution[:-1])
        self.output_bias.assign(solution[-1])

    def _hidden(self, values: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """What the output layer reads of a series ``(time, features)``, ``(steps, hidden)`` at a time."""
        state = self.backbone.initial_state(1)
        for begin in range(0, len(values), READ_AT_ONCE):
            hidden, state = self.backbone(values[None, begin : begin + READ_AT_ONCE], state)
            yield begin, ops.convert_to_numpy(hidden)[:, 0].astype(np.float64)

    def head_weights(self) -> dict[str, Any]:
        return {"output_kernel": self.output_kernel, "output_bias": self.output_bias}
