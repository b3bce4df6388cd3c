"""The time budget of a search: how it is written, and how much of it is left."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from textrnn.errors import UserError, shown

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration, such as 90s, 10m or 1.5h.

    Raises:
        UserError: it is none, or is not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)([smh])", text.strip().lower(), re.ASCII)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not (found and seconds > 0 and math.isfinite(seconds)):
        raise UserError(f"--budget is a time above 0, such as 90s, 10m or 1.5h, was: {shown(text)}")
    return seconds


def as_duration(seconds: float) -> str:
    """Return seconds as text in the largest unit that suits them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Clock:
    """The time that a search has left.

    Args:
        budget: seconds that it may take.
        spent: seconds that it took before, in earlier processes.
        now: the clock, in seconds.
    """

    def __init__(self, budget: float, spent: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.budget, self._before, self._now, self._began = budget, spent, now, now()

    @property
    def spent(self) -> float:
        """Seconds spent."""
        return self._before + self._now() - self._began

    @property
    def left(self) -> float:
        """Seconds left; negative when it took longer."""
        return self.budget - self.spent
