"""The scripts of pipelines/ and export/: each stage by itself, all at once, and the check of an exported model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import check_parity
import evaluate_model
import generate_text
import numpy as np
import predict_labels
import prepare_text
import pytest
import quantize_model
import run_all
import to_onnx
import train_model
import train_tokenizer
from commands import Result, call, files_of
from conftest import TINY, TINY_CLASSIFIER, TINY_VECTORS, TrainedRun, write_opinions, write_small_text

from textrnn.bundle import read_bundle

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*(ROOT / "pipelines").glob("*.py"), *(ROOT / "export").glob("*.py")])


def write_config(folder: Path) -> Path:
    """The TOML file of a tiny run on a small text beside it."""
    source = write_small_text(folder / "animals.txt")
    return write_toml(folder, source, TINY | {"train.epochs": 1, "train.prompt": "the"})


def write_toml(folder: Path, source: Path, settings: Mapping[str, object], head: str = "") -> Path:
    sections: dict[str, list[str]] = {"data": [f"source = {json.dumps(str(source))}"]}
    for name, value in settings.items():
        section, key = name.split(".")
        sections.setdefault(section, []).append(f"{key} = {json.dumps(value)}")
    path = folder / "tiny.toml"
    parts = (f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
    path.write_text(head + "".join(parts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run that `run_all` made, and what it printed."""
    folder = tmp_path_factory.mktemp("piped")
    arguments = [write_config(folder), "--out", folder / "run", "--quiet"]
    return folder, call(*arguments, main=run_all.main)


def test_run_all_goes_from_text_to_text(piped: tuple[Path, Result]) -> None:
    folder, result = piped
    assert result.code == 0, result.err
    headings = [line for line in result.out.splitlines() if line.startswith("== ")]
    assert [heading[:10] for heading in headings] == [f"== Stage {number}" for number in range(1, 7)] + ["== done in"]
    vocabulary_size = read_bundle(folder / "run" / "bundle").manifest.graphs["step"].outputs[0].shape[-1]
    for number, text in [
        (1, f"char tokenizer of {vocabulary_size} tokens: {folder / 'run' / 'tokenizer.json'}"),
        (2, "held out: "),
        (3, f"bundle: {folder / 'run' / 'bundle'}"),
        (4, "bits per character"),
        (5, "language_model, int8"),
        (5, "int8       tokens "),
        (6, "\nthe"),
    ]:
        assert text in section(result, number)
    assert len(section(result, 6)) > 400
    assert read_bundle(folder / "run" / "bundle-int8").manifest.precision == "int8"


def section(result: Result, number: int) -> str:
    """What `run_all` printed in one stage."""
    return result.out.split("\n== ")[number]


def test_run_all_does_nothing_twice(piped: tuple[Path, Result]) -> None:
    folder, first = piped
    before = files_of(folder / "run")
    again = call(folder / "tiny.toml", "--out", folder / "run", "--quiet", main=run_all.main)
    assert again.code == 0, again.err
    assert files_of(folder / "run") == before
    for number in (1, 2, 3, 4, 6):
        assert section(again, number) == section(first, number)


def test_each_stage_makes_what_it_needs_and_no_more(tmp_path: Path, piped: tuple[Path, Result]) -> None:
    config = write_config(tmp_path)
    run = tmp_path / "run"
    arguments = (config, "--out", run, "--quiet")

    result = call(*arguments, main=train_tokenizer.main)
    assert result == (0, result.out, "")
    assert set(files_of(run)) == {"config.json", "tokenizer.json"}

    result = call(*arguments, main=prepare_text.main)
    assert result == (0, result.out, "")
    assert {name.split("/")[0] for name in files_of(run)} == {"config.json", "tokenizer.json", "data"}
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["training", "held out"]

    for stage in (evaluate_model, quantize_model, generate_text):  # not yet
        before = files_of(run)
        result = call(*arguments, main=stage.main)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert files_of(run) == before

    # After training, that of the other run for once.
    shutil.rmtree(run)
    shutil.copytree(piped[0] / "run", run)
    shutil.rmtree(run / "bundle-int8")
    arguments = (piped[0] / "tiny.toml", "--out", run, "--quiet")
    assert "nats per token" in call(*arguments, main=evaluate_model.main).out
    full = call(*arguments, main=generate_text.main).out
    assert "int8" in call(*arguments, main=quantize_model.main).out
    assert (run / "bundle-int8").is_dir()
    assert call(*arguments, main=generate_text.main).out[:4] == full[:4] == "the "


