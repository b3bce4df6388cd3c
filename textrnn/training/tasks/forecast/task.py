"""The task of forecasting: the last part of a series is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textrnn.config import Config
from textrnn.data.series import Series, prepare_series
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_series, fitted
from textrnn.training.tasks.moves import (
    DECAY,
    DROPOUT,
    HIGHER,
    LONGER,
    LOWER,
    SHORTER,
    UNITS,
    Move,
    down,
    times,
    up,
)
from textrnn.training.tasks.task import Digests, Prepared, Task

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer


class Forecast(Task):
    """The task of forecasting a series."""

    name, reads, model = "forecast", "vectors", "forecaster"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {  # a small network, as one series can teach little
            "data": {"reads": "vectors"},
            "model": {
                "hidden_dim": 64,
                "layers": 1,
                "recurrence": "rotation",
                "activation": "linear",
                "mixing": "relu",
            },
            "train": {"batch_size": 8, "sequence_length": 256, "learning_rate": 3e-4, "warmup_steps": 20},
        }

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return _series(run).source_fingerprint  # covers training and held-out sources, which are read together

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        return Prepared(None, (_series(run),))

    def notes(self, prepared: Prepared) -> Sequence[str]:
        (series,) = prepared.parts
        return tuple(series.notes)

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.forecast.trainer import ForecasterTrainer

        (series,) = prepared.parts
        run = fitted(run, fit_to_series(run.config, series), f"{len(series.values):,} steps", distribution.is_chief)
        return ForecasterTrainer(run, series, distribution)

    def moves(self, config: Config) -> Sequence[Move]:
        return [
            *times(config, "train.learning_rate", HIGHER),
            *up(config, "model.hidden_dim", UNITS),
            *up(config, "model.memory", (30, 100, 300, 1000)),
            *down(config, "model.memory", (30, 100, 300, 1000)),
            *times(config, "train.learning_rate", LOWER),
            *up(config, "model.dropout", DROPOUT),
            *times(config, "train.epochs", LONGER),
            *times(config, "train.epochs", SHORTER),
            *down(config, "model.hidden_dim", UNITS),
            *up(config, "model.layers", (1, 2, 3)),
            *up(config, "train.weight_decay", DECAY),
            *down(config, "model.dropout", DROPOUT),
            *down(config, "model.layers", (1, 2, 3)),
        ]

    def what_to_try(self, folder: str) -> str:
        return f"textrnn forecast {folder}"


def _series(run: Run) -> Series:
    data = run.config.data
    return prepare_series(
        data.source,
        data.values,
        held_out=data.held_out,
        validation=data.validation,
        horizon=run.config.model.horizon,
    )
