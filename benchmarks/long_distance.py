"""How far back each member of the family remembers: accuracy or error against the length of what lies between.

    python benchmarks/long_distance.py make {adding,copy,recall} --length N --records N FILE
    python benchmarks/long_distance.py run --task TASK [--members tanh,rotation] --lengths 50,100 [--seconds-a-run N]
    python benchmarks/long_distance.py draw
    python benchmarks/long_distance.py gradients

`run` trains every member at every length as `textrnn train` does, with the settings of configs/ and those of
`long_distance_tasks.py` over them, and adds the figures to --json, in the place of earlier ones of the same task,
member and length. A member whose training would take longer than --seconds-a-run has fewer passes instead, so that its
learning rate still comes down to zero; a training ends early when there is nothing left to learn. Seconds are those of
the processor, so that other work beside it changes nothing. What a member cannot learn here it may learn in more time.

`draw` makes one picture a task beside the JSON file. `gradients` needs no training: of each start it measures how a
gradient shrinks, or grows, on its way back.

Images read pixel by pixel, in order or permuted, are the other usual test: configs/pixel_mnist.toml and
permuted_mnist.toml.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradient_norms import draw_norms, gradient_norms, table_of
from long_distance_tasks import MEMBERS, TASKS, Task, make_file, settings_of
from measure import print_table, write_json

from textrnn.config import Config
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.training.tasks.configuration import load_config

FOLDER = Path(__file__).resolve().parent
CONFIGS = FOLDER.parent / "configs"
RESULTS = FOLDER / "results" / "long_distance.json"
TABLE = "long distance"
KEY = ("task", "member", "length")
PROBED = 5  # steps after the first, which compiles, that tell how long a training takes
PATIENCE = 1.5  # times its seconds after which a training is stopped, should its steps have become slower
SOLVED_ERROR = 0.01
ALL = ",".join(MEMBERS)
TITLES = {
    "adding": "the sum of two marked values",
    "copy": "ten symbols told again after blanks",
    "recall": "a name told again after English",
}

Row = dict[str, Any]


class TooSlow(Exception):
    """A training would take too long; its argument is how many passes there is time for."""


class Enough(Exception):
    """A training has nothing left to learn, or no time left; its argument says which."""


class Watch:
    """Stops a training; put around the steps and the evaluations of its trainer.

    Args:
        trainer: of the run.
        seconds: of the processor that its steps may take, compiling left out; somewhat more if they become slower.
        learnt: whether what is measured says that there is nothing left to learn.
        probes: whether to stop after a few steps if all would take longer.
    """

    def __init__(self, trainer: Any, seconds: float, learnt: Callable[[Mapping[str, Any]], bool], probes: bool) -> None:
        self.seconds = 0.0
        self._trainer, self._limit, self._learnt, self._probes = trainer, seconds, learnt, probes
        self._train_one, self._measure = trainer.train_one, trainer.measure
        self._steps, self._learnt_now = 0, False
        trainer.train_one, trainer.measure = self.train_one, self.measure

    def train_one(self) -> float:
        """A step of the trainer, unless it should stop."""
        if self._learnt_now:
            raise Enough("learnt")
        if self.seconds > PATIENCE * self._limit and self._trainer.run.best.exists():
            raise Enough("time")
        began = time.process_time()
        loss = float(self._train_one())
        self._steps += 1
        if self._steps > 1:
            self.seconds += time.process_time() - began
        if self._probes and self._steps == 1 + PROBED:
            affordable = PROBED * self._limit / self.seconds
            if affordable < self._trainer.total_steps:
                raise TooSlow(affordable / self._trainer.steps_per_epoch)
        return loss

    def measure(self) -> dict[str, Any]:
        """What the trainer measures."""
        measured: dict[str, Any] = self._measure()
        self._learnt_now = self._learnt(measured)
        return measured


def measure_run(name: str, member: str, length: int, records: int, seconds: float, more: Sequence[str]) -> Row:
    """Train a member and measure it; the figure is None where its loss did not stay finite."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import keras

    task = TASKS[name]
    with TemporaryDirectory() as folder:
        source = Path(folder) / f"records{task.suffix}"
        make_file(task, length, records, source)
        settings = ["train.evaluations=5", f"data.source={json.dumps([str(source)])}"]
        settings += [*settings_of(task, member, length), *more]
        config = load_config(CONFIGS / task.config, settings)
        found = _train(task, config, length, Path(folder) / "run", seconds)
    keras.backend.clear_session()
    return {"task": name, "member": member, "length": length, "records": records, **found}


def _train(task: Task, config: Config, length: int, folder: Path, seconds: float, probes: bool = True) -> Row:
    from textrnn.training.tasks.runs import create_run
    from textrnn.training.tasks.table import trainer_of

    run = create_run(folder, config, quiet=True)
    trainer = trainer_of(run)
    watch = Watch(trainer, seconds, lambda measured: task.learnt(measured, length), probes)
    ended = "epochs"
    try:
        trainer.fit()
    except TooSlow as slow:
        fewer = replace(config, train=replace(config.train, epochs=slow.args[0]))
        return _train(task, fewer, length, folder.with_name("shorter"), seconds, probes=False)
    except Enough as enough:
        ended = str(enough)
    except UserError as error:
        if "finite" not in str(error):
            raise
        ended = "not finite"
    figure = None
    if run.best.exists():
        if task.needs_bundle:
            trainer.finish()
        figure = task.measure(folder, length)
    epochs = trainer.progress.step / trainer.steps_per_epoch
    return {task.figure: figure, "epochs": epochs, "seconds": watch.seconds, "shortened": not probes, "ended": ended}


