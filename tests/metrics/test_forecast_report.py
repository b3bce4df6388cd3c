"""How far off forecasts are, beside naive ones; and their picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textrnn.metrics.forecast_report import draw_forecasts, forecast_errors, mean_squared_error

VALUES = np.array([0, 2, 4, 1, 3, 5], float)[:, None]  # a season of 3
FORECASTS = np.stack([[row + 1, row + 2] for row in VALUES])  # always 1 more than now, then 2 more
BEGIN = 4  # held out are 3 and 5


def test_errors_at_one_step_and_at_the_horizon() -> None:
    # From 1 the next is told to be 2 and is 3, from 3 it is told to be 4 and is 5; two steps ahead, from 4 it is 6 and
    # not 3, from 1 it is 3 and not 5.
    assert forecast_errors(VALUES, FORECASTS, BEGIN, season=3) == pytest.approx(
        {
            "one_step_rmse": 1,
            "one_step_mae": 1,
            "naive_one_step_rmse": 2,
            "naive_one_step_mae": 2,
            "seasonal_naive_one_step_rmse": 1,
            "seasonal_naive_one_step_mae": 1,
            "horizon_rmse": np.sqrt((9 + 4) / 2),
            "horizon_mae": 2.5,
            "naive_horizon_rmse": np.sqrt((1 + 16) / 2),
            "naive_horizon_mae": 2.5,
            "seasonal_naive_horizon_rmse": 1,
            "seasonal_naive_horizon_mae": 1,
        }
    )
    assert mean_squared_error(VALUES, FORECASTS, BEGIN) == pytest.approx((1 + 1 + 9 + 4) / 4)


def test_a_season_shorter_than_the_horizon_looks_back_two() -> None:
    errors = forecast_errors(VALUES, FORECASTS, BEGIN, season=1)
    assert errors["seasonal_naive_horizon_rmse"] == errors["naive_horizon_rmse"]


@pytest.mark.parametrize("season", [0, 5])
def test_a_season_that_is_not_known_is_left_out(season: int) -> None:
    assert not any(name.startswith("seasonal") for name in forecast_errors(VALUES, FORECASTS, BEGIN, season))


def test_a_picture_shows_every_feature(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(60, 2))
    forecasts = np.repeat(values[:, None], 3, axis=1)
    draw_forecasts(values, forecasts, 40, ["$x_1$", "y"], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
