"""Numbers as tables write them: decimal commas, separated thousands, currency and percent signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

Reader = Callable[[str], float | None]
"""Returns the number that a field has; None if it has none."""

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
_SIGNS = ("%", "元", "円", "원", "kr", "zł", "CHF", "EUR", "GBP", "USD")
_GROUPS = {",": re.compile(r"\d{1,3}(?:,\d{3})+(?=\.|$)"), ".": re.compile(r"\d{1,3}(?:\.\d{3})+(?=,|$)")}
_SPACED = re.compile("(?<=\\d)[ '\u2019\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")  # between thousands


def plain_number(field: str) -> float | None:
    """Return a number as programs write it."""
    try:
        return None if "_" in field else float(field)  # only Python allows underscores in numbers
    except ValueError:
        return None


def number_with_comma(field: str) -> float | None:
    """Return a number that may have a decimal comma."""
    return plain_number(field.replace(",", ".") if DECIMAL_COMMA.fullmatch(field) else field)


def number_with_thousands(field: str) -> float | None:
    """Return a number such as ``$1,234.50`` or ``12 %``.

    >>> number_with_thousands("$1,234.50")
    1234.5
    """
    return _grouped(field, ",", plain_number)


def number_with_comma_and_thousands(field: str) -> float | None:
    """Return a number such as ``1.234,50 €``.

    >>> number_with_comma_and_thousands("1.234,50 €")
    1234.5
    """
    return _grouped(field, ".", lambda number: None if "." in number else number_with_comma(number))


def reader_of(fields: Sequence[str], may_have_commas: bool) -> Reader | None:
    """Return how the numbers of a column are read: as most of its fields can be.

    Args:
        fields: its fields that are not empty.
        may_have_commas: whether a number without other signs may have a decimal comma.

    Returns:
        The reader, of several the first in this order: numbers as programs write them, or with decimal commas, then
        those with separated thousands and signs. A point beside decimal commas separates thousands. None if the first
        field has no number.
    """
    usual = number_with_comma if may_have_commas else plain_number
    readers = [usual, number_with_thousands, number_with_comma_and_thousands]
    if may_have_commas and any("," in field for field in fields):
        readers = [number_with_comma_and_thousands, usual, number_with_thousands]
    readers = [reader for reader in readers if fields and reader(fields[0]) is not None]
    if readers and usual in readers and all(plain_number(field) is not None for field in fields):
        return usual
    return max(readers, key=lambda reader: sum(reader(field) is not None for field in fields), default=None)


def _grouped(field: str, mark: str, number: Reader) -> float | None:
    unsigned = _without_signs(field.replace("\u2212", "-"))  # the minus sign of spreadsheets
    digits = _SPACED.sub("", _without_signs(unsigned.removeprefix("-")))
    if group := _GROUPS[mark].match(digits):
        digits = group[0].replace(mark, "") + digits[group.end() :]
    return number("-" * unsigned.startswith("-") + digits) if digits[:1].isdigit() else None


def _without_signs(field: str) -> str:
    """Return a field without the sign of a currency or of percent before or after it."""
    for sign in (*_SIGNS, *(character for character in field if unicodedata.category(character) == "Sc")):
        if field.startswith(sign) or field.endswith(sign):
            return field.removeprefix(sign).removesuffix(sign).strip()
    return field
