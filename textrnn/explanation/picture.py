"""Picture of an explanation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textrnn.errors import UserError
from textrnn.explanation.layout import (
    cells_of,
    cut_to,
    level_of,
    one_line,
    printable,
    segments_of,
    strengths_of,
    wrapped,
)
from textrnn.explanation.occlusion import Explanation
from textrnn.files import write_atomically
from textrnn.fonts import installed_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE_TOKENS = 400
PICTURE_TOKEN_LENGTH = 40  # characters
PICTURE_NAME_WIDTH = 24  # maximum cells of a label
PICTURE_WIDTH = 100  # characters of Latin text per line
FONT_SIZE = 10.0  # points
# A character takes one cell, or two if it is wide (Chinese): text is laid out without measuring it.
CELL = 0.602 * FONT_SIZE / 72  # inches: the advance of DejaVu Sans Mono
LINE = 1.8 * FONT_SIZE / 72  # inches
MARGIN = 0.6  # inches
CURVE = 2.0  # inches
GREEN, RED = (0.30, 0.75, 0.35), (0.95, 0.40, 0.35)
NO_GLYPH = "□"


def draw(explanation: Explanation, path: Path) -> None:
    """Draw the tokens on boxes coloured by their contribution, and the probability after each, as a PNG.

    For a text of more than `PICTURE_TOKENS` tokens, only the tokens around the strongest are written. Several empty
    lines become one, … replaces the rest of a very long token, and □ a character that no installed font has.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise UserError("a picture needs matplotlib, it is missing; run: pip install matplotlib") from error

    families, known = installed_fonts("DejaVu Sans Mono")
    strengths = strengths_of(explanation)
    count = len(strengths)
    begin = max(0, min(int(np.abs(strengths).argmax()) - PICTURE_TOKENS // 2, count - PICTURE_TOKENS))
    end = min(count, begin + PICTURE_TOKENS)
    name = cut_to(_drawable(one_line(explanation.label), known), PICTURE_NAME_WIDTH)
    title = f"{name} {explanation.probability:.3f}"
    if end - begin < count:
        title += f"   tokens {begin + 1} to {end} of {count}, around the strongest"
    segments = segments_of([_drawable(piece, known) for piece in explanation.pieces[begin:end]], strengths[begin:end])
    lines = wrapped([text for text, _ in segments], PICTURE_WIDTH)
    note = "green speaks for the label, red against"
    if NO_GLYPH in title or any(NO_GLYPH in text for text, _ in segments):
        note += f"; {NO_GLYPH} is a character that no font here has"

    text_width, text_height = CELL * PICTURE_WIDTH, LINE * len(lines)
    width, height = text_width + 2 * MARGIN, text_height + CURVE + 3 * MARGIN
    figure = Figure(figsize=(width, height))
    left, across = MARGIN / width, text_width / width
    axes = figure.add_axes((left, (CURVE + 2 * MARGIN) / height, across, text_height / height))
    _draw_text(axes, lines, [strength for _, strength in segments], families)
    axes.set_title(title, loc="left", fontfamily=families, fontsize=1.2 * FONT_SIZE, pad=FONT_SIZE, parse_math=False)

    axes = figure.add_axes((left, MARGIN / height, across, CURVE / height))
    axes.plot(range(1, count + 1), explanation.after, color="black", marker="." if count <= 100 else "", clip_on=False)
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    if end - begin < count:
        axes.axvspan(begin + 1, end, color="grey", alpha=0.15, linewidth=0)
    axes.set(xlim=(0.5, count + 0.5), ylim=(0, 1), xlabel="token", ylabel="probability after it")
    axes.set_title(note, loc="left", fontsize=0.8 * FONT_SIZE, color="grey", pad=FONT_SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _drawable(piece: str, known: frozenset[int]) -> str:
    """Return a piece shortened to `PICTURE_TOKEN_LENGTH`, with □ for characters that are not in `known`."""
    text = re.sub(r"\n\s*\n", "\n\n", re.sub("[\u200c\u200d]", "", printable(piece)))
    if len(text) > PICTURE_TOKEN_LENGTH:
        text = text[: PICTURE_TOKEN_LENGTH - 1] + "…"
    return "".join(
        character if character == "\n" or ord(character) in known else NO_GLYPH if cells_of(character) else ""
        for character in text
    )


def _draw_text(
    axes: Axes, lines: Sequence[Sequence[tuple[int, str]]], strengths: Sequence[float], families: list[str]
) -> None:
    """Draw text on coloured boxes. The units of the axes become cells and lines."""
    from matplotlib.patches import Rectangle

    axes.set(xlim=(0, PICTURE_WIDTH), ylim=(len(lines), 0))
    axes.set_axis_off()
    font: dict[str, Any] = {"fontfamily": families, "fontsize": FONT_SIZE, "parse_math": False}
    for row, line in enumerate(lines):
        left = 0
        for index, part in line:
            cells, strength = cells_of(part), strengths[index]
            if level_of(strength):
                colour = 1 - abs(strength) * (1 - np.array(GREEN if strength > 0 else RED))
                axes.add_patch(Rectangle((left, row + 0.1), cells, 0.8, facecolor=tuple(colour), edgecolor="white"))
            axes.text(left + cells / 2, row + 0.68, part, ha="center", **font)
            left += cells
