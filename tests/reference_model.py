"""The whole language model in a few lines of numpy, float64: what the trained and the exported one must compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID

Array = NDArray[np.float64]

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
}


def random_weights(config: ModelConfig, vocabulary_size: int, seed: int = 0) -> dict[str, Array]:
    """Every weight of the model by name, none of them zero or one as biases and gains are at first."""
    random = np.random.default_rng(seed)
    hidden, embedding = config.hidden_dim, config.embedding_dim or config.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary_size, embedding), "output_bias": (vocabulary_size,)}
    for index in range(config.layers):
        shapes[f"kernel_{index}"] = (hidden if index else embedding, hidden)
        shapes[f"recurrent_kernel_{index}"] = (hidden, hidden)
        shapes[f"bias_{index}"] = (hidden,)
        if config.normalization == "layer":
            shapes[f"gain_{index}"] = shapes[f"shift_{index}"] = (hidden,)
    if not config.tied:
        shapes["output_kernel"] = (hidden, vocabulary_size)
    elif embedding != hidden:
        shapes["adapter"] = (hidden, embedding)
    weights = {name: random.normal(size=shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    for index in range(config.layers):  # a linear state must not grow without end
        weights[f"recurrent_kernel_{index}"] *= 0.5
    # Rounded to float32, so that a model in float32 holds the same numbers.
    return {name: array.astype(np.float32).astype(np.float64) for name, array in weights.items()}


def run(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    ids: NDArray[Any],
    state: NDArray[Any] | None = None,
    apart: bool = False,
) -> tuple[Array, Array]:
    """ids (batch, time), state (layers, batch, hidden) -> logits (batch, time, vocabulary), next state."""
    f = FUNCTIONS[config.activation]
    h = np.zeros((config.layers, len(ids), config.hidden_dim)) if state is None else np.array(state, np.float64)
    logits = []
    for tokens in ids.T:
        if apart:
            h[:, tokens == END_ID] = 0
        x, below = weights["embedding"][tokens], 0.0
        for i in range(config.layers):
            h[i] = f(x @ weights[f"kernel_{i}"] + h[i] @ weights[f"recurrent_kernel_{i}"] + weights[f"bias_{i}"])
            x = below = h[i] + below if config.residual else h[i]
            if config.normalization == "layer":
                x = (below - below.mean(1, keepdims=True)) / np.sqrt(below.var(1, keepdims=True) + 1e-5)
                x = x * weights[f"gain_{i}"] + weights[f"shift_{i}"]
        if "adapter" in weights:
            x = x @ weights["adapter"]
        output = weights["embedding"].T if config.tied else weights["output_kernel"]
        logits.append(x @ output + weights["output_bias"])
    return np.stack(logits, axis=1), h


def mean_nats(logits: Array, targets: NDArray[Any]) -> float:
    """Mean of -log softmax(logits)[target] over all tokens."""
    log_total = np.log(np.exp(logits).sum(axis=-1))
    return float((log_total - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]).mean())
