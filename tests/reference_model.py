"""The whole language model in a few lines of numpy, float64: what the trained and the exported one must compute."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
}


# Weights


def random_weights(config: ModelConfig, vocabulary_size: int, seed: int = 0) -> dict[str, Array]:
    """Every weight of the model by name, none of them zero or one as biases and gains are at first."""
    hidden, embedding = config.hidden_dim, config.embedding_dim or config.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary_size, embedding), "output_bias": (vocabulary_size,)}
    if config.input_ngrams > 1:
        shapes["ngrams"] = (config.ngram_rows, embedding)
    shapes |= layer_shapes(config, embedding)
    outputs, width = vocabulary_size, embedding if config.tied else hidden
    if config.softmax == "adaptive":
        cutoffs = (*config.cutoffs, vocabulary_size)
        outputs = cutoffs[0] + len(config.cutoffs)
        shapes["output_bias"] = (outputs,)
        if config.tied:
            shapes |= {"embedding": (cutoffs[0], embedding), "tail_kernel": (embedding, len(config.cutoffs))}
        for number, (first, end) in enumerate(itertools.pairwise(cutoffs), start=1):
            narrow = min(width, max(8, width // 4**number))
            shapes[f"tail_projection_{number}"] = (width, narrow)
            shapes[f"tail_bias_{number}"] = (end - first,)
            shapes[f"{'embedding' if config.tied else 'tail_rows'}_{number}"] = (end - first, narrow)
            if config.tied:
                shapes[f"embedding_projection_{number}"] = (narrow, embedding)
    if not config.tied:
        shapes["output_kernel"] = (hidden, outputs)
    elif embedding != hidden:
        shapes["adapter"] = (hidden, embedding)
    return drawn(shapes, seed)


def layer_shapes(config: ModelConfig, input_dim: int, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Of the weights of all layers of one direction."""
    hidden = config.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(config.layers):
        layer: dict[str, tuple[int, ...]] = {"kernel": (hidden if index else input_dim, hidden)}
        if config.recurrence == "dense":
            layer["recurrent_kernel"] = (hidden, hidden)
        elif config.recurrence == "diagonal":
            layer["decay"] = (hidden,)
        else:
            layer["decay"] = layer["angle"] = (hidden // 2,)
        layer["bias"] = (hidden,)
        if config.mixing != "none":
            width = hidden * (2 if config.mixing == "glu" else 1)
            layer |= {"mixing_kernel": (hidden, width), "mixing_bias": (width,)}
        if config.normalization == "layer":
            layer["gain"] = layer["shift"] = (hidden,)
        shapes |= {f"{prefix}{name}_{index}": shape for name, shape in layer.items()}
    return shapes


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Array]:
    """Random weights of these shapes, by name."""
    random = np.random.default_rng(seed)
    weights = {name: random.normal(size=shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    for name, array in weights.items():
        if "recurrent_kernel" in name:  # a linear state must not grow without end
            weights[name] = array * 0.5
        if "decay" in name or "angle" in name:  # some remember for a step, some for twenty; some turn far
            weights[name] = random.uniform(-3, 1, array.shape)
    # Rounded to float32, so that a model in float32 holds the same numbers.
    return {name: array.astype(np.float32).astype(np.float64) for name, array in weights.items()}


# Equations


def random_state(config: ModelConfig, batch: int, vocabulary_size: int, seed: int = 2) -> NDArray[np.float32]:
    """Some state: numbers of every layer, and tokens that were read before if n-grams are inputs."""
    random = np.random.default_rng(seed)
    state = random.normal(size=(config.layers, batch, config.hidden_dim))
    if config.input_ngrams > 1:
        history = np.zeros((1, batch, config.hidden_dim))
        history[0, :, : config.input_ngrams - 1] = random.integers(4, vocabulary_size, (batch, config.input_ngrams - 1))
        state = np.concatenate([state, history])
    return state.astype(np.float32)


def run(
    config: ModelConfig,
    weights: Weights,
    ids: NDArray[Any],
    state: NDArray[Any] | None = None,
    apart: bool = False,
) -> tuple[Array, Array]:
    """ids (batch, time), state (layers, batch, hidden) -> logits (batch, time, vocabulary), next state."""
    before, rows = max(config.input_ngrams - 1, 0), config.layers + (config.input_ngrams > 1)
    h = np.zeros((rows, len(ids), config.hidden_dim)) if state is None else np.array(state, np.float64)
    logits = []
    for tokens in ids.T:
        if apart:
            h[:, tokens == END_ID] = 0
        x, below = embeddings(config, weights)[tokens], np.zeros(())
        if before:
            read = np.concatenate([h[-1, :, :before].astype(int), tokens[:, None]], axis=1)
            x = x + np.stack([ngram_vectors(weights, text.tolist()) for text in read])
            h[-1, :, :before] = read[:, 1:]
        for i in range(config.layers):
            h[i] = next_state(config, weights, i, x, h[i])
            x, below = handed_on(config, weights, i, h[i], below)
        if "adapter" in weights:
            x = x @ weights["adapter"]
        output = weights["embedding"].T if config.tied else weights["output_kernel"]
        if config.softmax == "adaptive":
            logits.append(adaptive_log_probs(config, weights, x, output))
        else:
            logits.append(x @ output + weights["output_bias"])
    return np.stack(logits, axis=1), h


def ngram_vectors(weights: Weights, read: list[int]) -> NDArray[Any]:
    """The sum of the vectors of the n-grams that end at the last of some tokens, from two tokens on to all."""
    prime, base, total = 2**31 - 1, 16_807, np.zeros(weights["ngrams"].shape[1])
    for length in range(2, len(read) + 1):
        number = sum(token * pow(base, back + 1, prime) for back, token in enumerate(read[::-1][:length]))
        number = (number + pow(base, length + 6, prime)) % prime
        total = total + weights["ngrams"][number % len(weights["ngrams"])]
    return total


def embeddings(config: ModelConfig, weights: Weights) -> NDArray[Any]:
    """The vector of every word, those of tails made as wide as those of the head."""
    tables = [weights["embedding"]]
    if config.softmax == "adaptive" and config.tied:
        for number in range(1, len(config.cutoffs) + 1):
            tables.append(weights[f"embedding_{number}"] @ weights[f"embedding_projection_{number}"])
    return np.concatenate(tables)


def adaptive_log_probs(config: ModelConfig, weights: Weights, x: Array, output: Array) -> Array:
    """log p of every word: of the head, or of a tail and then of the word within it."""
    if config.tied:
        output = np.concatenate([output, weights["tail_kernel"]], axis=1)
    head = log_softmax(x @ output + weights["output_bias"])
    parts = [head[:, : config.cutoffs[0]]]
    for number in range(1, len(config.cutoffs) + 1):
        rows = weights[f"{'embedding' if config.tied else 'tail_rows'}_{number}"]
        within = log_softmax(x @ weights[f"tail_projection_{number}"] @ rows.T + weights[f"tail_bias_{number}"])
        parts.append(head[:, [config.cutoffs[0] + number - 1]] + within)
    return np.concatenate(parts, axis=1)


def log_softmax(logits: Array) -> Array:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def next_state(config: ModelConfig, weights: Weights, i: int, x: Array, h: Array, prefix: str = "") -> Array:
    """h_t = f(W x_t + U h_{t-1} + b) of layer i; x (rows, input), h (rows, hidden), a row being one vector."""
    f, u, scale = FUNCTIONS[config.activation], recurrent_matrix(config, weights, i, prefix), 1.0
    if config.recurrence != "dense":
        scale = np.sqrt(1 - magnitudes(config, weights, i, prefix) ** 2)
    return f(scale * (x @ weights[f"{prefix}kernel_{i}"] + weights[f"{prefix}bias_{i}"]) + h @ u)


def recurrent_matrix(config: ModelConfig, weights: Weights, i: int, prefix: str = "") -> Array:
    """U of layer i as it multiplies rows from the right, (hidden, hidden), whatever form it has."""
    if config.recurrence == "dense":
        return np.asarray(weights[f"{prefix}recurrent_kernel_{i}"], np.float64)
    magnitude = magnitudes(config, weights, i, prefix)
    if config.recurrence == "diagonal":
        return np.diag(magnitude)
    u, half = np.zeros((config.hidden_dim, config.hidden_dim)), config.hidden_dim // 2
    for p, angle in enumerate(weights[f"{prefix}angle_{i}"]):
        q = p + half  # the pair (p, q) turns by the angle, and shrinks
        u[p, p] = u[q, q] = magnitude[p] * np.cos(angle)
        u[p, q] = magnitude[p] * np.sin(angle)
        u[q, p] = -magnitude[p] * np.sin(angle)
    return u


def magnitudes(config: ModelConfig, weights: Weights, i: int, prefix: str = "") -> Array:
    """What a step leaves of each unit's state, (hidden,)."""
    left = np.exp(-np.exp(np.asarray(weights[f"{prefix}decay_{i}"], np.float64)))
    return np.concatenate([left, left]) if config.recurrence == "rotation" else left


def handed_on(
    config: ModelConfig, weights: Weights, i: int, h: Array, below: Array, prefix: str = ""
) -> tuple[Array, Array]:
    """What is above layer i reads of its states h; and what was added up so far, of which `below` is the layer before.

    o_t = g(V h_t + c), the residual sum, and its normalisation.
    """
    output = h
    if config.mixing != "none":
        mixed = h @ weights[f"{prefix}mixing_kernel_{i}"] + weights[f"{prefix}mixing_bias_{i}"]
        if config.mixing == "relu":
            output = np.maximum(mixed, 0)
        else:
            values, gates = mixed[..., : config.hidden_dim], mixed[..., config.hidden_dim :]
            output = values / (1 + np.exp(-gates))
    x = total = output + below if config.residual else output
    if config.normalization == "layer":
        x = (total - total.mean(-1, keepdims=True)) / np.sqrt(total.var(-1, keepdims=True) + 1e-5)
        x = x * weights[f"{prefix}gain_{i}"] + weights[f"{prefix}shift_{i}"]
    return x, total


# The loss


def mean_nats(logits: Array, targets: NDArray[Any]) -> float:
    """Mean of -log softmax(logits)[target] over all tokens."""
    log_total = np.log(np.exp(logits).sum(axis=-1))
    return float((log_total - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]).mean())
