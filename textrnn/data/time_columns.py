"""Time columns of a table: row counters and dates. They set the order of the steps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

INDEX_NAMES = ("", "index", "unnamed: 0")
FEWEST_COUNTED = 3  # fewer values can have equal differences by chance

_DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%Y年%m月%d日",
)
_MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%y", "%Y年%m月")
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (*(day + time for time in _TIMES for day in _DAYS), *_MONTHS)
_FRACTION_AND_ZONE = re.compile(r"(?<=:\d\d)(\.\d+)?\s*(Z|UTC|[+-]\d\d:?\d\d)?$")


class Order(NamedTuple):
    """The time order of rows: their indices in this order, and a note for the user."""

    places: Sequence[int]
    note: str


def counts(name: str, values: Sequence[float]) -> bool:
    """Return whether a column counts the rows: integers with a constant difference that is not 0.

    A column with fewer than `FEWEST_COUNTED` values must have a name of `INDEX_NAMES` and the difference 1.
    """
    if not all(float(value).is_integer() for value in values):
        return False
    steps = {later - earlier for earlier, later in itertools.pairwise(values)}
    if len(values) < FEWEST_COUNTED:
        return name.lower() in INDEX_NAMES and steps <= {1}
    return len(steps) == 1 and 0 not in steps


def dates_of(fields: Sequence[str]) -> list[datetime] | None:
    """Return the dates of a column in one of `FORMATS`; None if no format fits all fields.

    Some formats differ only in the order of day and month. If several formats fit, the first one in which the dates
    are sorted, ascending or descending, is used.
    """
    fields = [_FRACTION_AND_ZONE.sub("", field.strip()) for field in fields]
    if not fields or not any(character.isdigit() for character in fields[0]):
        return None
    found = [dates for format_ in FORMATS if (dates := _parsed(fields, format_))]
    return next((dates for dates in found if _rises(dates) or _rises(dates[::-1])), found[0] if found else None)


def is_compact_dates(fields: Sequence[str]) -> bool:
    """Return whether a column holds dates that are written as one number, such as 20240131."""
    return all(len(field) == len("20240131") and field.isdigit() for field in fields) and dates_of(fields) is not None


def order_of_count(name: str, values: Sequence[float]) -> Order | None:
    """Return the order of rows by a column that `counts`; None if the rows are already in this order."""
    if len(values) < FEWEST_COUNTED or values[0] < values[-1]:
        return None
    return Order(range(len(values) - 1, -1, -1), f"the column {name!r} falls, the rows are read from the last on")


def _parsed(fields: Sequence[str], format_: str) -> list[datetime] | None:
    try:
        return [datetime.strptime(field, format_) for field in fields]
    except ValueError:
        return None


def _rises(dates: Sequence[datetime]) -> bool:
    return all(earlier <= later for earlier, later in itertools.pairwise(dates))


def order_in_time(columns: Mapping[str, Sequence[str]], rows: int) -> Order | None:
    """Return the order of rows by the first column of dates; None if there is no such column.

    Ascending dates keep the rows. Descending dates reverse them. Unsorted dates sort the rows, unless a date occurs
    twice: then the time order is not defined, and the rows keep their order.

    Args:
        columns: fields of the columns that are not read as numbers, by column name.
        rows: number of rows of the table.
    """
    dates, name = next(((dates, name) for name, fields in columns.items() if (dates := dates_of(fields))), (None, ""))
    if dates is None:
        return None
    passed_over = f"the column {name!r} holds dates and is not forecast"
    if _rises(dates):
        return Order(range(rows), passed_over)
    if _rises(dates[::-1]):
        return Order(
            range(rows - 1, -1, -1), f"{passed_over}; its newest come first, the rows are read from the last on"
        )
    if len(set(dates)) == rows:
        in_order = sorted(range(rows), key=dates.__getitem__)
        return Order(in_order, f"{passed_over}; the rows are read in the order of its dates")
    return Order(range(rows), f"{passed_over}; dates stand twice and in no order, the rows are read as they come")
