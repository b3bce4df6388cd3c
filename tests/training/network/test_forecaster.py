"""The forecaster: what it tells, what it starts from, and that its graphs compute the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from commands import error_of
from exported import in_onnxruntime
from numpy.typing import NDArray

from textrnn.config import Config, ModelConfig
from textrnn.data.series import Series
from textrnn.training.export.forecaster import ForecasterExporter, forecast_graphs
from textrnn.training.network.forecaster import Forecaster
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.tasks.configuration import from_dict

HORIZON = 3
VALUES = np.random.default_rng(0).normal(5, 2, (2, 7, 2)).astype(np.float32)
SHAPES: list[dict[str, Any]] = [
    {},
    {"layers": 2, "mixing": "glu", "normalization": "layer"},
    {"layers": 2, "mixing": "relu", "recurrence": "diagonal", "residual": False},
    {"recurrence": "dense", "activation": "tanh"},
]


def settings(**changes: Any) -> Config:
    model = {"hidden_dim": 6, "horizon": HORIZON, "memory": 20, "mixing": "none", **changes}
    return from_dict({"task": "forecast", "model": model})


def model_of(features: int = 2, **changes: Any) -> Forecaster:
    return Forecaster(settings(**changes).model, features, seed=1)


def randomised(**changes: Any) -> Forecaster:
    """A model whose every weight matters, and whose scaling is not 0 and 1."""
    model, generator = model_of(**changes), np.random.default_rng(1)
    for name, weight in model.named_weights().items():
        if name.startswith(("output", "bias", "shift", "mixing_bias")):
            weight.assign(generator.normal(0, 0.5, weight.shape))
    model.backbone.set_scaling([5.0, 4.0], [2.0, 0.5])
    return model


def wave(count: int = 300, training: int = 240) -> Series:
    values = 50 + 10 * np.sin(2 * np.pi * np.arange(count) / 25)
    return Series(values[:, None].astype(np.float32), training, ("x",))


def test_the_next_vectors_are_told_at_every_step() -> None:
    model = model_of()
    told, state = model(VALUES, model.backbone.initial_state(2))
    assert told.shape == (7, 2, HORIZON * 2)
    assert state.shape == (1, 2, 6)


def test_without_an_output_layer_nothing_changes() -> None:
    model = randomised()
    model.output_kernel.assign(np.zeros(model.output_kernel.shape))
    model.output_bias.assign(np.zeros(model.output_bias.shape))
    told, _ = model(VALUES, model.backbone.initial_state(2))
    now = (VALUES - [5, 4]) / [2, 0.5]
    expected = np.tile(now.transpose(1, 0, 2), (1, 1, HORIZON))
    np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-5)


def test_what_is_read_in_parts_is_told_as_of_the_whole() -> None:
    model = randomised()
    whole, last = model(VALUES, model.backbone.initial_state(2))
    first, state = model(VALUES[:, :4], model.backbone.initial_state(2))
    second, state = model(VALUES[:, 4:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-5)
    np.testing.assert_allclose(state, last, atol=1e-5)


def test_units_turn_as_often_slowly_as_quickly() -> None:
    model = model_of(hidden_dim=400, memory=1000)
    periods = 2 * np.pi / np.asarray(model.named_weights()["angle_0"])
    assert 2 <= periods.min() < 3
    assert 1500 < periods.max() <= 2000
    assert abs(np.mean(periods < np.sqrt(2 * 2000)) - 0.5) < 0.1
    weights = model_of(layers=2).arrays()
    assert not np.array_equal(weights["angle_0"], weights["angle_1"])


def test_the_start_is_the_least_squares_solution() -> None:
    series, model = wave(), model_of(1)
    model.start_from(series)
    np.testing.assert_allclose(model.backbone.input_mean, series.mean)
    hidden, _ = model.backbone(series.values[None], model.backbone.initial_state(1))
    hidden = np.asarray(hidden)[20 : 240 - HORIZON, 0].astype(np.float64)
    now = ((series.values - series.mean) / series.scale).astype(np.float64)[:, 0]
    rows = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    for ahead in range(1, HORIZON + 1):
        changes = now[20 + ahead : 240 - HORIZON + ahead] - now[20 : 240 - HORIZON]
        # The penalty as rows of their own, which ask for weights of 0.
        penalty = np.sqrt(0.01 * len(rows)) * np.eye(7)[:6]
        solution, *_ = np.linalg.lstsq(np.concatenate([rows, penalty]), np.append(changes, np.zeros(6)), rcond=None)
        found = np.append(np.asarray(model.output_kernel)[:, ahead - 1], np.asarray(model.output_bias)[ahead - 1])
        np.testing.assert_allclose(found, solution, atol=1e-4)


# The graphs


def reference(model: Forecaster, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of a linear network of rotations of one layer, ``(time, features)``: one line an equation."""
    w = fold_input_scale(model.config, model.arrays())
    state, told = np.zeros(6), []
    for x in values:
        projected = (x - w["input_mean"]) / w["input_scale"] @ w["kernel_0"] + w["bias_0"]
        swapped = np.concatenate([state[3:], state[:3]])
        state = projected + w["recurrent_0"] * state + w["crossed_0"] * swapped
        changes = (state @ w["output_kernel"] + w["output_bias"]).reshape(HORIZON, -1)
        told.append(x + changes * w["input_scale"])
    return np.array(told), state


