"""A run that is killed again and again ends as if nothing had been: the same weights bit for bit, the same history."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import call, files_of
from conftest import TrainedRun, tiny_settings, write_small_text

from textrnn.training.loop.checkpoints import load_checkpoint

KILLED = signal.SIGTERM if sys.platform == "win32" else -signal.SIGKILL

ROOT = Path(__file__).resolve().parents[3]
DRIVER = Path(__file__).parents[1] / "die_in_training.py"
TEXTRNN = ("-m", "textrnn")
SETTINGS = tiny_settings(
    model__hidden_dim=16,
    model__layers=1,
    model__weight_drop=0.1,
    train__batch_size=4,
    train__epochs=4,
    train__evaluations=8,
    train__checkpoint_seconds=0.005,
)
PATIENCE = 240  # seconds, after which something hangs


class Ended(NamedTuple):
    """A run that came to its end: its folder, and what its last process printed."""

    folder: Path
    out: str
    err: str


@contextmanager
def training(program: tuple[str, ...], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *program, "train", *map(str, arguments), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # jax, where it is installed, sets it for this process
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def steps_of(folder: Path) -> int:
    """The last step in the history of a run."""
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return 0
    return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("uninterrupted")
    source = write_small_text(folder / "animals.txt")
    with training(TEXTRNN, source, *SETTINGS, "--out", folder / "run") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return Ended(folder / "run", out, err)


@pytest.fixture(scope="module")
def killed(uninterrupted: Ended, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same run in other processes, killed at random, twice while it writes a file, and stopped by Ctrl-C."""
    source, total = uninterrupted.folder.parent / "animals.txt", steps_of(uninterrupted.folder)
    folder = tmp_path_factory.mktemp("killed") / "run"
    start: tuple[object, ...] = (source, *SETTINGS)

    # The first evaluation is the best so far, whatever it finds.
    with training((str(DRIVER), "best.npz", "1"), *start, "--out", folder) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == KILLED
    assert not (folder / "best.npz").exists()
    assert list(folder.glob(".best.npz.*"))
    load_checkpoint(folder / "checkpoint.npz")

    step = random.Random(1).randint(1, total // 6)
    with training((str(DRIVER), "kill", str(step)), "--resume", "--out", folder) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == KILLED, f"ended at step {steps_of(folder)} of {total}"
    load_checkpoint(folder / "checkpoint.npz")

    with training((str(DRIVER), "interrupt", "2"), "--resume", "--out", folder) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("textrnn: stopped at step ")
    assert err.endswith(f"go on with: textrnn train --resume --out {folder}\n")
    assert err.count("\n") == 1

    stopped, _ = load_checkpoint(folder / "checkpoint.npz")
    with training((str(DRIVER), "checkpoint.npz", "3"), "--resume", "--out", folder) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == KILLED
    assert list(folder.glob(".checkpoint.npz.*"))
    assert load_checkpoint(folder / "checkpoint.npz")[0].step > stopped.step

    with training(TEXTRNN, "--resume", "--out", folder) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return Ended(folder, out, err)


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Every line of a history but the times in it."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


@pytest.mark.parametrize("file", ["checkpoint.npz", "best.npz"])
def test_a_killed_run_ends_in_the_same_weights_bit_for_bit(uninterrupted: Ended, killed: Ended, file: str) -> None:
    progress, arrays = load_checkpoint(killed.folder / file)
    expected_progress, expected = load_checkpoint(uninterrupted.folder / file)
    assert progress.step == expected_progress.step
    assert progress.best_loss == expected_progress.best_loss
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        assert array.tobytes() == expected[name].tobytes(), name
        assert np.isfinite(array).all()


def test_a_killed_run_has_the_same_history(uninterrupted: Ended, killed: Ended) -> None:
    history = history_of(killed.folder)
    assert history == history_of(uninterrupted.folder)
    steps = [line["step"] for line in history]
    assert steps == sorted(set(steps))


def test_a_killed_run_exports_the_same_model_and_leaves_no_litter(uninterrupted: Ended, killed: Ended) -> None:
    weights = "bundle/weights.bin"
    assert (killed.folder / weights).read_bytes() == (uninterrupted.folder / weights).read_bytes()
    assert set(files_of(killed.folder)) == set(files_of(uninterrupted.folder))


@pytest.mark.parametrize("run", ["uninterrupted", "killed"])
def test_quiet_training_prints_the_bundle_and_nothing_else(run: str, request: pytest.FixtureRequest) -> None:
    ended: Ended = request.getfixturevalue(run)
    assert ended.out == f"{ended.folder / 'bundle'}\n"
    assert ended.err == ""


# A classifier


@pytest.fixture(scope="module")
def killed_classifier(trained_classifier: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `trained_classifier`, killed in another process while it writes a checkpoint, ended in this one."""
    folder = tmp_path_factory.mktemp("killed_classifier") / "run"
    config = json.loads((trained_classifier.folder / "config.json").read_text(encoding="utf-8"))
    settings = [f"{section}.{name}={json.dumps(value)}" for section in ("data", "tokenizer", "model", "train")
                for name, value in config[section].items()]  # fmt: skip
    arguments = [word for setting in ["task=classification", *settings] for word in ("--set", setting)]
    with training((str(DRIVER), "checkpoint.npz", "3"), *arguments, "--out", folder) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == KILLED
    assert list(folder.glob(".checkpoint.npz.*"))
    assert load_checkpoint(folder / "checkpoint.npz")[0].step == 40
    assert steps_of(folder) == 60
    assert call("train", "--resume", "--out", folder, "--quiet") == (0, f"{folder / 'bundle'}\n", "")
    return folder


@pytest.mark.parametrize("file", ["checkpoint.npz", "best.npz"])
def test_a_killed_classifier_ends_in_the_same_weights_bit_for_bit(
    trained_classifier: TrainedRun, killed_classifier: Path, file: str
) -> None:
    progress, arrays = load_checkpoint(killed_classifier / file)
    expected_progress, expected = load_checkpoint(trained_classifier.folder / file)
    assert (progress.step, progress.best_loss) == (expected_progress.step, expected_progress.best_loss)
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        assert array.tobytes() == expected[name].tobytes(), name


def test_a_killed_classifier_tells_and_exports_the_same(
    trained_classifier: TrainedRun, killed_classifier: Path
) -> None:
    assert history_of(killed_classifier) == history_of(trained_classifier.folder)
    ours, theirs = files_of(killed_classifier), files_of(trained_classifier.folder)
    assert set(ours) == set(theirs)
    for name in ("bundle/weights.bin", "bundle/model.onnx", "report.json", "report.txt"):
        assert ours[name] == theirs[name], name


def test_a_classifier_killed_before_its_bundle_gets_report_and_bundle(
    trained_classifier: TrainedRun, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained_classifier.folder, folder)
    whole = files_of(folder)
    shutil.rmtree(folder / "bundle")
    (folder / "report.json").unlink()
    (folder / ".bundle.1.tmp").mkdir()
    assert call("train", "--resume", "--out", folder, "--quiet") == (0, f"{folder / 'bundle'}\n", "")
    drawn = {"report.png"}  # matplotlib may name its version or the hour
    assert {name: hash for name, hash in files_of(folder).items() if name not in drawn} == (
        {name: hash for name, hash in whole.items() if name not in drawn}
    )
