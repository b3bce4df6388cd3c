"""Messages of the commands: formatted numbers, notes, and errors about options for other kinds of models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from textrnn.errors import UserError


def refuse(model: Any, arguments: argparse.Namespace, **options: str) -> None:
    """Raise a UserError if an option is given that is only for models of another kind."""
    for name, what in options.items():
        if getattr(arguments, name) not in (None, False, []):
            kind = model.manifest.kind.replace("_", " ")
            raise UserError(f"--{name} is for {what}, this is a {kind}; leave it out")


def say_how_tables_are_read(sources: Sequence[str], labelled: bool = False) -> None:
    """Print the notes of `table_notes`; ordinary tables have none."""
    from textrnn.data.sources import table_notes

    say(table_notes(sources, labelled))


def say(notes: Iterable[str]) -> None:
    """Print notes for the user on standard error, one per line."""
    for note in notes:
        print(note, file=sys.stderr)


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"
