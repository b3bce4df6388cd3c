"""Runs a bundle that reads sequences of vectors; each is one graph over whole sequences.

    classify  vectors float32 (batch, time, features), lengths int32 (batch,) -> logits float32 (batch, classes)
    regress   vectors, lengths -> values float32 (batch, outputs)

What follows the end of a sequence counts in nothing that is computed, so that a record gets the same, up to the last
digits, whatever it is read with.
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
"""Records ``(records, ...)``, or a sequence of them: each of 1 to 3 dimensions, an array or nested lists."""

# Of a layer's states, or of what is read, in one batch: 16 MB. A step costs nearly the same for 40 sequences as for
# one, so that images of 784 steps are read at a quarter of the time of one alone; beyond it little is won.
BATCH_VALUES = 1 << 22


class VectorClassifier(OfBundle):
    """A classifier of sequences of vectors: images, sounds, series.

    Attributes:
        manifest: the bundle's manifest.
        labels: the classes.
        features: values of a step.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        session, self.labels = classify_session(bundle, threads)
        self._read = _Reader(bundle, "classify", session)
        self.features = self._read.features

    def classify(self, arrays: Arrays, *, arranged: bool = False) -> list[Prediction]:
        """Predict the label of each record, in their order; arguments and errors as those of `predict`.

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
        """Compute probabilities of the classes, float64 ``(records, classes)``.

        Args:
            arrays: several records, with their numbers as those trained on had them: images of bytes, say, not divided
                by 255. What a step of them is, and the order of the steps, is that of the training.
            arranged: whether they are sequences ``(time, features)`` already, as `textrnn.data.vectors.arrange` makes
                them.

        Raises:
            UserError: a record is no array of finite numbers, has no step, or steps of another width than the model
                reads.
        """
        return probabilities(self._read(arrays, arranged))


class Regressor(OfBundle):
    """A regressor of a bundle: predicts the values of sequences of vectors.

    Attributes:
        manifest: the bundle's manifest.
        features: values of a step.
        outputs: how many values a record has.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        if "regress" not in self.manifest.graphs:
            raise UserError(f"a regressor must have a regress graph, {bundle.folder} lacks one; export it again")
        self._read = _Reader(bundle, "regress", Sessions(bundle, threads)("regress"))
        self.features, self.outputs = self._read.features, self._read.outputs

    def predict(self, arrays: Arrays, *, arranged: bool = False) -> NDArray[np.float32]:
        """Predict values in their own units, float32 ``(records, outputs)``; arguments as `VectorClassifier.predict`.

        >>> textrnn.load("runs/slopes").predict([[-4, -3, -2, -1, 0, 1, 2, 3]]).shape
        (1, 1)

        Raises:
            UserError: as there.
        """
        return self._read(arrays, arranged)


class _Reader:
    """Runs a graph on records, in batches of similar length; gives ``(records, outputs)``."""

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
            arrays = [arrays]  # refused as any record of this kind
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
