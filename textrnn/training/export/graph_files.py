"""Graphs of a bundle in their files; large weights lie once, for all graphs, in ``weights.bin``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from textrnn.bundle import Graph, Tensor

FILES = {
    "step": "model.onnx",
    "sequence": "sequence.onnx",
    "generate": "generate.onnx",
    "filtered": "filtered.onnx",
    "classify": "model.onnx",
    "regress": "model.onnx",
    "encode": "encode.onnx",
    "decode": "decode.onnx",
    "recognize": "model.onnx",
}
WEIGHTS = "weights.bin"
LARGE = 1024  # bytes from which on a tensor is stored in WEIGHTS
DTYPES = {TensorProto.INT32: "int32", TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}


def write_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path) -> dict[str, Graph]:
    """Write graphs, by their use; return them as the manifest lists them.

    Tensors of one name are taken to be one tensor.
    """
    places: dict[str, tuple[int, int]] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for graph in graphs.values():
            onnx.checker.check_model(graph, full_check=True)
            for tensor in graph.graph.initializer:
                if tensor.name in places:
                    continue
                data = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(data) >= LARGE:
                    file.write(b"\0" * (-file.tell() % 4096))  # pages, so that the file can be mapped
                    places[tensor.name] = (file.tell(), len(data))
                    file.write(data)
    for use, graph in graphs.items():
        stored = onnx.ModelProto()
        stored.CopyFrom(graph)
        for tensor in stored.graph.initializer:
            if tensor.name in places:
                offset, length = places[tensor.name]
                if not tensor.HasField("raw_data"):
                    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
                onnx.external_data_helper.set_external_data(tensor, WEIGHTS, offset, length)
                tensor.ClearField("raw_data")
        onnx.save(stored, folder / FILES[use])
    return {use: _graph_spec(graph, FILES[use]) for use, graph in graphs.items()}


def _graph_spec(graph: onnx.ModelProto, file: str) -> Graph:
    def specs(values: Any) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(
                entry.name,
                DTYPES[entry.type.tensor_type.elem_type],
                tuple(d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim),
            )
            for entry in values
        )

    return Graph(file, specs(graph.graph.input), specs(graph.graph.output))
