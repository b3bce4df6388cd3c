"""Every kind of source, as a user would write it, and every way it can be wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st

import textrnn
from textrnn.data import text_files
from textrnn.data.records import SourceOptions, TextBlock
from textrnn.data.sources import count_bytes, read_documents, read_labelled, read_rows, source_fingerprint, table_notes
from textrnn.data.tables import delimiter_of

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
        patch.setattr(text_files, "BLOCK_BYTES", 8)
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
        patch.setattr(text_files, "BLOCK_BYTES", 8)
        if lines:
            assert documents(path, documents="line") == lines
        else:
            assert "no" in error_of(lambda: documents(path, documents="line"))


def test_invalid_utf8_names_the_file_and_the_offset_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 16)
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"twelve bytes\n" * 5 + b"caf\xe9 au lait\n")
    message = error_of(lambda: documents(path))
    assert str(path) in message
    assert "0xe9" in message
    assert f"offset {3 + 13 * 5 + 3}" in message
    assert "--errors replace" in message
    assert documents(path, errors="replace") == ["twelve bytes\n" * 5 + "caf\ufffd au lait\n"]


@pytest.mark.parametrize("block", [16, 1 << 20])
def test_chinese_text_in_gb18030_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    (tmp_path / "a.txt").write_bytes("春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。\n".encode("gb18030"))
    assert "it seems to be GB18030: convert it" in error_of(lambda: documents(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "größer süß\n"), ("big5", "春眠不覺曉\n"), ("cp1251", "Привет, мир\n"), ("cp1250", "Płyta główna\n")],
)
def test_text_in_other_encodings_is_not_taken_for_it(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding) * 3)
    message = error_of(lambda: documents(tmp_path / "a.txt"))
    assert "GB18030" not in message
    assert ("Windows-1252" in message) == (encoding == "cp1252")


@pytest.mark.parametrize("text", ["“Größe” – süß, naïve Zoë\n", "Il a mangé à l’hôtel.\n"])
def test_western_text_in_windows_1252_is_recognised(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252") * 3)
    message = error_of(lambda: documents(tmp_path / "a.txt"))
    assert "it may be Windows-1252, as Western European text often is: convert it (iconv -f cp1252" in message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_utf_16_with_its_mark_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block: int
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    text = "春眠不觉晓，\r\nGröße \U0001f600 end"
    (tmp_path / "a.txt").write_bytes(("\ufeff" + text).encode(encoding))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress((tmp_path / "a.txt").read_bytes()))
    assert documents(tmp_path / "a.txt") == documents(tmp_path / "a.txt.gz") == [text]
    table = 'text,label\n好,pos\n"坏,\n",neg\n'
    (tmp_path / "a.csv").write_bytes(("\ufeff" + table).encode(encoding))
    assert labelled(tmp_path / "a.csv") == [("好", "pos"), ("坏,\n", "neg")]


def test_utf_16_that_breaks_off_is_refused_and_a_mark_alone_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("two words".encode("utf-16")[:-1])
    assert "must be UTF-16" in error_of(lambda: documents(tmp_path / "a.txt"))
    assert documents(tmp_path / "a.txt", errors="replace") == ["two word\ufffd"]
    (tmp_path / "b.txt").write_bytes("".encode("utf-16"))
    assert "found none in" in error_of(lambda: documents(tmp_path / "b.txt"))


@pytest.mark.parametrize("errors", ["strict", "replace"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (gzip.compress(b"text", mtime=0), "gzip"),
        ("text".encode("utf-32"), "UTF-32"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a recording, which --set data.reads=audio reads"),
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


@pytest.mark.parametrize(
    "content",
    [
        'text\tlabel\n"He said ""hi"""\ta\nplain\tb\n',  # a doubled quote
        'text\tlabel\n"two\nlines"\ta\nplain\tb\n',  # could not be read otherwise
        '"text"\t"label"\n"one"\t"a"\n"two"\t"b"\n',  # the first line, as R writes it
        'text\tlabel\n"one, two"\ta\nthree\tb\n',  # commas, as Excel does
    ],
)
def test_tsv_may_be_quoted(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.tsv", content)
    found = labelled(path, text="text", label="label")
    assert [label for _, label in found] == ["a", "b"]
    expected = list(csv.DictReader(io.StringIO(content), delimiter="\t"))
    assert [text for text, _ in found] == [row["text"] for row in expected]


@pytest.mark.parametrize("quotation", ['"To be, or not"', '"Hi" she said', 'it is 5" long', '"open', '"all of it"'])
def test_quotation_marks_of_the_text_stay(tmp_path: Path, quotation: str) -> None:
    path = write(tmp_path / "a.tsv", f"text\tlabel\n{quotation}\ta\nnext, or not\tb\n")
    assert labelled(path, text="text", label="label") == [(quotation, "a"), ("next, or not", "b")]


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


# Records with labels

REVIEWS = [
    ("早上好，\n“世界”\r\n第二行", "positive"),
    ('她说："不好"', "negative"),
    (" a,b\tc ", "neutral"),
    ("line\u2028separator", "很好"),
]


def labelled(*names: str | Path, label: str = "label", **options: str) -> list[tuple[str, str]]:
    """Texts and labels of sources that have nothing to leave out."""
    skipped: Counter[str] = Counter()
    records = list(read_labelled([str(name) for name in names], SourceOptions(label=label, **options), skipped))
    assert not skipped
    return records


def left_out(*names: str | Path) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Texts and labels of sources, and what was left out of them."""
    skipped: Counter[str] = Counter()
    records = list(read_labelled([str(name) for name in names], SourceOptions(label="label"), skipped))
    return records, dict(skipped)


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    return write(path, "".join(f"{json.dumps(record)}\n" for record in records))


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\r\n"], ids=["plain", "byte order mark", "empty lines"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_labelled_csv_with_all_that_quotes_allow(tmp_path: Path, name: str, start: str, newline: str) -> None:
    with (tmp_path / "plain").open("w", newline="", encoding="utf-8") as file:
        file.write(start)
        csv.writer(file, lineterminator=newline).writerows([["id", "label", "text"]])
        csv.writer(file, lineterminator=newline).writerows([7, f" {label} ", text] for text, label in REVIEWS)
    content = (tmp_path / "plain").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert labelled(tmp_path / name) == REVIEWS


def test_columns_by_number_where_the_first_line_is_a_record(tmp_path: Path) -> None:
    tsv = write(tmp_path / "a.tsv", 'positive\t7\t"好\r\nnegative\t8\t坏"\r\n')
    assert labelled(tsv, text="3", label="1") == [('"好', "positive"), ('坏"', "negative")]
    assert labelled(tsv, text="3", label="2") == [('"好', "7"), ('坏"', "8")]
    assert documents(tsv, text="1") == ["positive", "negative"]


@pytest.mark.parametrize(("text", "label"), [("2", "1"), ("3", "1")])
def test_a_first_record_whose_label_is_the_number_of_a_column(tmp_path: Path, text: str, label: str) -> None:
    # As AG News and the reviews of Yelp and Amazon are given away: the class first, no names.
    path = write(tmp_path / "a.csv", '"1","bad","really ""bad"""\n"2","good","really good"\n')
    texts = {"2": ["bad", "good"], "3": ['really "bad"', "really good"]}[text]
    assert labelled(path, text=text, label=label) == list(zip(texts, ["1", "2"], strict=True))
    assert documents(path, text="1") == ["1", "2"], "its class, not what stands below a column of that name"
    assert documents(path, text=text) == texts


def test_columns_whose_names_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "0,1\ngood,positive\nbad,negative\n")
    assert labelled(path, text="0", label="1") == [("good", "positive"), ("bad", "negative")]
    assert documents(path, text="1") == ["positive", "negative"]


