"""Readers of tables in text files: .csv and .tsv with delimiters and quotes, .json and .jsonl, fastText labels.

Plain text of which each line is two sides and a tab is read as a .tsv where labels are asked for."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

from textrnn.data.labels import LIST_SEPARATOR
from textrnn.data.records import Record, SourceOptions, label_value, require_columns, text_value, whole_characters
from textrnn.data.text_files import SAMPLED_CHARACTERS, newline_of, opened_text, text_suffix, whole_lines
from textrnn.errors import UserError

# Without a limit, an unclosed quote would load the rest of a .csv into memory as one field.
LONGEST_FIELD = 64 << 20  # characters
WRAPPERS = ("data", "records", "rows", "items", "results", "examples")  # names of a list of records in an object
SAMPLED_OBJECTS = 1000  # at most, of which some must have a column
SAMPLED_LINES = 200  # at most, read to find the delimiter of a .csv
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
FASTTEXT = "__label__"
QUOTED = re.compile(r'"(?:[^"]|"")*"')


@cache
def _csv_parser() -> Any:
    """Return a private copy of the `csv` parser, so that its field size limit does not change the caller's `csv`."""
    spec = find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("Python must have its module _csv")
    parser = module_from_spec(spec)
    spec.loader.exec_module(parser)
    parser.field_size_limit(LONGEST_FIELD)
    return parser


def delimiter_of(path: Path) -> str:
    """Return the delimiter of a table: one of `DELIMITERS` or that of a first line ``sep=``; outside .csv a tab."""
    lines = _lines_of(path)
    sample, characters = list[str](), 0
    for line in islice(lines, SAMPLED_LINES):
        sample.append(line)
        characters += len(line)
        if characters > SAMPLED_CHARACTERS:
            break
    if sample and (said := _said_delimiter(sample[0])):
        return said
    if text_suffix(path) != ".csv":
        return "\t"
    is_whole = next(lines, None) is None
    rows = {delimiter: _sampled_rows(sample, delimiter, is_whole) for delimiter in DELIMITERS}
    widths = {delimiter: {len(row) for row in found} for delimiter, found in rows.items() if len(found) > 1}
    agreeing = {delimiter: max(found) for delimiter, found in widths.items() if len(found) == 1 and max(found) > 1}
    # The comma has priority, unless it only occurs in numbers: 1,5;2,5
    if "," in agreeing and not (";" in agreeing and _has_decimal_commas(rows[";"])):
        return ","
    agreeing.pop(",", None)
    if not agreeing and len(rows[";"]) > 1 and _has_decimal_commas(rows[";"][1:]) and max(widths[";"]) == 1:
        return ";"  # one column of numbers with decimal commas
    return max(agreeing, key=lambda delimiter: agreeing[delimiter], default=",")


def _said_delimiter(line: str) -> str:
    """Return the delimiter that a first line ``sep=;`` of a spreadsheet names; empty for any other line."""
    said = re.fullmatch(r"\"?sep=(.)\"?[\r\n]*", line, re.IGNORECASE)
    return said[1] if said else ""


def _sampled_rows(lines: Sequence[str], delimiter: str, is_whole: bool) -> list[list[str]]:
    try:
        rows = list(filter(None, _csv_parser().reader(lines, delimiter=delimiter)))
    except _csv_parser().Error:
        return []
    rows = rows if is_whole else rows[:-1]  # the last row may be cut
    return [_as_wide(row, rows[0]) for row in rows]


def _has_decimal_commas(rows: Iterable[Sequence[str]]) -> bool:
    """Return whether some fields have a comma, and all of these fields are numbers with a decimal comma."""
    with_comma = [field for row in rows for field in row if "," in field]
    return bool(with_comma) and all(DECIMAL_COMMA.fullmatch(field.strip()) for field in with_comma)


DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)