# The file of figures and its pictures


def rows_of(path: Path) -> list[Row]:
    """What the file holds already.

    Raises:
        UserError: it is no such file.
    """
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows: list[Row] = document["rows"]
        table = document["table"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} must hold figures of this script: {error!r}; name another file") from error
    if table != TABLE:
        raise UserError(f"{path} must hold figures of this script, its table was: {table}; name another file")
    return rows


def merged(rows: Sequence[Row], new: Row) -> list[Row]:
    """Rows with a new one in the place of that of the same task, member and length; by task, length and member."""
    by_key = {tuple(row[name] for name in KEY): row for row in [*rows, new]}
    tasks, members = list(TASKS), list(MEMBERS)
    return sorted(
        by_key.values(), key=lambda row: (tasks.index(row["task"]), row["length"], members.index(row["member"]))
    )


def draw(rows: Sequence[Row], name: str, path: Path) -> None:
    """Error or accuracy of a task against length, one line a member."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    task = TASKS[name]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (member, marker) in enumerate(zip(MEMBERS, "osD^vX", strict=True)):
        points = [(row["length"], row[task.figure]) for row in rows if row["member"] == member]
        known = [point for point in points if point[1] is not None]
        if known:
            style: dict[str, Any] = {"color": f"C{number}", "marker": marker, "markersize": 9 - number, "alpha": 0.85}
            axes.plot(*zip(*sorted(known), strict=True), label=member, **style)
    axes.axhline(task.chance, color="grey", linestyle=":", label="without memory")
    axes.set(xlabel="length", xscale="log", ylabel=task.figure.replace("_", " "))
    if task.figure == "accuracy":
        axes.set_ylim(-0.03, 1.03)
    else:
        axes.set_yscale("log")
        axes.axhline(SOLVED_ERROR, color="grey", linestyle="--", label="solved")
    ticks = sorted({row["length"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"{name}: {TITLES[name]}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    FigureCanvasAgg(figure)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


# The commands


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the records of a task, for textrnn train")
    make.add_argument("task", choices=TASKS)
    make.add_argument("file", type=Path, metavar="FILE")
    make.add_argument("--length", type=int, required=True, metavar="N")
    make.add_argument("--records", type=int, metavar="N", help="(default: the task's)")
    make.add_argument("--seed", type=int, default=1, metavar="N")
    run = commands.add_parser("run", help="train members at several lengths and measure them")
    run.add_argument("--task", choices=TASKS, required=True)
    run.add_argument("--members", default=ALL, metavar="NAME,NAME", help="of the family (%(default)s)")
    run.add_argument("--lengths", required=True, metavar="N,N")
    run.add_argument("--records", type=int, metavar="N", help="of a training (default: the task's)")
    run.add_argument(
        "--seconds-a-run",
        type=float,
        default=120,
        metavar="N",
        help="of the processor, in training steps (%(default)s)",
    )
    run.add_argument("--set-value", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings of all")
    run.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="what is added to (%(default)s)")
    pictures = commands.add_parser("draw", help="a picture of each task that was measured")
    pictures.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="of figures (%(default)s)")
    gradients = commands.add_parser("gradients", help="how gradients shrink on their way back, by start")
    gradients.add_argument("--length", type=int, default=1000, metavar="N", help="steps (%(default)s)")
    gradients.add_argument("--units", type=int, default=128, metavar="N", help="(%(default)s)")
    gradients.add_argument("--batch", type=int, default=8, metavar="N", help="(%(default)s)")
    gradients.add_argument("--json", type=Path, default=RESULTS.with_name("gradient_norms.json"), metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        {"make": _make, "run": _run, "draw": _draw, "gradients": _gradients}[arguments.command](arguments)
    except (UserError, OSError) as error:
        print(f"long_distance: {error}", file=sys.stderr)
        return 1
    return 0


def _make(arguments: argparse.Namespace) -> None:
    task = TASKS[arguments.task]
    make_file(
        task,
        arguments.length,
        task.records if arguments.records is None else arguments.records,
        arguments.file,
        arguments.seed,
    )


def _run(arguments: argparse.Namespace) -> None:
    members, lengths = arguments.members.split(","), arguments.lengths.split(",")
    if not set(members) <= set(MEMBERS) or not all(length.isdecimal() for length in lengths):
        raise UserError(
            f"--members are of {ALL}, --lengths such as 50,100, were: {arguments.members}, {arguments.lengths}"
        )
    rows_of(arguments.json)  # a wrong file shows before hours of training
    records = TASKS[arguments.task].records if arguments.records is None else arguments.records
    for length in map(int, lengths):
        for member in members:
            row = measure_run(arguments.task, member, length, records, arguments.seconds_a_run, arguments.set_value)
            row |= {"settings": arguments.set_value} if arguments.set_value else {}
            print_table([row])
            write_json(arguments.json, TABLE, merged(rows_of(arguments.json), row))


def _draw(arguments: argparse.Namespace) -> None:
    rows = rows_of(arguments.json)
    for name in TASKS:
        if found := [row for row in rows if row["task"] == name]:
            path = arguments.json.with_name(f"{arguments.json.stem}_{name}.png")
            draw(found, name, path)
            print(path)


def _gradients(arguments: argparse.Namespace) -> None:
    norms = gradient_norms(arguments.length, arguments.units, arguments.batch)
    rows = table_of(norms)
    print_table(rows)
    write_json(
        arguments.json,
        "gradient norms",
        rows,
        **{name: getattr(arguments, name) for name in ("length", "units", "batch")},
    )
    draw_norms(norms, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    raise SystemExit(main())
