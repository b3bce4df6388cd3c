"""Training of regressors: batches of whole sequences of vectors, each with the values it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from textrnn.bundle import Bundle
from textrnn.train.checkpoints import load_checkpoint
from textrnn.train.classifier import Classifier
from textrnn.train.classifier_trainer import as_tensors, enough_epochs
from textrnn.train.export_classifier import GraphSession
from textrnn.train.export_regressor import check_regression, export_regressor
from textrnn.train.memory import bytes_needed, require_memory
from textrnn.train.regression import Scaling, errors
from textrnn.train.run import Run, run_fingerprint
from textrnn.train.trainer import Trainer
from textrnn.train.training_step import SupervisedStep, compiled_for_device, require_possible
from textrnn.train.transfer import start_from
from textrnn.train.vectors import VectorBatches, VectorDataset


class RegressorTrainer(Trainer):
    """Trains one regressor, a classifier whose outputs are values, by their squared error.

    The network tells values that have mean 0 and standard deviation 1 over what is trained on.
    """

    unit = "sequence"
    loss_unit = "squared error"
    model: Classifier

    def __init__(self, run: Run, tokenizer: None, train: VectorDataset, held_out: VectorDataset) -> None:
        config = run.config
        require_possible(config.train)
        batch_size = config.train.batch_size
        self.batches = VectorBatches(train, batch_size, config.seed)
        self.held_out = VectorBatches(held_out, min(batch_size, len(held_out)), config.seed)
        longest = int(self.batches.lengths.max())
        require_memory(bytes_needed(config, train.features, 0, longest), longest)
        self.scaling = Scaling(train.targets)
        with tf.distribute.get_strategy().scope():
            outputs = train.targets.shape[1]
            model = Classifier(config.model, 0, outputs, config.seed, config.train.precision, train.features)
        model.backbone.set_scaling(train.mean, train.scale)
        super().__init__(
            run,
            model,
            steps_per_epoch=self.batches.steps_per_epoch,
            epochs=config.train.epochs or enough_epochs(self.batches.steps_per_epoch),
            units_per_step=batch_size,
            state=tf.zeros(()),
            fingerprint=run_fingerprint(config, None, train, held_out),
        )
        if config.model.init_from:
            _, arrays = load_checkpoint(run.initial)
            start_from(model, arrays)
        one_length = bool(np.ptp(train.lengths) == 0)
        self._step = SupervisedStep(model, self.optimizer, self._squared_error, one_length)
        self._forward = compiled_for_device(lambda inputs: self.model(*inputs))

    def _squared_error(self, outputs: Any, targets: Any) -> Any:
        return tf.reduce_mean(tf.square(outputs - self.scaling.standardised(targets)))

    def train_one(self) -> Any:
        batch = self.batches.batch(self.progress.step)
        seed = tf.constant([self.run.config.seed, self.progress.step * 1000 % 2**31], tf.int32)
        return self._step(as_tensors(batch.inputs), tf.constant(batch.targets), seed)

    def measure(self) -> dict[str, Any]:
        """The held-out loss, the mean squared error of standardised values; and the error in units of the values."""
        values = np.empty(self.held_out.dataset.targets.shape)
        for batch in self.held_out.all():
            outputs = self._forward(as_tensors(batch.inputs)).numpy()[: len(batch.indices)]
            values[batch.indices] = self.scaling.original(outputs)
        targets = np.asarray(self.held_out.dataset.targets, np.float64)
        loss = float(np.square(self.scaling.standardised(values) - self.scaling.standardised(targets)).mean())
        return {"held_out_loss": loss, **errors(values, targets)}

    def describe(self, measured: Mapping[str, Any]) -> str:
        error = f"squared error {measured['mean_squared_error']:.6f}"
        return f"held out {error}, {measured['explained']:.2%} of the variance explained"

    def export(self, folder: Path, quantize: str | None = None) -> Bundle:
        self.best_weights()
        return export_regressor(self.model, self.held_out, self.scaling, self.run.config, folder, quantize)

    def check_parity(self, bundle: Bundle) -> float:
        session = GraphSession(bundle.path(bundle.manifest.graphs["regress"].file))
        return check_regression(self.model, session, self.held_out, self.scaling)
