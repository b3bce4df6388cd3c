"""Check of the graphs that draw tokens: they draw what `textrnn.sampling` draws from the logits of the step graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.generation import forbid
from textrnn.runtime.sessions import Sessions
from textrnn.sampling import SamplingOptions, sample
from textrnn.tokenizers.base import END_ID
from textrnn.training.export.exporter import relative, run_graph

TOKENS = 64  # of each text
OPTIONS = {  # of each text, by the use of the graph
    "generate": (SamplingOptions(temperature=0.8),) * 3,
    "filtered": (
        SamplingOptions(temperature=0.8, top_k=3),
        SamplingOptions(top_p=0.7),
        SamplingOptions(temperature=1.2, top_k=20, top_p=0.9, min_p=0.1),
    ),
}

Array = NDArray[np.float32]


def compare_drawn_tokens(
    graphs: Sessions,
    never_drawn: NDArray[np.int32],
    zero_state: Callable[[int], Array],
    layers: int,
    tolerance: float,
) -> float:
    """Compare graphs that draw with `textrnn.sampling`.

    Three texts are written, a part of each given. A token is right if it is drawn for a uniform within the tolerance of
    the one that was used, or if the filters keep one token more or less: where that lies on the border of two tokens, a
    last digit may decide.

    Args:
        graphs: the graphs.
        never_drawn: ids that are never drawn.
        zero_state: function that returns the state before so many texts, float32 ``(rows, texts, hidden)``.
        layers: rows of the state that are states of layers; the others hold tokens.
        tolerance: largest difference of a probability, and of a state.

    Returns:
        the largest difference of a state.

    Raises:
        UserError: another token is drawn, one that was given is not taken, or the states differ by more.
    """
    return max(_compare(graphs, use, never_drawn, zero_state(len(OPTIONS[use])), layers, tolerance) for use in OPTIONS)


def _compare(
    graphs: Sessions, use: str, never_drawn: NDArray[np.int32], state: Array, layers: int, tolerance: float
) -> float:
    options = OPTIONS[use]
    generator = np.random.default_rng(1)
    ids = np.full(len(options), END_ID, np.int32)
    uniforms = generator.random((TOKENS, len(options)))
    given = np.full(uniforms.shape, -1, np.int32)
    given[:10] = END_ID + 1
    feeds: dict[str, NDArray[Any]] = {
        "ids": ids,
        "state": state,
        "given": given,
        "uniforms": uniforms,
        "temperature": np.array([each.temperature for each in options], np.float64),
        "top_k": np.array([each.top_k for each in options], np.int32),
        "top_p": np.array([each.top_p for each in options], np.float64),
        "min_p": np.array([each.min_p for each in options], np.float64),
    }
    graph, step = graphs(use), graphs("step")
    tokens, last_state = run_graph(graph, *(feeds[each.name] for each in graph.get_inputs()))
    for position, drawn in enumerate(tokens):
        logits, state = run_graph(step, ids, state)
        ids = drawn
        allowed = forbid(logits, never_drawn)
        for row, token in enumerate(drawn.tolist()):
            if given[position, row] >= 0:
                right = {int(given[position, row])}
            else:
                right = set(_right_tokens(allowed[row : row + 1], options[row], uniforms[position, row], tolerance))
            if not min(right) <= token <= max(right):
                raise UserError(
                    f"an exported graph must draw token {min(right)} as the step graph says, drew {token}; nothing was"
                    " written, install the versions of constraints.txt"
                )
    difference = state_difference(last_state, state, layers)
    if not difference <= tolerance:
        raise UserError(
            f"an exported graph must end in the state of the step graph within {tolerance:g}, differed by"
            f" {difference:g}; nothing was written, install the versions of constraints.txt"
        )
    return difference


def state_difference(state: Array, expected: Array, layers: int) -> float:
    """Return the largest difference of the states of layers; infinity if the tokens read last differ."""
    if not np.array_equal(state[layers:], expected[layers:]):
        return float("inf")
    return relative(state[:layers] - expected[:layers], expected[:layers])


def _right_tokens(
    logits: NDArray[np.float64], options: SamplingOptions, uniform: float, tolerance: float
) -> Iterator[int]:
    """Yield the tokens of a row ``(1, vocabulary)`` for a uniform and options within the tolerance."""
    uniforms = np.clip([uniform - tolerance, uniform + tolerance], 0, 1 - 1e-9)
    near = (
        replace(
            options,
            top_k=max(options.top_k + sign, 1) if options.top_k else 0,
            top_p=float(np.clip(options.top_p + sign * tolerance, 1e-9, 1)) if options.top_p < 1 else 1.0,
            min_p=float(np.clip(options.min_p * (1 - sign * tolerance), 0, 1)),
        )
        for sign in (-1, 0, 1)
    )
    for each in dict.fromkeys(near):  # without filters they are the same
        yield from map(int, sample(np.repeat(logits, 2, axis=0), each, uniforms))
