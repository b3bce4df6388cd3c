"""Runtime of classifiers of recordings: log-mel frames, as in training, to the graph of a classifier of vectors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.classification import Prediction
from textrnn.config import data_of_bundle
from textrnn.data.audio.recordings import AudioFormat, Recording
from textrnn.errors import UserError, shown
from textrnn.runtime.vector_models import VectorClassifier


class AudioClassifier(VectorClassifier):
    """Classifier of recordings. It needs the extra ``audio``.

    Attributes:
        manifest: manifest of the bundle.
        labels: names of the classes.
        features: number of values per frame.
        format: how a recording becomes frames.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        data = data_of_bundle(self.manifest.runtime)
        self.format = AudioFormat(data.sample_rate, data.mel_bins)
        if data.mel_bins != self.features:
            raise UserError(
                f"a classifier of recordings must read frames of mel_bins values, {bundle.folder} reads "
                f"{self.features} and says {data.mel_bins}; export it again"
            )

    def classify(self, arrays: Any, *, arranged: bool = False) -> list[Prediction]:
        """Classify recordings and return a prediction for each, in their order. Arguments and errors as in `predict`.

        >>> [found.label for found in textrnn.load("runs/tones").classify(["low.wav", "high.wav"])]
        ['low', 'high']
        """
        return super().classify(arrays, arranged=arranged)

    def predict(self, arrays: Any, *, arranged: bool = False) -> NDArray[np.float64]:
        """Return the probabilities of the classes, float64 ``(recordings, classes)``.

        Args:
            arrays: several recordings of any sample rate: paths, the bytes of files, or pairs of samples ``(time,)``
                or ``(time, channels)`` between -1 and 1 and their rate.
            arranged: whether log-mel frames ``(time, features)`` are given in their place.

        Raises:
            UserError: a recording cannot be read, is empty, silent or longer than 10 minutes; or the extra ``audio`` is
                not installed.
        """
        if arranged:
            return super().predict(arrays, arranged=True)
        return super().predict([self.format.frames(each, place) for each, place in placed(arrays)], arranged=True)


def placed(recordings: Any) -> Iterable[tuple[Recording, str]]:
    """Yield each recording with its name for messages."""
    if isinstance(recordings, str | bytes | PurePath) or not isinstance(recordings, Iterable):
        raise UserError(
            f"a model of recordings reads several, was given: {shown(recordings)}; give a list: [{'...'!r}]"
        )
    for number, each in enumerate(recordings, 1):
        yield each, str(each) if isinstance(each, str | PurePath) else f"recording {number}"
