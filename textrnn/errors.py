"""The error that a user sees, and the end of a run that a user asked for."""

from __future__ import annotations

from numbers import Integral

LONGEST_SHOWN = 60  # characters of a value in a message


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the rule, what was received, what to do. The command line prints it without a traceback.
    """


class Stopped(Exception):
    """A signal stopped a command before its end. The message is one line, and says how to continue."""


def shown(value: object) -> str:
    """Return what a value looks like, short and in one line, for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def require_whole_number(name: str, value: object, least: int, advice: str) -> None:
    """Refuse what is no whole number, or is below the least; numpy's integers are whole numbers.

    Raises:
        UserError: so it is.
    """
    if not (isinstance(value, Integral) and int(value) >= least):
        raise UserError(f"{name} must be a whole number, {least} or above, was: {shown(value)}; {advice}")


def is_several(value: object) -> bool:
    """Return whether a value can be taken one by one; an array without dimensions cannot, though it seems to."""
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True
