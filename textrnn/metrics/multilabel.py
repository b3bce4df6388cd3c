"""Figures of multi-label classifiers: each label of each text is a decision of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.metrics.calibration import expected_calibration_error

ENOUGH_POSITIVES = 10  # held-out texts with a label, from which on the label has a threshold of its own
CANDIDATES = np.round(np.arange(0.05, 0.951, 0.01), 2)


@dataclass(frozen=True, eq=False)
class MultilabelMetrics:
    """Predicted labels of texts, beside the true ones.

    Attributes:
        labels: names of the labels.
        counts: int64 ``(labels, 3)``: texts rightly given each label, texts given it, texts that have it.
        texts: number of texts.
        exact_match: share of the texts whose labels are all right.
        nats: mean binary cross-entropy of a label.
        calibration_error: expected calibration error of all decisions.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    texts: int
    exact_match: float
    nats: float
    calibration_error: float

    @property
    def micro_f1(self) -> float:
        """F1 of all decisions together."""
        right, predicted, true = self.counts.sum(axis=0).tolist()
        return float(2 * right / max(predicted + true, 1))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels, each with the same weight."""
        return sum(figures["f1"] for figures in self.classes.values()) / len(self.labels)

    @property
    def classes(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and true texts of every label; a share of nothing is 0.0."""
        return {
            label: {
                "precision": right / max(predicted, 1),
                "recall": right / max(true, 1),
                "f1": 2 * right / max(predicted + true, 1),
                "texts": true,
            }
            for label, (right, predicted, true) in zip(self.labels, self.counts.tolist(), strict=True)
        }

    @property
    def confusion_matrix(self) -> None:
        """None: a text with several labels has no row in it."""
        return None

    def figures(self) -> list[tuple[str, str]]:
        """Return the figures of all texts together, for people."""
        return [
            ("texts", f"{self.texts:,}"),
            ("micro F1", f"{self.micro_f1:.4f}"),
            ("macro F1", f"{self.macro_f1:.4f}"),
            ("exact match", f"{self.exact_match:.4f}"),
            ("nats a label", f"{self.nats:.4f}"),
            ("calibration error", f"{self.calibration_error:.4f}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        names = ("texts", "micro_f1", "macro_f1", "exact_match", "nats", "calibration_error", "classes")
        return {name: getattr(self, name) for name in names}


def measure(
    probs: NDArray[np.float64], targets: NDArray[Any], labels: Sequence[str], thresholds: NDArray[np.float64]
) -> MultilabelMetrics:
    """Compare predictions with the truth.

    Args:
        probs: probability of each label, ``(texts, labels)``.
        targets: 1 for each label of a text, else 0, ``(texts, labels)``.
        labels: names of the labels, in order.
        thresholds: probability from which on each label is predicted, ``(labels,)``.

    Raises:
        UserError: there is no text.
    """
    if not len(targets):
        raise UserError("a classifier is measured on at least one labelled text, received none; give a fuller source")
    true, predicted = np.asarray(targets, bool), probs >= thresholds
    of_truth = np.where(true, probs, 1 - probs)
    # A probability that was rounded to 0 counts as the smallest number: one label must not make the mean infinite.
    nats = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean()
    decided = np.stack([1 - probs.ravel(), probs.ravel()], axis=1)
    return MultilabelMetrics(
        tuple(labels),
        np.stack([(true & predicted).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)], axis=1).astype(np.int64),
        len(true),
        float((true == predicted).all(axis=1).mean()),
        float(nats),
        expected_calibration_error(decided, true.ravel().astype(np.int64)),
    )


def fit_thresholds(probs: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return the threshold of each label with the highest F1 on held-out texts, ``(labels,)``.

    A label that fewer than `ENOUGH_POSITIVES` texts have takes the threshold with the highest micro F1 of all labels:
    one chosen on a few texts would not hold for others. Of equals, the nearest to 0.5 is taken.

    Args:
        probs: probability of each label, ``(texts, labels)``.
        targets: 1 for each label of a text, else 0, ``(texts, labels)``.
    """
    true = np.asarray(targets, bool)
    candidates = CANDIDATES[np.argsort(np.abs(CANDIDATES - 0.5), kind="stable")]
    predicted = (probs >= candidate for candidate in candidates)  # one at a time: texts and labels may be many
    counts = np.array([((each & true).sum(axis=0), each.sum(axis=0)) for each in predicted])
    right, given = counts[:, 0], counts[:, 1]  # (candidates, labels)
    of_labels = 2 * right / np.maximum(given + true.sum(axis=0), 1)
    of_all = 2 * right.sum(axis=1) / np.maximum(given.sum(axis=1) + true.sum(), 1)
    thresholds = candidates[of_labels.argmax(axis=0)]
    shared = candidates[of_all.argmax()]
    return np.asarray(np.where(true.sum(axis=0) >= ENOUGH_POSITIVES, thresholds, shared), np.float64)


def as_decisions(logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each label of each text as a choice of two classes, for functions that calibrate a softmax.

    Args:
        logits: logits of the labels, ``(texts, labels)``.
        targets: 1 for each label of a text, else 0, ``(texts, labels)``.

    Returns:
        logits ``(texts * labels, 2)`` whose softmax is the sigmoid, and the right class of each, ``(texts * labels,)``.
    """
    flat = np.asarray(logits, np.float64).ravel()
    return np.stack([np.zeros_like(flat), flat], axis=1), np.asarray(targets, np.int64).ravel()


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Compute ``1 / (1 + exp(-x))`` in float64."""
    values = np.asarray(logits, np.float64)
    return np.exp(-np.logaddexp(0, -values))
