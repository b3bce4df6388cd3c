"""Tables of texts and labels whose columns go by any names, or by none: which is which is found, where it is plain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from commands import call

from textrnn.config import Config, DataConfig, build
from textrnn.data.records import labelled_options
from textrnn.data.sources import read_labelled, read_whole
from textrnn.errors import UserError
from textrnn.training import tensorflow_setup
from textrnn.training.tasks.classification.task import TextClassification
from textrnn.training.tasks.language_model.task import LanguageModelling

TEXTS = {
    "where is my parcel": "shipping",
    "the lamp came broken": "defect",
    "tracking shows nothing": "shipping",
    "it makes a noise": "defect",
    "still not here": "shipping",
}
ROWS = [",".join(pair) for pair in TEXTS.items()]
TABS = [row.replace(",", "\t") for row in ROWS]
BACKWARDS = ["\t".join(pair[::-1]) for pair in TEXTS.items()]
OBJECTS = [f'{{"ask": "{text}", "queue": "{label}"}}' for text, label in TEXTS.items()]


def settings(path: Path, lines: list[str], **stated: str) -> DataConfig:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return build(Config, {"task": "classification", "data": {"source": [str(path)], **stated}}).data


@pytest.mark.parametrize(
    ("name", "lines", "note"),
    [
        ("a.csv", ["message,queue", *ROWS], "texts are in the column 'message', labels in the column 'queue'"),
        ("a.csv", ["text,queue", *ROWS], "texts are in the column 'text', labels in the column 'queue'"),
        ("a.csv", ["message,label", *ROWS], "texts are in the column 'message', labels in the column 'label'"),
        ("a.csv", ["Text,LABEL", *ROWS], "texts are in the column 'Text', labels in the column 'LABEL'"),
        ("a.csv", ROWS, "the first line is a record too, texts are in column 1, labels in column 2"),
        ("a.tsv", BACKWARDS, "the first line is a record too, texts are in column 2, labels in column 1"),
        ("a.txt", TABS, "texts are in column 1, labels in column 2"),
        ("SMS", BACKWARDS, "texts are in column 2, labels in column 1"),
        ("a.txt", ["queue\tmessage", *BACKWARDS], "texts are in the column 'message', labels in the column 'queue'"),
        ("a.jsonl", OBJECTS, "texts are in the column 'ask', labels in the column 'queue'"),
    ],
)
def test_two_columns_are_told_apart(tmp_path: Path, name: str, lines: list[str], note: str) -> None:
    data, (said,) = TextClassification().find_columns(settings(tmp_path / name, lines))
    assert note in said
    assert dict(read_labelled(data.source, labelled_options(data), Counter())) == TEXTS


def test_the_column_beside_a_stated_one(tmp_path: Path) -> None:
    data, _ = TextClassification().find_columns(settings(tmp_path / "a.csv", ["ask,kind", *ROWS], label="kind"))
    assert (data.text, data.label) == ("ask", "kind")


PAIRS = list(enumerate(TEXTS.items()))
WIDE = [f"{number},{text},{label},2025-03-0{1 + number // 2},4.50" for number, (text, label) in PAIRS]
TALKS = [f"{label}\t{number}\tTicket {number}\t{text}" for number, (text, label) in PAIRS]
NESTED = [
    f'{{"by": {{"id": 7}}, "ask": "{text}", "queue": "{label}", "n": {number}}}' for number, (text, label) in PAIRS
]
TAGGED = [
    f'{{"by": {{"name": "A{number % 2}"}}, "tags": ["x{number % 2}"], "ask": "{text}", "queue": "{label}"}}'
    for number, (text, label) in PAIRS
]
DEEP = [
    f'{{"id": {number}, "review": {{"body": "{text}"}}, "to": {{"team": "{label}"}}}}'
    for number, (text, label) in PAIRS
]
ENDS = [f"{text};{label};;" for text, label in TEXTS.items()]
CHINESE = [
    "编号,内容,情感",
    *(f"{number},{'很好，下次再来' if number % 2 else '太差了，不推荐'},{number % 2}" for number in range(6)),
]


@pytest.mark.parametrize(
    ("name", "lines", "columns"),
    [
        ("a.csv", ["id,message,queue,day,price", *WIDE], ("message", "queue")),
        ("a.csv", WIDE, ("2", "3")),
        ("a.csv", CHINESE, ("内容", "情感")),
        ("a.tsv", ["queue\tid\ttitle\tbody", *TALKS], ("body", "queue")),
        ("a.jsonl", NESTED, ("ask", "queue")),
        ("a.jsonl", TAGGED, ("ask", "queue")),
        ("a.jsonl", DEEP, ("review.body", "to.team")),
        ("a.json", ['{"data": [', ",\n".join(NESTED), '], "total": 5}'], ("ask", "queue")),
        ("a.csv", ["message;queue;;", *ENDS, ";;;"], ("message", "queue")),
        ("a.csv", ["message;queue", *ENDS[:3], *(row.rstrip(";") for row in ENDS[3:])], ("message", "queue")),
        ("a.csv", ["message;queue;;", *(row.rstrip(";") for row in ENDS)], ("message", "queue")),
        ("a.csv", ENDS, ("1", "2")),
    ],
)
def test_the_text_and_the_label_of_a_wide_table(
    tmp_path: Path, name: str, lines: list[str], columns: tuple[str, str]
) -> None:
    data, (note,) = TextClassification().find_columns(settings(tmp_path / name, lines))
    assert (data.text, data.label) == columns
    of_texts = f"column {columns[0]}" if columns[0].isdecimal() else f"the column {columns[0]!r}"
    assert f"texts are in {of_texts}" in note
    texts = dict(read_labelled(data.source, labelled_options(data), Counter()))
    assert lines is CHINESE or texts == TEXTS


def test_names_in_capitals_and_columns_that_are_stated_settle_doubt(tmp_path: Path) -> None:
    lines = [
        "Land,Text,Sterne,Label",
        *(f"{'DE' if n % 2 else 'AT'},{text},{n % 3},{label}" for n, (text, label) in PAIRS * 2),
    ]
    data, _ = TextClassification().find_columns(settings(tmp_path / "a.csv", lines))
    assert (data.text, data.label) == ("Text", "Label")
    data, _ = TextClassification().find_columns(settings(tmp_path / "a.csv", lines, label="Sterne"))
    assert (data.text, data.label) == ("Text", "Sterne")


def test_of_several_columns_that_can_be_the_label_one_must_be_named(tmp_path: Path) -> None:
    lines = ["land,message,stars", *(f"{'DE' if n % 2 else 'AT'},{text},{n % 3}" for n, (text, _) in PAIRS * 2)]
    data = settings(tmp_path / "a.csv", lines)
    with pytest.raises(
        UserError, match=r"the label must be one column.*fit: land \(AT, DE\); stars \(0, 1, 2\); .*--label NAME"
    ):
        TextClassification().find_columns(data)
    data, _ = TextClassification().find_columns(settings(tmp_path / "a.csv", lines, label="stars"))
    assert (data.text, data.label) == ("message", "stars")


def test_of_several_columns_of_sentences_one_must_be_named(tmp_path: Path) -> None:
    lines = ["ask,answer,kind", *(f"{text},we look into it,{label}" for text, label in TEXTS.items())]
    data = settings(tmp_path / "a.csv", lines)
    with pytest.raises(
        UserError, match=r"the text must be one column.*fit: ask \(where is my parcel, .*answer.*--text NAME"
    ):
        TextClassification().find_columns(data)


def test_a_language_model_reads_the_sentences_of_a_wide_table(tmp_path: Path) -> None:
    data, _ = LanguageModelling().find_columns(settings(tmp_path / "a.csv", ["id,message,queue,day,price", *WIDE]))
    assert data.text == "message"


@pytest.mark.parametrize(
    ("lines", "stated"),
    [
        (["text,label", *ROWS], {}),
        (["label,text", *ROWS], {}),
        (["ask,kind", *ROWS], {"text": "other"}),
        (["ask,kind", *ROWS], {"text": "ask", "label": "kind"}),
        (["left,middle,right", "a,x,1", "b,y,2", "c,z,3"], {}),  # neither sentences nor labels
        (["left,right", "a,x", "b,y", "c,z"], {}),  # no label is there twice
        (["left,right", "a,x", "b,y", "a,x", "b,y"], {}),  # both have as many
        ([], {}),
    ],
)
def test_what_is_right_stated_or_in_doubt_stays(tmp_path: Path, lines: list[str], stated: dict[str, str]) -> None:
    data = settings(tmp_path / "a.csv", lines, **stated)
    assert TextClassification().find_columns(data) == (data, [])


def test_a_source_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    data = settings(tmp_path / "a.csv", ["ask,kind", "one,two,three"])
    assert TextClassification().find_columns(data) == (data, [])
    (tmp_path / "a.csv").unlink()
    assert TextClassification().find_columns(data) == (data, [])


def test_the_only_column_of_a_table_is_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("lyrics\nla la\nlo lo\n", encoding="utf-8")
    _, (note,) = LanguageModelling().find_columns(DataConfig(source=(str(tmp_path / "a.csv"),)))
    assert "texts are in the column 'lyrics'" in note
    assert "--label" not in note


def test_plain_text_with_tabs_is_text_for_a_language_model(tmp_path: Path) -> None:
    data = settings(tmp_path / "a.txt", TABS)
    assert LanguageModelling().find_columns(data) == (data, [])
    assert list(read_whole(data.source, labelled_options(data))) == ["\n".join(TABS) + "\n"]


def test_the_command_says_which_columns_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise UserError("the data are prepared")

    monkeypatch.setattr(tensorflow_setup, "import_tensorflow", stop)
    (tmp_path / "a.csv").write_text("\n".join(["ask,queue", *ROWS]), encoding="utf-8")
    result = call("train", tmp_path / "a.csv", "--task", "classification", "--out", tmp_path / "run")
    assert "texts are in the column 'ask', labels in the column 'queue'" in result.err
    assert "the data are prepared" in result.err
