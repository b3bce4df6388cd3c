"""Texts of any length through a network that takes batches: what comes back must not tell how they were batched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn import classification
from textrnn.classification import (
    SHORTEST,
    TextPrediction,
    head_and_tail,
    padded_length,
    probabilities,
    read_texts,
)
from textrnn.tokenizers.base import PAD_ID

CLASSES = 3

lengths = st.integers(0, 3000)
segment_lengths = st.sampled_from([0, 1, 7, 16, 40, 64, 100, 5000])


class FakeNetwork:
    """Says of each text what it holds: its length, its first token, its tokens weighted by their place."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        assert ids.dtype == np.int32
        self.shapes.append(ids.shape)
        return np.array([self.of_text(row[: np.count_nonzero(row != PAD_ID)]) for row in ids], np.float32)

    @staticmethod
    def of_text(ids: NDArray[np.int32]) -> list[float]:
        assert PAD_ID not in ids, "padding stands before or inside a text"
        return [len(ids), ids[0] if len(ids) else -1, float(ids @ np.arange(len(ids)))]


def text_of(length: int, first: int = 4) -> NDArray[np.int32]:
    return np.arange(first, first + length, dtype=np.int32)


def logits_of(
    texts: Sequence[NDArray[np.int32]], max_length: int = 10_000, segment_length: int = 0
) -> NDArray[np.float32]:
    return read_texts(FakeNetwork(), texts, CLASSES, max_length, segment_length)


# Long texts


