"""Trained weights to ONNX graphs to a bundle; nothing is written unless onnxruntime agrees with Keras.

Three graphs share one set of weights:

* ``step``: one token for each stream, ``ids (batch,)`` and ``state (layers, batch, hidden)`` to ``logits (batch,
  vocabulary)`` and ``next_state``: Gather, MatMul, Add, Tanh.
* ``sequence``: many tokens at once, ``ids (batch, time)``. For scoring and long prompts.
* ``generate``: a chunk of text, each token drawn and read inside the graph.

The embedding and the first input projection are one table, ``E W + b``, looked up by token. The logits of an adaptive
softmax are log-probabilities.
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
import onnxruntime
import tensorflow as tf
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import textrnn
from textrnn.bundle import Bundle, Graph, Manifest, Tensor, TokenizerFile, write_bundle
from textrnn.config import ARCHITECTURE, Config, ModelConfig
from textrnn.data.places import without_folders
from textrnn.data.tokens.datasets import TokenDataset
from textrnn.errors import UserError
from textrnn.generation import forbid
from textrnn.sampling import choose
from textrnn.scoring import Scorer, TextMetrics
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.export.adaptive_graphs import log_probs, with_tails_in_graphs
from textrnn.training.export.cell_graphs import (
    Nodes,
    generate_graph,
    graph_model,
    layer_states,
    step_graph,
    stepwise_graph,
    value,
)
from textrnn.training.network.backbone import NORMALIZATION_EPSILON
from textrnn.training.network.language_model import LanguageModel
from textrnn.training.network.layers import fold_input_scale

TOLERANCE = 1e-4  # largest difference between Keras and onnxruntime, relative to the largest logit or state above 1
INT8_TOLERANCE = 0.05  # largest difference of a probability between two int8 graphs, whose rounding may tip over
INT8_TOKENS = 50_000  # of held-out text on which the loss of int8 is measured
OPERATORS = {"tanh": "Tanh", "relu": "Relu", "linear": "Identity"}
FILES = {
    "step": "model.onnx",
    "sequence": "sequence.onnx",
    "generate": "generate.onnx",
    "classify": "model.onnx",
    "regress": "model.onnx",
}
WEIGHTS = "weights.bin"
LARGE = 1024  # bytes from which a tensor is stored in WEIGHTS
DTYPES = {TensorProto.INT32: "int32", TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}

Array = NDArray[np.float32]


def export_language_model(
    model: LanguageModel,
    tokenizer: Tokenizer,
    held_out: TokenDataset,
    start_id: int,
    never_drawn: NDArray[np.int32],
    settings: Config,
    folder: Path,
    quantize: str | None = None,
) -> Bundle:
    """Write the bundle of a trained model.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer.
        held_out: tokens on which the model is checked and measured.
        start_id: the token that stands before the first one of a text.
        never_drawn: ids of the tokens that are never drawn, of `textrnn.generation.untrained`.
        settings: the whole resolved configuration, for the manifest.
        folder: where the bundle goes; must not exist.
        quantize: None or "int8".

    Returns:
        the bundle that was written.

    Raises:
        UserError: onnxruntime and Keras differ (`require_close`), `folder` exists, or the disk refuses.
    """
    arrays = model.arrays()
    apart = model.separate_documents
    ids = np.asarray(held_out.ids)

    def read(graphs: Mapping[str, GraphSession], tokens: NDArray[Any]) -> NDArray[np.float64]:
        return Scorer(graphs["sequence"].read, tokenizer.vocabulary_size, start_id, apart).add(tokens)

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        specs, sessions = _write_and_load(build_graphs(model.config, arrays, never_drawn), work / "float32")
        check_parity(model, sessions, np.asarray(ids[:256], np.int32), never_drawn)
        nats = read(sessions, ids)
        metrics = {"held_out": TextMetrics.of(float(nats.sum()), len(ids), held_out.size).to_dict()}
        if quantize == "int8":
            specs, sessions = _write_and_load(build_graphs(model.config, arrays, never_drawn, quantize), work / "int8")
            check_generate(sessions["step"], sessions["generate"], INT8_TOLERANCE, never_drawn)
            full = nats[:INT8_TOKENS].mean()
            quantized = read(sessions, ids[:INT8_TOKENS]).mean()
            metrics["int8"] = {
                "tokens": min(INT8_TOKENS, len(ids)),
                "float32_nats_per_token": float(full),
                "nats_per_token": float(quantized),
                "loss": float(quantized - full),
            }
        finished = work / (quantize or "float32")
        tokenizer.save(finished)
        manifest = Manifest(
            kind="language_model",
            precision=quantize or "float32",
            tokenizer=TokenizerFile(tokenizer.kind, tokenizer.file_name),
            start_id=start_id,
            graphs=specs,
            runtime=runtime_block(settings, never_drawn=never_drawn.tolist()),
            metrics=metrics,
            config=without_folders(settings).to_dict(),
            created_with=versions(),
        )
        return write_bundle(folder, manifest, finished)


def runtime_block(config: Config, **others: Any) -> dict[str, Any]:
    """Return the manifest's `runtime`: what every kind of model has there, and `others`."""
    settings, data = config.to_dict(), config.data
    return {
        **others,
        "sources": {
            "text": data.text,
            "label": data.label,
            "label_names": list(data.label_names),
            "values": list(data.values),
            "document": data.document,
            "separate_documents": data.separate_documents,
            "season": data.season,
            "errors": data.errors,
        },
        "architecture": {name: settings["model"][name] for name in ARCHITECTURE},
        "tokenizer_settings": settings["tokenizer"] if config.data.reads == "text" else {},
    }


