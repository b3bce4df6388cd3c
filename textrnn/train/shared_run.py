"""How workers of a cluster come to train one run: they meet, the chief makes its folder, the others read it there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.config import Config
from textrnn.errors import UserError
from textrnn.train.run import Run, create_run, labelled_options, open_run, source_options, vector_options
from textrnn.train.sources import source_fingerprint
from textrnn.train.vector_sources import vectors_fingerprint

if TYPE_CHECKING:
    from textrnn.train.distribution import Distribution

PATIENCE = 30.0  # seconds for a new file to be seen through a network's file system


def run_of_all(distribution: Distribution, folder: Path, config: Config | None, resume: bool, quiet: bool) -> Run:
    """The run that every worker trains, made and its data prepared by the chief.

    Args:
        distribution: the workers.
        folder: of the run, on storage that all of them see.
        config: of the command; None where a resumed run is to be taken as it is.
        resume: whether the run is there already.
        quiet: show no progress.

    Raises:
        UserError: a worker has other settings or another text; the same as of `create_run`, `open_run` and
            `Run.prepare`.
    """
    if resume:
        config = open_run(folder, config).config
    if config is None:
        raise UserError("a new run needs a configuration, was given none")
    distribution.require_same(_facts(Run(folder, config)))

    def make() -> Run:
        run = open_run(folder, quiet=quiet) if resume else create_run(folder, config, quiet)
        try:
            run.remove_leftovers()
            run.prepare()
        except UserError:
            if not resume:
                run.remove_unless_trained()
            raise
        return run

    return distribution.chief_first(make, lambda: _open(folder))


def _facts(run: Run) -> dict[str, Any]:
    """What must be the same for every worker, by the names that a user knows it by."""
    settings = run.config.to_dict()
    facts: dict[str, Any] = {}
    for section, value in settings.items():
        parts = value if isinstance(value, dict) else {"": value}
        facts |= {f"{section}.{name}".rstrip("."): each for name, each in parts.items()}
    data = run.config.data
    for name, sources in (("data.source", data.source), ("data.validation", data.validation)):
        facts[f"content of {name}"] = _fingerprint(run, sources) if sources else None
    return dict(json.loads(json.dumps(facts)))


def _fingerprint(run: Run, sources: tuple[str, ...]) -> str:
    data = run.config.data
    if run.forecasts:
        return run.series().source_fingerprint  # of both, read together
    if run.reads_vectors:
        return vectors_fingerprint(sources, vector_options(data))
    return source_fingerprint(sources, labelled_options(data) if run.classifies else source_options(data))


def _open(folder: Path) -> Run:
    """The run folder that the chief has made, which a network's file system may show later."""
    end = time.monotonic() + PATIENCE
    while not (folder / "config.json").exists() and time.monotonic() < end:
        time.sleep(0.1)
    if not folder.exists():
        raise UserError(
            f"every worker must see the run folder, {folder.absolute()} is not here; give --out on storage that all"
            " share"
        )
    return open_run(folder, quiet=True)
