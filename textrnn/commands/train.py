"""`textrnn train`: a run from its text to its bundle, alone or as one of several workers."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from textrnn.commands.arguments import add_command, add_reading_options
from textrnn.commands.messages import say, say_how_tables_are_read
from textrnn.errors import Stopped, UserError
from textrnn.platforms import quoted

if TYPE_CHECKING:
    from textrnn.config import Config
    from textrnn.training.distributed.cluster import Cluster
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.run import Run
    from textrnn.training.loop.trainer import Trainer


class _TaskNames:
    """The values of --task. The tasks are imported when a value is given or help is printed."""

    def __iter__(self) -> Iterator[str]:
        from textrnn.training.tasks.configuration import task_names

        return iter(task_names())

    def __contains__(self, name: object) -> bool:
        return name in list(self)


def train_run(run: Run, new: bool = False) -> Path:
    """Train a run to its end and export its bundle; return the bundle's folder.

    Args:
        run: the run.
        new: whether its folder was just made; if so, a run that cannot even begin leaves no folder.

    Raises:
        UserError: as the stages raise it.
        Stopped: a signal asked to stop; the run can be resumed.
    """
    from textrnn.training.loop.run_lock import locked

    try:
        with locked(run.folder):
            return _train_and_export(run, new)
    except KeyboardInterrupt as interrupt:
        raise Stopped(f"stopped; go on with: {run.resume_command}") from interrupt


def _train_and_export(run: Run, new: bool) -> Path:
    try:
        run.remove_leftovers()
        trainer = _trainer(run)
    except UserError as error:
        if new:
            clear_frames(error.__traceback__)  # unmaps the data, or Windows would not remove them
            run.remove_unless_trained()
        raise
    trainer.fit()
    if not run.bundle.exists():
        trainer.finish()
    return run.bundle


def _trainer(run: Run) -> Trainer:
    """Prepare the data of a run, search its settings if asked to, and return its trainer. Print notes for the user."""
    from textrnn.training.tasks.table import prepare, task_of, trainer_of
    from textrnn.training.tensorflow_setup import import_tensorflow

    task = task_of(run.config)
    if not run.quiet:
        data = run.config.data
        say_how_tables_are_read([*data.source, *data.validation], task.reads_labels)
    prepared = prepare(run)  # what is wrong with the data shows before TensorFlow has taken its seconds to load
    if not run.quiet:
        say(task.notes(prepared))
    import_tensorflow()
    from textrnn.training.distributed.distribution import of_this_process
    from textrnn.training.search.search import is_searched, with_best_settings

    distribution = of_this_process()
    if is_searched(run.folder):
        del prepared  # unmaps the data, which may be removed
        run = with_best_settings(run, distribution)
        prepared = prepare(run)
    return trainer_of(run, prepared, distribution)


def _train_with_others(cluster: Cluster, folder: Path, config: Config | None, resume: bool, quiet: bool) -> Run:
    """Train as one worker of several; only the first of them writes files."""
    from textrnn.training.tasks.shared_run import open_shared_run
    from textrnn.training.tensorflow_setup import import_tensorflow

    if not quiet:
        print(f"worker {cluster.index} meets the others: {', '.join(cluster.workers)}", file=sys.stderr, flush=True)
    distribution = import_tensorflow(lambda: _join(cluster))
    from textrnn.training.tasks.table import trainer_of

    again = f"textrnn train --resume --out {quoted(str(folder))}"
    kept = f"the last checkpoint is kept, go on with, for every worker: {again}"
    with distribution.explain_lost_workers(kept), ExitStack() as held:
        run = open_shared_run(distribution, folder, config, resume, quiet, held)
        try:
            trainer = trainer_of(run, distribution=distribution)
        except UserError:
            if distribution.is_chief and not resume:
                run.remove_unless_trained()
            raise
        trainer.fit()
        # The others leave when the chief has written all, or it would miss them.
        distribution.chief_first(lambda: None if run.bundle.exists() else trainer.finish(), lambda: None)
    return run


def _join(cluster: Cluster) -> Distribution:
    from textrnn.training.distributed.distribution import join

    return join(cluster)


def add_train(commands: Any) -> None:
    """Add the command and its arguments."""
    train = add_command(commands, "train", train_command, "train a model on text and export it", repeated="source")
    train.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="training data: files, folders, Hugging Face ids, or - for standard input (default: the Python manual)",
    )
    train.add_argument(
        "--task",
        choices=_TaskNames(),
        metavar="TASK",
        help="what to train: %(choices)s (default: language_model, or the task of --config)",
    )
    train.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="a TOML file with settings that differ from the defaults"
    )
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting, e.g. train.epochs=5"
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default: runs/NAME)")
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    train.add_argument(
        "--budget",
        metavar="TIME",
        help="search for settings on the held-out part, then train with the best, within a time such as 90s, 10m, 1.5h",
    )
    add_reading_options(train)
    train.add_argument("--text", metavar="COLUMN", help="text column of a table (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="label column (default: label)")
    train.add_argument("--quiet", action="store_true", help="show no progress")


def train_command(arguments: argparse.Namespace) -> None:
    from textrnn.training.distributed.cluster import cluster_of
    from textrnn.training.search.budget import parse_duration
    from textrnn.training.search.search import begin_search, is_searched, resume_search
    from textrnn.training.tasks.runs import create_run, open_run

    folder = arguments.out or Path("runs") / _run_name(arguments)
    budget = parse_duration(arguments.budget) if arguments.budget is not None else None
    stated = _stated_settings(arguments)
    config = _stated_config(arguments, folder, stated)
    if cluster := cluster_of(os.environ):
        if budget or is_searched(folder):
            raise UserError("--budget searches in one process, TF_CONFIG names several workers; leave one of them out")
        run = _train_with_others(cluster, folder, config, arguments.resume, arguments.quiet)
        print(run.bundle)
        if cluster.is_chief and not arguments.quiet:
            print(f"try: {_what_to_try(run)}", file=sys.stderr)
        return
    if config is None or arguments.resume:
        run = open_run(folder, resume_search(folder, budget, stated, config), arguments.quiet)
    else:
        run = create_run(folder, config, arguments.quiet)
        if budget:
            begin_search(run, budget, stated)
    print(train_run(run, new=not arguments.resume))
    if not arguments.quiet:
        print(f"try: {_what_to_try(run)}", file=sys.stderr)


def _stated_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that --task, --config and --set state, in sections."""
    from textrnn.training.tasks.configuration import stated_values, task_names

    task = [f"task={task_names()[arguments.task]}"] if arguments.task else []
    return stated_values(arguments.config, [*task, *arguments.set])


def _stated_config(arguments: argparse.Namespace, folder: Path, stated: Mapping[str, Any]) -> Config | None:
    """Return the configuration that a command states; None where it only resumes a run."""
    from textrnn.training.tasks.configuration import from_dict, read_config

    options: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("errors", "text", "label", "source", "values")
    }
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items() if value
    }
    if arguments.resume and not (arguments.config or stated or given.keys() - {"source"}):
        if not given:
            return None
        config = read_config(folder)  # a resumed run keeps its settings
    else:
        config = from_dict(stated)
    return replace(config, data=replace(config.data, **given))


def _what_to_try(run: Run) -> str:
    from textrnn.training.tasks.table import task_of

    return task_of(run.config).what_to_try(quoted(str(run.folder)))


def _run_name(arguments: argparse.Namespace) -> str:
    if arguments.config:
        return str(arguments.config.stem)
    if arguments.source:
        name = Path(arguments.source[0]).resolve().name.strip(".").split(".")[0]
        return re.sub(r'[<>:"|?*]', "-", name)  # Windows allows none of them, and an id of the hub may have a colon
    return arguments.task or "builtin"
