"""Graphs that are tested without a bundle around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from textrnn.training.export.exporter import run_graph
from textrnn.training.export.graph_files import write_graphs

Graph = Callable[..., list[NDArray[Any]]]


def in_onnxruntime(graphs: Mapping[str, onnx.ModelProto], folder: Path) -> dict[str, Graph]:
    """Write graphs to their files and return them as functions of their inputs, by their use."""
    folder.mkdir(exist_ok=True)
    files = {use: str(folder / graph.file) for use, graph in write_graphs(graphs, folder).items()}
    sessions = {use: onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"]) for use, f in files.items()}
    return {use: partial(run_graph, session) for use, session in sessions.items()}
