"""A trained classifier to an ONNX graph to a bundle; nothing is written unless onnxruntime agrees with Keras.

One graph, ``classify``: ids ``(batch, time)`` to logits ``(batch, classes)``, built from the weights as the layers of a
language model's sequence graph are. The temperature that calibrates the probabilities is part of its output layer.

In 8 bits the weights alone are stored so, a scale for each column of a matrix and each row of the embedding, and read
as float32: activations quantised for a batch together would make a text's logits depend on its neighbours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.bundle import Bundle, Manifest, TokenizerFile, write_bundle
from textrnn.classification import probabilities
from textrnn.config import Config, ModelConfig
from textrnn.data.labelled_texts import TextBatch, TextBatches
from textrnn.data.labelled_vectors import VectorBatch, VectorBatches
from textrnn.data.places import without_folders
from textrnn.metrics.classification_report import ClassificationMetrics, measure
from textrnn.tokenizers.base import PAD_ID, Tokenizer
from textrnn.training.export.cell_graphs import Nodes, graph_model, value
from textrnn.training.export.language_model import (
    LARGE,
    join,
    layer_over_time,
    relative,
    require_close,
    runtime_block,
    tensors,
    versions,
    write_graphs,
)
from textrnn.training.network.classifier import LOWEST, Classifier
from textrnn.training.network.layers import fold_input_scale

PARITY_BATCHES = 8

Array = NDArray[np.float32]
Batches = TextBatches | VectorBatches
Inputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Calibration:
    """How held-out probabilities were made to fit how often they are right."""

    temperature: float
    """By which logits are divided (Guo et al. 2017)."""
    error_before: float
    """Expected calibration error without it."""
    error_after: float


def export_classifier(
    model: Classifier,
    tokenizer: Tokenizer | None,
    held_out: Batches,
    calibration: Calibration,
    settings: Config,
    folder: Path,
    quantize: str | None = None,
) -> Bundle:
    """Write the bundle of a trained classifier, and measure it in float32 and in 8 bits.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer; None where vectors are read.
        held_out: sequences on which the graphs are checked and measured.
        calibration: from these texts.
        settings: the whole resolved configuration, for the manifest.
        folder: where the bundle goes; must not exist.
        quantize: None or "int8".

    Raises:
        UserError: onnxruntime and Keras differ (`require_parity`), `folder` exists, or the disk refuses.
    """
    labels = held_out.dataset.labels
    metrics: dict[str, Any] = {
        "calibration": {
            "temperature": calibration.temperature,
            "calibration_error_before": calibration.error_before,
            "calibration_error": calibration.error_after,
        }
    }
    with tempfile.TemporaryDirectory() as name:
        specs = {}
        for precision in ("float32", "int8"):
            work = Path(name) / precision
            work.mkdir()
            graph = classify_graph(model.config, model.arrays(), calibration.temperature, precision == "int8")
            specs[precision] = write_graphs({"classify": graph}, work)
            if tokenizer:
                tokenizer.save(work)
            session = GraphSession(work / specs[precision]["classify"].file)
            if precision == "float32":
                check_parity(model, session, held_out, calibration.temperature)
            measured = _measure(session, held_out, labels)
            size = sum(path.stat().st_size for path in work.iterdir())
            metrics[precision] = {"accuracy": measured.accuracy, "nats": measured.nats, "bytes": size}
            if precision == (quantize or "float32"):
                metrics["held_out"] = measured.to_dict()
        finished = quantize or "float32"
        manifest = Manifest(
            kind="classifier" if tokenizer else "vector_classifier",
            precision=finished,
            tokenizer=TokenizerFile(tokenizer.kind, tokenizer.file_name) if tokenizer else None,
            start_id=None,
            graphs=specs[finished],
            labels=labels,
            runtime=runtime_block(settings, **_runtime(settings, tokenizer is not None)),
            metrics=metrics,
            config=without_folders(settings).to_dict(),
            created_with=versions(),
        )
        return write_bundle(folder, manifest, Path(name) / finished)


def _runtime(settings: Config, reads_text: bool) -> dict[str, Any]:
    if reads_text:
        return {"max_length": settings.data.max_length, "segment_length": settings.model.segment_length}
    return vector_runtime(settings)


def vector_runtime(settings: Config) -> dict[str, Any]:
    """Return what the runtime needs to know of a network that reads whole sequences of vectors."""
    data, model = settings.data, settings.model
    return {
        "steps": data.steps,
        "permutation": data.permutation,
        "stride": model.stride,
        "hidden_dim": model.hidden_dim,
    }


class GraphSession:
    """A graph of whole sequences in onnxruntime: ids, or vectors and lengths, to logits or values."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def run(self, *inputs: NDArray[Any]) -> Array:
        """What the graph gives, ``(batch, outputs)``, of what a model is called with."""
        (outputs,) = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return np.asarray(outputs, np.float32)


