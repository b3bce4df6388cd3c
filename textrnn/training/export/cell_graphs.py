"""ONNX graphs built from one step of a network: the step, the step over all tokens of a text, and a generation loop.

A cell is the step as an ONNX graph, with one state per layer:

    ids int32 (batch,), state_0 .. float32 (batch, hidden) -> logits float32 (batch, vocabulary), next_state_0 ..

Its logits end with the addition of the initializer ``output_bias``. The graphs copy its nodes and weights unchanged, in
8 bits too, so that all graphs of one cell compute the same and can share its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Supported by the onnxruntime releases of more than two years (IR 8, opset 17: onnxruntime 1.13).
OPSET = 17
IR_VERSION = 8
LOWEST_TEMPERATURE = 1e-300  # even the smallest negative difference of float32 logits, divided by it, has exp(x) = 0
LOWEST_DRAW = 2.0**-60  # chooses the first maximum; not 0, because exp(-inf) is 1e-308 in older onnxruntimes

AXES = {"axis_0": np.array([0]), "axis_1": np.array([1]), "axis_2": np.array([2]), "second_axis": np.array(1)}


class Nodes:
    """A list of the nodes of a graph, in the order in which they run.

    Args:
        nodes: the first nodes.
        prefix: prefix of new names, because names in the body of a loop must differ from those of the outer graph.
    """

    def __init__(self, nodes: Iterable[onnx.NodeProto] = (), prefix: str = "") -> None:
        self.nodes = list(nodes)
        self.prefix = prefix

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return its name, by default made from operator and position."""
        name = output or f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        self.append(operator, inputs, [name], **attributes)
        return name

    def append(self, operator: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: Any) -> None:
        """Append a node with any number of outputs."""
        names = list(outputs)
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))

    def split_state(self, layers: Iterable[str]) -> None:
        """Split the input ``state`` (layers, batch, hidden) into the named states (batch, hidden) of the layers."""
        names = list(layers)
        self.append("Split", ["state"], [f"{name}_slice" for name in names], axis=0)
        for name in names:
            self.add("Squeeze", f"{name}_slice", "axis_0", output=name)

    def join_state(self, layers: Iterable[str]) -> None:
        """Join the named states of the layers into the output ``next_state``."""
        self.add("Concat", *[self.add("Unsqueeze", name, "axis_0") for name in layers], output="next_state", axis=0)


