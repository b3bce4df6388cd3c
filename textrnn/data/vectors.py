"""Sequences of vectors as model input: rows of an image, frames of audio, values of a series.

A record is a numeric array of one to three dimensions. `arrange` splits it into time steps:

    array                       by rows                         by values
    (n,)                        (n, 1)                          (n, 1)
    (rows, columns)             (rows, columns)                 (rows * columns, 1)
    (rows, columns, channels)   (rows, columns * channels)      (rows * columns, channels)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, shown

STEPS = ("rows", "values")


def arrange(array: NDArray[Any], steps: str) -> NDArray[Any]:
    """Return one record as a sequence ``(time, features)`` of the same dtype.

    Args:
        array: record of one to three dimensions.
        steps: unit of a time step: ``rows``, or single ``values``, row by row.
    """
    sequence: NDArray[Any] = arrange_all(array[None], steps)[0]
    return sequence


def arrange_all(arrays: NDArray[Any], steps: str) -> NDArray[Any]:
    """Apply `arrange` to many records of the same shape: ``(records, ...)`` to ``(records, time, features)``."""
    if steps not in STEPS:
        raise UserError(f"steps must be rows or values, was: {steps}")
    shape = arrays.shape[1:]
    in_time = 1 if steps == "rows" else 2
    time, features = math.prod(shape[:in_time]), math.prod(shape[in_time:])
    return arrays.reshape(len(arrays), time, features)


def to_sequence(value: object, steps: str, place: str) -> NDArray[Any]:
    """Check and arrange one record: ``(time, features)``, uint8 if the record is uint8, else float32.

    Args:
        value: array or nested lists.
        steps: as in `arrange`.
        place: name of the record, for messages: ``record 17``.

    Raises:
        UserError: the record does not have one to three dimensions, or has values that are not finite numbers.
    """
    array = to_numbers(value, place)
    if not 1 <= array.ndim <= 3:
        raise UserError(
            f"a record must be an array of 1 to 3 dimensions, {place} has {array.ndim}; give values over time, "
            "vectors over time, or rows of an image"
        )
    return arrange(array, steps)


def to_numbers(value: object, place: str) -> NDArray[Any]:
    """Convert an array or nested lists to an array of the same shape, uint8 if the input is uint8, else float32.

    Raises:
        UserError: a value is not a finite number in the range of float32, or the lists have different lengths.
    """
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise UserError(
            f"an array must have as many numbers in each row, those of {place} differ; pad them, or leave it out"
        ) from error
    if given.dtype == np.uint8:
        return given
    if given.dtype.kind not in "biuf":
        raise UserError(f"a record must hold numbers alone, {place} has: {shown(value)}; mend it, or leave it out")
    with np.errstate(over="ignore"):  # values that are too large become infinite
        numbers = given.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.all():
        raise UserError(
            f"values must be finite numbers below 3.4e38, {place} has: {given[~finite][0]}; mend it, or leave it out"
        )
    return numbers


def require_width(sequence: NDArray[Any], features: int, place: str, like: str = "the model reads") -> None:
    """Raise an error unless the sequence ``(time, features)`` has the given number of features.

    Args:
        sequence: the sequence.
        features: required number of features.
        place: name of the record, for the message: ``record 17``.
        like: what sets the required number, for the message: ``the first had``.

    Raises:
        UserError: the number of features is different.
    """
    if sequence.shape[1] != features:
        raise UserError(
            f"every step must have as many values, {place} has {sequence.shape[1]} values a step, {like} {features}; "
            "give arrays of one width"
        )


def padded(
    sequences: Sequence[NDArray[Any]], length: int = 0, batch_size: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Pad one or more sequences ``(time, features)`` with zeros at the end, and stack them to a batch.

    Args:
        sequences: sequences of any lengths.
        length: minimum number of steps of the batch.
        batch_size: minimum number of rows of the batch; added rows are empty.

    Returns:
        values: float32 ``(batch, time, features)``.
        lengths: int32 ``(batch,)``, in steps.
    """
    rows, time = max(batch_size, len(sequences)), max(length, *map(len, sequences))
    values = np.zeros((rows, time, sequences[0].shape[1]), np.float32)
    lengths = np.zeros(rows, np.int32)
    for row, sequence in enumerate(sequences):
        values[row, : len(sequence)] = sequence
        lengths[row] = len(sequence)
    return values, lengths