def versions() -> dict[str, str]:
    """Of what a bundle was made with. Not by package: TensorFlow comes under several names."""
    return {
        "textrnn": textrnn.__version__,
        "tensorflow": tf.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _write_and_load(
    graphs: Mapping[str, onnx.ModelProto], folder: Path
) -> tuple[dict[str, Graph], dict[str, GraphSession]]:
    folder.mkdir()
    specs = write_graphs(graphs, folder)
    return specs, {use: GraphSession(folder / graph.file) for use, graph in specs.items()}


# The graphs


def build_graphs(
    config: ModelConfig, arrays: Mapping[str, Array], never_drawn: NDArray[np.int32], quantize: str | None = None
) -> dict[str, onnx.ModelProto]:
    """The graphs of a bundle by their use, from the weights of the model by name.

    In 8 bits a sequence is read step after step too: activations are quantised with one scale a tensor, which for a
    whole text would be coarser than for a step.
    """
    weights = graph_weights(config, arrays)
    cell = cell_graph(config, weights)
    if quantize == "int8":
        cell = quantized(cell)
        sequence = stepwise_graph(cell)
    else:
        sequence = sequence_graph(config, weights)
    return {"step": step_graph(cell), "sequence": sequence, "generate": generate_graph(cell, never_drawn)}


def graph_weights(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The weights as the graphs hold them, from those of the model by name."""
    weights = fold_input_scale(config, arrays)
    if config.softmax == "adaptive":
        weights = with_tails_in_graphs(config, weights)
    embedding = weights.pop("embedding")
    weights["table"] = embedding @ weights.pop("kernel_0") + weights.pop("bias_0")
    if config.tied and config.softmax == "full":
        weights["output_kernel"] = embedding.T
    return {
        name: np.ascontiguousarray(array, np.int64 if name == "head_sizes" else np.float32)
        for name, array in weights.items()
    }


def cell_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """One step of the network, as `textrnn.training.export.cell_graphs` takes it."""
    nodes = Nodes()
    hidden = ""
    for layer in range(config.layers):
        if layer == 0:
            projected = nodes.add("Gather", "table", "ids", axis=0)
        else:
            projected = nodes.add("Add", nodes.add("MatMul", hidden, f"kernel_{layer}"), f"bias_{layer}")
        state = next_state(nodes, config, layer, f"state_{layer}", projected, f"next_state_{layer}")
        hidden = join(nodes, config, layer, hidden, state)
    _head(nodes, weights, hidden)
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch"), *layer_states("state", config.layers, config.hidden_dim)],
        [
            value("logits", TensorProto.FLOAT, "batch", len(weights["output_bias"])),
            *layer_states("next_state", config.layers, config.hidden_dim),
        ],
        tensors(weights),
    )


def sequence_graph(config: ModelConfig, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Many tokens: ids ``(batch, time)``, state -> logits ``(batch, time, vocabulary)``, next_state.

    Layer by layer: only ``U h`` and the activation stand in a loop over time, all other products are taken over the
    whole text at once. With 512 units a text alone is read 1.6 times as fast as by onnxruntime's operator ``RNN`` and
    five times as fast as step after step; 16 and 64 texts 2.5 to 2.9 times as fast as by that operator, and between
    0.8 and 1.2 times as fast as step after step (benchmarks/scoring.py).
    """
    nodes = Nodes()
    layers = range(config.layers)
    nodes.split_state(f"first_state_{layer}" for layer in layers)
    hidden, ids = "", nodes.add("Transpose", "ids", perm=[1, 0])
    for layer in layers:
        if layer == 0:
            projected = nodes.add("Gather", "table", ids, axis=0)
        else:
            projected = nodes.add("Add", nodes.add("MatMul", hidden, f"kernel_{layer}"), f"bias_{layer}")
        states = layer_over_time(nodes, config, layer, f"first_state_{layer}", projected, f"last_state_{layer}")
        hidden = join(nodes, config, layer, hidden, states)
    nodes.join_state(f"last_state_{layer}" for layer in layers)
    _head(nodes, weights, nodes.add("Transpose", hidden, perm=[1, 0, 2]))
    state_shape = (config.layers, "batch", config.hidden_dim)
    return graph_model(
        nodes,
        [value("ids", TensorProto.INT32, "batch", "time"), value("state", TensorProto.FLOAT, *state_shape)],
        [
            value("logits", TensorProto.FLOAT, "batch", "time", len(weights["output_bias"])),
            value("next_state", TensorProto.FLOAT, *state_shape),
        ],
        tensors(weights),
    )


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
    """The loop of one layer over ``(time, batch, hidden)``, from the end where `backward`; its states, as ordered."""
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


def tensors(weights: Mapping[str, Array]) -> list[onnx.TensorProto]:
    return [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]


def next_state(
    nodes: Nodes, config: ModelConfig, layer: int, state: str, projected: str, output: str, prefix: str = ""
) -> str:
    """``f(W x + b + U h)`` of a layer; `projected` is ``W x + b``, `prefix` that of its weights."""
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


def join(nodes: Nodes, config: ModelConfig, layer: int, below: str, state: str, prefix: str = "") -> str:
    """Mixing, residual connection and normalisation; what the next layer, or the output, reads."""
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


def _head(nodes: Nodes, weights: Mapping[str, Array], hidden: str) -> None:
    if "adapter" in weights:
        hidden = nodes.add("MatMul", hidden, "adapter")
    if "head_bias" in weights:
        outputs = log_probs(nodes, weights, hidden)
    else:
        outputs = nodes.add("MatMul", hidden, "output_kernel")
    nodes.add("Add", outputs, "output_bias", output="logits")


# The files


def write_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path) -> dict[str, Graph]:
    """Write graphs by their use, what is large of their weights once for all of them in ``weights.bin``.

    Tensors of one name are taken to be one tensor. Returns the graphs as the manifest lists them.
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


# The checks


class GraphSession:
    """A graph in onnxruntime. (Imported here alone in `train`: what is exported is tried where it will run.)"""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        reads, state, *_ = self._session.get_inputs()
        layers, _, hidden = state.shape
        self._reads, self._state_shape = reads.name, (layers, hidden)

    def initial_state(self, batch: int) -> Array:
        layers, hidden = self._state_shape
        return np.zeros((layers, batch, hidden), np.float32)

    def run(self, ids: NDArray[Any], state: Array, **others: NDArray[Any]) -> tuple[NDArray[Any], Array]:
        """Logits, tokens of a generate graph, or the forecasts after vectors in place of ids; and the next state."""
        result, state = self._session.run(None, {self._reads: ids, "state": state, **others})
        return result, state

    def read(self, ids: NDArray[Any], state: Array | None = None) -> tuple[Array, Array]:
        """Run a sequence graph; a state of None is zeros."""
        return self.run(ids, self.initial_state(len(ids)) if state is None else state)


def check_parity(
    model: LanguageModel, graphs: Mapping[str, Any], real_ids: NDArray[np.int32], never_drawn: NDArray[np.int32]
) -> float:
    """Compare the graphs of a float32 bundle with Keras on random and on real tokens.

    Args:
        graphs: `GraphSession` by use; without a generate graph only the others are compared.

    Returns:
        the largest difference of a logit or a state, as `relative`.

    Raises:
        UserError: it is above `TOLERANCE`, or the generate graph does not draw what the step graph's logits say.
    """
    step, sequence = graphs["step"], graphs["sequence"]
    generator = np.random.default_rng(0)
    vocabulary_size = model.backbone.vocabulary_size
    random_ids = generator.integers(0, vocabulary_size, (3, 64), dtype=np.int32)
    if model.separate_documents:  # the state is reset by whoever runs the graph, not by the graph
        random_ids[random_ids == END_ID] += 1
        real_ids = real_ids[real_ids != END_ID]
    differences = []
    for ids in (random_ids, real_ids[None, :]):
        state = step.initial_state(len(ids))
        expected, expected_state = (np.asarray(x) for x in model(ids, state))
        expected = expected.transpose(1, 0, 2)
        logits, next_state = sequence.run(ids, state)
        differences += [relative(logits - expected, expected), relative(next_state - expected_state, expected_state)]
        for position in range(ids.shape[1]):
            logits, state = step.run(ids[:, position], state)
            differences.append(relative(logits - expected[:, position], expected))
    worst = float(np.max(differences))  # unlike Python's max, it lets no NaN pass
    require_close(worst, "logit")
    if "generate" in graphs:
        worst = max(worst, check_generate(step, graphs["generate"], TOLERANCE, never_drawn))
    return worst


def check_generate(step: Any, generate: Any, tolerance: float, never_drawn: NDArray[np.int32]) -> float:
    """Check that a generate graph draws the tokens that `textrnn.sampling` draws from the logits of the step graph.

    Three texts of 64 tokens are written, a part of each given. A token is right if it is drawn for a uniform within the
    tolerance of the one that was used: where that lies on the border of two tokens, a last digit may decide.

    Returns:
        the largest difference of a state.

    Raises:
        UserError: another token is drawn, one that was given is not taken, or the states differ by more.
    """
    generator = np.random.default_rng(1)
    ids, state = np.full(3, END_ID, np.int32), step.initial_state(3)
    uniforms = generator.random((64, 3))
    given = np.full(uniforms.shape, -1, np.int32)
    given[:10] = END_ID + 1
    tokens, last_state = generate.run(ids, state, given=given, uniforms=uniforms, temperature=np.array(0.8))
    for position, drawn in enumerate(tokens):
        logits, state = step.run(ids, state)
        ids = drawn
        allowed = forbid(logits, never_drawn) / 0.8
        low, high = (choose(allowed, np.clip(uniforms[position] + x, 0, 1 - 1e-9)) for x in (-tolerance, tolerance))
        right = np.where(given[position] < 0, (low <= drawn) & (drawn <= high), drawn == given[position])
        if not right.all():
            raise UserError(
                f"an exported graph must draw token {low[~right][0]} as the step graph says, drew {drawn[~right][0]};"
                " nothing was written, install the versions of constraints.txt"
            )
    difference = relative(last_state - state, state)
    if not difference <= tolerance:
        raise UserError(
            f"an exported graph must end in the state of the step graph within {tolerance:g}, differed by"
            f" {difference:g}; nothing was written, install the versions of constraints.txt"
        )
    return difference


def relative(difference: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, divided by the largest expected value if that is above 1.

    Float32 holds 7 digits: what is a large difference of logits of 1 is rounding of logits of 1,000.
    """
    return float(np.abs(difference).max(initial=0.0) / np.abs(expected).max(initial=1.0))


def require_close(worst: float, what: str) -> None:
    """Refuse a graph that does not compute what the model does.

    Args:
        worst: the largest difference, of `relative`.
        what: an output is, for people.

    Raises:
        UserError: it is above `TOLERANCE`, or no number.
    """
    if not worst <= TOLERANCE:
        raise UserError(
            f"an exported graph must equal Keras within {TOLERANCE:g} of the largest {what}, differed by {worst:g}; no "
            "bundle was written, the run keeps its weights: try textrnn export with the versions of constraints.txt"
        )


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


def quantized(cell: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of Gather and MatMul as int8, activations quantised as they come (onnxruntime's dynamic quantisation)."""
    # Without this mark onnxruntime warns that the graph was not simplified first, of which there is no need.
    helper.set_model_props(cell, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as name, _root_logger_restored():
        target = Path(name) / "int8.onnx"
        quantize_dynamic(
            cell,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)
