"""Paths of the sources of a run: absolute in the run, file names only in its bundle; standard input is a file."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from textrnn.config import Config, DataConfig
from textrnn.data.in_memory import NAME, DataInMemory
from textrnn.errors import UserError

STANDARD_INPUT = "-"
KEPT_INPUT = "stdin"  # file name, without its suffix, of the saved standard input


def absolute_sources(config: Config) -> Config:
    """Return the configuration with absolute paths of all files that exist, so that any directory can use it."""
    return _each_place(config, _absolute)


def without_folders(config: Config) -> Config:
    """Return the configuration with file names instead of absolute paths, which other machines do not have."""
    return _each_place(config, lambda place: Path(place).name if Path(place).is_absolute() else place)


def with_sources_of(config: Config, other: Config) -> Config:
    """Return `config` with the sources of `other`: those to train on, to mix in and to evaluate on."""
    data = other.data
    return replace(config, data=replace(config.data, source=data.source, mix=data.mix, validation=data.validation))


def with_kept_input(config: Config, folder: Path) -> Config:
    """Return the configuration with the saved data in `folder`, the run folder, which may have moved.

    They are standard input, or data that a program had in memory.
    """

    def found(place: str) -> str:
        here = folder / Path(place).name
        is_kept = place == STANDARD_INPUT or Path(place).stem in (KEPT_INPUT, NAME)
        kept = [here] if here.exists() else [file for stem in (KEPT_INPUT, NAME) for file in folder.glob(f"{stem}.*")]
        return str(kept[0].absolute()) if is_kept and kept and not Path(place).exists() else place

    return _each_place(config, found)


def names_a_column(data: DataConfig) -> bool:
    """Return whether the configuration names a text column. Then text on standard input is a table."""
    return data.text != DataConfig().text


def keep_data(data: DataInMemory, folder: Path, later: Path | None = None) -> tuple[str, ...]:
    """Write data in memory to a file, and return its path as the only source.

    Args:
        data: the data.
        folder: folder to write the file to.
        later: final path of the folder, if it will be renamed.

    Raises:
        UserError: the data are not valid, or the file cannot be written.
    """
    try:
        path = data.write(folder)
    except OSError as error:
        raise UserError(f"data could not be kept in {folder}: {error.strerror}; choose another folder") from error
    return (str(((later or folder) / path.name).absolute()),)


def keep_input(sources: Sequence[str], folder: Path, in_columns: bool, later: Path | None = None) -> tuple[str, ...]:
    """Write standard input to a file, if `-` is one of the sources.

    Args:
        sources: files, folders, Hugging Face ids, and at most one `-`.
        folder: folder to write the file to.
        in_columns: whether input that is neither JSON nor an archive is a table instead of plain text.
        later: final path of the folder, if it will be renamed.

    Returns:
        The sources, with `-` replaced by the path of the file.

    Raises:
        UserError: standard input is closed or empty, or the file cannot be written.
    """
    if STANDARD_INPUT not in sources:
        return tuple(sources)
    if sys.stdin is None or sys.stdin.closed:
        raise UserError("a source was -, standard input, which is closed; give a file")
    try:
        begin = sys.stdin.buffer.read(1 << 16)
        path = folder / f"{KEPT_INPUT}{_suffix(begin, in_columns)}"
        with path.open("wb") as file:
            file.write(begin)
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise UserError(f"standard input could not be kept in {folder}: {error.strerror}; give a file") from error
    if not begin:
        raise UserError("a source was -, standard input, which is empty; give it some text, or a file")
    kept = str(((later or folder) / path.name).absolute())
    return tuple(kept if source == STANDARD_INPUT else source for source in sources)


def _suffix(begin: bytes, in_columns: bool) -> str:
    """Return the file suffix for the type of the data, which its first bytes show."""
    if begin.startswith(b"PAR1"):
        return ".parquet"
    if begin.startswith(b"PK\x03\x04"):
        return ".npz"
    text = begin.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    if text.startswith("{"):
        with suppress(ValueError):
            return ".jsonl" if isinstance(json.loads(text.partition("\n")[0]), dict) else ".txt"
    if in_columns and text.startswith("["):
        return ".json"
    # fastText lines are plain text.
    return ".csv" if in_columns and not text.startswith("__label__") else ".txt"


def _absolute(place: str) -> str:
    with suppress(OSError, ValueError, RuntimeError):  # name too long, NUL in the name, home folder of an unknown user
        path = Path(place).expanduser()
        if place and path.exists():
            return str(path.absolute())
    return place


def _each_place(config: Config, change: Callable[[str], str]) -> Config:
    data, model = config.data, config.model
    source, mix, validation = (
        tuple(change(place) for place in places) for places in (data.source, data.mix, data.validation)
    )
    start = change(model.init_from) if model.init_from else ""
    return replace(
        config, data=replace(data, source=source, mix=mix, validation=validation), model=replace(model, init_from=start)
    )