@pytest.mark.parametrize(("columns", "was"), [(("0", "1"), "0"), (("1", "4"), "4"), (("3", "9" * 30), "9" * 30)])
def test_a_number_that_no_column_has(tmp_path: Path, columns: tuple[str, str], was: str) -> None:
    path = write(tmp_path / "a.tsv", "positive\t7\t好\n")
    message = error_of(lambda: labelled(path, text=columns[0], label=columns[1]))
    assert f"column must be one of '1, 2, 3' in {path}, was: '{was}'" in message


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("good", "good"),
        (" very good\n", "very good"),
        ("0", "0"),
        (0, "0"),
        (-1, "-1"),
        (4.0, "4"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_every_kind_of_label_in_json_is_text(tmp_path: Path, value: object, label: str) -> None:
    record = {"text": "好", "label": value}
    lines = write_lines(tmp_path / "a.jsonl", [record])
    array = write(tmp_path / "a.json", json.dumps([record], indent=2))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(array.read_bytes()))
    assert labelled(lines) == labelled(array) == labelled(tmp_path / "a.json.gz") == [("好", label)]


@pytest.mark.parametrize("value", [None, "", " \n", float("nan")], ids=["null", "empty", "blank", "NaN"])
def test_a_text_without_a_label_is_left_out_and_counted(tmp_path: Path, value: object) -> None:
    records = [{"text": "good", "label": 1}, {"text": "fine", "label": value}, {"text": "bad", "label": 0}]
    assert left_out(write_lines(tmp_path / "a.jsonl", records)) == (
        [("good", "1"), ("bad", "0")],
        {"texts without a label": 1},
    )