def test_a_stage_tells_its_failure_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "animals.txt").write_bytes(b"the cat\xff")
    before = files_of(tmp_path)
    for main in (train_tokenizer.main, prepare_text.main, train_model.main, run_all.main):
        result = call(config, "--out", tmp_path / "run", "--quiet", main=main)
        assert result.code == 1
        assert result.err.count("\n") == 1
        assert "byte 0xff at offset 7" in result.err
        assert files_of(tmp_path) == before
    result = call(config, "--out", tmp_path / "run", "--set", "model.hiden_dim=3", main=train_model.main)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "did you mean model.hidden_dim" in result.err


def test_a_stage_refuses_the_run_of_another_configuration(piped: tuple[Path, Result]) -> None:
    folder, _ = piped
    before = files_of(folder)
    for main in (train_tokenizer.main, run_all.main):
        result = call(folder / "tiny.toml", "--out", folder / "run", "--set", "seed=2", main=main)
        assert result.code == 1
        assert "seed, which was 1 and is 2 now" in result.err
    assert files_of(folder) == before


def test_to_onnx_exports(trained: TrainedRun, tmp_path: Path) -> None:
    assert call(trained.folder, "--out", tmp_path / "bundle", main=to_onnx.main) == (0, f"{tmp_path / 'bundle'}\n", "")
    assert files_of(tmp_path / "bundle") == files_of(trained.folder / "bundle")
    again = call(trained.folder, "--out", tmp_path / "bundle", main=to_onnx.main)
    assert (again.code, again.err.count("\n")) == (1, 1)


def test_check_parity_tells_the_largest_difference(trained: TrainedRun) -> None:
    result = call(trained.folder, main=check_parity.main)
    assert (result.code, result.err) == (0, "")
    label, _, difference = result.out.rpartition(": ")
    assert label == "largest difference of a logit"
    assert 0 < float(difference) < 1e-4


