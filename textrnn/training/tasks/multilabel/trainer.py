"""Training of multi-label classifiers: a sigmoid for each label, and thresholds chosen on held-out texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.config import Config
from textrnn.data.labelled import LabelledDataset
from textrnn.metrics.classification_report import Metrics
from textrnn.metrics.multilabel import as_decisions, fit_thresholds, measure, sigmoid
from textrnn.training.export.classifier import ClassifierExporter
from textrnn.training.tasks.classification.trainer import MISTAKES, ClassifierTrainer, Mistake


class MultilabelTrainer(ClassifierTrainer):
    """Trains one multi-label classifier, on the binary cross-entropy of each label."""

    loss_unit = "nats a label"

    def loss(self, train: LabelledDataset, config: Config) -> Callable[[Any, Any], Any]:
        return binary_cross_entropy

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return sigmoid(logits)

    def metrics(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> Metrics:
        return measure(probs, targets, self.held_out.dataset.labels, fit_thresholds(probs, targets))

    def decisions(self, logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return as_decisions(logits, targets)

    def mistakes(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> list[Mistake]:
        predicted, true = probs >= fit_thresholds(probs, targets), targets.astype(bool)
        confidence = np.where(predicted != true, np.maximum(probs, 1 - probs), 0).max(axis=1)
        wrong = np.flatnonzero((predicted != true).any(axis=1))
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
        return [
            Mistake(index, self._names(true[index]), self._names(predicted[index]), float(confidence[index]))
            for index in worst
        ]

    def history(self, metrics: Any) -> dict[str, Any]:
        return {"held_out_loss": metrics.nats, "held_out_micro_f1": metrics.micro_f1}

    def describe(self, measured: Mapping[str, Any]) -> str:
        return f"held out {measured['held_out_loss']:.4f} nats a label, micro F1 {measured['held_out_micro_f1']:.2%}"

    def exporter(self) -> ClassifierExporter:
        logits, targets, calibration = self.calibrated()
        thresholds = fit_thresholds(sigmoid(logits), targets)
        arguments = (self.model, self.tokenizer, self.held_out, calibration, self.run.config, self.direct)
        return MultilabelExporter(*arguments, thresholds=thresholds)

    def _names(self, chosen: NDArray[np.bool_]) -> str:
        labels = self.held_out.dataset.labels
        return ", ".join(label for label, is_chosen in zip(labels, chosen, strict=True) if is_chosen) or "(none)"


class MultilabelExporter(ClassifierExporter):
    """Writes the bundle of a multi-label classifier, whose thresholds are part of the manifest.

    Args:
        thresholds: probability from which on each label is predicted, ``(labels,)``.
    """

    def __init__(self, *arguments: Any, thresholds: NDArray[np.float64]) -> None:
        super().__init__(*arguments)
        self.kind, self.thresholds = "multilabel_classifier", thresholds

    def runtime(self) -> dict[str, Any]:
        separator = self.settings.data.label_separator
        return {**super().runtime(), "label_separator": separator, "thresholds": self.thresholds.tolist()}

    def figures(self, outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        found = measure(sigmoid(outputs), targets, self.held_out.dataset.labels, self.thresholds)
        return found.to_dict(), {"micro_f1": found.micro_f1, "nats": found.nats}


def binary_cross_entropy(logits: Any, targets: Any) -> Any:
    """Compute the mean nats of all labels, given logits and targets ``(batch, labels)``."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, logits.dtype), logits))
