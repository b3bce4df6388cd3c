"""Weights in 8 bits, in the two ways that the graphs of a bundle need.

`dynamically_quantized` is for the step of a language model: products of int8 are faster there, and activations are
quantised as they come, each row of a batch by itself. `stored_in_8_bits` is for graphs of whole sequences: only the
weights are int8 and they are read as float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from textrnn.training.export.cell_graphs import Nodes
from textrnn.training.export.graph_files import LARGE

TABLES = ("embedding", "ngrams")  # of which rows are read
SMALLEST = 1e-12  # maximum of a row of zeros, which may not be divided by


def dynamically_quantized(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the weights of Gather and MatMul as int8: onnxruntime's dynamic quantisation, a row each."""
    # Without this mark onnxruntime warns that the graph was not simplified first, which it need not be.
    helper.set_model_props(cell, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, _root_logger_restored():
        target = Path(name) / "int8.onnx"
        quantize_dynamic(
            cell,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            # Processors without VNNI add two products of 8 bits in 16: weights of 7 bits cannot overflow there.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return _with_rows_apart(onnx.load(target))


def _with_rows_apart(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph in which a row of a batch is quantised without regard to the others.

    onnxruntime quantises activations with one scale for the whole batch, which would make a text depend on those
    generated with it. Here the scale is that of each row, in 8 bits around 128. Outputs of tanh and the states that
    hold them lie between -1 and 1, so that theirs is a constant, which is faster.

    A product is multiplied by the scales of its columns and then by those of its rows: where both are multiplied first,
    onnxruntime 1.32 takes the scales of rows for one scale of the whole product.
    """
    written = {name: node for node in cell.graph.node for name in node.output}

    def is_of_tanh(name: str) -> bool:
        node = written.get(f"next_{name}" if name.startswith("state_") else name)
        return node is not None and node.op_type == "Tanh"

    nodes = Nodes(prefix="row_")
    renamed: dict[str, str] = {}
    scales_of_rows = set[str]()
    rows_of: dict[str, str] = {}  # the scales of rows, by the name of the product of both scales
    for node in cell.graph.node:
        if node.op_type == "Mul" and node.input[0] in scales_of_rows:
            rows_of[node.output[0]], renamed[node.output[0]] = node.input
            continue
        if node.op_type != "DynamicQuantizeLinear":
            rows = [rows_of[name] for name in node.input if name in rows_of]
            node.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.nodes.append(node)
            if rows:
                product = node.output[0]
                node.output[0] = f"{product}_of_rows"
                nodes.add("Mul", node.output[0], rows[0], output=product)
            continue
        (values,), (quantized, scale, zero_point) = node.input, node.output
        renamed[zero_point] = "row_middle"
        if is_of_tanh(values):
            renamed[scale] = "row_tanh_scale"
            nodes.add("QuantizeLinear", values, "row_tanh_scale", "row_middle", output=quantized)
            continue
        scales_of_rows.add(scale)
        highest = nodes.add("ReduceMax", nodes.add("Abs", values), axes=[1], keepdims=1)
        nodes.add("Div", nodes.add("Max", highest, "row_smallest"), "row_levels", output=scale)
        shifted = nodes.add("Add", nodes.add("Div", values, scale), "row_rounding")
        nodes.add("Cast", shifted, output=quantized, to=TensorProto.UINT8)
    del cell.graph.node[:]
    cell.graph.node.extend(nodes.nodes)
    constants: dict[str, NDArray[Any]] = {
        "row_middle": np.array(128, np.uint8),
        "row_rounding": np.array(128.5, np.float32),  # the cast cuts off
        "row_levels": np.array(127, np.float32),
        "row_smallest": np.array(SMALLEST, np.float32),
        "row_tanh_scale": np.array(1 / 127, np.float32),
    }
    cell.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return cell


def stored_in_8_bits(nodes: Nodes, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return weights with large matrices as int8 and their scales; add the nodes that make float32 of them.

    The scale is one for each row of a table, as a row is read alone, and one for each column of another matrix, as its
    columns are outputs.
    """
    stored: dict[str, Any] = {}
    for name, array in weights.items():
        if array.ndim < 2 or array.nbytes < LARGE:
            stored[name] = array
            continue
        axis = 1 if name in TABLES else 0
        scale = np.abs(array).max(axis=axis, keepdims=True) / 127 + np.float32(1e-12)
        stored[f"{name}_int8"] = np.round(array / scale).astype(np.int8)
        stored[f"{name}_scale"] = scale.astype(np.float32)
        nodes.add("Mul", nodes.add("Cast", f"{name}_int8", to=TensorProto.FLOAT), f"{name}_scale", output=name)
    return stored


@contextmanager
def _root_logger_restored() -> Iterator[None]:
    """Remove the handler that onnxruntime's notes give a root logger that has none."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            if handler not in before:
                root.removeHandler(handler)
