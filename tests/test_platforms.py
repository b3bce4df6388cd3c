"""What Windows does otherwise, tried on any system by substituting the functions of the platform."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from as_windows import let_windows_rule
from commands import call, error_of, told
from conftest import (
    TrainedRun,
    classifier_settings,
    tiny_settings,
    vector_settings,
    write_lines,
    write_opinions,
    write_small_text,
)

from textrnn import cli, platforms
from textrnn.data.tokens import processes
from textrnn.data.tokens.processes import ProcessDied, Processes
from textrnn.files import new_folder, write_atomically
from textrnn.training import tensorflow_setup

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "WINDOWS", True)
    monkeypatch.setattr(platforms, "PATIENCE", 5.0)


def refusing(times: int, replace: object = Path.replace) -> tuple[object, list[Path]]:
    """`Path.replace` that is refused so many times, as while a virus scanner reads the file; and its calls."""
    calls: list[Path] = []

    def replacing(source: Path, target: Path) -> object:
        calls.append(source)
        if len(calls) <= times:
            raise PermissionError(errno.EACCES, "Permission denied", str(source))
        return replace(source, target)  # type: ignore[operator]

    return replacing, calls


def test_a_file_that_another_program_has_open_for_a_moment_is_written(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("old", encoding="utf-8")
    replacing, calls = refusing(2)
    monkeypatch.setattr(Path, "replace", replacing)
    with write_atomically(tmp_path / "a.json") as temporary:
        temporary.write_text("new", encoding="utf-8")
    with new_folder(tmp_path / "folder") as temporary:
        (temporary / "b").touch()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.json", "b", "folder"]
    assert len(calls) == 4


def test_a_file_that_stays_open_is_one_line_and_keeps_its_content(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        with write_atomically(tmp_path / "a.json") as temporary:
            temporary.write_text("new", encoding="utf-8")

    (tmp_path / "a.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(platforms, "PATIENCE", 0.1)
    replacing, calls = refusing(1000)
    monkeypatch.setattr(Path, "replace", replacing)
    assert "a.json could not be written: Permission denied" in error_of(write)
    assert len(calls) > 1
    monkeypatch.setattr(platforms, "WINDOWS", False)
    calls.clear()
    assert "Permission denied" in error_of(write)
    assert len(calls) == 1, "elsewhere a refusal is for good"
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.parametrize(
    ("word", "elsewhere", "on_windows"),
    [
        ("runs/my", "runs/my", "runs/my"),
        ("runs\\诗集", "'runs\\诗集'", "runs\\诗集"),
        ("C:\\my runs\\a&b", "'C:\\my runs\\a&b'", '"C:\\my runs\\a&b"'),
        ("", "''", '""'),
    ],
)
def test_a_command_to_copy_is_quoted_for_the_shell_of_the_system(
    word: str, elsewhere: str, on_windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "WINDOWS", False)
    assert platforms.quoted(word) == elsewhere
    monkeypatch.setattr(platforms, "WINDOWS", True)
    assert platforms.quoted(word) == on_windows


@pytest.mark.parametrize("encoding", ["cp1252", "cp936"])
def test_chinese_text_can_be_redirected_on_windows(
    encoding: str, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", output)
    assert cli.main(["classify", str(GOLDEN / "classifier-float32"), "\N{PILE OF POO}电影"]) == 0
    output.flush()
    assert "\N{PILE OF POO}电影" in output.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


def test_the_encoding_that_a_user_chose_stays(windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp936")
    output = io.TextIOWrapper(io.BytesIO(), encoding="cp936")
    platforms.use_utf8(output, None)
    assert output.encoding == "cp936"


class ClosedPipe(io.RawIOBase):
    """A pipe without a reader, as Windows reports it; its descriptor is of a file."""

    def __init__(self, file: io.FileIO, error: OSError) -> None:
        self.file, self.error = file, error

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.file.fileno()

    def write(self, data: object) -> int:
        raise self.error


@pytest.mark.parametrize("windows_rules", [True, False])
def test_a_reader_that_exits_ends_the_command_quietly(
    windows_rules: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platforms, "WINDOWS", windows_rules)
    error = OSError(errno.EINVAL, "Invalid argument") if windows_rules else BrokenPipeError(errno.EPIPE, "Broken pipe")
    with (tmp_path / "pipe").open("wb", buffering=0) as file:
        pipe = ClosedPipe(file, error)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="utf-8", write_through=True))  # type: ignore[type-var]
        assert cli.main(["info", str(GOLDEN / "classifier-float32")]) == 1
        os.write(file.fileno(), b"what is left in the buffer")
    assert (tmp_path / "pipe").read_bytes() == b"", "what follows goes nowhere"
    assert capfd.readouterr().err == ""


def test_an_invalid_argument_elsewhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "WINDOWS", True)
    assert not platforms.is_broken_pipe(OSError(errno.EINVAL, "Invalid argument", "what?.txt"))
    assert not platforms.is_broken_pipe(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(platforms, "WINDOWS", False)
    assert not platforms.is_broken_pipe(OSError(errno.EINVAL, "Invalid argument"))


def test_a_worker_process_that_died_is_noticed_as_windows_reports_it(
    windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(processes, "START", "")  # an interpreter that exits at once
    monkeypatch.setattr(processes.pickle, "dump", refuse)  # its pipe has no reader
    with Processes(1, len, lambda size: None, "was counting") as working, pytest.raises(ProcessDied, match="counting"):  # type: ignore[arg-type]
        list(working.map(["task"]))


def test_tensorflow_is_imported_where_standard_error_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", refuse)
    assert tensorflow_setup.import_tensorflow(lambda: "started") == "started"


@pytest.mark.usefixtures("eagerly")
def test_the_default_name_of_a_run_is_one_that_windows_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_small_text(tmp_path / "a:b?.txt")
    settings = tiny_settings(train__epochs=0.05, train__evaluations=1)
    assert call("train", source, *settings, "--quiet").code == 0
    assert (tmp_path / "runs" / "a-b-" / "bundle").is_dir()


@pytest.mark.usefixtures("eagerly")
def test_no_command_renames_or_removes_a_file_that_it_has_open(
    tmp_path: Path, trained: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    opinions, lines = write_opinions(tmp_path / "opinions.jsonl"), write_lines(tmp_path / "lines.npz")
    text = write_small_text(tmp_path / "animals.txt")
    refused = let_windows_rule(monkeypatch)
    run, labelled, vectors = (tmp_path / name for name in ("run", "labelled", "vectors"))
    commands = [
        ["train", text, *tiny_settings(train__epochs=0.1, model__layers=1), "--out", run],
        ["train", opinions, *classifier_settings(train__epochs=0.5), "--out", labelled],
        ["train", lines, "--task", "classification", *vector_settings(train__epochs=0.5), "--out", vectors],
        ["train", "--resume", "--out", run],
        ["export", run, "--quantize", "int8"],
        ["export", labelled, "--quantize", "int8"],
        ["evaluate", run],
        ["evaluate", labelled, opinions],
        ["predict", labelled, "--input", opinions, "--output", tmp_path / "labels.csv"],
        ["predict", vectors, "--input", lines],
        ["generate", run, "--length", "5"],
    ]
    for command in commands:
        result = call(*command)
        assert result.code == 0, (command, result.err)
        assert [one for one in refused if not one.endswith(".lock")] == [], command
    assert not list((tmp_path / "temporary").iterdir())
    assert not list(tmp_path.rglob(".lock"))


def test_a_run_that_could_not_begin_leaves_nothing_though_its_data_were_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_windows_rule(monkeypatch)
    source = write_small_text(tmp_path / "animals.txt")
    arguments = [*tiny_settings(), "--set", "train.batch_size=8", "--set", "model.hidden_dim=30000"]
    monkeypatch.setattr("textrnn.training.loop.memory.available_bytes", lambda: 1000)
    assert "must fit in memory" in told(call("train", source, *arguments, "--out", tmp_path / "run", "--quiet"))
    assert not (tmp_path / "run").exists()


def test_the_rules_of_windows_hold_in_these_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = let_windows_rule(monkeypatch)
    path = tmp_path / "ids.bin"
    np.arange(10).tofile(path)
    mapped = np.memmap(path, dtype=np.int64, mode="r")
    for forbidden in (path.unlink, lambda: path.replace(tmp_path / "b"), lambda: tmp_path.rename(tmp_path / "c")):
        with pytest.raises(PermissionError):
            forbidden()
    assert len(refused) == 3
    del mapped
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(file.fileno())
    path.unlink()
    assert not path.exists()
