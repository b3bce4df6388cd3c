"""Words of long texts are looked up in numpy: the ids are those that the pattern and a dictionary give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.tokenizers import UNKNOWN_ID, WordTokenizer, word, word_lookup
from textrnn.tokenizers.word_bounds import LAST_LEAD_OF_BLANKS

BLANKS = " \t\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
LETTERS = "abAZ09_\xe9e\u0301\u093f\u4e2d\u570b\u3005\u3042\u0627\ufb01\u0130\xdf\u03a3\u03c2\U0001d400\U00020000"
OTHERS = ".,<>-'\u2019\uff0c\u3002\u2026\u200b\u200c\u200d\ufeff\ufffd\U0001f600\U0001f1e9\x01\x7f\x00\x80"
WORDS = ["the", "<unk>", "of<unk>s", "eightchr", "ninechars", "x" * 16, "y" * 17, "z" * 24, "w" * 25, "\u4e2d" * 9]

characters = st.text(st.sampled_from(BLANKS + "\n" + LETTERS + OTHERS), max_size=12)
texts = st.lists(st.one_of(characters, st.sampled_from([*WORDS, " ", "\n"])), max_size=60).map("".join)


@pytest.fixture(autouse=True, scope="module")
def every_text_is_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word, "LONG", 0)
        patch.setattr(word, "PAYS_FOR_A_WORD", 0)
        patch.setattr(word, "LONG_WORD", word.SAMPLED)
        patch.setattr(word_lookup, "BLOCK_BYTES", 50)
        yield


def expected(tokenizer: WordTokenizer, text: str, split: str, lowercase: bool) -> list[int]:
    ids = {tokenizer.token_text(id): id for id in range(4, tokenizer.vocabulary_size)}
    if lowercase:
        text = text.lower()
    return [ids.get(match[0], UNKNOWN_ID) for match in re.finditer(word._pattern(split), text)]


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.sampled_from(word.SPLITS), st.booleans())
def test_ids_of_any_text_are_those_of_the_pattern(seen: str, other: str, split: str, lowercase: bool) -> None:
    tokenizer = WordTokenizer.train([seen + "a"], split=split, lowercase=lowercase)
    for text in (seen, other, seen + other):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert ids.tolist() == expected(tokenizer, text, split, lowercase)


@pytest.mark.parametrize("split", word.SPLITS)
def test_ids_of_a_large_vocabulary_are_those_of_the_pattern(split: str) -> None:
    numbers = [str(number * number) for number in range(20_000)]
    tokenizer = WordTokenizer(numbers, split=split)
    text = " ".join(chain(numbers, map(str, range(5_000)), ["a" + number for number in numbers[::7]], numbers[::-1]))
    assert tokenizer.encode(text).tolist() == expected(tokenizer, text, split, False)


def test_a_text_with_nul_is_read_by_the_pattern() -> None:
    tokenizer = WordTokenizer(["a", "a\0", "\0"])
    assert tokenizer.encode("a a\0 \0 a\0\0").tolist() == [5, 6, 7, UNKNOWN_ID]


def test_whitespace_of_several_bytes_begins_with_small_ones() -> None:
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    blanks = re.findall(r"\s", every)
    assert blanks == [character for character in every if character.isspace()]
    assert max(blanks).encode()[0] == LAST_LEAD_OF_BLANKS


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, max_size=6), st.sampled_from(word.SPLITS), st.booleans())
def test_texts_encoded_together_are_those_encoded_alone(several: list[str], split: str, lowercase: bool) -> None:
    tokenizer = WordTokenizer.train([*several, "a"], split=split, lowercase=lowercase)
    together = tokenizer.encode_all(several)
    assert [ids.tolist() for ids in together] == [expected(tokenizer, text, split, lowercase) for text in several]
