"""Bundles of recognizers: the graph compared with the network, and measured on held-out recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from textrnn.config import AUDIO_READING, Config
from textrnn.data.audio.transcripts import TranscribedBatches
from textrnn.decoding.ctc import greedy
from textrnn.metrics.recognition import compare_transcripts
from textrnn.runtime.sessions import Sessions
from textrnn.sampling import log_softmax
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.export.exporter import Exporter, relative, require_close, run_graph
from textrnn.training.export.recognition.graph import recognize_graph
from textrnn.training.network.recognition.recognizer import Recognizer

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
