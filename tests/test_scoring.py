"""The loss of every token exactly once, and its units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from textrnn import scoring
from textrnn.scoring import Scorer, TextMetrics, TextSize, text_size, token_nats, windowed_nats
from textrnn.spelling import SpellingModel
from textrnn.tokenizers import CharTokenizer, WordTokenizer
from textrnn.tokenizers.base import END_ID

VOCABULARY_SIZE = 7
START_ID = 5


def read(ids: NDArray[np.int32], state: Any) -> tuple[NDArray[np.float32], Any]:
    """A model whose logits depend on every token read since the zero state, oldest and newest most of all."""
    state = np.zeros(len(ids)) if state is None else state
    logits = np.empty((*ids.shape, VOCABULARY_SIZE), np.float32)
    for position in range(ids.shape[1]):
        state = np.sin(0.9 * state + ids[:, position] + 1)
        logits[:, position] = 3 * np.cos(np.outer(state, np.arange(1, VOCABULARY_SIZE + 1)))
    return logits, state


def naive_nats(ids: list[int], start_id: int, apart: bool = False) -> list[float]:
    """-log softmax in float64, token by token, each from everything before it."""
    nats = []
    for position, token in enumerate(ids):
        before = [start_id, *ids[:position]]
        if apart and END_ID in before:
            before = before[len(before) - 1 - before[::-1].index(END_ID) :]
        logits = read(np.array([before], np.int32), None)[0][0, -1].astype(np.float64)
        nats.append(-math.log(math.exp(logits[token]) / sum(math.exp(logit) for logit in logits)))
    return nats


logits_arrays = arrays.arrays(np.float32, (4, 6), elements=st.floats(-50, 50, width=32))


@given(logits_arrays, st.lists(st.integers(0, 5), min_size=4, max_size=4))
def test_token_nats_is_minus_log_softmax(logits: NDArray[np.float32], targets: list[int]) -> None:
    wide = logits.astype(np.float64)
    expected = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(4), targets]
    actual = token_nats(logits, np.array(targets))
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_token_nats_takes_any_leading_shape_and_large_logits() -> None:
    logits = np.array([[[1000.0, 0.0], [-1000.0, -1000.0]]], np.float32)
    np.testing.assert_allclose(token_nats(logits, np.array([[1, 0]], np.uint8)), [[1000.0, math.log(2)]])


ids_lists = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=12)


@given(ids_lists, st.booleans())
def test_every_token_is_scored_once_given_all_before_it(ids: list[int], apart: bool) -> None:
    nats = Scorer(read, VOCABULARY_SIZE, START_ID, apart).add(np.array(ids, np.int32))
    np.testing.assert_allclose(nats, naive_nats(ids, START_ID, apart), rtol=1e-4)


@given(ids_lists, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 5), st.booleans())
def test_cuts_change_nothing(ids: list[int], cuts: list[int], chunk: int, apart: bool) -> None:
    whole = Scorer(read, VOCABULARY_SIZE, START_ID, apart).add(np.array(ids, np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "CHUNK_LOGITS", chunk * VOCABULARY_SIZE)
        scorer = Scorer(read, VOCABULARY_SIZE, START_ID, apart)
    parts = [scorer.add(part) for part in np.split(np.array(ids, np.uint8), sorted(cuts))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)


def test_a_document_is_scored_the_same_whatever_came_before() -> None:
    document = [4, 6, 4, END_ID]
    scorer = Scorer(read, VOCABULARY_SIZE, END_ID, apart=True)
    first, second = scorer.add(np.array(document)), scorer.add(np.array(document))
    other = Scorer(read, VOCABULARY_SIZE, END_ID, apart=True).add(np.array([5, 5, 5, END_ID, *document]))[4:]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, other)
    together = Scorer(read, VOCABULARY_SIZE, END_ID).add(np.array(document * 2))[4:]
    assert not np.allclose(together, first)


@pytest.mark.parametrize("window", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 100])
def test_windows_start_from_a_fresh_state(monkeypatch: pytest.MonkeyPatch, window: int, batch: int) -> None:
    monkeypatch.setattr(scoring, "CHUNK_LOGITS", batch * window * VOCABULARY_SIZE)
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, 9).tolist()
    expected, count = 0.0, 0
    for begin in range(0, len(ids) - window, window):
        stretch = ids[begin : begin + window + 1]
        expected += sum(naive_nats(stretch[1:], stretch[0]))
        count += window
    nats, predicted = windowed_nats(read, VOCABULARY_SIZE, np.array(ids), window)
    assert nats == pytest.approx(expected, rel=1e-5)
    assert predicted == count


def test_one_bit_a_character_is_a_coin_a_character() -> None:
    def coin(ids: NDArray[np.int32], state: Any) -> tuple[NDArray[np.float32], Any]:
        return np.zeros((*ids.shape, 2), np.float32), state

    nats = float(Scorer(coin, 2, 0).add(np.array([0, 1] * 50)).sum())
    metrics = TextMetrics(nats, tokens=100, characters=100, bytes=300)
    assert metrics.nats_per_token == pytest.approx(math.log(2))
    assert metrics.perplexity == pytest.approx(2.0)
    assert metrics.bits_per_character == pytest.approx(1.0)
    assert metrics.bits_per_byte == pytest.approx(1 / 3)


def test_units_follow_from_the_total() -> None:
    # 30 nats for 10 tokens that spell 20 characters of 40 bytes.
    metrics = TextMetrics(30.0, 10, 20, 40)
    assert metrics.to_dict() == {
        "nats": 30.0,
        "tokens": 10,
        "characters": 20,
        "bytes": 40,
        "nats_per_token": 3.0,
        "perplexity": pytest.approx(20.0855369),
        "bits_per_character": pytest.approx(2.1640426),
        "bits_per_byte": pytest.approx(1.0820213),
    }


def test_no_text_and_hopeless_models_have_finite_figures() -> None:
    assert TextMetrics(0.0, 0, 0, 0).to_dict()["perplexity"] == 1.0
    assert math.isfinite(TextMetrics(1e6, 1, 1, 1).perplexity)


def test_words_are_what_stands_between_blanks_and_each_end_of_a_line() -> None:
    size = TextSize.of("no it was n't <unk> \n the end\n")
    assert size == TextSize(characters=30, bytes=30, words=5 + 1 + 2 + 1)
    assert TextSize.of("") == TextSize(0, 0, 0)
    chinese = TextSize.of("床前 明月光")
    assert chinese == TextSize(characters=6, bytes=16, words=2, unspaced=5)
    assert TextMetrics.of(6.0, 6, chinese).to_dict().keys() == TextMetrics(6.0, 6, 6, 16).to_dict().keys()


@given(st.lists(st.sampled_from(["a", "é", " ", "\n", "\u3000", "\u00a0", "。", "\x1f"])), st.integers(1, 5))
def test_words_are_counted_as_str_split_does(characters: list[str], at_once: int) -> None:
    text = "".join(characters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "COUNTED_AT_ONCE", at_once)
        size = TextSize.of(text)
    assert size.words == len(text.split()) + text.count("\n")
    assert size.unspaced == text.count("。") + text.count("\u3000")


def test_tokenizers_are_compared_by_what_they_all_read() -> None:
    # Two models of the same 12 characters, 3 words and an end of line. One tells its 4 tokens in 8 nats; the other its
    # 12 in 10, which is less of the text a word.
    size = TextSize.of("ab cde fghi\n")
    words, characters = TextMetrics.of(8.0, 4, size), TextMetrics.of(10.0, 12, size)
    assert words.perplexity == words.word_perplexity == pytest.approx(math.exp(2.0))
    assert characters.perplexity == pytest.approx(math.exp(10 / 12))
    assert characters.word_perplexity == pytest.approx(math.exp(2.5))
    assert words.bits_per_character == pytest.approx(8 / math.log(2) / 12)
    assert "unknown" not in words.to_dict()


def test_a_word_that_is_not_known_is_charged_its_spelling() -> None:
    tokenizer = WordTokenizer(["the", "cat"])
    text = "the cat <unk> bat\n"
    size = text_size(tokenizer, text)
    assert size.unknown == 1, "a literal <unk> is a word of the text"
    assert size.spelling_nats == pytest.approx(SpellingModel(["the", "cat"]).nats("bat"))
    metrics = TextMetrics.of(10.0, 5, size)
    figures = metrics.to_dict()
    assert figures["word_perplexity"] == pytest.approx(math.exp(2.0))
    assert figures["spelled_word_perplexity"] == pytest.approx(math.exp((10 + size.spelling_nats) / 5))
    assert figures["spelled_bits_per_character"] == pytest.approx((10 + size.spelling_nats) / math.log(2) / len(text))
    assert figures["bits_per_character"] == pytest.approx(10 / math.log(2) / len(text))
    # Characters that a model of characters lacks are spelled in its own tokens, and so in its loss.
    assert text_size(CharTokenizer("\n aceht"), text).unknown == 0


def test_what_a_tokenizer_drops_is_said() -> None:
    assert "capitals" in WordTokenizer([], lowercase=True).loses
    assert "capitals" not in WordTokenizer([]).loses
    assert "spaces around punctuation" in WordTokenizer([], split="punctuation").loses
    assert CharTokenizer("ab").loses == ""
