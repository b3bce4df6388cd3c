"""A trained forecaster to ONNX graphs to a bundle; nothing is written unless onnxruntime agrees with Keras.

Two graphs share one set of weights, and read and predict values in the units of the data:

* ``step``: one vector for each series, ``vectors (batch, features)`` and ``state (layers, batch, hidden)`` to
  ``forecast (batch, horizon, features)`` and ``next_state``;
* ``sequence``: many at once, ``vectors (batch, time, features)`` to ``forecast (batch, time, horizon, features)``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.bundle import Bundle, Manifest, write_bundle
from textrnn.config import Config, ModelConfig
from textrnn.data.places import without_folders
from textrnn.data.series import Series
from textrnn.errors import UserError
from textrnn.metrics.forecast_report import forecast_errors
from textrnn.training.export.cell_graphs import AXES, Nodes, graph_model, value
from textrnn.training.export.language_model import (
    GraphSession,
    join,
    layer_over_time,
    next_state,
    relative,
    require_close,
    runtime_block,
    tensors,
    versions,
    write_graphs,
)
from textrnn.training.network.forecaster import Forecaster
from textrnn.training.network.layers import fold_input_scale

PARITY_STEPS = 512  # of the series on which a graph is compared with Keras

Array = NDArray[np.float32]


def export_forecaster(
    model: Forecaster, series: Series, settings: Config, folder: Path, quantize: str | None = None
) -> Bundle:
    """Write the bundle of a trained forecaster, measured on what is held out.

    Args:
        model: the model, with the weights to export.
        series: on which the graphs are checked and measured.
        settings: the whole resolved configuration, for the manifest.
        folder: where the bundle goes; must not exist.
        quantize: None; a forecaster is too small for 8 bits to save anything.

    Raises:
        UserError: 8 bits are asked for, onnxruntime and Keras differ (`check_forecasts`), `folder` exists, or the disk
            refuses.
    """
    if quantize:
        raise UserError(f"a forecaster is exported in float32, was: {quantize}; leave out --quantize")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        specs = write_graphs(forecast_graphs(model.config, model.arrays()), work)
        sessions = {use: GraphSession(work / graph.file) for use, graph in specs.items()}
        check_forecasts(model, sessions, series)
        forecasts, _ = sessions["sequence"].read(series.values[None])
        errors = forecast_errors(series.values, forecasts[0], series.training, settings.data.season)
        manifest = Manifest(
            kind="forecaster",
            precision="float32",
            tokenizer=None,
            start_id=None,
            graphs=specs,
            runtime=runtime_block(settings),
            metrics={"held_out": errors},
            config=without_folders(settings).to_dict(),
            created_with=versions(),
        )
        return write_bundle(folder, manifest, work)


def forecast_graphs(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, onnx.ModelProto]:
    """The graphs of a bundle by their use, from the weights of the model by name."""
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


def check_forecasts(model: Forecaster, graphs: Mapping[str, GraphSession], series: Series) -> float:
    """Compare float32 graphs with Keras on random vectors and on the series.

    Returns:
        the largest difference of a standardised value or a state, as `relative`.

    Raises:
        UserError: it is above `TOLERANCE`.
    """
    shape = (3, 64, series.features)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32) * series.scale + series.mean
    worst = 0.0
    for values in (noise, series.values[None, -PARITY_STEPS:]):
        state = np.zeros((model.config.layers, len(values), model.config.hidden_dim), np.float32)
        output, expected_state = (np.asarray(x) for x in model(values, state))
        expected = output.transpose(1, 0, 2).reshape(*values.shape[:2], -1, series.features)
        forecast, last_state = graphs["sequence"].run(values, state)
        steps = []
        for position in range(values.shape[1]):
            step, state = graphs["step"].run(values[:, position], state)
            steps.append(step)
        for found in (forecast, np.stack(steps, axis=1)):
            worst = np.maximum(worst, relative((found - series.mean) / series.scale - expected, expected))
        for found in (last_state, state):
            worst = np.maximum(worst, relative(found - expected_state, expected_state))
    require_close(float(worst), "value")
    return float(worst)
