"""Characters, and the spelling of those never seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import UserError
from textrnn.tokenizers import CharTokenizer
from textrnn.tokenizers.base import UNKNOWN_ID
from textrnn.tokenizers.char import ENCODE_BLOCK


def test_ids_follow_the_code_points_after_specials_and_digits() -> None:
    tokenizer = CharTokenizer.train(["banana\n", "日本"])
    assert tokenizer.vocabulary_size == 4 + 16 + 6
    assert tokenizer.encode("\nabn日本").tolist() == [20, 21, 22, 23, 24, 25]
    assert [tokenizer.token_text(id) for id in (1, 4, 19, 20, 24)] == ["<unk>", "<hex 0>", "<hex f>", "\n", "日"]


def test_an_unseen_character_is_the_hexadecimal_digits_of_its_bytes() -> None:
    tokenizer = CharTokenizer.train(["ab"])
    assert "é".encode().hex() == "c3a9"
    assert tokenizer.encode("aéb").tolist() == [20, 4 + 0xC, 4 + 3, 4 + 0xA, 4 + 9, 21]
    assert tokenizer.encode("Z").tolist() == [4 + 5, 4 + 0xA]  # ASCII too
    assert tokenizer.encode("\0").tolist() == [4, 4]


def reference_encode(characters: str, text: str) -> list[int]:
    ids: list[int] = []
    for character in text:
        if character in characters:
            ids.append(20 + characters.index(character))
        else:
            ids.extend(4 + int(digit, 16) for digit in character.encode().hex())
    return ids


def reference_decode(characters: str, ids: list[int]) -> str:
    content = b""
    high: int | None = None
    for id in ids:
        if id in (0, 2, 3):
            continue
        if 4 <= id < 20:
            if high is None:
                high = id - 4
            else:
                content += bytes([high * 16 + id - 4])
                high = None
        else:
            if high is not None:
                content += b"\xff"
                high = None
            content += ("\ufffd" if id == 1 else characters[id - 20]).encode()
    return (content + (b"" if high is None else b"\xff")).decode(errors="replace")


@given(known=st.text(min_size=1), text=st.text())
def test_encode_equals_the_reference(known: str, text: str) -> None:
    characters = "".join(sorted(set(known)))
    mixed = text + known + text
    assert CharTokenizer(characters).encode(mixed).tolist() == reference_encode(characters, mixed)


@given(st.lists(st.integers(0, 22)))
def test_decode_equals_the_reference(ids: list[int]) -> None:
    assert CharTokenizer("aé中").decode(ids) == reference_decode("aé中", ids)


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ("c3a9", "é"),
        ("c3", "\ufffd"),  # half a character
        ("c3a", "\ufffd\ufffd"),  # and half a byte
        ("a9", "\ufffd"),
        ("eda080", "\ufffd\ufffd\ufffd"),  # a surrogate
        ("f4908080", "\ufffd\ufffd\ufffd\ufffd"),  # above U+10FFFF
        ("41", "A"),
    ],
)
def test_broken_spelling_reads_as_replacement_characters(spelled: str, text: str) -> None:
    tokenizer = CharTokenizer("x")
    digits = [4 + int(digit, 16) for digit in spelled]
    assert tokenizer.decode([20, *digits, 20]) == f"x{text}x"
    assert tokenizer.decode([UNKNOWN_ID, *digits]) == f"\ufffd{text}"


def test_a_split_character_is_streamed_when_it_is_whole() -> None:
    tokenizer = CharTokenizer("x")
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(int(id)) for id in tokenizer.encode("x中x")] == ["x", "", "", "", "", "", "中", "x"]
    assert [decoder.push(4 + 0xC), decoder.push(20), decoder.finish()] == ["", "\ufffdx", ""]
    assert [decoder.push(4 + 0xC), decoder.push(4 + 3), decoder.finish()] == ["", "", "\ufffd"]


@pytest.mark.parametrize("unseen", ["", "~", "é", "😀"])
@pytest.mark.parametrize("where", [0, ENCODE_BLOCK - 1, ENCODE_BLOCK, ENCODE_BLOCK + 1])
def test_long_text_is_encoded_without_a_seam(unseen: str, where: int) -> None:
    tokenizer = CharTokenizer.train(["abcdefg中"])
    text = ("abcdefg" * (ENCODE_BLOCK // 3))[: 2 * ENCODE_BLOCK]
    text = text[:where] + unseen + text[where:] + "中"
    assert tokenizer.encode(text).tolist() == reference_encode("abcdefg中", text)


def characters(tokenizer: CharTokenizer) -> str:
    return "".join(tokenizer.token_text(id) for id in range(20, tokenizer.vocabulary_size))


def test_the_rarest_characters_are_left_out() -> None:
    texts = ["ccc", "中中b", "ab"]
    assert characters(CharTokenizer.train(texts)) == "abc中"
    assert characters(CharTokenizer.train(texts, min_count=2)) == "bc中"
    assert characters(CharTokenizer.train(texts, min_count=3)) == "c"
    assert characters(CharTokenizer.train(texts, vocabulary_size=23)) == "bc中"
    assert (
        characters(CharTokenizer.train(texts, vocabulary_size=22)) == "bc"
    )  # b and 中 are as frequent: the lower stays
    assert characters(CharTokenizer.train(texts, vocabulary_size=20)) == ""
    assert characters(CharTokenizer.train(texts, vocabulary_size=1000)) == "abc中"


def test_with_no_character_known_every_text_is_digits() -> None:
    tokenizer = CharTokenizer("")
    assert tokenizer.vocabulary_size == 20
    assert tokenizer.decode(tokenizer.encode("naïve 😀")) == "naïve 😀"


def test_characters_may_come_in_any_pieces() -> None:
    text = "the same text, 同文。" * 200_000
    whole = CharTokenizer.train([text])
    assert CharTokenizer.train(text[start : start + 999] for start in range(0, len(text), 999)).fingerprint == (
        whole.fingerprint
    )
    assert np.unique(whole.encode(text)).tolist() == list(range(20, whole.vocabulary_size))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"min_count must be at least 1, was: 0"):
        CharTokenizer.train(["a"], min_count=0)
    with pytest.raises(UserError, match=r"vocabulary_size must be at least 20, was: 19"):
        CharTokenizer.train(["a"], vocabulary_size=19)
    with pytest.raises(UserError, match=r"characters must be distinct"):
        CharTokenizer("aba")
