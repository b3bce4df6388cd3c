"""A pool of processes that do one kind of task.

They are fresh interpreters that import what the task needs and no more: forking a process in which TensorFlow runs is
not safe. `concurrent.futures.ProcessPoolExecutor` cannot serve here: its spawned processes import the main script
again, so that a script without a guard fails, and some of them outlive a parent that is killed. These end when their
input does.

Every wait has an end. A process that does not end within `GRACE_SECONDS` of being asked to is killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from types import TracebackType
from typing import IO, Any

from textrnn.errors import UserError

Report = Callable[[int], None]
"""A function that is called with the part of a task that was just done."""
GO_ON = "give the same command again (if the run is there, with --resume)"
START = "from textrnn.data.tokens.processes import work; work()"
GRACE_SECONDS = 5.0  # for a process to remove what is half written


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
        self._lock = Lock()  # of `_processes` and `_ended`
        self._ended = False
        self._prepared: set[subprocess.Popen[bytes]] = set()  # those that have the function
        self._idle: LifoQueue[subprocess.Popen[bytes] | None] = LifoQueue()  # the last is the first to work again
        for _ in range(processes):
            self._idle.put(None)  # which is started when there is work for it

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes: those at work too, if something went wrong."""
        with self._lock:
            self._ended = True
        for process in self._processes:
            if kind is not None:
                process.terminate()
            else:  # all are idle
                _close(process.stdin)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._threads.shutdown(cancel_futures=True)  # what they waited for has ended
        for process in self._processes:
            _close(process.stdin)
            _close(process.stdout)

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the results in the order of the tasks; at most one task more than workers is held."""
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
            if process not in self._prepared:
                writing.write(self._function)
                self._prepared.add(process)
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
        with self._lock:
            if self._ended:  # a task that was handed over while the others were ended
                raise CancelledError
            process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
            self._processes.append(process)
        return process

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        try:
            code = process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its output, or wrote what is no result, and goes on
            process.kill()
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


def _close(pipe: IO[bytes] | None) -> None:
    if pipe:
        with suppress(OSError):  # what was meant for a process that is dead
            pipe.close()


def work() -> None:
    """Read a function and then tasks from standard input, and write what becomes of them to standard output."""
    is_asked_to_end = False

    def end(*_: object) -> None:
        # An exception, so that what is half written is removed. Where it is lost, as in a finalizer, the flag ends the
        # loop after the task.
        nonlocal is_asked_to_end
        is_asked_to_end = True
        sys.exit()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides what Ctrl-C ends
    signal.signal(signal.SIGTERM, end)
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that is printed gets between the results

    def answer(what: str, value: Any) -> None:
        pickle.dump((what, value), results, pickle.HIGHEST_PROTOCOL)
        results.flush()

    try:
        function = pickle.load(tasks)
        while not is_asked_to_end:
            task = pickle.load(tasks)
            try:
                answer("done", function(task, lambda amount: answer("report", amount)))
            except UserError as error:
                answer("failed", error)
            except Exception:
                answer("failed", RuntimeError(traceback.format_exc()))
    except (EOFError, BrokenPipeError):  # no more tasks, or nobody who waits for them
        os._exit(0)
