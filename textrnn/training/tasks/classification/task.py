"""Classification, of texts or of sequences of vectors: records with a label each, some of every class held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textrnn.config import Config, DataConfig
from textrnn.data.audio.sources import with_sample_rate
from textrnn.data.labelled_texts import LabelledCorpus, TextDataset, prepare_labelled
from textrnn.data.labels import Labels, MultiLabels, of_the_same_spelling
from textrnn.data.records import labelled_options
from textrnn.data.sources import source_fingerprint, with_found_columns
from textrnn.tokenizers import train_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fitted
from textrnn.training.loop.warm_start import classes_before
from textrnn.training.tasks.moves import (
    BATCHES,
    DECAY,
    DROPOUT,
    HIGHER,
    LONGER,
    LOWER,
    SHORTER,
    UNITS,
    Move,
    chosen,
    down,
    times,
    up,
)
from textrnn.training.tasks.task import Digests, Prepared, Task
from textrnn.training.tasks.tokenizer import kept_tokenizer, of_unseparated_words, tokenizer_options
from textrnn.training.tasks.vector_task import VectorTask, default_cepstra

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer
    from textrnn.training.tasks.classification.trainer import ClassifierTrainer


class TextClassification(Task):
    """Learns the label of a text."""

    name, reads, model = "classification", "text", "classifier"
    aliases: tuple[str, ...] = ("sentiment",)
    reads_labels = True

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "tokenizer": {
                "kind": "word",
                "split": "punctuation",
                "lowercase": True,
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
                "min_count": 2,
                "direct_ngrams": 3,
            },
            "train": {"batch_size": 32, "warmup_steps": 50},
        }

    def find_columns(self, data: DataConfig) -> tuple[DataConfig, Sequence[str]]:
        return with_found_columns(data, labelled_options(data))

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return source_fingerprint(sources, labelled_options(run.config.data))

    def labels(self, data: DataConfig) -> Labels:
        """Return what the labels mean."""
        return Labels(data.label_names)

    def tokenizer(self, run: Run) -> Tokenizer:
        with self._corpus(run) as corpus:
            return _kept_tokenizer(run, corpus)

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        validation = run.config.data.validation
        with self._corpus(run) as corpus:
            tokenizer = _kept_tokenizer(run, corpus)
            train, *rest = prepare_labelled(tokenizer, corpus, digests.get("data.source"))
        known = replace(corpus, validation=(), classes_known=train.labels)
        mixed: list[TextDataset] = []
        if validation:
            with replace(known, sources=validation, held_out=None) as held_out:
                rest = prepare_labelled(tokenizer, held_out, digests.get("data.validation"))
        if mix := run.config.data.mix:
            with replace(known, sources=mix, held_out=run.config.data.held_out) as old:
                mixed = prepare_labelled(tokenizer, old, digests.get("data.mix"))
        return Prepared(tokenizer, (train, rest[0], *mixed))

    def notes(self, prepared: Prepared) -> Sequence[str]:
        """Return a hint where some classes are several of the others, as ``billing|refund`` is, or differ in case."""
        classes = set(prepared.parts[0].labels)
        joined = [
            label for label in sorted(classes) if len(parts := MultiLabels().parts(label)) > 1 and classes >= {*parts}
        ]
        hints = of_the_same_spelling(prepared.parts[0].labels)
        if joined:
            hints += (
                f"{len(joined)} classes join others, as {joined[0]!r}; if a text has several labels: --task multilabel",
            )
        return (*hints, *_of_single_texts(prepared.parts), *of_unseparated_words(prepared.tokenizer))

    def _corpus(self, run: Run) -> LabelledCorpus:
        data = run.config.data
        return LabelledCorpus(
            data.source,
            labelled_options(data),
            self.labels(data),
            run.folder / "data",
            held_out=None if data.validation else data.held_out,
            classes_before=classes_before(run.initial),
            always_before=bool(data.mix),
            validation=data.validation,
            quiet=run.quiet,
        )

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        texts, tokens = len(prepared.parts[0]), int(prepared.parts[0].lengths.sum())
        config = fit_to_records(run.config, self.default_config(), texts, distribution.replicas, tokens)
        run = fitted(run, config, f"{texts:,} training texts", distribution.is_chief)
        train, held_out, *mixed = prepared.parts
        return self.trainer_class()(run, prepared.tokenizer, train, held_out, distribution, mixed)

    def trainer_class(self) -> type[ClassifierTrainer]:
        """Return the class of the trainer; importing it loads TensorFlow."""
        from textrnn.training.tasks.classification.trainer import ClassifierTrainer

        return ClassifierTrainer

    def moves(self, config: Config) -> Sequence[Move]:
        kind = config.tokenizer.kind
        return [
            *up(config, "model.dropout", DROPOUT),
            *times(config, "train.learning_rate", LOWER),
            *up(config, "model.embedding_dropout", DROPOUT),
            *up(config, "model.hidden_dim", UNITS),
            *times(config, "train.learning_rate", HIGHER),
            *([chosen("tokenizer.kind", "sentencepiece")] if kind == "word" else []),
            *up(config, "model.direct_ngrams", (2, 3, 4, 5)),
            *up(config, "train.weight_decay", DECAY),
            *up(config, "model.min_count", (1, 2, 3, 5)),
            *times(config, "train.epochs", SHORTER),
            *up(config, "model.embedding_dim", UNITS),
            *down(config, "train.batch_size", BATCHES),
            *down(config, "model.direct_ngrams", (2, 3, 4, 5)),
            *down(config, "model.min_count", (1, 2, 3, 5)),
            *times(config, "train.epochs", LONGER),
            *up(config, "train.batch_size", BATCHES),
            *down(config, "model.dropout", DROPOUT),
            *down(config, "model.hidden_dim", UNITS),
            *down(config, "model.embedding_dropout", DROPOUT),
            *down(config, "model.embedding_dim", UNITS),
        ]

    def what_to_try(self, folder: str) -> str:
        return f"textrnn predict {folder}"


class VectorClassification(VectorTask):
    """Learns the label of a sequence of vectors."""

    name, model = "classification", "classifier"

    def labels(self, data: DataConfig) -> Labels:
        return Labels(data.label_names)

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.classification.trainer import ClassifierTrainer

        train, held_out, *mixed = prepared.parts
        run = self.fitted(run, prepared, distribution)
        return ClassifierTrainer(run, None, train, held_out, distribution, mixed)


class AudioClassification(VectorClassification):
    """Learns the label of a recording."""

    reads = "audio"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "data": {"reads": "audio"},
            "model": {
                "hidden_dim": 96,
                "layers": 2,
                "recurrence": "rotation",
                "activation": "linear",
                "mixing": "glu",
                "normalization": "layer",
                "bidirectional": True,
                "memory": 20.0,
                "dropout": 0.3,
                "cepstra": default_cepstra(stated.get("data")),
            },
            "train": {"learning_rate": 4e-3, "weight_decay": 0.05},
        }

    def find_columns(self, data: DataConfig) -> tuple[DataConfig, Sequence[str]]:
        return with_sample_rate(data)

    def what_to_try(self, folder: str) -> str:
        return f"textrnn classify {folder} RECORDING.wav"


def _vocabulary_size(tokenizer: object) -> int:
    """Return the default size, of which `tokenizer` are the settings that the user states.

    20,000 words are few for a language; 20,000 pieces are more than most labelled sets can have.
    """
    is_pieces = isinstance(tokenizer, Mapping) and tokenizer.get("kind") == "sentencepiece"
    return 0 if is_pieces else 20_000


def _of_single_texts(parts: Sequence[TextDataset]) -> tuple[str, ...]:
    """Return a hint where classes have one text, so that none of it is held out."""
    labels, counts = parts[0].labels, parts[0].class_counts + parts[1].class_counts
    single = [label for label, count in zip(labels, counts.tolist(), strict=True) if count == 1]
    if not single:
        return ()
    shown = ", ".join(single[:3]) + (", ..." if len(single) > 3 else "")
    advice = "; if labels are amounts, make classes of their ranges" if 2 * len(single) > len(labels) else ""
    classes = "1 class has a single text" if len(single) == 1 else f"{len(single):,} classes have a single text each"
    return (f"{classes}, which is learned but cannot be measured: {shown:.100}{advice}",)


def _kept_tokenizer(run: Run, corpus: LabelledCorpus) -> Tokenizer:
    config = run.config.tokenizer
    return kept_tokenizer(
        run, lambda _: train_tokenizer(config.kind, corpus.training_texts(), **tokenizer_options(config))
    )
