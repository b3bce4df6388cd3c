"""The task of language modelling: text becomes tokens, and the last part is held out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textrnn.config import Config, DataConfig
from textrnn.data.places import names_a_column
from textrnn.data.records import source_options
from textrnn.data.sources import count_bytes, source_fingerprint, with_found_columns
from textrnn.data.tokens.chunks import Corpus
from textrnn.data.tokens.datasets import TokenDataset, prepare
from textrnn.data.tokens.vocabulary import learn_tokenizer
from textrnn.errors import UserError
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_tokens, fitted
from textrnn.training.tasks.moves import (
    BATCHES,
    DECAY,
    DROPOUT,
    HIGHER,
    LONGER,
    LOWER,
    UNITS,
    Move,
    chosen,
    down,
    times,
    up,
)
from textrnn.training.tasks.task import Digests, Prepared, Task
from textrnn.training.tasks.tokenizer import kept_tokenizer, tokenizer_options

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer

LEAST_HELD_OUT = 8  # minimum bytes of held-out text: two characters of any script


class LanguageModelling(Task):
    """The task of predicting the next token of a text."""

    name, reads, model = "language_model", "text", "language model"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        tokenizer, model = (_section(stated, name) for name in ("tokenizer", "model"))
        if tokenizer.get("kind", "char") != "char" or model.get("input_ngrams", 4) in (0, 1):
            return {}
        width = {} if model.get("tied") else {"embedding_dim": 128}  # a tied embedding is the output layer too
        return {
            "model": {"input_ngrams": 4, "ngram_dropout": 0.3, **width},
            "train": {"learning_rate": 4e-3},
        }

    def reads_columns(self, data: DataConfig) -> bool:
        return names_a_column(data)

    def find_columns(self, data: DataConfig) -> tuple[DataConfig, Sequence[str]]:
        return with_found_columns(data, source_options(data))

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return source_fingerprint(sources, source_options(run.config.data))

    def tokenizer(self, run: Run) -> Tokenizer:
        return kept_tokenizer(run, _learn_tokenizer)

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        tokenizer = self.tokenizer(run)
        mixed = _mixed(run, tokenizer, digests) if run.config.data.mix else ()
        return Prepared(tokenizer, (*_datasets(run, tokenizer, digests), *mixed))

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.language_model.trainer import LanguageModelTrainer

        if prepared.tokenizer is None:
            raise UserError("a language model needs a tokenizer, the run has none; train again into another --out")
        tokens = prepared.parts[0].tokens
        config = fit_to_tokens(run.config, self.default_config(), tokens, distribution.replicas)
        run = fitted(run, config, f"{tokens:,} training tokens", distribution.is_chief)
        train, held_out, *mixed = prepared.parts
        return LanguageModelTrainer(run, prepared.tokenizer, train, held_out, distribution, mixed)

    def moves(self, config: Config) -> Sequence[Move]:
        kind, ngrams = config.tokenizer.kind, config.model.input_ngrams
        others = [chosen("tokenizer.kind", each, from_defaults=True) for each in ("sentencepiece", "word")]
        of_ngrams = [
            *up(config, "model.ngram_dropout", DROPOUT),
            *up(config, "model.input_ngrams", (2, 3, 4, 5)),
            *up(config, "model.ngram_rows", (2048, 8192, 32768, 131072)),
            *down(config, "model.ngram_dropout", DROPOUT),
            *down(config, "model.input_ngrams", (2, 3, 4, 5)),
        ]
        batches = down(config, "train.batch_size", BATCHES)
        dropout = {"model.dropout": 0.3} | ({"model.ngram_dropout": 0.45} if ngrams > 1 else {})
        return [
            *batches,
            # More steps and more dropout help a short text together, where dropout alone does not.
            *(Move("model.dropout", True, {**move.changes, **dropout}) for move in batches if not config.model.dropout),
            *up(config, "model.dropout", DROPOUT),
            *up(config, "model.hidden_dim", UNITS),
            *(of_ngrams[:1] if ngrams > 1 else []),
            *(others if kind == "char" else []),
            *times(config, "train.learning_rate", LOWER),
            *times(config, "train.learning_rate", HIGHER),
            *(of_ngrams[1:] if ngrams > 1 else []),
            *([] if config.model.tied else up(config, "model.embedding_dim", UNITS)),
            *up(config, "train.weight_decay", DECAY),
            *times(config, "train.epochs", LONGER),
            *up(config, "model.input_dropout", DROPOUT),
            *up(config, "model.layers", (1, 2, 3)),
            *up(config, "train.batch_size", BATCHES),
            *down(config, "model.dropout", DROPOUT),
            *down(config, "model.hidden_dim", UNITS),
            *down(config, "model.layers", (1, 2, 3)),
        ]

    def what_to_try(self, folder: str) -> str:
        return f"textrnn generate {folder}"


def _section(stated: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of settings, which may be of any form as long as it is not checked."""
    found = stated.get(name)
    return found if isinstance(found, Mapping) else {}


def _learn_tokenizer(run: Run) -> Tokenizer:
    config, data = run.config.tokenizer, run.config.data
    held_out = None if data.validation else _held_out_share(data)
    corpus = Corpus(data.source, source_options(data), data.separate_documents, held_out, data.processes, run.quiet)
    tokenizer = learn_tokenizer(config.kind, corpus, **tokenizer_options(config))
    if tokenizer.vocabulary_size < config.vocabulary_size and not run.quiet:
        print(
            f"the vocabulary is {tokenizer.vocabulary_size:,} tokens, all that the text has, of at most"
            f" {config.vocabulary_size:,} (tokenizer.vocabulary_size)",
            file=sys.stderr,
        )
    return tokenizer


def _datasets(run: Run, tokenizer: Tokenizer, digests: Digests) -> tuple[TokenDataset, TokenDataset]:
    """Return training and held-out tokens, tokenised once and stored on disk."""
    data, folder = run.config.data, run.folder / "data"
    options = source_options(data)
    known, known_validation = digests.get("data.source"), digests.get("data.validation")
    shared: dict[str, Any] = {
        "separate_documents": data.separate_documents,
        "processes": data.processes,
        "quiet": run.quiet,
    }
    if not data.validation:
        share = _held_out_share(data)
        train, held_out = prepare(tokenizer, data.source, options, folder, held_out=share, fingerprint=known, **shared)
    else:
        train, _ = prepare(tokenizer, data.source, options, folder, held_out=None, fingerprint=known, **shared)
        held_out, _ = prepare(
            tokenizer,
            data.validation,
            options,
            folder,
            held_out=None,
            measured=True,
            fingerprint=known_validation,
            **shared,
        )
    if held_out is None or held_out.tokens < 2:
        raise UserError(
            "held-out text must have at least 2 tokens, has fewer; raise data.held_out, or give more text or"
            " data.validation"
        )
    return train, held_out


def _mixed(run: Run, tokenizer: Tokenizer, digests: Digests) -> tuple[TokenDataset, TokenDataset | None]:
    """Return training and held-out tokens of the text that is mixed in."""
    data = run.config.data
    return prepare(
        tokenizer,
        data.mix,
        source_options(data),
        run.folder / "data",
        separate_documents=data.separate_documents,
        held_out=data.held_out,
        processes=data.processes,
        fingerprint=digests.get("data.mix"),
        quiet=run.quiet,
    )


def _held_out_share(data: DataConfig) -> float:
    """Return the held-out share of the text; for a text of a few bytes it is larger than configured."""
    size = count_bytes(data.source)
    return min(0.5, max(data.held_out, LEAST_HELD_OUT / size)) if size else data.held_out