def classify_graph(
    config: ModelConfig, arrays: Mapping[str, Array], temperature: float = 1.0, in_8_bits: bool = False
) -> onnx.ModelProto:
    """Ids int32 ``(batch, time)``, each text followed by padding -> logits float32 ``(batch, classes)``.

    With segments, time must be a multiple of `segment_length`, or less. Of a model of vectors: vectors float32
    ``(batch, time, features)`` and lengths int32 ``(batch,)`` in place of ids.
    """
    weights = fold_input_scale(config, arrays)
    if config.bidirectional:
        weights = fold_input_scale(config, weights, "backward_")
    for name in ("output_kernel", "output_bias"):
        weights[name] = weights[name] / np.float32(temperature)
    return whole_sequence_graph(config, weights, "logits", in_8_bits)


def whole_sequence_graph(
    config: ModelConfig, weights: dict[str, Any], output: str, in_8_bits: bool = False
) -> onnx.ModelProto:
    """As `classify_graph`, of weights as the graph multiplies them; `output` is the name of what it gives."""
    outputs = len(weights["output_bias"])
    features = len(weights["input_mean"]) if "input_mean" in weights else 0
    nodes = Nodes()
    constants: dict[str, NDArray[Any]] = {
        "pad": np.array(PAD_ID, np.int32),
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
    if in_8_bits:
        weights = _in_8_bits(nodes, weights)
    shape = nodes.add("Shape", "vectors" if features else "ids")
    batch, steps = nodes.add("Gather", shape, "first"), nodes.add("Gather", shape, "second")
    if features:
        by_time = nodes.add("Transpose", "vectors", perm=[1, 0, 2])
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
        rows_first = nodes.add("Reshape", "ids", nodes.add("Concat", "any", steps, axis=0))
        ids = nodes.add("Transpose", rows_first, perm=[1, 0])
        is_real = nodes.add("Not", nodes.add("Equal", ids, "pad"))
        vectors = nodes.add("Gather", "embedding", ids, axis=0)
        rows = nodes.add("Gather", nodes.add("Shape", ids), "second")
    is_real = nodes.add("Unsqueeze", is_real, "third")
    real = nodes.add("Cast", is_real, to=TensorProto.FLOAT)
    zeros = nodes.add("ConstantOfShape", nodes.add("Concat", rows, "hidden_dim", axis=0))
    read = [_stack(nodes, config, vectors, zeros, "")]
    if config.bidirectional:
        read.append(_stack(nodes, config, vectors, zeros, "backward_", real))
    if config.stride > 1:
        is_real, real, vectors = (strided(nodes, x) for x in (is_real, real, vectors))

    def over_text(pool: str, x: str) -> str:
        """(time, rows, n) to (batch, n): over each segment, then over the segments of a text."""
        width = nodes.add("Gather", nodes.add("Shape", x), "third")
        segments = nodes.add("Reshape", _reduce(nodes, pool, x, 0), nodes.add("Concat", batch, "any", width, axis=0))
        return _reduce(nodes, pool, segments, 1)

    count = over_text("ReduceSum", real)
    some = nodes.add("Max", count, "one")
    states = nodes.add("Concat", *read, axis=2) if len(read) > 1 else read[0]
    if config.pooling == "last":
        place = nodes.add("CumSum", real, "zero_steps")
        is_last = nodes.add("Mul", real, nodes.add("Cast", nodes.add("Equal", place, count), to=TensorProto.FLOAT))
        ends = [_reduce(nodes, "ReduceSum", nodes.add("Mul", read[0], is_last), 0)]
        if config.bidirectional:
            at_start = nodes.add("Squeeze", nodes.add("Gather", nodes.add("Mul", read[1], real), "first"), "first")
            ends.append(at_start)
        pooled = ends
    else:
        pooled = [nodes.add("Div", over_text("ReduceSum", nodes.add("Mul", states, real)), some)]
    if config.pooling == "all":
        largest = over_text("ReduceMax", nodes.add("Where", is_real, states, "lowest"))
        pooled.insert(0, nodes.add("Where", nodes.add("Greater", count, "zero"), largest, "zero"))
        pooled.append(nodes.add("Div", over_text("ReduceSum", nodes.add("Mul", vectors, real)), some))
    joined = nodes.add("Concat", *pooled, axis=1)
    nodes.add("Add", nodes.add("MatMul", joined, "output_kernel"), "output_bias", output=output)
    inputs = [value("ids", TensorProto.INT32, "batch", "time")]
    if features:
        inputs = [
            value("vectors", TensorProto.FLOAT, "batch", "time", features),
            value("lengths", TensorProto.INT32, "batch"),
        ]
    return graph_model(nodes, inputs, [value(output, TensorProto.FLOAT, "batch", outputs)], tensors(weights), constants)


def strided(nodes: Nodes, x: str) -> str:
    """What the layers above the first read of ``(time, ...)``."""
    return nodes.add("Slice", x, "stride_start", "stride_end", "first", "stride")


def _stack(nodes: Nodes, config: ModelConfig, vectors: str, zeros: str, prefix: str, real: str | None = None) -> str:
    """Hidden states (time, rows, hidden) of the layers of one direction; with `real`, of the one from the end."""
    hidden, below = "", vectors
    for layer in range(config.layers):
        product = nodes.add("MatMul", below, f"{prefix}kernel_{layer}")
        projected = nodes.add("Add", product, f"{prefix}bias_{layer}")
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
    return hidden


def _reduce(nodes: Nodes, pool: str, x: str, axis: int) -> str:
    if pool == "ReduceSum":  # whose axes became an input before those of ReduceMax did
        return nodes.add(pool, x, ("first", "second")[axis], keepdims=0)
    return nodes.add(pool, x, axes=[axis], keepdims=0)


def _in_8_bits(nodes: Nodes, weights: Mapping[str, Array]) -> dict[str, Any]:
    """The weights, large matrices as int8 and their scales; the nodes that make float32 of them are added."""
    stored: dict[str, Any] = {}
    for name, array in weights.items():
        if array.ndim < 2 or array.nbytes < LARGE:
            stored[name] = array
            continue
        # A token's row of the embedding is read alone; of every other matrix the columns are outputs.
        scale = np.abs(array).max(axis=1 if name == "embedding" else 0, keepdims=True) / 127 + np.float32(1e-12)
        stored[f"{name}_int8"] = np.round(array / scale).astype(np.int8)
        stored[f"{name}_scale"] = scale.astype(np.float32)
        nodes.add("Mul", nodes.add("Cast", f"{name}_int8", to=TensorProto.FLOAT), f"{name}_scale", output=name)
    return stored


def check_parity(model: Classifier, session: GraphSession, held_out: Batches, temperature: float) -> float:
    """Compare a float32 graph with Keras on random and on held-out sequences; see `require_parity`."""
    return require_parity(
        model, held_out, "logit", session.run, lambda *inputs: np.asarray(model(*inputs)) / np.float32(temperature)
    )


def require_parity(
    model: Classifier,
    held_out: Batches,
    what: str,
    found: Callable[..., NDArray[Any]],
    expected: Callable[..., NDArray[Any]],
) -> float:
    """Compare a float32 graph with Keras on random and on held-out sequences.

    Args:
        what: an output is, for people.
        found: what the graph gives for the inputs of a model, ``(batch, outputs)``.
        expected: what Keras gives.

    Returns:
        the largest difference, as `relative` for each batch.

    Raises:
        UserError: it is above `TOLERANCE`.
    """
    worst = 0.0
    batches: Iterable[TextBatch | VectorBatch] = islice(held_out.all(), PARITY_BATCHES)
    for inputs in chain([_random_inputs(model, held_out)], (batch.inputs for batch in batches)):
        outputs = expected(*inputs)
        worst = float(np.maximum(worst, relative(found(*inputs) - outputs, outputs)))  # NaN stays
    require_close(worst, what)
    return worst


def _random_inputs(model: Classifier, held_out: Batches) -> Inputs:
    """Sequences of random content, one of them short and one without anything.

    Vectors are made of the numbers of held-out ones: larger ones can drive a state of ReLU beyond all float32 digits.
    """
    generator = np.random.default_rng(0)
    length, backbone = 2 * (model.config.segment_length or 32), model.backbone
    if isinstance(held_out, VectorBatches):
        vectors = next(held_out.all()).values
        vectors = generator.permuted(np.resize(vectors, (4, *vectors.shape[1:])), axis=1)
        length = vectors.shape[1]
        lengths = np.array([length, length // 3, 0, length], np.int32)
        return vectors * (np.arange(length)[:, None] < lengths[:, None, None]), lengths
    ids = generator.integers(1, backbone.vocabulary_size, (4, length), dtype=np.int32)
    ids[1, length // 3 :] = PAD_ID
    ids[2] = PAD_ID
    return (ids,)


def _measure(session: GraphSession, held_out: Batches, labels: tuple[str, ...]) -> ClassificationMetrics:
    probs, targets = [], []
    for batch in held_out.all():
        texts = len(batch.indices)
        probs.append(probabilities(session.run(*batch.inputs)[:texts]))
        targets.append(batch.targets[:texts])
    return measure(np.concatenate(probs), np.concatenate(targets), labels)
