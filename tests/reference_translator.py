"""The whole translator in a few lines of numpy, float64, one pair at a time: it knows no padding.

The encoder and the layers above the decoder's first one are plain tanh layers with a residual from the second on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]


def layers(weights: Weights, vectors: Array, prefix: str, first: Array | None = None) -> Array:
    """Vectors (time, n) to the states of the last layer (time, hidden)."""
    index, hidden = 0, vectors
    while f"{prefix}kernel_{index}" in weights:
        kernel, u, bias = (weights[f"{prefix}{name}_{index}"] for name in ("kernel", "recurrent_kernel", "bias"))
        h, states = np.zeros(len(u)), []
        for x in hidden:
            h = np.tanh(x @ kernel + h @ u + bias)
            states.append(h)
        hidden = np.array(states) + (hidden if index else 0)
        index += 1
    return hidden


def encode(weights: Weights, source: Sequence[int]) -> tuple[Array, Array]:
    """States (source, 2 hidden) of both directions, and the first state of the decoder."""
    vectors = weights["embedding"][np.array(source)].astype(np.float64)
    forward, backward = layers(weights, vectors, ""), layers(weights, vectors[::-1], "backward_")[::-1]
    states = np.concatenate([forward, backward], axis=1)
    return states, np.tanh(states.mean(axis=0) @ weights["initial_kernel"] + weights["initial_bias"])


def logits(weights: Weights, source: Sequence[int], target: Sequence[int]) -> tuple[Array, Array]:
    """Logits (time, vocabulary) after each target token that is read, and the attention (time, source)."""
    states, h = encode(weights, source)
    o, outputs, attention = np.zeros(len(h)), [], []
    for token in target:
        x = weights["decoder_embedding"][token] @ weights["decoder_kernel"] + weights["decoder_bias"]
        h = np.tanh(x + h @ weights["decoder_recurrent_kernel"] + o @ weights["feed_kernel"])
        scores = (states @ weights["key_kernel"]) @ h / np.sqrt(len(h))
        w = np.exp(scores - scores.max())
        w /= w.sum()
        context = w @ states @ weights["value_kernel"]
        o = np.tanh(h @ weights["attention_kernel"] + weights["attention_bias"] + context)
        outputs.append(o)
        attention.append(w)
    hidden = np.array(outputs)
    if "decoder_upper_kernel_0" in weights:
        hidden = hidden + layers(weights, hidden, "decoder_upper_")
    return hidden @ weights["output_kernel"] + weights["output_bias"], np.array(attention)