def value(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    """Return an input or output of a graph; a dimension is a number or the name of a free dimension."""
    return helper.make_tensor_value_info(name, dtype, shape)


def layer_states(name: str, layers: int, hidden: int) -> list[onnx.ValueInfoProto]:
    """Return the states (batch, hidden) of the layers as inputs or outputs ``name_0``, ``name_1``, ..."""
    return [value(f"{name}_{layer}", TensorProto.FLOAT, "batch", hidden) for layer in range(layers)]


def graph_model(
    nodes: Nodes,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: Iterable[onnx.TensorProto],
    constants: Mapping[str, NDArray[Any]] = AXES,
) -> onnx.ModelProto:
    """Build a model from the nodes, with only the weights and constants that a node reads."""
    tensors = [*weights, *(numpy_helper.from_array(array, name) for name, array in constants.items())]
    read = _names_read(nodes.nodes)
    return helper.make_model(
        helper.make_graph(
            nodes.nodes, "textrnn", inputs, outputs, [tensor for tensor in tensors if tensor.name in read]
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="textrnn",
    )


def step_graph(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Build the graph of one token.

    Inputs: ids ``(batch,)``, state ``(layers, batch, hidden)``. Outputs: logits ``(batch, vocabulary)``, next_state.
    """
    layers, hidden, vocabulary_size = _sizes(cell)
    nodes = Nodes()
    nodes.split_state(f"state_{layer}" for layer in range(layers))
    nodes.nodes += cell.graph.node
    nodes.join_state(f"next_state_{layer}" for layer in range(layers))
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch"), value("state", TensorProto.FLOAT, layers, "batch", hidden)],
        [
            value("logits", TensorProto.FLOAT, "batch", vocabulary_size),
            value("next_state", TensorProto.FLOAT, layers, "batch", hidden),
        ],
        cell.graph.initializer,
    )


def stepwise_graph(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Build the graph of many tokens, read one after another.

    It is `step_graph` with ids ``(batch, time)`` and logits ``(batch, time, vocabulary)``.
    """
    layers, hidden, vocabulary_size = _sizes(cell)
    nodes = Nodes()
    nodes.split_state(f"first_state_{layer}" for layer in range(layers))
    nodes.append(
        "Scan",
        [*(f"first_state_{layer}" for layer in range(layers)), nodes.add("Transpose", "ids", perm=[1, 0])],
        [*(f"last_state_{layer}" for layer in range(layers)), "logits_by_time"],
        body=helper.make_graph(
            _inside(cell).nodes,
            "read",
            [*_states(cell, "cell_state"), value("cell_ids", TensorProto.INT32, "batch")],
            [*_states(cell, "cell_next_state"), value("cell_logits", TensorProto.FLOAT, "batch", vocabulary_size)],
        ),
        num_scan_inputs=1,
    )
    nodes.add("Transpose", "logits_by_time", output="logits", perm=[1, 0, 2])
    nodes.join_state(f"last_state_{layer}" for layer in range(layers))
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch", "time"), value("state", TensorProto.FLOAT, layers, "batch", hidden)],
        [
            value("logits", TensorProto.FLOAT, "batch", "time", vocabulary_size),
            value("next_state", TensorProto.FLOAT, layers, "batch", hidden),
        ],
        cell.graph.initializer,
    )


def generate_graph(cell: onnx.ModelProto, never_drawn: NDArray[np.int32]) -> onnx.ModelProto:
    """Build the graph that generates tokens: it draws each token as `textrnn.sampling.choose` does, then reads it.

    Inputs: ids int32 ``(batch,)``, read first; state float32 ``(layers, batch, hidden)``; given int32 ``(steps,
    batch)``, forced tokens, -1 where the graph draws; uniforms float64 ``(steps, batch)`` in [0, 1); temperature
    float64 ``(batch,)``, 0 for the most probable token. Outputs: tokens int32 ``(steps, batch)``; next_state, which
    does not include the last token. Tokens are drawn in float64.

    The tokens `never_drawn` (`textrnn.generation.untrained`) are never drawn. If logits are not finite, the token is 0,
    the padding.
    """
    body = _inside(cell, {"output_bias": "writing_bias"})
    logits = body.add("Cast", "cell_logits", to=TensorProto.DOUBLE)
    return _drawing_graph(cell, never_drawn, Nodes(), body, _weights(body, logits, logits))


def filtered_graph(cell: onnx.ModelProto, never_drawn: NDArray[np.int32]) -> onnx.ModelProto:
    """Build `generate_graph` with top-k, top-p and min-p, which keep the tokens that `textrnn.sampling.sample` keeps.

    Inputs: those of `generate_graph`, and of each text top_k int32 ``(batch,)``, 0 for all tokens; top_p float64
    ``(batch,)``; min_p float64 ``(batch,)``. At least one token must be `never_drawn`.

    The highest logits are sorted, as many as the text that keeps most of them needs. Their weights go back to the
    places of their ids, because ids share the interval of a draw in ascending order.
    """
    nodes, vocabulary_size = Nodes(prefix="outer_"), _sizes(cell)[2]
    top_k = nodes.add("Cast", "top_k", to=TensorProto.INT64)
    # The token of the last rank is never drawn. Therefore the weights before it are all weights.
    limited = nodes.add("Min", top_k, "last_rank")
    limit = nodes.add("Where", nodes.add("Less", top_k, "one_rank"), "last_rank", limited)
    nodes.add("Add", nodes.add("ReduceMax", limit, axes=[0], keepdims=1), "one_rank", output="ranks")
    for name, output in ((limit, "limit"), ("top_p", "share"), ("min_p", "lowest")):
        nodes.add("Unsqueeze", name, "axis_1", output=output)
    shape = nodes.add("Concat", nodes.add("Shape", "top_k"), "vocabulary_size", axis=0)
    nodes.add("ConstantOfShape", shape, output="nothing", value=numpy_helper.from_array(np.zeros(1)))

    body = _inside(cell, {"output_bias": "writing_bias"})
    logits = body.add("Cast", "cell_logits", to=TensorProto.DOUBLE)
    body.append("TopK", [logits, "ranks"], ["ranked", "ranked_ids"], axis=1)
    weights = _weights(body, "ranked", logits)
    before = body.add("CumSum", weights, "second_axis", exclusive=1)
    # The total is that before rank k: what lies behind the k highest is not below any share of it.
    enough = body.add("Mul", body.add("GatherElements", before, "limit", axis=1), "share")
    # No comparison with NaN is true. So NaN is kept, and the token is the padding.
    dropped = body.add("Or", body.add("GreaterOrEqual", before, enough), body.add("Less", weights, "lowest"))
    kept = body.add("Where", dropped, "no_weight", weights)
    return _drawing_graph(
        cell,
        never_drawn,
        nodes,
        body,
        body.add("ScatterElements", "nothing", "ranked_ids", kept, axis=1),
        [
            value("top_k", TensorProto.INT32, "batch"),
            value("top_p", TensorProto.DOUBLE, "batch"),
            value("min_p", TensorProto.DOUBLE, "batch"),
        ],
        {
            "one_rank": np.array([1]),
            "last_rank": np.array([vocabulary_size - 1]),
            "vocabulary_size": np.array([vocabulary_size]),
            "no_weight": np.array(0.0),
        },
    )


def _weights(body: Nodes, logits: str, all_logits: str) -> str:
    """Add the weights of `textrnn.sampling.choose` of logits, all of them or some."""
    shifted = body.add("Sub", logits, body.add("ReduceMax", all_logits, axes=[1], keepdims=1))
    return body.add("Exp", body.add("Div", shifted, "divisor"))


def _drawing_graph(
    cell: onnx.ModelProto,
    never_drawn: NDArray[np.int32],
    nodes: Nodes,
    body: Nodes,
    weights: str,
    inputs: Iterable[onnx.ValueInfoProto] = (),
    constants: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> onnx.ModelProto:
    """Return the graph that draws tokens in a loop.

    Args:
        cell: one step of the network.
        never_drawn: as in `generate_graph`.
        nodes: the first nodes before the loop.
        body: nodes of the loop that read a token and compute `weights`.
        weights: name of the weights ``(batch, vocabulary)`` of the tokens, 0 where a token may not be drawn.
        inputs: inputs beside those of `generate_graph`.
        constants: constants of `nodes` and `body`.
    """
    layers, hidden, _ = _sizes(cell)
    nodes.split_state(f"first_state_{layer}" for layer in range(layers))
    # Work for all steps at once is outside the loop, because each node inside costs time at every step.
    divisor = nodes.add("Max", "temperature", "lowest_temperature")
    nodes.add("Unsqueeze", divisor, "axis_1", output="divisor")
    draws = nodes.add("Where", nodes.add("Less", "temperature", divisor), "lowest_draw", "uniforms")
    # Where a token is given, a negative draw yields token 0, to which the given token is added.
    draws = nodes.add("Where", nodes.add("Less", "given", "no_token"), draws, "no_draw")
    given = nodes.add("Max", "given", "no_token")
    nodes.append(
        "Scan",
        ["ids", *(f"first_state_{layer}" for layer in range(layers)), nodes.add("Unsqueeze", draws, "axis_2"), given],
        ["last_ids", *(f"last_state_{layer}" for layer in range(layers)), "drawn_tokens"],
        body=_draw_and_read(cell, body, weights),
        num_scan_inputs=2,
    )
    nodes.add("Add", "drawn_tokens", given, output="tokens")
    nodes.join_state(f"last_state_{layer}" for layer in range(layers))
    bias = next(tensor for tensor in cell.graph.initializer if tensor.name == "output_bias")
    writing_bias = numpy_helper.to_array(bias).copy()
    writing_bias[never_drawn] = -np.inf
    return graph_model(
        nodes,
        [
            value("ids", TensorProto.INT32, "batch"),
            value("state", TensorProto.FLOAT, layers, "batch", hidden),
            value("given", TensorProto.INT32, "steps", "batch"),
            value("uniforms", TensorProto.DOUBLE, "steps", "batch"),
            value("temperature", TensorProto.DOUBLE, "batch"),
            *inputs,
        ],
        [
            value("tokens", TensorProto.INT32, "steps", "batch"),
            value("next_state", TensorProto.FLOAT, layers, "batch", hidden),
        ],
        [*cell.graph.initializer, numpy_helper.from_array(writing_bias, "writing_bias")],
        {
            **AXES,
            "last": np.array([-1]),
            "lowest_temperature": np.array(LOWEST_TEMPERATURE),
            "lowest_draw": np.array(LOWEST_DRAW),
            "no_draw": np.array(-1.0),
            "no_token": np.array(0, np.int32),
            **constants,
        },
    )


def _draw_and_read(cell: onnx.ModelProto, nodes: Nodes, weights: str) -> onnx.GraphProto:
    """Return the body of the loop: it reads a token and draws the next, with weights of `_drawing_graph`."""
    cumulative = nodes.add("CumSum", weights, "second_axis")
    threshold = nodes.add("Mul", nodes.add("Gather", cumulative, "last", axis=1), "draw")
    # The comparison is false for NaN, so NaN counts nothing.
    below = nodes.add("Cast", nodes.add("LessOrEqual", cumulative, threshold), to=TensorProto.INT32)
    nodes.add("ReduceSum", below, "axis_1", output="drawn", keepdims=0)
    nodes.add("Add", "drawn", "given_here", output="token")
    return helper.make_graph(
        nodes.nodes,
        "write",
        [
            value("cell_ids", TensorProto.INT32, "batch"),
            *_states(cell, "cell_state"),
            value("draw", TensorProto.DOUBLE, "batch", 1),
            value("given_here", TensorProto.INT32, "batch"),
        ],
        [
            value("token", TensorProto.INT32, "batch"),
            *_states(cell, "cell_next_state"),
            value("drawn", TensorProto.INT32, "batch"),
        ],
    )


def _inside(cell: onnx.ModelProto, renamed: Mapping[str, str] | None = None) -> Nodes:
    """Return the cell's nodes for the body of a loop.

    All names but those of weights are changed, because they must differ from the names of the outer graph.
    """
    own = [*(entry.name for entry in cell.graph.input), *(name for node in cell.graph.node for name in node.output)]
    names = {name: f"cell_{name}" for name in own} | dict(renamed or {})
    nodes = []
    for node in cell.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        copy.output[:] = [names.get(name, name) for name in node.output]
        copy.name = copy.output[0]
        nodes.append(copy)
    return Nodes(nodes)


def _states(cell: onnx.ModelProto, name: str) -> list[onnx.ValueInfoProto]:
    layers, hidden, _ = _sizes(cell)
    return layer_states(name, layers, hidden)


def _sizes(cell: onnx.ModelProto) -> tuple[int, int, int]:
    """Return the number of layers, the hidden size and the vocabulary size."""
    _, first, *others = cell.graph.input
    logits = cell.graph.output[0]
    hidden, vocabulary_size = (entry.type.tensor_type.shape.dim[1].dim_value for entry in (first, logits))
    return 1 + len(others), hidden, vocabulary_size


def _names_read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Return every name that a node reads, including nodes in the bodies of loops."""
    names: set[str] = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            names |= _names_read(attribute.g.node)
    return names
