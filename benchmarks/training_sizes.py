"""Training steps of many sizes: ours against the best of the others at each.

    python benchmarks/training_sizes.py --json benchmarks/results/training_sizes.json [--minutes N]

Units, batch and steps in all combinations at one layer and 65 characters; then layers, and vocabularies of thousands of
characters and words, each varied from 512 units, a batch of 64 and 128 steps. Each size is a process of its own: all
candidates take a step or two, then ours and the fastest of the others are timed in turn. Small sizes come first.

With --json the file is added to after each size, and a size that is in it already is not measured again, so that the
command can be stopped and said again. A plot is drawn beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from measure import alternate, environment, matrix_product_peak, measure_apart, peer, print_table, write_json
from training_peers import OURS, Case, our_steps, peer_steps

from textrnn.errors import UserError
from textrnn.files import write_atomically

TABLE = "training sizes"
SIZES = [field.name for field in fields(Case)]
LONG_SECONDS = 5.0  # where the candidates together take longer a step, they are repeated less often
CLOSE = 1.25  # times the fastest of the others: these are timed in turn with ours, the rest is left


def all_cases() -> list[Case]:
    """Every size of the table, the least work first."""
    grid = itertools.product([64, 128, 256, 512, 1024, 2048], [1, 16, 64, 256], [32, 128, 512])
    cases = [Case(units, batch, steps) for units, batch, steps in grid]
    cases += [replace(Case(), layers=layers) for layers in (2, 3, 4)]
    cases += [replace(Case(), vocabulary=vocabulary) for vocabulary in (5_000, 10_000, 33_000)]
    return sorted(cases, key=lambda case: case.floating_point_operations)


def measure_here(case: Case, seconds: float) -> dict[str, Any]:
    """The row of one size, measured in this process."""
    before = matrix_product_peak()
    ours = {name: build() for name, build in our_steps(case).items()}
    peers = {name: build() for name, build in peer_steps(case).items()}
    first = {name: times[0] for name, times in alternate(ours | peers, seconds=0, minimum=1, warm_up=1).items()}
    for precision in ("float32", "bfloat16"):
        rivals = {name: first[name] for name in peers if precision in name}
        for name, step_seconds in rivals.items():
            if step_seconds > CLOSE * min(rivals.values()):
                del peers[name]
    left = ours | peers
    is_long = sum(first[name] for name in left) > LONG_SECONDS
    times = alternate(left, seconds, minimum=2 if is_long else 5, warm_up=0)
    # On a shared machine the speed may halve for a while: the better of two measurements is nearer to the peak.
    peak = {dtype: max(speed, before[dtype]) for dtype, speed in matrix_product_peak().items()}
    return row_of(case, {name: statistics.median(runs) for name, runs in times.items()}, first, peak)


def row_of(
    case: Case, medians: Mapping[str, float], first: Mapping[str, float], peak: Mapping[str, float]
) -> dict[str, Any]:
    """What the medians mean.

    Args:
        medians: seconds of a step of ours and of the fastest others, by name.
        first: seconds of one step of all, by name.
        peak: GFLOP/s of a matrix product, by type.
    """

    def fastest(ours: bool, word: str = "") -> str | None:
        names = [name for name in medians if name.startswith("textrnn") == ours and word in name]
        return min(names, key=medians.__getitem__, default=None)

    row: dict[str, Any] = dict(vars(case))
    row["ours"], row["best_peer"], row["best_float32_peer"] = fastest(True), fastest(False), fastest(False, "float32")
    row["milliseconds"] = 1e3 * medians[row["ours"]]
    row["peer_milliseconds"] = 1e3 * medians[row["best_peer"]]
    row["times_faster"] = medians[row["best_peer"]] / medians[row["ours"]]
    row["times_faster_in_float32"] = medians[row["best_float32_peer"]] / medians[OURS]
    row["tokens_a_second"] = case.tokens / medians[row["ours"]]
    row["peer_tokens_a_second"] = case.tokens / medians[row["best_peer"]]
    row["share_of_float32_peak"] = case.floating_point_operations / medians[OURS] / 1e9 / peak["float32"]
    row["median_seconds"], row["first_seconds"], row["peak_gigaflops"] = dict(medians), dict(first), dict(peak)
    return row


def rows_so_far(path: Path | None) -> list[dict[str, Any]]:
    """What the file holds already.

    Raises:
        UserError: it is no such file, or was measured with other packages or on another processor.
    """
    if path is None or not path.exists():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = document["rows"]
        measured_in, table = document["environment"], document["table"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} must hold figures of this script: {error}; remove it or name another file") from error
    if table != TABLE or measured_in != environment():
        raise UserError(f"{path} must hold figures of this script and this machine, does not; name another file")
    return rows


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Tokens a second of ours and the best of the others, and our share of the matrix product's speed, over units.

    Drawn are the sizes of the grid with as many steps as in the middle of the table.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    speed, share = figure.subplots(1, 2)
    for number, batch in enumerate(sorted({row["batch"] for row in rows})):
        line = sorted((row for row in rows if row["batch"] == batch), key=lambda row: row["units"])
        units, colour = [row["units"] for row in line], f"C{number}"
        speed.plot(units, [row["tokens_a_second"] for row in line], "o-", color=colour, label=f"batch {batch}")
        speed.plot(units, [row["peer_tokens_a_second"] for row in line], "x--", color=colour)
        share.plot(units, [row["share_of_float32_peak"] for row in line], "o-", color=colour, label=f"batch {batch}")
    speed.set(
        title=f"tokens a second, {Case().steps} steps (dashed: best peer)", xlabel="units", xscale="log", yscale="log"
    )
    share.set(title="share of the float32 matrix product's speed", xlabel="units", xscale="log")
    share.set_ylim(bottom=0)
    for axes in (speed, share):
        ticks = sorted({row["units"] for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend()
    FigureCanvasAgg(figure)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def chosen(only: Sequence[str]) -> list[Case]:
    """The sizes that ``units=64,128 batch=1`` leaves.

    Raises:
        UserError: no such size.
    """
    cases = all_cases()
    for condition in only:
        name, _, values = condition.partition("=")
        if name not in SIZES or not all(value.isdecimal() for value in values.split(",")):
            raise UserError(f"--only takes {', '.join(SIZES)} and values, such as units=64,128, was: {condition}")
        cases = [case for case in cases if str(getattr(case, name)) in values.split(",")]
    if not cases:
        raise UserError(f"--only must leave a size of the table, left none: {' '.join(only)}; leave a condition out")
    return cases


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="SIZE=N,N", help="such as units=64,128 steps=128")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="start no size after that (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, metavar="N", help="of timing, a size (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the figures to it; a plot is drawn beside it")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.job:
        job = json.loads(arguments.job)
        print(json.dumps(measure_here(Case(**job["case"]), job["seconds"])))
        return 0
    try:
        rows, cases = rows_so_far(arguments.json), chosen(arguments.only)
    except UserError as error:
        print(f"training_sizes: {error}", file=sys.stderr)
        return 1
    peer("torch")  # says once if it is missing
    known = [{name: row[name] for name in SIZES} for row in rows]
    waiting = [case for case in cases if vars(case) not in known]
    end = time.monotonic() + 60 * arguments.minutes
    for number, case in enumerate(waiting):
        if time.monotonic() > end:
            print(f"time is up, {len(waiting) - number} sizes are left; say the command again", file=sys.stderr)
            break
        row = measure_apart(__file__, {"case": vars(case), "seconds": arguments.seconds}, str(case))
        if row is None:
            continue
        rows.append(row)
        print_table([{key: value for key, value in row.items() if not isinstance(value, dict)}])
        if arguments.json:
            write_json(arguments.json, TABLE, rows)
    middle = {name: getattr(Case(), name) for name in ("steps", "layers", "vocabulary")}
    drawn = [row for row in rows if all(row[name] == value for name, value in middle.items())]
    if drawn and arguments.json:
        draw(drawn, arguments.json.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
