"""Generation with steps of a few lines over a readable alphabet: no model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from math import inf, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.generation import CHUNK, DRAWN_AHEAD, GenerationOptions, State, Step, forbid, generate, untrained
from textrnn.sampling import choose
from textrnn.tokenizers import BEGINNING_ID, END_ID, PAD_ID, UNKNOWN_ID, CharTokenizer, Tokenizer, WordTokenizer

LETTERS = CharTokenizer.train(["abcdefghijklmnopqrstuvwxyz "])
ZERO = np.zeros((1, 1, 1), np.float32)
NEVER_DRAWN = np.array([PAD_ID, UNKNOWN_ID, BEGINNING_ID], np.int32)


def letter(text: str) -> int:
    return int(LETTERS.encode(text)[0])


class Script:
    """A step that says one text over and over, whatever it is fed; its state is the place in the text."""

    def __init__(self, ids: Iterable[int], tokenizer: Tokenizer = LETTERS) -> None:
        self.ids = list(ids)
        self.vocabulary_size = tokenizer.vocabulary_size
        self.fed: list[list[int]] = []

    def __call__(self, ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        self.fed.append(ids.tolist())
        logits = np.full((len(ids), self.vocabulary_size), -100, np.float32)
        for row, place in enumerate(state[0, :, 0].astype(int)):
            logits[row, self.ids[place % len(self.ids)]] = 100
        return logits, state + 1


def say(text: str) -> Script:
    return Script(LETTERS.encode(text).tolist())


class Markov:
    """A step whose next token depends on the last one only, by a table of probabilities over some letters and END."""

    def __init__(self, table: NDArray[np.float64], tokens: list[int]) -> None:
        self.tokens = tokens
        self.logits = np.full((LETTERS.vocabulary_size, LETTERS.vocabulary_size), -60, np.float32)
        for token, probs in zip([BEGINNING_ID, *tokens], table, strict=True):
            self.logits[token, tokens] = np.log(probs)

    def __call__(self, ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        return self.logits[ids], state

    @staticmethod
    def random(seed: int, letters: str = "abc") -> Markov:
        tokens = [*LETTERS.encode(letters).tolist(), END_ID]
        return Markov(np.random.default_rng(seed).dirichlet([0.7] * len(tokens), len(tokens) + 1), tokens)


def pieces(step: Step, prompt: str = "", tokenizer: CharTokenizer = LETTERS, **options: Any) -> list[str]:
    found = generate(step, ZERO, tokenizer, BEGINNING_ID, prompt, GenerationOptions(**options), NEVER_DRAWN)
    return [piece for _, piece in found]


def write(step: Step, prompt: str = "", tokenizer: CharTokenizer = LETTERS, **options: Any) -> str:
    return "".join(pieces(step, prompt, tokenizer, **options))


def write_all(step: Step, count: int, **options: Any) -> list[str]:
    texts = [""] * count
    for index, piece in generate(
        step, ZERO, LETTERS, BEGINNING_ID, "", GenerationOptions(count=count, **options), NEVER_DRAWN
    ):
        texts[index] += piece
    return texts


def test_the_most_probable_text_is_written() -> None:
    assert write(say("hello world "), length=15) == "hello world hel"


def test_length_counts_new_tokens_and_the_prompt_is_not_repeated() -> None:
    assert write(say("hello world"), prompt="hel", length=4) == "lo w"
    assert write(say("hello"), prompt="hel", length=0) == ""


def test_each_token_is_fed_once_in_order() -> None:
    step = say("hello")
    write(step, prompt="he", length=3)
    assert step.fed == [[token] for token in [BEGINNING_ID, *LETTERS.encode("hello")[:-1]]]


def test_prefill_takes_all_of_the_prompt_but_its_last_token_in_one_call() -> None:
    step, read = say("hello world"), []

    def prefill(ids: NDArray[np.int32], state: State) -> State:
        read.append(ids.tolist())
        return state + ids.shape[1]

    ids = LETTERS.encode("hell")
    options = GenerationOptions(length=7)
    text = "".join(
        piece for _, piece in generate(step, ZERO, LETTERS, BEGINNING_ID, "hell", options, NEVER_DRAWN, prefill)
    )
    assert text == "o world"
    assert read == [[[BEGINNING_ID, *ids[:-1].tolist()]]]
    assert step.fed[0] == [ids[-1]]


def test_a_step_may_write_to_the_same_arrays_each_time() -> None:
    inner = say("hello world ")
    buffers = (np.empty((1, LETTERS.vocabulary_size), np.float32), np.empty((1, 1, 1), np.float32))

    def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        for buffer, result in zip(buffers, inner(ids, state), strict=True):
            buffer[...] = result
        return buffers

    assert write(step, prompt="he", length=9) == "llo world"


class TestEndings:
    def test_the_end_token_ends_the_text(self) -> None:
        assert write(Script([*LETTERS.encode("hello"), END_ID])) == "hello"

    def test_special_tokens_are_never_written(self) -> None:
        def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            logits = np.zeros((len(ids), LETTERS.vocabulary_size), np.float32)
            logits[:, [PAD_ID, UNKNOWN_ID, BEGINNING_ID]] = 50
            logits[:, letter("x")] = 20
            return logits, state

        assert write(step, length=5, seed=1) == "xxxxx"
        assert write(step, length=5, beams=2) == "xxxxx"

    def test_the_text_is_cut_before_a_stop_string(self) -> None:
        assert write(say("hello world "), stop=" w") == "hello"
        assert write(say("hello world "), stop=["zz", "o", "rl"]) == "hell"

    def test_the_model_is_not_run_past_a_stop_string(self) -> None:
        step = say("hello world")
        write(step, stop="lo")
        assert len(step.fed) == len("hello")

    def test_the_stop_string_complete_first_counts_the_longest_if_several(self) -> None:
        assert write(say("xabcd"), stop=["abcd", "bc"]) == "xa"
        assert write(say("xabcd"), stop=["c", "abc"]) == "x"

    def test_a_streamed_text_never_shows_a_part_of_a_stop_string(self) -> None:
        assert pieces(say("hello help"), length=20, stop="help") == ["hell", "o", " "]

    def test_what_was_held_back_is_given_at_the_end(self) -> None:
        assert pieces(say("hel"), length=3, stop="help") == ["hel"]
        assert pieces(Script([*LETTERS.encode("ahel"), END_ID]), stop="help") == ["a", "hel"]

    def test_what_repeats_inside_a_stop_string_is_found(self) -> None:
        assert write(say("aaab"), stop="aab") == "a"

    @settings(deadline=None)
    @given(
        st.text("ab ", min_size=1, max_size=25),
        st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3),
    )
    def test_pieces_make_up_what_cutting_the_whole_text_gives(self, text: str, stop: list[str]) -> None:
        shown = pieces(say(text), length=len(text), stop=stop)
        first = next((n for n in range(len(text) + 1) if text[:n].endswith(tuple(stop))), None)
        if first is None:
            assert "".join(shown) == text
        else:
            assert "".join(shown) == min(
                (text[:first].removesuffix(s) for s in stop if text[:first].endswith(s)), key=len
            )
        assert all(shown)


class TestWholeCharacters:
    def test_a_character_spelled_over_several_tokens_is_one_piece(self) -> None:
        assert len(LETTERS.encode("é😀")) == 12
        assert pieces(say("aé😀b"), length=14) == ["a", "é", "😀", "b"]

    def test_one_cut_off_by_the_length_is_a_replacement_character(self) -> None:
        assert pieces(say("aé"), length=3) == ["a", "\ufffd"]

    def test_a_stop_string_of_such_characters(self) -> None:
        tokenizer = CharTokenizer.train(["明月"])
        ids = tokenizer.encode("明月。光。").tolist()
        assert pieces(Script(ids, tokenizer), tokenizer=tokenizer, length=len(ids), stop="光") == ["明", "月", "。"]


class TestSamples:
    def test_the_seed_decides(self) -> None:
        step = Markov(np.array([[0.5, 0.5]] * 3), [letter("a"), letter("b")])
        assert write(step, seed=1) == write(step, seed=1)
        assert write(step, seed=1) != write(step, seed=2)

    def test_without_a_seed_each_text_is_a_new_one(self) -> None:
        step = Markov(np.array([[0.5, 0.5]] * 3), [letter("a"), letter("b")])
        assert write(step, length=200) != write(step, length=200)

    def test_letters_come_as_often_as_the_model_says(self) -> None:
        tokens = [letter("a"), letter("b"), END_ID]
        step = Markov(np.array([[0.7, 0.3, 1e-30]] * 4), tokens)
        text = write(step, length=4000, seed=3)
        assert len(text) == 4000
        assert text.count("a") / 4000 == pytest.approx(0.7, abs=0.03)

    def test_a_text_does_not_depend_on_how_many_are_written_beside_it(self) -> None:
        step = Markov.random(2)
        assert write_all(step, 5, seed=9, length=40)[:2] == write_all(step, 2, seed=9, length=40)
        assert write_all(step, 5, seed=9, length=40)[0] == write(step, seed=9, length=40)

    def test_texts_end_one_by_one_and_each_row_keeps_its_state(self) -> None:
        # Two layers of state: the place, and the first letter, which alone decides how the row goes on.
        sizes: list[int] = []

        def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            sizes.append(len(ids))
            place, first = state[:, :, 0].astype(int)
            first = np.where(place == 1, ids, first)
            logits = np.full((len(ids), LETTERS.vocabulary_size), -100, np.float32)
            for row in range(len(ids)):
                if place[row] == 0:
                    logits[row, LETTERS.encode("abc")] = 100
                else:
                    length = 1 + first[row] - letter("a")
                    logits[row, END_ID if place[row] == length else first[row]] = 100
            return logits, np.stack([place + 1, first])[:, :, None].astype(np.float32)

        texts = [""] * 9
        options = GenerationOptions(count=9, seed=4)
        zero = np.zeros((2, 1, 1), np.float32)
        for index, piece in generate(step, zero, LETTERS, BEGINNING_ID, "", options, NEVER_DRAWN):
            texts[index] += piece
        assert set(texts) == {"a", "bb", "ccc"}
        assert sizes == [9, 9, 9 - texts.count("a"), texts.count("ccc")]

    def test_a_repetition_penalty_looks_at_prompt_and_text(self) -> None:
        tokens = [letter("a"), letter("b"), letter("c"), END_ID]
        step = Markov(np.array([[0.3, 0.29, 0.28, 0.13]] * 5), tokens)
        # log(0.3) = -1.2, times 1.2 is below log(0.28) = -1.27 but above log(0.13) = -2.04.
        options: dict[str, Any] = {"temperature": 0, "repetition_penalty": 1.2, "length": 4}
        assert write(step, **options) == "abca"
        assert write(step, prompt="a", **options) == "bcaa"
        assert write(step, prompt="ba", **options) == "caaa"


class Chunks:
    """A writer of chunks, as a graph is one: it goes on after end tokens and stop strings, which it does not know."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.calls: list[tuple[int, int]] = []

    def __call__(
        self, ids: NDArray[np.int32], state: State, uniforms: NDArray[np.float64], texts: Sequence[int]
    ) -> tuple[NDArray[np.int32], State]:
        self.calls.append(uniforms.shape)
        assert len(ids) == len(texts) == state.shape[1] == uniforms.shape[1]
        tokens = np.empty(uniforms.shape, np.int32)
        for position, draws in enumerate(uniforms):
            logits, state = self.step(ids, state)
            ids = tokens[position] = choose(forbid(logits, NEVER_DRAWN), draws)
        return tokens, state


