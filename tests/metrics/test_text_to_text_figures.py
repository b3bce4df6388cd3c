"""Figures of outputs beside targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import UserError
from textrnn.metrics.text_to_text import compare_texts, compare_tokens, edit_distance, evaluate_pairs


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("ab", "ba", 2), ("abcd", "bcde", 2)],
)
def test_the_edit_distance_of_known_words(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_the_edit_distance_is_that_of_its_definition(one: str, other: str) -> None:
    def least(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    assert edit_distance(one, other) == least(len(one), len(other))


def test_figures_of_four_pairs() -> None:
    figures = compare_tokens(["abc", "de", "f", "gh"], ["abc", "dx", "", "gh"])
    assert figures == {"pairs": 4, "exact_match": 0.5, "error_rate": 0.5, "token_error_rate": 2 / 8}


def test_a_source_with_several_targets_is_right_with_any_of_them() -> None:
    pairs = [("read", "r e d"), ("read", "r i d"), ("cat", "k a t")]
    figures = evaluate_pairs(pairs, lambda sources: ["r i d", "k o t"], str.split)
    assert (figures["pairs"], figures["exact_match"], figures["token_error_rate"]) == (2, 0.5, 1 / 6)


def test_no_pair_is_refused() -> None:
    with pytest.raises(UserError, match="pairs are needed"):
        compare_tokens([], [])


def test_bleu_is_100_for_the_targets_themselves() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    texts = ["the cat sat on the mat .", "a dog ran over the hill ."]
    assert compare_texts([[text] for text in texts], texts)["bleu"] == pytest.approx(100)
    assert compare_texts([[text] for text in texts], texts[::-1])["bleu"] < 20
