"""Forecasters to ONNX. Two graphs share one set of weights, and read and predict values in the units of the data:

* ``step``: one vector for each series, ``vectors (batch, features)`` and ``state (layers, batch, hidden)`` to
  ``forecast (batch, horizon, features)`` and ``next_state``;
* ``sequence``: many at once, ``vectors (batch, time, features)`` to ``forecast (batch, time, horizon, features)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.config import Config, ModelConfig
from textrnn.data.series import Series
from textrnn.errors import UserError
from textrnn.metrics.forecast_report import forecast_errors
from textrnn.runtime.sessions import Sessions
from textrnn.training.export.cell_graphs import AXES, Nodes, graph_model, value
from textrnn.training.export.exporter import Exporter, relative, require_close, run_graph
from textrnn.training.export.layer_graphs import join, layer_over_time, next_state, tensors
from textrnn.training.network.forecaster import Forecaster
from textrnn.training.network.layers import fold_input_scale

PARITY_STEPS = 512  # of the series on which a graph is compared with Keras

Array = NDArray[np.float32]


class ForecasterExporter(Exporter):
    """Writes the bundle of a forecaster.

    Args:
        model: the model, with the weights to export.
        series: the series on which the graphs are checked and, where it is held out, measured.
        settings: the whole resolved configuration, for the manifest.
    """

    kind = "forecaster"

    def __init__(self, model: Forecaster, series: Series, settings: Config) -> None:
        super().__init__(settings)
        self.model, self.series = model, series

    def runtime(self) -> dict[str, Any]:
        return {"columns": list(self.series.columns)}

    def graphs(self, precision: str) -> dict[str, onnx.ModelProto]:
        if precision != "float32":  # it is too small for 8 bits to save anything
            raise UserError(f"a forecaster is exported in float32, was: {precision}; leave out --quantize")
        return forecast_graphs(self.model.config, self.model.arrays())

    def compare(self, graphs: Sessions, precision: str) -> float:
        model, series = self.model, self.series
        shape = (3, 64, series.features)
        noise = np.random.default_rng(0).normal(size=shape).astype(np.float32) * series.scale + series.mean
        worst = 0.0
        for values in (noise, series.values[None, -PARITY_STEPS:]):
            state = self._zero_state(len(values))
            output, expected_state = (np.asarray(x) for x in model(values, state))
            expected = output.transpose(1, 0, 2).reshape(*values.shape[:2], -1, series.features)
            forecast, last_state = run_graph(graphs("sequence"), values, state)
            steps = []
            for position in range(values.shape[1]):
                step, state = run_graph(graphs("step"), values[:, position], state)
                steps.append(step)
            for found in (forecast, np.stack(steps, axis=1)):
                worst = np.maximum(worst, relative((found - series.mean) / series.scale - expected, expected))
            for found in (last_state, state):
                worst = np.maximum(worst, relative(found - expected_state, expected_state))
        require_close(float(worst), "value")
        return float(worst)

    def measure(self, graphs: Mapping[str, Sessions]) -> dict[str, Any]:
        series = self.series
        forecasts, _ = run_graph(graphs["float32"]("sequence"), series.values[None], self._zero_state(1))
        return {"held_out": forecast_errors(series.values, forecasts[0], series.training, self.settings.data.season)}

    def _zero_state(self, batch: int) -> Array:
        config = self.model.config
        return np.zeros((config.layers, batch, config.hidden_dim), np.float32)


def forecast_graphs(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, onnx.ModelProto]:
    """Build the graphs of a bundle, by their use, from the weights of the model, by name."""
    weights = fold_input_scale(config, arrays)
    scale = np.tile(weights["input_scale"], config.horizon)
    weights["output_kernel"] = weights["output_kernel"] * scale
    weights["output_bias"] = weights["output_bias"] * scale
    weights = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    return {use: _graph(config, weights, use == "sequence") for use in ("step", "sequence")}


def _graph(config: ModelConfig, weights: Mapping[str, Array], over_time: bool) -> onnx.ModelProto:
    layers, features = range(config.layers), len(weights["input_mean"])
    nodes = Nodes()
    first, last = ("first_state", "last_state") if over_time else ("state", "next_state")
    nodes.split_state(f"{first}_{layer}" for layer in layers)
    vectors = nodes.add("Transpose", "vectors", perm=[1, 0, 2]) if over_time else "vectors"
    below, hidden = nodes.add("Div", nodes.add("Sub", vectors, "input_mean"), "input_scale"), ""
    for layer in layers:
        projected = nodes.add("Add", nodes.add("MatMul", below, f"kernel_{layer}"), f"bias_{layer}")
        read = layer_over_time if over_time else next_state
        states = read(nodes, config, layer, f"{first}_{layer}", projected, f"{last}_{layer}")
        below = hidden = join(nodes, config, layer, hidden, states)
    nodes.join_state(f"{last}_{layer}" for layer in layers)
    output = nodes.add("Add", nodes.add("MatMul", hidden, "output_kernel"), "output_bias")
    if over_time:
        output = nodes.add("Transpose", output, perm=[1, 0, 2])
    changes = nodes.add("Reshape", output, "forecast_shape")
    now = nodes.add("Unsqueeze", "vectors", "axis_2" if over_time else "axis_1")
    nodes.add("Add", now, changes, output="forecast")
    time = ("time",) if over_time else ()
    state_shape = (config.layers, "batch", config.hidden_dim)
    shape = np.array([0] * (1 + over_time) + [config.horizon, features])  # 0 leaves a dimension as it is
    return graph_model(
        nodes,
        [
            value("vectors", TensorProto.FLOAT, "batch", *time, features),
            value("state", TensorProto.FLOAT, *state_shape),
        ],
        [
            value("forecast", TensorProto.FLOAT, "batch", *time, config.horizon, features),
            value("next_state", TensorProto.FLOAT, *state_shape),
        ],
        tensors(weights),
        {**AXES, "forecast_shape": shape},
    )