class TestChunks:
    @staticmethod
    def texts(
        step: Step, write: Chunks | None = None, prompt: str = "", whole: bool = False, **options: Any
    ) -> list[str]:
        checked = GenerationOptions(**options)
        texts = [""] * checked.count
        for index, piece in generate(
            step, ZERO, LETTERS, BEGINNING_ID, prompt, checked, NEVER_DRAWN, write=write, whole=whole
        ):
            texts[index] += piece
        return texts

    @pytest.mark.parametrize("whole", [False, True])
    @pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, DRAWN_AHEAD + 5])
    @pytest.mark.parametrize("stop", [(), ("ab", "cca")])
    def test_the_texts_are_those_of_single_steps(self, length: int, stop: tuple[str, ...], whole: bool) -> None:
        for seed in range(5):
            step = Markov.random(seed)
            options: dict[str, Any] = {"seed": seed, "length": length, "count": 4, "stop": stop, "prompt": "ab"}
            assert self.texts(step, Chunks(step), whole=whole, **options) == self.texts(step, **options)

    def test_rows_that_ended_leave_at_the_next_chunk(self) -> None:
        tokens = [letter("a"), END_ID]
        step = Markov(np.array([[0.97, 0.03]] * 3), tokens)
        write = Chunks(step)
        texts = self.texts(step, write, count=8, seed=2, length=5 * CHUNK)
        running = [8] + [sum(len(text) >= n * CHUNK for text in texts) for n in range(1, 5)]
        assert len(set(running)) > 2
        assert write.calls == [(CHUNK, rows) for rows in running if rows]

    def test_no_more_is_written_than_was_asked_for(self) -> None:
        write = Chunks(say("hello "))
        assert self.texts(say("hello "), write, length=CHUNK + 3) == [("hello " * CHUNK)[: CHUNK + 3]]
        assert write.calls == [(CHUNK, 1), (3, 1)]

    def test_a_stream_comes_chunk_by_chunk_and_a_whole_text_as_one_piece(self) -> None:
        options = GenerationOptions(length=2 * CHUNK)
        for whole, count in ((False, 2), (True, 1)):
            found = generate(
                say("ab"), ZERO, LETTERS, BEGINNING_ID, "", options, NEVER_DRAWN, write=Chunks(say("ab")), whole=whole
            )
            assert len(list(found)) == count


