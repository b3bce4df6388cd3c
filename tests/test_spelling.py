"""What unknown words cost: a literal example, and that spellings share one probability."""

from __future__ import annotations

import math

import pytest

from textrnn.spelling import SpellingModel


def test_a_literal_example() -> None:
    # One word "a": after its beginning came an "a", after that the end; each context has one kind of follower, so that
    # p(b | c) is half of what was counted and half of p after one byte less.
    model = SpellingModel(["a"])
    after_none = {"a": (1 + 2 / 256) / (2 + 2), "end": (1 + 2 / 256) / (2 + 2), "b": 2 / 256 / (2 + 2)}
    after_beginning = {"a": (1 + after_none["a"]) / 2, "b": after_none["b"] / 2}
    # The longest context, "beginning, a", came once, and backs off to "a", which backs off to none.
    end_after_a = (1 + (1 + after_none["end"]) / 2) / 2
    assert model.nats("a") == pytest.approx(-math.log(after_beginning["a"] * end_after_a))
    assert model.nats("b") == pytest.approx(-math.log(after_beginning["b"] * after_none["end"]))


def test_all_spellings_together_have_a_probability_of_one() -> None:
    model = SpellingModel(["cat", "cap", "the", "帽子"])
    for context in (b"", b"\n", b"ca", b"\ncat", "帽".encode()):
        assert sum(model._prob(context, bytes([byte])) for byte in range(256)) == pytest.approx(1.0)


def test_a_word_like_those_known_is_cheap_and_any_word_can_be_spelled() -> None:
    model = SpellingModel(["walked", "talked", "walking", "talks", "milked"])
    assert model.nats("talking") < model.nats("talkxng") < model.nats("qqqqqqq") < math.inf
    assert model.nats("帽子") < math.inf
    assert SpellingModel([]).nats("ab") == pytest.approx(3 * math.log(256))
