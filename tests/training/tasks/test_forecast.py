"""Training of forecasters: that a wave is learned, what is told of it, and that a resumed run ends the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import call, files_of, told
from conftest import TrainedRun, forecast_settings, write_wave

from textrnn.bundle import read_bundle
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.forecast.trainer import ForecasterTrainer
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import trainer_of


def trainer_in(folder: Path, source: Path, **changes: object) -> ForecasterTrainer:
    if folder.exists():
        run = open_run(folder, quiet=True)
    else:
        arguments = ["task=forecast", f"data.source={json.dumps([str(source)])}", *forecast_settings(**changes)[1::2]]
        run = create_run(folder, load_config(None, arguments), quiet=True)
    trainer = trainer_of(run)
    assert isinstance(trainer, ForecasterTrainer)
    return trainer


def test_a_wave_is_learned(trained_forecaster: TrainedRun) -> None:
    held_out = read_bundle(trained_forecaster.folder / "bundle").manifest.metrics["held_out"]
    for ahead in ("one_step", "horizon"):
        assert held_out[f"{ahead}_rmse"] < held_out[f"naive_{ahead}_rmse"] / 10
        assert held_out[f"seasonal_naive_{ahead}_rmse"] < 1e-3  # there is nothing but the season


def test_a_run_leaves_its_history_and_pictures(trained_forecaster: TrainedRun) -> None:
    folder = trained_forecaster.folder
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["values_per_second"] > 0
    assert lines[-1]["held_out_loss"] < 0.01
    assert lines[-1]["naive_horizon_rmse"] > 1
    for name in ("forecast.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "error at 1 step" in trained_forecaster.result.err
    assert f"try: textrnn forecast {folder}" in trained_forecaster.result.err


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    source = write_wave(tmp_path / "wave.csv", noise=2.0)
    trainer = trainer_in(tmp_path / "run", source, train__epochs=40)
    trainer.model.output_kernel.assign(np.zeros(trainer.model.output_kernel.shape))
    before = trainer.measure()
    trainer.fit()
    assert trainer.measure()["held_out_loss"] < before["held_out_loss"] / 2
    # What is held out is read after the whole training part.
    forecasts = trainer.forecasts()
    assert forecasts.shape == (400, 5, 1)
    errors = forecasts[359:-1, 0, 0] - trainer.series.values[360:, 0]
    assert trainer.measure()["one_step_rmse"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)


def test_a_run_that_goes_on_from_a_checkpoint_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    source = write_wave(tmp_path / "wave.csv", noise=1.0)
    changes = {"train__epochs": 5, "model__dropout": 0.3, "train__evaluations": 1}
    whole = trainer_in(tmp_path / "whole", source, **changes)
    train_one = whole.train_one

    def copied_after_four() -> object:
        if whole.progress.step == 4:
            whole._save()
            shutil.copytree(whole.run.folder, tmp_path / "stopped")
        return train_one()

    whole.train_one = copied_after_four  # type: ignore[method-assign]
    whole.fit()
    resumed = trainer_in(tmp_path / "stopped", source)
    resumed.fit()
    (first, arrays), (second, others) = (load_checkpoint(trainer.run.checkpoint) for trainer in (whole, resumed))
    assert first.step == second.step == 10
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def test_a_bundle_is_as_the_run_and_can_be_exported_again(trained_forecaster: TrainedRun, tmp_path: Path) -> None:
    result = call("export", trained_forecaster.folder, "--out", tmp_path / "again")
    assert result.code == 0, result.err
    assert files_of(tmp_path / "again") == files_of(trained_forecaster.folder / "bundle")
    trainer = trainer_in(trained_forecaster.folder, trained_forecaster.source)
    trainer.best_weights()
    assert trainer.exporter().check(read_bundle(tmp_path / "again")) < 1e-4
    refused = call("export", trained_forecaster.folder, "--quantize", "int8")
    assert "exported in float32" in told(refused)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__horizon": 500}, "set model.horizon to 198 or less"),
        ({"data__values": "Date"}, "has 'day 0' in the column 'Date'"),
        ({"model__stride": 2}, "model.stride applies to classifiers and regressors of vectors"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    source = write_wave(tmp_path / "wave.csv")
    result = call("train", source, "--task", "forecast", *forecast_settings(**changes), "--out", tmp_path / "run")
    assert message in told(result)
    assert not (tmp_path / "run").exists()
