"""Continuous batching: texts that come and go share calls, and each is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from commands import error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

import textrnn
from textrnn.generation import GenerationOptions
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.streams import Piece, Stream, advance, shares_calls

GOLDEN = Path(__file__).resolve().parent / "golden"
PROMPT = "hello world"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("streams") / "bundle"
    write_tiny_bundle(folder)
    return textrnn.load(folder, LanguageModel)


def stream(model: LanguageModel, seed: int, prompt: str = PROMPT, **options: Any) -> Stream:
    made = Stream(model, prompt, GenerationOptions(**options), seed)
    while not made.is_ready:
        made.read_prompt()
    return made


def texts_of(streams: list[Stream], together: bool, random: Random) -> list[str]:
    """The texts of streams that join one after another, in calls of any length."""
    texts = ["" for _ in streams]
    waiting, running = list(range(len(streams))), list[int]()
    while waiting or running:
        joining = random.randrange(3) if running else 1
        running += waiting[:joining]
        del waiting[:joining]
        numbers = {id(streams[number]): number for number in running}
        for found, piece in advance([streams[number] for number in running], random.randrange(1, 12), together):
            assert isinstance(piece, Piece)
            texts[numbers[id(found)]] += piece.text
        running = [number for number in running if streams[number].finish_reason is None]
    return texts


OPTIONS = st.fixed_dictionaries(
    {"length": st.integers(1, 60), "temperature": st.sampled_from([0, 0.5, 1, 2])},
    optional={
        "top_k": st.integers(1, 5),
        "top_p": st.floats(0.1, 1),
        "min_p": st.floats(0, 0.5),
        "repetition_penalty": st.floats(0.5, 2),
        "stop": st.sampled_from(["world", ["hello", "world hello"], "o"]),
    },
)


@settings(max_examples=40, deadline=None)
@given(cases=st.lists(OPTIONS, min_size=1, max_size=7), seed=st.integers(0, 99))
def test_a_text_does_not_depend_on_those_beside_it(
    model: LanguageModel, cases: list[dict[str, Any]], seed: int
) -> None:
    assert shares_calls(model, 7)
    expected = [model.generate(PROMPT, seed=number, **options) for number, options in enumerate(cases)]
    for together in (True, False):
        streams = [stream(model, number, **options) for number, options in enumerate(cases)]
        assert texts_of(streams, together, Random(seed)) == expected


def test_texts_of_any_temperature_share_a_call_in_new_bundles_and_not_in_old_ones(model: LanguageModel) -> None:
    old = textrnn.load(GOLDEN / "language-model-char-float32", LanguageModel)
    assert model.has_temperatures
    assert not old.has_temperatures
    for loaded, groups in ((model, 1), (old, 2)):
        streams = [stream(loaded, 0, temperature=temperature) for temperature in (0.5, 1.5)]
        assert len({made.group for made in streams}) == groups


def test_filters_share_a_call_in_new_bundles_and_use_single_steps_in_old_ones(model: LanguageModel) -> None:
    old = textrnn.load(GOLDEN / "language-model-char-float32", LanguageModel)
    for loaded, expected in ((model, {"filtered"}), (old, {"step"})):
        options: list[dict[str, Any]] = [{"top_k": 3}, {"top_p": 0.5, "temperature": 2}, {"min_p": 0.1}]
        assert {stream(loaded, 0, **each).group for each in options} == expected
        assert stream(loaded, 0, repetition_penalty=1.1, **options[0]).group == "step"


def test_old_int8_models_have_calls_of_their_own_for_each_text() -> None:
    assert not shares_calls(textrnn.load(GOLDEN / "language-model-char-int8", LanguageModel), 8)
    assert shares_calls(textrnn.load(GOLDEN / "language-model-char-float32", LanguageModel), 8)


def test_a_long_prompt_is_read_in_parts(model: LanguageModel) -> None:
    prompt = "hello world " * 700
    made = Stream(model, prompt, GenerationOptions(length=20), 3)
    parts = 0
    while not made.is_ready:
        made.read_prompt()
        parts += 1
    assert parts > 1
    assert texts_of([made], True, Random(0)) == [model.generate(prompt, length=20, seed=3)]


@pytest.mark.parametrize("ids", [[99], [-1], [10**30], [1.5], [[1]]])
def test_a_prompt_of_wrong_ids_is_refused(model: LanguageModel, ids: Any) -> None:
    assert "ids must be" in error_of(lambda: Stream(model, ids, GenerationOptions(), 0))
