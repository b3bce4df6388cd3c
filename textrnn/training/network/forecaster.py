"""The forecaster: the backbone reads a series, and an output layer predicts the next values at each step.

A prediction is the last value read plus a difference: ``y_t+k = x_t + V_k h_t + c_k``, k = 1 to the horizon. An
untrained network therefore gives the naive forecast (no change), which is hard to beat over one or two steps.

Two initialisations help with little data. The rotation angles are spread evenly over the logarithm of their periods,
from 2 steps to twice `memory`: seasons are slow, and angles spread evenly over their range would cover almost none of
them. The output layer starts as the ridge-regression solution on the training data for the initial states. This is an
echo state network (Jaeger 2001), which training then improves.
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

READ_AT_ONCE = 4096  # steps of the series in one call of the backbone
RIDGE = 0.01  # ridge penalty per step, in units of the variance of a standardised value


class Forecaster(Model):
    """A model that forecasts the next `horizon` vectors at each step, in standardised units.

    Args:
        config: model configuration.
        features: number of values in each vector.
        seed: seed of the weight initialisation.
        precision: dtype of the matrix products in training, "float32" or "bfloat16".
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
        """Forecast the vectors that follow each input vector.

        Args:
            values: float32 ``(batch, time, features)``, in units of the data.
            state: float32 ``(layers, batch, hidden)``.
            masks: dropout masks from `Backbone.draw_masks` in training; None in inference.

        Returns:
            forecasts, float32 ``(time, batch, horizon * features)``, the next vector first, in units of mean 0 and
            standard deviation 1; and the final state, with the shape of `state`.
        """
        precision = "float32" if masks is None else self.precision
        hidden, state = self.backbone(values, state, masks=masks)
        change = ops.cast(dense(hidden, self.output_kernel, precision=precision), "float32") + self.output_bias
        return change + ops.tile(self.backbone.scaled(values), (1, 1, self.config.horizon)), state

    def draw_masks(self, batch_size: int, length: int, random_seed: Tensor) -> Masks:
        """Draw the dropout masks of one training step, as `Backbone.draw_masks` does."""
        return self.backbone.draw_masks(batch_size, length, random_seed)

    def start_from(self, series: Series) -> None:
        """Set the input scaling from the training data and the output layer to its ridge-regression solution.

        The first `memory` steps, or the first eighth of all steps if that is fewer, do not count: the state is still
        filling.
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
        penalty[-1] = 0  # no penalty on the bias
        solution = np.linalg.solve(squares + np.diag(penalty), products)
        self.output_kernel.assign(solution[:-1])
        self.output_bias.assign(solution[-1])

    def _hidden(self, values: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the start and the hidden states ``(steps, hidden)`` of each block of a series ``(time, features)``."""
        state = self.backbone.initial_state(1)
        for begin in range(0, len(values), READ_AT_ONCE):
            hidden, state = self.backbone(values[None, begin : begin + READ_AT_ONCE], state)
            yield begin, ops.convert_to_numpy(hidden)[:, 0].astype(np.float64)

    def head_weights(self) -> dict[str, Any]:
        return {"output_kernel": self.output_kernel, "output_bias": self.output_bias}
