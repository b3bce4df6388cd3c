"""Layout of text in a terminal or a picture: printable characters, display width and line breaks."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from textrnn.explanation.occlusion import Explanation
from textrnn.tokenizers.base import REPLACEMENT

# Fractions of the strongest token's strength. Below the first step a token stays plain; each step deepens its colour.
STEPS = (0.15, 0.4, 0.7)
# Unicode categories of characters that do not begin a line (，。）) or end one (（, and the signs of a mark).
NEVER_FIRST, NEVER_LAST = {"Po", "Pe", "Pf"}, {"Ps", "Pi", "Sm", "Pd"}


def printable(text: str) -> str:
    """Return a text that is safe to print: U+FFFD replaces escapes and all other unprintable characters.

    Newlines stay, and other white space becomes a space. The zero-width joiners of Persian words and emoji stay.
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
    """Return a token on one line. A token of white space is shown as its Python literal, so that it is visible."""
    return printable(piece).strip().replace("\n", " ") or repr(piece)


def cells_of(text: str) -> int:
    """Return the display width of a text in terminal cells."""
    return sum(
        0
        if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def strengths_of(explanation: Explanation) -> NDArray[np.float64]:
    """Return the contributions ``(tokens,)`` divided by the largest absolute one, -1 to 1."""
    contributions = np.array(explanation.contributions)
    return contributions / (np.abs(contributions).max() or 1.0)


def level_of(strength: float) -> int:
    """Return how many `STEPS` a strength reaches, negative for a token that is against the label."""
    return int(np.sign(strength)) * sum(abs(strength) >= step for step in STEPS)


def segments_of(pieces: Iterable[str], strengths: Iterable[float]) -> list[tuple[str, float]]:
    """Split texts from their leading white space, which gets strength 0, and pair each part with its strength.

    A token of white space only keeps its strength.
    """
    segments = []
    for piece, strength in zip(pieces, strengths, strict=True):
        token = piece.lstrip(" \n") or piece.rpartition("\n")[2]
        segments += [(piece[: len(piece) - len(token)], 0.0), (token, float(strength))]
    return segments


def wrapped(texts: Sequence[str], width: int) -> list[list[tuple[int, str]]]:
    """Wrap the concatenated texts into lines, each a list of (index of the text, its part on this line)."""
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
    """Yield the begin and end of each line of a text. A line is at most `width` cells wide; `width` is at least 2.

    A line ends at a newline, else at the last space or next to the last wide character, else where it is full. The
    newline or the space that ends a line is not part of it.
    """
    begin = used = 0
    end = following = 0  # end of this line and begin of the next, if this line becomes too long
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
    """Return whether a line may end between two characters, one of them wide.

    A comma does not begin a line, and an opening bracket does not end one.
    """
    return (
        2 in {cells_of(before), cells_of(after)}
        and unicodedata.category(before) not in NEVER_LAST
        and unicodedata.category(after) not in NEVER_FIRST
    )


def cut_to(text: str, cells: int) -> str:
    """Cut a text to at most `cells` terminal cells. A cut text ends with …."""
    ends = list(accumulate(map(cells_of, text)))
    return text if not ends or ends[-1] <= cells else text[: bisect_right(ends, cells - 1)] + "…"
