"""A lock that lets only one process train a run; the system releases it however the holder dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from textrnn.errors import UserError
from textrnn.platforms import WINDOWS

LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # errors of file systems without locks

if sys.platform == "win32":
    import msvcrt

    FAR_BEHIND = 1 << 30  # a byte behind the text, because a locked byte cannot be read

    def _take(file: IO[str]) -> None:
        file.seek(FAR_BEHIND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training a run during the block.

    The file `LOCK_FILE` of the run folder names the holder. The lock of a dead process is taken over.

    Raises:
        UserError: another process holds the lock, or the lock file cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        file = _opened_and_locked(path)
    except BlockingIOError as error:
        raise UserError(
            f"a run is trained by one process at a time, {folder} is being trained by {_holder(path)}; wait until it "
            "ends, or stop it"
        ) from error
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror}; choose another folder") from error
    try:
        with file:
            try:
                yield
            finally:
                with suppress(OSError):  # before it is closed: after that it may be the next holder's
                    path.unlink(missing_ok=True)
    finally:
        if WINDOWS:  # removes no open file, neither the one above nor the next holder's
            with suppress(OSError):
                path.unlink(missing_ok=True)
                folder.rmdir()  # if `Run.remove_unless_trained` left nothing else in it


def _opened_and_locked(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _take(file)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                if error.errno in (errno.EACCES, errno.EDEADLK):  # the errors of a held lock on Windows
                    raise BlockingIOError from error
                raise
        if _is_still_there(file, path):
            file.truncate(0)
            json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
            file.flush()
            return file
        file.close()  # the previous holder removed the file before it released the lock


def _is_still_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # the file is being written, or was removed
        return "another process"