@pytest.mark.parametrize(
    ("max_length", "read"),
    [
        (20, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (9, [0, 1, 2, 3, 4, 6, 7, 8, 9]),
        (4, [0, 1, 8, 9]),
        (3, [0, 1, 9]),
        (2, [0, 9]),
        (1, [0]),
    ],
)
def test_of_a_long_text_the_first_and_the_last_half_are_read(max_length: int, read: list[int]) -> None:
    assert head_and_tail(np.arange(10), max_length).tolist() == read


def test_an_empty_text_has_neither_head_nor_tail() -> None:
    assert head_and_tail(np.zeros(0, np.uint16), 2).tolist() == []


def test_head_and_tail_of_pieces_of_text() -> None:
    pieces = np.array(["春", "眠", "不", "觉", "晓"], dtype=object)
    assert head_and_tail(pieces, 2).tolist() == ["春", "晓"]


# Lengths of batches


@given(length=lengths, segment_length=segment_lengths)
def test_a_padded_length_holds_the_text_in_whole_segments_with_little_padding(length: int, segment_length: int) -> None:
    padded = padded_length(length, segment_length)
    assert padded >= max(length, 1)
    if segment_length:
        assert padded <= segment_length or padded % segment_length == 0
    unit = segment_length if 0 < segment_length < length else SHORTEST
    assert padded - max(length, 1) < max(unit, padded / 4)


@given(length=lengths, segment_length=segment_lengths)
def test_a_padded_length_needs_no_more_padding_and_grows_with_the_text(length: int, segment_length: int) -> None:
    padded = padded_length(length, segment_length)
    assert padded_length(padded, segment_length) == padded
    assert padded_length(length + 1, segment_length) >= padded


@pytest.mark.parametrize("segment_length", [0, 64, 100])
def test_texts_of_two_thousand_lengths_have_a_few_shapes(segment_length: int) -> None:
    shapes = {padded_length(length, segment_length) for length in range(2049)}
    assert len(shapes) <= 30


# Reading


@given(
    sizes=st.lists(st.integers(0, 300), max_size=30),
    max_length=st.integers(2, 200),
    segment_length=segment_lengths,
    room=st.sampled_from([1, 64, 500, 10_000]),
)
def test_a_text_reads_the_same_in_any_company(
    sizes: list[int], max_length: int, segment_length: int, room: int
) -> None:
    texts = [text_of(size, first=4 + number) for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "BATCH_TOKENS", room)
        logits = logits_of(texts, max_length, segment_length)
    alone = [FakeNetwork.of_text(head_and_tail(text, max_length)) for text in texts]
    assert logits.shape == (len(texts), CLASSES)
    assert logits.dtype == np.float32
    assert logits.tolist() == np.array(alone, np.float32).reshape(-1, CLASSES).tolist()


def test_logits_stand_in_the_order_of_the_texts() -> None:
    texts = [text_of(size) for size in (50, 0, 7, 700, 7, 1)]
    assert logits_of(texts)[:, 0].tolist() == [50, 0, 7, 700, 7, 1]


@given(texts=st.lists(st.lists(st.integers(4, 6), max_size=4), max_size=30), seed=st.integers(0, 99))
def test_the_order_of_the_texts_changes_no_digit_of_their_logits(texts: list[list[int]], seed: int) -> None:
    def row_number(ids: NDArray[np.int32]) -> NDArray[np.float32]:  # rows of a batch differ, as by rounding
        return np.arange(len(ids) * CLASSES, dtype=np.float32).reshape(len(ids), CLASSES)

    ids = [np.array(text, np.int64) for text in texts]
    order = np.random.default_rng(seed).permutation(len(ids))
    logits = read_texts(row_number, ids, CLASSES, 100, 0)
    in_order = read_texts(row_number, [ids[number] for number in order], CLASSES, 100, 0)
    assert in_order.tolist() == logits[order].tolist()


def test_equal_texts_are_read_once() -> None:
    network = FakeNetwork()
    logits = read_texts(network, [text_of(3), text_of(3, first=9), text_of(3)] * 1000, CLASSES, 100, 0)
    assert network.shapes == [(2, 3)]
    assert logits[:3].tolist() * 1000 == logits.tolist()


def test_a_text_without_a_token_is_read_as_padding_alone() -> None:
    network = FakeNetwork()
    assert read_texts(network, [text_of(0)], CLASSES, 100, 0).tolist() == [[0, -1, 0]]
    assert network.shapes == [(1, 1)]


def test_no_texts_have_no_logits() -> None:
    network = FakeNetwork()
    assert read_texts(network, [], CLASSES, 100, 0).shape == (0, CLASSES)
    assert network.shapes == []


def test_a_batch_is_bounded_whatever_the_texts() -> None:
    network = FakeNetwork()
    sizes = [3, 5] * 4000 + [1500] * 30 + [40_000]
    read_texts(network, [text_of(size, first=4 + number) for number, size in enumerate(sizes)], CLASSES, 1_000_000, 64)
    *batches, longest = network.shapes
    assert max(rows * time for rows, time in batches) <= classification.BATCH_TOKENS
    assert longest[0] == 1
    assert longest[1] >= 40_000
    assert sum(rows for rows, _ in network.shapes) == len(sizes)
    assert sum(rows * time for rows, time in batches) < 16 * 8000 + 30 * 2000, "short texts were padded like long ones"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_of_any_integer_type_are_read(dtype: type) -> None:
    assert logits_of([text_of(9).astype(dtype)]).tolist() == logits_of([text_of(9)]).tolist()


# Probabilities


def test_probabilities_are_shares_of_one() -> None:
    odds = np.array([[1.0, 3.0], [1.0, 1.0], [9.0, 1.0]], np.float32)
    assert probabilities(np.log(odds)) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]), abs=1e-6)


finite = st.floats(-1e30, 1e30)


@given(st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=5))
def test_any_finite_logits_are_probabilities_in_the_same_order(rows: list[tuple[float, float, float]]) -> None:
    logits = np.array(rows, np.float32)
    probs = probabilities(logits)
    assert probs.dtype == np.float64
    assert np.all((probs >= 0) & (probs <= 1))
    assert probs.sum(axis=1) == pytest.approx(1)
    order = np.argsort(logits, axis=1, kind="stable")
    assert np.all(np.diff(np.take_along_axis(probs, order, axis=1), axis=1) >= 0)


def test_a_prediction_is_told_whole() -> None:
    prediction = TextPrediction("好", {"坏": 0.2, "好": 0.8}, tokens=5000, tokens_read=2048)
    assert prediction.probability == 0.8
    assert prediction.to_dict() == {
        "label": "好",
        "probability": 0.8,
        "probs": {"坏": 0.2, "好": 0.8},
        "tokens": 5000,
        "tokens_read": 2048,
    }
