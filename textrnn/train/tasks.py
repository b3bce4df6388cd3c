"""The trainer of each task."""

from __future__ import annotations

from textrnn.train.classifier_trainer import ClassifierTrainer
from textrnn.train.language_model_trainer import LanguageModelTrainer
from textrnn.train.run import Run
from textrnn.train.trainer import Trainer


def trainer_of(run: Run) -> Trainer:
    """The trainer of a run, its tokenizer and data prepared if they are not there yet.

    Raises:
        UserError: as the preparation raises it, or settings do not fit each other.
    """
    tokenizer = run.tokenizer()
    if run.classifies:
        return ClassifierTrainer(run, tokenizer, *run.labelled_datasets(tokenizer))
    return LanguageModelTrainer(run, tokenizer, *run.datasets(tokenizer))
