"""What the stages share: how they are called, the run they work on, and how they fail."""

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
    """Make the `main(argv)` of a script from what it does to a run, which is opened, or made if it is not there.

    A failure is one line and exit code 1; a run that was made for nothing is removed again.
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
    """Return the configuration of a call; None, after printing why, where it is wrong."""
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
