"""The graph of a recognizer, ``recognize``: frames ``vectors (batch, time, features)`` and ``lengths (batch,)`` to
``logits (batch, steps, vocabulary)``, where a step is `frame_stack` frames. The blank is token 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import ModelConfig
from textrnn.training.export.cell_graphs import Nodes, graph_model, value
from textrnn.training.export.layer_graphs import tensors
from textrnn.training.export.quantization import stored_in_8_bits
from textrnn.training.export.whole_sequence import frame_width, read_frames, stack_over_time
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.network.weight_names import BACKWARD

Array = NDArray[np.float32]


def recognize_graph(config: ModelConfig, arrays: Mapping[str, Array], in_8_bits: bool = False) -> onnx.ModelProto:
    """Build the graph of whole recordings.

    Inputs: frames float32 ``(batch, time, features)``, a step at least, and lengths int32 ``(batch,)``, in frames.
    Output: logits float32 ``(batch, steps, vocabulary)``; those at padding have no meaning.

    Args:
        config: configuration of the model.
        arrays: its weights, by name.
        in_8_bits: whether large matrices are stored as int8.
    """
    weights = fold_input_scale(config, arrays)
    weights = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    outputs, stack = len(weights["output_bias"]), config.frame_stack
    width, features = len(weights["input_mean"]), frame_width(config, weights)
    nodes = Nodes()
    if in_8_bits:
        weights = stored_in_8_bits(nodes, weights)
    constants: dict[str, NDArray[Any]] = {
        "zero_step": np.array(0, np.int32),
        "one_step": np.array(1, np.int32),
        "stack_of_lengths": np.array(stack, np.int32),
        "stack": np.array([stack]),
        "first": np.array([0]),
        "second": np.array([1]),
        "third": np.array([2]),
        "stacked_shape": np.array([0, -1, width]),  # 0 leaves a dimension as it is
        "hidden_dim": np.array([config.hidden_dim]),
    }
    shape = nodes.add("Shape", "vectors")
    batch, time = nodes.add("Gather", shape, "first"), nodes.add("Gather", shape, "second")
    steps = nodes.add("Div", time, "stack")
    read = read_frames(nodes, config, weights, constants)
    whole = nodes.add("Slice", read, "first", nodes.add("Mul", steps, "stack"), "second")
    stacked = nodes.add("Reshape", whole, "stacked_shape") if stack > 1 else whole
    by_time = nodes.add("Transpose", stacked, perm=[1, 0, 2])
    vectors = nodes.add("Div", nodes.add("Sub", by_time, "input_mean"), "input_scale")
    if config.embedding_dim:
        product = nodes.add("MatMul", vectors, "projection_kernel")
        vectors = nodes.add("Relu", nodes.add("Add", product, "projection_bias"))
    zeros = nodes.add("ConstantOfShape", nodes.add("Concat", batch, "hidden_dim", axis=0))
    states = stack_over_time(nodes, config, vectors, zeros, "")
    if config.bidirectional:
        last = nodes.add("Cast", nodes.add("Squeeze", steps), to=TensorProto.INT32)
        times = nodes.add("Unsqueeze", nodes.add("Range", "zero_step", last, "one_step"), "second")
        is_real = nodes.add("Less", times, nodes.add("Div", "lengths", "stack_of_lengths"))
        real = nodes.add("Cast", nodes.add("Unsqueeze", is_real, "third"), to=TensorProto.FLOAT)
        backward = stack_over_time(nodes, config, vectors, zeros, BACKWARD, real)
        states = nodes.add("Concat", states, backward, axis=2)
    logits = nodes.add("Add", nodes.add("MatMul", states, "output_kernel"), "output_bias")
    nodes.add("Transpose", logits, output="logits", perm=[1, 0, 2])
    return graph_model(
        nodes,
        [
            value("vectors", TensorProto.FLOAT, "batch", "time", features),
            value("lengths", TensorProto.INT32, "batch"),
        ],
        [value("logits", TensorProto.FLOAT, "batch", "steps", outputs)],
        tensors(weights),
        constants,
    )
