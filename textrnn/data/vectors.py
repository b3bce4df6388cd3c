"""Sequences of vectors, as a model reads them: rows of an image, frames of audio, values of a series.

A record is an array of numbers of one to three dimensions; `arrange` says which of them are a step:

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
    """Arrange one record as a sequence ``(time, features)`` of the same type.

    Args:
        array: of one to three dimensions.
        steps: what is read at a step: ``rows``, or ``values`` row by row.
    """
    sequence: NDArray[Any] = arrange_all(array[None], steps)[0]
    return sequence


def arrange_all(arrays: NDArray[Any], steps: str) -> NDArray[Any]:
    """Arrange many records of one shape: ``(records, ...)`` to ``(records, time, features)``."""
    if steps not in STEPS:
        raise UserError(f"steps must be rows or values, was: {steps}")
    shape = arrays.shape[1:]
    in_time = 1 if steps == "rows" else 2
    time, features = math.prod(shape[:in_time]), math.prod(shape[in_time:])
    return arrays.reshape(len(arrays), time, features)


def to_sequence(value: object, steps: str, place: str) -> NDArray[Any]:
    """Check and arrange one record, an array or nested lists: ``(time, features)``, uint8 or float32.

    Args:
        place: which record it is, for people: ``record 17``.

    Raises:
        UserError: it is no array of one to three dimensions, or not all of it are finite numbers.
    """
    array = to_numbers(value, place)
    if not 1 <= array.ndim <= 3:
        raise UserError(
            f"a record must be an array of 1 to 3 dimensions, {place} has {array.ndim}; give values over time, "
            "vectors over time, or rows of an image"
        )
    return arrange(array, steps)


def to_numbers(value: object, place: str) -> NDArray[Any]:
    """Convert an array or nested lists to an array of the same shape, uint8 if it was, else float32.

    Raises:
        UserError: not all of it are finite numbers in the range of float32, or its lists differ in length.
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
    with np.errstate(over="ignore"):  # too large becomes infinite
        numbers = given.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.all():
        raise UserError(
            f"values must be finite numbers below 3.4e38, {place} has: {given[~finite][0]}; mend it, or leave it out"
        )
    return numbers


def require_width(sequence: NDArray[Any], features: int, place: str, like: str = "the model reads") -> None:
    """Raise a UserError unless a step of the sequence ``(time, features)`` has this number of values.

    Args:
        place: which record it is, for people: ``record 17``.
        like: whose width it must have: ``the first had``.
    """
    if sequence.shape[1] != features:
        raise UserError(
            f"every step must have as many values, {place} has {sequence.shape[1]} values a step, {like} {features}; "
            "give arrays of one width"
        )


def padded(
    sequences: Sequence[NDArray[Any]], length: int = 0, batch_size: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Pad sequences ``(time, features)`` of any lengths to a batch, with zeros after the end of each.

    Args:
        length: steps of the batch, if more than the longest has.
        batch_size: rows of the batch, if more than there are sequences; those behind them are empty.

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
