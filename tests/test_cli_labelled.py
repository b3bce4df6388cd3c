"""Labelled text that no classifier can be trained on: one line, and nothing is left behind.

All of it shows before TensorFlow has taken its seconds to load.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, files_of, told

import textrnn
from textrnn.training import tensorflow_setup

GOOD = "text,label\n" + "".join(f"text {number},{'pos' if number % 2 else 'neg'}\n" for number in range(80))

# By what is wrong: the file, its content (None: there is none), arguments, and what must be said.
WRONG: dict[str, tuple[str, str | bytes | None, list[str], str]] = {
    "one class": ("a.csv", "text,label\none,good\ntwo,good\n", [], "two labels or more, all 2 texts have: 'good'"),
    "one class by its names": (
        *("a.csv", GOOD, ["--set", 'data.label_names=["neg=bad", "pos=bad"]']),
        "all 80 texts have: 'bad'",
    ),
    "no text column": (
        *("a.csv", "review,label,day\none,good,1\ntwo,bad,2\n", []),
        "the text column must be one of 'review, label, day' in",
    ),
    "no label column": (
        *("a.csv", "text,stars,day\none,5,1\ntwo,1,2\n", []),
        "name the column that holds the label: --label NAME",
    ),
    "neither of two columns known": (
        *("a.csv", "review,stars\none,5\ntwo,1\n", []),
        "name the columns that hold the text and the label: --text NAME --label NAME",
    ),
    "a label column of the config": (
        *("a.csv", GOOD, ["--set", "data.label=stars"]),
        "was: 'stars'; name the column that holds the label: --label NAME",
    ),
    "a number that no column has": (
        *("a.tsv", "one\tgood\ntwo\tbad\n", ["--set", "data.text='1'", "--set", "data.label='3'"]),
        "the label column must be one of '1, 2'",
    ),
    "missing": ("a.csv", None, [], "a source must be a file or folder that exists"),
    "empty": ("a.csv", "", [], "must hold some labelled text"),
    "header only": ("a.csv", "text,label\n", [], "must hold some labelled text"),
    "no label filled in": ("a.csv", "text,label\none,\ntwo, \n", [], "must hold some labelled text"),
    "blank texts": ("a.jsonl", '{"text": " ", "label": 1}\n{"text": "", "label": 0}\n', [], "must hold some labelled"),
    "plain text": ("a.txt", "good\npositive\n", [], "found none in: "),
    "binary": ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), [], "is a PNG image"),
    "no UTF-8": ("a.csv", b"text,label\ncaf\xe9,good\n", [], "has the byte 0xe9 at offset 14"),
    "a field too many": ("a.csv", "text,label\none,two,good\n", [], "line 2 has 3"),
    "no JSON": ("a.jsonl", '{"text": "one", "label": 1}\n{"text"\n', [], "line 2"),
    "a list of labels": ("a.jsonl", '{"text": "one", "label": [1, 2]}\n', [], "a label must be text or a number"),
    "half a character": ("a.jsonl", '{"text": "one", "label": "\\ud83d"}\n', [], "the lone surrogate U+D83D"),
    "a label of its own for every text": (
        *("a.csv", GOOD, ["--set", "data.label=text"]),
        "each of the 80 labels has one",
    ),
    "a malformed name": (
        *("a.csv", GOOD, ["--set", "data.label_names=negative"]),
        "data.label_names must be LABEL=NAME, was: 'negative'",
    ),
    "validation without the labels": (
        *("a.csv", GOOD, ["--set", "data.validation=other.csv"]),
        "other.csv have one: 2 texts with a label never seen in training",
    ),
    "no validation": ("a.csv", GOOD, ["--set", "data.validation=none.csv"], "was: 'none.csv'"),
    "too many pieces": (
        *("a.csv", GOOD, ["--set", "tokenizer.kind=sentencepiece", "--set", "tokenizer.vocabulary_size=8000"]),
        "vocabulary_size must be at most",
    ),
}


@pytest.fixture
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("TensorFlow is loaded before the text is found wrong")

    monkeypatch.setattr(tensorflow_setup, "import_tensorflow", refuse)


def write_wrong(folder: Path, kind: str) -> list[str]:
    """Write what is wrong and return the arguments that lead to it."""
    name, content, arguments, _ = WRONG[kind]
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "other.csv").write_text("text,label\none,0\ntwo,1\n", encoding="utf-8")
    return ["train", name, *arguments, "--task", "sentiment", "--out", "run", "--quiet"]


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("kind", WRONG)
def test_labelled_text_that_cannot_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = write_wrong(tmp_path, kind)
    before = files_of(tmp_path)
    result = call(*arguments)
    assert WRONG[kind][3] in told(result)
    assert result.code == 1
    assert files_of(tmp_path) == before


@pytest.mark.usefixtures("no_tensorflow")
def test_good_labelled_text_comes_as_far_as_tensorflow(tmp_path: Path) -> None:
    # So that what the tests above patch is known to be on the way.
    (tmp_path / "a.csv").write_text(GOOD, encoding="utf-8")
    with pytest.raises(AssertionError, match="TensorFlow is loaded"):
        call("train", tmp_path / "a.csv", "--task", "sentiment", "--out", tmp_path / "run", "--quiet")


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("kind", ["one class", "no label column", "empty", "plain text"])
def test_a_wrong_file_in_a_folder_or_beside_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    write_wrong(tmp_path / "texts", kind)
    (tmp_path / "texts" / "other.csv").unlink()
    assert WRONG[kind][3] in told(call("train", "texts", "--task=classification", "--out", "run", "--quiet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts"]


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "sentiment", "--set", "data.max_length=1"], "data.max_length must be between 2 and"),
        (["--task", "sentiment", "--set", "data.labels=x"], "did you mean data.label?"),
        (["--set", "task=clasification"], "did you mean classification?"),
        (["--task", "sentiment", "--set", "train.class_weights=yes"], "must be one of none, balanced, was: 'yes'"),
        (["--task", "sentiment", "--set", "data.held_out=0.9"], "data.held_out must be between 0.0001 and 0.5"),
    ],
)
def test_a_wrong_setting_is_told_before_a_folder_is_made(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = call("train", "builtin", *arguments, "--out", tmp_path / "run", "--quiet")
    assert message in told(result)
    assert files_of(tmp_path) == {}


def test_a_task_that_there_is_not_is_a_wrong_call(tmp_path: Path) -> None:
    result = call("train", "builtin", "--task", "sentimental", "--out", tmp_path / "run")
    assert result.code == 2
    assert "invalid choice: 'sentimental'" in result.err
    assert files_of(tmp_path) == {}


def test_wrong_labels_are_told_by_a_process_that_never_loads_tensorflow(tmp_path: Path) -> None:
    arguments = write_wrong(tmp_path, "validation without the labels")
    before = files_of(tmp_path)
    script = """
import sys
from textrnn.cli import main
print(main(sys.argv[1:]), sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(textrnn.__file__).resolve().parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert run.stdout == "1 []\n", run.stderr
    assert run.stderr.startswith("textrnn: labels must be 'neg, pos'")
    assert files_of(tmp_path) == before
