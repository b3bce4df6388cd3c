"""Text to text: learns to write the target of a source text from pairs, some of which are held out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from textrnn.config import Config
from textrnn.data.labels import describe
from textrnn.data.pairs.dataset import is_held_out, open_pairs, pair_paths, write_pairs
from textrnn.data.pairs.reading import Pair, pair_notes, pair_options, read_pairs
from textrnn.data.sources import source_fingerprint
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fitted
from textrnn.training.tasks.moves import BATCHES, DROPOUT, HIGHER, LONGER, LOWER, UNITS, Move, down, times, up
from textrnn.training.tasks.task import Digests, Prepared, Task
from textrnn.training.tasks.text_to_text.tokenizers import BothTokenizers, kept_tokenizers

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer


class TextToText(Task):
    """Learns to write a target text from a source text."""

    name, reads, model = "text_to_text", "text", "translator"
    answers = "target"

    def defaults(self, stated: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "data": {"max_length": 256},
            "model": {
                "hidden_dim": 256,
                "embedding_dim": 128,
                "layers": 2,
                "bidirectional": True,
                "dropout": 0.3,
            },
            "train": {"batch_size": 64, "learning_rate": 2e-3},
        }

    def digest(self, run: Run, sources: tuple[str, ...]) -> str:
        return source_fingerprint(sources, pair_options(run.config.data))

    def prepare(self, run: Run, digests: Digests) -> Prepared:
        data = run.config.data
        skipped = Counter[str]()

        @cache
        def pairs() -> list[Pair]:
            if not run.quiet:
                for note in pair_notes([*data.source, *data.validation], pair_options(data)):
                    print(note, file=sys.stderr)
            return list(read_pairs(data.source, pair_options(data), skipped))

        @cache
        def training() -> tuple[list[tuple[int, Pair]], list[tuple[int, Pair]]]:
            numbered = list(enumerate(pairs()))
            if data.validation:
                return numbered, []
            held_out = is_held_out(pairs(), data.held_out)
            return [each for each in numbered if not held_out[each[0]]], [
                each for each in numbered if held_out[each[0]]
            ]

        tokenizers = kept_tokenizers(run, lambda: [pair for _, pair in training()[0]])
        known = digests.get("data.source") or self.digest(run, data.source)
        parts = _prepared(run, tokenizers, known, bool(not data.validation), lambda: (training(), skipped))
        if data.validation:
            left_out = Counter[str]()
            known = digests.get("data.validation") or self.digest(run, data.validation)
            parts += _prepared(
                run,
                tokenizers,
                known,
                False,
                lambda: ((list(enumerate(read_pairs(data.validation, pair_options(data), left_out))),), left_out),
            )
        return Prepared(tokenizers.source, tuple(parts), tokenizers.target)

    def notes(self, prepared: Prepared) -> Sequence[str]:
        train = prepared.parts[0]
        source, target = _tokenizers(prepared)
        note = f"sources are read by {source.kind}, targets by {target.kind}"
        return [f"{note}; left out: {describe(train.skipped)}" if train.skipped else note]

    def trainer(self, run: Run, prepared: Prepared, distribution: Distribution) -> Trainer:
        from textrnn.training.tasks.text_to_text.trainer import TranslatorTrainer

        train, held_out = prepared.parts
        config = fit_to_records(run.config, self.default_config(), len(train), distribution.replicas)
        run = fitted(run, config, f"{len(train):,} training pairs", distribution.is_chief)
        return TranslatorTrainer(run, _tokenizers(prepared), train, held_out, distribution)

    def moves(self, config: Config) -> Sequence[Move]:
        return [
            *up(config, "model.hidden_dim", UNITS),
            *up(config, "model.dropout", DROPOUT),
            *times(config, "train.learning_rate", LOWER),
            *times(config, "train.learning_rate", HIGHER),
            *times(config, "train.epochs", LONGER),
            *down(config, "model.dropout", DROPOUT),
            *down(config, "train.batch_size", BATCHES),
            *up(config, "model.layers", (1, 2, 3)),
            *down(config, "model.layers", (1, 2, 3)),
            *up(config, "train.batch_size", BATCHES),
            *down(config, "model.hidden_dim", UNITS),
        ]

    def what_to_try(self, folder: str) -> str:
        return f'textrnn predict {folder} "TEXT"'


def _tokenizers(prepared: Prepared) -> BothTokenizers:
    if prepared.tokenizer is None or prepared.target_tokenizer is None:
        raise TypeError("text to text has two tokenizers")
    return BothTokenizers(prepared.tokenizer, prepared.target_tokenizer)


def _prepared(run: Run, tokenizers: BothTokenizers, fingerprint: str, held_out: bool, read: Any) -> list[Any]:
    """Return the parts of some sources, written into the run's folder if they are not there yet.

    Args:
        run: the run.
        tokenizers: its tokenizers.
        fingerprint: digest of the sources.
        held_out: whether a share is held out.
        read: returns the parts, pairs with their numbers, and the counter of what was left out.
    """
    data = run.config.data
    decides = [*(each.fingerprint for each in tokenizers), fingerprint, held_out and data.held_out, data.max_length]
    paths = pair_paths(run.folder / "data", decides, held_out)
    if found := open_pairs(paths):
        return list(found)
    parts, skipped = read()
    return list(write_pairs(paths, parts[: len(paths)], tokenizers, data.max_length, skipped, fingerprint))
