"""What all tokenizers promise."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.errors import UserError
from textrnn.tokenizers import (
    BEGINNING_ID,
    END_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    SentencePieceTokenizer,
    Tokenizer,
    base,
    load_tokenizer,
    train_tokenizer,
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog.\nThe dog, being lazy, sleeps on; the fox does not!\n",
    "白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。\n",
    "Où est le café? Là-bas, près de l'église.\nשלום עולם\n",
]
OPTIONS: dict[str, dict[str, Any]] = {
    "char": {},
    "word": {},
    "word by punctuation": {"split": "punctuation", "lowercase": True},
    "sentencepiece": {"vocabulary_size": 334},
    "sentencepiece bpe": {"vocabulary_size": 360, "model_type": "bpe"},
}
LOSSLESS = ["char", "sentencepiece", "sentencepiece bpe"]
LOSSY = ["word", "word by punctuation"]

AWKWARD = {
    "empty": "",
    "one character": "T",
    "one unseen character": "Ω",
    "emoji with modifiers": "👍🏽 👩🏿‍🚀 ☀️ 🏳️‍🌈 🇫🇮",
    "combining marks": "e\u0301a\u0300\u0323 \u0301 हिन्दी ตัวอย่าง",
    "right to left": "שלום \u202eعالم\u202c العربية",
    "Chinese": "黃河遠上白雲間，一片孤城萬仞山。\n羌笛何須怨楊柳，春風不度玉門關。𠮷",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x85\x9f\x1c",
    "CRLF": "the fox\r\nthe dog\r\n\r\n\rdog\n\r",
    "NUL": "\0the\0\0dog\0",
    "byte order mark": "\ufeffthe\ufeff fox",
    "blanks": "  the   fox \t\t dog\u00a0\u3000\u2028 \u2029  ",
    "names of special tokens": "<pad><unk><s></s> <unk>, <UNK> <0x0A> <hex a>",
    "SentencePiece's own characters": "\u2581the\u2581\u2581 fox \u2581 \u2585 \u2047",
    "last of each plane": "\uffff\U0001ffff\U0010ffff\ufffe\ufffd",
    "1 MB on one line": "The quick brown fox, 中文。 " * 33_000,
}


@functools.cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(name.split()[0], CORPUS, **OPTIONS[name])


every_tokenizer = pytest.mark.parametrize("name", list(OPTIONS))
every_awkward_text = pytest.mark.parametrize("text", list(AWKWARD.values()), ids=list(AWKWARD))

# Whole random Unicode seldom hits what the tokenizers treat apart, so such pieces are mixed in.
PIECES = [
    "the", "fox", "ΑΣ", "İ", "<unk>", "<", "unk", ">", "(", ")", ".", ",", "'", "-", "_", "中", "黃", "，", "（", "）",
    "“", "…", "\u0301", "\u200d", "\ufe0f", "👍", "🏽", "é", " ", "  ", "\t", "\n", "\r\n", "\0", "\u2581", "\u3000",
    "あ", "한",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)


@every_awkward_text
@pytest.mark.parametrize("name", LOSSLESS)
def test_awkward_text_comes_back_as_it_was(name: str, text: str) -> None:
    tokenizer = trained(name)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=texts)
def test_any_text_comes_back_as_it_was(name: str, text: str) -> None:
    tokenizer = trained(name)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@every_awkward_text
@pytest.mark.parametrize("name", LOSSY)
def test_what_was_read_from_awkward_text_is_kept(name: str, text: str) -> None:
    tokenizer = trained(name)
    ids = tokenizer.encode(text)
    assert np.array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)


@pytest.mark.parametrize("name", LOSSY)
@given(text=texts)
@settings(max_examples=200)
def test_what_was_read_from_any_text_is_kept(name: str, text: str) -> None:
    # Trained on the text itself, so that the words are there, and not: then they are unknown.
    kind, options = "word", OPTIONS[name]
    for tokenizer in (trained(name), train_tokenizer(kind, [text, "the"], **options)):
        ids = tokenizer.encode(text)
        assert np.array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)


@every_tokenizer
@every_awkward_text
def test_ids_are_int32_within_the_vocabulary(name: str, text: str) -> None:
    tokenizer = trained(name)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert set(ids.tolist()) <= set(range(tokenizer.vocabulary_size)) - {PAD_ID, BEGINNING_ID, END_ID}


@every_tokenizer
@given(first=texts, second=texts)
def test_a_text_cut_after_a_newline_encodes_as_its_parts(name: str, first: str, second: str) -> None:
    tokenizer = trained(name)
    parts = [tokenizer.encode(first + "\n"), tokenizer.encode(second)]
    assert np.array_equal(np.concatenate(parts), tokenizer.encode(f"{first}\n{second}"))


@every_tokenizer
def test_special_tokens_are_the_same_everywhere(name: str) -> None:
    tokenizer = trained(name)
    assert [PAD_ID, UNKNOWN_ID, BEGINNING_ID, END_ID] == [0, 1, 2, 3]
    assert tuple(tokenizer.token_text(id) for id in range(4)) == SPECIAL_TOKENS
    assert tokenizer.decode([PAD_ID, BEGINNING_ID, END_ID]) == ""
    ids = tokenizer.encode("the fox").tolist()
    assert tokenizer.decode([BEGINNING_ID, *ids, END_ID, PAD_ID]) == "the fox"


@every_tokenizer
@given(data=st.data())
def test_streamed_text_is_the_decoded_text(name: str, data: st.DataObject) -> None:
    tokenizer = trained(name)
    # Small ids are the special tokens, digits and bytes: where streams go wrong.
    id = st.integers(0, tokenizer.vocabulary_size - 1) | st.integers(0, 24)
    ids = data.draw(st.lists(id, max_size=40))
    decoder = tokenizer.stream_decoder()
    for _ in range(2):  # after `finish` the decoder starts afresh
        parts = [*map(decoder.push, ids), decoder.finish()]
        assert "".join(parts) == tokenizer.decode(ids)
        for part in parts:
            part.encode("utf-8")


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=texts)
def test_stream_gives_whole_characters_only(name: str, text: str) -> None:
    tokenizer = trained(name)
    decoder = tokenizer.stream_decoder()
    seen = ""
    for id in tokenizer.encode(text):
        seen += decoder.push(int(id))
        assert text.startswith(seen)
    assert seen == text
    assert decoder.finish() == ""


@every_tokenizer
@every_awkward_text
def test_every_token_of_a_text_has_a_piece(name: str, text: str) -> None:
    tokenizer = trained(name)
    assert len(tokenizer.pieces(text)) == len(tokenizer.encode(text))


@every_tokenizer
@given(text=texts)
def test_every_token_of_any_text_has_a_piece(name: str, text: str) -> None:
    tokenizer = trained(name)
    assert len(tokenizer.pieces(text)) == len(tokenizer.encode(text))


@every_tokenizer
def test_pieces_of_a_text_without_rare_characters_are_the_text(name: str) -> None:
    text = "  The lazy dog,\nthe fox! 黃河入海流。"
    tokenizer = trained(name)
    pieces = ["\n" if piece == "<0x0A>" else piece for piece in tokenizer.pieces(text)]
    assert "".join(pieces) == text
    assert len(pieces) > 4


@pytest.mark.parametrize("name", LOSSY)
@given(text=texts)
def test_pieces_of_words_lose_blanks_at_the_end_only(name: str, text: str) -> None:
    tokenizer = trained(name)
    joined = "".join(tokenizer.pieces(text))
    written = text if joined == text[: len(joined)] else text.lower()  # one capital has two small letters
    assert written.startswith(joined)
    assert "\n" not in written[len(joined) :]
    assert not written[len(joined) :].strip()


@every_tokenizer
@pytest.mark.parametrize("id", [-1, 100_000])
def test_an_id_that_no_token_has_is_refused(name: str, id: int) -> None:
    tokenizer = trained(name)
    for use in (tokenizer.token_text, tokenizer.stream_decoder().push, lambda id: tokenizer.decode([4, id, 5])):
        with pytest.raises(UserError, match=rf"below the vocabulary size {tokenizer.vocabulary_size}, was: {id}$"):
            use(id)


@every_tokenizer
@pytest.mark.parametrize("ids", [[], (4, 5), np.array([4, 5], np.uint16), np.array([], np.int32)])
def test_decode_takes_lists_and_arrays(name: str, ids: list[int]) -> None:
    tokenizer = trained(name)
    assert tokenizer.decode(ids) == tokenizer.decode(list(map(int, ids)))


@every_tokenizer
def test_lone_surrogates_are_refused_where_they_stand(name: str) -> None:
    text = "é" * 70_000 + "\ud83d"
    with pytest.raises(UserError, match=r"^text must not hold lone surrogates, was: U\+D83D at character 70000; "):
        trained(name).encode(text)
    with pytest.raises(UserError, match=r"U\+D83D at character 70000; "):
        train_tokenizer(name.split()[0], [*CORPUS, text], **OPTIONS[name])


@every_tokenizer
def test_a_saved_tokenizer_comes_back_equal(name: str, tmp_path: Path) -> None:
    tokenizer = trained(name)
    tokenizer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [tokenizer.file_name]
    loaded = load_tokenizer(tmp_path, tokenizer.kind)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.vocabulary_size == tokenizer.vocabulary_size
    for text in AWKWARD.values():
        assert np.array_equal(loaded.encode(text), tokenizer.encode(text))


@every_tokenizer
def test_fingerprints_tell_tokenizers_apart(name: str) -> None:
    again = train_tokenizer(name.split()[0], CORPUS, **OPTIONS[name])
    other = train_tokenizer(name.split()[0], [*CORPUS, "Zebra! Ж\n" * 9], **OPTIONS[name])
    assert len(trained(name).fingerprint) == 64
    assert again.fingerprint == trained(name).fingerprint != other.fingerprint


def test_files_start_with_their_format_version(tmp_path: Path) -> None:
    trained("char").save(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text("utf-8").startswith('{\n "format_version": 1,\n "kind": "char",\n')
    trained("sentencepiece").save(tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes().startswith(b"textrnn-sentencepiece 1 ")


def assert_refused(path: Path, kind: str) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(path.parent, kind)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@every_tokenizer
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    tokenizer = trained(name)
    tokenizer.save(tmp_path)
    path = tmp_path / tokenizer.file_name
    content = path.read_bytes().rstrip(b"\n")
    for size in (0, 1, 20, 60, 88, 95, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert_refused(path, tokenizer.kind)


@pytest.mark.parametrize("place", [5, 22, 30, 87, 88, 200, -1])
def test_an_edited_model_is_refused(place: int, tmp_path: Path) -> None:
    tokenizer = trained("sentencepiece")
    tokenizer.save(tmp_path)
    path = tmp_path / tokenizer.file_name
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert_refused(path, tokenizer.kind)


@every_tokenizer
def test_a_missing_or_too_large_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = trained(name)
    path = tmp_path / tokenizer.file_name
    assert "No such file" in assert_refused(path, tokenizer.kind)
    tokenizer.save(tmp_path)
    monkeypatch.setattr(base, "MAX_FILE_BYTES", 100)
    assert "must be at most 100 bytes" in assert_refused(path, tokenizer.kind)


@every_tokenizer
def test_a_newer_format_is_refused(name: str, tmp_path: Path) -> None:
    tokenizer = trained(name)
    tokenizer.save(tmp_path)
    path = tmp_path / tokenizer.file_name
    content = path.read_bytes()
    newer = content.replace(b"sentencepiece 1 ", b"sentencepiece 2 ").replace(b'version": 1', b'version": 2')
    assert newer != content
    path.write_bytes(newer)
    assert "format version must be 1, was: 2; update textrnn" in assert_refused(path, tokenizer.kind)


CHAR = {"format_version": 1, "kind": "char", "characters": "abc"}
WORD = {"format_version": 1, "kind": "word", "split": "space", "lowercase": True, "words": ["a", "b"]}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        CHAR | {"format_version": True},
        CHAR | {"format_version": "1"},
        CHAR | {"kind": "word"},
        CHAR | {"characters": "aab"},
        CHAR | {"characters": ["a", "b"]},
        CHAR | {"characters": "a\ud800"},
        CHAR | {"colour": "blue"},
        WORD | {"kind": ["word"] * 100},
        WORD | {"words": "ab"},
        WORD | {"words": ["a", 1]},
        WORD | {"words": ["a", "a"]},
        WORD | {"words": ["a", "b c"]},
        WORD | {"words": ["a", ""]},
        WORD | {"words": ["<unk>"]},
        WORD | {"words": ["\n"]},
        WORD | {"words": ["a\udfff"]},
        WORD | {"split": "nowhere"},
        WORD | {"lowercase": 1},
        {name: value for name, value in WORD.items() if name != "split"},
    ],
)
def test_malformed_json_is_refused(document: dict[str, object], tmp_path: Path) -> None:
    kind = "word" if "words" in document else "char"
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    assert len(assert_refused(path, kind)) < 400


def test_well_formed_json_is_read(tmp_path: Path) -> None:
    for document in (CHAR, WORD):
        (tmp_path / "tokenizer.json").write_text(json.dumps(document))
        kind = str(document["kind"])
        assert load_tokenizer(tmp_path, kind).decode(load_tokenizer(tmp_path, kind).encode("a b")) == "a b"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"\0" * 1000, b"null"])
@pytest.mark.parametrize("kind", ["char", "word", "sentencepiece"])
def test_files_of_something_else_are_refused(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("tokenizer.model" if kind == "sentencepiece" else "tokenizer.json")
    path.write_bytes(content)
    assert_refused(path, kind)


def test_saving_where_there_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json could not be written"):
        trained("char").save(tmp_path / "missing")


def test_unknown_kinds_and_options_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be one of char, word, sentencepiece, was: 'words'; did you mean 'word'"):
        train_tokenizer("words", CORPUS)
    with pytest.raises(UserError, match=r"was: 'piece'; did you mean 'sentencepiece'"):
        load_tokenizer(tmp_path, "piece")
    with pytest.raises(UserError, match=r"option of a char tokenizer must be .* did you mean 'vocabulary_size'"):
        train_tokenizer("char", CORPUS, vocab_size=100)


@every_tokenizer
def test_text_that_teaches_nothing_is_refused(name: str) -> None:
    kind = name.split()[0]
    for nothing in ([], ["", ""]):
        with pytest.raises(UserError, match="needs text to train on, was: none"):
            train_tokenizer(kind, nothing, **OPTIONS[name])
    with pytest.raises(UserError, match="texts must be several strings, was one"):
        train_tokenizer(kind, "a string by mistake", **OPTIONS[name])


@every_tokenizer
@pytest.mark.parametrize("vocabulary_size", [-1, 0, 4])
def test_a_vocabulary_too_small_for_the_special_tokens_is_refused(name: str, vocabulary_size: int) -> None:
    with pytest.raises(UserError, match=rf"vocabulary_size must be at least \d+, was: {vocabulary_size};"):
        train_tokenizer(name.split()[0], CORPUS, **{**OPTIONS[name], "vocabulary_size": vocabulary_size})


def test_characters_and_words_need_no_sentencepiece(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from textrnn.tokenizers import load_tokenizer, train_tokenizer
for kind in ("char", "word"):
    train_tokenizer(kind, ["some text"]).save(Path(sys.argv[1]))
    load_tokenizer(Path(sys.argv[1]), kind).encode("some text")
sys.exit("sentencepiece" in sys.modules)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=True)


def test_the_class_of_a_kind_is_what_its_name_says() -> None:
    assert isinstance(trained("sentencepiece"), SentencePieceTokenizer)
    assert {trained(name).kind for name in OPTIONS} == {"char", "word", "sentencepiece"}
