"""Runtime of classifiers and regressors of vectors. Each is one graph over whole sequences.

    classify  vectors float32 (batch, time, features), lengths int32 (batch,) -> logits float32 (batch, classes)
    regress   vectors, lengths -> values float32 (batch, outputs)

Padding does not change a result: a record gets the same result in every batch, up to the last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.classification import Prediction, like_lengths, probabilities
from textrnn.data.vectors import padded, to_sequence
from textrnn.errors import UserError, is_several, shown
from textrnn.runtime.sessions import OfBundle, Sessions, classify_session

Arrays = NDArray[Any] | Sequence[Any]
"""Records ``(records, ...)``, or a sequence of records: each an array or nested lists of 1 to 3 dimensions."""

# Numbers per batch in the states of a layer, or in its input: 16 MB. A step costs nearly the same for 40 sequences as
# for one, so that batches of images of 784 steps take a quarter of the time per image. Larger batches gain little.
BATCH_VALUES = 1 << 22


class VectorClassifier(OfBundle):
    """Classifier of sequences of vectors: images, sounds, series.

    Attributes:
        manifest: manifest of the bundle.
        labels: names of the classes.
        features: number of values per step.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        session, self.labels = classify_session(bundle, threads)
        self._read = _Reader(bundle, "classify", session)
        self.features = self._read.features

    def classify(self, arrays: Arrays, *, arranged: bool = False) -> list[Prediction]:
        """Classify records and return a prediction for each, in their order. Arguments and errors as in `predict`.

        >>> rising, falling = [-4, -3, -2, -1, 0, 1, 2, 3], [4, 3, 2, 1, 0, -1, -2, -3]
        >>> [found.label for found in textrnn.load("runs/lines").classify([rising, falling])]
        ['up', 'down']
        """
        return [
            Prediction(label=self.labels[int(row.argmax())], probs=dict(zip(self.labels, row.tolist(), strict=True)))
            for row in self.predict(arrays, arranged=arranged)
        ]

    def measure(self, probs: NDArray[np.float64], targets: NDArray[Any]) -> Any:
        """Compare predictions with true labels; see `textrnn.runtime.text_classifier.Classifier.measure`."""
        from textrnn.metrics.classification_report import measure

        return measure(probs, targets, self.labels)

    def predict(self, arrays: Arrays, *, arranged: bool = False) -> NDArray[np.float64]:
        """Return the probabilities of the classes, float64 ``(records, classes)``.

        Args:
            arrays: several records, with numbers on the scale of the training data: if images of bytes were not divided
                by 255 for training, they must not be here. Steps are formed as in training.
            arranged: whether the records are sequences ``(time, features)`` already, as `textrnn.data.vectors.arrange`
                returns them.

        Raises:
            UserError: a record is not an array of finite numbers, has no step, or its number of features is not the
                model's.
        """
        return probabilities(self._read(arrays, arranged))


class Regressor(OfBundle):
    """Regression model of sequences of vectors.

    Attributes:
        manifest: manifest of the bundle.
        features: number of values per step.
        outputs: number of predicted values per record.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        if "regress" not in self.manifest.graphs:
            raise UserError(f"a regressor must have a regress graph, {bundle.folder} lacks one; export it again")
        self._read = _Reader(bundle, "regress", Sessions(bundle, threads)("regress"))
        self.features, self.outputs = self._read.features, self._read.outputs

    def predict(self, arrays: Arrays, *, arranged: bool = False) -> NDArray[np.float32]:
        """Predict values in the units of the targets, float32 ``(records, outputs)``.

        >>> textrnn.load("runs/slopes").predict([[-4, -3, -2, -1, 0, 1, 2, 3]]).shape
        (1, 1)

        Arguments and errors as in `VectorClassifier.predict`.
        """
        return self._read(arrays, arranged)


class _Reader:
    """Callable that returns the outputs of a graph, ``(records, outputs)``; it batches records of similar length."""

    def __init__(self, bundle: Bundle, use: str, session: Any) -> None:
        manifest = bundle.manifest
        graph = manifest.graphs[use]
        features, outputs = graph.inputs[0].shape[-1], graph.outputs[0].shape[-1]
        if not (isinstance(features, int) and isinstance(outputs, int)):
            raise UserError(
                f"a graph of vectors must say how many values it reads and predicts, that of {bundle.folder} has: "
                f"{features}, {outputs}; export it again"
            )
        self.features, self.outputs = features, outputs
        self._session = session
        self._steps = manifest.runtime["steps"]
        self._shortest = manifest.runtime["stride"]  # so that the layers above the first have a step to read
        self._room = max(1, BATCH_VALUES // max(features, manifest.runtime["hidden_dim"]))

    def __call__(self, arrays: Arrays, arranged: bool) -> NDArray[np.float32]:
        if isinstance(arrays, str | bytes) or (isinstance(arrays, np.ndarray) and arrays.ndim == 0):
            arrays = [arrays]  # fails below as an invalid record
        if not is_several(arrays):
            raise UserError(
                f"a model of vectors reads several records, was given: {shown(arrays)}; give a list of them"
            )
        sequences = [self._sequence(array, f"record {number}", arranged) for number, array in enumerate(arrays, 1)]
        results = np.empty((len(sequences), self.outputs), np.float32)
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        for rows, time in like_lengths(lengths, lambda length: max(length, self._shortest), self._room):
            vectors, steps = padded([sequences[row] for row in rows], time)
            (results[rows],) = self._session.run(None, {"vectors": vectors, "lengths": steps})
        return results

    def _sequence(self, array: Any, place: str, arranged: bool) -> NDArray[Any]:
        if isinstance(array, str | bytes):
            raise UserError(
                f"a model of vectors reads arrays of numbers, {place} is text: {array!r:.60}; give numbers, or train a "
                "model of texts"
            )
        sequence = to_sequence(array, "rows" if arranged else self._steps, place)
        if not sequence.size:
            raise UserError(f"a record must have a step at least, {place} has none; leave it out")
        if sequence.shape[1] != self.features:
            raise UserError(
                f"a step must have the {self.features} values that the model reads, those of {place} have "
                f"{sequence.shape[1]}; give several records, as those trained on were"
            )
        return sequence
