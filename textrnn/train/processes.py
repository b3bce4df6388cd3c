"""Processes beside this one that do one kind of task.

They are fresh interpreters that import what the task needs and no more: forking a process in which TensorFlow runs is
not safe, and a copy of its memory in each would cost more than the work. Unlike those of `multiprocessing`, they do not
import the main script again, so that a script needs no guard; and one that dies is noticed.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import Any

from textrnn.errors import UserError

Report = Callable[[int], None]
"""Told how much more of a task is done."""
GO_ON = "give the same command again (if the run is there, with --resume)"
START = "from textrnn.train.processes import work; work()"


class ProcessDied(UserError):
    """A process was ended while it worked."""


class Processes:
    """Some processes, each of which does one task at a time.

    Args:
        processes: how many.
        function: ``(task, report) -> result``; it, the tasks and the results are pickled.
        report: called here with what `function` reports; from several threads.
        doing: what the processes do, for the message when one dies.
    """

    def __init__(self, processes: int, function: Callable[[Any, Report], Any], report: Report, doing: str) -> None:
        self._report, self._doing = report, doing
        self._count = processes
        self._function = pickle.dumps(function)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(processes)
        self._idle: LifoQueue[subprocess.Popen[bytes] | None] = LifoQueue()  # the last is the first to work again
        for _ in range(processes):
            self._idle.put(None)  # which is started when there is work for it

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes: those at work too, if something went wrong."""
        for process in self._processes:
            if kind is not None:
                process.terminate()
            elif process.stdin:
                process.stdin.close()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(OSError):  # what was meant for a process that is dead
                        pipe.close()

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """The results, in the order of the tasks, of which no more are held than are at work and one."""
        running: deque[Future[Any]] = deque()
        for task in tasks:
            running.append(self._threads.submit(self._do, task))
            if len(running) > self._count:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    def _do(self, task: Any) -> Any:
        process = self._idle.get() or self._start()
        try:
            writing, reading = process.stdin, process.stdout
            if writing is None or reading is None:
                raise BrokenPipeError  # never: both were asked for
            pickle.dump(task, writing, pickle.HIGHEST_PROTOCOL)
            writing.flush()
            while True:
                what, value = pickle.load(reading)
                if what == "done":
                    return value
                if what == "failed":
                    raise value
                self._report(value)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise ProcessDied(self._obituary(process)) from error
        finally:
            self._idle.put(process)

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._processes.append(process)
        if process.stdin:
            process.stdin.write(self._function)
        return process

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        cause = f"exit code {code}"
        if code < 0:
            cause = f"signal {signal.Signals(-code).name}"
            if -code == getattr(signal, "SIGKILL", None):
                cause += ", for want of memory most likely"
        return (
            f"a process that {self._doing} was ended by {cause}; nothing that is finished is lost: {GO_ON}, with fewer "
            f"processes (data.processes, was: {self._count}) if memory is short"
        )


def work() -> None:
    """What a process does: read a function and then tasks from its input, write what becomes of them to its output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides what Ctrl-C ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what is half written is removed
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that is printed gets between the results

    def answer(what: str, value: Any) -> None:
        pickle.dump((what, value), results, pickle.HIGHEST_PROTOCOL)
        results.flush()

    try:
        function = pickle.load(tasks)
        while True:
            task = pickle.load(tasks)
            try:
                answer("done", function(task, lambda amount: answer("report", amount)))
            except UserError as error:
                answer("failed", error)
            except Exception:
                answer("failed", RuntimeError(traceback.format_exc()))
    except (EOFError, BrokenPipeError):  # no more tasks, or nobody who waits for them
        os._exit(0)
