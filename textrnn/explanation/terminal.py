"""Explanation as terminal text: coloured, or with marks for a terminal without colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

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

STRONGEST = 5  # tokens listed for the label, and tokens listed against it
MARKED = 2  # steps that a token must reach to be marked if there is no colour
# From the 256-colour palette, which more terminals support than 24-bit colour. Black text on these colours is readable
# in light and in dark terminals.
GREENS, REDS, BLACK = (194, 157, 114), (224, 217, 210), 16
MIN_WIDTH = 40  # a terminal of unknown width reports 0
BLOCKS = "▁▂▃▄▅▆▇█"


def to_terminal(explanation: Explanation, colour: bool = True, width: int = 80) -> str:
    """Format an explanation: the label, the text, the probability after each token as blocks, and the strongest tokens.

    With `colour`, a token for the label has a green background and a token against it a red one. Without, strong
    tokens are ``[+marked]``. Escape sequences in the text or the labels are removed.

    Args:
        width: maximum cells per line.
    """
    width = max(width, MIN_WIDTH)
    segments = segments_of(map(printable, explanation.pieces), strengths_of(explanation))
    levels = [level_of(strength) for _, strength in segments]
    texts = [text for text, _ in segments]
    if not colour:
        texts = [_marked(text, level) for text, level in zip(texts, levels, strict=True)]
        levels = [0] * len(levels)
    text_lines = ["".join(_painted(part, levels[index]) for index, part in line) for line in wrapped(texts, width)]
    return "\n".join(
        [
            f"{one_line(explanation.label)} {explanation.probability:.3f}",
            *text_lines,
            _sparkline(explanation.after, width),
            *_strongest(explanation, width),
        ]
    )


def _marked(text: str, level: int) -> str:
    return f"[{'+' if level > 0 else '-'}{text}]" if text and abs(level) >= MARKED else text


def _painted(text: str, level: int) -> str:
    if not level:
        return text
    background = (GREENS if level > 0 else REDS)[abs(level) - 1]
    return f"\x1b[38;5;{BLACK};48;5;{background}m{text}\x1b[0m"


def _sparkline(after: Sequence[float], width: int) -> str:
    """Draw probabilities as blocks. If there are more than fit, draw an evenly spaced subset that includes the last."""
    title = "after each token "
    shown = np.array(after)
    if len(after) > width - len(title):
        shown = shown[np.linspace(0, len(after) - 1, width - len(title)).round().astype(int)]
    return title + "".join(BLOCKS[min(int(prob * len(BLOCKS)), len(BLOCKS) - 1)] for prob in shown)


def _strongest(explanation: Explanation, width: int) -> list[str]:
    """Format two columns: the strongest tokens for the label and the strongest against it."""
    contributions = np.array(explanation.contributions)
    order = np.argsort(-contributions, kind="stable")
    columns = [
        [f"{contributions[index]:+.2f} {one_line(explanation.pieces[index])}" for index in indices]
        for indices in (
            [index for index in order[:STRONGEST] if contributions[index] > 0],
            [index for index in order[::-1][:STRONGEST] if contributions[index] < 0],
        )
    ]
    cells = width // 2 - 2
    rows = [("for, nats", "against, nats"), *zip_longest(*columns, fillvalue="")]
    cut = [(cut_to(left, cells), cut_to(right, cells)) for left, right in rows]
    return [(left + " " * (cells + 2 - cells_of(left)) + right).rstrip() for left, right in cut]