def test_check_parity_fails_when_the_bundle_was_edited(trained: TrainedRun, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(trained.folder / "bundle", bundle)
    weights = bytearray((bundle / "weights.bin").read_bytes())
    weights[0] ^= 0x40
    (bundle / "weights.bin").write_bytes(weights)
    result = call(trained.folder, "--bundle", bundle, main=check_parity.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "weights.bin must have the SHA-256" in result.err


def test_check_parity_fails_when_the_weights_are_not_those_of_the_bundle(trained: TrainedRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    with np.load(run / "best.npz") as archive:
        arrays = dict(archive)
    arrays["output_kernel"] = arrays["output_kernel"] + np.float32(0.01)
    np.savez(run / "best.npz", **arrays)
    result = call(run, main=check_parity.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "must equal Keras within 0.0001" in result.err


def test_check_parity_is_for_float32(piped: tuple[Path, Result]) -> None:
    run = piped[0] / "run"
    result = call(run, "--bundle", run / "bundle-int8", main=check_parity.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "int8" in result.err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_script_says_in_its_first_lines_how_it_is_called(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    if "__main__" in text:
        assert f"\npython {script.relative_to(ROOT).as_posix()} " in text.split('"""')[1]


def test_a_script_runs_from_anywhere(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "pipelines" / "run_all.py"), "none.toml", "--out", "run"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr == "run_all: a config must be a readable TOML file, none.toml: No such file or directory\n"
    assert files_of(tmp_path) == {}


# A classifier


def test_run_all_goes_from_labelled_text_to_labels_and_why(tmp_path: Path) -> None:
    source = write_opinions(tmp_path / "opinions.jsonl", 100)
    config = write_toml(tmp_path, source, TINY_CLASSIFIER | {"train.epochs": 2}, 'task = "classification"\n')
    arguments = (config, "--out", tmp_path / "run", "--quiet")
    result = call(*arguments, main=run_all.main)
    assert result.code == 0, result.err
    headings = [line for line in result.out.splitlines() if line.startswith("== ")]
    assert [heading[:10] for heading in headings] == [f"== Stage {number}" for number in range(1, 7)] + ["== done in"]
    for number, text in [
        (1, "word tokenizer of "),
        (2, "held out: 20 texts of "),
        (3, f"bundle: {tmp_path / 'run' / 'bundle'}"),
        (4, "macro f1"),
        (5, "classifier, int8"),
        (6, "after each token"),
    ]:
        assert text in section(result, number)
    source_texts = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
    told = [json.loads(line) for line in section(result, 6).splitlines() if line.startswith("{")]
    assert len(told) == 5
    assert {line["text"] for line in told} <= set(source_texts)
    assert {line["label"] for line in told} <= {"0", "1"}

    before = files_of(tmp_path / "run")
    assert section(call(*arguments, main=run_all.main), 6) == section(result, 6)
    shutil.rmtree(tmp_path / "run" / "bundle-int8")
    assert call(*arguments, main=predict_labels.main).out.count('"label"') == 5  # by the bundle in float32
    after = files_of(tmp_path / "run")
    assert after == {name: hash for name, hash in before.items() if not name.startswith("bundle-int8")}


def test_check_parity_of_a_classifier(
    trained_classifier: TrainedRun, trained_classifier_int8: Path, tmp_path: Path
) -> None:
    result = call(trained_classifier.folder, main=check_parity.main)
    assert (result.code, result.err) == (0, "")
    assert 0 < float(result.out.removeprefix("largest difference of a logit: ")) < 1e-4

    small = call(trained_classifier.folder, "--bundle", trained_classifier_int8, main=check_parity.main)
    assert (small.code, small.out, small.err.count("\n")) == (1, "", 1)
    assert "is int8; its manifest says what 8 bits cost" in small.err

    shutil.copytree(trained_classifier.folder, tmp_path / "run")
    with np.load(tmp_path / "run" / "best.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["output_bias"] = arrays["output_bias"] + np.float32(0.01)
    np.savez(tmp_path / "run" / "best.npz", **arrays)
    result = call(tmp_path / "run", main=check_parity.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "an exported graph must equal Keras within 0.0001 of the largest logit, differed by 0.0" in result.err


# Models of vectors


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_all_stages_of_a_run_that_reads_vectors(task: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # It is trained already, which no stage does again.
    trained = request.getfixturevalue("trained_on_vectors" if task == "classification" else "trained_regressor")
    settings = TINY_VECTORS | ({"data.reads": "vectors"} if task == "classification" else {"train.epochs": 20})
    config = write_toml(tmp_path, trained.source, settings, f'task = "{task}"\n')
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    before = files_of(run)
    arguments = (config, "--out", run, "--quiet")
    result = call(*arguments, main=run_all.main)
    assert result.code == 0, result.err
    headings = [line for line in result.out.splitlines() if line.startswith("== ")]
    assert [heading[:10] for heading in headings] == [f"== Stage {number}" for number in range(1, 7)] + ["== done in"]
    for number, text in [
        (1, "this run reads vectors and needs no tokenizer\n"),
        (2, "held out: 40 sequences of 10 steps of 1 values "),
        (3, f"bundle: {run / 'bundle'}"),
        (4, "accuracy" if task == "classification" else "mean squared error"),
        (5, f"{'vector_classifier' if task == 'classification' else 'regressor'}, int8"),
    ]:
        assert text in section(result, number)
    told = [json.loads(line) for line in section(result, 6).splitlines() if line.startswith("{")]
    assert [{"record", "label", "true"} <= set(line) for line in told] == [task == "classification"] * 5
    with np.load(trained.source) as arrays:
        for line in told:
            truth = arrays["y"][line["record"] - 1].tolist()
            assert line["true"] == (truth if task == "classification" else pytest.approx(truth, rel=1e-6))
    after = files_of(run)
    assert {name: hash for name, hash in after.items() if not name.startswith("bundle-int8")} == before

    for main, message in ((generate_text.main, "a language model is"),):
        wrong = call(*arguments, main=main)
        assert (wrong.code, wrong.err.count("\n")) == (1, 1)
        assert message in wrong.err


def test_a_run_of_texts_has_no_stage_of_vectors(piped: tuple[Path, Result]) -> None:
    folder, _ = piped
    result = call(folder / "tiny.toml", "--out", folder / "run", "--quiet", main=predict_labels.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "this stage is for classifiers and regressors, the run is a language_model; leave it out" in result.err


def test_check_parity_of_models_of_vectors(
    trained_on_vectors: TrainedRun, trained_regressor: TrainedRun, tmp_path: Path
) -> None:
    for trained, what in ((trained_on_vectors, "logit"), (trained_regressor, "standardised value")):
        result = call(trained.folder, main=check_parity.main)
        assert (result.code, result.err) == (0, "")
        assert 0 < float(result.out.removeprefix(f"largest difference of a {what}: ")) < 1e-4
    shutil.copytree(trained_regressor.folder, tmp_path / "run")
    with np.load(tmp_path / "run" / "best.npz") as archive:
        arrays = dict(archive)
    arrays["output_bias"] = arrays["output_bias"] + np.float32(0.01)
    np.savez(tmp_path / "run" / "best.npz", **arrays)
    result = call(tmp_path / "run", main=check_parity.main)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "an exported graph must equal Keras within 0.0001 of the largest value, differed by 0.0" in result.err
