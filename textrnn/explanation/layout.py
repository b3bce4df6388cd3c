"""Text as a terminal or a picture shows it: what may be shown of it, how wide it is, where its lines end."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from textrnn.explanation.occlusion import Explanation
from textrnn.tokenizers.base import REPLACEMENT

# Of the strength of the strongest token: below the first step a token stays plain, at each step its colour deepens.
STEPS = (0.15, 0.4, 0.7)
# Unicode categories of what does not begin a line (，。）) or end one (（, and the signs of a mark).
NEVER_FIRST, NEVER_LAST = {"Po", "Pe", "Pf"}, {"Ps", "Pi", "Sm", "Pd"}


def printable(text: str) -> str:
    """Make a text harmless to a terminal: escapes, and what is no character and no white space, become U+FFFD.

    Newlines stay, and so do the joiners without a width that Persian words and emoji need.
    """
    return "".join(
        character
        if character.isprintable() or character in "\n\u200c\u200d"
        else " "
        if character.isspace()
        else REPLACEMENT
        for character in text
    )


def one_line(piece: str) -> str:
    """Show a token by itself on one line; white space is spelled as in Python."""
    return printable(piece).strip().replace("\n", " ") or repr(piece)


def cells_of(text: str) -> int:
    """Count the cells of a terminal that a text takes."""
    return sum(
        0
        if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def strengths_of(explanation: Explanation) -> NDArray[np.float64]:
    """Scale contributions (tokens,) by the largest, to -1 to 1."""
    contributions = np.array(explanation.contributions)
    return contributions / (np.abs(contributions).max() or 1.0)


def level_of(strength: float) -> int:
    """Return the step that a strength has reached, below 0 if it is against the label."""
    return int(np.sign(strength)) * sum(abs(strength) >= step for step in STEPS)


def segments_of(pieces: Iterable[str], strengths: Iterable[float]) -> list[tuple[str, float]]:
    """Return texts and their strengths; white space before a token has none, unless the token is all white space."""
    segments = []
    for piece, strength in zip(pieces, strengths, strict=True):
        token = piece.lstrip(" \n") or piece.rpartition("\n")[2]
        segments += [(piece[: len(piece) - len(token)], 0.0), (token, float(strength))]
    return segments


def wrapped(texts: Sequence[str], width: int) -> list[list[tuple[int, str]]]:
    """Split texts written one after the other into lines: (index of the text, its part on the line)."""
    whole = "".join(texts)
    owners = [index for index, text in enumerate(texts) for _ in text]
    return [
        [
            (index, "".join(whole[position] for position in positions))
            for index, positions in groupby(range(begin, end), owners.__getitem__)
        ]
        for begin, end in _line_spans(whole, width)
    ]


def _line_spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Return where the lines of a text begin and end, each at most `width` cells wide; `width` is 2 or more.

    A line ends at a newline, else at the last space or beside the last wide character, else where it is full. The
    newline or the space at which it ends is no part of a line.
    """
    begin = used = 0
    end = following = 0  # of this line and the beginning of the next, if it becomes too long
    for position, character in enumerate(text):
        if character == "\n":
            yield begin, position
            begin, used = position + 1, 0
            continue
        if character == " ":
            end, following = position, position + 1
        elif position > begin and _may_part(text[position - 1], character):
            end = following = position
        used += cells_of(character)
        if used > width:
            if end <= begin:
                end = following = position
            yield begin, end
            begin = following
            used = cells_of(text[begin : position + 1])
    yield begin, len(text)


def _may_part(before: str, after: str) -> bool:
    """Return whether a line may end between two characters: beside a wide one, but no comma may begin a line."""
    return (
        2 in {cells_of(before), cells_of(after)}
        and unicodedata.category(before) not in NEVER_LAST
        and unicodedata.category(after) not in NEVER_FIRST
    )


def cut_to(text: str, cells: int) -> str:
    """Shorten a text to a number of cells."""
    ends = list(accumulate(map(cells_of, text)))
    return text if not ends or ends[-1] <= cells else text[: bisect_right(ends, cells - 1)] + "…"
