"""Train, and end at one place: python die_in_training.py WHERE COUNT [argument ...]

WHERE is ``kill`` or ``interrupt``, a signal in step COUNT of this process; or the beginning of the name of a file that
numpy saves, which ends as by kill -9 when half of the file is written the COUNT-th time.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.cli import main
from textrnn.training.tasks import table

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows both end a process at once
SIGNALS = {"kill": KILL, "interrupt": signal.SIGINT}


def dying(savez: Callable[..., None], name: str, count: int) -> Callable[..., None]:
    """`numpy.savez`, but the process ends in the middle of the given call."""
    left = count

    def save(file: Any, **arrays: Any) -> None:
        nonlocal left
        left -= Path(file.name).name.startswith(f".{name}.")
        if left:
            savez(file, **arrays)
            return
        whole = io.BytesIO()
        savez(whole, **arrays)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os.fsync(file.fileno())
        os.kill(os.getpid(), KILL)

    return save


def signalling(trainer_of: Callable[..., Any], number: signal.Signals, count: int) -> Callable[..., Any]:
    """What makes the trainer of a run, but the process gets a signal in the given step."""

    def signalled(*arguments: Any, **others: Any) -> Any:
        trainer = trainer_of(*arguments, **others)
        left, step = count, trainer._train_one

        def take() -> float:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), KILL) if number == KILL else signal.raise_signal(number)
            return float(step())

        trainer._train_one = take
        return trainer

    return signalled


if __name__ == "__main__":
    where, count = sys.argv[1], int(sys.argv[2])
    if where in SIGNALS:
        setattr(table, "trainer_of", signalling(table.trainer_of, SIGNALS[where], count))  # noqa: B010
    else:
        setattr(np, "savez", dying(np.savez, where, count))  # noqa: B010  mypy lets no function be assigned
    sys.exit(main(sys.argv[3:]))
