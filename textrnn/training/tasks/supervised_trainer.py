"""Training on whole sequences, texts or vectors, each with its answer: what classifiers and regressors share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.config import Config
from textrnn.data.labelled import Batches, LabelledDataset
from textrnn.data.labelled_texts import TextBatches, TextDataset
from textrnn.data.labelled_vectors import VectorBatches, VectorDataset
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.training.distributed.distribution import Distribution
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.loop.trainer import Trainer
from textrnn.training.loop.training_step import SupervisedStep, require_possible
from textrnn.training.loop.warm_start import start_from
from textrnn.training.network.classifier import Classifier

ENOUGH_STEPS, FEWEST_EPOCHS = 1500, 4
NOISE_OF_ONE = 0.3  # relative noise of the loss of one held-out record


class SupervisedTrainer(Trainer):
    """Trains one classifier or regressor.

    Args:
        run: the run.
        tokenizer: of its texts; None where vectors are read.
        train: what is trained on.
        held_out: what is measured on.
        outputs: classes, or values.
        loss: mean loss of a batch from ``(outputs, targets)``.
        distribution: the devices and processes that share a batch.
    """

    model: Classifier

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer | None,
        train: LabelledDataset,
        held_out: LabelledDataset,
        outputs: int,
        loss: Callable[[Any, Any], Any],
        distribution: Distribution,
    ) -> None:
        config = run.config
        require_possible(config.train)
        self.unit = "text" if tokenizer else "sequence"
        self.batches = batches_of(train, config.train.batch_size, config)
        self.held_out = batches_of(held_out, min(config.train.batch_size, len(held_out)), config)
        features = train.features if isinstance(train, VectorDataset) else 0
        longest = int(self.batches.lengths.max())
        require_memory(bytes_needed(config, features or config.model.embedding_dim, 0, longest), longest)
        arrays = load_checkpoint(run.initial)[1] if config.model.init_from else {}
        vocabulary_size = 0
        if isinstance(train, TextDataset):
            vocabulary_size = len(arrays["embedding"]) if arrays else frequent(train, config.model.min_count)
        with distribution.scope():
            model = Classifier(config.model, vocabulary_size, outputs, config.seed, config.train.precision, features)
        if isinstance(train, VectorDataset):
            model.backbone.set_scaling(train.mean, train.scale)
        super().__init__(
            run,
            model,
            steps_per_epoch=self.batches.steps_per_epoch,
            epochs=config.train.epochs or enough_epochs(self.batches.steps_per_epoch, ENOUGH_STEPS, FEWEST_EPOCHS),
            units_per_step=config.train.batch_size,
            state=tf.zeros(()),
            fingerprint=run_fingerprint(config, tokenizer, train, held_out),
            distribution=distribution,
        )
        if arrays:
            start_from(model, arrays)
        one_length = isinstance(train, VectorDataset) and bool(np.ptp(train.lengths) == 0)
        self._step = SupervisedStep(model, self.optimizer, loss, one_length, distribution)
        self._forward = Compiler(model).of_sequences(lambda inputs: self.model(*inputs))

    def train_one(self) -> Any:
        batch = self.batches.batch(self.progress.step)
        rows = self.distribution.rows
        return self._step(tuple(rows(each) for each in batch.inputs), rows(batch.targets), self.step_seed)

    def noise(self) -> float:
        return max(super().noise(), NOISE_OF_ONE / math.sqrt(len(self.held_out.dataset)))

    def held_out_outputs(self) -> NDArray[np.float64]:
        """Predict the held-out sequences, ``(sequences, outputs)``."""
        outputs = np.empty((len(self.held_out.dataset), self.model.outputs))
        for batch in self.held_out.all():
            outputs[batch.indices] = self._forward(_as_tensors(batch.inputs)).numpy()[: len(batch.indices)]
        return outputs


def frequent(train: TextDataset, min_count: int) -> int:
    """Return the number of ids up to the last one with `min_count` occurrences; tokenizers sort ids by frequency."""
    counts = np.bincount(train.values, minlength=END_ID + 1)
    counts[: END_ID + 1] = min_count  # the special tokens are always read
    return int(np.flatnonzero(counts >= min_count)[-1]) + 1


def batches_of(dataset: LabelledDataset, batch_size: int, config: Config) -> Batches[Any]:
    """Return batches of texts or vectors.

    Raises:
        UserError: there are fewer records than `batch_size`.
    """
    if isinstance(dataset, TextDataset):
        return TextBatches(dataset, batch_size, config.data.max_length, config.model.segment_length, config.seed)
    if isinstance(dataset, VectorDataset):
        return VectorBatches(dataset, batch_size, config.seed)
    raise TypeError(f"there are no batches of {type(dataset).__name__}")


def _as_tensors(inputs: tuple[NDArray[Any], ...]) -> tuple[Any, ...]:
    """Convert the inputs of a batch to tensors."""
    return tuple(tf.constant(each) for each in inputs)
