"""An explanation in a terminal: coloured text, or marked where there are no colours."""

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

STRONGEST = 5  # tokens listed for the label, and as many against it
MARKED = 2  # steps that a token must have reached to be marked where there is no colour
# Of the 256 colours, which more terminals know than 24 bits; black on them reads well in light and in dark ones.
GREENS, REDS, BLACK = (194, 157, 114), (224, 217, 210), 16
MIN_WIDTH = 40  # a terminal that does not know its width says 0
BLOCKS = "▁▂▃▄▅▆▇█"


def to_terminal(explanation: Explanation, colour: bool = True, width: int = 80) -> str:
    """Format for a terminal: label, text, the probability after each token as blocks, and the strongest tokens.

    With `colour` a token has a green background where it speaks for the label, a red one where it speaks against;
    without, strong tokens are ``[+marked]``. Nothing in the text or the labels can command the terminal.

    Args:
        width: cells of a line.
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
    """Draw probabilities as blocks, evenly spaced ones if there are more than fit; the last is always drawn."""
    title = "after each token "
    shown = np.array(after)
    if len(after) > width - len(title):
        shown = shown[np.linspace(0, len(after) - 1, width - len(title)).round().astype(int)]
    return title + "".join(BLOCKS[min(int(prob * len(BLOCKS)), len(BLOCKS) - 1)] for prob in shown)


def _strongest(explanation: Explanation, width: int) -> list[str]:
    """Format two columns: tokens for the label, tokens against it."""
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
