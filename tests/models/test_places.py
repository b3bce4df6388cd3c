"""A model by its name, wherever a path goes; a folder of that name comes first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import call, error_of, told
from tiny_bundle import write_tiny_bundle, write_tiny_classifier

import textrnn
from textrnn.bundle import read_bundle
from textrnn.models import places

REVIEW = "What a wonderful film!"


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Finished models of the test, in place of those of the package, seen from another folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_tiny_bundle(folder / "plays")
    write_tiny_classifier(folder / "reviews-xx")
    (folder / "__pycache__").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(places, "FINISHED", folder)
    return folder


def test_every_command_takes_a_name(finished: Path) -> None:
    of_path = call("generate", finished / "plays", "--length", 8, "--seed", 1)
    assert call("generate", "plays", "--length", 8, "--seed", 1) == of_path
    assert of_path.code == 0
    assert textrnn.load("plays").generate(length=8, seed=1) + "\n" == of_path.out
    for name in ("predict", "classify"):
        (line,) = call(name, "reviews-xx", REVIEW).out.splitlines()
        assert json.loads(line)["text"] == REVIEW
    assert "kind       language_model" in call("info", "plays").out
    Path("text.txt").write_text("hello world", encoding="utf-8")
    document = json.loads(call("evaluate", "plays", "text.txt", "--json").out)
    assert document["model"] == "plays" and document["tokens"] == 11
    assert "# A language model" in call("card", "plays").out


def test_a_folder_of_that_name_wins_and_a_line_says_so(finished: Path) -> None:
    write_tiny_classifier(Path("plays"))
    found = call("info", "plays")
    assert "kind       classifier" in found.out
    assert found.err == "plays is a path here, which is used; the finished model of that name is hidden by it\n"
    assert call("info", "reviews-xx").err == ""
    assert textrnn.load("plays").manifest.kind == "classifier"


def test_a_name_that_is_none_is_said_with_the_nearest(finished: Path) -> None:
    assert "did you mean plays?" in told(call("info", "play"))
    assert "see: textrnn models" in told(call("info", "runs/of/mine"))
    assert "nothing was found at: mine" in error_of(lambda: textrnn.load("mine"))
    assert "was: 7" in error_of(lambda: textrnn.load(7))  # type: ignore[arg-type]


def test_a_finished_model_is_exported_as_a_copy(finished: Path) -> None:
    assert call("export", "plays", "--out", "copy").out == "copy\n"
    assert read_bundle(Path("copy")) == type(read_bundle(Path("copy")))(
        Path("copy"), read_bundle(finished / "plays").manifest
    )
    assert "give --out FOLDER" in told(call("export", "plays"))
    assert "--quantize needs the weights of a run" in told(call("export", "plays", "--quantize", "int8", "--out", "x"))


def test_evaluation_of_a_name_needs_data(finished: Path) -> None:
    assert "give a SOURCE" in told(call("evaluate", "plays"))


def test_models_are_listed(finished: Path) -> None:
    facts = ("--language", "en", "--language", "fr", "--summary", "Labels films.", "--save")
    assert call("card", finished / "reviews-xx", *facts).code == 1  # they are not the user's to change
    shutil.move(finished / "reviews-xx", "mine")
    assert call("card", "mine", *facts).code == 0
    shutil.move("mine", finished / "reviews-xx")
    header, *rows = call("models").out.splitlines()
    assert header.split() == ["name", "kind", "language", "size", "held", "out", "what", "it", "does"]
    assert [row.split()[0] for row in rows] == ["plays", "reviews-xx"]
    assert "en, fr" in rows[1] and rows[1].endswith("Labels films.")
    _, reviews = json.loads(call("models", "--json").out)
    assert reviews["kind"] == "classifier" and reviews["summary"] == "Labels films."
    assert reviews["bytes"] == sum(
        entry.bytes for entry in read_bundle(finished / "reviews-xx").manifest.files.values()
    )


def test_a_prompt_of_the_model_is_the_default(finished: Path) -> None:
    path = finished / "plays" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["runtime"]["prompt"] = "hello"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert call("generate", "plays", "--length", 3, "--seed", 1).out.startswith("hello")
    with_none = call("generate", "plays", "--length", 3, "--seed", 1, "--prompt", "")
    assert len(with_none.out) <= 4
    manifest["runtime"]["prompt"] = 3
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "runtime.prompt must be a string" in told(call("generate", "plays"))
