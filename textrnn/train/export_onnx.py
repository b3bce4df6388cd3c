"""Trained weights to ONNX graphs to a bundle; nothing is written unless onnxruntime agrees with Keras.

Two graphs share one set of weights:

* ``step``: one token for each stream, ``ids (batch,)`` and ``state (layers, batch, hidden)`` to ``logits (batch,
  vocabulary)`` and ``next_state``: Gather, MatMul, Add, Tanh. For generation.
* ``sequence``: many tokens at once, ``ids (batch, time)``, with the operator ``RNN``. For scoring and long prompts.

The embedding and the first input projection are one table, ``E W + b``, looked up by token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from numpy.typing import NDArray
from onnx import TensorProto, helper

import textrnn
from textrnn.bundle import Bundle, Graph, Manifest, Tensor, TokenizerFile, write_bundle
from textrnn.config import ModelConfig
from textrnn.errors import UserError
from textrnn.scoring import Scorer, TextMetrics
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.train.backbone import NORMALIZATION_EPSILON
from textrnn.train.datasets import TokenDataset
from textrnn.train.language_model import LanguageModel

# Both are old enough for the onnxruntime releases of the last two years and more (IR 8, opset 17: onnxruntime 1.13).
OPSET = 17
IR_VERSION = 8
TOLERANCE = 1e-4  # largest difference of logits between Keras and onnxruntime
INT8_TOKENS = 50_000  # of held-out text on which the loss of int8 is measured
OPERATORS = {"tanh": ("Tanh", "Tanh"), "relu": ("Relu", "Relu"), "linear": ("Identity", "Affine")}

Array = NDArray[np.float32]


def export_language_model(
    model: LanguageModel,
    tokenizer: Tokenizer,
    held_out: TokenDataset,
    start_id: int,
    settings: Mapping[str, Any],
    folder: Path,
    quantize: str | None = None,
) -> Bundle:
    """Write the bundle of a trained model.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer.
        held_out: tokens on which the model is checked and measured.
        start_id: the token that stands before the first one of a text.
        settings: the whole resolved configuration, for the manifest.
        folder: where the bundle goes; must not exist.
        quantize: None or "int8".

    Returns:
        the bundle that was written.

    Raises:
        UserError: onnxruntime and Keras differ by more than 1e-4 on a logit, `folder` exists, or the disk refuses.
    """
    arrays = model.arrays()
    apart = model.documents_apart
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        weights = graph_weights(model.config, arrays)
        graphs = {"step": step_graph(model.config, weights), "sequence": sequence_graph(model.config, weights)}
        files = {"step": "model.onnx", "sequence": "sequence.onnx"}
        _write_shared(graphs, weights, work, files)
        step, sequence = GraphSession(work / files["step"]), GraphSession(work / files["sequence"])
        check_parity(model, step, sequence, np.asarray(held_out.ids[:256], np.int32))
        ids = np.asarray(held_out.ids)
        nats = Scorer(sequence.read, tokenizer.vocabulary_size, start_id, apart).add(ids)
        metrics = {"held_out": TextMetrics(float(nats.sum()), len(ids), held_out.characters, held_out.bytes).to_dict()}
        if quantize == "int8":
            full = nats[:INT8_TOKENS].mean()
            _quantize(work / files["step"], work / "int8.onnx")
            small = GraphSession(work / "int8.onnx")
            quantized = (
                Scorer(small.read_by_steps, tokenizer.vocabulary_size, start_id, apart).add(ids[:INT8_TOKENS]).mean()
            )
            for path in work.iterdir():
                if path.name != "int8.onnx":
                    path.unlink()
            (work / "int8.onnx").rename(work / files["step"])
            del files["sequence"]
            metrics["int8"] = {
                "tokens": min(INT8_TOKENS, len(ids)),
                "float32_nats_per_token": float(full),
                "nats_per_token": float(quantized),
                "loss": float(quantized - full),
            }
        tokenizer.save(work)
        manifest = Manifest(
            kind="language_model",
            precision=quantize or "float32",
            tokenizer=TokenizerFile(tokenizer.kind, tokenizer.file_name),
            start_id=start_id,
            graphs={name: _graph_spec(graphs[name], file) for name, file in files.items()},
            metrics=metrics,
            config=dict(settings),
            created_with={  # not by package: TensorFlow comes under several names
                "textrnn": textrnn.__version__,
                "tensorflow": tf.__version__,
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )
        return write_bundle(folder, manifest, {path.name: path for path in work.iterdir()})


# The graphs


@dataclass
class _Nodes:
    """Collects the nodes of a graph; each method adds one and gives the name of its result."""

    nodes: list[onnx.NodeProto]

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name


def graph_weights(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The weights as the graphs hold them, from those of the model by name."""
    weights = dict(arrays)
    embedding = weights.pop("embedding")
    weights["table"] = embedding @ weights.pop("kernel_0") + weights.pop("bias_0")
    if config.tied:
        weights["output_kernel"] = embedding.T
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def step_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """One token: ids ``(batch,)``, state ``(layers, batch, hidden)`` -> logits ``(batch, vocabulary)``, next_state."""
    graph = _Nodes([])
    hidden, states = "", []
    splits = [f"state_{index}" for index in range(config.layers)]
    graph.nodes.append(helper.make_node("Split", ["state"], splits, axis=0))
    for index in range(config.layers):
        if index == 0:
            projected = graph.add("Gather", "table", "ids", axis=0)
        else:
            projected = graph.add("Add", graph.add("MatMul", hidden, f"kernel_{index}"), f"bias_{index}")
        previous = graph.add("Squeeze", splits[index], "axis_0")
        carried = graph.add("MatMul", previous, f"recurrent_kernel_{index}")
        state = graph.add(OPERATORS[config.activation][0], graph.add("Add", projected, carried))
        states.append(graph.add("Unsqueeze", state, "axis_0"))
        hidden = _join(graph, config, index, hidden, state)
    graph.add("Concat", *states, output="next_state", axis=0)
    _head(graph, config, weights, hidden)
    constants = {"axis_0": np.array([0], np.int64)}
    return _model(graph, config, weights, constants, ids_shape=["batch"])


