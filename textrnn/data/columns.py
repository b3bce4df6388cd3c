"""What the columns of a table hold, where settings do not say it: texts and labels, numbers, dates and row counters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from textrnn.data.records import SourceOptions
from textrnn.data.tables import DECIMAL_COMMA, delimited_rows, flat, header, json_objects
from textrnn.data.text_files import text_suffix
from textrnn.errors import UserError

SAMPLED_RECORDS = 10_000  # at most, read to find which column is which
SAMPLED_DATES = 50
LONGER = 1.5  # times the length of any other column of sentences: then it is the text
FEWEST_WORDS = 2  # of a text, on average

Values = Sequence[str]
"""What a column holds in the records that have something in it."""

_WORD = re.compile(r"[^\W\d_]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # written without blanks, or with few


class UnclearColumnsError(UserError):
    """Several columns can be the text, or the label."""


def find_columns(path: Path, options: SourceOptions, defaults: SourceOptions) -> list[str] | None:
    """Return which columns hold the text and the label, where the options name them by default.

    A column with its default name, in capitals too, or one that an option names, is that column. Else the only column
    of a table holds the text, and of two the label is the one with fewer different values. Of more, the text is the
    column of sentences that is by far the longest; the label is the only other one with few different values. Each
    value of a label is there twice or more on average. The first line is a record if its label is one of those below.

    Args:
        path: the file.
        options: names of the columns.
        defaults: their names where none is stated.

    Returns:
        The columns in the order of `SourceOptions.columns`, numbers where the first line is a record; None if the names
        are right, are stated, or no column fits.

    Raises:
        UnclearColumnsError: of more than two columns, several fit.
    """
    if not _is_json(path):
        return _find(path, options, defaults, *_sampled_rows(path, options))
    records = [record for _, record in islice(json_objects(path, options.errors), SAMPLED_RECORDS)]
    found = _find(path, options, defaults, *_fields(records, options))
    if found or not any(isinstance(value, dict) for record in records for value in record.values()):
        return found
    # No others fit: the fields of nested objects are columns too.
    return _find(path, options, defaults, *_fields([flat(record) for record in records], options))


def _find(
    path: Path, options: SourceOptions, defaults: SourceOptions, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[str] | None:
    """Return the columns of `find_columns`, of a table with these names and records."""
    wanted = options.columns
    are_stated = [name != default for name, default in zip(wanted, defaults.columns, strict=True)]
    are_missing = [stated and name not in names for stated, name in zip(are_stated, wanted, strict=True)]
    columns = {name: _values(rows, place) for place, name in enumerate(names)}
    if len([name for name in names if name or columns[name]]) > len(columns) or any(are_missing):
        return None
    if not columns.get("", True):
        del columns[""]  # empty columns at the end, as spreadsheets write them
    if len(columns) < len(wanted):
        return None
    known = [name if name in names else _in_capitals(name, names) for name in wanted]
    if None not in known:
        return None if known == wanted else [str(name) for name in known]
    found = _both(columns, known) if len(columns) == len(wanted) else _among_many(path, columns, known)
    # Without a header, the names are the first record.
    if found and len(wanted) > 1 and not any(known) and not _is_json(path) and found[1] in columns[found[1]]:
        return [str(names.index(name) + 1) for name in found]
    return found


def _is_json(path: Path) -> bool:
    return text_suffix(path) in (".json", ".jsonl")


def _sampled_rows(path: Path, options: SourceOptions) -> tuple[list[str], Sequence[Sequence[Any]]]:
    """Return the names of the columns of a table, and its first records."""
    first, *rows = [row for _, row in islice(delimited_rows(path, options.errors), SAMPLED_RECORDS)] or [[]]
    return header(first), rows


def _fields(records: Sequence[Mapping[str, Any]], options: SourceOptions) -> tuple[list[str], Sequence[Sequence[Any]]]:
    """Return the columns of JSON objects that can hold a text or a label, and what each record has in them."""
    others = (dict,) if options.several_labels else (dict, list)
    names = dict.fromkeys(name for record in records for name in record)
    kept = [name for name in names if not any(isinstance(record.get(name), others) for record in records)]
    return kept, [[record.get(name) for name in kept] for record in records]


def _values(rows: Sequence[Sequence[Any]], place: int) -> Values:
    values = (row[place] for row in rows)
    return [text for value in values if value is not None and (text := str(value).strip())]


def _in_capitals(name: str, names: Sequence[str]) -> str | None:
    """Return the only column that has this name but for its capitals."""
    alike = [each for each in names if each.lower() == name]
    return alike[0] if len(alike) == 1 else None


def _both(columns: Mapping[str, Values], known: Sequence[str | None]) -> list[str] | None:
    """Return the columns of a table that has no other ones."""
    if len(columns) == 1 or any(known):
        (other,) = (name for name in columns if name not in known)
        return [name or other for name in known]
    by_kinds = sorted(columns, key=lambda name: -len(set(columns[name])))
    kinds = [len(set(columns[name])) for name in by_kinds]
    return None if kinds[0] == kinds[1] or 2 * kinds[1] > len(columns[by_kinds[1]]) else by_kinds


def _among_many(path: Path, columns: Mapping[str, Values], known: Sequence[str | None]) -> list[str] | None:
    """Return the columns of a table that has others too.

    Raises:
        UnclearColumnsError: several can be the text, or the label.
    """
    text = known[0]
    if text is None:
        lengths = {name: _length(values) for name, values in columns.items() if name not in known}
        texts = sorted((name for name in lengths if lengths[name]), key=lambda name: -lengths[name])
        if not texts:
            return None
        text = texts[0]
        close = [name for name in texts if LONGER * lengths[name] > lengths[text]]
        if len(close) > 1:
            raise _unclear(path, "the text", "--text", {name: columns[name] for name in close})
    if len(known) == 1:
        return [text]
    label = known[1]
    if label is None:
        labels = {name: values for name, values in columns.items() if name != text and _is_label(values)}
        if not labels:
            return None
        if len(labels) > 1:
            raise _unclear(path, "the label", "--label", labels)
        (label,) = labels
    return [text, label]


def _length(values: Values) -> float:
    """Return the average length of sentences in characters, one of Chinese counted as three; 0 if there are none."""
    wide = sum(len(_WIDE.findall(value)) for value in values)
    words = wide / 2 + sum(len(_WORD.findall(value)) for value in values if " " in value)
    if not values or words < FEWEST_WORDS * len(values) or _are_dates(values):
        return 0
    return (sum(map(len, values)) + 2 * wide) / len(values)


def _is_label(values: Values) -> bool:
    """Return whether values can be classes: two or more, each twice or more on average, and no dates."""
    kinds = len(set(values))
    return 2 <= kinds <= len(values) / 2 and not _are_dates(values)


def _are_dates(values: Values) -> bool:
    return dates_of(values[:SAMPLED_DATES]) is not None


def _unclear(path: Path, what: str, option: str, columns: Mapping[str, Values]) -> UnclearColumnsError:
    shown = []
    for name, values in columns.items():
        kinds = list(dict.fromkeys(values))
        examples = ", ".join(f"{value:.20}" for value in kinds[:3]) + (", ..." if len(kinds) > 3 else "")
        shown.append(f"{name} ({examples})")
    return UnclearColumnsError(
        f"{what} must be one column, {path} has several that fit: {'; '.join(shown):.300}; name one: {option} NAME"
    )


# Numbers as tables write them: decimal commas, separated thousands, currency and percent signs

Reader = Callable[[str], float | None]
"""Returns the number that a field has; None if it has none."""

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


# Time columns: they set the order of the steps

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
    steps = {later - earlier for earlier, later in pairwise(values)}
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
    return all(earlier <= later for earlier, later in pairwise(dates))


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
