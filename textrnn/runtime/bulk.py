"""Callables over batches of records, for Ray Data or any loop over a large data set.

A batch is a mapping from column names to arrays of equal length, or a pandas DataFrame. The result is the batch with
new columns. Each worker makes one object and calls it for each batch:

>>> import ray
>>> reviews = ray.data.read_parquet("reviews")
>>> two = ray.data.ActorPoolStrategy(size=2)
>>> scored = reviews.map_batches(Classify, fn_constructor_args=("runs/imdb",), batch_size=256, compute=two)
>>> scored.write_parquet("scored")

This module needs neither Ray nor TensorFlow. `pip install 'textrnn[ray]'` installs Ray Data with the runtime.
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
"""Columns by name: a mapping to arrays ``(records,)``, or a pandas DataFrame."""


class Classify:
    """Batch function that adds a classifier's predictions for each text.

    The columns are ``predicted_label``, its ``probability``, and ``prob_LABEL`` for each class. Probabilities are
    float64.

    Args:
        model: path of a bundle, or of a run folder with a bundle.
        column: name of the text column.
        threads: number of processor threads for one operation; 1 if each core has its own worker.
    """

    def __init__(self, model: str | PathLike[str], column: str = "text", threads: int = 1) -> None:
        self._model = load_classifier(model, threads=threads)
        self._column = column

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with the columns of this class added.

        Raises:
            UserError: the batch has no text column, already has one of the new columns, or a text is not a string.
        """
        rows = [prediction.columns() for prediction in self._model.classify(_texts(batch, self._column))]
        columns = {
            name: np.array([row[name] for row in rows], object if name.startswith("predicted") else np.float64)
            for name in self._model.columns()
        }
        return _with(batch, columns)


class Score:
    """Batch function that adds a language model's loss on each text. Each text is read from the start token on.

    The columns are ``nats``, float64, the loss of the whole text; ``tokens`` and ``characters``, int64;
    ``bits_per_character``, float64, 0 for an empty text.

    Args:
        model: path of a bundle, or of a run folder with a bundle.
        column: name of the text column.
        threads: number of processor threads for one operation; 1 if each core has its own worker.
    """

    def __init__(self, model: str | PathLike[str], column: str = "text", threads: int = 1) -> None:
        self._model = load_language_model(model, threads=threads)
        self._column = column

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with the columns of this class added. Errors as in `Classify`."""
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
