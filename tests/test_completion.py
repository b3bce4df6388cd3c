"""Shell completion: the script that the command prints, used by a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, told

ASK = """
source completion
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shtab_textrnn 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        (["gen"], {"generate"}, {"train"}),
        (["generate", ""], {"bundle", "runs"}, {"song.txt"}),
        (["train", "--co"], {"--config"}, {"--out"}),
        (["train", "s"], {"song.txt"}, set()),
        (["train", "--task", ""], {"forecast", "classification"}, {"song.txt"}),
        (["export", "--quantize", ""], {"int8"}, {"song.txt"}),
        (["classify", "b"], {"bundle"}, {"song.txt"}),
    ],
)
def test_bash_completes_commands_options_and_files(
    typed: list[str], offered: set[str], not_offered: set[str], tmp_path: Path
) -> None:
    pytest.importorskip("shtab")
    if not (bash := shutil.which("bash")) or sys.platform == "win32":
        pytest.skip("needs bash")
    script = call("--print-completion", "bash")
    assert script.code == 0, script.err
    (tmp_path / "completion").write_text(script.out, encoding="utf-8")
    (tmp_path / "song.txt").touch()
    for folder in ("bundle", "runs"):
        (tmp_path / folder).mkdir()
    asked = subprocess.run(
        [bash, "-c", ASK, "bash", "textrnn", *typed], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    found = {line.rstrip("/ ") for line in asked.stdout.splitlines()}
    assert offered <= found
    assert not not_offered & found


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    pytest.importorskip("shtab")
    result = call("--print-completion", shell)
    assert result.code == 0, result.err
    assert "generate" in result.out


def test_without_shtab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'textrnn[completion]'" in told(call("--print-completion", "bash"))
    assert call("--version").code == 0


def test_shtab_is_loaded_by_that_option_alone() -> None:
    code = "import sys; from textrnn.cli import make_parser; make_parser(); print('shtab' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert loaded.stdout == "False\n"
