"""Graphs of models that read a whole sequence at once, and what their exports share.

One graph: ids ``(batch, time)``, or vectors ``(batch, time, features)`` and lengths ``(batch,)``, to ``(batch,
outputs)``, built from the weights as the layers of a language model's sequence graph are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import AUDIO_READING, Config, ModelConfig
from textrnn.data.labelled import Batches
from textrnn.data.labelled_vectors import VectorBatches
from textrnn.runtime.sessions import Sessions
from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID, Tokenizer
from textrnn.training.direct.model import DirectPath
from textrnn.training.export.cell_graphs import Nodes, graph_model, value
from textrnn.training.export.direct_graph import add_direct_path, direct_constants
from textrnn.training.export.exporter import Exporter, relative, require_close, run_graph
from textrnn.training.export.layer_graphs import join, layer_over_time, pooled_over_time, tensors
from textrnn.training.export.ngram_graphs import ngram_constants, ngrams_of_texts
from textrnn.training.export.quantization import stored_in_8_bits
from textrnn.training.network.cepstra import REACH, cepstral_kernel
from textrnn.training.network.classifier import LOWEST, Classifier
from textrnn.training.network.weight_names import BACKWARD

PARITY_BATCHES = 8

Array = NDArray[np.float32]
Inputs = tuple[NDArray[Any], ...]


class SequenceExporter(Exporter):
    """Writes the bundle of a model that reads whole sequences.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer; None where vectors are read.
        held_out: sequences on which the graphs are checked and measured.
        settings: the whole resolved configuration, for the manifest.
    """

    use: ClassVar[str]
    """The use of the graph, for the manifest."""
    what: ClassVar[str]
    """What an output is, for messages."""

    def __init__(
        self, model: Classifier, tokenizer: Tokenizer | None, held_out: Batches[Any], settings: Config
    ) -> None:
        super().__init__(settings, tokenizer)
        self.model, self.held_out = model, held_out

    @abstractmethod
    def graph(self, in_8_bits: bool) -> onnx.ModelProto:
        """Build the graph."""

    @abstractmethod
    def as_model(self, outputs: NDArray[Any], inputs: Inputs) -> NDArray[Any]:
        """Return outputs of the graph for some inputs as the model gives them, ``(batch, outputs)``."""

    @abstractmethod
    def figures(self, outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Measure outputs of the graph for all held-out sequences: all figures, and those to compare precisions by."""

    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        return {self.use: self.graph(precision == "int8")}

    def runtime(self) -> dict[str, Any]:
        data, model = self.settings.data, self.settings.model
        if self.tokenizer:
            return {"max_length": data.max_length, "segment_length": model.segment_length}
        found: dict[str, Any] = {"steps": data.steps, "stride": model.stride, "hidden_dim": model.hidden_dim}
        if data.reads == "audio":
            found["audio"] = {name: getattr(data, name) for name in AUDIO_READING}
        return found

    def compare(self, graphs: Sessions, precision: str) -> float:
        session = graphs(self.use)
        worst = 0.0
        batches = islice(self.held_out.all(), PARITY_BATCHES)
        for inputs in chain([_random_inputs(self.model, self.held_out)], (batch.inputs for batch in batches)):
            (outputs,) = run_graph(session, *inputs)
            if precision == "float32":
                expected = np.asarray(self.model(*inputs))
                difference = relative(self.as_model(outputs, inputs) - expected, expected)
                worst = float(np.maximum(worst, difference))  # NaN stays
        require_close(worst, self.what)
        return worst

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for precision, sessions in graphs.items():
            outputs, targets = [], []
            for batch in self.held_out.all():
                count = len(batch.indices)
                outputs.append(run_graph(sessions(self.use), *batch.inputs)[0][:count])
                targets.append(batch.targets[:count])
            metrics["held_out"], metrics[precision] = self.figures(np.concatenate(outputs), np.concatenate(targets))
        return metrics


