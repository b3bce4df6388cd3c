"""Classifiers by command: `classify` and why, `evaluate`, `info`, `export`, and what each says of bad input."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from commands import Result, call, files_of, told
from conftest import TrainedRun, write_opinions
from tiny_bundle import write_tiny_bundle, write_tiny_classifier

import textrnn
from textrnn.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that goes by the words good, bad, 好 and 差."""
    return write_tiny_classifier(tmp_path_factory.mktemp("model") / "bundle").folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("language_model") / "bundle").folder


def documents(result: Result) -> list[dict[str, Any]]:
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


def labels(result: Result) -> list[tuple[str, str]]:
    return [(document["text"], document["label"]) for document in documents(result)]


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """To standard input, in a locale that is strict about UTF-8."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="strict"))


# classify


def test_arguments_are_told_in_their_order_a_line_each(model: Path) -> None:
    result = call("classify", model, "a good film", "", "这部影片差", "two\nlines: good")
    assert labels(result) == [
        ("a good film", "good"),
        ("", "bad"),
        ("这部影片差", "bad"),
        ("two\nlines: good", "good"),
    ]
    predictions = textrnn.load(model).classify(["a good film", "", "这部影片差", "two\nlines: good"])
    for document, prediction in zip(documents(result), predictions, strict=True):
        assert document == {"text": document["text"], **prediction.to_dict()}
        assert set(document) == {"text", "label", "probability", "probs", "tokens", "tokens_read"}
    assert "这部影片差" in result.out  # as it is, not as \u numbers


def test_a_text_may_look_like_an_option(model: Path) -> None:
    assert labels(call("classify", model, "--", "--why bad", "good")) == [("--why bad", "bad"), ("good", "good")]


def test_standard_input_is_a_text_a_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in ([], ["--input", "-"]):
        give(monkeypatch, "good\r\n\n差\nbad".encode())
        result = call("classify", model, *arguments)
        assert labels(result) == [("good", "good"), ("", "bad"), ("差", "bad"), ("bad", "bad")]
    give(monkeypatch, b"")
    assert call("classify", model) == (0, "", "")


def test_standard_input_that_is_no_utf_8_is_read_all_the_same(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b"good caf\xe9\nbad\n")
    assert labels(call("classify", model)) == [("good caf\ufffd", "good"), ("bad", "bad")]


def test_more_lines_than_are_read_at_once_keep_their_order(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{number} {'good' if number % 3 else 'bad'} {'film ' * (number % 11)}".strip() for number in range(600)]
    give(monkeypatch, "\n".join(lines).encode())
    expected = [(line, "good" if number % 3 else "bad") for number, line in enumerate(lines)]
    assert labels(call("classify", model)) == expected


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("a.txt", "good film\n差\n", []),
        ("a.jsonl", '{"text": "good film", "label": 3}\n{"text": "差"}\n', []),
        ("a.jsonl", '{"review": "good film"}\n{"review": "差"}\n', ["--column", "review"]),
        ("a.tsv", "stars\treview\n5\tgood film\n1\t差\n", ["--column", "review"]),
        ("a.tsv", "5\tgood film\n1\t差\n", ["--column", "2"]),
        ("a.csv", 'text,label\n"good film",1\n差,0\n', []),
    ],
)
def test_a_file_is_a_text_a_line_or_a_record(
    model: Path, tmp_path: Path, name: str, content: str, arguments: list[str]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = call("classify", model, "--input", tmp_path / name, *arguments)
    assert labels(result) == [("good film", "good"), ("差", "bad")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "--input", "a.txt"], "classify takes texts or --input FILE, was given both; leave one out"),
        (["--input", "none.txt"], "a source must be a file or folder that exists, was: 'none.txt'"),
        (["--input", "a.jsonl"], "the text column must be one of 'review' in a.jsonl line 1, was: 'text'; name"),
        (["--input", "empty.txt"], "a source must hold some text, found none in: empty.txt"),
        (["--input", "a.png"], "is a PNG image"),
        (["good", "--png", "out.png"], "--png is of what --why says; give both"),
        (["good", "--label", "good"], "--label is of what --why says; give both"),
        (["good", "--column", "text"], "--column is of the records of --input FILE; give both"),
        (["good", "--why", "--label", "god"], "label must be one of bad, good, was: 'god'; did you mean 'good'?"),
        (["", "--why"], "a text to explain must have at least one token, had: none; give some text"),
        (["good", "--why", "--png", "none/out.png"], "none/out.png"),
        (["good", "bad \ud83d"], "U+D83D"),
    ],
)
def test_a_wrong_call_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"review": "good"}\n', encoding="utf-8")
    (tmp_path / "a.txt").write_text("good\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    before = files_of(tmp_path)
    assert message in told(call("classify", model, *arguments))
    assert files_of(tmp_path) == before


def test_each_kind_of_model_is_asked_for_what_it_does(model: Path, language_model: Path) -> None:
    asked = told(call("classify", language_model, "good"))
    assert asked.endswith(f"{language_model} is a language model; use: textrnn generate {language_model}")
    assert told(call("generate", model)).endswith(f"{model} is a classifier; use: textrnn classify {model}")


@pytest.mark.parametrize("command", ["classify", "info", "evaluate"])
def test_a_damaged_bundle_is_refused(model: Path, tmp_path: Path, command: str) -> None:
    shutil.copytree(model, tmp_path / "bundle")
    path = tmp_path / "bundle" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    arguments = {"classify": ["good"], "info": [], "evaluate": [tmp_path / "some.csv"]}[command]
    assert f"{path} must have" in told(call(command, tmp_path / "bundle", *arguments))


# Why


def test_why_as_json(model: Path) -> None:
    first, second = documents(call("classify", model, "--why", "--json", "a good film", "差"))
    assert (first["label"], second["label"]) == ("good", "bad")
    assert "".join(token["text"] for token in first["tokens"]) == "a good film"
    assert max(first["tokens"], key=lambda token: float(token["contribution"]))["text"].strip() == "good"
    assert first["tokens"][-1]["after"] == first["probability"] == first["probs"]["good"]
    assert "occlusion" in first["method"]
    (other,) = documents(call("classify", model, "--why", "--json", "--label", "bad", "a good film"))
    assert (other["label"], other["probability"]) == ("bad", pytest.approx(first["probs"]["bad"]))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(*arguments: object) -> str:
    """What a command shows on a terminal."""
    out, err = Terminal(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main([str(argument) for argument in arguments]) == 0, err.getvalue()
    return out.getvalue()


def test_why_is_coloured_on_a_terminal_only(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    arguments = ("classify", model, "--why", "a good film")
    plain = call(*arguments)
    assert (plain.code, plain.err) == (0, "")
    assert "\x1b[" not in plain.out
    assert plain.out.startswith("good ")
    assert "[+good]" in plain.out
    assert "\x1b[" in on_terminal(*arguments)
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_terminal(*arguments) == plain.out


def test_why_as_a_picture(model: Path, tmp_path: Path) -> None:
    result = call("classify", model, "--why", "--png", tmp_path / "why.png", "a good film 好")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    several = call("classify", model, "--why", "--png", tmp_path / "why.png", "good", "bad")
    assert (several.code, several.err) == (1, "textrnn: --png draws one text, was given several; give one\n")


# info


@pytest.mark.parametrize("place", ["", "bundle"])
def test_info_describes_a_classifier(trained_classifier: TrainedRun, place: str) -> None:
    result = call("info", trained_classifier.folder / place)
    assert (result.code, result.err) == (0, "")
    assert f"bundle     {trained_classifier.folder / 'bundle'}\n" in result.out
    assert "kind       classifier, float32, " in result.out
    assert "labels     negative, positive\n" in result.out
    assert "classify   out logits: float32 (batch, 2)\n" in result.out
    for name in (
        "calibration temperature 1.",
        "float32    accuracy 0.",
        "int8       accuracy 0.",
        "held_out   texts 40",
    ):
        assert name in result.out
    manifest = json.loads(call("info", trained_classifier.folder / place, "--json").out)
    assert manifest["labels"] == ["negative", "positive"]


# evaluate


def metrics_of(*arguments: object) -> dict[str, Any]:
    (document,) = documents(call("evaluate", *arguments, "--json"))
    return document


def test_a_run_is_measured_on_its_held_out_texts(trained_classifier: TrainedRun) -> None:
    metrics = metrics_of(trained_classifier.folder)
    report = json.loads((trained_classifier.folder / "report.json").read_text(encoding="utf-8"))
    assert metrics["source"] == "held out"
    for name in ("texts", "accuracy", "macro_f1", "classes", "confusion"):
        assert metrics[name] == report[name]
    assert metrics["nats"] == pytest.approx(report["nats"], abs=1e-4)
    shown = call("evaluate", trained_classifier.folder).out
    assert f"accuracy             {report['accuracy']:.4f}\n" in shown
    assert shown.splitlines()[-2].startswith("negative             precision ")


def test_run_and_bundle_measure_the_same_on_another_file(
    trained_classifier: TrainedRun, trained_classifier_int8: Path, tmp_path: Path
) -> None:
    other = write_opinions(tmp_path / "other.jsonl", 100, seed=1)
    of_run = metrics_of(trained_classifier.folder, other)
    of_bundle = metrics_of(trained_classifier.folder / "bundle", other)
    assert of_run == of_bundle | {"model": str(trained_classifier.folder)}
    assert (of_run["texts"], of_run["source"]) == (100, [str(other)])
    assert 0.7 < of_run["accuracy"] < 1
    assert abs(metrics_of(trained_classifier_int8, other)["accuracy"] - of_run["accuracy"]) <= 0.02

    lines = other.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    told_labels = [label for _, label in labels(call("classify", trained_classifier.folder, "--input", other))]
    true = [("negative", "positive")[json.loads(line)["label"]] for line in lines]
    right = sum(told_label == label for told_label, label in zip(told_labels, true, strict=True))
    assert right / len(texts) == of_run["accuracy"]


def test_columns_of_another_file_have_other_names(trained_classifier: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("review,stars\nthe good film,1\nthe bad film,0\nthe film,7\n", encoding="utf-8")
    result = call("evaluate", trained_classifier.folder, path, "--text", "review", "--label", "stars", "--json")
    assert json.loads(result.out)["texts"] == 2
    assert result.err == "left out: 1 texts with a label never seen in training\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["other.csv"], "the text column must be one of 'review, stars'"),
        (["other.csv", "--text", "review"], "the label column must be one of 'review, stars'"),
        (
            ["other.csv", "--text", "review", "--label", "review"],
            "must be 'negative, positive', found none of these but",
        ),
        (["none.csv"], "a source must be a file or folder that exists"),
        (["other.csv", "--window", "5"], "--window is for language models, this is a classifier; leave it out"),
        ([], "evaluate needs data that was not trained on, a bundle has none; give a SOURCE or the run folder"),
    ],
)
def test_what_cannot_be_measured_is_told(
    trained_classifier: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("review,stars\nthe good film,1\n", encoding="utf-8")
    assert message in told(call("evaluate", trained_classifier.folder / "bundle", *arguments))


# export and train


def test_export_says_what_8_bits_cost(trained_classifier: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(trained_classifier.folder, tmp_path / "run")
    result = call("export", tmp_path / "run", "--quantize", "int8")
    assert (result.code, result.out) == (0, f"{tmp_path / 'run' / 'bundle-int8'}\n")
    assert result.err == "int8 costs 0.00 points of accuracy on held-out texts\n"
    assert labels(call("classify", tmp_path / "run" / "bundle-int8", "good")) == [("good", "positive")]


def test_sentiment_is_classification_and_names_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sentiment").mkdir(parents=True)
    assert "found: runs/sentiment;" in told(call("train", "--task", "sentiment"))
    (tmp_path / "run").mkdir()
    config = {"task": "classification", "data": {"source": ["a.csv"]}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    resume = ("train", "a.csv", "--resume", "--out", "run")
    assert "belongs to another configuration" in told(call(*resume))  # a language model is another
    assert "'a.csv'" in told(call(*resume, "--task", "sentiment"))  # only the text is missing
