"""Classification, of texts or of sequences of vectors: records with a label each, some of every class held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textrnn.data.labelled_texts import class_names, prepare_labelled, scan, stratified_split, training_records
from textrnn.data.records import labelled_options
from textrnn.data.sources import source_fingerprint
from textrnn.tokenizers import train_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fitted
from textrnn.training.tasks.task import Digests, Prepared, Task
from textrnn.training.tasks.tokenizer import kept_tokenizer, tokenizer_options
from textrnn.training.tasks.vector_task import VectorTask

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer

Split = NDArray[np.bool_] | None
"""Which records are held out, ``(records,)``; None where there are held-out sources."""


class TextClassification(Task):
    """Learns the label of a text."""

    name, reads, model, aliases = "classification", "text", "classifier", ("sentiment",)
    reads_labels = True

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "tokenizer": {
                "kind": "word",
                "split": "punctuation",
                "lowercase": True,
                "min_count": 2,
                "vocabulary_size": _vocabulary_size(stated.get("tokenizer")),
            },
            "model": {
                "hidden_dim": 256,
                "embedding_dim": 64,
                "layers": 1,
                "bidirectional": True,
                "segment_length": 64,
                "dropout": 0.5,
                "embedding_dropout": 0.3,
                "activation": "relu",
                "max_excitation": 0.98,
            },
            "train": {"batch_size": 32, "warmup_steps": 50},
        }

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return source_fingerprint(sources, labelled_options(run.config.data))

    def tokenizer(self, run: Run) -> Tokenizer:
        return kept_tokenizer(run, lambda run: _learn_tokenizer(run, _classes_and_split(run)[1]))

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        data, folder = run.config.data, run.folder / "data"
        classes, split = _classes_and_split(run)
        tokenizer = kept_tokenizer(run, lambda run: _learn_tokenizer(run, split))
        options = labelled_options(data)
        shared: dict[str, Any] = {"classes": classes, "names": data.label_names, "quiet": run.quiet}
        known, known_validation = digests.get("data.source"), digests.get("data.validation")
        train, *rest = prepare_labelled(
            tokenizer, data.source, options, folder, held_out=split, fingerprint=known, **shared
        )
        if split is None:
            rest = prepare_labelled(tokenizer, data.validation, options, folder, fingerprint=known_validation, **shared)
        return Prepared(tokenizer, (train, rest[0]))

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.classification.trainer import ClassifierTrainer

        texts = len(prepared.parts[0])
        config = fit_to_records(run.config, self.default_config(), texts, distribution.replicas)
        run = fitted(run, config, f"{texts:,} training texts", distribution.is_chief)
        return ClassifierTrainer(run, prepared.tokenizer, *prepared.parts)

    def what_to_try(self, folder: str) -> str:
        return f"textrnn classify {folder}"


class VectorClassification(VectorTask):
    """Learns the label of a sequence of vectors."""

    name, model = "classification", "classifier"

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.classification.trainer import ClassifierTrainer

        return ClassifierTrainer(self.fitted(run, prepared, distribution), None, *prepared.parts)


def _vocabulary_size(tokenizer: object) -> int:
    """Return the default size, of which `tokenizer` are the settings that the user states.

    20,000 words are few for a language; so many pieces are more than most labelled sets can have.
    """
    is_pieces = isinstance(tokenizer, Mapping) and tokenizer.get("kind") == "sentencepiece"
    return 0 if is_pieces else 20_000


def _classes_and_split(run: Run) -> tuple[tuple[str, ...], Split]:
    """Return the classes of the source, and which of its texts are held out."""
    data = run.config.data
    labels, _ = scan(data.source, labelled_options(data), data.label_names, run.quiet, data.validation)
    return class_names(labels), None if data.validation else stratified_split(labels, data.held_out)


def _learn_tokenizer(run: Run, split: Split) -> Tokenizer:
    config, data = run.config.tokenizer, run.config.data
    texts = training_records(data.source, labelled_options(data), split, run.quiet)
    return train_tokenizer(config.kind, texts, **tokenizer_options(config))
