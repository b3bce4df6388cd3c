"""The places of a model: a bundle or run folder, the name of a finished model, or the hub."""

from __future__ import annotations

import difflib
from os import PathLike, fspath
from pathlib import Path

from textrnn.bundle import MANIFEST, find_bundle
from textrnn.errors import UserError, shown
from textrnn.models.hub import SCHEME, download

FINISHED = Path(__file__).resolve().parent
"""Folder of the finished models; each is a bundle in a folder of its name."""


def find_model(place: str | PathLike[str]) -> Path:
    """Return the bundle folder of a model.

    Args:
        place: a bundle or run folder, the name of a finished model, or ``hf://user/model[@revision]``. A folder comes
            before a finished model of its name.

    Raises:
        UserError: there is no model, or it cannot be downloaded.
    """
    if not isinstance(place, str | PathLike) or not isinstance(fspath(place), str):
        raise UserError(f"a model must be a bundle or a run folder, was: {shown(place)}; give its path")
    if fspath(place).startswith(SCHEME):
        return download(fspath(place))
    path, names = Path(place), finished_models()
    if not path.exists():
        if fspath(place) in names:
            return find_finished(fspath(place))
        near = difflib.get_close_matches(fspath(place), names, 1)
        raise UserError(
            f"a model must be a bundle or a run folder, nothing was found at: {path}; "
            + (f"did you mean {near[0]}?" if near else "check the name, or see: textrnn models")
        )
    return find_bundle(path)


def find_finished(name: str) -> Path:
    """Return the bundle folder of a finished model."""
    return FINISHED / name


def finished_models() -> list[str]:
    """Return the names of the finished models, sorted."""
    return sorted(folder.name for folder in FINISHED.iterdir() if (folder / MANIFEST).is_file())


def hidden_model(place: str | PathLike[str]) -> bool:
    """Return whether a place is a path that hides the finished model of its name."""
    return fspath(place) in finished_models() and Path(place).exists()
