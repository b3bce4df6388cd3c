"""Every kind of source, as a user would write it, and every way it can be wrong."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import UserError
from textrnn.train import sources
from textrnn.train.sources import Piece, SourceOptions, count_bytes, read_documents, source_fingerprint

AWKWARD = "\x00é中\u2028 a\x85b\r\n\rc\n\n👩🏽‍🚀e\u0301שלום\x1a\ufeff no newline at the end"


def documents(*names: str | Path, **options: str) -> list[str]:
    texts = [""]
    for text, ends_document in read_documents([str(name) for name in names], SourceOptions(**options)):
        texts[-1] += text
        if ends_document:
            texts.append("")
    assert texts.pop() == "", "the last document was not ended"
    return texts


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def error_of(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


# Plain text


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "no_suffix", "名字.TXT"])
def test_a_plain_file_is_one_document_kept_exactly(tmp_path: Path, name: str) -> None:
    assert documents(write(tmp_path / name, AWKWARD)) == [AWKWARD]


def test_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(AWKWARD.encode()))
    assert documents(tmp_path / "a.txt.gz") == [AWKWARD]


def test_a_byte_order_mark_is_dropped_at_the_start_only(tmp_path: Path) -> None:
    assert documents(write(tmp_path / "a.txt", "\ufeffone\ufefftwo")) == ["one\ufefftwo"]


def test_lines_as_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "春眠不覺曉\n\n處處聞啼鳥\r\nnext\x85line\rhere\nlast")
    assert documents(path, documents="line") == ["春眠不覺曉", "處處聞啼鳥", "next\x85line\rhere", "last"]


text_of_a_file = st.text(st.sampled_from("ab\r\n\r\né中👩"), min_size=1, max_size=60)


@given(text=text_of_a_file)
def test_pieces_join_to_the_text_and_never_part_a_newline(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 8)
        pieces = list(read_documents([str(path)], SourceOptions()))
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.ends_document for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    for piece, following in pairwise(pieces):
        assert not (piece.text.endswith("\r") and following.text.startswith("\n"))
        assert "\n" not in piece.text or piece.text.endswith("\n")


@given(text=text_of_a_file)
def test_lines_are_whole_however_the_file_is_cut(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text)
    lines = [line for line in re.split("\r?\n", text) if line]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 8)
        if lines:
            assert documents(path, documents="line") == lines
        else:
            assert "no" in error_of(lambda: documents(path, documents="line"))


def test_invalid_utf8_names_the_file_and_the_offset_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", 16)
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"twelve bytes\n" * 5 + b"caf\xe9 au lait\n")
    message = error_of(lambda: documents(path))
    assert str(path) in message
    assert "0xe9" in message
    assert f"offset {3 + 13 * 5 + 3}" in message
    assert "--errors replace" in message
    assert documents(path, errors="replace") == ["twelve bytes\n" * 5 + "caf\ufffd au lait\n"]


@pytest.mark.parametrize("errors", ["strict", "replace"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (gzip.compress(b"text"), "gzip"),
        ("text".encode("utf-16"), "UTF-16"),
        (bytes(range(256)), "binary"),
    ],
)
def test_a_binary_file_is_refused_by_name(tmp_path: Path, content: bytes, kind: str, errors: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    message = error_of(lambda: documents(path, errors=errors))
    assert kind in message
    assert str(path) in message


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"not gzip", lambda data: data[:12] + b"???"])
def test_a_damaged_gzip_file(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(AWKWARD.encode() * 100)))
    assert "whole gzip file" in error_of(lambda: documents(path))


# Where a source is


@pytest.mark.parametrize("name", ["shakespear.txt", "folder/shakespear"])
def test_a_missing_file_names_the_nearest(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "shakespeare.txt", "To be")
    write(tmp_path / "folder" / "shakespeare", "To be")
    assert f"did you mean {tmp_path / name.replace('spear', 'speare')}?" in error_of(lambda: documents(tmp_path / name))


def test_a_missing_file_without_any_like_it(tmp_path: Path) -> None:
    assert "nowhere" in error_of(lambda: documents(tmp_path / "nowhere" / "a.txt"))


@pytest.mark.parametrize("name", ["", "To be, or not to be:\nthat is the question", "too long " * 99, "a\0b"])
def test_what_cannot_be_a_source(name: str) -> None:
    assert "must be a file or folder" in error_of(lambda: documents(name))


def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs a system with named pipes")
    os.mkfifo(tmp_path / "pipe")
    assert "save its text to a file" in error_of(lambda: documents(tmp_path / "pipe"))


def test_what_holds_no_text(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / ".hidden.txt", "text")
    for path in (
        write(tmp_path / "empty.txt", ""),
        write(tmp_path / "bom.txt", "\ufeff"),
        write(tmp_path / "empty.csv", ""),
        write(tmp_path / "header.csv", "text\n"),
        write(tmp_path / "empty.jsonl", "\n"),
        tmp_path / "folder",
    ):
        assert "must hold some text" in error_of(lambda path=path: documents(path))  # type: ignore[misc]


def test_a_mixed_folder_is_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "b" / ".git").mkdir(parents=True)
    write(tmp_path / "c.txt", "third")
    write(tmp_path / "b" / "z.jsonl", '{"text": "second"}\n')
    write(tmp_path / "b" / ".git" / "config", "hidden")
    write(tmp_path / ".hidden", "hidden")
    write(tmp_path / "b" / "__init__.py", "")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text\nfirst\n"))
    assert documents(tmp_path) == ["first", "second", "third"]
    (tmp_path / "b" / "picture").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert str(tmp_path / "b" / "picture") in error_of(lambda: documents(tmp_path))


def test_several_sources_follow_each_other(tmp_path: Path) -> None:
    first, second = write(tmp_path / "2.txt", "first"), write(tmp_path / "1.txt", "second")
    assert documents(first, second) == ["first", "second"]


def test_the_builtin_corpus() -> None:
    texts = documents("builtin")
    assert len(texts) > 50
    assert "".join(texts).count("assert") > 5
    assert count_bytes(["builtin"]) == sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize("options", [{"errors": "ignore"}, {"documents": "paragraph"}])
def test_options_out_of_range(options: dict[str, str]) -> None:
    assert next(iter(options.values())) in error_of(lambda: SourceOptions(**options))


# Files of records

CHINESE = ["早上好，\n“世界”\r\n第二行", '她说："好"', "007", "NA", "a,b\tc", "null"]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_csv_with_quoted_newlines(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / name, [["label", "text"], *[["1", text] for text in CHINESE], ["0", ""]])
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert documents(path) == CHINESE


def test_csv_starts_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert documents(write(tmp_path / "a.csv", "\ufeffreview,label\r\n好,1\r\n"), text="review") == ["好"]


def test_tsv_is_not_quoted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'id\ttext\n1\t"Quoted" from the start\n2\tnext\x85line, "open\n3\t好')
    assert documents(path) == ['"Quoted" from the start', 'next\x85line, "open', "好"]


def test_json_records(tmp_path: Path) -> None:
    records = [{"text": text, "label": 1} for text in CHINESE]
    records[3]["only here"] = 2
    array = write(tmp_path / "a.json", json.dumps(records, indent=2))
    lines = write(tmp_path / "b.jsonl", '{"text": null}\n\n' + "\n".join(map(json.dumps, records)))
    assert documents(array) == documents(lines) == CHINESE


def test_json_with_half_a_surrogate_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n{"text": "a\\ud83d"}\n')
    message = error_of(lambda: documents(path))
    assert "U+D83D" in message
    assert "line 2" in message
    assert documents(path, errors="replace") == ["fine", "a\ufffd"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "id,review\n1,good\n", "id, review"),
        ("a.csv", "id,text\n1,good\n2,well, no\n", "line 3"),
        ("a.csv", 'id,text\n1,"never closed\n', "unexpected end of data"),
        ("a.tsv", "id\treview\n1\tgood\n", "id, review"),
        ("a.tsv", "id\ttext\n1\tgood\tbad\n", "line 2"),
        ("a.jsonl", '{"id": 1, "review": "good"}\n', "id, review"),
        ("a.jsonl", '{"text": "good"}\n{"text": 5}\n', "5"),
        ("a.jsonl", '{"text": "good"}\n{"text"\n', "line 2"),
        ("a.jsonl", '"good"\n', '"good"'),
        ("a.json", '[{"text": "good"},\n {"text": ["bad"]}]', "record 2"),
        ("a.csv", 'id,"two\nlines"\n1,good\n', "two"),
        ("a.json", '[{"text": "good"}', "line 1"),
    ],
)
def test_a_wrong_record_is_refused_by_file_and_place(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = write(tmp_path / name, content)
    message = error_of(lambda: documents(path))
    assert str(path) in message
    assert says in message


def test_invalid_utf8_in_records(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\ncaf\xe9\n")
    assert "offset 8" in error_of(lambda: documents(path))
    assert documents(path, errors="replace") == ["caf\ufffd"]


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("hub_cache")
def test_parquet(tmp_path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    path = tmp_path / "a [1] *.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": range(7), "text": [*CHINESE, None]}), path)
    assert documents(path) == CHINESE
    assert "id, text" in error_of(lambda: documents(path, text="review"))
    assert "must hold text" in error_of(lambda: documents(path, text="id"))
    assert "b.parquet" in error_of(lambda: documents(write(tmp_path / "b.parquet", "PAR1 is not enough")))


# Hugging Face


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("source", ["wikitext:wikitext-2-raw-v1", "owner/name", "owner/name:config@test", "shakespear"])
def test_a_hub_dataset_without_a_network_is_one_line(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "shakespeare.txt", "To be")
    message = error_of(lambda: documents(source))
    assert "Hub" in message
    assert ("did you mean shakespeare.txt?" in message) == (source == "shakespear")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("wikitext:wikitext-2-raw-v1", ("wikitext", "wikitext-2-raw-v1", "train")),
        ("owner/name@test", ("owner/name", None, "test")),
        ("a-b/c.d_e:x y@validation", ("a-b/c.d_e", "x y", "validation")),
    ],
)
def test_a_hub_dataset_is_asked_for_by_name_config_and_split(
    source: str, asked: tuple[str, str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    loaded = []

    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        loaded.append((name, config, split))
        return datasets.Dataset.from_dict({"text": ["one\n", "", "二"], "id": [1, 2, 3]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert documents(source) == ["one\n", "二"]
    assert loaded == [asked]
    assert "text, id" in error_of(lambda: documents(source, text="review"))


# Fingerprints and sizes


def test_a_fingerprint_follows_the_text_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "a.txt", "text")
    here = source_fingerprint([str(tmp_path / "here")], SourceOptions())
    shutil.move(tmp_path / "here", tmp_path / "there")
    there = [str(tmp_path / "there")]
    assert source_fingerprint(there, SourceOptions()) == here
    assert len(here) == 64
    others = {
        source_fingerprint(there, SourceOptions(documents="line")),
        source_fingerprint(there * 2, SourceOptions()),
        source_fingerprint([write(tmp_path / "there" / "a.txt", "TEXT").as_posix()], SourceOptions()),
        source_fingerprint(["owner/name"], SourceOptions()),
        source_fingerprint(["owner/name@test"], SourceOptions()),
        source_fingerprint(["builtin"], SourceOptions()),
    }
    assert len(others | {here}) == 7


def test_bytes_are_known_of_plain_text_only(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.txt", "中文"), write(tmp_path / "b.txt.gz", "")
    assert count_bytes([str(plain), str(plain)]) == 12
    assert count_bytes([str(plain), str(packed)]) is None
    assert count_bytes(["owner/name"]) is None


def test_a_piece_is_a_text_and_whether_it_ends_its_document(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt", "one\ntwo\n"))
    assert list(read_documents([path], SourceOptions())) == [Piece("one\ntwo\n", True)]
