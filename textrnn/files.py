"""Atomic writing of files and folders, so that a reader never sees a partial file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textrnn.errors import UserError
from textrnn.platforms import replace


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds, else remove it.

    The file reaches the disk before it gets its name, so that a crash leaves either the old or the new file, never a
    part.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written: {error.strerror}; free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; rename it to `path` if the block succeeds, else remove it.

    Raises:
        UserError: `path` exists already, or cannot be written.
    """
    if path.exists():
        raise UserError(f"an output folder must not exist yet, found: {path}; remove it or choose another name")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written: {error.strerror}; free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
