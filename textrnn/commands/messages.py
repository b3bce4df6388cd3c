"""Numbers in the output of the commands."""

from __future__ import annotations

import argparse

from textrnn.actions.messages import say


def say_what_hides_a_model(arguments: argparse.Namespace) -> None:
    """Print a note if the model is a path that has the name of a finished model."""
    model = getattr(arguments, "model", None)
    if isinstance(model, str):
        from textrnn.models.places import hidden_model

        if hidden_model(model):
            say([f"{model} is a path here, which is used; the finished model of that name is hidden by it"])


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"
