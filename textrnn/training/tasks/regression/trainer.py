"""Training of regressors: batches of whole sequences of vectors, each with its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.data.labelled import Batches, LabelledDataset
from textrnn.data.labelled_vectors import VectorBatches, VectorDataset
from textrnn.errors import UserError
from textrnn.metrics.regression import Scaling, errors
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.regressor import RegressorExporter
from textrnn.training.loop.run import Run
from textrnn.training.loop.trainer import MIXED
from textrnn.training.loop.warm_start import Start
from textrnn.training.tasks.supervised_trainer import SupervisedTrainer


class RegressorTrainer(SupervisedTrainer):
    """Trains one regressor, a classifier whose outputs are values, by their squared error.

    The network predicts values that have mean 0 and standard deviation 1 over what is trained on.

    Args:
        run: the run.
        train: what is trained on.
        held_out: what is measured on.
        distribution: the devices and processes that share a batch.
        mixed: the same two of what is mixed in, if anything is.
    """

    loss_unit = "squared error"
    held_out: VectorBatches

    def __init__(
        self,
        run: Run,
        train: VectorDataset,
        held_out: VectorDataset,
        distribution: Distribution = ALONE,
        mixed: Sequence[VectorDataset] = (),
    ) -> None:
        self.scaling = Scaling(train.targets)
        super().__init__(run, None, train, held_out, train.targets.shape[1], self._squared_error, distribution, mixed)

    def start_for(self, start: Start, train: LabelledDataset) -> Start:
        """Return what the run starts from, with the output layer in the units of the training."""
        if not start.learns_on:
            return start
        kernel, bias = (start.arrays[name] for name in ("output_kernel", "output_bias"))
        if len(bias) != train.targets.shape[1]:
            raise UserError(
                f"a regressor learns on with as many values as before, {len(bias)}, was: {train.targets.shape[1]}; give"
                " other data"
            )
        own = {"output_kernel": kernel / self.scaling.scale, "output_bias": self.scaling.standardised(bias)}
        return start._replace(arrays=start.arrays | own)

    def _squared_error(self, outputs: Any, targets: Any) -> Any:
        return tf.reduce_mean(tf.square(outputs - self.scaling.standardised(targets)))

    def measure(self) -> dict[str, Any]:
        """Return the held-out loss, a mean squared error of standardised values, and errors in the values' units."""
        loss, outputs, targets = self._loss_of(self.held_out)
        mixed = {MIXED: self._loss_of(self.mixed)[0]} if self.mixed else {}
        return {"held_out_loss": loss, **errors(self.scaling.original(outputs), targets), **mixed}

    def _loss_of(self, batches: Batches[Any]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the loss of sequences, their outputs and their targets."""
        outputs, targets = self.outputs_of(batches), np.asarray(batches.dataset.targets, np.float64)
        return float(np.square(outputs - self.scaling.standardised(targets)).mean()), outputs, targets

    def describe(self, measured: Mapping[str, Any]) -> str:
        error = f"squared error {measured['mean_squared_error']:.6f}"
        return f"held out {error}, {measured['explained']:.2%} of the variance explained"

    def exporter(self) -> RegressorExporter:
        return RegressorExporter(self.model, self.held_out, self.scaling, self.run.config)
