"""Classifiers to ONNX: one graph, ``classify``, to logits ``(batch, classes)``.

The temperature that calibrates the probabilities is part of its output layer. So is the direct path, at its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from textrnn.classification import probabilities
from textrnn.config import Config, ModelConfig
from textrnn.data.labelled import Batches
from textrnn.metrics.classification_report import measure
from textrnn.runtime.sessions import Sessions
from textrnn.tokenizers.base import PAD_ID, Tokenizer
from textrnn.training.direct.model import DirectPath
from textrnn.training.export.whole_sequence import Array, Inputs, SequenceExporter, whole_sequence_graph
from textrnn.training.network.classifier import Classifier
from textrnn.training.network.layers import fold_input_scale


@dataclass(frozen=True)
class Calibration:
    """Calibration of the probabilities on held-out data."""

    temperature: float
    """Divisor of the network's logits (Guo et al. 2017)."""
    direct_scale: float
    """Factor of the direct path's logits, which are added; 0 where there is none."""
    error_before: float
    """Expected calibration error without it."""
    error_after: float


class ClassifierExporter(SequenceExporter):
    """Writes the bundle of a classifier of texts or vectors.

    Args:
        model: the model, with the weights to export.
        tokenizer: its tokenizer; None where vectors are read.
        held_out: sequences on which the graphs are checked and measured.
        calibration: calibration on these sequences.
        settings: the whole resolved configuration, for the manifest.
        direct: the direct path; None for a model without.
    """

    use, what = "classify", "logit"

    def __init__(
        self,
        model: Classifier,
        tokenizer: Tokenizer | None,
        held_out: Batches[Any],
        calibration: Calibration,
        settings: Config,
        direct: DirectPath | None = None,
    ) -> None:
        super().__init__(model, tokenizer, held_out, settings)
        self.kind = "classifier" if tokenizer else "vector_classifier"
        self.labels, self.calibration = held_out.dataset.labels, calibration
        self.direct = direct and direct.scaled(calibration.direct_scale)

    def graph(self, in_8_bits: bool) -> onnx.ModelProto:
        temperature = self.calibration.temperature
        return classify_graph(self.model.config, self.model.arrays(), temperature, in_8_bits, self.direct)

    def as_model(self, outputs: NDArray[Any], inputs: Inputs) -> NDArray[Any]:
        if self.direct:
            outputs = outputs - self.direct.logits([ids[ids != PAD_ID] for ids in inputs[0]])
        return outputs * np.float32(self.calibration.temperature)

    def figures(self, outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        found = measure(probabilities(outputs), targets, self.held_out.dataset.labels)
        return found.to_dict(), {"accuracy": found.accuracy, "nats": found.nats}

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        calibration = {
            "temperature": self.calibration.temperature,
            "direct_scale": self.calibration.direct_scale,
            "calibration_error_before": self.calibration.error_before,
            "calibration_error": self.calibration.error_after,
        }
        return {"calibration": calibration, **super().measure(graphs)}


def classify_graph(
    config: ModelConfig,
    arrays: Mapping[str, Array],
    temperature: float = 1.0,
    in_8_bits: bool = False,
    direct: DirectPath | None = None,
) -> onnx.ModelProto:
    """Build the graph of a classifier; see `whole_sequence_graph`.

    Args:
        config: configuration of the model.
        arrays: its weights, by name.
        temperature: divisor of the network's logits.
        in_8_bits: whether large matrices are stored as int8.
        direct: the direct path, at its scale.
    """
    weights = fold_input_scale(config, arrays)
    for name in ("output_kernel", "output_bias"):
        weights[name] = weights[name] / np.float32(temperature)
    return whole_sequence_graph(config, weights, "logits", in_8_bits, direct)
