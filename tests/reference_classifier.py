"""The whole classifier or regressor in a few lines of numpy, float64, one sequence at a time: it knows no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference_model import Array, Weights, drawn, handed_on, layer_shapes, next_state, ngram_vectors

from textrnn.config import ModelConfig


def random_weights(
    config: ModelConfig, vocabulary_size: int, outputs: int, seed: int = 0, features: int = 0
) -> dict[str, Array]:
    """Every weight of the model by name, none of them zero or one as biases and gains are at first.

    With `features` it reads vectors of so many numbers, and `vocabulary_size` means nothing.
    """
    values = 2 * config.cepstra or features
    hidden, width = config.hidden_dim, config.embedding_dim or values or config.hidden_dim
    directions = ("", "backward_") if config.bidirectional else ("",)
    states = len(directions) * hidden
    pooled = 2 * states + width if config.pooling == "all" else states
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary_size, width)}
    if config.input_ngrams > 1:
        shapes["ngrams"] = (config.ngram_rows, width)
    if features:
        shapes = {"input_mean": (values,), "input_scale": (values,)}
    if config.cepstra:
        shapes["input_frame_mean"] = (features,)
    if features and config.embedding_dim:
        shapes |= {"projection_kernel": (values, width), "projection_bias": (width,)}
    for prefix in directions:
        shapes |= layer_shapes(config, width, prefix)
    shapes |= {"output_kernel": (pooled, outputs), "output_bias": (outputs,)}
    weights = drawn(shapes, seed)
    if features:  # what vectors are divided by is positive
        weights["input_scale"] = np.abs(weights["input_scale"]) + 0.5
    return weights


def run(config: ModelConfig, weights: Weights, sequences: Sequence[Sequence[int] | NDArray[Any]]) -> Array:
    """Texts, each the ids of its tokens, or sequences of vectors (time, features), to logits or values (batch, n)."""
    pooled = np.stack([_pooled(config, weights, sequence) for sequence in sequences])
    return pooled @ weights["output_kernel"] + weights["output_bias"]


def _pooled(config: ModelConfig, weights: Weights, sequence: Sequence[int] | NDArray[Any]) -> Array:
    """What is known of a whole sequence; zeros where the layers above the first had nothing to read."""
    if len(sequence) < config.stride:
        return np.zeros(len(weights["output_kernel"]))
    if "embedding" in weights:
        vectors = weights["embedding"][np.array(sequence)]
        if (order := config.input_ngrams) > 1:  # 0 stands for the tokens before the first one
            read = [0] * (order - 1) + [int(token) for token in sequence]
            vectors = vectors + [ngram_vectors(weights, read[t : t + order]) for t in range(len(sequence))]
    else:
        vectors = np.asarray(sequence)
        if config.cepstra:
            vectors = cepstra_and_slopes(vectors - weights["input_frame_mean"], config.cepstra)
        vectors = (vectors - weights["input_mean"]) / weights["input_scale"]
        if "projection_kernel" in weights:
            vectors = np.maximum(vectors @ weights["projection_kernel"] + weights["projection_bias"], 0)
    length = config.segment_length or len(vectors)
    segments = [vectors[begin : begin + length] for begin in range(0, len(vectors), length)]
    states = np.concatenate([layers_over_time(config, weights, segment, "") for segment in segments])
    last = [states[-1]]
    if config.bidirectional:
        from_end = np.concatenate([layers_over_time(config, weights, segment, "backward_") for segment in segments])
        last.append(from_end[0])
        states = np.concatenate([states, from_end], axis=1)
    if config.pooling == "last":
        return np.concatenate(last)
    if config.pooling == "mean":
        return states.mean(axis=0)
    read = vectors[config.stride - 1 :: config.stride]
    return np.concatenate([states.max(axis=0), states.mean(axis=0), read.mean(axis=0)])


def cepstra_and_slopes(frames: Array, cepstra: int) -> Array:
    """The first coefficients of the cosine transform of frames (time, bins), and their slopes over five frames."""
    from scipy.fft import dct

    found = dct(frames, norm="ortho")[:, :cepstra]
    zeros = np.zeros((2, cepstra))
    wide = np.concatenate([zeros, found, zeros])
    slopes = [np.polyfit(np.arange(5), wide[t : t + 5], 1)[0] for t in range(len(found))]
    return np.concatenate([found, np.array(slopes)], axis=1)


def layers_over_time(config: ModelConfig, weights: Weights, x: Array, prefix: str) -> Array:
    """What the last layer hands on of vectors (time, features), from the zero state; `backward_` reads from the end.

    Layers above the first read its state after every block of `stride` vectors; what is no whole block, they do not.
    """
    from_end, below = prefix == "backward_", np.zeros(())
    for i in range(config.layers):
        h, states = np.zeros(config.hidden_dim), np.zeros((len(x), config.hidden_dim))
        for t in reversed(range(len(x))) if from_end else range(len(x)):
            h = states[t] = next_state(config, weights, i, x[t], h, prefix)
        if i == 0:
            whole = len(x) // config.stride * config.stride
            states = states[0 if from_end else config.stride - 1 : whole : config.stride]
        x, below = handed_on(config, weights, i, states, below, prefix)
    return x
