"""Training by several workers, and on several devices: the losses, weights and states of one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from commands import call, error_of
from conftest import tiny_settings, write_small_text

from textrnn.config import ModelConfig
from textrnn.training.distributed.cluster import Cluster, cluster_of
from textrnn.training.distributed.distribution import Distribution
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.training_step import draw_replica_masks
from textrnn.training.network.classifier import Classifier

ROOT = Path(__file__).resolve().parents[3]
DRIVER = Path(__file__).parents[1] / "die_in_training.py"
MIRRORED = Path(__file__).with_name("train_mirrored.py")
PATIENCE = 300  # seconds, after which something hangs
# Masks of rows and masks of weights: both must be those of one process.
SETTINGS = tiny_settings(
    model__layers=1,
    model__weight_drop=0.1,
    model__embedding_dropout=0.1,
    train__epochs=2,
    train__evaluations=2,
    train__checkpoint_seconds=0.1,
)


class Workers:
    """Processes that train one run together.

    Args:
        arguments: of `textrnn train`, for all of them.
        each: more arguments for each.
        dies_at: the step in which the last of them is killed; 0 for none.
    """

    def __init__(self, *arguments: object, each: tuple[tuple[object, ...], ...] = ((), ()), dies_at: int = 0) -> None:
        programs = [["-m", "textrnn"], [str(DRIVER), "kill", str(dies_at)] if dies_at else ["-m", "textrnn"]]
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind(("localhost", 0))
            addresses = [f"localhost:{free.getsockname()[1]}" for free in (one, other)]
        self.processes = [
            subprocess.Popen(
                [sys.executable, *program, "train", *map(str, (*arguments, *own))],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
                | {
                    "TF_CONFIG": json.dumps(
                        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                    )
                },
                umask=0 if index else 0o022,  # so that files tell who made them
            )
            for index, (program, own) in enumerate(zip(programs, each, strict=True))
        ]

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, output and messages of each."""
        try:
            texts = [process.communicate(timeout=PATIENCE) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [(process.returncode, *text) for process, text in zip(self.processes, texts, strict=True)]


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_run(folder: Path, other: Path) -> None:
    """Losses to five digits, weights, optimizer and the state of every row; the bundle too."""
    lines, expected = history(folder), history(other)
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    for name in ("training_loss", "held_out_loss"):
        ours, theirs = ([line[name] for line in each if name in line] for each in (lines, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    arrays, one = (load_checkpoint(each / "checkpoint.npz")[1] for each in (folder, other))
    assert set(arrays) == set(one)
    for name, array in one.items():
        np.testing.assert_allclose(arrays[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert (folder / "bundle" / "manifest.json").exists()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process; the text lies beside it."""
    folder = tmp_path_factory.mktemp("alone")
    source = write_small_text(folder / "animals.txt")
    assert call("train", source, *SETTINGS, "--out", folder / "run", "--quiet").code == 0
    return folder / "run"


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_two_workers_are_one_process_though_one_is_killed(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    workers = Workers(alone.parent / "animals.txt", *SETTINGS, "--quiet", "--out", folder, dies_at=20)
    (code, out, err), (killed, _, _) = workers.end()
    assert (code, out, killed) == (1, "", -signal.SIGKILL)
    assert err == (
        "textrnn: all workers must run, worker 1 does not answer any more; the last checkpoint is kept, go on with, for"
        f" every worker: textrnn train --resume --out {folder}\n"
    )
    step = load_checkpoint(folder / "checkpoint.npz")[0].step
    assert 0 < step < history(alone)[-1]["step"]

    ends = Workers("--resume", "--out", folder, "--quiet").end()
    assert ends == [(0, f"{folder / 'bundle'}\n", "")] * 2
    assert_same_run(folder, alone)
    written_by_others = [path.name for path in folder.rglob("*") if path.stat().st_mode & 0o022]
    assert written_by_others == []


def test_a_worker_with_other_settings_is_refused(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    source = alone.parent / "animals.txt"
    ends = Workers(source, *SETTINGS, "--quiet", "--out", folder, each=((), ("--set", "model.hidden_dim=16"))).end()
    line = (
        "textrnn: every worker must train the same, worker 1 has another model.hidden_dim, 16 instead of worker 0's 32;"
        " give all of them the same command and the same text\n"
    )
    assert ends == [(1, "", line)] * 2
    assert not folder.exists()


def test_two_devices_are_one(alone: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(MIRRORED), "2", "train", alone.parent / "animals.txt", *SETTINGS, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run([*command, "--out", tmp_path / "run"], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert_same_run(tmp_path / "run", alone)


def test_a_batch_that_replicas_cannot_share_is_refused() -> None:
    three = Distribution()
    three.replicas = 3
    three.require_divisible(6)
    assert error_of(lambda: three.require_divisible(64)).endswith("multiple of that, was: 64; 63 or 66 is")
    assert error_of(lambda: three.require_divisible(2)).endswith("was: 2; 3 is")


def tf_config(cluster: object, kind: str = "worker", index: int = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_environment_names_the_workers() -> None:
    assert cluster_of({}) is None
    assert cluster_of(tf_config({"worker": ["one:1"]})) is None
    two = {"worker": ["one:1", "one:2"]}
    assert cluster_of(tf_config(two, index=1)) == Cluster(("one:1", "one:2"), 1)
    with_chief = cluster_of(tf_config({"chief": ["one:1"], **two}, index=1))
    assert with_chief == Cluster(("one:1", "one:1", "one:2"), 2, 1)
    assert with_chief.number("worker", 1) == 2
    assert (with_chief.is_chief, with_chief.index_on_host) == (False, 2)


@pytest.mark.parametrize(
    "environment",
    [
        {"TF_CONFIG": "two machines"},
        tf_config({"worker": ["one:1", "two:1"]}, index=2),
        tf_config({"worker": ["one:1", "two:1"], "ps": ["three:1"]}),
    ],
)
def test_an_environment_that_names_no_worker_is_refused(environment: dict[str, str]) -> None:
    assert "TF_CONFIG must name workers and which of them this is, was: " in error_of(lambda: cluster_of(environment))


class Second(Distribution):
    """The second of two replicas, without the other."""

    def __init__(self) -> None:
        self.replicas = 2

    def of_replica(self, array: Any, axis: int) -> Any:
        return tf.split(array, 2, axis)[1]


@pytest.mark.parametrize("segment_length", [0, 4])
def test_a_replica_drops_of_its_texts_what_one_process_would(segment_length: int) -> None:
    config = ModelConfig(hidden_dim=6, dropout=0.5, embedding_dropout=0.3, segment_length=segment_length)
    model, seed = Classifier(config, 20, 2), tf.constant([1, 2])
    whole = model.draw_masks(4, 8, seed)
    part = draw_replica_masks(lambda rows: model.draw_masks(rows, 8, seed), Second(), 2)
    rows = part["hidden_0"].shape[1]
    assert rows == whole["hidden_0"].shape[1] // 2
    np.testing.assert_array_equal(part["hidden_0"], whole["hidden_0"][:, rows:])
    np.testing.assert_array_equal(part["features"], whole["features"][2:])
    np.testing.assert_array_equal(part["embedding"], whole["embedding"])