def test_what_lacks_text_or_label_is_left_out_of_tables_too(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "text,label\ngood,positive\n,negative\n \u3000,negative\nbad,\nfine, \n,\n")
    assert left_out(table) == ([("good", "positive")], {"empty texts": 3, "texts without a label": 2})
    lines = write_lines(tmp_path / "a.jsonl", [{"text": None, "label": 1}, {"text": "good", "label": 1}])
    assert left_out(lines) == ([("good", "1")], {"empty texts": 1})


def test_a_list_of_labels_is_for_another_task(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "a", "label": ["good"]}])
    assert "lists of labels are for --task multilabel" in error_of(lambda: labelled(path))


@pytest.mark.parametrize("value", [["good"], {"name": "good"}])
def test_a_label_that_is_neither_text_nor_number(tmp_path: Path, value: object) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": value}])
    message = error_of(lambda: labelled(path))
    assert f"{path} line 2 has: {value!r}" in message


def test_a_label_with_half_a_surrogate_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine", "label": "a\\ud83d"}\n')
    message = error_of(lambda: labelled(path))
    assert "U+D83D" in message
    assert f"{path} line 1" in message
    assert labelled(path, errors="replace") == [("fine", "a\ufffd")]


@pytest.mark.usefixtures("hub_cache")
def test_labelled_parquet(tmp_path: Path) -> None:
    texts = [text for text, _ in REVIEWS]
    for number, (labels, read) in enumerate(
        [
            ([label for _, label in REVIEWS], [label for _, label in REVIEWS]),
            ([3, 0, 12, -1], ["3", "0", "12", "-1"]),
            ([True, False, True, True], ["true", "false", "true", "true"]),
            ([1.0, 0.5, 2.0, 3.0], ["1", "0.5", "2", "3"]),
        ]
    ):
        path = write_parquet(tmp_path / f"{number}.parquet", {"text": texts, "label": labels, "id": labels[::-1]})
        assert labelled(path) == list(zip(texts, read, strict=True))
        assert labelled(path, label="id") == list(zip(texts, read[::-1], strict=True))
    path = write_parquet(tmp_path / "lists.parquet", {"text": texts, "label": [[1], [0], [1], [1]]})
    assert "a label must be text or a number" in error_of(lambda: labelled(path))


@pytest.mark.usefixtures("hub_cache")
def test_parquet_without_some_texts_and_labels(tmp_path: Path) -> None:
    columns = {"text": ["good", None, " ", "fine", "so so"], "label": [1.0, 0.0, 0.0, None, float("nan")]}
    expected = [("good", "1")], {"empty texts": 2, "texts without a label": 2}
    assert left_out(write_parquet(tmp_path / "a.parquet", columns)) == expected


