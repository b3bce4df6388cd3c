"""Functions over batches of records, for programs that read large sets in parts: Ray Data, or any loop.

A batch is columns by name, each an array of as many values, or a pandas DataFrame; what is given back is the batch with
columns added. An object is made once for each worker and called for each batch:

>>> import ray
>>> reviews = ray.data.read_parquet("reviews")
>>> two = ray.data.ActorPoolStrategy(size=2)
>>> scored = reviews.map_batches(Classify, fn_constructor_args=("runs/imdb",), batch_size=256, compute=two)
>>> scored.write_parquet("scored")

Nothing here needs Ray, or TensorFlow: `pip install 'textrnn[ray]'` brings Ray Data beside the runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.runtime.load import load_classifier, load_language_model

Batch = Any
"""Columns by name: a mapping of arrays ``(records,)``, or a pandas DataFrame."""


class Classify:
    """Adds what a classifier says of each text.

    The columns are ``predicted_label``, its ``probability``, and ``prob_LABEL`` for each class, float64.

    Args:
        model: a bundle, or a run folder with one.
        column: where the texts are.
        threads: processor threads of one operation; with a worker a core, 1.
    """

    def __init__(self, model: str | PathLike[str], column: str = "text", threads: int = 1) -> None:
        self._model = load_classifier(model, threads=threads)
        self._column = column

    def __call__(self, batch: Batch) -> Batch:
        """Add the columns of this class to a batch.

        Raises:
            UserError: it lacks the column of texts, has one of those to be added, or a text is none.
        """
        rows = [prediction.columns() for prediction in self._model.classify(_texts(batch, self._column))]
        columns = {
            name: np.array([row[name] for row in rows], object if name.startswith("predicted") else np.float64)
            for name in self._model.columns()
        }
        return _with(batch, columns)


class Score:
    """Adds how well a language model predicts each text, by itself from the start token on.

    The columns are ``nats``, float64, of the whole text; ``tokens`` and ``characters``, int64; ``bits_per_character``,
    float64, 0 for an empty text.

    Args:
        model: a bundle, or a run folder with one.
        column: where the texts are.
        threads: processor threads of one operation; with a worker a core, 1.
    """

    def __init__(self, model: str | PathLike[str], column: str = "text", threads: int = 1) -> None:
        self._model = load_language_model(model, threads=threads)
        self._column = column

    def __call__(self, batch: Batch) -> Batch:
        """Add the columns of this class to a batch; errors are those of `Classify`."""
        scores = [self._model.score(text) for text in _texts(batch, self._column)]
        return _with(
            batch,
            {
                "nats": np.array([score.nats for score in scores], np.float64),
                "tokens": np.array([score.tokens for score in scores], np.int64),
                "characters": np.array([score.characters for score in scores], np.int64),
                "bits_per_character": np.array([score.bits_per_character for score in scores], np.float64),
            },
        )


def _texts(batch: Batch, column: str) -> list[str]:
    names = list(batch)
    if column not in names:
        raise UserError(f"records must have the column of texts {column!r}, have: {', '.join(names)}; name another")
    values: Iterable[Any] = batch[column]
    texts = list(values)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(
                f"a text must be a string, was {text!r} in record {number} of a batch; drop or fill such records first"
            )
    return texts


def _with(batch: Batch, columns: Mapping[str, NDArray[Any]]) -> Batch:
    if taken := sorted(set(columns) & set(batch)):
        raise UserError(f"records must not have a column {taken[0]!r} yet, it is added; rename it first")
    return {**batch, **columns} if isinstance(batch, Mapping) else batch.assign(**columns)
