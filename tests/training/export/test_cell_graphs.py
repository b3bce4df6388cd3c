"""Graphs made of one cell: they read as it steps, and draw as `textrnn.sampling` draws, to the last token."""

from __future__ import annotations

from collections.abc import Callable
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
from textrnn.training.export.cell_graphs import (
    Nodes,
    filtered_graph,
    generate_graph,
    graph_model,
    step_graph,
    stepwise_graph,
    value,
)

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
    *options: SamplingOptions,
) -> NDArray[np.int32]:
    """The tokens of texts that all have the same options, or each its own."""
    tokens = np.empty(uniforms.shape, np.int32)
    for position, draws in enumerate(uniforms):
        allowed = forbid(table[ids] + bias, NEVER_DRAWN)
        drawn = sample(allowed, options[0], draws)
        if len(options) > 1:
            rows = (slice(row, row + 1) for row in range(len(ids)))
            drawn = np.concatenate([sample(allowed[row], options[row.start], draws[row]) for row in rows])
        ids = tokens[position] = np.where(given_ids[position] < 0, drawn, given_ids[position])
    return tokens


def drawn_by_graph(
    graph: onnxruntime.InferenceSession,
    ids: NDArray[np.int32],
    given_ids: NDArray[np.int32],
    uniforms: NDArray[np.float64],
    *options: SamplingOptions,
) -> tuple[NDArray[np.int32], Array]:
    options = options if len(options) > 1 else options * len(ids)
    feeds = {"ids": ids, "state": np.zeros((1, len(ids), 1), np.float32), "given": given_ids, "uniforms": uniforms}
    for entry in graph.get_inputs()[len(feeds) :]:
        dtype = np.int32 if entry.name == "top_k" else np.float64
        feeds[entry.name] = np.array([getattr(each, entry.name) for each in options], dtype)
    tokens, state = graph.run(["tokens", "next_state"], feeds)
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
        options = SamplingOptions(temperature=temperature)
        tokens, state = drawn_by_graph(graph, ids, none, uniforms, options)
        assert tokens.tolist() == drawn_by_numpy(table, bias, ids, none, uniforms, options).tolist()
        assert (state == steps).all()
        assert tokens.min() >= END_ID


# Few and round values, so that many are equal and cumulative weights meet the uniform exactly.
round_logits = st.lists(st.sampled_from([-1e30, -200, -1.0, 0.0, 0.25, 1.0, 60.0]), min_size=6, max_size=6)
round_uniforms = st.sampled_from([0.0, 2**-53, 0.25, 1 / 3, 0.5, 0.75, 1 - 2**-53])


@settings(max_examples=60)
@given(st.lists(round_logits, min_size=6, max_size=6), st.lists(round_uniforms, min_size=1, max_size=6), st.data())
def test_ties_and_borders_too(logits: list[list[float]], draws: list[float], data: st.DataObject) -> None:
    table, bias = np.array(logits, np.float32), np.zeros(6, np.float32)
    options = SamplingOptions(temperature=data.draw(st.sampled_from([0, 0.5, 1])))
    uniforms = np.array(draws)[:, None]
    given_ids = np.array([data.draw(st.sampled_from([-1, -1, 0, 2, 5])) for _ in draws], np.int32)[:, None]
    first = np.array([4], np.int32)
    tokens, _ = drawn_by_graph(
        session(generate_graph(table_cell(table, bias), NEVER_DRAWN)), first, given_ids, uniforms, options
    )
    assert tokens.tolist() == drawn_by_numpy(table, bias, first, given_ids, uniforms, options).tolist()


FILTERS = (
    SamplingOptions(top_k=1),
    SamplingOptions(top_k=3, temperature=0.5),
    SamplingOptions(top_k=2000),
    SamplingOptions(top_p=0.3, temperature=2),
    SamplingOptions(top_p=0.95),
    SamplingOptions(min_p=0.2),
    SamplingOptions(min_p=1, top_p=0.5),
    SamplingOptions(top_k=20, top_p=0.9, min_p=0.01, temperature=0.8),
    SamplingOptions(top_k=4, top_p=0.5, temperature=0),
    SamplingOptions(),
)


