"""Training of regressors: batches of whole sequences of vectors, each with its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from textrnn.data.labelled_vectors import VectorBatches, VectorDataset
from textrnn.metrics.regression import Scaling, errors
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.regressor import RegressorExporter
from textrnn.training.loop.run import Run
from textrnn.training.tasks.supervised_trainer import SupervisedTrainer


class RegressorTrainer(SupervisedTrainer):
    """Trains one regressor, a classifier whose outputs are values, by their squared error.

    The network predicts values that have mean 0 and standard deviation 1 over what is trained on.

    Args:
        run: the run.
        train: what is trained on.
        held_out: what is measured on.
    """

    loss_unit = "squared error"
    held_out: VectorBatches

    def __init__(
        self, run: Run, train: VectorDataset, held_out: VectorDataset, distribution: Distribution = ALONE
    ) -> None:
        self.scaling = Scaling(train.targets)
        super().__init__(run, None, train, held_out, train.targets.shape[1], self._squared_error, distribution)

    def _squared_error(self, outputs: Any, targets: Any) -> Any:
        return tf.reduce_mean(tf.square(outputs - self.scaling.standardised(targets)))

    def measure(self) -> dict[str, Any]:
        """Return the held-out loss, a mean squared error of standardised values, and errors in the values' units."""
        outputs = self.held_out_outputs()
        targets = np.asarray(self.held_out.dataset.targets, np.float64)
        loss = float(np.square(outputs - self.scaling.standardised(targets)).mean())
        return {"held_out_loss": loss, **errors(self.scaling.original(outputs), targets)}

    def describe(self, measured: Mapping[str, Any]) -> str:
        error = f"squared error {measured['mean_squared_error']:.6f}"
        return f"held out {error}, {measured['explained']:.2%} of the variance explained"

    def exporter(self) -> RegressorExporter:
        return RegressorExporter(self.model, self.held_out, self.scaling, self.run.config)
