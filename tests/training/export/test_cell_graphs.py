"""Graphs made of one cell: they read as it steps, and draw as `textrnn.sampling` draws, to the last token."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from textrnn.generation import SPECIAL, forbid
from textrnn.sampling import SamplingOptions, sample
from textrnn.tokenizers import END_ID
from textrnn.training.export.cell_graphs import Nodes, generate_graph, graph_model, step_graph, stepwise_graph, value

Array = NDArray[np.float32]

NEVER_DRAWN = np.array(sorted(SPECIAL), np.int32)


def table_cell(table: Array, bias: Array, layers: int = 1) -> onnx.ModelProto:
    """Logits after a token are its row of a table (vocabulary, vocabulary) and the bias; a state counts the tokens."""
    nodes = Nodes()
    nodes.add("Add", nodes.add("Gather", "table", "ids"), "output_bias", output="logits")
    for layer in range(layers):
        nodes.add("Add", f"state_{layer}", "one", output=f"next_state_{layer}")
    weights = {"table": table, "output_bias": bias, "one": np.ones(1, np.float32)}
    states = [(f"state_{layer}", TensorProto.FLOAT, "batch", 1) for layer in range(layers)]
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch"), *(value(*state) for state in states)],
        [
            value("logits", TensorProto.FLOAT, "batch", len(bias)),
            *(value(f"next_{name}", *shape) for name, *shape in states),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )


def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(graph, full_check=True)
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def drawn_by_numpy(
    table: Array,
    bias: Array,
    ids: NDArray[np.int32],
    given_ids: NDArray[np.int32],
    uniforms: NDArray[np.float64],
    temperature: float,
) -> NDArray[np.int32]:
    tokens = np.empty(uniforms.shape, np.int32)
    for position, draws in enumerate(uniforms):
        drawn = sample(forbid(table[ids] + bias, NEVER_DRAWN), SamplingOptions(temperature=temperature), draws)
        ids = tokens[position] = np.where(given_ids[position] < 0, drawn, given_ids[position])
    return tokens


def drawn_by_graph(
    graph: onnxruntime.InferenceSession,
    ids: NDArray[np.int32],
    given_ids: NDArray[np.int32],
    uniforms: NDArray[np.float64],
    temperature: float,
    layers: int = 1,
) -> tuple[NDArray[np.int32], Array]:
    state = np.zeros((layers, len(ids), 1), np.float32)
    feeds = {"ids": ids, "state": state, "given": given_ids, "uniforms": uniforms}
    tokens, state = graph.run(
        ["tokens", "next_state"], {**feeds, "temperature": np.full(len(ids), temperature, np.float64)}
    )
    return tokens, state


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-3, 0.5, 1, 3])
@pytest.mark.parametrize(("vocabulary_size", "batch"), [(5, 1), (70, 1), (70, 8), (1500, 2)])
def test_tokens_are_drawn_as_numpy_draws_them(vocabulary_size: int, batch: int, temperature: float) -> None:
    random = np.random.default_rng(vocabulary_size + batch)
    rows = min(vocabulary_size, 200)  # a large vocabulary shares rows, to be built quickly
    table = np.resize(random.normal(size=(rows, vocabulary_size)).astype(np.float32) * 3, (vocabulary_size,) * 2)
    bias = random.normal(size=vocabulary_size).astype(np.float32)
    graph = session(generate_graph(table_cell(table, bias), NEVER_DRAWN))
    for steps in (1, 40):
        ids = random.integers(0, vocabulary_size, batch, dtype=np.int32)
        uniforms = random.random((steps, batch))
        none = np.full((steps, batch), -1, np.int32)
        tokens, state = drawn_by_graph(graph, ids, none, uniforms, temperature)
        assert tokens.tolist() == drawn_by_numpy(table, bias, ids, none, uniforms, temperature).tolist()
        assert (state == steps).all()
        assert tokens.min() >= END_ID


# Few and round values, so that many are equal and cumulative weights meet the uniform exactly.
round_logits = st.lists(st.sampled_from([-1e30, -200, -1.0, 0.0, 0.25, 1.0, 60.0]), min_size=6, max_size=6)
round_uniforms = st.sampled_from([0.0, 2**-53, 0.25, 1 / 3, 0.5, 0.75, 1 - 2**-53])


@settings(max_examples=60)
@given(st.lists(round_logits, min_size=6, max_size=6), st.lists(round_uniforms, min_size=1, max_size=6), st.data())
def test_ties_and_borders_too(logits: list[list[float]], draws: list[float], data: st.DataObject) -> None:
    table, bias = np.array(logits, np.float32), np.zeros(6, np.float32)
    temperature = data.draw(st.sampled_from([0, 0.5, 1]))
    uniforms = np.array(draws)[:, None]
    given_ids = np.array([data.draw(st.sampled_from([-1, -1, 0, 2, 5])) for _ in draws], np.int32)[:, None]
    first = np.array([4], np.int32)
    tokens, _ = drawn_by_graph(
        session(generate_graph(table_cell(table, bias), NEVER_DRAWN)), first, given_ids, uniforms, temperature
    )
    assert tokens.tolist() == drawn_by_numpy(table, bias, first, given_ids, uniforms, temperature).tolist()


def test_what_is_given_is_read_in_place_of_what_is_drawn() -> None:
    # After each token the next one follows for sure.
    table = np.where(np.roll(np.eye(9), 1, axis=1) > 0, 50, -50).astype(np.float32)
    graph = session(generate_graph(table_cell(table, np.zeros(9, np.float32)), NEVER_DRAWN))
    given_ids = np.array([[-1, 7], [-1, -1], [4, -1], [-1, 0], [-1, 5]], np.int32)
    tokens, state = drawn_by_graph(graph, np.array([4, 4], np.int32), given_ids, np.full((5, 2), 0.5), 1)
    assert tokens.T.tolist() == [[5, 6, 4, 5, 6], [7, 8, *tokens[2:3, 1].tolist(), 0, 5]]
    assert (state == 5).all()


@pytest.mark.parametrize("damage", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("place", [0, 3, 8])
def test_where_logits_are_not_finite_the_token_is_the_padding(damage: float, temperature: float, place: int) -> None:
    table = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    table[5, place] = damage
    graph = session(generate_graph(table_cell(table, np.zeros(9, np.float32)), NEVER_DRAWN))
    given_ids = np.full((1, 2), -1, np.int32)
    tokens, _ = drawn_by_graph(graph, np.array([5, 6], np.int32), given_ids, np.full((1, 2), 0.5), temperature)
    if np.isnan(damage) or place >= END_ID:
        assert tokens[0, 0] == 0
    assert tokens[0, 1] >= END_ID


@pytest.mark.parametrize("layers", [1, 3])
def test_reading_step_by_step_and_at_once_agree(layers: int) -> None:
    random = np.random.default_rng(2)
    table, bias = random.normal(size=(9, 9)).astype(np.float32), random.normal(size=9).astype(np.float32)
    cell = table_cell(table, bias, layers)
    ids = random.integers(0, 9, (2, 7), dtype=np.int32)
    state = random.normal(size=(layers, 2, 1)).astype(np.float32)
    logits, last = session(stepwise_graph(cell)).run(["logits", "next_state"], {"ids": ids, "state": state})
    np.testing.assert_array_equal(logits, table[ids] + bias)
    np.testing.assert_allclose(last, state + 7, rtol=1e-6)
    step: Any = session(step_graph(cell))
    logits, last = step.run(["logits", "next_state"], {"ids": ids[:, 0], "state": state})
    np.testing.assert_array_equal(logits, table[ids[:, 0]] + bias)
    np.testing.assert_array_equal(last, state + 1)
