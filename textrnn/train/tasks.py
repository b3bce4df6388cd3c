"""The trainer of each task."""

from __future__ import annotations

from textrnn.train.classifier_trainer import ClassifierTrainer
from textrnn.train.forecaster_trainer import ForecasterTrainer
from textrnn.train.language_model_trainer import LanguageModelTrainer
from textrnn.train.regressor_trainer import RegressorTrainer
from textrnn.train.run import Run
from textrnn.train.trainer import Trainer


def trainer_of(run: Run) -> Trainer:
    """The trainer of a run, its tokenizer and data prepared if they are not there yet.

    Raises:
        UserError: as the preparation raises it, or settings do not fit each other.
    """
    if run.forecasts:
        return ForecasterTrainer(run, run.series())
    if run.reads_vectors:
        train, held_out = run.vector_datasets()
        return (
            ClassifierTrainer(run, None, train, held_out) if run.classifies else RegressorTrainer(run, train, held_out)
        )
    tokenizer = run.tokenizer()
    if run.classifies:
        return ClassifierTrainer(run, tokenizer, *run.labelled_datasets(tokenizer))
    return LanguageModelTrainer(run, tokenizer, *run.datasets(tokenizer))
