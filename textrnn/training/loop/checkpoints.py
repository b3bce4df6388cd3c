"""Checkpoints for exact resume: one file holds everything that a training run needs to continue as if never stopped.

The file is a NumPy archive without pickles: arrays by name, and one JSON text with numbers and fingerprints. A new file
is written next to the old one and then renamed, so that the last good one always exists. Every array has a checksum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.files import write_atomically

BEST = "best.npz"  # file of a run folder: the weights with the lowest held-out loss
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Progress:
    """The progress of a run after `step` updates, without its arrays."""

    step: int = 0
    fingerprint: str = ""
    """Hash of the configuration, tokenizer and data that the arrays belong to."""
    best_loss: float = float("inf")
    """Lowest held-out loss so far, in nats per token."""
    evaluations_since_best: int = 0
    loss_sum: float = 0.0
    """Sum of the training loss since the last line of the history."""
    loss_count: int = 0
    seconds: float = 0.0
    """Training time, including earlier sessions."""
    finished: bool = False


def save_checkpoint(path: Path, progress: Progress, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a checkpoint atomically.

    Raises:
        UserError: the file cannot be written; the checkpoint written before is unchanged.
    """
    header = json.dumps({"format_version": FORMAT_VERSION, **asdict(progress)})
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{"progress.json": np.array(header)}, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: Path) -> tuple[Progress, dict[str, NDArray[np.generic]]]:
    """Read a whole checkpoint.

    Raises:
        UserError: the file is missing, damaged, or of another format version.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = dict(json.loads(str(arrays.pop("progress.json"))))
        version = header.pop("format_version", 0)
    except FileNotFoundError as error:
        raise UserError(f"resuming needs a checkpoint, found none: {path}; train without --resume") from error
    except Exception as error:  # libraries raise various exceptions for damaged bytes
        raise UserError(
            f"a checkpoint must be whole, {path} is damaged ({error}); remove it and train again"
        ) from error
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has checkpoint format {version}, this textrnn reads {FORMAT_VERSION}; use the one that wrote it"
        )
    known = {f.name for f in fields(Progress)}
    return Progress(**{name: value for name, value in header.items() if name in known}), arrays
