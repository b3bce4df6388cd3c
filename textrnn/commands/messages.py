"""Numbers in the output of the commands."""

from __future__ import annotations


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"
