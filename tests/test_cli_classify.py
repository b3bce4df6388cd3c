"""Classifiers by command: `classify` and why, `evaluate`, `info`, `export`, and what each says of bad input."""

from __future__ import annotations

import csv
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
from tiny_bundle import tiny_runtime, write_tiny_bundle, write_tiny_classifier

import textrnn
from textrnn.cli import main
from textrnn.commands import predict


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
    result = call("classify", model, "a good film", "这部影片差", "two\nlines: good")
    assert labels(result) == [
        ("a good film", "good"),
        ("这部影片差", "bad"),
        ("two\nlines: good", "good"),
    ]
    predictions = textrnn.load(model).classify(["a good film", "这部影片差", "two\nlines: good"])
    for number, (document, prediction) in enumerate(zip(documents(result), predictions, strict=True), 1):
        assert document == {"record": number, "text": document["text"], **prediction.to_dict()}
        assert set(document) == {"record", "text", "label", "probability", "probs", "tokens", "tokens_read"}
    assert "这部影片差" in result.out  # as it is, not as \u numbers


def test_a_text_may_look_like_an_option(model: Path) -> None:
    assert labels(call("classify", model, "--", "--why bad", "good")) == [("--why bad", "bad"), ("good", "good")]


def rows(result: Result) -> list[tuple[int, str, str | None]]:
    """Number, text and label of each row of a command that ended well."""
    assert result.code == 0, result.err
    found = [json.loads(line) for line in result.out.splitlines()]
    return [(row["record"], row["text"], row["label"]) for row in found]


EMPTY = "without a label: {} of {} texts, which are empty\n"


def test_standard_input_is_a_text_a_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in ([], ["--input", "-"]):
        give(monkeypatch, "\ufeffgood\r\n\n差\nbad".encode())
        result = call("classify", model, *arguments)
        assert rows(result) == [(1, "good", "good"), (2, "", None), (3, "差", "bad"), (4, "bad", "bad")]
        assert result.err == EMPTY.format(1, 4)
    give(monkeypatch, b"")
    assert call("classify", model) == (0, "", "")


def test_text_that_is_not_utf_8_is_refused_or_replaced(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"text\ngood caf\xe9\nbad\n"
    expected = [("text", "good"), ("good caf\ufffd", "good"), ("bad", "bad")]
    give(monkeypatch, data)
    result = call("classify", model)
    assert (result.code, len(result.out.splitlines())) == (1, 0)
    assert "line 2 of standard input has the byte 0xe9; convert it, or go on with --errors replace" in result.err
    give(monkeypatch, data)
    assert labels(call("classify", model, "--errors", "replace")) == expected
    for name in ("a.txt", "a.csv"):
        (tmp_path / name).write_bytes(data)
        message = told(call("classify", model, "--input", tmp_path / name))
        assert f"{tmp_path / name} has the byte 0xe9 at offset 13" in message
        assert "iconv -f cp1252 -t utf-8" in message and "or go on with --errors replace" in message
        replaced = labels(call("classify", model, "--input", tmp_path / name, "--errors", "replace"))
        assert replaced == (expected if name == "a.txt" else expected[1:])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,n\n,1\n"a good,\nfilm",2\n" ",3\nbad,4\n'),
        ("a.jsonl", '{"text": null}\n{"text": "a good,\\nfilm"}\n\n{"text": " "}\n{"text": "bad"}\n'),
        ("a.json", '[{"text": ""}, {"text": "a good,\\nfilm"},{"text": " "},\n{"text": "bad"}]'),
    ],
)
def test_each_record_of_a_table_gives_one_numbered_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    monkeypatch.setattr(predict, "CLASSIFIED_AT_ONCE", 3)
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = call("classify", model, "--input", tmp_path / name)
    assert rows(result) == [(1, "", None), (2, "a good,\nfilm", "good"), (3, " ", None), (4, "bad", "bad")]
    assert result.err == EMPTY.format(2, 4)
    first = json.loads(result.out.splitlines()[0])
    assert first == {"record": 1, "text": "", "label": None, "probability": None, "reason": "empty text"}