@pytest.mark.usefixtures("hub_cache")
def test_numbers_that_a_dataset_names_are_read_by_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["差", "好"])})
    rows = {"text": ["good", "bad", "secret", "unknown"], "label": [1, 0, -1, None]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    assert left_out(tmp_path / "a.parquet") == ([("good", "好"), ("bad", "差")], {"texts without a label": 2})


@pytest.mark.usefixtures("hub_cache")
def test_a_labelled_folder_reads_every_file_of_records(tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    (folder / "more" / ".git").mkdir(parents=True)
    write(folder / "a.csv", "text,label\nfirst,1\n,1\n")
    write_lines(folder / "b.jsonl", [{"label": 2, "text": "second"}])
    write(folder / "more" / "c.tsv", "text\tlabel\nthird\t3\n")
    write(folder / "more" / "d.json", '[{"text": "fourth", "label": 4}, {"text": "none", "label": null}]')
    write_parquet(folder / "more" / "e.parquet", {"text": ["fifth"], "label": [5]})
    (folder / "z.csv.gz").write_bytes(gzip.compress(b"label,text\n6,sixth\n"))
    write(folder / "README.md", "how it was made")
    write(folder / "more" / "LICENSE", "free")
    write(folder / "more" / ".git" / "config.csv", "hidden")
    write(folder / "empty.csv", "")
    records, skipped = left_out(folder)
    assert records == [
        *(("first", "1"), ("second", "2"), ("third", "3")),
        *(("fourth", "4"), ("fifth", "5"), ("sixth", "6")),
    ]
    assert skipped == {"files without records": 2, "empty texts": 1, "texts without a label": 1}


def test_labelled_sources_follow_each_other(tmp_path: Path) -> None:
    second = write(tmp_path / "1.csv", "text,label\nsecond,b\n")
    first = write_lines(tmp_path / "2.jsonl", [{"text": "first", "label": "a"}])
    assert labelled(first, second) == [("first", "a"), ("second", "b")]


@pytest.mark.usefixtures("hub_cache")
def test_a_text_of_a_megabyte_is_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1 << 16)
    long = "白日依山盡，\n“黃河”入海流。" * 70_000
    expected = [("short", "0"), (long, "1"), ("short", "0")]
    rows = [{"text": text, "label": label} for text, label in expected]
    assert labelled(write_csv(tmp_path / "a.csv", [["text", "label"], *map(list, expected)])) == expected
    assert labelled(write_lines(tmp_path / "a.jsonl", rows)) == expected
    columns = {"text": [text for text, _ in expected], "label": [label for _, label in expected]}
    assert labelled(write_parquet(tmp_path / "a.parquet", columns)) == expected
    one_line = long.replace("\n", " ")
    assert labelled(write(tmp_path / "a.tsv", f"text\tlabel\n{one_line}\t1\n")) == [(one_line, "1")]


character = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"',;\t\n\r \ufeff中👩")
texts_and_labels = st.lists(
    st.tuples(
        st.text(character).filter(str.strip),
        st.text(character).map(str.strip).filter(lambda label: label and not re.search(r"\d\.0+$", label)),
    ),
    min_size=1,
    max_size=8,
)


@given(records=texts_and_labels)
def test_any_labelled_text_comes_back_from_json(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    rows = [{"label": label, "text": text} for text, label in records]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert labelled(write(folder / "a.jsonl", lines)) == records
    assert labelled(write(folder / "a.json", json.dumps(rows, ensure_ascii=False, indent=1))) == records


@given(records=texts_and_labels, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_any_labelled_text_comes_back_from_csv(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]], quoting: Any
) -> None:
    # The csv module of Python 3.10 knows no NUL.
    rows = [[text.replace("\0", "?"), label.replace("\0", "?")] for text, label in records]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting).writerows([["text", "label"], *rows])
    assert labelled(path) == [(text, label) for text, label in rows]


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_a_missing_column_is_answered_with_those_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        write_parquet(path, {"review": ["good"], "stars": [5]})
    elif path.suffix in (".csv", ".tsv"):
        separator = "," if name == "a.csv" else "\t"
        write(path, f"review{separator}stars\ngood{separator}5\n")
    else:
        write_lines(path, [{"review": "good", "stars": 5}])
    message = error_of(lambda: labelled(path))
    assert "the text column must be one of 'review, stars'" in message
    assert str(path) in message
    assert message.endswith("was: 'text'; name the columns that hold the text and the label: --text NAME --label NAME")
    message = error_of(lambda: labelled(path, text="review"))
    assert "the label column must be one of 'review, stars'" in message
    assert message.endswith("was: 'label'; name the column that holds the label: --label NAME")
    assert labelled(path, text="review", label="stars") == [("good", "5")]


