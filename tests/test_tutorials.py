"""Every command and program of the tutorials runs, with small models in place of those that take a minute."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from commands import call
from conftest import write_small_text

TUTORIALS = Path(__file__).resolve().parent.parent / "docs" / "tutorial"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = (
    "pip install",
    "textrnn train novel.txt",
    "textrnn evaluate runs/tickets more.csv",
    "textrnn card",
    "textrnn push",
)
"""What installs, needs a file of the reader, or writes to the hub: the blocks of it have no language."""

SMALL = {
    "model.hidden_dim": "8",
    "model.layers": "1",
    "train.batch_size": "8",
    "train.epochs": "1",
    "train.evaluations": "1",
    "train.warmup_steps": "5",
}
SMALL_OF = {
    "": {"model.ngram_rows": "64", "train.sequence_length": "16", "train.sample_length": "0"},
    "classification": {"train.epochs": "20", "train.learning_rate": "0.02"},
    "forecast": {"train.sequence_length": "32"},
}


def words_of(command: str) -> list[str]:
    """The arguments of a command; a training gets the settings of a small model that it does not state itself."""
    words = shlex.split(command)
    assert words.pop(0) == "textrnn"
    if words[0] != "train":
        return words
    task = words[words.index("--task") + 1] if "--task" in words else ""
    small = SMALL | SMALL_OF[task]
    if "tokenizer.kind=word" in words:
        del small["model.ngram_rows"]
    size = [word for word in words if word.startswith("model.hidden_dim=")]
    for word in size:
        words[words.index(word)] = "model.hidden_dim=16"
        del small["model.hidden_dim"]
    return words + [part for key, value in small.items() for part in ("--set", f"{key}={value}")]


def run(page: Path) -> list[str]:
    """Run the blocks of a page from its top and return what each program or command printed."""
    printed = []
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.replace("count=3000", "count=30"), str(page), "exec"), {})
            printed.append(out.getvalue())
        elif language == "bash":
            for command in block.splitlines():
                result = call(*words_of(command))
                assert result.code == 0, (command, result.err)
                printed.append(result.out)
        elif language == "":
            assert all(line.startswith(NOT_RUN) for line in block.splitlines()), block
        else:
            assert language == "text", language
    return printed


@pytest.mark.long
@pytest.mark.parametrize("name", ["first_model", "chinese", "classifier", "program", "time_series"])
def test_what_a_tutorial_says_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    text = write_small_text(tmp_path / "my.txt")
    text.write_text(text.read_text(encoding="utf-8") + "ROMEO: To be, or not to be\n" * 10, encoding="utf-8")
    printed = run(TUTORIALS / f"{name}.md")
    expected = {
        "first_model": "ROMEO:",
        "chinese": '"label": "差评"',
        "classifier": '"label": "billing"',
        "program": '"label": "positive"',
        "time_series": "step\ttemperature\n1\t",
    }
    assert any(expected[name] in text for text in printed), printed