def test_each_line_of_a_plain_file_gives_one_row(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\n好 \r\n\nbad".encode())
    result = call("classify", model, "--input", tmp_path / "a.txt")
    assert rows(result) == [(1, "", None), (2, "好 ", "good"), (3, "", None), (4, "bad", "bad")]


ADDED = ["predicted_label", "probability", "prob_bad", "prob_good"]


def test_output_is_the_table_with_columns_added(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text,label\n7,"good, 好",x\n8,,y\n9,bad,"z ""q"""\n', encoding="utf-8")
    result = call("classify", model, "--input", tmp_path / "a.csv", "--output", tmp_path / "out.csv")
    assert result == (0, f"{tmp_path / 'out.csv'}\n", EMPTY.format(1, 3))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["id", "text", "label", *ADDED]
    assert [row[:4] for row in table[1:]] == [
        ["7", "good, 好", "x", "good"],
        ["8", "", "y", ""],
        ["9", "bad", 'z "q"', "bad"],
    ]
    (prediction,) = textrnn.load(model).classify(["good, 好"])
    assert [float(value) for value in table[1][4:]] == pytest.approx(
        [prediction.probability, *prediction.probs.values()]
    )
    assert table[2][4:] == ["", "", ""]
    call("classify", model, "--input", tmp_path / "a.csv", "--output", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [["id", "text", "label", *ADDED]] * 3
    assert [line["predicted_label"] for line in lines] == ["good", None, "bad"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.csv", "out.jsonl"]


def test_output_of_records_of_json(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good", "tags": ["好"]}\n{"text": "bad", "tags": []}\n', "utf-8")
    call("classify", model, "--input", tmp_path / "a.jsonl", "--output", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["tags"] for row in csv.DictReader(file)] == ['["好"]', "[]"]
    call("classify", model, "--input", tmp_path / "a.jsonl", "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[0])["tags"] == ["好"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "out.xlsx"], "--output must end in .csv or .jsonl, was: out.xlsx"),
        (["--output", "out.csv", "--why"], "--output writes labels, --why shows one text at a time"),
        (["--input", "done.csv", "--output", "out.csv"], "adds the column 'predicted_label', record 1 has it already"),
        (["--input", "other.jsonl", "--output", "out.csv"], "columns of the first, record 2 has 'text, more'; give"),
        (["--input", "good.txt", "--output", "none/out.csv"], "none/out.csv could not be written"),
    ],
)
def test_an_output_that_cannot_be_written_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("good\n")
    (tmp_path / "done.csv").write_text("text,predicted_label\ngood,bad\n")
    (tmp_path / "other.jsonl").write_text('{"text": "good"}\n{"text": "bad", "more": 1}\n')
    before = files_of(tmp_path)
    assert message in told(call("classify", model, *arguments))
    assert files_of(tmp_path) == before


def test_the_text_column_of_the_training_is_remembered(tmp_path: Path) -> None:
    runtime = tiny_runtime(max_length=100, segment_length=0, sources={"text": "2"})
    model = write_tiny_classifier(tmp_path / "bundle", runtime=runtime).folder
    (tmp_path / "a.tsv").write_text("5\tgood film\n1\t差\n", encoding="utf-8")
    assert labels(call("classify", model, "--input", tmp_path / "a.tsv")) == [("good film", "good"), ("差", "bad")]


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
        ("a.jsonl", '{"review": "good film"}\n{"review": "差"}\n', ["--text", "review"]),
        ("a.tsv", "stars\treview\n5\tgood film\n1\t差\n", ["--text", "review"]),
        ("a.tsv", "5\tgood film\n1\t差\n", ["--text", "2"]),
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
        (["--input", "a.jsonl"], "the text column must be one of 'review' in a.jsonl, was: 'text'; name"),
        (["--input", "empty.txt"], "a source must hold some text, found none in: empty.txt"),
        (["--input", "a.png"], "is a PNG image"),
        (["good", "--png", "out.png"], "--png is of what --why says; give both"),
        (["good", "--label", "good"], "--label is of what --why says; give both"),
        (["good", "--text", "text"], "--text is of the records of --input FILE; give both"),
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
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    before = files_of(tmp_path)
    assert message in told(call("classify", model, *arguments))
    assert files_of(tmp_path) == before


def test_each_kind_of_model_is_asked_for_what_it_does(model: Path, language_model: Path) -> None:
    asked = told(call("classify", language_model, "good"))
    assert asked.endswith(f"{language_model} is a language model; use: textrnn generate {language_model}")
    assert told(call("generate", model)).endswith(f"{model} is a classifier; use: textrnn predict {model}")


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
        "calibration temperature ",
        ", direct scale ",
        "float32    accuracy 0.",
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
    for task in ([], ["--task", "sentiment"]):  # only the text is missing
        assert "'a.csv'" in told(call(*resume, *task))
    assert "task, which was 'classification' and is 'language_model' now" in told(
        call(*resume, "--task", "language_model")
    )
