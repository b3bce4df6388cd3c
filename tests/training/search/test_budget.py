"""Durations of ``--budget``, and the clock of a search."""

from __future__ import annotations

import pytest
from commands import error_of

from textrnn.training.search.budget import Clock, as_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (".5m", 30), (" 2H ", 7200), ("0.5s", 0.5)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "m", "-5m", "0s", "10 m", "5d", "1e9h", "nan", "10m30s", "٣m", "9" * 400 + "h"]
)
def test_other_durations_are_refused_in_one_line(text: str) -> None:
    assert error_of(lambda: parse_duration(text)).startswith(
        "--budget is a time above 0, such as 90s, 10m or 1.5h, was: "
    )


def test_a_clock_counts_what_earlier_processes_spent() -> None:
    times = iter([100.0, 103.0, 104.0, 120.0])
    clock = Clock(30.0, 10.0, lambda: next(times))
    assert clock.spent == 13.0
    assert clock.left == 16.0
    assert clock.left == 0.0


def test_durations_are_shown_in_the_unit_that_suits_them() -> None:
    assert [as_duration(each) for each in (5.4, 90, 480, 9000)] == ["5 s", "90 s", "8 min", "2.5 h"]
