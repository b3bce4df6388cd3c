"""Pieces of words."""

from __future__ import annotations

import functools

import pytest

from textrnn.errors import UserError
from textrnn.tokenizers import SentencePieceTokenizer, sentence_piece

CORPUS = [
    "She sells sea shells by the sea shore.\nThe shells she sells are surely seashells.\n",
    "So if she sells shells on the seashore, I'm sure she sells seashore shells.\n白日依山盡，黃河入海流。\n",
]
both_types = pytest.mark.parametrize("model_type", ["unigram", "bpe"])


@functools.cache
def trained(model_type: str) -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(CORPUS, vocabulary_size=300, model_type=model_type)


def pieces(tokenizer: SentencePieceTokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(int(id)) for id in tokenizer.encode(text)]


@both_types
def test_the_vocabulary_is_specials_then_bytes_then_pieces(model_type: str) -> None:
    tokenizer = trained(model_type)
    assert tokenizer.vocabulary_size == 300
    assert [tokenizer.token_text(id) for id in (0, 3, 4, 259)] == ["<pad>", "</s>", "<0x00>", "<0xFF>"]
    assert " she" in [tokenizer.token_text(id) for id in range(260, 300)]


@both_types
def test_frequent_text_takes_fewer_tokens_than_characters(model_type: str) -> None:
    assert len(pieces(trained(model_type), "she sells shells")) < 10


@both_types
def test_newlines_tabs_and_unseen_characters_are_bytes(model_type: str) -> None:
    tokenizer = trained(model_type)
    assert pieces(tokenizer, "\n") == ["<0x0A>"]
    assert pieces(tokenizer, "\r\n\t") == ["<0x0D>", "<0x0A>", "<0x09>"]
    assert pieces(tokenizer, "é") == ["<0xC3>", "<0xA9>"]
    assert pieces(tokenizer, "\u2581") == ["<0xE2>", "<0x96>", "<0x81>"]


@both_types
@pytest.mark.parametrize("text", ["春眠 不覺", " 山", "山\u2581 ", " ", "a  b\n"])
def test_text_without_spaces_gives_a_tokenizer_that_keeps_them(model_type: str, text: str) -> None:
    tokenizer = SentencePieceTokenizer.train(
        ["白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。\n"], model_type=model_type
    )
    ids = tokenizer.encode(text)
    decoder = tokenizer.stream_decoder()
    assert tokenizer.decode(ids) == "".join(map(decoder.push, ids.tolist())) + decoder.finish() == text
    assert pieces(tokenizer, " ") == ["<0x20>"]


def test_a_character_of_several_tokens_is_streamed_when_it_is_whole() -> None:
    tokenizer = trained("unigram")
    decoder = tokenizer.stream_decoder()
    first, second = tokenizer.encode("é").tolist()
    assert [decoder.push(first), decoder.push(second)] == ["", "é"]
    assert [decoder.push(first), decoder.finish()] == ["", "\ufffd"]
    assert tokenizer.decode([first, *tokenizer.encode("she").tolist()]) == "\ufffdshe"


@both_types
def test_the_same_corpus_gives_the_same_file(model_type: str) -> None:
    again = SentencePieceTokenizer.train(iter(CORPUS), vocabulary_size=300, model_type=model_type)
    assert again.fingerprint == trained(model_type).fingerprint


@both_types
def test_a_vocabulary_too_large_names_the_largest(model_type: str) -> None:
    with pytest.raises(UserError, match=r"^vocabulary_size must be at most \d+ for this text, was: 8000; ") as caught:
        SentencePieceTokenizer.train(CORPUS, vocabulary_size=8000, model_type=model_type)
    largest = int(str(caught.value).split("at most ")[1].split()[0])
    tokenizer = SentencePieceTokenizer.train(CORPUS, vocabulary_size=largest, model_type=model_type)
    assert tokenizer.vocabulary_size == largest
    with pytest.raises(UserError, match=rf"at most {largest} "):
        SentencePieceTokenizer.train(CORPUS, vocabulary_size=largest + 1, model_type=model_type)


@both_types
@pytest.mark.parametrize("text", ["a", "a b", "the cat sat on the mat. " * 400, "明月几时有把酒问青天不知天上宫阙" * 3])
def test_a_text_of_any_size_decides_how_many_pieces_it_gets(text: str, model_type: str) -> None:
    tokenizer = SentencePieceTokenizer.train([text], model_type=model_type)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert 260 < tokenizer.vocabulary_size < 700


@both_types
def test_a_vocabulary_too_small_names_the_smallest(model_type: str) -> None:
    with pytest.raises(UserError, match=r"must be at least \d+ for the characters of this text, was: 270") as caught:
        SentencePieceTokenizer.train(CORPUS, vocabulary_size=270, model_type=model_type)
    smallest = int(str(caught.value).split("at least ")[1].split()[0])
    assert SentencePieceTokenizer.train(CORPUS, vocabulary_size=smallest, model_type=model_type)


def test_training_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    SentencePieceTokenizer.train(CORPUS, vocabulary_size=300)
    with pytest.raises(UserError):
        SentencePieceTokenizer.train(CORPUS, vocabulary_size=100_000)
    with pytest.raises(UserError):
        SentencePieceTokenizer(b"")
    assert capfd.readouterr() == ("", "")


@both_types
def test_training_takes_text_that_sentencepiece_would_skip(model_type: str) -> None:
    # A line of 60 kB, characters that it keeps for itself, and names of its own tokens.
    text = "sea\u2581shells\0 shore\u2585 <0x41> <s> <unk>\t " * 1500
    tokenizer = SentencePieceTokenizer.train([text], vocabulary_size=270, model_type=model_type)
    assert any("sh" in tokenizer.token_text(id) for id in range(260, 270))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_long_line_is_cut_at_spaces_and_nothing_is_lost() -> None:
    line = "sea shells " * 1000
    parts = sentence_piece.SENTENCES.findall(line + "\n" + "海" * 2500)
    assert "".join(parts) == line + "海" * 2500
    assert max(map(len, parts)) <= 1000
    assert all(part.startswith((" ", "sea", "海")) for part in parts)


def test_a_corpus_too_large_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_piece, "MAX_TRAINING_CHARACTERS", 40_000)
    sample = list(map(int, sentence_piece._sample(f"{number:08d}" for number in range(100_000))))
    assert 2_000 <= len(sample) <= 5_000
    for quarter in range(4):
        share = sum(quarter * 25_000 <= number < (quarter + 1) * 25_000 for number in sample) / len(sample)
        assert 0.2 < share < 0.3
    assert sentence_piece._sample(["a", "b", "c"]) == ["a", "b", "c"]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"model_type must be one of unigram, bpe, was: 'wordpiece'"):
        SentencePieceTokenizer.train(CORPUS, model_type="wordpiece")
    with pytest.raises(UserError, match=r"vocabulary_size must be at least 261, was: 260"):
        SentencePieceTokenizer.train(CORPUS, vocabulary_size=260)
    with pytest.raises(UserError, match=r"visible text to train on, was: control characters only"):
        SentencePieceTokenizer.train(["\n\n\0"], vocabulary_size=300)


def test_a_model_of_another_program_is_refused() -> None:
    with pytest.raises(UserError, match="it must hold a whole SentencePiece model"):
        SentencePieceTokenizer(b"some other file")
