"""What commands say: numbers for people, and options that are for something else."""

from __future__ import annotations

import argparse
from typing import Any

from textrnn.errors import UserError


def refuse(model: Any, arguments: argparse.Namespace, **options: str) -> None:
    """Raise a UserError of options that are given and are for models of another kind."""
    for name, what in options.items():
        if getattr(arguments, name) not in (None, False, []):
            kind = model.manifest.kind.replace("_", " ")
            raise UserError(f"--{name} is for {what}, this is a {kind}; leave it out")


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"
