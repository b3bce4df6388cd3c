"""A run folder used later, from elsewhere, after its data moved, and by two processes at once."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import call, error_of, told
from conftest import TrainedRun, classifier_settings, tiny_settings, write_opinions, write_small_text

from textrnn.bundle import read_bundle
from textrnn.training.loop.run_lock import LOCK_FILE, locked
from textrnn.training.tasks.runs import open_run

pytestmark = pytest.mark.usefixtures("as_graphs")

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from textrnn.training.loop.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a run."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path: Path, trained: TrainedRun) -> Path:
    """A finished run without its bundle, and its text beside it."""
    folder = tmp_path / "project" / "run"
    shutil.copytree(trained.folder, folder)
    shutil.rmtree(folder / "bundle")
    text = Path(shutil.copy(trained.source, tmp_path / "project" / "animals.txt"))
    result = call("train", text, "--resume", "--out", folder, "--quiet")
    assert (result.code, result.out) == (0, f"{folder / 'bundle'}\n"), result.err
    return folder


def test_a_run_that_was_given_a_relative_path_goes_on_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    write_small_text(tmp_path / "here" / "animals.txt", 60)
    monkeypatch.chdir(tmp_path / "here")
    settings = tiny_settings(model__layers=1, train__epochs=1)
    assert call("train", "animals.txt", *settings, "--out", "run", "--quiet").code == 0
    shutil.rmtree(tmp_path / "here" / "run" / "bundle")
    monkeypatch.chdir(tmp_path / "there")
    result = call("train", "--resume", "--out", "../here/run", "--quiet")
    assert result.code == 0, result.err
    assert call("evaluate", "../here/run").code == 0


def test_data_that_moved_are_missed_in_one_line_and_found_at_their_new_place(run: Path, tmp_path: Path) -> None:
    text = run.parent / "animals.txt"
    moved = text.rename(tmp_path / "renamed.txt")
    line = told(call("train", "--resume", "--out", run, "--quiet"))
    assert line.endswith(
        f"{text} is not there; give the place they moved to: textrnn train NEW_PLACE --resume --out {run}"
    )
    assert call("train", moved, "--resume", "--out", run, "--quiet").code == 0
    assert open_run(run).config.data.source == (str(moved),)
    assert call("train", "--resume", "--out", run, "--quiet").code == 0, "the new place is remembered"
    assert call("evaluate", run).code == 0


def test_other_data_are_refused_and_the_run_stays_as_it_is(run: Path, tmp_path: Path) -> None:
    before = (run / "config.json").read_bytes()
    other = write_small_text(tmp_path / "other.txt", 40)
    line = told(call("train", other, "--resume", "--out", run, "--quiet"))
    assert f"{run} was made from other data, {other} (data.source) has other content" in line
    assert "--config" not in line
    assert (run / "config.json").read_bytes() == before


def test_damaged_digests_are_one_line(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copy(run.parent / "animals.txt", tmp_path / "moved.txt"))
    (run / "data" / "sources.json").write_text("{", encoding="utf-8")
    assert "sources.json cannot be used" in told(call("train", moved, "--resume", "--out", run, "--quiet"))


def test_another_number_of_processes_leaves_the_configuration_as_it_is(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    text = run.parent / "animals.txt"
    again = ("train", text, *tiny_settings(train__epochs=2, data__processes=1), "--resume", "--out", run, "--quiet")
    result = call(*again)
    assert result.code == 0, result.err
    assert (run / "config.json").read_bytes() == before


def test_the_settings_that_differ_are_named(run: Path) -> None:
    line = told(call("train", "--resume", "--out", run, *tiny_settings(train__epochs=2, model__layers=3)))
    assert "model.layers, which was 2 and is 3 now;" in line
    assert "epochs" not in line


def test_labelled_data_that_moved_are_found_too(trained_classifier: TrainedRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained_classifier.folder, folder)
    moved = shutil.copy(trained_classifier.source, tmp_path / "moved.jsonl")
    assert call("train", moved, "--resume", "--out", folder, "--quiet").code == 0
    assert error_of(
        lambda: open_run(folder, _with_source(folder, write_opinions(tmp_path / "o.jsonl", seed=5)))
    ).startswith(f"{folder} was made from other data")


def _with_source(folder: Path, source: Path) -> object:
    from dataclasses import replace

    config = open_run(folder).config
    return replace(config, data=replace(config.data, source=(str(source),)))


def test_a_bundle_names_no_folder_of_the_machine(run: Path) -> None:
    manifest = read_bundle(run / "bundle").manifest
    assert manifest.config["data"]["source"] == ["animals.txt"]
    assert str(run.parent) not in (run / "bundle" / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "name", "arguments"),
    [
        ("the cat sat on the mat. " * 60, "stdin.txt", tiny_settings(model__layers=1, train__epochs=0.2)),
        (
            "text;label\n" + "".join(f"{word} film {n};{word}\n" for n in range(20) for word in ("good", "bad")),
            "stdin.csv",
            classifier_settings(train__epochs=1),
        ),
    ],
    ids=["text", "table"],
)
def test_standard_input_is_a_source_that_the_run_keeps(
    content: str, name: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8"))
    result = call("train", "-", *arguments, "--out", tmp_path / "run", "--quiet")
    assert result.code == 0, result.err
    assert (tmp_path / "run" / name).read_text(encoding="utf-8") == content
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert call("train", "--resume", "--out", moved, "--quiet").code == 0
    assert call("evaluate", moved).code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8"))
    result = call("evaluate", moved, "-", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["source"] == ["-"]


@pytest.mark.parametrize("stdin", [None, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")], ids=["closed", "empty"])
def test_no_standard_input_is_one_line_and_leaves_nothing(
    stdin: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "a source was -, standard input, which is" in told(call("train", "-", "--out", tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_refused_with_the_first_ones_number(run: Path) -> None:
    with holder(run) as process:
        line = told(call("train", "--resume", "--out", run, "--quiet"))
        assert f"{run} is being trained by process {process.pid} on {socket.gethostname()}; wait" in line
    assert call("train", "--resume", "--out", run, "--quiet").code == 0


def test_the_lock_of_a_dead_process_is_taken_over(run: Path) -> None:
    with holder(run) as process:
        process.kill()
        process.wait()
        assert json.loads((run / LOCK_FILE).read_text(encoding="utf-8"))["pid"] == process.pid
    with locked(run):
        assert json.loads((run / LOCK_FILE).read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not (run / LOCK_FILE).exists()
