"""Regression: sequences of vectors with a value, or several, for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textrnn.training.loop.run import Run
from textrnn.training.tasks.task import Prepared
from textrnn.training.tasks.vector_task import VectorTask

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer


class Regression(VectorTask):
    """Learns the values of a sequence of vectors."""

    name, model = "regression", "regressor"

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.regression.trainer import RegressorTrainer

        train, held_out, *mixed = prepared.parts
        return RegressorTrainer(self.fitted(run, prepared, distribution), train, held_out, distribution, mixed)
