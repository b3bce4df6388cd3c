"""`textrnn --print-completion`: the script that completes commands, options and file names in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textrnn.errors import UserError

SHELLS = ("bash", "zsh", "tcsh")
FOLDERS, FILES = ("MODEL", "RUN", "BUNDLE"), ("SOURCE",)  # arguments by their name in the help


class PrintCompletion(argparse.Action):
    """Option that prints the completion script of a shell and exits."""

    def __call__(self, parser: argparse.ArgumentParser, _: argparse.Namespace, shell: Any, *__: Any) -> None:
        try:
            import shtab
        except ModuleNotFoundError as error:
            raise UserError(
                "shell completion needs shtab, which is missing; run: pip install 'textrnn[completion]'"
            ) from error
        for action in _actions(parser):
            if action.metavar in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # where shtab looks for it
            elif action.metavar in FILES or action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:  # argparse has no public list
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
