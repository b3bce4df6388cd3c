"""Train a run in this process, and stop it as a kill would."""

from __future__ import annotations

from typing import Any

from textrnn.training.tasks.table import trainer_of


def trained_arrays(run: Any, stop_after: int = 0) -> dict[str, Any]:
    """Return the weights after the training, by name; an empty dict if it stops after `stop_after` steps."""
    trainer = trainer_of(run)

    class Killed(Exception):
        pass

    def watch(progress: Any, _: Any) -> None:
        if progress.step == stop_after:
            raise Killed

    try:
        trainer.fit(watch)
    except Killed:
        return {}
    return dict(trainer.model.arrays())
