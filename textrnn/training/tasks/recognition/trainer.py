"""Training of recognizers: batches of recordings, each with its transcript, and the CTC loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from textrnn.data.audio.transcripts import (
    AugmentedTranscribedBatches,
    TranscribedBatches,
    TranscribedDataset,
    find_transcripts,
    transcript_columns,
)
from textrnn.data.labelled_vectors import some_sequences
from textrnn.data.labels import describe
from textrnn.decoding.ctc import greedy, log_probability
from textrnn.metrics.recognition import compare_transcripts, write_report
from textrnn.tokenizers.base import PAD_ID, Tokenizer
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.recognition.recognizer import RecognizerExporter
from textrnn.training.loop.compilation import Compiler
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.loop.training_step import SupervisedStep, require_possible
from textrnn.training.network.recognition.ctc_loss import ctc_nats
from textrnn.training.network.recognition.recognizer import Recognizer
from textrnn.training.tasks.batch_trainer import BatchTrainer

ENOUGH_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 2000, 10, 100
ERRORS = 20  # listed in the report


class RecognizerTrainer(BatchTrainer):
    """Trains one recognizer.

    Args:
        run: the run.
        tokenizer: that of the transcripts.
        train: what is trained on.
        held_out: what is measured on.
        distribution: the devices and processes that share a batch.
    """

    unit = "character"
    model: Recognizer

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        train: TranscribedDataset,
        held_out: TranscribedDataset,
        distribution: Distribution = ALONE,
    ) -> None:
        config = run.config
        require_possible(config.train)
        self.tokenizer = tokenizer
        size, stack = config.train.batch_size, config.model.frame_stack
        self.batches: TranscribedBatches = (
            AugmentedTranscribedBatches(train, size, config.seed, stack)
            if config.train.augment
            else TranscribedBatches(train, size, config.seed)
        )
        self.held_out = TranscribedBatches(held_out, min(size, len(held_out)), config.seed)
        vocabulary, longest = tokenizer.vocabulary_size, int(train.lengths.max()) // stack
        require_memory(bytes_needed(config, stack * train.features, vocabulary, longest), longest)
        with distribution.scope():
            model = Recognizer(config.model, train.features, vocabulary, config.seed, config.train.precision)
        model.backbone.set_frame_scaling(train.mean, train.scale, some_sequences(train) if config.model.cepstra else [])
        super().__init__(
            run,
            model,
            steps_per_epoch=self.batches.steps_per_epoch,
            epochs=config.train.epochs
            or enough_epochs(self.batches.steps_per_epoch, ENOUGH_STEPS, FEWEST_EPOCHS, MOST_EPOCHS),
            units_per_step=round(size * train.targets.mean()),
            state=tf.zeros(()),
            fingerprint=run_fingerprint(run, tokenizer, train, held_out),
            distribution=distribution,
        )
        self._step = SupervisedStep(model, self.optimizer, _loss, distribution=distribution)
        self._measure = Compiler(model).of_sequences(self._nats_and_log_probs)

    def measure(self) -> dict[str, Any]:
        """Return the nats a character, and the word and character error rates of greedy decoding."""
        nats, dataset = 0.0, self.held_out.dataset
        targets, outputs = list[str](), list[str]()
        for batch in self.held_out.all():
            found, log_probs, steps = self._measure(*(tf.constant(each) for each in (*batch.inputs, batch.targets)))
            for row, index in enumerate(batch.indices.tolist()):
                nats += float(found[row])
                targets.append(self.tokenizer.decode(dataset.transcript(index)))
                outputs.append(self.tokenizer.decode(greedy(log_probs[: int(steps[row]), row].numpy())))
        figures = compare_transcripts(targets, outputs)
        return {
            "held_out_loss": nats / max(1, int(dataset.targets.sum())),
            "held_out_word_error_rate": figures["word_error_rate"],
            "held_out_character_error_rate": figures["character_error_rate"],
        }

    def _nats_and_log_probs(self, frames: Any, lengths: Any, targets: Any) -> tuple[Any, Any, Any]:
        logits, steps = self.model(frames, lengths)
        return ctc_nats(logits, steps, targets), tf.nn.log_softmax(logits), steps

    def describe(self, measured: Mapping[str, Any]) -> str:
        words = f"word error rate {measured['held_out_word_error_rate']:.2%}"
        return f"held out {measured['held_out_loss']:.4f} nats a character, {words}"

    def exporter(self) -> RecognizerExporter:
        return self._exporter(None)

    def _exporter(self, report: Any) -> RecognizerExporter:
        return RecognizerExporter(self.model, self.tokenizer, self.held_out, self.run.config, report)

    def finish(self) -> None:
        """Write the report and the bundle."""
        self.best_weights()
        self.run.write_bundle(self._exporter(self.report).export)

    def report(self, figures: Mapping[str, Any], log_probs: Mapping[int, Any]) -> None:
        """Write ``report.json`` and ``report.txt``: figures and confident errors on held-out recordings.

        Args:
            figures: the figures.
            log_probs: log-probabilities ``(steps, tokens)`` by the number of the held-out recording.
        """
        train, held_out, data = self.batches.dataset, self.held_out.dataset, self.run.config.data
        wrong = list[tuple[float, int, str, str]]()
        for index, array in log_probs.items():
            ids = greedy(array)
            text, output = self.tokenizer.decode(held_out.transcript(index)), self.tokenizer.decode(ids)
            if text != output:
                wrong.append((log_probability(array, ids) / max(1, len(ids)), index, text, output))
        wrong = sorted(wrong, reverse=True)[:ERRORS]
        sources = data.validation or data.source
        places = find_transcripts(sources, transcript_columns(data), Counter()) if wrong else []
        errors = [
            {"recording": places[held_out.records[index]].place, "text": text, "output": output, "score": score}
            for score, index, text, output in wrong
        ]
        facts = {
            "trained_on": len(train),
            "left_out": describe(train.skipped) or "nothing",
            "too_short": train.skipped.get("recordings too short for their transcript", 0),
        }
        write_report(self.run.folder, {**facts, **figures}, errors)


def _loss(outputs: tuple[Any, Any], targets: Any) -> Any:
    """Return the loss of a batch: nats a character."""
    logits, steps = outputs
    return tf.reduce_sum(ctc_nats(logits, steps, targets)) / tf.reduce_sum(tf.cast(targets != PAD_ID, tf.float32))
