"""Words, and what is lost between them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from textrnn.errors import UserError
from textrnn.tokenizers import UNKNOWN_ID, WordTokenizer, word


def words(tokenizer: WordTokenizer) -> list[str]:
    return [tokenizer.token_text(id) for id in range(5, tokenizer.vocabulary_size)]


def read(text: str, **options: Any) -> list[str]:
    tokenizer = WordTokenizer.train([text], **options)
    return [tokenizer.token_text(int(id)) for id in tokenizer.encode(text)]


def rewritten(text: str, **options: Any) -> str:
    tokenizer = WordTokenizer.train([text], **options)
    return tokenizer.decode(tokenizer.encode(text))


def test_ids_follow_the_newline_by_falling_count() -> None:
    tokenizer = WordTokenizer.train(["b a c\nb a", "b d"])
    assert words(tokenizer) == ["b", "a", "c", "d"]
    assert tokenizer.encode(" b  a\nd zebra ").tolist() == [5, 6, 4, 8, UNKNOWN_ID]
    assert tokenizer.decode([5, 6, 4, 8, UNKNOWN_ID]) == "b a\nd <unk>"
    assert tokenizer.token_text(4) == "\n"


def test_the_rarest_words_are_left_out() -> None:
    texts = ["c c c b b a a d"]
    assert words(WordTokenizer.train(texts, min_count=2)) == ["c", "a", "b"]
    assert words(WordTokenizer.train(texts, vocabulary_size=7)) == ["c", "a"]
    assert words(WordTokenizer.train(texts, vocabulary_size=5)) == []
    assert words(WordTokenizer.train(texts, vocabulary_size=1000)) == ["c", "a", "b", "d"]


def test_unknown_words_of_the_corpus_are_the_unknown_token() -> None:
    tokenizer = WordTokenizer.train([" the <unk> of N \n"])
    assert words(tokenizer) == ["N", "of", "the"]
    assert tokenizer.encode("the <unk>").tolist() == [7, UNKNOWN_ID]


def test_a_newline_is_known_even_where_the_corpus_has_none() -> None:
    tokenizer = WordTokenizer.train(["one line"], min_count=5)
    assert tokenizer.encode("\n").tolist() == [4]


def test_words_do_not_go_on_from_one_text_to_the_next() -> None:
    assert words(WordTokenizer.train(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.5 km, isn't it?", ["It", "'", "s", "3", ".", "5", "km", ",", "isn", "'", "t", "it", "?"]),
        ("snake_case\tx2", ["snake_case", "x2"]),
        ("a\r\n\r\nb", ["a", "\n", "\n", "b"]),
        ("黃河入海流。", ["黃", "河", "入", "海", "流", "。"]),
        ("用Python寫𠮷", ["用", "Python", "寫", "𠮷"]),
        ("人々", ["人", "々"]),
        ("ひらがな カタカナ 한국어", ["ひらがな", "カタカナ", "한국어"]),
        ("cafe\u0301 हिन्दी", ["cafe\u0301", "हिन्दी"]),
        ("नमस्ते שָׁלוֹם", ["नमस्ते", "שָׁלוֹם"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("--<unk>!", ["-", "-", "<unk>", "!"]),
        ("👍🏽", ["👍", "🏽"]),
        ("\0\x01", ["\0", "\x01"]),
    ],
)
def test_words_cut_at_punctuation(text: str, expected: list[str]) -> None:
    assert read(text, split="punctuation") == expected


def test_words_cut_at_spaces() -> None:
    text = "It's 3.5 km,\u00a0isn't it?\r\n黃河入海流。 \ufeffx"
    assert read(text) == ["It's", "3.5", "km,", "isn't", "it?", "\n", "黃河入海流。", "\ufeffx"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello , world ( again ) !", "Hello, world (again)!"),
        ("one.two", "one. two"),
        ("白日依山盡，黃河入海流。\n欲窮 千里目", "白日依山盡，黃河入海流。\n欲窮千里目"),
        ("他說：「好。」", "他說：「好。」"),
        ("用 Python 3 寫", "用 Python 3 寫"),
        ("a  \n  b", "a\nb"),
        ("( \u0301x", "(\u0301x"),
    ],
)
def test_punctuation_is_set_by_rule(text: str, expected: str) -> None:
    assert rewritten(text, split="punctuation") == expected


def test_split_at_spaces_sets_a_space_between_all_words() -> None:
    assert rewritten("  Hello ,\tworld \r\n 中 文 \n\n") == "Hello , world\n中 文\n\n"


def test_lowercase_reads_capitals_as_small_letters() -> None:
    tokenizer = WordTokenizer.train(["The the THE ΟΔΟΣ <UNK>"], lowercase=True)
    assert words(tokenizer) == ["the", "οδος"]
    assert tokenizer.encode("ThE <Unk> ΟΔΟΣ").tolist() == [5, UNKNOWN_ID, 6]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The  fox,\tof course!", ["The", "  fox", ",", "\tof", " course", "!"]),
        ("  春眠\n 觉晓 ", ["  春", "眠", "\n", " 觉", "晓"]),
        ("ZEBRA <unk> <UNK>", ["ZEBRA", " <unk>", " <UNK>"]),
        ("ΟΔΟΣ Ñandú", ["ΟΔΟΣ", " Ñandú"]),
        (" \t", []),
        ("", []),
    ],
)
def test_pieces_are_the_words_as_they_are_written(text: str, pieces: list[str]) -> None:
    tokenizer = WordTokenizer.train(["the fox"], split="punctuation", lowercase=True)
    assert tokenizer.pieces(text) == pieces
    # The text that was learned from has no say in it.
    assert WordTokenizer.train([text, "x"], split="punctuation", lowercase=True).pieces(text) == pieces


def test_pieces_after_a_capital_of_two_small_letters_keep_their_places() -> None:
    tokenizer = WordTokenizer.train(["istanbul"], lowercase=True)
    assert tokenizer.pieces("İstanbul is LARGE") == ["i̇stanbul", " is", " large"]


def test_pieces_of_words_cut_at_spaces() -> None:
    assert WordTokenizer.train(["it"]).pieces("It's  3.5 km,\u00a0no?\r\n好。 ") == [
        *("It's", "  3.5", " km,", "\u00a0no?", "\r\n", "好。"),
    ]


def test_pieces_of_a_lone_surrogate_are_refused() -> None:
    with pytest.raises(UserError, match=r"lone surrogates, was: U\+D83D at character 4"):
        WordTokenizer.train(["it"]).pieces("it: \ud83d")


def test_counting_many_words_keeps_the_frequent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word, "MOST_COUNTED", 100)
    texts = [f"often rare{number} often" for number in range(1000)]
    learned = words(WordTokenizer.train(texts))
    assert learned[0] == "often"
    assert len(learned) <= 100


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"split must be one of space, punctuation, was: 'comma'"):
        WordTokenizer.train(["a"], split="comma")
    with pytest.raises(UserError, match=r"min_count must be at least 1, was: -2"):
        WordTokenizer.train(["a"], min_count=-2)
    with pytest.raises(UserError, match=r"vocabulary_size must be at least 5, was: 4"):
        WordTokenizer.train(["a"], vocabulary_size=4)


@pytest.mark.skipif("TEXTRNN_DATA" not in os.environ, reason="TEXTRNN_DATA names no folder of test data")
def test_penn_treebank_and_wikitext_have_their_known_counts() -> None:
    data = Path(os.environ["TEXTRNN_DATA"])
    train, valid, test = ((data / f"ptb/ptb.{split}.txt").read_text("utf-8") for split in ("train", "valid", "test"))
    tokenizer = WordTokenizer.train([train])
    assert tokenizer.vocabulary_size == 10_000 + 3  # the 10,000 hold <unk> and the end of line
    assert [tokenizer.encode(text).size for text in (train, valid, test)] == [929_589, 73_760, 82_430]

    wikitext = (data / "wikitext-2/valid.txt").read_text("utf-8")
    assert WordTokenizer.train([wikitext]).encode(wikitext).size == 217_646
