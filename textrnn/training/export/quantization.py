"""Weights in 8 bits, in the two ways that the graphs of a bundle need.

`dynamically_quantized` is for the step of a language model: products of int8 are faster there, and activations are
quantised as they come. `stored_in_8_bits` is for graphs of whole sequences: only the weights are int8 and they are read
as float32, because activations quantised for a batch would make a record's result depend on its neighbours.
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
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from textrnn.training.export.cell_graphs import Nodes
from textrnn.training.export.graph_files import LARGE

TABLES = ("embedding", "ngrams")  # of which rows are read


def dynamically_quantized(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the weights of Gather and MatMul as int8: onnxruntime's dynamic quantisation."""
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
        return onnx.load(target)


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