def delimited_rows(path: Path, errors: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each record of a table in a text file. Empty lines are skipped.

    Raises:
        UserError: the file is malformed, or a record does not have as many fields as the first one.
    """
    parser = _csv_parser()
    delimiter = delimiter_of(path)
    record: list[str] = []  # lines of the current record
    lines = _kept_in(record, whole_lines(path, errors, newline_of(path)))
    if text_suffix(path) == ".csv" or _is_quoted(path, delimiter):
        rows = parser.reader(lines, delimiter=delimiter, strict=True)
    else:
        rows = parser.reader(lines, delimiter=delimiter, quoting=parser.QUOTE_NONE)
    first: list[str] = []
    try:
        for row in rows:
            is_separator = rows.line_num == 1 and _said_delimiter(record[0])
            record.clear()
            if not row or is_separator:  # an empty line is not a record
                continue
            first = first or row
            if len(row) != len(first) and len(row := _as_wide(row, first)) != len(first):
                raise UserError(
                    f"every record must have {len(first)} fields as the first line has, {path} line {rows.line_num} "
                    f"has {len(row)}; {_above(first)}mend it (a delimiter or newline inside a field of a .csv needs "
                    "quotes around it)"
                )
            yield rows.line_num, row
    except parser.Error as error:
        name = text_suffix(path)[1:].upper()
        if opened_in := _line_of_quote(record, delimiter):
            line = rows.line_num - len(record) + opened_in
            raise UserError(
                f"{path} must be {name}, the quote that opens in line {line} does not close before the end of its "
                f"field: {error}; close it, and double quotes inside a field"
            ) from error
        raise UserError(f"{path} must be {name}, line {rows.line_num}: {error}") from error


def _is_quoted(path: Path, delimiter: str) -> bool:
    """Return whether a table that is no .csv has quotes around fields, as spreadsheets and programs write them.

    Quotes may belong to the text too. So all of the file must be readable with quotes around fields, and some of its
    first lines must show them: they cannot be read as they stand, or have a doubled quote, or the first line is quoted
    whole, or those fields are quoted that have a comma, and no others.
    """
    parser = _csv_parser()
    sample = list(islice(_lines_of(path), SAMPLED_LINES))
    if not any('"' in line for line in sample):
        return False
    plain = list(filter(None, parser.reader(sample, delimiter=delimiter, quoting=parser.QUOTE_NONE)))
    try:
        rows = filter(None, parser.reader(_lines_of(path), delimiter=delimiter, strict=True))
        width = len(next(rows, []))
        if all(len(row) == width for row in plain) and not _shows_quotes(plain):
            return False
        return width > 1 and all(len(row) == width for row in rows)
    except parser.Error:
        return False


def _shows_quotes(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether rows that were read as they stand have quotes around fields, and quotes nowhere else."""
    fields = [field for row in rows for field in row]
    if not all(QUOTED.fullmatch(field) for field in fields if '"' in field):
        return False
    is_doubled = any('""' in field[1:-1] for field in fields)
    is_whole = all(QUOTED.fullmatch(field) for field in rows[0])
    return is_doubled or is_whole or all((field[:1] == '"') == ("," in field) for field in fields)


def _lines_of(path: Path) -> Iterator[str]:
    return whole_lines(path, "replace", newline_of(path))


def _above(first: list[str]) -> str:
    return "remove lines above the names of the columns, or " if len(first) == 1 else ""


def _as_wide(row: list[str], first: list[str]) -> list[str]:
    """Return a row as wide as the first row, by adding or removing empty fields at its end; another row as it is.

    Spreadsheets leave out some of the empty fields at the end of a line.
    """
    named = max((place for place, field in enumerate(first, 1) if field.strip()), default=0)
    differs = len(row) != len(first) and len(row) >= named and not any(row[named:])
    return [*row[:named], *[""] * (len(first) - named)] if differs else row


def _kept_in(kept: list[str], lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


def _line_of_quote(lines: Sequence[str], delimiter: str) -> int:
    """Return the number, from 1, of the line that opens the malformed quoted field of a record; 0 if there is none."""
    found, state = 0, "start"
    for number, line in enumerate(lines, 1):
        for character in line:
            if state == "quoted":
                state = "closing" if character == '"' else "quoted"
            elif character == '"' and state in ("start", "closing"):  # two quotes in a row are a quote inside the field
                found = number if state == "start" else found
                state = "quoted"
            elif character == delimiter or character in "\r\n":
                state = "start"
            elif state == "closing":
                return found
            else:
                state = "plain"
    return found if state == "quoted" else 0


def header(fields: Sequence[str]) -> list[str]:
    """Return the column names of a header line, without spaces and byte order marks around them."""
    return [field.strip().strip("\ufeff").strip() for field in fields]


def read_table(path: Path, options: SourceOptions) -> Iterator[Record]:
    rows: Iterator[list[str]] = (row for _, row in delimited_rows(path, options.errors))
    first = next(rows, None)
    if first is None:
        return
    names = header(first)
    # Columns are named by number, unless all names in the file are numbers. A first record may hold "1" too.
    if all(name.isdecimal() for name in options.columns) and not all(name.isdecimal() for name in names):
        names, rows = [str(number) for number in range(1, len(first) + 1)], chain([first], rows)
    if len(first) < len(set(options.columns)):
        next(rows, None)  # The first line may be a title. Then the second is wider, and its error is the clearer one.
    require_columns(path, names, options)
    places = [names.index(name) for name in options.columns]
    for row in rows:
        text, *label = (row[place] for place in places)
        yield Record(text, label_value(path, label[0]) if label else "", names, row)


def has_pairs(path: Path) -> bool:
    """Return whether each non-empty line of plain text, of the first `SAMPLED_LINES`, has two sides and one tab."""
    lines = [line.strip("\r\n") for line in islice(whole_lines(path, "replace"), SAMPLED_LINES)]
    sides = [line.split("\t") for line in lines if line.strip()]
    return len(sides) > 1 and all(len(line) == 2 and all(side.strip() for side in line) for line in sides)


def is_fasttext(path: Path) -> bool:
    """Return whether the first non-empty line begins with a fastText label."""
    with opened_text(path, "replace") as file:
        start = file.read(1 << 10)
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(FASTTEXT.encode())


def read_fasttext(path: Path, options: SourceOptions) -> Iterator[Record]:
    for number, line in enumerate(whole_lines(path, options.errors), 1):
        labels = re.findall(rf"(?<!\S){FASTTEXT}(\S+)", line)
        if len(labels) > 1 and not options.several_labels:
            raise UserError(
                f"a text must have one label, {path} line {number} has {len(labels)}: {', '.join(labels):.200}; keep "
                "one, or train with --task multilabel"
            )
        text = re.sub(rf"(?<!\S){FASTTEXT}\S+\s?", "", line).strip()
        label = LIST_SEPARATOR.join(label_value(path, each) for each in labels)
        yield Record(text, label, ("label", "text"), (label, text))


def json_objects(path: Path, errors: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a ``.json`` or ``.jsonl`` with its place for messages, as in ``FILE line 7``.

    Raises:
        UserError: the file is malformed, or has JSON values that are not objects.
    """
    lines = whole_lines(path, errors)
    if text_suffix(path) == ".json":
        lines, whole = _whole_object(lines)
        for index, record in enumerate(whole, 1):
            yield f"{path} record {index}", record
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        is_array = line.lstrip().startswith("[")
        try:
            records = json.loads(line + "".join(lines)) if is_array else [json.loads(line)]
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} must hold a JSON object a line, or one array of them; line {number}: {error}"
            ) from error
        for index, record in enumerate(records, 1):
            place = f"{path} record {index}" if is_array else f"{path} line {number}"
            if not isinstance(record, dict):
                raise UserError(
                    f"a JSON record must be an object, {place} is: {json.dumps(record):.60}; write each as"
                    ' {"text": ..., "label": ...}'
                )
            yield place, record


def _whole_object(lines: Iterator[str]) -> tuple[Iterator[str], list[Any]]:
    """Return the lines of a file and no records; or, if the lines are one object that holds records, only these."""
    start: list[str] = []  # up to the second line that is not blank
    for line in lines:
        start.append(line)
        if sum(not each.isspace() for each in start) > 1:
            break
    filled = [line for line in start if not line.isspace()]
    is_line = len(filled) > 1 and _parsed(filled[0]) is not None
    if is_line or not filled or not filled[0].lstrip().startswith("{"):
        return chain(start, lines), []
    rest = "".join(lines)
    if records := _records_of(_parsed("".join(start) + rest)):
        return iter(()), records
    return chain(start, io.StringIO(rest, newline="\n")), []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _records_of(whole: Any) -> list[Any] | None:
    """Return the records of an object: its list of objects, if it has no other value or is called as lists of records
    are; or of its columns, some of text, as pandas writes a table. None of any other."""
    if not isinstance(whole, dict):
        return None
    for name, value in whole.items():
        found = value if isinstance(value, list) and all(isinstance(each, dict) for each in value) else []
        if found and (len(whole) == 1 or name in WRAPPERS):
            return found
    columns = list(whole.values())
    if all(isinstance(column, dict) and all(map(str.isdecimal, column)) for column in columns):
        if any(column.keys() != columns[0].keys() for column in columns):
            return None
        columns = [list(column.values()) for column in columns]
    elif not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return None
    if len(columns) < 2 or not any(isinstance(column[0], str) for column in columns if column):
        return None
    return [dict(zip(whole, record, strict=True)) for record in zip(*columns, strict=True)]


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the fields of nested objects as columns of their own: ``{"a": {"b": 1}}`` has ``a.b``."""
    if not any(isinstance(value, dict) for value in record.values()):
        return record
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in flat(value).items()}
        else:
            found[name] = value
    return found


def read_json(path: Path, options: SourceOptions) -> Iterator[Record]:
    objects = json_objects(path, options.errors)
    first = list(islice(objects, SAMPLED_OBJECTS))
    names = dict.fromkeys(name for _, record in first for name in (*record, *flat(record)))
    if first:
        require_columns(path, list(names), options)
    for place, record in chain(first, objects):
        # A record may lack a column: many programs leave out what is null.
        text, *labels = (record[name] if name in record else flat(record).get(name) for name in options.columns)
        text = text_value(place, text, options)
        label = label_value(place, labels[0], several=options.several_labels) if labels else ""
        text, label = (whole_characters(place, value, options.errors) for value in (text, label))
        yield Record(text, label, tuple(record), tuple(record.values()))
