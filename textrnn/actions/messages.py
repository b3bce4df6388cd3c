"""Notes and errors that several commands and calls share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from textrnn.errors import UserError


def refuse(model: Any, options: Any, **whose: str) -> None:
    """Raise a UserError if an option is given that is only for models of another kind.

    Args:
        model: the model.
        options: the options as attributes; its attribute `mark`, or ``--``, is what a user writes before their names.
        whose: the models that an option is for, by its name.
    """
    for name, what in whose.items():
        if getattr(options, name) not in (None, False, [], ()):
            kind = model.manifest.kind.replace("_", " ")
            raise UserError(f"{getattr(options, 'mark', '--')}{name} is for {what}, this is a {kind}; leave it out")


def say_how_tables_are_read(sources: Sequence[str], labelled: bool = False) -> None:
    """Print the notes of `table_notes`; ordinary tables have none."""
    from textrnn.data.sources import table_notes

    say(table_notes(sources, labelled))


def say(notes: Iterable[str]) -> None:
    """Print notes for the user on standard error, one per line."""
    for note in notes:
        print(note, file=sys.stderr)
