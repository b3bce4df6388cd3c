"""Training of classifiers: batches of whole labelled texts, or sequences of vectors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.classification import probabilities
from textrnn.config import Config, ModelConfig, TrainConfig
from textrnn.data.labelled import LabelledDataset
from textrnn.data.labelled_texts import TextDataset, texts_of_records
from textrnn.data.labels import describe
from textrnn.data.records import labelled_options
from textrnn.metrics.calibration import (
    expected_calibration_error,
    fit_scales,
    fit_temperature,
    mean_nats,
    reliability,
)
from textrnn.metrics.classification_report import Metrics, confident_mistakes, measure, write_report
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.direct.fitting import Examples, fit_direct_path
from textrnn.training.direct.model import DIRECT, DirectPath
from textrnn.training.direct.subwords import spellings
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.classifier import Calibration, ClassifierExporter
from textrnn.training.loop.run import Continued, Run, run_fingerprint
from textrnn.training.loop.trainer import MIXED
from textrnn.training.loop.warm_start import Start, without_output
from textrnn.training.tasks.supervised_trainer import SupervisedTrainer

MISTAKES = 20  # listed in the report


class ClassifierTrainer(SupervisedTrainer):
    """Trains one classifier.

    Args:
        run: the run.
        tokenizer: of its texts; None where vectors are read.
        train: what is trained on.
        held_out: what is measured on.
        distribution: the devices and processes that share a batch.
        mixed: the same two of what is mixed in, if anything is.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer | None,
        train: LabelledDataset,
        held_out: LabelledDataset,
        distribution: Distribution = ALONE,
        mixed: Sequence[LabelledDataset] = (),
    ) -> None:
        self.tokenizer = tokenizer
        loss = self.loss(train, run.config)
        super().__init__(run, tokenizer, train, held_out, len(train.labels), loss, distribution, mixed)
        self.direct: DirectPath | None = None
        if isinstance(held_out, TextDataset) and distribution.is_chief:
            texts = [each for each in (train, *mixed[:1]) if isinstance(each, TextDataset)]
            self.direct = self._direct_path(texts, held_out)

    def start_for(self, start: Start, train: LabelledDataset) -> Start:
        """Return what a run starts from, without the output layer of other classes."""
        if start.learns_on and train.labels[: len(start.labels)] != start.labels:
            if not self.run.quiet:
                print(
                    f"no class of the model, {', '.join(start.labels)!r:.200}, is in the data, so they are not kept; "
                    "--mix with data of them keeps them",
                    file=sys.stderr,
                )
            return start._replace(arrays=without_output(start.arrays))
        return start

    def loss(self, train: LabelledDataset, config: Config) -> Callable[[Any, Any], Any]:
        """Return the loss of a batch, a function of logits and targets."""
        return weighted_cross_entropy(class_weights(train, config.train.class_weights))

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the probabilities of the classes from logits, both ``(texts, classes)``."""
        return probabilities(logits)

    def metrics(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> Metrics:
        """Compare probabilities of the held-out records with their targets."""
        return measure(probs, targets, self.held_out.dataset.labels)

    def decisions(self, logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logits ``(decisions, choices)`` and the right choices ``(decisions,)``, to calibrate a softmax."""
        return logits, targets

    def mistakes(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> list[Mistake]:
        """Return the most confident mistakes among the held-out records."""
        labels = self.held_out.dataset.labels
        return [
            Mistake(index, labels[targets[index]], labels[probs[index].argmax()], float(probs[index].max()))
            for index in confident_mistakes(probs, targets, MISTAKES).tolist()
        ]

    def measure(self) -> dict[str, Any]:
        """Evaluate at the scales with the lowest held-out loss: overconfidence is calibrated afterwards."""
        logits, targets, calibration = self.calibrated()
        found = self.history(self.metrics(self.probabilities(logits), targets))
        return found | self._mixed_loss(calibration)

    def _mixed_loss(self, calibration: Calibration) -> dict[str, float]:
        """Return the held-out loss of what is mixed in, with the calibration of the other held-out records."""
        if self.mixed is None:
            return {}
        dataset = self.mixed.dataset
        logits = self.outputs_of(self.mixed) / calibration.temperature
        if self.direct is not None:
            texts = _examples(dataset, self.run.config.data.max_length).texts
            logits = logits + self.direct.logits(texts) * calibration.direct_scale
        metrics = self.metrics(self.probabilities(logits), dataset.targets)
        return {MIXED: self.history(metrics)["held_out_loss"]}

    def history(self, metrics: Any) -> dict[str, Any]:
        """Return the figures that the history holds."""
        return {"held_out_loss": metrics.nats, "held_out_accuracy": metrics.accuracy}

    def describe(self, measured: Mapping[str, Any]) -> str:
        return f"{super().describe(measured)}, accuracy {measured['held_out_accuracy']:.2%}"

    def calibrated(self) -> tuple[NDArray[np.float64], NDArray[Any], Calibration]:
        """Fit the scales of network and direct path on the held-out texts.

        Returns:
            calibrated logits ``(texts, classes)`` of the held-out texts, their targets, and the calibration, with the
            calibration error without it.
        """
        logits, targets = self.held_out_outputs(), self.held_out.dataset.targets
        decided, right = self.decisions(logits, targets)
        if self.direct is None:
            summed, factor, direct_scale = logits, 1 / fit_temperature(decided, right), 0.0
            calibrated = logits * factor
        else:
            directly = self._held_out_directly
            factor, direct_scale = fit_scales(decided, self.decisions(directly, targets)[0], right)
            summed, calibrated = (logits + directly) / 2, logits * factor + directly * direct_scale
        before, after = (
            expected_calibration_error(probabilities(self.decisions(each, targets)[0]), right)
            for each in (summed, calibrated)
        )
        return calibrated, targets, Calibration(1 / factor, direct_scale, before, after)

    def _direct_path(self, parts: Sequence[TextDataset], held_out: TextDataset) -> DirectPath | None:
        """Return the direct path, which is fitted once and kept in the run's folder; None for a model without."""
        config = self.run.config
        if not config.model.direct_ngrams:
            return None
        path, fingerprint = self.run.folder / DIRECT, direct_fingerprint(self.run, self.tokenizer, *parts, held_out)
        of_held_out = _examples(held_out, config.data.max_length)
        direct = DirectPath.load(path, fingerprint)
        if direct is None:
            train = parts[0]
            weights = class_weights(train, config.train.class_weights) if train.targets.ndim == 1 else None
            texts, targets = zip(*(_examples(part, config.data.max_length) for part in parts), strict=True)
            direct = fit_direct_path(
                Examples(list(chain(*texts)), np.concatenate(targets)),
                of_held_out,
                train.labels,
                config.model.direct_ngrams,
                self._scale,
                weights,
                self._pretrained_path(train.labels),
                config.seed,
                config.model.direct_rows,
                spellings(self.tokenizer),
            )
            direct.save(path, fingerprint)
        self._held_out_directly = direct.logits(of_held_out.texts)
        return direct

    def _pretrained_path(self, labels: tuple[str, ...]) -> DirectPath | None:
        """Return the direct path of the model that the run starts from, if its classes are the first of these."""
        if self.start is None or "direct_squares" not in self.start.arrays:
            return None
        found = DirectPath.restored(self.start.arrays)
        return found.with_labels(labels) if labels[: len(found.labels)] == found.labels else None

    def _scale(self, logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[float, float]:
        """Return the factor of logits ``(texts, classes)`` with the lowest loss, and that loss."""
        decided, right = self.decisions(logits, targets)
        factor = 1 / fit_temperature(decided, right)
        return factor, mean_nats(decided * factor, right)

    def exporter(self) -> ClassifierExporter:
        _, _, calibration = self.calibrated()
        return ClassifierExporter(self.model, self.tokenizer, self.held_out, calibration, self.run.config, self.direct)

    def finish(self) -> None:
        """Write the report, then the bundle."""
        self.best_weights()
        self.report()
        super().finish()

    def report(self) -> None:
        """Write ``report.json``, ``.txt`` and ``.png``: figures, calibration and mistakes on held-out records."""
        train, held_out, data = self.batches.dataset, self.held_out.dataset, self.run.config.data
        logits, targets, calibration = self.calibrated()
        probs = self.probabilities(logits)
        mistakes = self.mistakes(probs, targets)
        records = held_out.records[[mistake.place for mistake in mistakes]].tolist()
        if self.tokenizer:
            texts = texts_of_records(data.validation or data.source, labelled_options(data), records)
        else:
            texts = {record: f"sequence {record + 1}" for record in records}
        facts = {
            "trained_on": len(train),
            "skipped": describe(train.skipped) or "nothing",
            "longer_than_max_length": int((train.lengths > data.max_length).sum()) if self.tokenizer else 0,
            "temperature": calibration.temperature,
            "direct_scale": calibration.direct_scale,
            "calibration_error_before": calibration.error_before,
        }
        decided, right = self.decisions(logits, targets)
        write_report(
            self.run.folder,
            self.metrics(probs, targets),
            reliability(probabilities(decided), right),
            [{"text": texts[record], **mistake.to_dict()} for record, mistake in zip(records, mistakes, strict=True)],
            facts,
        )


def direct_fingerprint(run: Run, tokenizer: Tokenizer | None, *datasets: TextDataset) -> str:
    """Return the hash of all that determines the direct path: some of the settings, the tokenizer and the data."""
    config = run.config
    decides = Config(
        task=config.task,
        seed=config.seed,
        data=config.data,
        tokenizer=config.tokenizer,
        model=ModelConfig(
            direct_ngrams=config.model.direct_ngrams,
            direct_rows=config.model.direct_rows,
            init_from=config.model.init_from,
        ),
        train=TrainConfig(class_weights=config.train.class_weights),
    )
    return run_fingerprint(replace(run, config=decides, continued=Continued()), tokenizer, *datasets)


def _examples(part: TextDataset, max_length: int) -> Examples:
    """Return texts and targets as the direct path reads them."""
    return Examples([part.text(number, max_length) for number in range(len(part))], part.targets)


class Mistake(NamedTuple):
    """A wrong prediction of a held-out record, by its number in the held-out set."""

    place: int
    label: str
    predicted: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a report."""
        return {"label": self.label, "predicted": self.predicted, "probability": self.probability}


def weighted_cross_entropy(weights: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """Return the loss of logits ``(batch, classes)``: mean nats of the target class, weighted by class."""
    of_class = tf.constant(weights, tf.float32)

    def loss(logits: Any, targets: Any) -> Any:
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_mean(nats * tf.gather(of_class, targets))

    return loss


def class_weights(train: LabelledDataset, kind: str) -> NDArray[np.float32]:
    """Return the weight of each class, ``(classes,)``: 1; "balanced": inversely to its frequency, 1 on average."""
    counts = np.bincount(train.targets, minlength=len(train.labels))
    if kind == "none":
        return np.ones(len(counts), np.float32)
    return np.asarray(len(train) / (len(counts) * np.maximum(counts, 1)), np.float32)
