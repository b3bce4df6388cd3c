"""Processes that do one kind of task."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from commands import error_of

from textrnn.train.processes import Processes
from textrnn.train.sources import SourceOptions
from textrnn.train.stretches import Corpus, count


def test_results_come_in_order_and_errors_as_they_were_raised(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9 ")
    tasks = []
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("é\n" * (1000 if number == 0 else number))
        tasks += Corpus([str(tmp_path / f"{number}.txt")], SourceOptions(), True, None).stretches()
    bad = next(Corpus([str(tmp_path / "bad.txt")], SourceOptions(), True, None).stretches())
    reports: list[int] = []
    with Processes(2, count, reports.append, "was counting") as working:
        assert list(working.map(tasks)) == [(2000, 1), (2, 1), (4, 1), (6, 1), (8, 1)]
        assert sum(reports) == 3 * 1010
        assert "bad.txt has the byte 0xe9 at offset 3" in error_of(lambda: list(working.map([bad])))
        assert list(working.map(tasks[1:2])) == [(2, 1)], "one that could not do a task does the next"


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_a_process_that_dies_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (task,) = Corpus([str(tmp_path / "a.txt")], SourceOptions(), True, None).stretches()
    with Processes(1, count, lambda size: None, "was counting") as working:
        assert list(working.map([task])) == [(1, 1)]
        os.kill(working._processes[0].pid, signal.SIGKILL)
        message = error_of(lambda: list(working.map([task])))
    assert "a process that was counting was ended by signal SIGKILL, for want of memory most likely" in message
    assert "data.processes, was: 1" in message
