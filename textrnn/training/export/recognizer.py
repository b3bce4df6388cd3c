"""Recognizers to ONNX. One graph, ``recognize``: frames ``vectors (batch, time, features)`` and ``lengths (batch,)`` to
``logits (batch, steps, vocabulary)``, where a step is `frame_stack` frames. The blank is token 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import AUDIO_READING, Config, ModelConfig
from textrnn.data.audio.transcripts import TranscribedBatches
from textrnn.decoding.ctc import greedy
from textrnn.metrics.recognition import compare_transcripts
from textrnn.runtime.sessions import Sessions
from textrnn.sampling import log_softmax
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.export.cell_graphs import Nodes, graph_model, value
from textrnn.training.export.exporter import Exporter, relative, require_close, run_graph
from textrnn.training.export.layer_graphs import tensors
from textrnn.training.export.quantization import stored_in_8_bits
from textrnn.training.export.whole_sequence import stack_over_time
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.network.recognition.recognizer import Recognizer
from textrnn.training.network.weight_names import BACKWARD

PARITY_BATCHES = 4

Array = NDArray[np.float32]


class RecognizerExporter(Exporter):
    """Writes the bundle of a recognizer.

    Args:
        model: the model, with the weights to export.
        tokenizer: that of the transcripts.
        held_out: recordings on which the graph is checked and measured.
        settings: the whole resolved configuration, for the manifest.
        report: called with the figures of the float32 graph on held-out recordings, and the log-probabilities
            ``(steps, tokens)`` of each, by its number in the held-out set.
    """

    kind = "recognizer"

    def __init__(
        self,
        model: Recognizer,
        tokenizer: Tokenizer,
        held_out: TranscribedBatches,
        settings: Config,
        report: Callable[[Mapping[str, Any], Mapping[int, NDArray[np.float64]]], None] | None = None,
    ) -> None:
        super().__init__(settings, tokenizer)
        self.model, self.text, self.held_out, self.report = model, tokenizer, held_out, report

    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        return {"recognize": recognize_graph(self.model.config, self.model.arrays(), precision == "int8")}

    def runtime(self) -> dict[str, Any]:
        data, model = self.settings.data, self.settings.model
        return {
            "audio": {name: getattr(data, name) for name in AUDIO_READING},
            "frame_stack": model.frame_stack,
            "hidden_dim": model.hidden_dim,
        }

    def compare(self, graphs: Sessions, precision: str) -> float:
        worst, stack = 0.0, self.model.config.frame_stack
        batches = islice(self.held_out.all(), PARITY_BATCHES)
        for frames, lengths in chain([self._random_inputs()], (batch.inputs for batch in batches)):
            (found,) = run_graph(graphs("recognize"), frames, lengths)
            if precision != "float32":
                continue
            expected = np.asarray(self.model(frames, lengths)[0]).swapaxes(0, 1)
            is_read = np.arange(expected.shape[1]) < lengths[:, None] // stack
            worst = float(np.maximum(worst, relative((found - expected)[is_read], expected[is_read])))  # NaN stays
        require_close(worst, "logit")
        return worst

    def _random_inputs(self) -> tuple[Array, NDArray[np.int32]]:
        """Return held-out frames in random order, in one recording that is short and one that is empty."""
        frames, _ = next(self.held_out.all()).inputs
        frames = np.random.default_rng(0).permuted(np.resize(frames, (4, *frames.shape[1:])), axis=1)
        time = frames.shape[1]
        return frames, np.array([time, time // 3, 0, time], np.int32)

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for precision, sessions in graphs.items():
            log_probs = self._log_probs(sessions)
            texts = [self.text.decode(self.held_out.dataset.transcript(index)) for index in log_probs]
            figures = compare_transcripts(texts, [self.text.decode(greedy(each)) for each in log_probs.values()])
            metrics["held_out"], metrics[precision] = figures, dict(figures)
            if precision == "float32" and self.report:
                self.report(figures, log_probs)
        return metrics

    def _log_probs(self, sessions: Sessions) -> dict[int, NDArray[np.float64]]:
        """Return the log-probabilities ``(steps, tokens)`` of held-out recordings by their numbers."""
        found, stack = dict[int, NDArray[np.float64]](), self.model.config.frame_stack
        for batch in self.held_out.all():
            frames, lengths = batch.inputs
            (logits,) = run_graph(sessions("recognize"), frames, lengths)
            for row, index in enumerate(batch.indices.tolist()):
                found[index] = log_softmax(logits[row, : lengths[row] // stack])
        return found


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
    width = len(weights["input_mean"])
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
    whole = nodes.add("Slice", "vectors", "first", nodes.add("Mul", steps, "stack"), "second")
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
            value("vectors", TensorProto.FLOAT, "batch", "time", width // stack),
            value("lengths", TensorProto.INT32, "batch"),
        ],
        [value("logits", TensorProto.FLOAT, "batch", "steps", outputs)],
        tensors(weights),
        constants,
    )
