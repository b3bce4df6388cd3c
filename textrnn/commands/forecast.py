"""`textrnn forecast`: forecast a time series."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from textrnn.actions.messages import say, say_how_tables_are_read
from textrnn.commands.arguments import add_command
from textrnn.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from textrnn.runtime.forecaster import Forecaster


def add_forecast(commands: Any) -> None:
    """Add the command and its arguments."""
    forecast = add_command(
        commands, "forecast", forecast_command, "forecast a time series", model=True, repeated="source"
    )
    forecast.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="the series up to now, or - for standard input (default: the series of the run)",
    )
    forecast.add_argument(
        "--steps", type=int, metavar="N", help="number of steps to forecast (default: the model's horizon)"
    )
    forecast.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="a column of SOURCE to forecast; repeatable"
    )
    forecast.add_argument("--json", action="store_true", help="print one JSON document")


def forecast_command(arguments: argparse.Namespace) -> None:
    from textrnn.data.places import keep_input
    from textrnn.runtime.load import load_forecaster
    from textrnn.training.tasks.runs import open_run
    from textrnn.training.tasks.table import prepare

    model = load_forecaster(arguments.model)
    if arguments.source:
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            sources = keep_input(arguments.source, Path(folder), in_columns=True)
            values, columns = series_of(model, sources, arguments.values)
    elif (Path(arguments.model) / "config.json").exists():
        (series,) = prepare(open_run(Path(arguments.model))).parts
        values, columns = series.values, series.columns
    else:
        raise UserError("a forecast goes on from a series, a bundle has none; give a SOURCE or the run folder")
    predicted = model.forecast(values, arguments.steps)
    if arguments.json:
        document = {"model": str(arguments.model), "source": arguments.source or "the run's", "columns": columns}
        print(json.dumps({**document, "forecast": predicted.tolist()}, ensure_ascii=False))
        return
    print("\t".join(["step", *columns]))
    for number, row in enumerate(predicted.tolist(), 1):
        print("\t".join([str(number), *(f"{value:.6g}" for value in row)]))


def series_of(
    model: Forecaster, sources: Sequence[str], columns: Sequence[str]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read the sources of a forecaster and return their values and column names. Print how tables are read."""
    from textrnn.config import data_of_bundle
    from textrnn.data.series import read_series

    columns = tuple(columns) or data_of_bundle(model.manifest.runtime).values
    say_how_tables_are_read(sources)
    notes: list[str] = []
    series = read_series(sources, columns, notes)
    say(notes)
    return series
