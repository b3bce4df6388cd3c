"""What differs between Windows and other systems, one function a difference."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from typing import IO

WINDOWS = sys.platform == "win32"
PATIENCE = 2.0  # seconds that another program may hold a file open
_NEEDS_NO_QUOTES = re.compile(r"[\w\\/:.~+-]+")


def quoted(word: str) -> str:
    """Return a word of a command as the user's shell must be given it; cmd.exe knows double quotes only."""
    if WINDOWS:
        return word if _NEEDS_NO_QUOTES.fullmatch(word) else f'"{word}"'
    return shlex.quote(word)


def use_utf8(*streams: IO[str] | None) -> None:
    """Write redirected standard streams as UTF-8 on Windows, unless PYTHONIOENCODING is set.

    The code page that Python would take there lacks most characters. Other systems have a locale, which stays.
    """
    for stream in streams:
        if WINDOWS and isinstance(stream, TextIOWrapper) and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


def is_broken_pipe(error: OSError) -> bool:
    """Return whether the reader of a pipe is gone; Windows reports an invalid argument, of no file."""
    return isinstance(error, BrokenPipeError) or (WINDOWS and error.errno == errno.EINVAL and error.filename is None)


def replace(source: Path, target: Path) -> None:
    """Rename a file or a folder; a file at `target` is replaced.

    Windows refuses while another program has it open, as virus scanners and indexers do for a moment after a file is
    written. It is tried again there for `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if not WINDOWS or time.monotonic() >= end:
                raise
        time.sleep(0.05)
