"""The history of a run: one line of JSON per measurement, and a picture of the loss curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textrnn.errors import UserError
from textrnn.files import write_atomically


def append_history(path: Path, line: Mapping[str, Any]) -> None:
    """Append a measurement to the history.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror}; free space, then --resume") from error


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return all measurements; a last line that a kill cut short is skipped."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def drop_history_after(path: Path, step: int) -> None:
    """Remove the measurements after a checkpoint's step, because the resumed run repeats them."""
    if not path.exists():
        return
    kept = [json.dumps(line, ensure_ascii=False) + "\n" for line in read_history(path) if line["step"] <= step]
    with write_atomically(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def draw_curves(history: Path, picture: Path, unit: str = "token", loss: str = "nats") -> None:
    """Draw training and held-out loss per `unit` against epochs as a PNG; `loss` names the unit of the loss."""
    from matplotlib.figure import Figure

    lines = read_history(history)
    held_out = [line for line in lines if "held_out_loss" in line]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    training = [line for line in lines if "training_loss" in line]  # before the first step there is none
    axes.plot([line["epoch"] for line in training], [line["training_loss"] for line in training], label="training")
    axes.plot(
        [line["epoch"] for line in held_out], [line["held_out_loss"] for line in held_out], "o-", label="held out"
    )
    axes.set(xlabel="epoch", ylabel=f"{loss} a {unit}")
    axes.grid(alpha=0.3)
    axes.legend()
    with write_atomically(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
