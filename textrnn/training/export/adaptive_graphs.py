"""The adaptive softmax in exported graphs: log-probabilities of all words take the place of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textrnn.config import ModelConfig
from textrnn.training.export.cell_graphs import Nodes


def with_tails_in_graphs(config: ModelConfig, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights by name as the graphs hold them: one embedding of all words, and the factors of `log_probs`.

    ``output_bias`` is added to the outputs of all words at the end of a graph. It is zero here, because head and tails
    have biases of their own.
    """
    weights = dict(arrays)
    weights["head_bias"] = weights.pop("output_bias")
    tables, size = [weights["embedding"]], len(weights["head_bias"])
    for number in range(1, count_of_tails(weights) + 1):
        rows = weights.pop(f"embedding_{number}" if config.tied else f"tail_rows_{number}")
        if config.tied:
            tables.append(rows @ weights.pop(f"embedding_projection_{number}"))
        weights[f"tail_kernel_{number}"] = rows.T
        size += len(rows) - 1
    if config.tied:
        weights["output_kernel"] = np.concatenate([weights["embedding"].T, weights.pop("tail_kernel")], axis=1)
        weights["embedding"] = np.concatenate(tables)
    head_size = len(weights["head_bias"]) - count_of_tails(weights)
    sizes = np.array([head_size, *[1] * count_of_tails(weights)])
    return weights | {"output_bias": np.zeros(size, np.float32), "head_sizes": sizes}


def log_probs(nodes: Nodes, weights: Mapping[str, Any], hidden: str) -> str:
    """Add nodes for the log-probabilities of all words from `hidden` ``(..., width)``; return their output's name."""
    head = nodes.add("Add", nodes.add("MatMul", hidden, "output_kernel"), "head_bias")
    count = count_of_tails(weights)
    parts = [f"{nodes.prefix}head_words", *(f"{nodes.prefix}tail_{number}" for number in range(1, count + 1))]
    nodes.append("Split", [nodes.add("LogSoftmax", head, axis=-1), "head_sizes"], parts, axis=-1)
    for number in range(1, count + 1):
        projected = nodes.add("MatMul", hidden, f"tail_projection_{number}")
        logits = nodes.add("Add", nodes.add("MatMul", projected, f"tail_kernel_{number}"), f"tail_bias_{number}")
        parts[number] = nodes.add("Add", nodes.add("LogSoftmax", logits, axis=-1), parts[number])
    return nodes.add("Concat", *parts, axis=-1)


def count_of_tails(weights: Mapping[str, Any]) -> int:
    return sum(name.startswith("tail_bias_") for name in weights)
