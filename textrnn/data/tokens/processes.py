"""A pool of worker processes that run one function.

The workers are new interpreters that import only what the function needs: it is not safe to fork a process that runs
TensorFlow. `concurrent.futures.ProcessPoolExecutor` does not fit. Its spawned processes import the main script again,
so a script without a ``__main__`` guard fails. Some of them also survive when the parent is killed. The workers here
exit when their standard input is closed.

Every wait is bounded. A worker that does not exit within `GRACE_SECONDS` after a request is killed.
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
from textrnn.platforms import is_broken_pipe

Report = Callable[[int], None]
"""A function that is called with the amount of work done since its last call."""
GO_ON = "give the same command again (if the run is there, with --resume)"
START = "from textrnn.data.tokens.processes import work; work()"
GRACE_SECONDS = 5.0  # for a worker to remove incomplete files


class ProcessDied(UserError):
    """The error when a worker process dies during a task."""


class Processes:
    """A pool of worker processes. Each worker runs one task at a time.

    Args:
        processes: number of workers.
        function: ``(task, report) -> result``. The function, the tasks and the results are pickled.
        report: function that is called in this process with the reports of `function`, from several threads.
        doing: activity of the workers, for the message when one dies.
    """

    def __init__(self, processes: int, function: Callable[[Any, Report], Any], report: Report, doing: str) -> None:
        self._report, self._doing = report, doing
        self._count = processes
        self._function = pickle.dumps(function)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(processes)
        self._lock = Lock()  # guards `_processes` and `_ended`
        self._ended = False
        self._prepared: set[subprocess.Popen[bytes]] = set()  # workers that have received the function
        self._idle: LifoQueue[subprocess.Popen[bytes] | None] = LifoQueue()  # the last to finish is used first
        for _ in range(processes):
            self._idle.put(None)  # a worker is started when it is needed

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers. After an error, terminate those that are busy too."""
        with self._lock:
            self._ended = True
        for process in self._processes:
            if kind is not None:
                process.terminate()
            else:  # all workers are idle
                _close(process.stdin)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._threads.shutdown(cancel_futures=True)  # the workers they waited for have ended
        for process in self._processes:
            _close(process.stdin)
            _close(process.stdout)

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the results in the order of the tasks. At most one task more than there are workers is in memory."""
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
                raise BrokenPipeError  # cannot happen: both pipes exist
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
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            if isinstance(error, OSError) and not is_broken_pipe(error):
                raise
            raise ProcessDied(self._obituary(process)) from error
        finally:
            self._idle.put(process)

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with self._lock:
            if self._ended:  # the task was submitted while the pool ended
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
        except subprocess.TimeoutExpired:  # it closed its output, or wrote no valid result, but still runs
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
        with suppress(OSError):  # unsent data for a dead process
            pipe.close()


def work() -> None:
    """Read a function and then tasks from standard input, and write reports, results and errors to standard output."""
    is_asked_to_end = False

    def end(*_: object) -> None:
        # The exception makes context managers remove incomplete files. If it is lost, as in a finalizer, the flag ends
        # the loop after the task.
        nonlocal is_asked_to_end
        is_asked_to_end = True
        sys.exit()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    signal.signal(signal.SIGTERM, end)
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # printed text must not mix with the results

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
    except (EOFError, OSError) as error:  # no more tasks, or the parent is gone
        if isinstance(error, OSError) and not is_broken_pipe(error):
            raise
        os._exit(0)
