"""Models of vectors by command: train, resume, `classify`, `evaluate`, `info`, `export`, and what each refuses."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Result, call, files_of, told
from conftest import TrainedRun, vector_settings, write_lines
from numpy.typing import NDArray
from tiny_bundle import CLASSES, write_tiny_bundle, write_tiny_classifier, write_tiny_regressor
from tiny_bundle import write_tiny_vector_classifier as write_classifier

import textrnn
from textrnn.commands import predict
from textrnn.data.labelled_vectors import VectorDataset
from textrnn.training.loop.checkpoints import load_checkpoint

SERIES = [[0.5, 1.5, -2.0], [3.0, 0.25, 1.0], [-1.0, -1.0, 2.0]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("model") / "bundle").folder


@pytest.fixture(scope="module")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_regressor(tmp_path_factory.mktemp("regressor") / "bundle").folder


def documents(result: Result) -> list[dict[str, Any]]:
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


# classify


def write_series(folder: Path, name: str, labelled: bool) -> Path:
    """`SERIES` as a file of the kind that its name says."""
    path = folder / name
    labels = ["up", "down", "up"]
    if name.endswith(".npz"):
        np.savez(path, x=np.array(SERIES), **({"y": labels} if labelled else {}))
    elif name.endswith(".csv"):
        rows = [["a", "b", "c"], *(map(str, values) for values in SERIES)]
        ends = [",label", *(f",{label}" for label in labels)] if labelled else [""] * 4
        path.write_text("".join(f"{','.join(row)}{end}\n" for row, end in zip(rows, ends, strict=True)))
    else:
        import pyarrow
        import pyarrow.parquet

        records = [{"x": x, "label": label} for x, label in zip(SERIES, labels, strict=True)]
        records = records if labelled else [{"x": record["x"]} for record in records]
        if name.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.jsonl", "a.parquet"])
def test_records_of_a_file_a_line_each(model: Path, regressor: Path, tmp_path: Path, name: str, labelled: bool) -> None:
    path = write_series(tmp_path, name, labelled)
    found = documents(call("classify", model, "--input", path))
    predictions = textrnn.load(model).classify(SERIES)
    assert [line.pop("record") for line in found] == [1, 2, 3]
    for line, prediction in zip(found, predictions, strict=True):
        assert line == {"label": prediction.label, "probability": prediction.probability, "probs": prediction.probs}
        assert tuple(line["probs"]) == CLASSES

    values = textrnn.load(regressor).predict(SERIES)
    found = documents(call("classify", regressor, "--input", path))
    assert [set(line) for line in found] == [{"record", "values"}] * 3
    assert np.array_equal(np.array([line["values"] for line in found], np.float32), values)
    assert all(len(str(value)) < 13 for line in found for value in line["values"])


@pytest.mark.parametrize("labelled", [True, False])
def test_images_in_idx_files(tmp_path: Path, labelled: bool) -> None:
    model = write_classifier(tmp_path / "bundle", features=4).folder
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    path = tmp_path / "some-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()))
    if labelled:  # they are not looked at
        (tmp_path / "some-labels-idx1-ubyte").write_bytes(b"damaged")
    found = documents(call("classify", model, "--input", path))
    assert [line["label"] for line in found] == [told.label for told in textrnn.load(model).classify(images)]


def test_columns_may_be_named(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", series=np.array(SERIES), other=np.ones(3))
    asked = told(call("classify", model, "--input", tmp_path / "a.npz"))
    assert "has 'series, other', wanted: 'x'" in asked
    assert "--values" in asked
    found = call("classify", model, "--input", tmp_path / "a.npz", "--values", "series")
    assert found == call("classify", model, "--input", write_series(tmp_path, "b.npz", labelled=False))


def test_records_keep_their_numbers_where_some_are_empty(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "CLASSIFIED_AT_ONCE", 2)
    lines = [json.dumps({"x": x}) for x in ([1.0], [], [2.0, 3.0], None, [4.0], [1.0, 1.0, 1.0])]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    result = call("classify", model, "--input", tmp_path / "a.jsonl")
    assert (result.code, result.err) == (0, "left out: 2 records without values\n")
    found = [json.loads(line) for line in result.out.splitlines()]
    assert [line["record"] for line in found] == [1, 3, 5, 6]
    expected = textrnn.load(model).predict([[1.0], [2.0, 3.0], [4.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose([list(line["probs"].values()) for line in found], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good"], "reads vectors of a file, was given text: 'good'; give --input FILE"),
        ([], "reads vectors of a file, was given none; give --input FILE"),
        (["--input", "-"], "reads vectors of a file, was given none; give --input FILE"),
        (["--input", "a.csv", "--why"], "--why is for classifiers of texts, this is a"),
        (["--input", "a.csv", "--png", "out.png"], "--png is for classifiers of texts, this is a"),
        (["--input", "a.csv", "--label", "up"], "--label is for classifiers of texts, this is a"),
        (["--input", "none.npz"], "a source must be a file or folder that exists, was: 'none.npz'"),
        (["--input", "a.txt"], "a source must hold some vectors, found none in: a.txt"),
        (["--input", "nan.csv"], "values must be finite numbers below 3.4e38, nan.csv line 2 has: nan"),
        (["--input", "words.csv"], "must hold numbers, words.csv line 2 has 'good' in the column 'b'"),
        (["--input", "wide.npz"], "wide.npz record 1 has 2 values a step, those trained on had 1"),
        (["--input", "bad.npz"], "bad.npz must be an .npz of numpy"),
        (["--input", "a.csv", "--values", "z"], "the values column must be one of 'a, b' in a.csv, was: 'z'"),
    ],
)
def test_a_wrong_call_is_told(
    model: Path,
    regressor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "a.txt").write_text("good\n")
    (tmp_path / "nan.csv").write_text("a,b\n1,nan\n")
    (tmp_path / "words.csv").write_text("a,b\n1,good\n")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    np.savez(tmp_path / "wide.npz", x=np.ones((1, 3, 2)))
    before = files_of(tmp_path)
    for path in (model, regressor):
        assert message in told(call("classify", path, *arguments))
    assert files_of(tmp_path) == before


def test_vectors_for_other_models_are_refused(tmp_path: Path) -> None:
    texts = write_tiny_classifier(tmp_path / "texts").folder
    language_model = write_tiny_bundle(tmp_path / "language_model").folder
    path = write_series(tmp_path, "a.npz", labelled=True)
    assert "a.npz" in told(call("classify", texts, "--input", path))
    for folder, kind in ((texts, "classifier"), (language_model, "language model")):
        asked = told(call("evaluate", folder, path, "--values", "x"))
        assert asked.endswith(f"--values is for vectors, this is a {kind}; leave it out")


# evaluate and info


def metrics_of(*arguments: object) -> dict[str, Any]:
    (document,) = documents(call("evaluate", *arguments, "--json"))
    return document


def test_a_classifier_is_measured_on_a_source(model: Path, tmp_path: Path) -> None:
    labels = [prediction.label for prediction in textrnn.load(model).classify(SERIES)]
    np.savez(tmp_path / "a.npz", series=np.array(SERIES), truth=[labels[0], labels[1], "sideways"])
    arguments = [tmp_path / "a.npz", "--values", "series", "--label", "truth"]
    result = call("evaluate", model, *arguments, "--json")
    assert result.err == "left out: 1 sequences with a label never seen in training\n"
    assert json.loads(result.out)["accuracy"] == 1
    shown = call("evaluate", model, *arguments).out
    assert "accuracy             1.0000\n" in shown
    assert shown.splitlines()[-1].startswith("up                   precision ")


def test_a_regressor_is_measured_on_a_source(regressor: Path, tmp_path: Path) -> None:
    values = textrnn.load(regressor).predict(SERIES)
    np.savez(tmp_path / "a.npz", x=np.array(SERIES), y=values + np.array([[0, 0], [1, 0], [0, -2]]))
    metrics = metrics_of(regressor, tmp_path / "a.npz")
    assert (metrics["records"], metrics["source"]) == (3, [str(tmp_path / "a.npz")])
    assert metrics["mean_squared_error"] == pytest.approx(5 / 6, abs=1e-4)
    assert metrics["mean_absolute_error"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["largest_error"] == pytest.approx(2, abs=1e-4)
    assert "mean squared error   0.833" in call("evaluate", regressor, tmp_path / "a.npz").out
    np.savez(tmp_path / "a.npz", x=np.array(SERIES), y=values)
    shown = call("evaluate", regressor, tmp_path / "a.npz").out
    assert "explained            1.0000\n" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "--window", "5"], "--window is for language models, this is a"),
        (["a.csv", "--text", "a"], "--text is for texts, this is a"),
        (["a.csv", "--label", "z"], "the label column must be one of 'a, b, label' in a.csv, was: 'z'"),
        (["a.csv", "--values", "z"], "the values column must be one of 'a, b, label' in a.csv, was: 'z'"),
        (["none.csv"], "a source must be a file or folder that exists"),
        ([], "evaluate needs data that was not trained on, a bundle has none; give a SOURCE or the run folder"),
    ],
)
def test_what_cannot_be_measured_is_told(
    model: Path,
    regressor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a,b,label\n1,2,3\n")
    for path in (model, regressor):
        assert message in told(call("evaluate", path, *arguments))
    assert "labels must be 'down, even, up', found none of these but '3'" in told(call("evaluate", model, "a.csv"))
    assert "as the model predicts, 2, those of the source have 1" in told(call("evaluate", regressor, "a.csv"))


def test_info_describes_them(model: Path, regressor: Path) -> None:
    shown = call("info", model).out
    assert "kind       vector_classifier, float32, " in shown
    assert "tokenizer" not in shown
    assert "classify   in  vectors: float32 (batch, time, 1)\n" in shown
    assert "classify   in  lengths: int32 (batch)\n" in shown
    shown = call("info", regressor).out
    assert "kind       regressor, float32, " in shown
    assert "regress    out values: float32 (batch, 2)\n" in shown


# From numbers to a model that tells


def held_out_of(run: Path) -> VectorDataset:
    (path,) = (run / "data").glob("*.held_out.json")
    return VectorDataset.open(path)


def test_a_classifier_from_training_to_use(trained_on_vectors: TrainedRun, tmp_path: Path) -> None:
    run, source, result = trained_on_vectors
    assert result.err.splitlines()[-1] == f"try: textrnn predict {run} --input FILE"
    metrics = metrics_of(run)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (metrics["source"], metrics["accuracy"]) == ("held out", report["accuracy"])
    assert metrics["accuracy"] >= 0.9
    assert metrics_of(run / "bundle", source)["accuracy"] >= 0.9
    with np.load(source) as arrays:
        lines, truth = arrays["x"], arrays["y"]
    found = documents(call("classify", run, "--input", source))
    assert [line["label"] for line in found] == [told.label for told in textrnn.load(run).classify(lines)]
    assert np.mean([line["label"] for line in found] == truth) >= 0.9

    small = call("export", run, "--quantize", "int8", "--out", tmp_path / "int8")
    assert small.code == 0
    assert small.err.endswith(" points of accuracy on held-out sequences\n")
    assert metrics_of(tmp_path / "int8", source)["accuracy"] >= 0.85


def test_a_regressor_from_training_to_use(trained_regressor: TrainedRun, tmp_path: Path) -> None:
    run, source, result = trained_regressor
    assert result.err.splitlines()[-1] == f"try: textrnn predict {run} --input FILE"
    metrics = metrics_of(run)
    manifest = textrnn.load(run).manifest
    assert metrics["records"] == len(held_out_of(run)) == 40
    assert metrics["mean_squared_error"] == pytest.approx(manifest.metrics["held_out"]["mean_squared_error"], rel=1e-3)
    assert metrics["explained"] > 0.7
    with np.load(source) as arrays:
        lines: NDArray[Any] = arrays["x"]
    found = documents(call("classify", run, "--input", source))
    np.testing.assert_allclose([line["values"] for line in found], textrnn.load(run).predict(lines), rtol=1e-5)

    small = call("export", run, "--quantize", "int8", "--out", tmp_path / "int8")
    measured = textrnn.load(tmp_path / "int8").manifest.metrics
    full, cost = (measured[name]["mean_squared_error"] for name in ("float32", "int8"))
    assert small.err == f"int8 raises the mean squared error on held-out sequences from {full:.6g} to {cost:.6g}\n"
    assert metrics_of(tmp_path / "int8", source)["explained"] > 0.7


def test_a_run_that_stopped_goes_on_to_the_same_weights(trained_regressor: TrainedRun, tmp_path: Path) -> None:
    whole, run = trained_regressor.folder, tmp_path / "run"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("bundle"))
    shutil.copyfile(whole.parent / "first.npz", run / "checkpoint.npz")
    stopped, ended = (load_checkpoint(folder / "checkpoint.npz") for folder in (run, whole))
    assert stopped[0].step < ended[0].step
    result = call("train", "--resume", "--out", run, "--quiet")
    assert (result.code, result.err) == (0, "")
    for name in ("checkpoint.npz", "best.npz"):
        (_, ours), (_, theirs) = (load_checkpoint(folder / name) for folder in (run, whole))
        assert {name: array.tobytes() for name, array in ours.items()} == {
            name: array.tobytes() for name, array in theirs.items()
        }
    assert files_of(run / "bundle") == files_of(whole / "bundle")


def test_a_run_without_its_bundle_gets_it(trained_on_vectors: TrainedRun, tmp_path: Path) -> None:
    run = trained_on_vectors.folder
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    assert call("train", "--resume", "--out", tmp_path / "run", "--quiet").code == 0
    assert files_of(tmp_path / "run" / "bundle") == files_of(run / "bundle")


def test_a_longer_run_is_another(trained_on_vectors: TrainedRun, tmp_path: Path) -> None:
    run, source, _ = trained_on_vectors
    settings = vector_settings(model__hidden_dim=10)
    asked = told(call("train", source, "--task", "classification", *settings, "--resume", "--out", run))
    assert "model.hidden_dim, which was 8 and is 10 now" in asked
    other = write_lines(tmp_path / "other.npz", 60, seed=1)
    assert metrics_of(run, other)["accuracy"] >= 0.8