def test_graphs_tell_what_the_equations_tell_in_units_of_the_data(tmp_path: Path) -> None:
    model = randomised()
    graphs = in_onnxruntime(forecast_graphs(model.config, model.arrays()), tmp_path)
    zero = np.zeros((1, 2, 6), np.float32)
    forecast, state = graphs["sequence"](VALUES, zero)
    assert forecast.shape == (2, 7, HORIZON, 2)
    for row in range(2):
        expected, expected_state = reference(model, VALUES[row])
        np.testing.assert_allclose(forecast[row], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(state[0, row], expected_state, rtol=1e-4, atol=1e-4)
    state = zero
    for position in range(7):
        told, state = graphs["step"](VALUES[:, position], state)
        np.testing.assert_allclose(told, forecast[:, position], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", SHAPES)
def test_graphs_of_every_form_equal_keras(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = randomised(**changes)
    series = Series(VALUES.reshape(-1, 2), 10, ("x", "y"))
    model.backbone.set_scaling(series.mean, series.scale)
    exporter = ForecasterExporter(model, series, dataclasses.replace(settings(), model=model.config))
    assert exporter.check(exporter.export(tmp_path / "bundle")) < 1e-4


def test_a_graph_that_differs_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, series = model_of(1), wave()
    model.start_from(series)

    def wrong(config: ModelConfig, arrays: Any) -> Any:
        return forecast_graphs(config, {**arrays, "output_bias": arrays["output_bias"] + 2e-4})

    monkeypatch.setattr("textrnn.training.export.forecaster.forecast_graphs", wrong)
    folder = tmp_path / "bundle"
    message = error_of(lambda: ForecasterExporter(model, series, settings()).export(folder))
    assert "must equal Keras within 0.0001 of the largest value, differed by 0.0001" in message
    assert not folder.exists()


def test_a_bundle_is_measured_and_in_float32_only(tmp_path: Path) -> None:
    model, series = model_of(1), wave()
    model.start_from(series)
    bundle = ForecasterExporter(model, series, settings()).export(tmp_path / "bundle")
    assert bundle.manifest.kind == "forecaster"
    held_out = bundle.manifest.metrics["held_out"]
    assert held_out["one_step_rmse"] < held_out["naive_one_step_rmse"] / 2
    shapes = [tensor.shape for tensor in bundle.manifest.graphs["sequence"].outputs]
    assert shapes == [("batch", "time", HORIZON, 1), (1, "batch", 6)]
    session = onnxruntime.InferenceSession(bundle.path("sequence.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == list(shapes[0])
    message = error_of(lambda: ForecasterExporter(model, series, settings()).export(tmp_path / "int8", "int8"))
    assert "a forecaster is exported in float32" in message
