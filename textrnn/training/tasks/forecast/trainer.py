"""The trainer of forecasters: windows of a series at random offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.data.series import Series, Windows
from textrnn.metrics.forecast_report import draw_forecasts, forecast_errors, mean_squared_error
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.forecaster import ForecasterExporter
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint
from textrnn.training.loop.trainer import Trainer
from textrnn.training.loop.training_step import SupervisedStep, require_possible
from textrnn.training.loop.warm_start import load_start, start_from
from textrnn.training.network.forecaster import READ_AT_ONCE, Forecaster

ENOUGH_STEPS = 300
PICTURE = "forecast.png"


class ForecasterTrainer(Trainer):
    """A trainer of a forecaster on the squared error of its forecasts at all steps of a window.

    The model first reads the `model.memory` steps before a window, so that its states are as full as after a long
    history. In evaluation it reads the held-out part after the whole training part.
    """

    unit = "value"
    loss_unit = "squared error"
    model: Forecaster

    def __init__(self, run: Run, series: Series, distribution: Distribution = ALONE) -> None:
        config = run.config
        require_possible(config.train)
        batch_size, length = config.train.batch_size, config.train.sequence_length
        self.series = series
        self.windows = Windows(series, batch_size, length, config.model.horizon, int(config.model.memory), config.seed)
        read = self.windows.warm_up + length
        require_memory(bytes_needed(config, series.features, config.model.horizon * series.features, read), read)
        with distribution.scope():
            model = Forecaster(config.model, series.features, config.seed, config.train.precision)
        start = load_start(run.initial) if config.model.init_from else None
        self.learns_on = start is not None and start.learns_on
        if not run.checkpoint.exists():  # a checkpoint replaces these weights
            model.start_from(series)
            if start:  # but for the scale, which is that of this series
                scale = {"input_mean": series.mean, "input_scale": series.scale}
                start_from(model, start._replace(arrays=start.arrays | scale))
        super().__init__(
            run,
            model,
            steps_per_epoch=self.windows.steps_per_epoch,
            epochs=config.train.epochs or max(1.0, ENOUGH_STEPS / self.windows.steps_per_epoch),
            units_per_step=batch_size * length,
            state=tf.zeros(()),
            fingerprint=run_fingerprint(run, None, series),
            distribution=distribution,
        )
        self._first_state = self.distribution.rows(model.backbone.initial_state(batch_size), axis=1)
        self._step = SupervisedStep(
            model, self.optimizer, self._squared_error, one_length=True, distribution=distribution
        )
        self._forward = Compiler(model).of_sequences(lambda values, state: self.model(values, state))

    def _squared_error(self, outputs: tuple[Any, Any], targets: Any) -> Any:
        return tf.reduce_mean(tf.square(outputs[0][self.windows.warm_up :] - targets))

    def train_one(self) -> Any:
        window = self.windows.batch(self.progress.step)
        rows = self.distribution.rows
        return self._step((rows(window.values), self._first_state), rows(window.targets, axis=1), self.step_seed)

    def measure(self) -> dict[str, Any]:
        """Return the held-out loss, the mean squared error of standardised values, and errors in units of the data."""
        series, forecasts = self.series, self.forecasts()
        loss = mean_squared_error(series.values / series.scale, forecasts / series.scale, series.training)
        season = self.run.config.data.season
        return {"held_out_loss": loss, **forecast_errors(series.values, forecasts, series.training, season)}

    def forecasts(self) -> NDArray[np.float32]:
        """Return the forecasts after each step of the series, ``(time, horizon, features)``."""
        series, parts = self.series, []
        state = self.model.backbone.initial_state(1)
        for begin in range(0, len(series.values), READ_AT_ONCE):
            forecast, state = self._forward(tf.constant(series.values[None, begin : begin + READ_AT_ONCE]), state)
            parts.append(forecast.numpy()[:, 0])
        forecast = np.concatenate(parts).reshape(len(series.values), -1, series.features)
        return np.asarray(forecast * series.scale + series.mean, np.float32)

    def describe(self, measured: Mapping[str, Any]) -> str:
        ahead = self.run.config.model.horizon
        one, last = (
            f"{measured[f'{name}_rmse']:.4g} (naive {measured[f'naive_{name}_rmse']:.4g})"
            for name in ("one_step", "horizon")
        )
        further = f", at {ahead} {last}" if ahead > 1 else ""
        return f"held out {measured['held_out_loss']:.4f}, error at 1 step {one}{further}"

    def finish(self) -> None:
        """Write `forecast.png` and the bundle."""
        self.best_weights()
        series = self.series
        picture = self.run.folder / PICTURE
        draw_forecasts(series.values, self.forecasts(), series.training, series.columns, picture)
        super().finish()

    def exporter(self) -> ForecasterExporter:
        return ForecasterExporter(self.model, self.series, self.run.config)
