"""The one error that speaks to a user."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the rule, what was received, what to do. The command line prints it without a traceback.
    """