def whole_sequence_graph(
    config: ModelConfig,
    weights: dict[str, Any],
    output: str,
    in_8_bits: bool = False,
    direct: DirectPath | None = None,
) -> onnx.ModelProto:
    """Build the graph of a model that reads whole sequences.

    Ids int32 ``(batch, time)``, each text followed by padding, to float32 ``(batch, outputs)``. With segments, time
    must be a multiple of `segment_length`, or less. A model of vectors reads vectors float32 ``(batch, time,
    features)`` and lengths int32 ``(batch,)`` in place of ids.

    Args:
        config: configuration of the model.
        weights: the weights as the graph multiplies them, by name.
        output: name of the output.
        in_8_bits: whether large matrices are stored as int8.
        direct: the direct path, whose logits are added to the output.
    """
    outputs = len(weights["output_bias"])
    features = frame_width(config, weights)
    nodes = Nodes()
    constants: dict[str, NDArray[Any]] = {
        "pad": np.array(PAD_ID, np.int32),
        "unknown": np.array(UNKNOWN_ID, np.int32),
        "known_tokens": np.array(len(weights["embedding"]) if not features else 0, np.int32),
        "lowest": np.array(LOWEST, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "zero_steps": np.array(0, np.int32),
        "one_step": np.array(1, np.int32),
        "any": np.array([-1]),
        "first": np.array([0]),
        "second": np.array([1]),
        "third": np.array([2]),
        "segment_length": np.array([config.segment_length]),
        "hidden_dim": np.array([config.hidden_dim]),
        "stride_start": np.array([config.stride - 1]),
        "last_block": np.array([1 - config.stride]),
        "rest_of_block": np.array([0, 0, 0, config.stride - 1, 0, 0]),
        "stride_end": np.array([np.iinfo(np.int64).max]),
        "stride": np.array([config.stride]),
    }
    if config.input_ngrams > 1:
        constants |= ngram_constants(config)
    if direct:
        weights, constants = {**weights, **direct.arrays()}, {**constants, **direct_constants(direct)}
    if in_8_bits:
        weights = stored_in_8_bits(nodes, weights)
    shape = nodes.add("Shape", "vectors" if features else "ids")
    batch, steps = nodes.add("Gather", shape, "first"), nodes.add("Gather", shape, "second")
    if features:
        by_time = nodes.add("Transpose", read_frames(nodes, config, weights, constants), perm=[1, 0, 2])
        if config.stride > 1:  # at least one block, whole or not
            by_time = nodes.add("Pad", by_time, "rest_of_block")
            steps = nodes.add("Add", steps, "stride_start")
        vectors = nodes.add("Div", nodes.add("Sub", by_time, "input_mean"), "input_scale")
        if config.embedding_dim:
            product = nodes.add("MatMul", vectors, "projection_kernel")
            vectors = nodes.add("Relu", nodes.add("Add", product, "projection_bias"))
        times = nodes.add(
            "Range", "zero_steps", nodes.add("Cast", nodes.add("Squeeze", steps), to=TensorProto.INT32), "one_step"
        )
        is_real = nodes.add("Less", nodes.add("Unsqueeze", times, "second"), "lengths")
        rows = batch
    else:
        if config.segment_length:
            steps = nodes.add("Min", steps, "segment_length")
        known = nodes.add("Where", nodes.add("Less", "ids", "known_tokens"), "ids", "unknown")
        rows_first = nodes.add("Reshape", known, nodes.add("Concat", "any", steps, axis=0))
        ids = nodes.add("Transpose", rows_first, perm=[1, 0])
        is_real = nodes.add("Not", nodes.add("Equal", ids, "pad"))
        vectors = nodes.add("Gather", "embedding", ids, axis=0)
        if config.input_ngrams > 1:
            vectors = nodes.add("Add", vectors, ngrams_of_texts(nodes, config, weights, known, steps))
        rows = nodes.add("Gather", nodes.add("Shape", ids), "second")
    is_real = nodes.add("Unsqueeze", is_real, "third")
    real = nodes.add("Cast", is_real, to=TensorProto.FLOAT)
    zeros = nodes.add("ConstantOfShape", nodes.add("Concat", rows, "hidden_dim", axis=0))
    prefixes = {"": None, BACKWARD: real} if config.bidirectional else {"": None}

    def over_segments(pool: str, x: str) -> str:
        """Pool (rows, n) over the segments of a text to (batch, n)."""
        width = nodes.add("Gather", nodes.add("Shape", x), "second")
        segments = nodes.add("Reshape", x, nodes.add("Concat", batch, "any", width, axis=0))
        return _reduce(nodes, pool, segments, 1)

    def over_text(pool: str, x: str) -> str:
        """Pool (time, rows, n) to (batch, n): over each segment, then over the segments of a text."""
        return over_segments(pool, _reduce(nodes, pool, x, 0))

    def joined_over_segments(pool: str, parts: list[str]) -> str:
        return over_segments(pool, nodes.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0])

    if not features and _pools_as_it_reads(config):
        projected = {}
        for prefix, padding in prefixes.items():
            below = stack_over_time(nodes, config, vectors, zeros, prefix, padding, config.layers - 1)
            projected[prefix] = _projected(nodes, below, config.layers - 1, prefix)
        sums, maxima = pooled_over_time(nodes, config, zeros, projected, real, config.pooling == "all")
        count = over_text("ReduceSum", real)
        some = nodes.add("Max", count, "one")
        pooled = [nodes.add("Div", joined_over_segments("ReduceSum", sums), some)]
        largest = joined_over_segments("ReduceMax", maxima) if maxima else ""
    else:
        read = [stack_over_time(nodes, config, vectors, zeros, prefix, padding) for prefix, padding in prefixes.items()]
        if config.stride > 1:
            is_real, real, vectors = (strided(nodes, x) for x in (is_real, real, vectors))
        count = over_text("ReduceSum", real)
        some = nodes.add("Max", count, "one")
        states = nodes.add("Concat", *read, axis=2) if len(read) > 1 else read[0]
        if config.pooling == "last":
            place = nodes.add("CumSum", real, "zero_steps")
            is_last = nodes.add("Mul", real, nodes.add("Cast", nodes.add("Equal", place, count), to=TensorProto.FLOAT))
            pooled = [_reduce(nodes, "ReduceSum", nodes.add("Mul", read[0], is_last), 0)]
            if config.bidirectional:
                at_start = nodes.add("Squeeze", nodes.add("Gather", nodes.add("Mul", read[1], real), "first"), "first")
                pooled.append(at_start)
        else:
            pooled = [nodes.add("Div", over_text("ReduceSum", nodes.add("Mul", states, real)), some)]
        if config.pooling == "all":
            largest = over_text("ReduceMax", nodes.add("Where", is_real, states, "lowest"))
    if config.pooling == "all":
        pooled.insert(0, nodes.add("Where", nodes.add("Greater", count, "zero"), largest, "zero"))
        pooled.append(nodes.add("Div", over_text("ReduceSum", nodes.add("Mul", vectors, real)), some))
    joined = nodes.add("Concat", *pooled, axis=1)
    bias = nodes.add("Add", add_direct_path(nodes, direct), "output_bias") if direct else "output_bias"
    nodes.add("Add", nodes.add("MatMul", joined, "output_kernel"), bias, output=output)
    inputs = [value("ids", TensorProto.INT32, "batch", "time")]
    if features:
        inputs = [
            value("vectors", TensorProto.FLOAT, "batch", "time", features),
            value("lengths", TensorProto.INT32, "batch"),
        ]
    return graph_model(nodes, inputs, [value(output, TensorProto.FLOAT, "batch", outputs)], tensors(weights), constants)


