"""Training of translators: batches of pairs, each target token predicted from the true ones before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from textrnn.data.labels import describe
from textrnn.data.pairs.dataset import PairBatches, PairDataset
from textrnn.data.pairs.reading import pair_options, read_pairs
from textrnn.decoding.beam_search import Hypothesis
from textrnn.metrics.text_to_text import write_report
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.text_to_text import TranslatorExporter
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.loop.training_step import SupervisedStep, require_possible
from textrnn.training.network.backbone import Masks
from textrnn.training.network.text_to_text.translator import Translator
from textrnn.training.tasks.batch_trainer import BatchTrainer
from textrnn.training.tasks.text_to_text.tokenizers import BothTokenizers

ENOUGH_STEPS, FEWEST_EPOCHS = 20_000, 10
ERRORS = 20  # listed in the report


class TranslatorTrainer(BatchTrainer):
    """Trains one translator.

    Args:
        run: the run.
        tokenizers: those of sources and targets.
        train: what is trained on.
        held_out: what is measured on.
        distribution: the devices and processes that share a batch.
    """

    unit = "pair"
    model: Translator

    def __init__(
        self,
        run: Run,
        tokenizers: BothTokenizers,
        train: PairDataset,
        held_out: PairDataset,
        distribution: Distribution = ALONE,
    ) -> None:
        config = run.config
        require_possible(config.train)
        self.tokenizers = tokenizers
        self.batches = PairBatches(train, config.train.batch_size, config.seed)
        self.held_out = PairBatches(held_out, min(config.train.batch_size, len(held_out)), config.seed)
        vocabulary, longest = tokenizers.target.vocabulary_size, int(train.lengths.max())
        require_memory(bytes_needed(config, config.model.embedding_dim, vocabulary, longest), longest)
        with distribution.scope():
            model = Translator(
                config.model, tokenizers.source.vocabulary_size, vocabulary, config.seed, config.train.precision
            )
        super().__init__(
            run,
            model,
            steps_per_epoch=self.batches.steps_per_epoch,
            epochs=config.train.epochs or enough_epochs(self.batches.steps_per_epoch, ENOUGH_STEPS, FEWEST_EPOCHS),
            units_per_step=config.train.batch_size,
            state=tf.zeros(()),
            fingerprint=run_fingerprint(run, tokenizers.source, train, held_out) + tokenizers.target.fingerprint,
            distribution=distribution,
        )
        loss = smoothed_loss(config.train.label_smoothing)
        self._step = PairStep(model, self.optimizer, loss, distribution=distribution)
        self._measure = Compiler(model).of_sequences(self._figures)

    def measure(self) -> dict[str, Any]:
        """Return the nats a token, and the share of targets of which every token is the most probable one.

        That share is the share that greedy search gets right.
        """
        nats = tokens = right = pairs = 0.0
        for batch in self.held_out.all():
            found = self._measure(*(tf.constant(each) for each in (*batch.inputs, batch.targets)))
            nats, tokens, right = (
                total + float(each) for total, each in zip((nats, tokens, right), found, strict=True)
            )
            pairs += len(batch.indices)
        return {"held_out_loss": nats / tokens, "held_out_exact": right / pairs}

    def _figures(self, sources: Any, inputs: Any, targets: Any) -> tuple[Any, Any, Any]:
        logits = self.model(sources, inputs)
        by_time = tf.transpose(targets)
        is_token = by_time != PAD_ID
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(by_time, logits)
        wrong = is_token & (tf.argmax(logits, axis=-1, output_type=tf.int32) != by_time)
        is_right = ~tf.reduce_any(wrong, axis=0) & tf.reduce_any(is_token, axis=0)
        weights = tf.cast(is_token, tf.float32)
        return tf.reduce_sum(nats * weights), tf.reduce_sum(weights), tf.reduce_sum(tf.cast(is_right, tf.float32))

    def describe(self, measured: Mapping[str, Any]) -> str:
        return f"held out {measured['held_out_loss']:.4f} nats a token, exact {measured['held_out_exact']:.2%}"

    def exporter(self) -> TranslatorExporter:
        return self._exporter(None)

    def _exporter(self, report: Any) -> TranslatorExporter:
        train, config = self.batches.dataset, self.run.config
        return TranslatorExporter(self.model, self.tokenizers, train, self.held_out, config, report)

    def finish(self) -> None:
        """Write the report and the bundle."""
        self.best_weights()
        self.run.write_bundle(self._exporter(self.report).export)

    def report(self, figures: Mapping[str, Any], outputs: Mapping[int, Hypothesis]) -> None:
        """Write ``report.json`` and ``report.txt``: figures and confident errors on held-out pairs.

        Args:
            figures: the figures.
            outputs: outputs by the number of the held-out pair.
        """
        held_out, train, target = self.held_out.dataset, self.batches.dataset, self.tokenizers.target
        data = self.run.config.data
        wrong = [index for index, each in outputs.items() if list(each.ids) != held_out.pair(index)[1].tolist()]
        wrong = sorted(wrong, key=lambda index: -outputs[index].score)[:ERRORS]
        options = pair_options(data)
        pairs = dict(enumerate(read_pairs(data.validation or data.source, options, Counter()))) if wrong else {}
        errors = [
            {
                "source": pairs[int(held_out.records[index])].source,
                "target": pairs[int(held_out.records[index])].target,
                "output": target.decode(outputs[index].ids),
                "score": outputs[index].score,
            }
            for index in wrong
        ]
        facts = {"trained_on": len(train), "left_out": describe(train.skipped) or "nothing"}
        write_report(self.run.folder, {**facts, **figures}, errors)


class PairStep(SupervisedStep):
    """A training step on a batch of pairs."""

    def draw_masks(self, rows: int, inputs: tuple[Any, ...], seed: Any) -> Masks:
        sources, targets = inputs
        masks: Masks = self.model.draw_masks(rows, sources.shape[1], targets.shape[1], seed)
        return masks


def smoothed_loss(smoothing: float) -> Any:
    """Return the loss of a batch from logits ``(time, batch, vocabulary)`` and targets ``(batch, time)``: nats a token.

    The share `smoothing` of the target probability is spread evenly over the vocabulary.
    """

    def loss(logits: Any, targets: Any) -> Any:
        by_time = tf.transpose(targets)
        weights = tf.cast(by_time != PAD_ID, tf.float32)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(by_time, logits)
        if smoothing:
            even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
            nats = (1.0 - smoothing) * nats + smoothing * even
        return tf.reduce_sum(nats * weights) / tf.reduce_sum(weights)

    return loss
