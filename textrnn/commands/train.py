"""`textrnn train`: a run from its text to its bundle, alone or as one of several workers."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.commands.arguments import add_command, add_reading_options
from textrnn.platforms import quoted

if TYPE_CHECKING:
    from textrnn.training.loop.run import Run


class _TaskNames:
    """The values of --task. The tasks are imported when a value is given or help is printed."""

    def __iter__(self) -> Iterator[str]:
        from textrnn.training.tasks.configuration import task_names

        return iter(task_names())

    def __contains__(self, name: object) -> bool:
        return name in list(self)


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
    train.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="start from another model, a run or a float32 bundle: it learns on from the data, or gives its tokenizer"
        " and layers to another task",
    )
    train.add_argument(
        "--mix",
        action="append",
        metavar="SOURCE",
        help="with --from: data that the model knows already, mixed in half and half, so that it forgets less",
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default: runs/NAME)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint in --out; with --set train.epochs=N, train a finished run for N epochs"
        " in total: the learning rate warms up and decays again over the added epochs",
    )
    train.add_argument(
        "--budget",
        metavar="TIME",
        help="search for settings on the held-out part, then train with the best, within a time such as 90s, 10m, 1.5h",
    )
    add_reading_options(train)
    train.add_argument("--text", metavar="COLUMN", help="text column of a table (default: text, or found)")
    train.add_argument("--label", metavar="COLUMN", help="label column of a table (default: label, or found)")
    train.add_argument("--target", metavar="COLUMN", help="text to text: target column of a table (default: target)")
    train.add_argument("--quiet", action="store_true", help="show no progress")


def train_command(arguments: argparse.Namespace) -> None:
    from textrnn.actions.training import Plan, carry_out, like_its_start, stated_config
    from textrnn.training.distributed.cluster import cluster_of
    from textrnn.training.search.budget import parse_duration

    folder = arguments.out or Path("runs") / _run_name(arguments)
    budget = parse_duration(arguments.budget) if arguments.budget is not None else None
    stated = like_its_start(_stated_settings(arguments), folder if arguments.resume else None)
    options = {
        name: getattr(arguments, name) for name in ("errors", "text", "label", "target", "source", "mix", "values")
    }
    data = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items() if value}
    config = stated_config(folder, stated, data, arguments.resume, is_whole=bool(arguments.config))
    cluster = cluster_of(os.environ)
    run = carry_out(Plan(folder, config, stated, arguments.resume, budget, arguments.quiet, cluster=cluster))
    print(run.bundle)
    if not arguments.quiet and (cluster is None or cluster.is_chief):
        print(f"try: {_what_to_try(run)}", file=sys.stderr)


def _stated_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that --task, --config, --set and --from state, in sections."""
    from textrnn.training.tasks.configuration import insert, stated_values, task_names

    task = [f"task={task_names()[arguments.task]}"] if arguments.task else []
    stated = stated_values(arguments.config, [*task, *arguments.set])
    if arguments.start:
        insert(stated, "model.init_from", arguments.start)
    return stated


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
