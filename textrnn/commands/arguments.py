"""Command-line arguments, notes and numbers in the output that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from textrnn.actions.messages import say

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


def say_what_hides_a_model(arguments: argparse.Namespace) -> None:
    """Print a note if the model is a path that has the name of a finished model."""
    model = getattr(arguments, "model", None)
    if isinstance(model, str):
        from textrnn.models.places import hidden_model

        if hidden_model(model):
            say([f"{model} is a path here, which is used; the finished model of that name is hidden by it"])


def number(value: float) -> str:
    """Return a figure for a person."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"
