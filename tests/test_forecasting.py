"""A forecaster of a bundle: what it tells after a history, step by step, beyond its horizon; and its commands."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, error_of, told
from conftest import TrainedRun, write_wave
from numpy.typing import NDArray
from test_layering import TRAINING_ONLY, loaded_by
from tiny_bundle import write_tiny_bundle

import textrnn
from textrnn.data.series import read_series
from textrnn.runtime import forecaster as forecasting
from textrnn.runtime.forecaster import Forecaster
from textrnn.runtime.load import load_forecaster

Array = NDArray[Any]


@pytest.fixture(scope="module")
def model(trained_forecaster: TrainedRun) -> Forecaster:
    loaded = textrnn.load(trained_forecaster.folder)
    assert isinstance(loaded, Forecaster)
    return loaded


@pytest.fixture(scope="module")
def history(trained_forecaster: TrainedRun) -> Array:
    values = read_series([str(trained_forecaster.source)])[0][:, 0]
    assert values.shape == (400,)
    return values


def wave_at(steps: Array) -> Array:
    return np.asarray(100 + 10 * np.sin(2 * np.pi * steps / 24))


def test_what_follows_a_history_is_told(model: Forecaster, history: Array) -> None:
    assert (model.horizon, model.features) == (5, 1)
    forecast = model.forecast(history)
    assert (forecast.shape, forecast.dtype) == ((5, 1), np.float32)
    np.testing.assert_allclose(forecast[:, 0], wave_at(np.arange(400, 405)), atol=0.5)
    np.testing.assert_array_equal(model.forecast(history[:, None].tolist()), forecast)
    np.testing.assert_array_equal(model.forecast(history, steps=2), forecast[:2])


def test_a_model_knows_the_names_of_its_columns(model: Forecaster) -> None:
    assert model.columns == ("Level",)
    early = Path(__file__).with_name("golden") / "forecaster-float32"  # of a version that did not keep them
    assert textrnn.load(early).columns == ()


def test_beyond_the_horizon_its_own_forecasts_are_read(model: Forecaster, history: Array) -> None:
    forecast = model.forecast(history, steps=12)
    assert forecast.shape == (12, 1)
    np.testing.assert_array_equal(forecast[:5], model.forecast(history))
    after = np.concatenate([history, forecast[:5, 0]])
    np.testing.assert_allclose(forecast[5:10], model.forecast(after), atol=1e-3)
    np.testing.assert_allclose(forecast[:, 0], wave_at(np.arange(400, 412)), atol=1)


def test_step_by_step_is_told_what_is_told_of_the_whole(
    model: Forecaster, history: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, forecasts = model.initial_state(2), []
    for value in history[:50]:
        forecast, state = model.step([[value], [value + 1]], state)
        forecasts.append(forecast[0])
    assert forecast.shape == (2, 5, 1)
    whole = model.forecasts(history[:50])
    np.testing.assert_allclose(np.stack(forecasts), whole, atol=1e-3)
    monkeypatch.setattr(forecasting, "READ_AT_ONCE", 35)  # seven steps
    np.testing.assert_allclose(model.forecasts(history[:50]), whole, atol=1e-3)
    np.testing.assert_allclose(model.forecast(history[:50]), whole[-1], atol=1e-3)


def test_what_is_no_history_is_refused(model: Forecaster) -> None:
    assert "has: nan" in error_of(lambda: model.forecast([1, float("nan")]))
    assert "the history has 2 values a step" in error_of(lambda: model.forecast([[1, 2]]))
    assert "the history is (0, 1)" in error_of(lambda: model.forecast([]))
    assert "steps must be a whole number, 1 or above, was: 0" in error_of(lambda: model.forecast([1], steps=0))


def test_other_models_are_no_forecasters(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    message = error_of(lambda: load_forecaster(tmp_path / "bundle"))
    assert "a forecaster is needed" in message
    assert "is a language model" in message


# The commands


def test_the_command_goes_on_after_the_series_of_the_run(
    trained_forecaster: TrainedRun, model: Forecaster, history: Array
) -> None:
    result = call("forecast", trained_forecaster.folder, "--steps", 3)
    assert result.code == 0, result.err
    first, *lines = result.out.splitlines()
    assert first == "step\tLevel"
    expected = model.forecast(history, steps=3)[:, 0]
    assert lines == [f"{number}\t{value:.6g}" for number, value in enumerate(expected.tolist(), 1)]


def test_the_command_goes_on_after_a_source(trained_forecaster: TrainedRun, model: Forecaster, tmp_path: Path) -> None:
    source = write_wave(tmp_path / "later.csv", 130)
    bundle = trained_forecaster.folder / "bundle"
    result = call("forecast", bundle, source, "--values", "Level", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert (document["columns"], document["source"]) == (["Level"], [str(source)])
    np.testing.assert_allclose(document["forecast"], model.forecast(read_series([str(source)])[0]), rtol=1e-6)
    assert "give a SOURCE or the run folder" in told(call("forecast", bundle))
    assert "of 'Date, Level'" in told(call("forecast", bundle, source, "--values", "Pegel"))


def test_a_run_is_measured_on_what_it_held_out(trained_forecaster: TrainedRun, model: Forecaster) -> None:
    result = call("evaluate", trained_forecaster.folder, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    held_out = model.manifest.metrics["held_out"]
    assert {name: document[name] for name in held_out} == pytest.approx(held_out, rel=1e-3, abs=1e-4)
    assert document["values"] == 40
    assert "naive one step rmse" in call("evaluate", trained_forecaster.folder).out


@pytest.mark.parametrize("command", ["forecast", "evaluate"])
def test_the_commands_load_no_training_package(trained_forecaster: TrainedRun, command: str) -> None:
    call_of_command = "import sys\nfrom textrnn.cli import main\nif main(sys.argv[1:]): sys.exit('the command failed')"
    loaded = loaded_by(call_of_command, command, str(trained_forecaster.folder), str(trained_forecaster.source))
    assert "textrnn" in loaded
    assert not loaded & TRAINING_ONLY


def test_a_model_is_measured_on_a_source(trained_forecaster: TrainedRun, tmp_path: Path) -> None:
    source = write_wave(tmp_path / "other.csv", 200)
    result = call("evaluate", trained_forecaster.folder / "bundle", source, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["values"] == 199
    short = write_wave(tmp_path / "short.csv", 5)
    assert "must be longer than the horizon of 5" in told(call("evaluate", trained_forecaster.folder, short))
    assert "--window is for" in told(call("evaluate", trained_forecaster.folder, "--window", 3))


def test_a_series_from_standard_input_is_forecast_as_its_file(
    trained_forecaster: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = call("forecast", trained_forecaster.folder, trained_forecaster.source, "--json")
    with trained_forecaster.source.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8"))
    result = call("forecast", trained_forecaster.folder, "-", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["forecast"] == json.loads(expected.out)["forecast"]
