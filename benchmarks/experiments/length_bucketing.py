"""What batches of texts of like length are worth: training speed and padding, beside batches in random order.

    python benchmarks/experiments/length_bucketing.py [--data FILE --text COLUMN --label COLUMN]
        [--config FILE.toml] [--json FILE]

The same classifier, the same texts (default: the built-in reviews), the same step of the trainer, with batches of both
kinds in turn; reading a batch is counted, compiling is not. A batch is padded to its longest text. Steps are taken in
the order of an epoch as far as the time goes; the share of padding is that of the whole epoch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from textrnn.data.labelled_texts import TextBatches
from textrnn.errors import UserError
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import prepare
from textrnn.training.tensorflow_setup import import_tensorflow

sys.path.append(str(Path(__file__).resolve().parent.parent))
from measure import alternate, print_table, write_json

RANDOM, BY_LENGTH = "random order", "by length"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="builtin", metavar="FILE", help="labelled text (default: built-in reviews)")
    parser.add_argument("--text", default="text", metavar="COLUMN")
    parser.add_argument("--label", default="label", metavar="COLUMN")
    parser.add_argument("--config", type=Path, metavar="FILE.toml")
    parser.add_argument("--set-value", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    own = ["task=classification", f'data.source=["{arguments.data}"]']
    own += [f"data.text={arguments.text}", f"data.label={arguments.label}"]
    try:
        config = load_config(arguments.config, [*arguments.set_value, *own])
        with tempfile.TemporaryDirectory() as name:
            run = create_run(Path(name) / "run", config, quiet=True)
            tokenizer, (train, held_out), _ = prepare(run)
            import_tensorflow()
            from textrnn.training.tasks.classification.trainer import ClassifierTrainer

            rows = compare(ClassifierTrainer(run, tokenizer, train, held_out), arguments.seconds)
    except UserError as error:
        print(f"length_bucketing: {error}", file=sys.stderr)
        return 1
    print(f"{train.summary}\n")
    print_table(rows)
    if arguments.json:
        facts = {"texts": len(train), "tokens": len(train.values), "config": {**config.to_dict(), "data": {}}}
        write_json(arguments.json, "length bucketing", rows, **facts)
    return 0


def compare(trainer: Any, seconds: float) -> list[dict[str, Any]]:
    """Texts a second with batches of each kind."""
    kinds = {name: batches_like(trainer, name == BY_LENGTH) for name in (RANDOM, BY_LENGTH)}
    shares, steps = {}, {}
    for name, batches in kinds.items():
        first_of_length: dict[int, int] = {}
        tokens = places = 0
        for step in range(batches.steps_per_epoch):
            batch = batches.batch(step)
            first_of_length.setdefault(batch.inputs[0].shape[1], step)
            tokens += int(batches.lengths[batch.indices].sum())
            places += batch.inputs[0].size
        for step in first_of_length.values():
            take(trainer, batches, step)  # compiles
        shares[name] = {"padding": 1 - tokens / places, "lengths": len(first_of_length)}
        steps[name] = stepper(trainer, batches)
    times = alternate(steps, seconds, warm_up=0)
    batch_size = trainer.config.batch_size
    # Of batches of different lengths a mean tells the speed, a median does not.
    speeds = {name: batch_size * len(taken) / sum(taken) for name, taken in times.items()}
    return [
        {
            "candidate": name,
            "texts_a_second": speeds[name],
            "times_random": speeds[name] / speeds[RANDOM],
            **shares[name],
            "steps": len(times[name]),
        }
        for name in kinds
    ]


def batches_like(trainer: Any, by_length: bool) -> TextBatches:
    """Batches of the trainer's texts."""
    config = trainer.run.config
    return TextBatches(
        trainer.batches.dataset,
        config.train.batch_size,
        config.data.max_length,
        config.model.segment_length,
        config.seed,
        by_length=by_length,
    )


def stepper(trainer: Any, batches: TextBatches) -> Callable[[], None]:
    """What takes the next step at each call."""
    steps = count()
    return lambda: take(trainer, batches, next(steps))


def take(trainer: Any, batches: TextBatches, step: int) -> None:
    """One step of the trainer, waited for."""
    trainer.batches, trainer.progress = batches, replace(trainer.progress, step=step)
    float(trainer.train_one())


if __name__ == "__main__":
    raise SystemExit(main())
