"""The whole classifier in a few lines of numpy, float64, one text at a time and so without any padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference_model import FUNCTIONS, Array

from textrnn.config import ModelConfig


def random_weights(config: ModelConfig, vocabulary_size: int, classes: int, seed: int = 0) -> dict[str, Array]:
    """Every weight of the model by name, none of them zero or one as biases and gains are at first."""
    random = np.random.default_rng(seed)
    hidden, embedding = config.hidden_dim, config.embedding_dim or config.hidden_dim
    directions = ("", "backward_") if config.bidirectional else ("",)
    features = 2 * len(directions) * hidden + embedding
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary_size, embedding)}
    for prefix in directions:
        for index in range(config.layers):
            shapes[f"{prefix}kernel_{index}"] = (hidden if index else embedding, hidden)
            shapes[f"{prefix}recurrent_kernel_{index}"] = (hidden, hidden)
            shapes[f"{prefix}bias_{index}"] = (hidden,)
            if config.normalization == "layer":
                shapes[f"{prefix}gain_{index}"] = shapes[f"{prefix}shift_{index}"] = (hidden,)
    shapes |= {"output_kernel": (features, classes), "output_bias": (classes,)}
    weights = {name: random.normal(size=shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    for name, array in weights.items():
        if "recurrent" in name:  # a state of ReLU must not grow without end
            weights[name] = array * 0.5
    # Rounded to float32, so that a model in float32 holds the same numbers.
    return {name: array.astype(np.float32).astype(np.float64) for name, array in weights.items()}


def run(config: ModelConfig, weights: Mapping[str, NDArray[Any]], texts: Sequence[Sequence[int]]) -> Array:
    """Texts, each the ids of its tokens, to logits (texts, classes)."""
    return (
        np.stack([_features(config, weights, text) for text in texts]) @ weights["output_kernel"]
        + (weights["output_bias"])
    )


def _features(config: ModelConfig, weights: Mapping[str, NDArray[Any]], text: Sequence[int]) -> Array:
    """Largest and mean of each state, and mean embedding; zeros where there is no token."""
    if not len(text):
        return np.zeros(len(weights["output_kernel"]))
    vectors = weights["embedding"][np.array(text)]
    length = config.segment_length or len(text)
    segments = [vectors[begin : begin + length] for begin in range(0, len(text), length)]
    states = np.concatenate([_layers(config, weights, segment, "") for segment in segments])
    if config.bidirectional:
        backward = [_layers(config, weights, segment[::-1], "backward_")[::-1] for segment in segments]
        states = np.concatenate([states, np.concatenate(backward)], axis=1)
    return np.concatenate([states.max(axis=0), states.mean(axis=0), vectors.mean(axis=0)])


def _layers(config: ModelConfig, weights: Mapping[str, NDArray[Any]], x: Array, prefix: str) -> Array:
    """What the last layer hands on after each of the vectors (time, features), from the zero state."""
    f, below = FUNCTIONS[config.activation], np.zeros(())
    for i in range(config.layers):
        kernel, recurrent, bias = (weights[f"{prefix}{name}_{i}"] for name in ("kernel", "recurrent_kernel", "bias"))
        h, states = np.zeros(config.hidden_dim), []
        for vector in x:
            h = f(vector @ kernel + h @ recurrent + bias)
            states.append(h)
        x = below = np.stack(states) + below if config.residual else np.stack(states)
        if config.normalization == "layer":
            x = (below - below.mean(1, keepdims=True)) / np.sqrt(below.var(1, keepdims=True) + 1e-5)
            x = x * weights[f"{prefix}gain_{i}"] + weights[f"{prefix}shift_{i}"]
    return x
