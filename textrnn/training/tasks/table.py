"""The table of tasks, and what is done by way of it: preparing the data of a run, and finding its trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from textrnn.config import Config
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.training.loop.run import Run
from textrnn.training.tasks.classification.task import AudioClassification, TextClassification, VectorClassification
from textrnn.training.tasks.forecast.task import Forecast
from textrnn.training.tasks.language_model.task import LanguageModelling
from textrnn.training.tasks.multilabel.task import MultilabelClassification
from textrnn.training.tasks.recognition.task import Recognition
from textrnn.training.tasks.regression.task import Regression
from textrnn.training.tasks.task import Prepared, Task
from textrnn.training.tasks.text_to_text.task import TextToText

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer

TASKS: tuple[Task, ...] = (
    LanguageModelling(),
    TextClassification(),
    MultilabelClassification(),
    VectorClassification(),
    AudioClassification(),
    Regression(),
    Forecast(),
    TextToText(),
    Recognition(),
)
"""Of a task that reads text or vectors, the first is the default."""


def task_of(config: Config) -> Task:
    """Return the task of a run.

    Raises:
        UserError: the task does not read `data.reads`.
    """
    reads = config.data.reads
    for task in TASKS:
        if (task.name, task.reads) == (config.task, reads):
            return task
    own = next(task.reads for task in TASKS if task.name == config.task)
    others = ", ".join(task.name for task in TASKS if task.reads == reads)
    raise UserError(
        f"{config.task} reads {own}, data.reads was: {reads!r}; set data.reads={own}, or a task that reads {reads}: "
        f"{others}"
    )


def prepare(run: Run) -> Prepared:
    """Return what a run is trained and measured on, made of its sources if it is not there yet.

    Raises:
        UserError: the sources are gone, cannot be read, or hold too little.
    """
    digests: dict[str, str | None] = {}
    if run.sources.exists():
        _require_places(run)
    else:
        digests = contents(run)
        with write_atomically(run.sources) as temporary:
            temporary.parent.mkdir(exist_ok=True)
            temporary.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    return task_of(run.config).prepare(run, digests)


def trainer_of(run: Run, prepared: Prepared | None = None, distribution: Distribution | None = None) -> Trainer:
    """Return the trainer of a run.

    Args:
        run: the run.
        prepared: result of `prepare`, if it was called already.
        distribution: the devices and processes that share a batch; None for one device.

    Raises:
        UserError: as `prepare` raises it, or settings do not fit each other.
    """
    from textrnn.training.distributed.distribution import ALONE

    return task_of(run.config).trainer(run, prepared or prepare(run), distribution or ALONE)


def contents(run: Run) -> dict[str, str | None]:
    """Return digests of what the sources of a run hold, by the name of the setting; None where there is no source."""
    data = run.config.data
    return {
        f"data.{name}": task_of(run.config).digest(run, sources) if sources else None
        for name, sources in (("source", data.source), ("mix", data.mix), ("validation", data.validation))
    }


def require_same_content(run: Run) -> None:
    """Refuse sources whose content is not what the run was made from.

    Raises:
        UserError: so it is.
    """
    if not run.sources.exists():
        return  # nothing was made of them yet
    try:
        before = dict(json.loads(run.sources.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{run.sources} cannot be used ({error}); restore it or train again") from error
    for name, digest in contents(run).items():
        if before.get(name) != digest:
            places = ", ".join(getattr(run.config.data, name.removeprefix("data.")))
            raise UserError(
                f"{run.folder} was made from other data, {places or 'none'} ({name}) has other content; resume it"
                f" without a SOURCE, or train again into another --out"
            )


def _require_places(run: Run) -> None:
    data = run.config.data
    for place in (*data.source, *data.mix, *data.validation):
        if Path(place).is_absolute() and not Path(place).exists():
            raise UserError(
                f"the data of a run must be where they were, {place} is not there; give the place they moved to:"
                f" {run.resume_command.replace('train', 'train NEW_PLACE', 1)}"
            )
