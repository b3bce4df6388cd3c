"""Training on whole sequences, texts or vectors, each with its answer: what classifiers and regressors share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.config import Config
from textrnn.data.audio.augmentation import AugmentedBatches
from textrnn.data.labelled import Batches, LabelledDataset, MixedBatches
from textrnn.data.labelled_texts import TextBatches, TextDataset
from textrnn.data.labelled_vectors import VectorBatches, VectorDataset, some_sequences
from textrnn.tokenizers.base import END_ID, UNKNOWN_ID, Tokenizer
from textrnn.training.distributed.distribution import Distribution
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.loop.training_step import SupervisedStep, require_possible
from textrnn.training.loop.warm_start import Start, load_start, mixed_sizes, start_from
from textrnn.training.network.classifier import Classifier
from textrnn.training.tasks.batch_trainer import BatchTrainer

ENOUGH_STEPS, FEWEST_EPOCHS = 1500, 4


class SupervisedTrainer(BatchTrainer):
    """Trains one classifier or regressor.

    Args:
        run: the run.
        tokenizer: of its texts; None where vectors are read.
        train: what is trained on.
        held_out: what is measured on.
        outputs: classes, or values.
        loss: mean loss of a batch from ``(outputs, targets)``.
        distribution: the devices and processes that share a batch.
        mixed: the same two of what is mixed in, if anything is.
    """

    model: Classifier
    mixed: Batches[Any] | None
    """Held-out batches of what is mixed in."""

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer | None,
        train: LabelledDataset,
        held_out: LabelledDataset,
        outputs: int,
        loss: Callable[[Any, Any], Any],
        distribution: Distribution,
        mixed: Sequence[LabelledDataset] = (),
    ) -> None:
        config = run.config
        require_possible(config.train)
        self.unit = "text" if tokenizer else "sequence"
        self.start = load_start(run.initial) if config.model.init_from else None
        self.run = run
        start = self.start and self.start_for(self.start, train)
        self.learns_on = start is not None and start.learns_on
        sizes = mixed_sizes(config.train.batch_size, mixed)
        parts = [
            batches_of(each, size, config, for_training=True)
            for each, size in zip((train, *mixed[:1]), sizes, strict=False)
        ]
        self.batches: Any = MixedBatches(parts) if mixed else parts[0]
        self.held_out, *others = (
            batches_of(each, min(config.train.batch_size, len(each)), config) for each in (held_out, *mixed[1:])
        )
        self.mixed = others[0] if others else None
        features = train.features if isinstance(train, VectorDataset) else 0
        longest = int(self.batches.lengths.max())
        require_memory(bytes_needed(config, features or config.model.embedding_dim, 0, longest), longest)
        vocabulary_size = 0
        if isinstance(train, TextDataset) and tokenizer:
            vocabulary_size = frequent(train, config.model.min_count)
            if start:
                known = len(start.arrays["embedding"])
                # New words have the last ids. Words before them that the other model read as unknown get rows too.
                grows = self.learns_on and tokenizer.vocabulary_size > len(start.drawn)
                vocabulary_size = max(known, vocabulary_size) if grows else known
        with distribution.scope():
            model = Classifier(config.model, vocabulary_size, outputs, config.seed, config.train.precision, features)
        if isinstance(train, VectorDataset):
            model.backbone.set_frame_scaling(
                train.mean, train.scale, some_sequences(train) if config.model.cepstra else []
            )
        super().__init__(
            run,
            model,
            steps_per_epoch=self.batches.steps_per_epoch,
            epochs=config.train.epochs or enough_epochs(self.batches.steps_per_epoch, ENOUGH_STEPS, FEWEST_EPOCHS),
            units_per_step=config.train.batch_size,
            state=tf.zeros(()),
            fingerprint=run_fingerprint(run, tokenizer, train, held_out),
            distribution=distribution,
        )
        if start:
            start_from(model, start, train.class_counts if train.labels else None, like=UNKNOWN_ID)
        is_changed = config.data.reads == "audio" and config.train.augment  # in length too
        one_length = isinstance(train, VectorDataset) and bool(np.ptp(train.lengths) == 0) and not is_changed
        self._step = SupervisedStep(model, self.optimizer, loss, one_length, distribution)
        self._forward = Compiler(model).of_sequences(lambda inputs: self.model(*inputs))

    def start_for(self, start: Start, train: LabelledDataset) -> Start:
        """Return what a run starts from as it fits its training data."""
        return start

    def held_out_outputs(self) -> NDArray[np.float64]:
        """Predict the held-out sequences, ``(sequences, outputs)``."""
        return self.outputs_of(self.held_out)

    def outputs_of(self, batches: Batches[Any]) -> NDArray[np.float64]:
        """Predict sequences, ``(sequences, outputs)``."""
        outputs = np.empty((len(batches.dataset), self.model.outputs))
        for batch in batches.all():
            outputs[batch.indices] = self._forward(_as_tensors(batch.inputs)).numpy()[: len(batch.indices)]
        return outputs


def frequent(train: TextDataset, min_count: int) -> int:
    """Return the number of ids up to the last one with `min_count` occurrences; tokenizers sort ids by frequency."""
    counts = np.bincount(train.values, minlength=END_ID + 1)
    counts[: END_ID + 1] = min_count  # the special tokens are always read
    return int(np.flatnonzero(counts >= min_count)[-1]) + 1


def batches_of(dataset: LabelledDataset, batch_size: int, config: Config, for_training: bool = False) -> Batches[Any]:
    """Return batches of texts or vectors; those of recordings may be changed at random for training.

    Raises:
        UserError: there are fewer records than `batch_size`.
    """
    if isinstance(dataset, TextDataset):
        return TextBatches(dataset, batch_size, config.data.max_length, config.model.segment_length, config.seed)
    if isinstance(dataset, VectorDataset):
        if for_training and config.data.reads == "audio" and config.train.augment:
            return AugmentedBatches(dataset, batch_size, config.seed)
        return VectorBatches(dataset, batch_size, config.seed)
    raise TypeError(f"there are no batches of {type(dataset).__name__}")


def _as_tensors(inputs: tuple[NDArray[Any], ...]) -> tuple[Any, ...]:
    """Convert the inputs of a batch to tensors."""
    return tuple(tf.constant(each) for each in inputs)