def test_a_record_that_lacks_a_column_has_nothing_in_it(tmp_path: Path) -> None:
    records = [{"text": "good", "label": 1}, {"text": "bad"}, {"label": 0}, {"text": "poor", "label": 0}]
    found = [("good", "1"), ("poor", "0")], {"empty texts": 1, "texts without a label": 1}
    assert left_out(write_lines(tmp_path / "a.jsonl", records)) == found
    assert left_out(write_lines(tmp_path / "b.jsonl", records[::-1])) == (found[0][::-1], found[1])


def test_fields_of_nested_objects_are_columns_and_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [
        {"id": 7, "review": {"text": "good", "by": {"name": "Ann"}}},
        {"id": 8, "review": {"text": "bad", "by": {"name": "Bob"}}},
    ]
    path = write_lines(tmp_path / "a.jsonl", records)
    assert labelled(path, text="review.text", label="review.by.name") == [("good", "Ann"), ("bad", "Bob")]
    rows = read_rows(str(path), SourceOptions("review.text"))
    assert [dict(zip(row.names, row.values, strict=True)) for row in rows] == records
    assert "id, review, review.text, review.by.name" in error_of(lambda: labelled(path))


@pytest.mark.parametrize(
    "table",
    [
        {"text": ["good", "bad"], "label": [1, 0]},
        {"text": {"0": "good", "1": "bad"}, "label": {"0": 1, "1": 0}},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_columns_in_an_object_of_a_json_file(tmp_path: Path, table: object, indent: int | None) -> None:
    path = write(tmp_path / "a.json", json.dumps(table, indent=indent))
    assert labelled(path) == [("good", "1"), ("bad", "0")]


@pytest.mark.parametrize("table", [{"text": ["a"], "label": [1, 0]}, {"text": {"0": "a"}, "label": {"1": 1}}])
def test_columns_of_different_records_are_refused(tmp_path: Path, table: object) -> None:
    error_of(lambda: labelled(write(tmp_path / "a.json", json.dumps(table))))


@pytest.mark.parametrize("others", [{"spans": [{"begin": 0}]}, {"tokens": ["a"], "tags": ["x"]}, {"by": {"text": "x"}}])
@pytest.mark.parametrize("count", [1, 3])
def test_a_record_that_holds_lists_of_its_own_stays_one(tmp_path: Path, others: dict[str, Any], count: int) -> None:
    records = [{"text": "good", "label": 1, **others}] * count
    assert labelled(write_lines(tmp_path / "a.json", records)) == [("good", "1")] * count
    one = write(tmp_path / "b.json", "\n" + json.dumps([records[0]], indent=2))
    assert labelled(one) == [("good", "1")]


def test_a_title_above_the_names_of_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Tickets of May\n\ntext,label\ngood,1\n")
    assert "line 3 has 2; remove lines above the names of the columns" in error_of(lambda: labelled(path))


@pytest.mark.parametrize("indent", [None, 2])
def test_records_in_an_object_of_a_json_file(tmp_path: Path, indent: int | None) -> None:
    records = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]
    path = write(tmp_path / "a.json", json.dumps({"version": 1, "data": records, "tags": ["x"]}, indent=indent))
    assert labelled(path) == [("good", "1"), ("bad", "0")]
    write(path, json.dumps({"a": records, "b": records}, indent=2))
    assert "must hold a JSON object a line, or one array of them; line 1" in error_of(lambda: labelled(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "good\tpositive\n"),
        ("no_suffix", "text,label\ngood,positive\n"),
        ("empty.csv", ""),
        ("empty.jsonl", "\n"),
        ("empty.json", "[]"),
        ("header.csv", "text,label\n"),
        ("blank.csv", "text,label\n ,positive\n"),
        ("bare.csv", "text,label\ngood,\n"),
    ],
)
def test_what_holds_no_labelled_text(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    message = error_of(lambda: left_out(path))
    assert f"must hold some labelled text, found none in: {path}" in message
    assert ".csv, .tsv, .json, .jsonl, .parquet" in message
    # A good source beside it does not hide it.
    good = write(tmp_path / "good.csv", "text,label\ngood,positive\n")
    assert error_of(lambda: left_out(good, path)) == message


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "text,label\nwell, no,bad\n", "line 2 has 3"),
        ("a.csv", 'text,label\n"never closed,bad\n', "unexpected end of data"),
        ("a.tsv", "text\tlabel\ngood\n", "line 2 has 1"),
        ("a.jsonl", '{"text": "good", "label": 1}\n{"text": 5, "label": 1}\n', "line 2 has: 5"),
        ("a.jsonl", '["good", 1]\n', "record 1"),
    ],
)
def test_a_wrong_labelled_record_is_refused_by_file_and_place(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    path = write(tmp_path / name, content)
    message = error_of(lambda: labelled(path))
    assert str(path) in message
    assert says in message


def test_bytes_that_are_no_utf_8_in_a_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\ngood,tr\xe8s bien\n")
    assert "0xe8 at offset 18" in error_of(lambda: labelled(path))
    assert labelled(path, errors="replace") == [("good", "tr\ufffds bien")]


# The reviews that are shipped


def test_the_built_in_reviews_are_a_few_hundred_in_two_languages() -> None:
    records = labelled("builtin")
    counts = Counter(label for _, label in records)
    assert 200 <= len(records) <= 1000
    assert set(counts) == {"negative", "positive"}
    for label in counts:
        texts = [text for text, of_text in records if of_text == label]
        chinese = sum(bool(re.search("[\u4e00-\u9fff]", text)) for text in texts)
        english = sum(text.isascii() for text in texts)
        assert min(chinese, english) >= 50
    assert max(counts.values()) < 1.2 * min(counts.values()), "neither label is the better guess"


def test_no_built_in_review_comes_twice() -> None:
    letters = [re.sub(r"\W", "", text).casefold() for text, _ in labelled("builtin")]
    assert [text for text, count in Counter(letters).items() if count > 1] == []


def test_the_built_in_reviews_lie_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(textrnn.__file__).parent
    records = labelled("builtin")
    assert labelled(*sorted(package.rglob("*.jsonl"))) == records
    # Wherever the command is called, and whatever lies there.
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "builtin", "text,label\n")
    assert labelled("builtin") == records


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


