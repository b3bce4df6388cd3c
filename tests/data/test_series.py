"""A time series from its source, where it is cut, and the windows it is trained on."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from commands import error_of
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.data.series import Series, Windows, following, prepare_series, read_series

TABLE = 'Date,Level,"Flow"\r\n2020-01-01,1.5,10\r\n2020-01-02,"2",-20\r\n2020-01-03,2.5,3e1'
LEVEL_AND_FLOW = [[1.5, 10], [2, -20], [2.5, 30]]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def series_of(values: object, training: int, features: int = 1) -> Series:
    array = np.asarray(values, np.float32).reshape(-1, features)
    return Series(array, training, tuple("abc"[:features]))


# Reading


@pytest.mark.parametrize(("separator", "suffix"), [(",", "csv"), ("\t", "tsv")])
def test_columns_of_numbers_are_read_and_dates_passed_over(tmp_path: Path, separator: str, suffix: str) -> None:
    values, columns = read_series([write(tmp_path / f"a.{suffix}", TABLE.replace(",", separator))])
    assert values.dtype == np.float32
    assert values.tolist() == LEVEL_AND_FLOW
    assert columns == ("Level", "Flow")


def test_columns_that_are_named_are_read_in_their_order(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", TABLE)
    assert read_series([source], ("Flow", "Level"))[0].tolist() == [row[::-1] for row in LEVEL_AND_FLOW]
    assert read_series([source], ("Flow",))[1] == ("Flow",)
    assert "'Date, Level, Flow'" in error_of(lambda: read_series([source], ("Fluss",)))


def test_a_file_without_names_has_numbered_columns(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "2020-01-01,1.5\n2020-01-02,2\n")
    values, columns = read_series([source])
    assert (values.tolist(), columns) == ([[1.5], [2]], ("2",))
    assert read_series([source], ("2",))[0].tolist() == [[1.5], [2]]


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    sources = [write(tmp_path / name, f"x\n{number}\n") for number, name in enumerate(("a.csv", "b.csv"))]
    assert read_series(sources)[0].tolist() == [[0], [1]]
    wide = write(tmp_path / "c.csv", "x,y\n1,2\n")
    assert "2 values a step" in error_of(lambda: read_series([sources[0], wide]))


@pytest.mark.parametrize(("shape", "columns"), [((3,), ("x",)), ((3, 1), ("x",)), ((3, 2), ("x 1", "x 2"))])
def test_arrays_are_read(tmp_path: Path, shape: tuple[int, ...], columns: tuple[str, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    np.savez(tmp_path / "a.npz", x=array, other=np.zeros((2, 2, 2)))
    values, names = read_series([str(tmp_path / "a.npz")])
    assert values.tolist() == array.reshape(3, -1).tolist()
    assert names == columns
    assert "(2, 2, 2)" in error_of(lambda: read_series([str(tmp_path / "a.npz")], ("other",)))


def test_a_column_of_records_is_read(tmp_path: Path) -> None:
    records = [{"when": "now", "x": 1, "y": [2, 3]}, {"when": "then", "x": 4.5, "y": [5, 6]}]
    source = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    assert read_series([source])[1] == ("x", "y 1", "y 2")
    assert read_series([source])[0].tolist() == [[1, 2, 3], [4.5, 5, 6]]
    assert read_series([source], ("y",))[0].tolist() == [[2, 3], [5, 6]]
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(records).to_parquet(tmp_path / "a.parquet")
    assert read_series([str(tmp_path / "a.parquet")], ("x",))[0].tolist() == [[1], [4.5]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("d,x\na,1\nb,\n", "a.csv line 3 has none in the column 'x'; fill the gap"),
        ("d,x\na,1\nb,?0.2\n", "a.csv line 3 has '?0.2' in the column 'x'"),
        ("d,x\na,1\nb,nan\n", "a.csv line 3 has: nan"),
        ("d,x\na,1\nb,1e40\n", "a.csv line 3 has: 1e+40"),
        ("d,x\na,b\n", "a column must hold numbers,"),
        ("d,x\n", "a column must hold numbers,"),
        ("", "a.csv is empty"),
    ],
)
def test_what_is_no_series_of_numbers_is_refused(tmp_path: Path, table: str, message: str) -> None:
    source = write(tmp_path / "a.csv", table)
    assert message in error_of(lambda: read_series([source]))


def test_a_gap_in_records_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"x": 1}\n{"x": null}\n')
    assert "a.jsonl line 2 has None in the column 'x'" in error_of(lambda: read_series([source]))
    np.savez(tmp_path / "a.npz", x=[1, np.nan])
    assert "has: nan" in error_of(lambda: read_series([str(tmp_path / "a.npz")]))
    assert "no builtin one" in error_of(lambda: read_series(["builtin"]))
    assert "must be a file or folder that exists" in error_of(lambda: read_series([str(tmp_path / "b.csv")]))


# Cutting


def prepared(source: str, **changes: object) -> Series:
    options = {"columns": (), "held_out": 0.2, "horizon": 2} | changes
    return prepare_series([source], **options)  # type: ignore[arg-type]


def test_the_last_part_is_held_out_and_the_scaling_is_of_the_first(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "x,y\n" + "".join(f"{n % 2},7\n" for n in range(8)) + "50,8\n60,9\n")
    series = prepared(source)
    assert (series.training, len(series.values), series.features) == (8, 10, 2)
    np.testing.assert_allclose(series.mean, [0.5, 7])
    np.testing.assert_allclose(series.scale, [0.5, 1])
    assert str(series) == "8 steps to train on, 2 held out, of: x, y"
    assert series.source_fingerprint == prepared(source).source_fingerprint
    assert series.source_fingerprint != prepared(source, held_out=0.3).source_fingerprint


def test_a_source_that_goes_on_is_held_out_as_a_whole(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "x\n" + "1\n" * 6)
    later = write(tmp_path / "b.csv", "x\n2\n3\n")
    series = prepared(source, validation=[later])
    assert (series.training, series.values[6:].tolist()) == (6, [[2], [3]])


def test_a_series_must_be_long_enough(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "x\n" + "1\n" * 20)
    assert error_of(lambda: prepared(source, horizon=10)) == (
        "a series must have at least 13 steps to train on, 10 more to measure a forecast on, model.horizon is 10 and "
        "the series has 20 steps; give more steps or set model.horizon to 8 or less"
    )
    assert (prepared(source, horizon=8).training, len(prepared(source, horizon=8).values)) == (12, 20)


# Windows


def test_what_follows_each_step() -> None:
    assert following(np.array([[1, 10], [2, 20], [3, 30]]), 2).tolist() == [[2, 20, 3, 30]]


@pytest.mark.parametrize("warm_up", [0, 3, 100])
def test_windows_are_stretches_of_the_training_part_with_what_follows(warm_up: int) -> None:
    series = series_of(np.arange(40), 30)
    windows = Windows(series, batch_size=3, length=5, horizon=2, warm_up=warm_up, seed=1)
    assert windows.warm_up == min(warm_up, 11)
    assert windows.steps_per_epoch == 2
    seen = set()
    for step in range(200):
        values, targets = windows.batch(step)
        assert values.shape == (3, windows.warm_up + 5, 1)
        assert targets.shape == (5, 3, 2)
        np.testing.assert_array_equal(np.diff(values[..., 0]), 1)
        told = targets * series.scale + series.mean
        np.testing.assert_allclose(told.swapaxes(0, 1), values[:, windows.warm_up :] + [1, 2], rtol=1e-5)
        seen |= set(values[:, 0, 0].tolist())
    assert seen == set(range(30 - 5 - 2 - windows.warm_up + 1))


def test_a_batch_depends_on_nothing_but_seed_and_step() -> None:
    series = series_of(np.arange(100), 90)
    first, again, other = (Windows(series, 4, 10, 2, 0, seed) for seed in (1, 1, 2))
    first.batch(0)
    np.testing.assert_array_equal(first.batch(7).values, again.batch(7).values)
    assert not np.array_equal(first.batch(7).values, other.batch(7).values)
    assert not np.array_equal(first.batch(7).values, first.batch(8).values)


# What says when a step was


def notes_of(source: str, *columns: str) -> list[str]:
    notes: list[str] = []
    read_series([source], columns, notes)
    return [note.partition(": ")[2] for note in notes]


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("level;flow\n1,5;2\n-2,25;3,75\n", [[1.5, 2], [-2.25, 3.75]]),
        ("1,5;2\n2,5;3\n", [[1.5, 2], [2.5, 3]]),
        ("date;level\n01.02.2024;1,5\n02.02.2024;2,5\n", [[1.5], [2.5]]),
        ("level\tflow\n1,5\t2e1\n2,5\t3\n", [[1.5, 20], [2.5, 3]]),
    ],
    ids=["named", "not named", "dated", "tabs"],
)
def test_numbers_may_have_decimal_commas_where_commas_separate_nothing(
    tmp_path: Path, table: str, values: list[list[float]]
) -> None:
    assert read_series([write(tmp_path / "a.csv", table)])[0].tolist() == values


@pytest.mark.parametrize(
    ("fields", "values", "separator"),
    [
        (["1.234,5", "999,25", "1.000"], [1234.5, 999.25, 1000], ";"),
        (["1,234.50", "999.25", "-1,000,000"], [1234.5, 999.25, -1e6], ","),
        (["$1,234.50", "$9", "-$12.5"], [1234.5, 9, -12.5], ","),
        (["1.234,50 €", "-9 €", "0,5€"], [1234.5, -9, 0.5], ";"),
        (["1\u202f234,5", "999,25", "12 000"], [1234.5, 999.25, 12000], ";"),
        (["12 %", "3.5%", "\u22124%"], [12, 3.5, -4], ","),
    ],
)
def test_numbers_may_have_separated_thousands_and_signs_and_that_is_said(
    tmp_path: Path, fields: list[str], values: list[float], separator: str
) -> None:
    rows = [f'{day}{separator}"{field}"' for day, field in enumerate(fields)]
    source = write(tmp_path / "a.csv", "\n".join([f"day{separator}sales", *rows, separator, separator]))
    assert read_series([source], ["sales"])[0].ravel().tolist() == values
    assert f"read as {values[0]:g}" in notes_of(source)[0]


@pytest.mark.parametrize("field", ["1,5,5", "1.23,5", "$", "12 pieces", "2024-01-05"])
def test_what_is_no_number_with_thousands_is_refused(tmp_path: Path, field: str) -> None:
    source = write(tmp_path / "a.csv", f"level;flow\n1,5;2\n{field};3\n;4\n")
    message = error_of(lambda: read_series([source]))
    assert f"line 3 has {field!r} in the column 'level' and 1 other line of it has a gap too; fill the gaps" in message


@pytest.mark.parametrize(
    ("table", "values", "note"),
    [
        (",level\n0,4\n1,9\n2,7\n", [[4], [9], [7]], "the column '' counts the rows"),
        ("year,level\n1990,4\n1991,9\n1992,7\n", [[4], [9], [7]], "the column 'year' counts the rows"),
        ("year,level\n1992,7\n1991,9\n1990,4\n", [[4], [9], [7]], "the column 'year' counts the rows"),
        ("t,level\n1700000000,4\n1700003600,9\n1700007200,7\n", [[4], [9], [7]], "the column 't' counts the rows"),
        ("index,level\n0,4\n", [[4]], "the column 'index' counts the rows"),
        ("day,level\n20240131,4\n20240201,9\n20240205,7\n", [[4], [9], [7]], "the column 'day' holds dates"),
    ],
)
def test_a_column_that_counts_the_rows_is_not_forecast_and_that_is_said(
    tmp_path: Path, table: str, values: list[list[float]], note: str
) -> None:
    source = write(tmp_path / "a.csv", table)
    assert read_series([source])[0].tolist() == values
    assert notes_of(source)[0].startswith(note)


@pytest.mark.parametrize("table", ["level\n1\n2\n3\n", "level,flow\n1,3\n2,9\n4,7\n", "a,b\n2,3\n2,4\n2,7\n"])
def test_other_columns_are_forecast(tmp_path: Path, table: str) -> None:
    source = write(tmp_path / "a.csv", table)
    assert read_series([source])[0].shape == (3, table.partition("\n")[0].count(",") + 1)
    assert notes_of(source) == []


def test_a_column_that_is_named_is_forecast_though_it_counts(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "year,level\n1990,4\n1991,9\n1992,7\n")
    assert read_series([source], ("year",))[0].tolist() == [[1990], [1991], [1992]]
    assert notes_of(source, "year") == []


DAYS = [date(2024, 1, 3) + timedelta(days=9 * step) for step in range(12)]  # some are above the 12th of their month


@pytest.mark.parametrize(
    "format_", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%d %b %Y", "%Y年%m月%d日", "%Y-%m-%dT12:30:05.250Z"]
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(order=st.permutations(range(len(DAYS))))
@settings(max_examples=5)
def test_steps_are_in_the_order_of_their_dates(
    tmp_path_factory: pytest.TempPathFactory, format_: str, ending: str, order: list[int]
) -> None:
    rows = [(DAYS[step].strftime(format_), step * step) for step in order]
    if ending == "csv":
        table = "when,level\n" + "".join(f'"{when}",{level}\n' for when, level in rows)
    else:
        table = "".join(json.dumps({"when": when, "level": level}) + "\n" for when, level in rows)
    source = write(tmp_path_factory.mktemp("series") / f"a.{ending}", table)
    assert read_series([source])[0][:, 0].tolist() == [step * step for step in range(len(DAYS))]
    in_order = order == sorted(order)
    assert notes_of(source) == [
        "the column 'when' holds dates and is not forecast"
        + ("" if in_order else "; the rows are read in the order of its dates")
    ] or order == sorted(order, reverse=True)


@pytest.mark.parametrize("format_", ["%m/%d/%Y", "%d/%m/%Y"])
def test_dates_that_fall_turn_the_rows_round_whatever_comes_first_day_or_month(tmp_path: Path, format_: str) -> None:
    days = [date(2024, 3, 1) + timedelta(days=step) for step in range(12)][::-1]
    table = "date,level\n" + "".join(f"{day.strftime(format_)},{day.day}\n" for day in days)
    source = write(tmp_path / "a.csv", table)
    assert read_series([source])[0][:, 0].tolist() == list(range(1, 13))
    assert notes_of(source) == [
        "the column 'date' holds dates and is not forecast; its newest come first, the rows are read from the last on"
    ]


def test_dates_that_stand_twice_leave_the_rows_as_they_are(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "date,level\n2024-01-02,1\n2024-01-01,2\n2024-01-02,3\n")
    assert read_series([source])[0][:, 0].tolist() == [1, 2, 3]
    assert "dates stand twice and in no order" in notes_of(source)[0]
