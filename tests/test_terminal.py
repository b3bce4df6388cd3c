"""Commands whose standard streams are closed, full, or cannot spell a character: one line, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
COMMANDS = {
    "info": ["info", GOLDEN / "language-model-char-float32"],
    "generate": ["generate", GOLDEN / "language-model-char-float32", "--length", "30", "--seed", "1"],
    "classify": ["classify", GOLDEN / "classifier-float32", "good"],
    "why": ["classify", GOLDEN / "classifier-float32", "good", "--why"],
    "forecast": ["forecast", GOLDEN / "forecaster-float32", "series.csv"],
    "evaluate": ["evaluate", GOLDEN / "forecaster-float32", "series.csv"],
    "version": ["--version"],
}
CLOSES = (
    "import os, sys; [os.close(int(number)) for number in sys.argv[1].split()]; os.execv(sys.argv[2], sys.argv[2:])"
)


def run(name: list[object], folder: Path, closed: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has not the streams whose numbers are `closed`."""
    if closed and sys.platform == "win32":
        pytest.skip("needs a system where a program can take the place of another")
    (folder / "series.csv").write_text("".join(f"{step % 7}\n" for step in range(40)), encoding="utf-8")
    command = [sys.executable, "-c", CLOSES, closed, sys.executable, "-m", "textrnn", *map(str, name)]
    streams: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **streams.pop("environment", {})}  # type: ignore[dict-item]
    return subprocess.run(command, check=False, encoding="utf-8", cwd=folder, env=environment, **streams)  # type: ignore[call-overload,no-any-return]


def require_one_line(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode == 1, result
    assert result.stderr.startswith("textrnn: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"version"}))
def test_a_result_that_would_go_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    require_one_line(run(COMMANDS[name], tmp_path, closed="1"), "standard output is closed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_full_disk_behind_standard_output_is_one_line(name: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        require_one_line(run(COMMANDS[name], tmp_path, stdout=full), "No space left on device")


@pytest.mark.parametrize("name", ["forecast", "generate"])
def test_without_standard_error_the_result_is_the_same(name: str, tmp_path: Path) -> None:
    result = run(COMMANDS[name], tmp_path, closed="2")
    assert (result.returncode, result.stdout) == (0, run(COMMANDS[name], tmp_path).stdout)


def test_a_table_that_is_written_to_a_file_needs_no_standard_output(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\ngood\n", encoding="utf-8")
    model = GOLDEN / "classifier-float32"
    arguments = ["classify", model, "--input", "texts.csv", "--output", "labels.csv"]
    result = run(arguments, tmp_path, closed="1")
    assert result.returncode == 0, result.stderr
    assert "good" in (tmp_path / "labels.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", GOLDEN / "classifier-float32"],
        ["classify", GOLDEN / "classifier-float32", "--input", "-"],
        ["forecast", GOLDEN / "forecaster-float32", "-"],
        ["evaluate", GOLDEN / "forecaster-float32", "-"],
        ["train", "-", "--out", "run"],
    ],
)
def test_closed_standard_input_is_one_line(arguments: list[object], tmp_path: Path) -> None:
    require_one_line(run(arguments, tmp_path, closed="0"), "closed")
    assert not (tmp_path / "run").exists()


def test_a_character_that_the_output_cannot_spell_is_one_line(tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    require_one_line(run(COMMANDS["why"], tmp_path, environment=ascii_only), "ascii")
    assert run(COMMANDS["classify"], tmp_path, environment=ascii_only).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_person_reads_short_lines_and_is_answered_at_once() -> None:
    import pty

    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "textrnn", "predict", GOLDEN / "classifier-float32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, env=environment
    ) as running:
        os.close(terminal)
        for text in ("a good film", "   ", "bad"):
            os.write(person, f"{text}\n".encode())
            read_until(person, text)  # the terminal's echo
            line = read_until(person, text)
            assert line.startswith(("positive ", "negative ", "empty text "))
            assert "{" not in line
        os.write(person, b"\x04")
        assert running.wait(60) == 0
    os.close(person)


def read_until(terminal: int, end: str) -> str:
    """Read a line that ends in a text."""
    line = b""
    while not line.endswith(f"{end}\r\n".encode()):
        line += os.read(terminal, 1)
    return line.decode()