def frame_width(config: ModelConfig, weights: Mapping[str, Array]) -> int:
    """Return the number of values of a vector or frame that a graph reads; 0 if it reads ids."""
    if config.cepstra:
        return len(weights["input_frame_mean"])
    return len(weights["input_mean"]) // config.frame_stack if "input_mean" in weights else 0


def read_frames(
    nodes: Nodes, config: ModelConfig, weights: Mapping[str, Array], constants: dict[str, NDArray[Any]]
) -> str:
    """Add what a model reads of the inputs ``vectors`` and ``lengths``: these vectors, or cepstra and slopes of frames.

    Args:
        nodes: the nodes.
        config: configuration of the model.
        weights: its weights.
        constants: constants of the graph, to which those of the cepstra are added.

    Returns:
        the name of the values, ``(batch, time, values)``.
    """
    if not config.cepstra:
        return "vectors"
    constants |= {
        "cepstral_kernel": cepstral_kernel(frame_width(config, weights), config.cepstra),
        "reach_of_slopes": np.array([0, REACH, 0, 0, REACH, 0]),
        "start": np.array(0, np.int32),
        "frame": np.array(1, np.int32),
        "second": np.array([1]),
        "third": np.array([2]),
    }
    time = nodes.add("Gather", nodes.add("Shape", "vectors"), "second")
    numbers = nodes.add("Range", "start", nodes.add("Cast", nodes.add("Squeeze", time), to=TensorProto.INT32), "frame")
    is_real = nodes.add("Less", numbers, nodes.add("Unsqueeze", "lengths", "second"))
    real = nodes.add("Unsqueeze", nodes.add("Cast", is_real, to=TensorProto.FLOAT), "third")
    centred = nodes.add("Mul", nodes.add("Sub", "vectors", "input_frame_mean"), real)
    wide = nodes.add("Pad", centred, "reach_of_slopes")
    shifted = []
    for shift in range(2 * REACH + 1):
        constants[f"frames_later_{shift}"] = np.array([shift])
        end = nodes.add("Add", time, f"frames_later_{shift}")
        shifted.append(nodes.add("Slice", wide, f"frames_later_{shift}", end, "second"))
    return nodes.add("MatMul", nodes.add("Concat", *shifted, axis=2), "cepstral_kernel")


