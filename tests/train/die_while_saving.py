"""Train, and die as by kill -9 when half of a file is written: python die_while_saving.py NAME COUNT [argument ...]

NAME is the beginning of the name of a file that numpy saves, COUNT which time that it is saved.
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
        os.kill(os.getpid(), signal.SIGKILL)

    return save


if __name__ == "__main__":
    setattr(np, "savez", dying(np.savez, sys.argv[1], int(sys.argv[2])))  # noqa: B010  mypy lets no function be assigned
    sys.exit(main(sys.argv[3:]))
