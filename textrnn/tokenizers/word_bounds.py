"""Where the words of a text lie in its UTF-8 bytes, for all words of a block at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

MARK = 0xFF  # a byte that is in no UTF-8 text, which takes the place of what a word is not
LONGEST_CHARACTER = 4
FIRST_LEAD, LAST_LEAD = 0xC2, 0xF4  # first bytes of the characters that have several
LAST_LEAD_OF_BLANKS = 0xE3  # that of U+3000, the last character that is whitespace
BLANK, PART, SINGLE, NOT_SEEN = range(4)
"""A character is whitespace, a part of a word, or a word by itself."""


class WordBounds:
    """Finds the matches of a pattern whose words are runs of some characters, and single characters.

    Args:
        pattern: pattern that matches all that is not whitespace. What a character is follows from its matches in two
            of that character.
        has_singles: whether characters are words by themselves. If not, `MARK` is a part of words, else a word.
    """

    def __init__(self, pattern: re.Pattern[str], has_singles: bool) -> None:
        self._pattern, self._has_singles = pattern, has_singles
        self._classes = np.full(0x110000, NOT_SEEN, np.uint8)
        ascii_classes = [self._class_of(chr(code)) for code in range(0x80)]
        self._blanks, self._parts = _ranges(ascii_classes, BLANK), _ranges(ascii_classes, PART)

    def __call__(self, data: bytes, begin: int, end: int) -> tuple[Places, Places]:
        """Return the first byte of each word in ``data[begin:end]``, from `begin` on, and its length in bytes.

        `data` has `LONGEST_CHARACTER` more bytes after `end`.
        """
        block = np.frombuffer(data, np.uint8, end - begin, begin)
        if not self._has_singles:
            inside = ~_within(block, self._blanks)
            self._read_others(data, begin, block, inside)
            edges = np.empty(len(block) + 1, bool)
            edges[0], edges[-1] = inside[0], inside[-1]
            np.not_equal(inside[1:], inside[:-1], out=edges[1:-1])
            places = np.flatnonzero(edges)
            return places[::2], places[1::2] - places[::2]
        inside = _within(block, self._parts)
        starts = (block < 0x80) | (block == MARK)
        starts &= ~inside
        starts &= ~_within(block, self._blanks)
        ends = starts.copy()
        self._read_others(data, begin, block, inside, starts, ends)
        starts[0] |= inside[0]
        starts[1:] |= inside[1:] > inside[:-1]
        ends[-1] |= inside[-1]
        ends[:-1] |= inside[:-1] > inside[1:]
        firsts = np.flatnonzero(starts)
        return firsts, np.flatnonzero(ends) + 1 - firsts

    def _read_others(self, data: bytes, begin: int, block: NDArray[np.uint8], inside: Mask, *bounds: Mask) -> None:
        """Mark the characters that are not ASCII: where parts of words are, and where single ones start and end."""
        leads = block >= FIRST_LEAD
        leads &= block <= (LAST_LEAD if bounds else LAST_LEAD_OF_BLANKS)
        if not leads.any():
            return
        block = np.frombuffer(data, np.uint8, len(block) + LONGEST_CHARACTER, begin)
        places = np.flatnonzero(leads)
        first = block.take(places).astype(np.int32)
        widths = 2 + (first >= 0xE0) + (first >= 0xF0)
        codes = first & (0xFF >> (widths + 1))
        for later in range(1, LONGEST_CHARACTER):
            codes <<= 6
            codes |= block.take(places + later) & 0x3F
        codes >>= 6 * (LONGEST_CHARACTER - widths)
        classes = self._classes.take(codes)
        for code in set(codes[classes == NOT_SEEN].tolist()):
            self._classes[code] = self._class_of(chr(code))
        classes = self._classes.take(codes)
        if not bounds:
            blank = classes == BLANK
            _fill(inside, places[blank], widths[blank], False)
            return
        starts, ends = bounds
        part, single = classes == PART, classes == SINGLE
        _fill(inside, places[part], widths[part], True)
        starts[places[single]] = True
        ends[places[single] + widths[single] - 1] = True

    def _class_of(self, character: str) -> int:
        return len(self._pattern.findall(2 * character))


def _ranges(classes: Sequence[int], wanted: int) -> list[tuple[int, int]]:
    """Return the first and last number of each run of a class."""
    places = np.flatnonzero(np.array(classes) == wanted)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(int(run[0]), int(run[-1])) for run in runs]


def _within(block: NDArray[np.uint8], ranges: Sequence[tuple[int, int]]) -> Mask:
    """Return which bytes are in one of some ranges."""
    within = np.zeros(len(block), bool)
    for first, last in ranges:  # smaller bytes become large ones
        within |= block - np.uint8(first) <= np.uint8(last - first)
    return within


def _fill(mask: Mask, places: Places, widths: Places, value: bool) -> None:
    for later in range(LONGEST_CHARACTER):
        wide = widths > later
        mask[places[wide] + later] = value