def best_by_enumeration(step: Markov, length: int, stop: str | None = None) -> tuple[float, str]:
    """The most probable of all continuations, found by trying every one."""

    def log_prob(ids: tuple[int, ...]) -> float:
        allowed = np.exp(step.logits.astype(float))
        allowed[:, [PAD_ID, UNKNOWN_ID, BEGINNING_ID]] = 0
        allowed /= allowed.sum(axis=1, keepdims=True)
        return sum(log(allowed[a, b]) for a, b in itertools.pairwise((BEGINNING_ID, *ids)))

    def complete(ids: tuple[int, ...]) -> bool:
        text = LETTERS.decode(ids)
        ended = END_ID in ids or (stop is not None and stop in text)
        earlier = END_ID in ids[:-1] or (stop is not None and stop in LETTERS.decode(ids[:-1]))
        return not earlier and (ended or len(ids) == length)

    every = (ids for n in range(1, length + 1) for ids in itertools.product(step.tokens, repeat=n) if complete(ids))
    score, ids = max((log_prob(ids), ids) for ids in every)
    text = LETTERS.decode(ids)
    return score, text if stop is None else text.split(stop)[0]


class TestBeamSearch:
    @pytest.mark.parametrize("seed", range(12))
    def test_a_wide_beam_finds_the_most_probable_continuation(self, seed: int) -> None:
        step = Markov.random(seed)
        assert write(step, length=4, beams=64) == best_by_enumeration(step, 4)[1]

    @pytest.mark.parametrize("seed", range(6))
    def test_a_continuation_may_end_at_a_stop_string(self, seed: int) -> None:
        step = Markov.random(seed)
        assert write(step, length=4, beams=64, stop="ba") == best_by_enumeration(step, 4, stop="ba")[1]

    def test_it_finds_what_greedy_choice_misses(self) -> None:
        # "a" begins better, "b" goes on better: 0.6 x 0.5 < 0.4 x 0.9.
        tiny = 1e-9
        table = np.array([[0.6, 0.4, tiny], [0.5, 0.49, 0.01], [0.9, 0.05, 0.05], [1.0, tiny, tiny]])
        step = Markov(table, [letter("a"), letter("b"), END_ID])
        assert write(step, length=2, temperature=0) == "aa"
        assert write(step, length=2, beams=2) == "ba"

    def test_the_state_of_a_beam_goes_with_it(self) -> None:
        # The state remembers the first letter, and decides the last one; the beams change places in between.
        def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            state = np.where(state == 0, np.where(ids == BEGINNING_ID, 0, ids)[None, :, None], state).astype(np.float32)
            logits = np.full((len(ids), LETTERS.vocabulary_size), -inf, np.float32)
            for row, (token, first) in enumerate(zip(ids.tolist(), state[0, :, 0].astype(int).tolist(), strict=True)):
                if token == BEGINNING_ID:
                    logits[row, [letter("a"), letter("b")]] = np.log([0.6, 0.4])
                elif token == first:
                    logits[row, LETTERS.encode("xyz")] = np.log(
                        [0.2, 0.3, 0.5] if token == letter("a") else [0.9, 0.05, 0.05]
                    )
                else:
                    logits[row, first] = 0
            return logits, state

        assert write(step, length=3, beams=4) == "bxb"

    def test_the_end_token_may_be_the_best_continuation(self) -> None:
        table = np.array([[0.3, 0.7], [0.5, 0.5], [0.5, 0.5]])
        assert write(Markov(table, [letter("a"), END_ID]), length=5, beams=2) == ""

    def test_the_text_comes_as_one_piece(self) -> None:
        assert pieces(say("hello"), length=5, beams=3) == ["hello"]

    def test_damaged_logits_are_refused(self) -> None:
        def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            return np.full((len(ids), LETTERS.vocabulary_size), np.nan, np.float32), state

        for beams in (1, 2):
            with pytest.raises(UserError, match="logits must be finite"):
                write(step, beams=beams)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "length must be .*, was: -1;"),
        ({"length": 1.5}, "length must be .*, was: 1.5;"),
        ({"beams": 0}, "beams must be .*, was: 0;"),
        ({"count": 0}, "count must be .*, was: 0;"),
        ({"seed": -1}, "seed must be .*, was: -1;"),
        ({"seed": "x"}, "seed must be .*, was: 'x';"),
        ({"stop": ""}, "stop must be .*, was: '';"),
        ({"stop": ["a", ""]}, r"stop must be .*, was: \['a', ''\];"),
        ({"temperature": -1.0}, "temperature must be .*, was: -1.0;"),
        ({"beams": 2, "count": 2}, "one text, count was: 2;"),
        ({"beams": 2, "temperature": 0}, "does not sample, temperature was: 0;"),
        ({"beams": 2, "top_k": 5}, "does not sample, top_k was: 5;"),
        ({"beams": 2, "repetition_penalty": 1.2}, "does not sample, repetition_penalty was: 1.2;"),
    ],
)
def test_a_value_out_of_range_is_named_and_quoted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GenerationOptions(**options)


