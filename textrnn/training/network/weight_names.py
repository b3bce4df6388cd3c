"""Names of the weights of layers: ``[backward_]NAME_LAYER``, as ``kernel_0`` or ``backward_mixing_bias_1``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from textrnn.config import ModelConfig

BACKWARD = "backward_"
"""Prefix of the layers that read from the end."""
WEIGHTS = ("kernel", "recurrent_kernel", "bias", "decay", "angle", "mixing_kernel", "mixing_bias", "gain", "shift")
"""Weights of a layer. A diagonal U is ``decay``, and for rotations ``angle``, in place of ``recurrent_kernel``."""

_NAME = re.compile(rf"(?:{BACKWARD})?(?:{'|'.join(WEIGHTS)})_\d+")
T = TypeVar("T")


def directions(config: ModelConfig) -> tuple[str, ...]:
    """Return the prefixes of the stacks of a model."""
    return ("", BACKWARD) if config.bidirectional else ("",)


def is_layer_weight(name: str) -> bool:
    """Return whether a name is that of a layer's weight."""
    return _NAME.fullmatch(name) is not None


def forward_weights(weights: Mapping[str, T]) -> dict[str, T]:
    """Return the weights, by name, without those of layers that read from the end."""
    return {name: weight for name, weight in weights.items() if not name.startswith(BACKWARD)}


def with_backward_weights(weights: Mapping[str, T]) -> dict[str, T]:
    """Return the weights, by name; layers that read from the end, where there are none, have those of the others."""
    layers = {name: weight for name, weight in forward_weights(weights).items() if is_layer_weight(name)}
    return {BACKWARD + name: weight for name, weight in layers.items()} | dict(weights)
