"""Training of classifiers: batches of whole labelled texts, or sequences of vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.classification import probabilities
from textrnn.data.labelled import LabelledDataset
from textrnn.data.labelled_texts import texts_of_records
from textrnn.data.labels import describe
from textrnn.data.records import labelled_options
from textrnn.metrics.calibration import expected_calibration_error, fit_temperature, reliability
from textrnn.metrics.classification_report import confident_mistakes, measure, write_report
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.export.classifier import Calibration, ClassifierExporter
from textrnn.training.loop.run import Run
from textrnn.training.tasks.supervised_trainer import SupervisedTrainer

MISTAKES = 20  # listed in the report


class ClassifierTrainer(SupervisedTrainer):
    """Trains one classifier.

    Args:
        run: the run.
        tokenizer: of its texts; None where vectors are read.
        train: what is trained on.
        held_out: what is measured on.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer | None,
        train: LabelledDataset,
        held_out: LabelledDataset,
    ) -> None:
        self.tokenizer = tokenizer
        loss = weighted_cross_entropy(class_weights(train, run.config.train.class_weights))
        super().__init__(run, tokenizer, train, held_out, len(train.labels), loss)

    def measure(self) -> dict[str, Any]:
        """The held-out loss at the temperature that makes it least: being too sure of itself is mended afterwards."""
        logits, targets = self.held_out_logits()
        probs = probabilities(logits / fit_temperature(logits, targets))
        metrics = measure(probs, targets, self.batches.dataset.labels)
        return {"held_out_loss": metrics.nats, "held_out_accuracy": metrics.accuracy}

    def describe(self, measured: Mapping[str, Any]) -> str:
        return f"{super().describe(measured)}, accuracy {measured['held_out_accuracy']:.2%}"

    def held_out_logits(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Logits ``(texts, classes)`` of the held-out texts, and their classes ``(texts,)``."""
        return self.held_out_outputs(), np.asarray(self.held_out.dataset.targets, np.int32)

    def calibrate(self) -> Calibration:
        """The temperature that fits the held-out texts best, and what it mends."""
        logits, targets = self.held_out_logits()
        temperature = fit_temperature(logits, targets)
        before, after = (expected_calibration_error(probabilities(logits / t), targets) for t in (1.0, temperature))
        return Calibration(temperature, before, after)

    def exporter(self) -> ClassifierExporter:
        return ClassifierExporter(self.model, self.tokenizer, self.held_out, self.calibrate(), self.run.config)

    def finish(self) -> None:
        """Write the report, then the bundle."""
        self.best_weights()
        self.report()
        super().finish()

    def report(self) -> None:
        """Write what the model gets right and wrong on held-out texts: ``report.json``, ``.txt`` and ``.png``."""
        train, held_out, data = self.batches.dataset, self.held_out.dataset, self.run.config.data
        calibration = self.calibrate()
        logits, targets = self.held_out_logits()
        probs = probabilities(logits / calibration.temperature)
        wrong = confident_mistakes(probs, targets, MISTAKES)
        records = held_out.records[wrong].tolist()
        if self.tokenizer:
            texts = texts_of_records(data.validation or data.source, labelled_options(data), records)
        else:
            texts = {record: f"sequence {record + 1}" for record in records}
        mistakes = [
            {
                "text": texts[record],
                "label": held_out.labels[targets[index]],
                "predicted": held_out.labels[probs[index].argmax()],
                "probability": float(probs[index].max()),
            }
            for index, record in zip(wrong, records, strict=True)
        ]
        facts = {
            "trained_on": len(train),
            "skipped": describe(train.skipped) or "nothing",
            "longer_than_max_length": int((train.lengths > data.max_length).sum()) if self.tokenizer else 0,
            "temperature": calibration.temperature,
            "calibration_error_before": calibration.error_before,
        }
        write_report(
            self.run.folder,
            measure(probs, targets, held_out.labels),
            reliability(probs, targets),
            mistakes,
            facts,
        )


def weighted_cross_entropy(weights: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """The mean of nats of the target class, each weighted by its class, given logits ``(batch, classes)``."""
    of_class = tf.constant(weights, tf.float32)

    def loss(logits: Any, targets: Any) -> Any:
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_mean(nats * tf.gather(of_class, targets))

    return loss


def class_weights(train: LabelledDataset, kind: str) -> NDArray[np.float32]:
    """What a text of each class counts, ``(classes,)``: 1, or, "balanced", 1 on average and each class the same."""
    counts = np.bincount(train.targets, minlength=len(train.labels))
    if kind == "none":
        return np.ones(len(counts), np.float32)
    return np.asarray(len(train) / (len(counts) * np.maximum(counts, 1)), np.float32)