@pytest.mark.parametrize(("vocabulary_size", "repeated"), [(5, 1), (70, 1), (70, 3), (1500, 1)])
def test_filters_keep_what_numpy_keeps(vocabulary_size: int, repeated: int) -> None:
    random = np.random.default_rng(vocabulary_size + repeated)
    rows = min(vocabulary_size, 200)
    table = np.resize(random.normal(size=(rows, vocabulary_size)).astype(np.float32) * 3, (vocabulary_size,) * 2)
    bias = random.normal(size=vocabulary_size).astype(np.float32)
    graph = session(filtered_graph(table_cell(table, bias), NEVER_DRAWN))
    options = FILTERS * repeated
    ids = random.integers(0, vocabulary_size, len(options), dtype=np.int32)
    uniforms = random.random((40, len(options)))
    given_ids = np.where(random.random(uniforms.shape) < 0.1, END_ID, -1).astype(np.int32)
    tokens, state = drawn_by_graph(graph, ids, given_ids, uniforms, *options)
    assert tokens.tolist() == drawn_by_numpy(table, bias, ids, given_ids, uniforms, *options).tolist()
    assert (state == 40).all()
    for row, own in enumerate(options):  # a text alone is the text beside others
        alone, _ = drawn_by_graph(graph, ids[[row]], given_ids[:, [row]], uniforms[:, [row]], own)
        assert alone[:, 0].tolist() == tokens[:, row].tolist()


# Not 0: a token whose weight is lost in the rounding of their sum is drawn by numpy at 0, and never by the graph.
@settings(max_examples=60)
@given(
    logits=st.lists(round_logits, min_size=6, max_size=6),
    draws=st.lists(round_uniforms.filter(bool), min_size=1, max_size=6),
    options=st.lists(
        st.builds(
            SamplingOptions,
            temperature=st.sampled_from([0, 0.5, 1]),
            top_k=st.integers(0, 7),
            top_p=st.sampled_from([0.25, 1 / 3, 0.5, 0.75, 1]),
            min_p=st.sampled_from([0, 0.01, 0.5, 1]),
        ),
        min_size=2,
        max_size=4,
    ),
)
def test_ties_and_borders_of_filters_too(
    logits: list[list[float]], draws: list[float], options: list[SamplingOptions]
) -> None:
    table, bias = np.array(logits, np.float32), np.zeros(6, np.float32)
    uniforms = np.repeat(np.array(draws)[:, None], len(options), axis=1)
    none, first = np.full(uniforms.shape, -1, np.int32), np.full(len(options), 4, np.int32)
    graph = session(filtered_graph(table_cell(table, bias), NEVER_DRAWN))
    tokens, _ = drawn_by_graph(graph, first, none, uniforms, *options)
    assert tokens.tolist() == drawn_by_numpy(table, bias, first, none, uniforms, *options).tolist()


def test_what_is_given_is_read_in_place_of_what_is_drawn() -> None:
    # After each token the next one follows for sure.
    table = np.where(np.roll(np.eye(9), 1, axis=1) > 0, 50, -50).astype(np.float32)
    graph = session(generate_graph(table_cell(table, np.zeros(9, np.float32)), NEVER_DRAWN))
    given_ids = np.array([[-1, 7], [-1, -1], [4, -1], [-1, 0], [-1, 5]], np.int32)
    tokens, state = drawn_by_graph(
        graph, np.array([4, 4], np.int32), given_ids, np.full((5, 2), 0.5), SamplingOptions()
    )
    assert tokens.T.tolist() == [[5, 6, 4, 5, 6], [7, 8, *tokens[2:3, 1].tolist(), 0, 5]]
    assert (state == 5).all()


@pytest.mark.parametrize("damage", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize("build", [generate_graph, filtered_graph])
def test_where_logits_are_not_finite_the_token_is_the_padding(
    build: Callable[[onnx.ModelProto, NDArray[np.int32]], onnx.ModelProto],
    damage: float,
    temperature: float,
    place: int,
) -> None:
    table = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    table[5, place] = damage
    graph = session(build(table_cell(table, np.zeros(9, np.float32)), NEVER_DRAWN))
    ids, given_ids, uniforms = np.array([5, 6], np.int32), np.full((1, 2), -1, np.int32), np.full((1, 2), 0.5)
    for top_k in (0, 1) if build is filtered_graph else (0,):
        options = SamplingOptions(temperature=temperature, top_k=top_k)
        tokens, _ = drawn_by_graph(graph, ids, given_ids, uniforms, options)
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
