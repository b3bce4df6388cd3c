"""Records to sequences and sequences to batches: no number is lost, and none comes from elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.data.vectors import arrange, arrange_all, padded, require_width, to_numbers, to_sequence

IMAGE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
COLOURS = np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]])

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)
steps_of = st.sampled_from(["rows", "values"])


def numbered(shape: list[int]) -> NDArray[np.int64]:
    return np.arange(math.prod(shape)).reshape(shape)


# Steps


@pytest.mark.parametrize(
    ("array", "steps", "sequence"),
    [
        (np.array([7, 8, 9]), "rows", [[7], [8], [9]]),
        (np.array([7, 8, 9]), "values", [[7], [8], [9]]),
        (IMAGE, "rows", [[1, 2, 3], [4, 5, 6]]),
        (IMAGE, "values", [[1], [2], [3], [4], [5], [6]]),
        (COLOURS, "rows", [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]),
        (COLOURS, "values", [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]),
    ],
)
def test_a_record_as_a_sequence(array: NDArray[Any], steps: str, sequence: list[list[int]]) -> None:
    assert arrange(array, steps).tolist() == sequence
    assert arrange(array, steps).dtype == array.dtype


@given(shape=shapes, steps=steps_of, records=st.integers(0, 4))
def test_all_records_are_arranged_as_each_of_them(shape: list[int], steps: str, records: int) -> None:
    arrays = numbered([records, *shape])
    together = arrange_all(arrays, steps)
    assert together.ndim == 3
    assert len(together) == records
    for array, sequence in zip(arrays, together, strict=True):
        assert np.array_equal(arrange(array, steps), sequence)


@given(shape=shapes, steps=steps_of)
def test_the_order_of_the_values_stays(shape: list[int], steps: str) -> None:
    assert arrange(numbered(shape), steps).reshape(-1).tolist() == list(range(math.prod(shape)))


def test_steps_of_another_name() -> None:
    assert error_of(lambda: arrange(IMAGE, "columns")) == "steps must be rows or values, was: columns"


# What a record may hold


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), np.array([1, 2.5], ">f8")])
def test_numbers_become_float32(value: object) -> None:
    array = to_numbers(value, "record 1")
    assert array.dtype == np.float32
    assert array.tolist() == [1, 2.5]


def test_bytes_stay_bytes() -> None:
    assert to_sequence(IMAGE, "rows", "record 1").dtype == np.uint8
    assert to_sequence(IMAGE.astype(np.int64), "rows", "record 1").dtype == np.float32
    assert to_sequence([True, False], "rows", "record 1").tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1, float("nan")], "record 17 has: nan"),
        ([[1, 2], [-float("inf"), 0]], "record 17 has: -inf"),
        ([1e39], "record 17 has: 1e+39"),
        (["a", "b"], "record 17 has: ['a', 'b']"),
        ([1, None], "record 17 has: [1, None]"),
        (np.full((30, 30), "a"), "record 17 has: array([['a', 'a'"),
        ([[1, 2], [3]], "those of record 17 differ"),
        (5, "record 17 has 0"),
        (np.zeros((1, 2, 3, 4)), "record 17 has 4"),
    ],
)
def test_what_no_record_can_be(value: object, says: str) -> None:
    message = error_of(lambda: to_sequence(value, "rows", "record 17"))
    assert "must" in message
    assert says in message
    assert ";" in message


def test_another_width() -> None:
    require_width(np.zeros((3, 28)), 28, "record 17")
    message = error_of(lambda: require_width(np.zeros((3, 27)), 28, "record 17", "the first had"))
    assert message == (
        "every step must have as many values, record 17 has 27 values a step, the first had 28; "
        "give arrays of one width"
    )
    assert "record 2 has 1 values a step, the model reads 28" in error_of(
        lambda: require_width(np.zeros((3, 1)), 28, "record 2")
    )


# Batches


def test_zeros_stand_behind_the_end() -> None:
    values, lengths = padded([np.array([[1, 2]]), np.array([[3, 4], [5, 6]])])
    assert values.tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]
    assert lengths.tolist() == [1, 2]
    assert (values.dtype, lengths.dtype) == (np.float32, np.int32)


@given(
    times=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    features=st.integers(1, 3),
    length=st.integers(0, 12),
    batch_size=st.integers(0, 8),
)
def test_every_sequence_comes_back(times: list[int], features: int, length: int, batch_size: int) -> None:
    sequences = [np.random.default_rng(time).random((time, features), np.float32) for time in times]
    values, lengths = padded(sequences, length, batch_size)
    assert values.shape == (max(batch_size, len(times)), max(length, *times), features)
    assert lengths.tolist() == times + [0] * (len(values) - len(times))
    for row, sequence in enumerate(sequences):
        assert np.array_equal(values[row, : lengths[row]], sequence)
        assert not values[row, lengths[row] :].any()
    assert not values[len(times) :].any()