@pytest.mark.usefixtures("hub_cache")
def test_labels_of_a_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = {"text": ["bad", "好"], "label": [0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: dataset)
    assert labelled("imdb@test") == [("bad", "neg"), ("好", "pos")]
    assert "the label column must be one of 'text, label'" in error_of(lambda: labelled("imdb@test", label="stars"))


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
        source_fingerprint(["builtin"], SourceOptions(label="label")),
        source_fingerprint(there, SourceOptions(label="label")),
        source_fingerprint(there, SourceOptions(label="stars")),
    }
    assert len(others | {here}) == 10


def test_bytes_are_known_of_plain_text_only(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.txt", "中文"), write(tmp_path / "b.txt.gz", "")
    assert count_bytes([str(plain), str(plain)]) == 12
    assert count_bytes([str(plain), str(packed)]) is None
    assert count_bytes(["owner/name"]) is None


def test_a_piece_is_a_text_and_whether_it_ends_its_document(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt", "one\ntwo\n"))
    assert list(read_documents([path], SourceOptions())) == [TextBlock("one\ntwo\n", True)]


# Tables as spreadsheets write them

PAIRS = [("good, and cheap", "positive"), ("bad; and late", "negative"), ("fine | cold", "positive")]


def as_csv(delimiter: str, newline: str = "\n", first: str = "") -> str:
    rows = [("text", "label"), *PAIRS]
    return first + "".join(f'"{text}"{delimiter}{label}{newline}' for text, label in rows)


@pytest.mark.parametrize(
    ("delimiter", "name"),
    [(",", ""), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")],
    ids=["comma", "semi", "tab", "bar"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_the_delimiter_of_a_csv_is_found_and_reported(tmp_path: Path, delimiter: str, name: str, newline: str) -> None:
    path = write(tmp_path / "a.csv", as_csv(delimiter, newline))
    assert labelled(path) == PAIRS
    assert table_notes([str(path)]) == ([f"{path}: fields are separated by {name}"] if name else [])


def test_unquoted_commas_in_a_table_of_semicolons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;label\ngood, cheap;1\nbad;0\n")
    assert labelled(path) == [("good, cheap", "1"), ("bad", "0")]


def test_a_first_line_names_the_delimiter(tmp_path: Path) -> None:
    for delimiter in ",;^":
        path = write(tmp_path / "a.csv", as_csv(delimiter, "\r\n", f"\ufeffsep={delimiter}\r\n"))
        assert labelled(path) == PAIRS
    assert table_notes([str(path)]) == [f"{path}: fields are separated by '^'"]


@pytest.mark.parametrize(
    "content",
    [
        "text\nwords; and more\nothers; too\n",  # one column
        "text,label\n" + "a;b;c,1\nd;e;f,0\n",  # semicolons in the text
        'text,label\n"a\tb",1\n"c\td",0\n',
        "text,label\n",
    ],
)
def test_an_ordinary_csv_has_commas(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.csv", content)
    assert (delimiter_of(path), table_notes([str(path)])) == (",", [])


def test_names_of_columns_have_no_blanks_around_them(tmp_path: Path) -> None:
    assert labelled(write(tmp_path / "a.csv", "\ufeff text , label\ngood,1\n")) == [("good", "1")]
    assert labelled(write(tmp_path / "b.tsv", "id\t\ufefftext\t label \n1\tgood\t1\n")) == [("good", "1")]


@pytest.mark.parametrize("value", ["1", "1.0", " 1.00 "])
def test_a_whole_number_is_one_label_however_it_is_written(tmp_path: Path, value: str) -> None:
    assert labelled(write(tmp_path / "a.csv", f"text,label\ngood,{value}\n")) == [("good", "1")]
    assert labelled(write_lines(tmp_path / "a.jsonl", [{"text": "good", "label": value}])) == [("good", "1")]
    assert labelled(write_lines(tmp_path / "b.jsonl", [{"text": "good", "label": float(value)}])) == [("good", "1")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\nfine,1\n"good,1\nbad,0\nso,1\n', 3),  # never closed
        ('text,label\nfine,1\n"good,1\nbad,0\n"so",1\n', 3),  # closed by the next that opens
        ('text,label\n"one\ntwo",1\n"three\nfour" five,1\n', 4),
        ('text,label\n"one\ntwo","1\nbad,0\n', 3),  # the second of two fields
        ('text,label\n"a ""b"" c"",1\nbad,0\n', 2),
    ],
)
def test_a_quote_that_does_not_close_is_reported_where_it_opens(tmp_path: Path, content: str, line: int) -> None:
    path = write(tmp_path / "a.csv", content)
    assert f"{path} must be CSV, the quote that opens in line {line} does not close" in error_of(lambda: labelled(path))


@pytest.mark.parametrize("name", ["a.xlsx", "A.XLS", "a.ods"])
def test_a_workbook_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(20))
    for read in (labelled, documents):
        message = error_of(lambda read=read: read(tmp_path / name))  # type: ignore[misc]
        assert message.endswith(f"{tmp_path / name} is a workbook; save its sheet as CSV UTF-8, and give that")
    (tmp_path / "a.csv").write_bytes(b"PK\x03\x04" + bytes(20))
    assert "an Excel workbook, whose sheet can be saved as CSV UTF-8" in error_of(lambda: labelled(tmp_path / "a.csv"))


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name, text in (("good/1.txt", "fine\n"), ("good/more/2", "很好"), ("bad/1.txt", "poor\n"), ("README", "how")):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "all" / name, text)
    records, skipped = left_out(tmp_path / "all")
    assert sorted(records) == [("fine\n", "good"), ("poor\n", "bad"), ("很好", "good")]
    assert skipped == {"files without records": 1}
    note = f"{tmp_path / 'all'}: the label of a text is the name of its folder: bad, good"
    assert table_notes([str(tmp_path / "all")], labelled=True) == [note]
    assert table_notes([str(tmp_path / "all")]) == []


def test_fasttext_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeff__label__good a fine day\r\n\n__label__bad  rain __label\nnone\n")
    records, skipped = left_out(path)
    assert records == [("a fine day", "good"), ("rain __label", "bad")]
    assert skipped == {"empty texts": 1, "texts without a label": 1}
    rows = list(read_rows(str(path), SourceOptions()))
    assert [row.text for row in rows] == ["a fine day", "", "rain __label", "none"]
    write(path, "__label__a one\n__label__a __label__b two\n")
    assert f"a text must have one label, {path} line 2 has 2: a, b; keep one" in error_of(lambda: left_out(path))
