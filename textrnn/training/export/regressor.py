"""Regressors to ONNX: one graph, ``regress``, to values ``(batch, outputs)`` in their own units.

It is the graph of a classifier, whose output layer holds the scale of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from textrnn.config import Config, ModelConfig
from textrnn.data.labelled_vectors import VectorBatches
from textrnn.metrics.regression import Scaling, errors
from textrnn.training.export.whole_sequence import Array, Inputs, SequenceExporter, whole_sequence_graph
from textrnn.training.network.classifier import Classifier
from textrnn.training.network.layers import fold_input_scale


class RegressorExporter(SequenceExporter):
    """Writes the bundle of a regressor.

    Args:
        model: the model, with the weights to export.
        held_out: sequences on which the graphs are checked and measured.
        scaling: mean and scale of the values.
        settings: the whole resolved configuration, for the manifest.
    """

    kind, use, what = "regressor", "regress", "value"

    def __init__(self, model: Classifier, held_out: VectorBatches, scaling: Scaling, settings: Config) -> None:
        super().__init__(model, None, held_out, settings)
        self.scaling = scaling

    def graph(self, in_8_bits: bool) -> onnx.ModelProto:
        return regress_graph(self.model.config, self.model.arrays(), self.scaling, in_8_bits)

    def as_model(self, outputs: NDArray[Any], inputs: Inputs) -> NDArray[Any]:
        return np.asarray(self.scaling.standardised(outputs))

    def figures(self, outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        found = errors(outputs, targets)
        return dict(found), dict(found)


def regress_graph(
    config: ModelConfig, arrays: Mapping[str, Array], scaling: Scaling, in_8_bits: bool = False
) -> onnx.ModelProto:
    """Build the graph of a regressor; see `whole_sequence_graph`.

    Args:
        config: configuration of the model.
        arrays: its weights, by name.
        scaling: mean and scale of the values.
        in_8_bits: whether large matrices are stored as int8.
    """
    weights = fold_input_scale(config, arrays)
    weights["output_kernel"] = weights["output_kernel"] * scaling.scale
    weights["output_bias"] = scaling.original(weights["output_bias"])
    return whole_sequence_graph(config, weights, "values", in_8_bits)
