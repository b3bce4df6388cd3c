"""One layer of the backbone, ``h_t = f(x_t W + h_{t-1} U + b)``, for each form of U.

The input projection is separate from the recurrent loop, so that a table of tokens can be projected once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.training.network import elementwise
from textrnn.training.network.products import Layer, Tensor
from textrnn.training.network.recurrent import SimpleRNN, recurrence
from textrnn.training.network.weight_names import directions


class InitScale(NamedTuple):
    """Scales of the initial weights."""

    embedding: float = 1.0
    """Standard deviation of the embedding."""
    projected: float = 0.5
    """Standard deviation of ``x W``, the part of each step that comes from the input."""
    recurrent: float = 1.0
    """Factor of the initial dense ``U``, unless `recurrent_scale` is set."""


class DenseLayer(Layer):
    """A layer with a full matrix U: every unit reads the state of every other unit.

    With `ModelConfig.max_excitation` and ReLU the positive part of U is limited, see `limited`.
    """

    def __init__(
        self, config: ModelConfig, input_dim: int, start: InitScale, scale: float, seed: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.activation = config.activation
        self.max_excitation = excitation_limit(config)
        gain = config.recurrent_scale or start.recurrent
        self.rnn = SimpleRNN(
            config.hidden_dim,
            activation=config.activation,
            kernel_initializer=_normal(scale, seed + 1),
            recurrent_initializer=(
                keras.initializers.Identity(gain)
                if config.recurrent_start == "identity"
                else keras.initializers.Orthogonal(gain, seed=seed + 2)
            ),
            return_sequences=True,
            return_state=True,
            seed=seed + 3,  # seed of an unused dropout; without it Keras draws a number from `random`
        )
        self.rnn.build((None, None, input_dim))
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their short names."""
        cell = self.rnn.cell
        return {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel, "bias": cell.bias}

    def input_weights(self) -> tuple[Tensor, Tensor]:
        """Return W ``(input, hidden)`` and b ``(hidden,)``."""
        return self.rnn.cell.kernel, self.rnn.cell.bias

    def call(
        self,
        projected: Tensor,
        state: Tensor,
        keep: Tensor | None = None,
        drop: Tensor | None = None,
        use_cpu_loop: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the states ``(time, batch, hidden)`` and the last state.

        U is multiplied by the mask `drop`; the other arguments are those of `recurrence`.
        """
        kernel = limited(ops.convert_to_tensor(self.rnn.cell.recurrent_kernel), self.max_excitation)
        kernel = kernel if drop is None else kernel * ops.cast(drop, kernel.dtype)
        return recurrence(projected, state, kernel, self.activation, keep, use_cpu_loop)


class DiagonalLayer(Layer):
    """A layer with a diagonal U: each unit, or each pair of rotating units, has its own memory.

    The magnitude of U is ``exp(-exp(decay))``, which is between 0 and 1 for any weight. Gradients therefore never grow
    over time. One training step changes a unit's time constant by a relative amount, for short and long memories alike.
    The initial time constants (decay to 1/e) lie between 1 and `memory` steps, evenly on a logarithmic scale: as many
    between 10 and 100 as between 100 and 1,000. W and b of a unit are multiplied by ``sqrt(1 - magnitude^2)``, so that
    states are about as large as the input for any time constant (Orvieto et al. 2023).
    """

    def __init__(self, config: ModelConfig, input_dim: int, scale: float, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.activation = config.activation
        hidden, rotates = config.hidden_dim, config.recurrence == "rotation"
        units = hidden // 2 if rotates else hidden
        self.kernel = self.add_weight(name="kernel", shape=(input_dim, hidden), initializer=_normal(scale, seed + 1))
        self.bias = self.add_weight(name="bias", shape=(hidden,), initializer="zeros")
        self.decay = self.add_weight(
            name="decay",
            shape=(units,),
            initializer=keras.initializers.RandomUniform(-math.log(config.memory), 0.0, seed=seed + 2),
        )
        self.angle = None
        if rotates:
            self.angle = self.add_weight(
                name="angle", shape=(units,), initializer=keras.initializers.RandomUniform(0.0, math.pi, seed=seed + 3)
            )
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their short names."""
        weights = {"kernel": self.kernel, "bias": self.bias, "decay": self.decay}
        return weights if self.angle is None else weights | {"angle": self.angle}

    def input_weights(self) -> tuple[Tensor, Tensor]:
        """Return W ``(input, hidden)`` and b ``(hidden,)``, each times the input scale."""
        scale = input_scale(ops.convert_to_tensor(self.decay), self.angle is not None)
        return self.kernel * scale, self.bias * scale

    def call(
        self,
        projected: Tensor,
        state: Tensor,
        keep: Tensor | None = None,
        drop: Tensor | None = None,
        use_cpu_loop: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the states ``(time, batch, hidden)`` and the last state, as `elementwise.recurrence` does."""
        u = diagonal(self.decay, self.angle)
        return elementwise.recurrence(projected, state, u, self.activation, keep)


def recurrent_layer(
    config: ModelConfig, input_dim: int, start: InitScale, scale: float, seed: int, name: str
) -> DenseLayer | DiagonalLayer:
    """Return a layer of the form that `config.recurrence` names.

    Args:
        config: model configuration.
        input_dim: size of the vectors that the layer reads.
        start: scales of the initial weights.
        scale: initial standard deviation of ``x W``, for inputs of variance 1.
        seed: seed of the weight initialisation.
        name: name of the layer.
    """
    if config.recurrence == "dense":
        return DenseLayer(config, input_dim, start, scale, seed, name)
    return DiagonalLayer(config, input_dim, scale, seed, name)


def excitation_limit(config: ModelConfig) -> float:
    """Return the limit on the sum of the positive weights of U into each unit; 0 means no limit."""
    return config.max_excitation if config.activation == "relu" and config.recurrence == "dense" else 0.0


def limited(kernel: Tensor, limit: float) -> Tensor:
    """Return U ``(hidden, hidden)`` whose positive entries sum to at most `limit` in each column; 0 is no limit.

    ReLU states are not negative, so negative entries can only lower the next state:
    ``h_t <= relu(a_t) + h_{t-1} max(U, 0)``, entry by entry. With column sums below 1 the largest state is at most the
    largest ``a_t`` divided by ``1 - limit``, for a text of any length. Negative weights need no limit and have none.
    """
    if not limit:
        return kernel
    excitation = ops.relu(kernel)
    total = ops.sum(excitation, axis=0)
    return excitation * (limit / ops.maximum(total, limit)) - ops.relu(-kernel)


def diagonal(decay: Tensor, angle: Tensor | None) -> elementwise.Parts:
    """Return the diagonal of U in the form that `elementwise.recurrence` takes."""
    magnitude = ops.exp(-ops.exp(decay))
    if angle is None:
        return (magnitude,)
    return magnitude * ops.cos(angle), magnitude * ops.sin(angle)


def input_scale(decay: Tensor, rotates: bool) -> Tensor:
    """Return ``sqrt(1 - magnitude^2)`` of each unit, ``(hidden,)``."""
    scale = ops.sqrt(-ops.expm1(-2.0 * ops.exp(decay)))
    return ops.concatenate([scale, scale]) if rotates else scale


def fold_input_scale(config: ModelConfig, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return weights by name, as a step multiplies them.

    A dense U is `limited`. Kernel and bias of diagonal layers include the input scale. The diagonal U becomes
    ``recurrent_N`` ``(hidden,)``, the factor of each unit's own state. Rotations also have ``crossed_N``, the factor of
    the state of the other unit of the pair.
    """
    weights = dict(arrays)
    for prefix, layer in itertools.product(directions(config), range(config.layers)):
        if config.recurrence == "dense":
            name = f"{prefix}recurrent_kernel_{layer}"
            weights[name] = ops.convert_to_numpy(limited(weights[name], excitation_limit(config)))
            continue
        decay = weights.pop(f"{prefix}decay_{layer}")
        angle = weights.pop(f"{prefix}angle_{layer}", None)
        scale = ops.convert_to_numpy(input_scale(decay, angle is not None))
        weights[f"{prefix}kernel_{layer}"] = weights[f"{prefix}kernel_{layer}"] * scale
        weights[f"{prefix}bias_{layer}"] = weights[f"{prefix}bias_{layer}"] * scale
        a, *b = (ops.convert_to_numpy(part) for part in diagonal(decay, angle))
        weights[f"{prefix}recurrent_{layer}"] = np.concatenate([a, a]) if b else a
        if b:
            weights[f"{prefix}crossed_{layer}"] = np.concatenate([-b[0], b[0]])
    return weights


def _normal(scale: float, seed: int) -> Any:
    return keras.initializers.VarianceScaling(
        scale=scale**2, mode="fan_in", distribution="untruncated_normal", seed=seed
    )
