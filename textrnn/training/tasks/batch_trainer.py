"""The training on batches of whole sequences, which trainers of texts, vectors, pairs and recordings share."""

from __future__ import annotations

import math
from typing import Any

from textrnn.training.loop.trainer import Trainer
from textrnn.training.loop.training_step import SupervisedStep

NOISE_OF_ONE = 0.3  # relative noise of the loss of one held-out record


class BatchTrainer(Trainer):
    """A trainer whose steps are batches of records.

    Attributes:
        batches: batches to train on.
        held_out: batches to measure on.
    """

    batches: Any
    held_out: Any
    _step: SupervisedStep

    def train_one(self) -> Any:
        batch = self.batches.batch(self.progress.step)
        rows = self.distribution.rows
        return self._step(tuple(rows(each) for each in batch.inputs), rows(batch.targets), self.step_seed)

    def noise(self) -> float:
        return max(super().noise(), NOISE_OF_ONE / math.sqrt(len(self.held_out.dataset)))
