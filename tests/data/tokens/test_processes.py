"""Processes that do one kind of task."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import error_of

from textrnn.data.records import SourceOptions
from textrnn.data.tokens import processes
from textrnn.data.tokens.chunks import Corpus, count
from textrnn.data.tokens.processes import ProcessDied, Processes, Report
from textrnn.errors import UserError


def test_results_come_in_order_and_errors_as_they_were_raised(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9 ")
    tasks = []
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("é\n" * (1000 if number == 0 else number))
        tasks += Corpus([str(tmp_path / f"{number}.txt")], SourceOptions(), True, None).chunks()
    bad = next(Corpus([str(tmp_path / "bad.txt")], SourceOptions(), True, None).chunks())
    reports: list[int] = []
    with Processes(2, count, reports.append, "was counting") as working:
        assert list(working.map(tasks)) == [(2000, 1), (2, 1), (4, 1), (6, 1), (8, 1)]
        assert sum(reports) == 3 * 1010
        assert "bad.txt has the byte 0xe9 at offset 3" in error_of(lambda: list(working.map([bad])))
        assert list(working.map(tasks[1:2])) == [(2, 1)], "one that could not do a task does the next"


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_a_process_that_dies_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (task,) = Corpus([str(tmp_path / "a.txt")], SourceOptions(), True, None).chunks()
    with Processes(1, count, lambda size: None, "was counting") as working:
        assert list(working.map([task])) == [(1, 1)]
        os.kill(working._processes[0].pid, signal.SIGKILL)
        message = error_of(lambda: list(working.map([task])))
    assert "a process that was counting was ended by signal SIGKILL, for want of memory most likely" in message
    assert "data.processes, was: 1" in message


def half(task: int, report: Report) -> int:
    """A task that a test does; some kinds of task end the process, or do not let it end."""
    report(1)
    if task < 0:
        os.kill(os.getpid(), -task)
    if task == DEAF:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Event().wait()
    if task == FULL:
        raise UserError("the disk is full")
    return task // 2


DEAF, FULL = 1001, 1003


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    begun = threading.Event()
    with (
        pytest.raises(UserError, match="the disk is full"),
        Processes(2, half, lambda size: begun.set(), "was halving") as working,
    ):
        begin = threading.Thread(target=lambda: error_of(lambda: list(working.map([DEAF]))))
        begin.start()
        begun.wait()
        list(working.map([FULL]))
    begin.join()
    assert all(process.returncode is not None for process in working._processes)


def test_a_process_that_writes_what_is_no_result_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    garbage = "import os, time; os.write(1, b'no pickle'); time.sleep(1000)"
    monkeypatch.setattr(processes, "START", garbage)
    with Processes(1, half, lambda size: None, "was halving") as working, pytest.raises(ProcessDied, match="ended by"):
        list(working.map([2]))


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_processes_that_end_at_any_point_of_their_life_are_noticed_and_none_is_left() -> None:
    chance = random.Random(0)
    died = 0
    descriptors = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    for _ in range(100):
        working = Processes(2, half, lambda size: None, "was halving")
        over = threading.Event()

        def end_one(working: Processes = working, over: threading.Event = over) -> None:
            """Send a signal at some time: before a process has the function, in a task, between two, at its end."""
            over.wait(chance.random() / 10)
            for process in list(working._processes)[: chance.randrange(1, 3)]:
                if process.returncode is None:
                    process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))

        killer = threading.Thread(target=end_one)
        killer.start()
        tasks = [2, 4, chance.choice([6, -signal.SIGKILL, -signal.SIGTERM, FULL]), 8]
        try:
            with working:
                assert list(working.map(tasks)) == [1, 2, 3, 4]
        except (ProcessDied, UserError) as error:
            died += isinstance(error, ProcessDied)
            assert "was halving was ended by" in str(error) or "the disk is full" in str(error)
        over.set()
        killer.join()
        assert all(process.returncode is not None for process in working._processes)
        assert not any(is_running(process.pid) for process in working._processes)
    assert died > 20
    if sys.platform == "linux":
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 2


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_a_script_without_a_guard_works_and_its_processes_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from test_processes import half\n"
        "from textrnn.data.tokens.processes import Processes\n"
        "working = Processes(2, half, lambda size: None, 'was halving')\n"
        "with working:\n"
        "    print(list(working.map([2, 4, 6])), *(p.pid for p in working._processes), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    script = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert script.stdout and script.stdin
    results, _, pids = script.stdout.readline().partition("] ")
    assert results == "[1, 2, 3"
    script.kill()
    script.communicate()
    while any(map(is_running, map(int, pids.split()))):  # no longer than it takes them to read the end of their input
        time.sleep(0.01)
