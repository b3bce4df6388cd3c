"""Evaluation of a forecaster on held-out values: its errors, those of naive forecasts, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.files import write_atomically

DRAWN_STEPS = 400  # more would be too dense to read
DRAWN_FEATURES = 3


def origins(steps: int, begin: int, ahead: int) -> NDArray[np.int64]:
    """Return the steps, of a series of length `steps`, with a target `ahead` steps later, at or after `begin`."""
    return np.arange(max(begin - ahead, 0), steps - ahead)


def forecast_errors(values: NDArray[Any], forecasts: NDArray[Any], begin: int, season: int = 0) -> dict[str, float]:
    """Compute root mean squared and mean absolute errors at one step and at the horizon, in units of the data.

    The result also has the errors of the naive forecast, which repeats the last value. With a season it has those of
    the seasonal naive forecast, which repeats the value one season before the target. If that value is not known yet,
    it goes back by the fewest whole seasons that reach a known one.

    Args:
        values: the series, ``(time, features)``.
        forecasts: forecasts after each step, ``(time, horizon, features)``.
        begin: first step that counts as a target, 1 or above.
        season: length of the season in steps; 0 for none. The seasonal errors are left out if the series begins after
            the value that the first target needs.
    """
    values = np.asarray(values, np.float64)
    errors: dict[str, float] = {}
    horizon = forecasts.shape[1]
    for name, ahead in {"one_step": 1, "horizon": horizon}.items():
        now = origins(len(values), begin, ahead)
        kinds = {"": forecasts[now, ahead - 1], "naive_": values[now]}
        back = -(-ahead // season) * season if season else 0
        if season and now[0] + ahead >= back:
            kinds["seasonal_naive_"] = values[now + ahead - back]
        for kind, forecast in kinds.items():
            difference = forecast - values[now + ahead]
            errors[f"{kind}{name}_rmse"] = float(np.sqrt(np.square(difference).mean()))
            errors[f"{kind}{name}_mae"] = float(np.abs(difference).mean())
    return errors


def mean_squared_error(values: NDArray[Any], forecasts: NDArray[Any], begin: int) -> float:
    """Compute the mean squared error of all forecasts ``(time, horizon, features)``.

    Targets are the `values` ``(time, features)`` at or after `begin`.
    """
    squared, count = 0.0, 0
    for ahead in range(1, forecasts.shape[1] + 1):
        now = origins(len(values), begin, ahead)
        difference = np.asarray(forecasts[now, ahead - 1], np.float64) - values[now + ahead]
        squared, count = squared + float(np.square(difference).sum()), count + difference.size
    return squared / count


def draw_forecasts(
    values: NDArray[Any], forecasts: NDArray[Any], begin: int, columns: Sequence[str], picture: Path
) -> None:
    """Draw the held-out part and its forecasts one step and one horizon ahead, as a PNG.

    The arguments are those of `forecast_errors`; `columns` are the names of the features.
    """
    import matplotlib
    from matplotlib.figure import Figure

    horizon = forecasts.shape[1]
    aheads = [1, horizon] if horizon > 1 else [1]
    shown = range(min(len(columns), DRAWN_FEATURES))
    end = min(len(values), begin + DRAWN_STEPS)
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(11, 3.2 * len(aheads) * len(shown)), layout="constrained")
        rows = figure.subplots(len(aheads) * len(shown), 1, sharex=True, squeeze=False)[:, 0]
        pairs = [(feature, ahead) for feature in shown for ahead in aheads]
        for axes, (feature, ahead) in zip(rows, pairs, strict=True):
            now = origins(end, begin, ahead)
            predicted = forecasts[now, ahead - 1, feature]
            naive, actual = values[now, feature], values[now + ahead, feature]
            axes.plot(now + ahead, naive, color="tab:gray", linewidth=0.8, label=f"naive, {_rmse(naive, actual)}")
            axes.plot(now + ahead, actual, color="black", linewidth=1.1, label="held out")
            axes.plot(
                now + ahead, predicted, color="tab:orange", linewidth=1.6, label=f"forecast, {_rmse(predicted, actual)}"
            )
            axes.set_title(f"{ahead} {'step' if ahead == 1 else 'steps'} ahead")
            axes.set_ylabel(columns[feature])
            axes.grid(alpha=0.3)
            axes.legend(loc="upper right", fontsize=8, ncols=3)
        rows[-1].set_xlabel("step of the series")
        with write_atomically(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=120)


def _rmse(forecast: NDArray[Any], actual: NDArray[Any]) -> str:
    return f"root mean squared error {np.sqrt(np.square(forecast - actual).mean()):.4g}"
