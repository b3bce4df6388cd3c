"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

MODEL = "a bundle, a run folder, the name of a finished model (textrnn models), or hf://USER/MODEL[@REVISION]"


def add_command(
    commands: Any,
    name: str,
    run: Any,
    text: str,
    model: bool = False,
    repeated: str | None = None,
    alias: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    Args:
        commands: subparsers of the main parser.
        name: name of the command.
        run: function that runs the command.
        text: help text.
        model: whether the first argument is a model.
        repeated: name of the positional argument that takes any number of values.
        alias: second name of the command.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", aliases=[alias] if alias else []
    )
    command.set_defaults(run=run, repeated=repeated)
    command.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    if model:
        command.add_argument("model", metavar="MODEL", help=MODEL)
    return command


def add_reading_options(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that read files of any kind."""
    command.add_argument(
        "--errors", choices=("strict", "replace"), help="invalid UTF-8: stop with an error, or replace it with U+FFFD"
    )
    command.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of numbers, for vectors and series; repeatable",
    )
