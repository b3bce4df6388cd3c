"""Every command of the READMEs runs as it stands there, with small data and short trainings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from commands import call
from conftest import write_small_text

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh.md")
SHORT = ("--set", "train.epochs=2", "--set", "model.hidden_dim=16")


def blocks(name: str) -> list[tuple[str, str]]:
    """The language and the content of each block of code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[tuple[list[str], str]]:
    """The words of each command of a block, and the text that a shell gives it."""
    found = re.findall(r"^(\S.*?)(?: <<END\n(.*?)^END)?$\n", block, re.MULTILINE | re.DOTALL)
    return [(shlex.split(line, comments=True), text) for line, text in found]


def shell_blocks(name: str) -> list[list[tuple[list[str], str]]]:
    return [commands(block) for language, block in blocks(name) if not language]


@pytest.mark.parametrize("name", READMES)
def test_every_command_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for source in ("my.txt", "new.txt"):
        write_small_text(tmp_path / source, 60)
    Path("series.csv").write_text("".join(f"{step % 7}\n" for step in range(200)), encoding="utf-8")
    ran = set()
    known = shell_blocks(READMES[0]) if name != READMES[0] else []  # what the other language has too runs once
    for words, text in (command for block in shell_blocks(name) if block not in known for command in block):
        if words[0] == "pip":  # `make minimal` installs
            continue
        if words[:2] == ["cat", ">"]:
            Path(words[2]).write_text(text, encoding="utf-8")
            continue
        program, command, *rest = words
        assert program == "textrnn"
        if command == "serve":  # does not end; tests/serve serves
            continue
        if command == "train" and "--resume" not in rest:
            rest += SHORT
        if "--budget" in rest:
            rest[rest.index("--budget") + 1] = "1s"
        result = call(command, *rest)
        assert result.code == 0, (words, result.err)
        assert result.out
        ran.add(command)
    assert ran >= {"generate", "predict", "train", "evaluate"}


@pytest.mark.parametrize("name", READMES)
def test_the_python_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (table,) = (text for block in shell_blocks(name) for words, text in block if words[:2] == ["cat", ">"])
    Path("tickets.csv").write_text(table, encoding="utf-8")
    (code,) = (block for language, block in blocks(name) if language == "python")
    exec(compile(code, name, "exec"), {})


def test_both_languages_have_the_same_parts() -> None:
    parts = [
        [line.count("|") for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        for name in READMES
    ]
    assert parts[0] == parts[1]
    headings = [re.findall(r"^(#+) ", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE) for name in READMES]
    assert headings[0] == headings[1]
    trained = [[words for block in shell_blocks(name) for words, _ in block if words[1] == "train"] for name in READMES]
    assert trained[0] == trained[1]


@pytest.mark.parametrize("name", READMES)
def test_it_is_short_and_its_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    for place in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / place).exists(), place
