"""Samplers on literal logits; draws on a grid of uniforms, so that every probability is exact and nothing is random."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.sampling import (
    SamplingOptions,
    apply_temperature,
    choose,
    greedy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_softmax,
    penalise_repetition,
    random_streams,
    sample,
)

Array = NDArray[np.float64]


def logits_of(*probs: float) -> Array:
    """One row of logits whose softmax is `probs`."""
    with np.errstate(divide="ignore"):
        return np.log([probs])


def kept(logits: Array) -> list[int]:
    """The ids of the first row that may still be chosen."""
    return [int(token) for token in np.flatnonzero(logits[0] > -inf)]


def draws(
    logits: Array, options: SamplingOptions, count: int = 1000, seen: NDArray[np.bool_] | None = None
) -> list[float]:
    """The share of each id over evenly spaced uniforms: its probability, to 1 / count."""
    uniforms = (np.arange(count) + 0.5) / count
    ids = sample(np.repeat(logits, count, axis=0), options, uniforms, seen)
    return [int((ids == token).sum()) / count for token in range(logits.shape[1])]


rows = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12).map(lambda row: np.array([row], np.float32))


class TestChoose:
    def test_an_id_is_drawn_as_often_as_its_probability_says(self) -> None:
        assert draws(logits_of(0.1, 0.25, 0.4, 0.25), SamplingOptions()) == [0.1, 0.25, 0.4, 0.25]

    @pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.2, 1), (0.3, 2), (0.7, 2), (0.8, 4), (1 - 2**-53, 4)])
    def test_ids_in_ascending_order_share_the_interval(self, uniform: float, token: int) -> None:
        assert choose(logits_of(0, 0.25, 0.5, 0, 0.25, 0), np.array([uniform])).tolist() == [token]

    def test_the_lower_end_of_an_interval_belongs_to_it(self) -> None:
        equal = np.zeros((1, 4))
        assert [choose(equal, np.array([u]))[0] for u in (0, 0.25, 0.5, 0.75)] == [0, 1, 2, 3]

    @settings(deadline=None)
    @given(st.lists(st.lists(st.floats(-30, 30), min_size=7, max_size=7), min_size=2, max_size=5), st.data())
    def test_a_batch_draws_what_its_rows_draw_alone(self, batch: list[list[float]], data: st.DataObject) -> None:
        uniform = st.floats(0, 1, exclude_max=True)
        uniforms = np.array([data.draw(uniform) for _ in batch])
        logits = np.array(batch)
        together = choose(logits, uniforms)
        assert together.dtype == np.int32
        assert together.tolist() == [choose(logits[i : i + 1], uniforms[i : i + 1])[0] for i in range(len(batch))]

    @settings(deadline=None)
    @given(rows, st.floats(0, 1, exclude_max=True))
    def test_the_definition_spelled_out(self, logits: NDArray[np.float32], uniform: float) -> None:
        weights = np.exp(logits[0].astype(float) - float(logits.max()))
        cumulative, total = [], 0.0
        for weight in weights:
            total += weight
            cumulative.append(total)
        expected = next(i for i, c in enumerate(cumulative) if c > uniform * total)
        assert choose(logits, np.array([uniform]))[0] == expected

    def test_the_caller_keeps_its_logits(self) -> None:
        logits = np.array([[1.0, 2.0], [3.0, 4.0]])
        for batch in (logits, logits[:1]):
            before = batch.copy()
            choose(batch, np.zeros(len(batch)))
            assert (batch == before).all()

    @pytest.mark.parametrize("rows", [1, 2])
    @pytest.mark.parametrize(("bad", "message"), [(nan, "was: nan"), (inf, "was: inf"), (-inf, "none was")])
    def test_what_cannot_be_drawn_from_is_refused(self, rows: int, bad: float, message: str) -> None:
        logits = np.zeros((rows, 3), np.float32)
        logits[-1] = bad if bad == -inf else [0, bad, 1]
        for temperature in (0.0, 0.5, 1.0):
            with pytest.raises(UserError, match=message):
                sample(logits, SamplingOptions(temperature=temperature), np.zeros(rows))


class TestTemperature:
    def test_probabilities_are_raised_to_its_inverse(self) -> None:
        squared = np.array([0.5, 0.3, 0.2]) ** 2
        probs = np.exp(log_softmax(apply_temperature(logits_of(0.5, 0.3, 0.2), 0.5)))[0]
        assert probs == pytest.approx(squared / squared.sum())

    def test_zero_takes_the_most_probable_and_the_lowest_id_among_equals(self) -> None:
        logits = np.array([[1, 3, 3, 2], [5, 0, 0, 5]], np.float32)
        assert sample(logits, SamplingOptions(temperature=0), np.array([0.99, 0.99])).tolist() == [1, 0]
        assert greedy(logits).dtype == np.int32

    @settings(deadline=None)
    @given(rows, st.floats(5e-324, 1e-3), st.floats(0, 1, exclude_max=True))
    def test_the_lowest_temperatures_take_one_of_the_highest(
        self, logits: NDArray[np.float32], temperature: float, uniform: float
    ) -> None:
        token = sample(logits, SamplingOptions(temperature=temperature), np.array([uniform]))[0]
        assert logits[0, token] >= logits.max() - 750 * temperature


class TestTopK:
    def test_the_k_most_probable_are_kept(self) -> None:
        assert kept(keep_top_k(logits_of(0.1, 0.4, 0.2, 0.3), 2)) == [1, 3]

    def test_the_lower_id_comes_first_among_equals(self) -> None:
        assert kept(keep_top_k(logits_of(0.25, 0.5, 0.25), 2)) == [0, 1]
        assert kept(keep_top_k(np.repeat(logits_of(0.2, 0.2, 0.2, 0.4), 2, axis=0), 3)) == [0, 1, 3]

    def test_more_than_there_are_keeps_all(self) -> None:
        assert kept(keep_top_k(logits_of(0.5, 0.5), 9)) == [0, 1]

    def test_what_is_kept_keeps_its_proportions(self) -> None:
        assert draws(logits_of(0.1, 0.6, 0.3), SamplingOptions(top_k=2), count=900) == pytest.approx([0, 2 / 3, 1 / 3])


class TestTopP:
    @pytest.mark.parametrize(
        ("p", "expected"), [(0.01, [1]), (0.4, [1]), (0.45, [1, 3]), (0.75, [1, 2, 3]), (0.95, [0, 1, 2, 3])]
    )
    def test_the_fewest_that_have_the_probability_together(self, p: float, expected: list[int]) -> None:
        assert kept(keep_top_p(logits_of(0.1, 0.42, 0.18, 0.3), p)) == expected

    def test_the_lower_id_comes_first_among_equals(self) -> None:
        assert kept(keep_top_p(logits_of(0.25, 0.25, 0.25, 0.25), 0.5)) == [0, 1]

    @settings(deadline=None)
    @given(rows, st.floats(0.01, 0.99))
    def test_it_is_the_smallest_such_set(self, logits: NDArray[np.float32], p: float) -> None:
        probs = np.exp(log_softmax(logits))[0]
        inside = np.isfinite(keep_top_p(logits, p)[0])
        assert probs[inside].sum() >= p - 1e-9
        assert probs[inside].sum() - probs[inside].min() < p + 1e-9
        assert not (~inside).any() or probs[inside].min() >= probs[~inside].max()

    def test_each_row_has_its_own(self) -> None:
        logits = np.concatenate([logits_of(0.9, 0.05, 0.05), logits_of(0.2, 0.2, 0.6)])
        assert np.isfinite(keep_top_p(logits, 0.7)).tolist() == [[True, False, False], [True, False, True]]


class TestMinP:
    def test_the_bar_is_a_share_of_the_highest_probability(self) -> None:
        logits = logits_of(0.5, 0.26, 0.2, 0.04)
        assert kept(keep_min_p(logits, 0.1)) == [0, 1, 2]
        assert kept(keep_min_p(logits, 0.5)) == [0, 1]
        assert kept(keep_min_p(logits, 1.0)) == [0]

    @settings(deadline=None)
    @given(rows, st.floats(1e-6, 1))
    def test_the_most_probable_is_always_kept(self, logits: NDArray[np.float32], p: float) -> None:
        assert np.isfinite(keep_min_p(logits, p)[0, logits.argmax()])


class TestRepetitionPenalty:
    def test_positive_logits_are_divided_and_negative_ones_multiplied(self) -> None:
        seen = np.array([[True, False, True, False, True]])
        penalised = penalise_repetition(np.array([[3.0, 3.0, -3.0, -3.0, 0.0]]), seen, 1.5)
        assert penalised.tolist() == [[2.0, 3.0, -4.5, -3.0, 0.0]]

    def test_it_counts_before_the_greedy_choice(self) -> None:
        seen = np.array([[False, True]])
        assert sample(
            np.array([[1.0, 1.1]]), SamplingOptions(temperature=0, repetition_penalty=1.3), np.zeros(1), seen
        ) == [0]


def test_filters_follow_one_another() -> None:
    # Halving the temperature gives 0.64, 0.16, 0.16, 0.04 (normalised); top-k leaves three, min-p at 0.3 leaves one.
    logits = logits_of(0.4, 0.2, 0.2, 0.1)
    assert draws(logits, SamplingOptions(temperature=0.5, top_k=3), count=600) == pytest.approx(
        [4 / 6, 1 / 6, 1 / 6, 0]
    )
    assert draws(logits, SamplingOptions(temperature=0.5, top_k=3, min_p=0.3)) == [1, 0, 0, 0]
    assert draws(logits, SamplingOptions(min_p=0.3, top_p=0.6), count=300) == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_a_forbidden_token_stays_forbidden_through_all_of_it() -> None:
    options = SamplingOptions(temperature=2, top_k=3, top_p=0.99, min_p=0.01, repetition_penalty=1.2)
    shares = draws(logits_of(0, 0.3, 0.5, 0.2), options, seen=np.ones((1, 4), bool))
    assert shares[0] == 0
    assert min(shares[1:]) > 0


def test_log_softmax_of_extreme_logits() -> None:
    assert log_softmax(np.array([[1e4, 1e4 - 1, -1e4]], np.float32))[0] == pytest.approx(
        [-0.313262, -1.313262, -20000.3133]
    )


def test_streams_are_reproducible_and_their_own() -> None:
    three = [stream.random() for stream in random_streams(7, 3)]
    assert len(set(three)) == 3
    assert three[:1] == [stream.random() for stream in random_streams(7, 1)]
    assert three[0] != random_streams(8, 1)[0].random()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -1.0),
        ("temperature", nan),
        ("temperature", inf),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_p", 0.0),
        ("top_p", 3),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", nan),
    ],
)
def test_a_value_out_of_range_is_named_and_quoted(option: str, value: object) -> None:
    with pytest.raises(UserError, match=f"^{option} must be .*, was: {value!r}; use [^\n]*$"):
        SamplingOptions(**{option: value})  # type: ignore[arg-type]
