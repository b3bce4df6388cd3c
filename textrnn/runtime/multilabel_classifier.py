"""Runs a multi-label classifier of texts: the graph of a classifier, a sigmoid and a threshold for each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.data.labels import Labels, MultiLabels
from textrnn.errors import UserError
from textrnn.runtime.text_classifier import Classifier


@dataclass(frozen=True)
class MultilabelPrediction:
    """The labels of a text."""

    labels: tuple[str, ...]
    """Labels whose probability reaches their threshold, the most probable first."""
    probs: dict[str, float]
    """Probability of each label."""
    tokens: int
    """Tokens of the text."""
    tokens_read: int
    """Fewer than `tokens` where a long text was cut in the middle."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "labels": list(self.labels)}

    def summary(self) -> str:
        """Return the labels and their probabilities for a person to read."""
        return ", ".join(f"{label} {self.probs[label]:.2f}" for label in self.labels) or "no label"

    def columns(self) -> dict[str, Any]:
        """Return the columns of a prediction in a table, by name; labels are separated by ``|``."""
        return {
            "predicted_labels": "|".join(self.labels),
            **{f"prob_{label}": value for label, value in self.probs.items()},
        }


class MultilabelClassifier(Classifier):
    """A multi-label text classifier of a bundle.

    >>> textrnn.load("runs/tickets").classify(["the cat slept", "a dog sang"])[0].labels
    ('sleep', 'cat')

    Attributes:
        manifest: the bundle's manifest.
        tokenizer: text to ids and back.
        labels: names of the labels.
        thresholds: probability from which on each label is predicted, float64 ``(labels,)``.
        max_length: tokens of a text that are read. Longer texts are cut in the middle.
    """

    no_prediction: ClassVar[dict[str, None]] = {"labels": None}

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self.thresholds = np.array(self.manifest.runtime["thresholds"], np.float64)
        if self.thresholds.shape != (len(self.labels),):
            raise UserError(
                f"a multi-label classifier must have a threshold for each of its {len(self.labels)} labels, "
                f"{bundle.folder} has {len(self.thresholds)}; export it again"
            )

    def labels_of(self, names: Sequence[str]) -> Labels:
        return MultiLabels(self.manifest.runtime["label_separator"], names)

    def measure(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> Any:
        """Compare predictions with true labels.

        Args:
            probs: probability of each label, ``(texts, labels)``.
            targets: 1 for each label of a text, else 0, ``(texts, labels)``.

        Returns:
            a `textrnn.metrics.multilabel.MultilabelMetrics`.

        Raises:
            UserError: there is no text.
        """
        from textrnn.metrics.multilabel import measure

        return measure(probs, targets, self.labels, self.thresholds)

    def _probabilities(self, logits: NDArray[Any]) -> NDArray[np.float64]:
        values = np.asarray(logits, np.float64)
        return np.asarray(np.exp(-np.logaddexp(0, -values)))  # 1 / (1 + exp(-x)), which cannot overflow

    def _prediction(self, probs: NDArray[np.float64], tokens: int) -> MultilabelPrediction:
        chosen = [index for index in np.argsort(-probs, kind="stable") if probs[index] >= self.thresholds[index]]
        return MultilabelPrediction(
            labels=tuple(self.labels[index] for index in chosen),
            probs=dict(zip(self.labels, probs.tolist(), strict=True)),
            tokens=tokens,
            tokens_read=min(tokens, self.max_length),
        )