class TestTokensWithoutTrainingCount:
    """Tokens that the training text does not have are drawn in no way, however probable the model finds them."""

    def test_they_are_the_special_ones_and_those_never_counted(self) -> None:
        assert untrained(np.array([5, 5, 5, 0, 2, 0])).tolist() == [PAD_ID, UNKNOWN_ID, BEGINNING_ID, END_ID, 5]
        assert untrained(np.ones(6, np.int64)).tolist() == [PAD_ID, UNKNOWN_ID, BEGINNING_ID]

    @pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.9}, {"beams": 4}])
    def test_they_are_never_drawn(self, options: dict[str, Any]) -> None:
        likely = [END_ID, *LETTERS.encode("xyz")]
        logits = np.zeros((1, LETTERS.vocabulary_size), np.float32)
        logits[:, likely] = 9

        fed: list[int] = []

        def step(ids: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
            fed.extend(ids.tolist())
            return np.repeat(logits, len(ids), axis=0), state

        counts = np.ones(LETTERS.vocabulary_size, np.int64)
        counts[likely] = 0
        checked = GenerationOptions(length=30, **options)
        list(generate(step, ZERO, LETTERS, BEGINNING_ID, "", checked, untrained(counts)))
        assert len(fed) >= 30
        assert not set(fed) & set(likely)


class TestTheJointOfPromptAndText:
    WORDS = WordTokenizer.train(["the cat sat . , on 猫 坐"], split="punctuation")

    def continued(self, prompt: str, text: str, **options: Any) -> str:
        words = self.WORDS
        ids = words.encode(text).tolist()
        # Begins with the first word after the prompt, whatever the number of its words.
        step = Script(np.roll(ids, len(words.encode(prompt))).tolist(), words)
        checked = GenerationOptions(length=len(ids), **options)
        found = generate(step, ZERO, words, BEGINNING_ID, prompt, checked, NEVER_DRAWN)
        return "".join(piece for _, piece in found)

    @pytest.mark.parametrize(
        ("prompt", "text", "expected"),
        [
            ("", "sat on", "sat on"),
            ("the cat", "sat on", " sat on"),
            ("the cat ", "sat on", "sat on"),
            ("the\n", "sat on .", "sat on."),
            ("the cat", ". sat", ". sat"),
            ("the dog", "sat on", " sat on"),
            ("the 猫", "坐 on", "坐 on"),
            ("the 狗", "坐 on", "坐 on"),
        ],
    )
    @pytest.mark.parametrize("options", [{}, {"stop": "never"}, {"beams": 2}])
    def test_they_read_as_one_text(self, prompt: str, text: str, expected: str, options: dict[str, Any]) -> None:
        assert self.continued(prompt, text, **options) == expected
