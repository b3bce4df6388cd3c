"""Export of a run: as `textrnn export` does it, and as the method `export` of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textrnn.errors import UserError, shown

if TYPE_CHECKING:
    from textrnn.bundle import Bundle

PRECISIONS = ("int8",)


def export_run(folder: Path, out: Path, quantize: str | None, advice: str) -> Bundle:
    """Export the best weights of a run as a bundle.

    Args:
        folder: the run folder.
        out: the bundle folder, which must not exist yet.
        quantize: ``"int8"`` stores the weights in 8 bits; None keeps float32.
        advice: how to name another bundle folder, for messages.

    Raises:
        UserError: `out` exists, the run has no evaluated weights yet, or the extra ``train`` is not installed.
    """
    from textrnn.training.tasks.runs import open_run
    from textrnn.training.tensorflow_setup import import_tensorflow, logging_unchanged

    if quantize not in (None, *PRECISIONS):
        raise UserError(f"quantize must be int8 or None, was: {shown(quantize)}; give one of them")
    run = open_run(folder, quiet=True)
    if out.exists():
        raise UserError(f"an output folder must not exist yet, found: {out}; remove it or give another {advice}")
    if not run.best.exists():
        raise UserError(f"{run.folder} has no evaluated weights yet; go on with: {run.resume_command}")
    with logging_unchanged():
        import_tensorflow()
        from textrnn.training.tasks.table import trainer_of

        return trainer_of(run).export(out, quantize)