def sequence_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Many tokens: as `step_graph`, for ids ``(batch, time)`` and logits ``(batch, time, vocabulary)``."""
    graph = _Nodes([])
    hidden, states = "", []
    splits = [f"state_{index}" for index in range(config.layers)]
    graph.nodes.append(helper.make_node("Split", ["state"], splits, axis=0))
    ids = graph.add("Transpose", "ids", perm=[1, 0])
    for index in range(config.layers):
        # The operator computes X W' + H R' with both matrices transposed and a leading axis of directions.
        recurrent = _transposed(graph, f"recurrent_kernel_{index}")
        if index == 0:
            inputs, bias = graph.add("Gather", "table", ids, axis=0), ""
            # The table is projected already: the operator's own projection must change nothing.
            kernel = graph.add("Unsqueeze", graph.add("EyeLike", "recurrent_kernel_0"), "axis_0")
        else:
            inputs, kernel = hidden, _transposed(graph, f"kernel_{index}")
            zeros = graph.add("Sub", f"bias_{index}", f"bias_{index}")
            bias = graph.add("Unsqueeze", graph.add("Concat", f"bias_{index}", zeros, axis=0), "axis_0")
        all_states, last = f"states_{index}", f"last_{index}"
        graph.nodes.append(
            helper.make_node(
                "RNN",
                [inputs, kernel, recurrent, bias, "", splits[index]],
                [all_states, last],
                hidden_size=config.hidden_dim,
                activations=[OPERATORS[config.activation][1]],
                activation_alpha=[1.0] if config.activation == "linear" else None,
                activation_beta=[0.0] if config.activation == "linear" else None,
            )
        )
        states.append(last)
        hidden = _join(graph, config, index, hidden, graph.add("Squeeze", all_states, "axis_1"))
    graph.add("Concat", *states, output="next_state", axis=0)
    _head(graph, config, weights, graph.add("Transpose", hidden, perm=[1, 0, 2]))
    constants = {"axis_0": np.array([0], np.int64), "axis_1": np.array([1], np.int64)}
    return _model(graph, config, weights, constants, ids_shape=["batch", "time"])


def _transposed(graph: _Nodes, name: str) -> str:
    return graph.add("Unsqueeze", graph.add("Transpose", name, perm=[1, 0]), "axis_0")


def _join(graph: _Nodes, config: ModelConfig, index: int, below: str, state: str) -> str:
    """Residual connection and normalisation; what the next layer, or the output, reads."""
    if config.normalization == "layer":
        raise_sum = state if not index or not config.residual else graph.add("Add", f"sum_{index - 1}", state)
        graph.add("Identity", raise_sum, output=f"sum_{index}")
        return graph.add(
            "LayerNormalization",
            f"sum_{index}",
            f"gain_{index}",
            f"shift_{index}",
            axis=-1,
            epsilon=NORMALIZATION_EPSILON,
        )
    return graph.add("Add", below, state) if index and config.residual else state


def _head(graph: _Nodes, config: ModelConfig, weights: Mapping[str, Array], hidden: str) -> None:
    if "adapter" in weights:
        hidden = graph.add("MatMul", hidden, "adapter")
    graph.add("Add", graph.add("MatMul", hidden, "output_kernel"), "output_bias", output="logits")


def _model(
    graph: _Nodes,
    config: ModelConfig,
    weights: Mapping[str, Array],
    constants: Mapping[str, NDArray[Any]],
    ids_shape: list[int | str | None],
) -> onnx.ModelProto:
    vocabulary_size = len(weights["output_bias"])
    state_shape: list[int | str | None] = [config.layers, "batch", config.hidden_dim]
    tensor = helper.make_tensor_value_info
    used = {name for node in graph.nodes for name in node.input}
    initializers = {name: array for name, array in {**weights, **constants}.items() if name in used}
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "textrnn",
            [tensor("ids", TensorProto.INT32, ids_shape), tensor("state", TensorProto.FLOAT, state_shape)],
            [
                tensor("logits", TensorProto.FLOAT, [*ids_shape, vocabulary_size]),
                tensor("next_state", TensorProto.FLOAT, state_shape),
            ],
            [onnx.numpy_helper.from_array(array, name) for name, array in initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="textrnn",
    )


def _write_shared(
    graphs: Mapping[str, onnx.ModelProto], weights: Mapping[str, Array], work: Path, files: Mapping[str, str]
) -> None:
    """Write the graphs, their large tensors in one file ``weights.bin`` that both refer to."""
    places: dict[str, tuple[int, int]] = {}
    with (work / "weights.bin").open("wb") as file:
        for name, array in weights.items():
            file.write(b"\0" * (-file.tell() % 4096))  # pages, so that the file can be mapped
            places[name] = (file.tell(), array.nbytes)
            file.write(array.tobytes())
    for key, graph in graphs.items():
        onnx.checker.check_model(graph, full_check=True)
        for tensor in graph.graph.initializer:
            if tensor.name in places:
                offset, length = places[tensor.name]
                onnx.external_data_helper.set_external_data(tensor, "weights.bin", offset, length)
                tensor.ClearField("raw_data")
        onnx.save(graph, work / files[key])


def _graph_spec(graph: onnx.ModelProto, file: str) -> Graph:
    def specs(values: Any) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(
                value.name,
                {TensorProto.INT32: "int32", TensorProto.FLOAT: "float32"}[value.type.tensor_type.elem_type],
                tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
            )
            for value in values
        )

    return Graph(file, specs(graph.graph.input), specs(graph.graph.output))


# The checks


class GraphSession:
    """A graph in onnxruntime. (Imported here alone in `train`: what is exported is tried where it will run.)"""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        layers, _, hidden = self._session.get_inputs()[1].shape
        self._state_shape = (layers, hidden)

    def initial_state(self, batch: int) -> Array:
        layers, hidden = self._state_shape
        return np.zeros((layers, batch, hidden), np.float32)

    def run(self, ids: NDArray[np.int32], state: Array) -> tuple[Array, Array]:
        logits, state = self._session.run(["logits", "next_state"], {"ids": ids, "state": state})
        return logits, state

    def read(self, ids: NDArray[np.int32], state: Array | None) -> tuple[Array, Array]:
        """Run a sequence graph; a state of None is zeros."""
        return self.run(ids, self.initial_state(len(ids)) if state is None else state)

    def read_by_steps(self, ids: NDArray[np.int32], state: Array | None) -> tuple[Array, Array]:
        """Run a step graph over a sequence."""
        state = self.initial_state(len(ids)) if state is None else state
        logits = []
        for column in ids.T:
            step_logits, state = self.run(np.ascontiguousarray(column), state)
            logits.append(step_logits)
        return np.stack(logits, axis=1), state


def check_parity(model: LanguageModel, step: Any, sequence: Any, real_ids: NDArray[np.int32]) -> float:
    """Compare both graphs with Keras on random and on real tokens; the largest difference of a logit.

    Raises:
        UserError: it is above 1e-4.
    """
    generator = np.random.default_rng(0)
    vocabulary_size = model.backbone.vocabulary_size
    random_ids = generator.integers(0, vocabulary_size, (3, 64), dtype=np.int32)
    if model.documents_apart:  # the state is reset by whoever runs the graph, not by the graph
        random_ids[random_ids == END_ID] += 1
        real_ids = real_ids[real_ids != END_ID]
    differences = []
    for ids in (random_ids, real_ids[None, :]):
        state = step.initial_state(len(ids))
        expected, expected_state = (np.asarray(x) for x in model(ids, state))
        expected = expected.transpose(1, 0, 2)
        logits, next_state = sequence.run(ids, state)
        differences += [_largest(logits - expected), _largest(next_state - expected_state)]
        for position in range(ids.shape[1]):
            logits, state = step.run(ids[:, position], state)
            differences.append(_largest(logits - expected[:, position]))
    worst = float(np.max(differences))  # unlike Python's max, it lets no NaN pass
    if not worst <= TOLERANCE:
        raise UserError(
            f"an exported graph must equal Keras within {TOLERANCE:g} on every logit, differed by {worst:g};"
            " nothing was written, train with a lower learning rate if the weights are huge"
        )
    return worst


def _largest(difference: NDArray[Any]) -> float:
    return float(np.abs(difference).max(initial=0.0))


def _quantize(source: Path, target: Path) -> None:
    """Weights of Gather and MatMul as int8, activations quantised as they come (onnxruntime's dynamic quantisation)."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
