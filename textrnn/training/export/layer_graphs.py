"""The equations of a layer as ONNX nodes: ``h_t = f(W x_t + U h_{t-1} + b)``, ``o_t = g(V h_t + c)``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from textrnn.config import ModelConfig
from textrnn.training.export.cell_graphs import Nodes, value
from textrnn.training.network.layer_output import NORMALIZATION_EPSILON

OPERATORS = {"tanh": "Tanh", "relu": "Relu", "linear": "Identity"}

Array = NDArray[np.float32]


def next_state(
    nodes: Nodes, config: ModelConfig, layer: int, state: str, projected: str, output: str, prefix: str = ""
) -> str:
    """Add ``f(W x + b + U h)`` of a layer for one time step; return its name.

    Args:
        nodes: nodes of the graph.
        config: configuration of the model.
        layer: number of the layer, from 0.
        state: name of ``h``, ``(batch, hidden)``.
        projected: name of ``W x + b``, ``(batch, hidden)``.
        output: name of the result.
        prefix: prefix of the names of the layer's weights.
    """
    if config.recurrence == "dense":
        carried = nodes.add("MatMul", state, f"{prefix}recurrent_kernel_{layer}")
    else:
        carried = nodes.add("Mul", state, f"{prefix}recurrent_{layer}")
    if config.recurrence == "rotation":
        halves = [f"{prefix}{half}_{layer}" for half in ("first_half", "second_half")]
        nodes.append("Split", [state], halves, axis=-1)
        swapped = nodes.add("Concat", *reversed(halves), axis=-1)
        carried = nodes.add("Add", carried, nodes.add("Mul", swapped, f"{prefix}crossed_{layer}"))
    return nodes.add(OPERATORS[config.activation], nodes.add("Add", projected, carried), output=output)


def layer_over_time(
    nodes: Nodes,
    config: ModelConfig,
    layer: int,
    first_state: str,
    projected: str,
    last_state: str,
    prefix: str = "",
    backward: bool = False,
) -> str:
    """Add the loop of one layer over time; return the name of its states, ``(time, batch, hidden)``.

    Args:
        nodes: nodes of the graph.
        config: configuration of the model.
        layer: number of the layer, from 0.
        first_state: name of the state before the loop, ``(batch, hidden)``.
        projected: name of ``W x + b``, ``(time, batch, hidden)``.
        last_state: name for the state after the loop.
        prefix: prefix of the names of the layer's weights.
        backward: whether the loop runs from the end; the states are in the order of time all the same.
    """
    here = {name: f"{prefix}{name}_{layer}" for name in ("state", "projected", "next_state", "states")}
    body = Nodes(prefix=f"{prefix}loop_{layer}_")
    state = next_state(body, config, layer, here["state"], here["projected"], here["next_state"], prefix)
    body.add("Identity", state, output=f"{here['state']}_here")
    names = (here["state"], here["projected"], state, f"{here['state']}_here")
    previous, inputs, *outputs = (value(name, TensorProto.FLOAT, "rows", config.hidden_dim) for name in names)
    nodes.append(
        "Scan",
        [first_state, projected],
        [last_state, here["states"]],
        body=helper.make_graph(body.nodes, f"{prefix}layer_{layer}", [previous, inputs], outputs),
        num_scan_inputs=1,
        scan_input_directions=[int(backward)],
        scan_output_directions=[int(backward)],
    )
    return here["states"]


def pooled_over_time(
    nodes: Nodes, config: ModelConfig, zeros: str, projected: Mapping[str, str], real: str, largest: bool
) -> tuple[list[str], list[str]]:
    """Add one loop of the last layer over time, in one direction or both, that pools its states as it reads.

    No state is written to memory but the last, and both directions share the steps of the loop.

    Args:
        nodes: nodes of the graph, which has the constants ``one`` and ``lowest``.
        config: configuration of the model.
        zeros: name of zeros, ``(rows, hidden)``.
        projected: names of ``W x + b``, ``(time, rows, hidden)``, by the prefix of the direction's weights: the empty
            one reads from the start, the other from the end.
        real: name of ones, and zeros where padding is read, float32 ``(time, rows, 1)``.
        largest: whether maxima are needed.

    Returns:
        names of the sums of the states, ``(rows, hidden)``, and of their maxima, for each direction. The maximum over
        no states is 0 with ReLU, else ``lowest``.
    """
    layer = config.layers - 1
    body = Nodes(prefix="pool_")
    is_bounded = config.activation == "relu"  # by 0, which is what padding is multiplied to
    read = [(projected[prefix], prefix, "projected") for prefix in projected]
    read += [(real, prefix, "real") for prefix in projected]
    if largest and not is_bounded:
        below = nodes.add("Mul", nodes.add("Sub", "one", real), "lowest")
        read += [(below, prefix, "below") for prefix in projected]
    carried: list[tuple[str, str, str, str]] = []  # names before the loop, inside before and after, and after it
    sums, maxima = [], []
    for prefix in projected:
        before, kept = f"{prefix}pool_state", f"{prefix}pool_next_state"
        state = next_state(body, config, layer, before, f"{prefix}pool_projected", f"{prefix}pool_new", prefix)
        body.add("Mul", state, f"{prefix}pool_real", output=kept)
        carried.append((zeros, before, kept, f"{prefix}pool_last_state"))
        total = body.add("Add", f"{prefix}pool_sum", kept, output=f"{prefix}pool_next_sum")
        carried.append((zeros, f"{prefix}pool_sum", total, f"{prefix}pool_all_sum"))
        sums.append(carried[-1][-1])
        if largest:
            counted = kept if is_bounded else body.add("Add", kept, f"{prefix}pool_below")
            top = body.add("Max", f"{prefix}pool_largest", counted, output=f"{prefix}pool_next_largest")
            start = zeros if is_bounded else nodes.add("Add", zeros, "lowest")
            carried.append((start, f"{prefix}pool_largest", top, f"{prefix}pool_all_largest"))
            maxima.append(carried[-1][-1])
    directions = [int(prefix != "") for _, prefix, _ in read]
    inputs = [value(name, TensorProto.FLOAT, "rows", config.hidden_dim) for _, name, _, _ in carried]
    for _, prefix, what in read:
        width = config.hidden_dim if what == "projected" else 1
        inputs.append(value(f"{prefix}pool_{what}", TensorProto.FLOAT, "rows", width))
    outputs = [value(name, TensorProto.FLOAT, "rows", config.hidden_dim) for _, _, name, _ in carried]
    nodes.append(
        "Scan",
        [*(first for first, _, _, _ in carried), *(sequence for sequence, _, _ in read)],
        [last for _, _, _, last in carried],
        body=helper.make_graph(body.nodes, "pool", inputs, outputs),
        num_scan_inputs=len(read),
        scan_input_directions=directions,
    )
    return sums, maxima


def join(nodes: Nodes, config: ModelConfig, layer: int, below: str, state: str, prefix: str = "") -> str:
    """Add mixing, residual connection and normalisation; return the name of what the next layer reads."""
    output = state
    if config.mixing != "none":
        product = nodes.add("MatMul", state, f"{prefix}mixing_kernel_{layer}")
        output = nodes.add("Add", product, f"{prefix}mixing_bias_{layer}")
        if config.mixing == "relu":
            output = nodes.add("Relu", output)
        else:
            halves = [f"{prefix}{part}_{layer}" for part in ("mixed", "gate")]
            nodes.append("Split", [output], halves, axis=-1)
            output = nodes.add("Mul", halves[0], nodes.add("Sigmoid", halves[1]))
    if config.normalization == "layer":
        raised = output if not layer or not config.residual else nodes.add("Add", f"{prefix}sum_{layer - 1}", output)
        nodes.add("Identity", raised, output=f"{prefix}sum_{layer}")
        return nodes.add(
            "LayerNormalization",
            f"{prefix}sum_{layer}",
            f"{prefix}gain_{layer}",
            f"{prefix}shift_{layer}",
            axis=-1,
            epsilon=NORMALIZATION_EPSILON,
        )
    return nodes.add("Add", below, output) if layer and config.residual else output


def tensors(weights: Mapping[str, Array]) -> list[onnx.TensorProto]:
    """Return weights as initializers of a graph."""
    return [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
