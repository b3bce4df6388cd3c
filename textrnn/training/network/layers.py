"""One layer of the backbone, ``h_t = f(x_t W + h_{t-1} U + b)``, for each form of U.

What multiplies the input is apart from what runs over time, so that a table of tokens can be projected once.
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
from textrnn.training.network.products import Tensor
from textrnn.training.network.recurrent import SimpleRNN, recurrence


class InitScale(NamedTuple):
    """How large weights are when training starts."""

    embedding: float = 1.0
    """Standard deviation of the embedding."""
    projected: float = 0.5
    """Of what a layer adds to its state at each step, ``x W``."""
    recurrent: float = 1.0
    """By which the start of a dense ``U`` is multiplied, unless `recurrent_scale` says."""


class DenseLayer(keras.layers.Layer):  # type: ignore[misc]
    """U is any matrix: every unit reads what every other remembers.

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
            seed=seed + 3,  # of a dropout that is not used; without one Keras takes a number from `random`
        )
        self.rnn.build((None, None, input_dim))
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """The variables by their short names."""
        cell = self.rnn.cell
        return {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel, "bias": cell.bias}

    def input_weights(self) -> tuple[Tensor, Tensor]:
        """W ``(input, hidden)`` and b ``(hidden,)``."""
        return self.rnn.cell.kernel, self.rnn.cell.bias

    def call(
        self,
        projected: Tensor,
        state: Tensor,
        keep: Tensor | None = None,
        drop: Tensor | None = None,
        use_cpu_loop: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States ``(time, batch, hidden)`` and the last one; `drop` is multiplied with U, else as `recurrence`."""
        kernel = limited(ops.convert_to_tensor(self.rnn.cell.recurrent_kernel), self.max_excitation)
        kernel = kernel if drop is None else kernel * ops.cast(drop, kernel.dtype)
        return recurrence(projected, state, kernel, self.activation, keep, use_cpu_loop)


class DiagonalLayer(keras.layers.Layer):  # type: ignore[misc]
    """U is diagonal: each unit, or each pair of units that turn, remembers on its own.

    The magnitude of U is ``exp(-exp(decay))``, between 0 and 1 whatever the weight, so that no gradient ever grows over
    time, and one step of training changes how long a unit remembers by a share of it, be that one step or a million.
    When training starts the units of a layer forget to 1/e in 1 to `memory` steps, as many between 10 and 100 as
    between 100 and 1,000. W and b of a unit are multiplied with ``sqrt(1 - magnitude^2)``, so that states are about as
    large as what is read, however long they remember (Orvieto et al. 2023).
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
        """The variables by their short names."""
        weights = {"kernel": self.kernel, "bias": self.bias, "decay": self.decay}
        return weights if self.angle is None else weights | {"angle": self.angle}

    def input_weights(self) -> tuple[Tensor, Tensor]:
        """W ``(input, hidden)`` and b ``(hidden,)``, as they multiply."""
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
        """States ``(time, batch, hidden)`` and the last one, as `elementwise.recurrence`."""
        u = diagonal(self.decay, self.angle)
        return elementwise.recurrence(projected, state, u, self.activation, keep)


def recurrent_layer(
    config: ModelConfig, input_dim: int, start: InitScale, scale: float, seed: int, name: str
) -> DenseLayer | DiagonalLayer:
    """A layer of the form that `config.recurrence` says.

    Args:
        input_dim: numbers in each vector it reads.
        scale: of ``x W`` when training starts, for inputs of variance 1.
    """
    if config.recurrence == "dense":
        return DenseLayer(config, input_dim, start, scale, seed, name)
    return DiagonalLayer(config, input_dim, scale, seed, name)


def excitation_limit(config: ModelConfig) -> float:
    """Return what the positive weights of U that read into a unit may sum to; 0 for no limit."""
    return config.max_excitation if config.activation == "relu" and config.recurrence == "dense" else 0.0


def limited(kernel: Tensor, limit: float) -> Tensor:
    """Return U ``(hidden, hidden)`` whose positive entries sum to at most `limit` in each column; 0 is no limit.

    States of ReLU are not negative, so that negative entries only lower the next state:
    ``h_t <= relu(a_t) + h_{t-1} max(U, 0)``, entry by entry. With column sums below 1 the largest state is at most the
    largest ``a_t`` divided by ``1 - limit``, however long the text. Inhibition needs no limit, and has none.
    """
    if not limit:
        return kernel
    excitation = ops.relu(kernel)
    total = ops.sum(excitation, axis=0)
    return excitation * (limit / ops.maximum(total, limit)) - ops.relu(-kernel)


def diagonal(decay: Tensor, angle: Tensor | None) -> elementwise.Parts:
    """U as `elementwise.recurrence` takes it, of a layer's weights."""
    magnitude = ops.exp(-ops.exp(decay))
    if angle is None:
        return (magnitude,)
    return magnitude * ops.cos(angle), magnitude * ops.sin(angle)


def input_scale(decay: Tensor, rotates: bool) -> Tensor:
    """``sqrt(1 - magnitude^2)`` of each unit, ``(hidden,)``."""
    scale = ops.sqrt(-ops.expm1(-2.0 * ops.exp(decay)))
    return ops.concatenate([scale, scale]) if rotates else scale


def fold_input_scale(config: ModelConfig, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Weights by name, as a step multiplies them.

    A dense U is `limited`. Kernel and bias of diagonal layers hold the scale of the input. The weights of their U are
    ``recurrent_N`` ``(hidden,)``, by which each unit's own state is multiplied, and of rotations ``crossed_N``, by
    which that of the other unit of the pair is.
    """
    weights = dict(arrays)
    directions = ("", "backward_") if config.bidirectional else ("",)
    for prefix, layer in itertools.product(directions, range(config.layers)):
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
