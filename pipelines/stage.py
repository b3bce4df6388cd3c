"""Common code of the stages: arguments, the run folder, and errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from textrnn.config import Config
from textrnn.errors import Stopped, UserError
from textrnn.training.loop.run import Run
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run


def stage(work: Callable[[Run], int]) -> Callable[[Sequence[str] | None], int]:
    """Return the `main(argv)` of a script that calls `work` with its run. A run that does not exist is created.

    An error is printed as one line, with exit code 1. A run that this call created is then removed, unless it has
    trained.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        arguments = _arguments(sys.modules[work.__module__].__doc__, argv)
        name, new = Path(sys.argv[0]).stem, not arguments.out.exists()
        try:
            config = load_config(arguments.config, arguments.set)
            run = (create_run if new else open_run)(arguments.out, config, arguments.quiet)
            try:
                return work(run)
            except UserError:
                if new:
                    run.remove_unless_trained()
                raise
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        except Stopped as stopped:
            print(f"{name}: {stopped}", file=sys.stderr)
            return 130

    return main


def config_of(description: str | None, argv: Sequence[str] | None) -> Config | None:
    """Return the configuration of a call. If it is invalid, print the error and return None."""
    arguments = _arguments(description, argv)
    try:
        return load_config(arguments.config, arguments.set)
    except UserError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return None


def _arguments(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("config", type=Path, help="a TOML file of configs/")
    parser.add_argument("--out", type=Path, required=True, help="the run folder, the same for every stage")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser.parse_args(argv)
