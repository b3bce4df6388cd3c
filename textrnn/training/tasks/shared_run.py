"""How workers of a cluster come to train one run: they meet, the chief makes its folder, the others read it there."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.config import Config
from textrnn.data.places import STANDARD_INPUT, absolute_sources, with_sources_of
from textrnn.errors import UserError
from textrnn.training.loop.run import Run
from textrnn.training.loop.run_lock import locked
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import contents, prepare

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution

PATIENCE = 30.0  # seconds for a new file to be seen through a network's file system


def open_shared_run(
    distribution: Distribution, folder: Path, config: Config | None, resume: bool, quiet: bool, held: ExitStack
) -> Run:
    """Open the run that all workers train; the chief makes it and prepares its data.

    Args:
        distribution: the workers.
        folder: of the run, on storage that all of them see.
        config: of the command; None where a resumed run is to be taken as it is.
        resume: whether the run is there already.
        quiet: show no progress.
        held: gets the lock of the run, which the chief holds until it is closed.

    Raises:
        UserError: a worker has other settings or another text; the same as of `create_run`, `open_run` and
            `prepare`.
    """
    if resume:
        config = open_run(folder, config).config
    if config is None:
        raise UserError("a new run needs a configuration, was given none")
    if STANDARD_INPUT in config.data.source:
        raise UserError("workers read the same data, data.source was -, the standard input of each; give a file")
    own = absolute_sources(config)
    distribution.require_same(_facts(Run(folder, config)))

    def make() -> Run:
        run = open_run(folder, quiet=quiet) if resume else create_run(folder, config, quiet)
        held.enter_context(locked(folder))
        try:
            run.remove_leftovers()
            prepare(run)
        except UserError:
            if not resume:
                run.remove_unless_trained()
            raise
        return run

    def follow() -> Run:
        run = _open(folder)
        return replace(run, config=with_sources_of(run.config, own))

    return distribution.chief_first(make, follow)


def _facts(run: Run) -> dict[str, Any]:
    """Return what must be the same for every worker, by the names that a user knows."""
    settings = run.config.to_dict()
    facts: dict[str, Any] = {}
    for section, value in settings.items():
        parts = value if isinstance(value, dict) else {"": value}
        facts |= {f"{section}.{name}".rstrip("."): each for name, each in parts.items()}
    for name, digest in contents(run).items():
        del facts[name]  # the same data may lie elsewhere on another host
        facts[f"content of {name}"] = digest
    return dict(json.loads(json.dumps(facts)))


def _open(folder: Path) -> Run:
    """Open the run folder that the chief has made; a network's file system may show it later."""
    end = time.monotonic() + PATIENCE
    while not (folder / "config.json").exists() and time.monotonic() < end:
        time.sleep(0.1)
    if not folder.exists():
        raise UserError(
            f"every worker must see the run folder, {folder.absolute()} is not here; give --out on storage that all"
            " share"
        )
    return open_run(folder, quiet=True)
