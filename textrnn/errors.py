"""The errors that a user sees: invalid input, and a run that the user stopped."""

from __future__ import annotations

from numbers import Integral

LONGEST_SHOWN = 60  # maximum characters of a value in a message


class UserError(ValueError):
    """An error in something that the user gave.

    The message is one line: the rule, what was received, what to do. The command line prints it without a traceback.
    """


class Stopped(Exception):
    """The end of a command that a signal stopped; the message is one line and says how to continue."""


def shown(value: object) -> str:
    """Return a short one-line representation of a value for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def require_whole_number(name: str, value: object, least: int, advice: str) -> None:
    """Raise an error unless `value` is a whole number of at least `least`; numpy's integers count as whole numbers.

    Raises:
        UserError: the value is not a whole number, or is below `least`.
    """
    if not (isinstance(value, Integral) and int(value) >= least):
        raise UserError(f"{name} must be a whole number, {least} or above, was: {shown(value)}; {advice}")


def is_several(value: object) -> bool:
    """Return whether a value can be iterated; a zero-dimensional array cannot, although it has ``__iter__``."""
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True
