"""The trainer of each task."""

from __future__ import annotations

from dataclasses import replace

from textrnn.config import Config
from textrnn.training.distributed.distribution import current
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fit_to_series, fit_to_tokens, say_what_shrank, write_fitted
from textrnn.training.loop.trainer import Trainer
from textrnn.training.tasks.classification import ClassifierTrainer
from textrnn.training.tasks.forecast import ForecasterTrainer
from textrnn.training.tasks.language_model import LanguageModelTrainer
from textrnn.training.tasks.regression import RegressorTrainer


def trainer_of(run: Run) -> Trainer:
    """The trainer of a run, its tokenizer and data prepared if they are not there yet.

    Raises:
        UserError: as the preparation raises it, or settings do not fit each other.
    """
    replicas = current().replicas
    if run.forecasts:
        series = run.series()
        return ForecasterTrainer(
            _fitted(run, fit_to_series(run.config, series), f"{len(series.values):,} steps"), series
        )
    if run.reads_vectors:
        vectors, others = run.vector_datasets()
        run = _fitted(run, fit_to_records(run.config, len(vectors), replicas), f"{len(vectors):,} training records")
        if run.classifies:
            return ClassifierTrainer(run, None, vectors, others)
        return RegressorTrainer(run, vectors, others)
    tokenizer = run.tokenizer()
    if run.classifies:
        texts, held_out = run.labelled_datasets(tokenizer)
        run = _fitted(run, fit_to_records(run.config, len(texts), replicas), f"{len(texts):,} training texts")
        return ClassifierTrainer(run, tokenizer, texts, held_out)
    tokens, rest = run.datasets(tokenizer)
    run = _fitted(run, fit_to_tokens(run.config, tokens.tokens, replicas), f"{tokens.tokens:,} training tokens")
    return LanguageModelTrainer(run, tokenizer, tokens, rest)


def _fitted(run: Run, config: Config, what: str) -> Run:
    """The run with settings that suit its data, which are kept in its folder."""
    if config == run.config:
        return run
    if not run.quiet:
        say_what_shrank(run.config, config, what)
    if current().is_chief:
        write_fitted(run.folder, config)
    return replace(run, config=config)
