"""The data of a run are prepared once: how often its sources are read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import write_opinions, write_small_text

from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import contents, prepare


class CountedFile(io.FileIO):
    """A file that adds up the bytes that are read of all of its kind."""

    bytes_read = 0

    def readinto(self, buffer: Any) -> int:
        read = super().readinto(buffer) or 0
        CountedFile.bytes_read += read
        return read

    def readall(self) -> bytes:
        content = super().readall() or b""
        CountedFile.bytes_read += len(content)
        return content


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives how often a source was read by `prepare`."""
    open_file = Path.open

    def of(source: Path, *settings: str, folder: Path) -> float:
        def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            return io.BufferedReader(CountedFile(path)) if path == source else open_file(path, mode, *rest, **options)

        run = create_run(folder, load_config(None, [f'data.source=["{source}"]', *settings]), quiet=True)
        CountedFile.bytes_read = 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", opened)
            prepare(run)
        return CountedFile.bytes_read / source.stat().st_size

    return of


def test_a_text_is_read_five_times_at_most(passes: Any, tmp_path: Path) -> None:
    # For its digest, and for its tokenizer and its tokens, each after its characters were counted.
    source = write_small_text(tmp_path / "animals.txt", 20_000)  # against which a look at its first bytes is nothing
    assert passes(source, folder=tmp_path / "run") < 5.1


def test_a_table_of_texts_is_read_twice(passes: Any, tmp_path: Path) -> None:
    # For its digest, and for all else.
    source = write_opinions(tmp_path / "opinions.jsonl", 2000)
    assert passes(source, "task=classification", folder=tmp_path / "run") < 2.1


def test_the_digest_of_a_run_is_that_of_the_text_it_was_made_from(tmp_path: Path) -> None:
    source = write_small_text(tmp_path / "animals.txt", 2000)
    run = create_run(tmp_path / "run", load_config(None, [f'data.source=["{source}"]']), quiet=True)
    prepare(run)
    digest = json.loads(run.sources.read_text(encoding="utf-8"))["data.source"]
    source.write_text("other text\n" * 900, encoding="utf-8")
    assert contents(run)["data.source"] != digest
