"""N-grams as inputs as ONNX nodes: the graph hashes the tokens read last and adds their vectors.

The nodes compute what `textrnn.training.network.ngram_inputs` does. The last row of a language model's state begins
with the tokens read last, as float32, which holds every whole number up to 16,777,216.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import ModelConfig
from textrnn.training.direct.ngrams import PRIME
from textrnn.training.export.cell_graphs import Nodes
from textrnn.training.network.ngram_inputs import ROW_FACTORS, ROW_TERMS

Weights = Mapping[str, NDArray[np.float32]]


def ngram_constants(config: ModelConfig) -> dict[str, NDArray[Any]]:
    """Return the constants of the nodes, by name."""
    order = config.input_ngrams
    return {
        **{f"row_factor_{back}": np.array(factor) for back, factor in enumerate(ROW_FACTORS[:order])},
        **{f"row_term_{back}": np.array(term) for back, term in enumerate(ROW_TERMS[:order])},
        # Of a step, where the tokens of the longest n-gram are side by side, the last one at the end.
        "row_factors": np.array(ROW_FACTORS[:order][::-1]),
        "row_terms": np.array(ROW_TERMS[1:order][::-1]),
        "row_prime": np.array(PRIME),
        "row_count": np.array(config.ngram_rows),
        "row_axis": np.array(1),
        **{f"token_axis_{axis}": np.array([axis]) for axis in range(3)},
        "history_length": np.array([order - 1]),
        "history_start": np.array([1 - order]),
        "history_room": np.array([0, 0, 0, config.hidden_dim - order + 1]),
        "text_start": np.array([0, order - 1, 0, 0]),
        "ngrams_of_token": np.array([order - 1]),
        "sequence_end": np.array([np.iinfo(np.int64).max]),
        **{f"start_{back}": np.array([order - 1 - back]) for back in range(1, order)},
        **{f"end_{back}": np.array([-back]) for back in range(1, order)},
    }


def ngrams_of_step(nodes: Nodes, config: ModelConfig, weights: Weights) -> str:
    """Add the nodes of one step, which also write the last row of the next state.

    Returns:
        name of the term of ``W x_t + b`` that the n-grams give, ``(batch, hidden)``.
    """
    history = _history(nodes, f"state_{config.layers}")
    ids = nodes.add("Unsqueeze", nodes.add("Cast", "ids", to=TensorProto.INT64), "token_axis_1")
    tokens = nodes.add("Concat", history, ids, axis=1)
    # From the last token back, sums over more and more tokens; that of the last token alone is at the end.
    sums = nodes.add("CumSum", nodes.add("Mul", tokens, "row_factors"), "row_axis", reverse=1)
    sums = nodes.add("Slice", sums, "token_axis_0", "history_length", "token_axis_1")
    rows = nodes.add("Mod", nodes.add("Mod", nodes.add("Add", sums, "row_terms"), "row_prime"), "row_count")
    last = nodes.add("Slice", tokens, "history_start", "sequence_end", "token_axis_1")
    _write_history(nodes, last, f"next_state_{config.layers}")
    return _vectors(nodes, rows, weights, "token_axis_1")


def ngrams_of_sequence(nodes: Nodes, config: ModelConfig, weights: Weights, ids: str) -> str:
    """Add the nodes of a sequence, which also write the last row of the next state.

    Args:
        nodes: nodes of the graph.
        config: configuration of the model.
        weights: weights of the graph.
        ids: name of the tokens, int32 ``(time, batch)``.

    Returns:
        name of the term of ``W x_t + b`` that the n-grams give, ``(time, batch, hidden)``.
    """
    history = nodes.add("Transpose", _history(nodes, f"first_state_{config.layers}"), perm=[1, 0])
    tokens = nodes.add("Cast", ids, to=TensorProto.INT64)
    joined = nodes.add("Concat", history, tokens, axis=0)
    last = nodes.add("Slice", joined, "history_start", "sequence_end", "token_axis_0")
    _write_history(nodes, nodes.add("Transpose", last, perm=[1, 0]), f"last_state_{config.layers}")
    return _vectors(nodes, _rows_over_time(nodes, config, joined, tokens, "token_axis_0"), weights, "token_axis_2")


def ngrams_of_texts(nodes: Nodes, config: ModelConfig, weights: Weights, ids: str, steps: str) -> str:
    """Add the nodes of whole texts, which are read in segments.

    Args:
        nodes: nodes of the graph.
        config: configuration of the model.
        weights: weights of the graph.
        ids: name of the tokens, int32 ``(batch, time)``.
        steps: name of the number of steps of a segment, int64 ``(1,)``.

    Returns:
        name of the sum of the vectors of the n-grams that end at each token, ``(steps, segments, embedding)``.
    """
    tokens = nodes.add("Cast", ids, to=TensorProto.INT64)
    rows = _rows_over_time(nodes, config, nodes.add("Pad", tokens, "text_start"), tokens, "token_axis_1")
    shape = nodes.add("Concat", "any", steps, "ngrams_of_token", axis=0)
    by_time = nodes.add("Transpose", nodes.add("Reshape", rows, shape), perm=[1, 0, 2])
    return _vectors(nodes, by_time, weights, "token_axis_2")


def _rows_over_time(nodes: Nodes, config: ModelConfig, joined: str, tokens: str, axis: str) -> str:
    """Add the rows of the n-grams that end at each token, the shortest first in a last axis of n - 1.

    Args:
        nodes: nodes of the graph.
        config: configuration of the model.
        joined: name of the tokens with the n - 1 tokens before them.
        tokens: name of the tokens, int64 ``(time, batch)`` or ``(batch, time)``.
        axis: name of the axis of time.
    """
    sums, rows = nodes.add("Mul", tokens, "row_factor_0"), []
    for back in range(1, config.input_ngrams):
        earlier = nodes.add("Slice", joined, f"start_{back}", f"end_{back}", axis)
        sums = nodes.add("Add", sums, nodes.add("Mul", earlier, f"row_factor_{back}"))
        row = nodes.add("Mod", nodes.add("Mod", nodes.add("Add", sums, f"row_term_{back}"), "row_prime"), "row_count")
        rows.append(nodes.add("Unsqueeze", row, "token_axis_2"))
    return nodes.add("Concat", *rows, axis=2)


def _history(nodes: Nodes, state: str) -> str:
    """Add the tokens read last, int64 ``(batch, n - 1)``, from the last row of a state."""
    return nodes.add(
        "Cast", nodes.add("Slice", state, "token_axis_0", "history_length", "token_axis_1"), to=TensorProto.INT64
    )


def _write_history(nodes: Nodes, last: str, output: str) -> None:
    """Add the last row of a state, from the tokens read last, int64 ``(batch, n - 1)``."""
    nodes.add("Pad", nodes.add("Cast", last, to=TensorProto.FLOAT), "history_room", output=output)


def _vectors(nodes: Nodes, rows: str, weights: Weights, axis: str) -> str:
    """Add the sum of the vectors of rows over an axis, at the width of the first layer."""
    summed = nodes.add("ReduceSum", nodes.add("Gather", "ngrams", rows, axis=0), axis, keepdims=0)
    return nodes.add("MatMul", summed, "ngram_kernel") if "ngram_kernel" in weights else summed
