"""Write the Unicode tables of textrnn.hpp, so that words are split and lowered in C++ as in Python.

Run it from the repository with ``python export/cpp/unicode_tables.py``. It replaces the lines between the two marks in
the header by the tables of this Python's Unicode version.
"""

from __future__ import annotations

import itertools
import textwrap
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from textrnn.tokenizers import word

HEADER = Path(__file__).with_name("textrnn.hpp")
BEGIN, END = "// clang-format off: made by unicode_tables.py\n", "// clang-format on: made by unicode_tables.py\n"
LONGEST = 512  # code points of a range of capitals; the header stops its search there

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
CAPITALS_OF_THEIR_OWN = "\u0130\u03a3"  # the header lowers these two


def main() -> None:
    """Rewrite the header."""
    text = HEADER.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    HEADER.write_text(before + BEGIN + tables() + END + after, encoding="utf-8", newline="\n")


def tables() -> str:
    """Return the C++ of all tables."""
    cased = {c for c in CHARACTERS if (c + "Σ").lower().endswith("ς")}
    ignored = [c for c in CHARACTERS if c not in cased and ("A" + c + "Σ").lower().endswith("ς")]
    return (
        f"// Unicode {unicodedata.unidata_version}.\n\n"
        + _ranges("BLANKS", "Whitespace", filter(str.isspace, CHARACTERS))
        + _ranges("LETTERS", "Letters, digits and the underscore", (c for c in CHARACTERS if c.isalnum() or c == "_"))
        + _ranges("MARKS", "Combining marks that belong to words, and joiners", word._marks())
        + _ranges("CASED", "Characters with case", cased)
        + _ranges("CASE_IGNORED", "Characters that the rule of the final sigma skips", ignored)
        + _capitals()
    )


def _ranges(name: str, what: str, characters: Iterable[str]) -> str:
    codes = sorted(map(ord, characters))
    runs = [[code for _, code in run] for _, run in itertools.groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return _array("Range", name, what, [f"{{{run[0]:#x}, {run[-1]:#x}}}" for run in runs])


def _capitals() -> str:
    shifts = {ord(c): ord(c.lower()) - ord(c) for c in CHARACTERS if c not in CAPITALS_OF_THEIR_OWN and c.lower() != c}
    rows = []
    left = dict(shifts)
    for first in shifts:
        if first not in left:
            continue
        lasts = {}
        for step in (1, 2):
            code = first
            while left.get(code + step) == shifts[first] and code + step - first < LONGEST:
                code += step
            lasts[step] = code
        step = max(lasts, key=lambda step: (lasts[step] - first) // step)
        for code in range(first, lasts[step] + 1, step):
            del left[code]
        rows.append(f"{{{first:#x}, {lasts[step]:#x}, {step}, {shifts[first]}}}")
    return _array("LowerCase", "LOWER_CASES", "Capitals", rows)


def _array(type_: str, name: str, what: str, rows: list[str]) -> str:
    body = textwrap.fill(", ".join(rows), 120, initial_indent="    ", subsequent_indent="    ")
    return f"// {what}.\ninline constexpr {type_} {name}[] = {{\n{body}}};\n\n"


if __name__ == "__main__":
    main()