def strided(nodes: Nodes, x: str) -> str:
    """Add a slice of ``(time, ...)``: the steps that the layers above the first read."""
    return nodes.add("Slice", x, "stride_start", "stride_end", "first", "stride")


def stack_over_time(
    nodes: Nodes,
    config: ModelConfig,
    vectors: str,
    zeros: str,
    prefix: str,
    real: str | None = None,
    layers: int | None = None,
) -> str:
    """Add the first layers of one direction, with `real` of the one from the end; return states (time, rows, hidden).

    None is all layers; with 0 layers these are the vectors.
    """
    hidden, below = "", vectors
    for layer in range(config.layers if layers is None else layers):
        projected = _projected(nodes, below, layer, prefix)
        if real is not None:
            projected = nodes.add("Mul", projected, real)
        states = layer_over_time(
            nodes, config, layer, zeros, projected, f"{prefix}last_state_{layer}", prefix, backward=real is not None
        )
        if layer == 0 and config.stride > 1:
            # Each block of steps is read where it ends for this direction.
            states = (
                strided(nodes, states)
                if real is None
                else nodes.add("Slice", states, "first", "last_block", "first", "stride")
            )
            real = real and strided(nodes, real)
        below = hidden = join(nodes, config, layer, hidden, states, prefix)
    return below


def _pools_as_it_reads(config: ModelConfig) -> bool:
    """Return whether the states of the last layer are pooled as they are, every one of them."""
    has_sum = config.residual and config.layers > 1
    changes = config.mixing != "none" or config.normalization != "none" or has_sum
    return config.pooling != "last" and config.stride == 1 and not changes


def _projected(nodes: Nodes, below: str, layer: int, prefix: str) -> str:
    """Add ``W x + b`` of a layer."""
    return nodes.add("Add", nodes.add("MatMul", below, f"{prefix}kernel_{layer}"), f"{prefix}bias_{layer}")


def _reduce(nodes: Nodes, pool: str, x: str, axis: int) -> str:
    if pool == "ReduceSum":  # whose axes became an input before those of ReduceMax did
        return nodes.add(pool, x, ("first", "second")[axis], keepdims=0)
    return nodes.add(pool, x, axes=[axis], keepdims=0)


def _random_inputs(model: Classifier, held_out: Batches[Any]) -> Inputs:
    """Return sequences of random content, one of them short and one empty.

    Vectors are made of the numbers of held-out ones: larger ones can drive a state of ReLU beyond all float32 digits.
    """
    generator = np.random.default_rng(0)
    length, backbone = 2 * (model.config.segment_length or 32), model.backbone
    if isinstance(held_out, VectorBatches):
        vectors, _ = next(held_out.all()).inputs
        vectors = generator.permuted(np.resize(vectors, (4, *vectors.shape[1:])), axis=1)
        length = vectors.shape[1]
        lengths = np.array([length, length // 3, 0, length], np.int32)
        return vectors * (np.arange(length)[:, None] < lengths[:, None, None]), lengths
    ids = generator.integers(1, backbone.vocabulary_size, (4, length), dtype=np.int32)
    ids[1, length // 3 :] = PAD_ID
    ids[2] = PAD_ID
    return (ids,)
