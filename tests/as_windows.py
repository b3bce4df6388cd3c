"""Rules of Windows that Linux can be given: faults put in on purpose for programs that were only run elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from textrnn import platforms
from textrnn.training.loop import run_lock


def let_windows_rule(patch: pytest.MonkeyPatch) -> list[str]:
    """Refuse to rename or remove a file that this process has open or mapped, and to sync one opened for reading.

    Returns:
        What was refused, to be filled.
    """
    if sys.platform != "linux":
        pytest.skip("reads the open files of a process as Linux shows them")
    refused: list[str] = []
    patch.setattr(platforms, "WINDOWS", True)
    patch.setattr(platforms, "PATIENCE", 0.0)
    patch.setattr(run_lock, "WINDOWS", True)

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(path: Any, *others: Any, dir_fd: int | None = None, **options: Any) -> Any:
            place = Path("" if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink(), path)
            for one in (place, *(Path(other) for other in others if isinstance(other, str | Path))):
                if used := _in_use(one):
                    refused.append(f"{call.__name__} {used}")
                    raise PermissionError(13, "Permission denied", used)
            return call(path, *others, **options) if dir_fd is None else call(path, *others, dir_fd=dir_fd, **options)

        return refusing

    for name in ("unlink", "remove", "rename", "replace"):
        patch.setattr(os, name, guarded(getattr(os, name)))
    for name in ("unlink", "rename", "replace"):  # in Python 3.10 they do not ask `os` anew
        patch.setattr(Path, name, _asks_os(name))
    patch.setattr(os, "fsync", _sync(os.fsync))
    patch.setattr(shutil, "_use_fd_functions", False)
    return refused


def _asks_os(name: str) -> Callable[..., Any]:
    def asking(path: Path, *target: Path, missing_ok: bool = False) -> Path | None:
        try:
            getattr(os, name)(path, *target)
        except FileNotFoundError:
            if not missing_ok:
                raise
        return Path(target[0]) if target else None

    return asking


def _sync(fsync: Callable[[int], None]) -> Callable[[int], None]:
    import fcntl

    def syncing(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        fsync(descriptor)

    return syncing


def _in_use(path: Path) -> str:
    """A file at or below `path` that this process has open or mapped, or nothing."""
    here = os.path.realpath(path)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    used = {line.split(maxsplit=5)[5] for line in maps if "/" in line}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was that of the listing
            if not descriptor.is_dir():
                used.add(str(descriptor.readlink()))
    return next((name for name in sorted(used) if name == here or name.startswith(here + "/")), "")
