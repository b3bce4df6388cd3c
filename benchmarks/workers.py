"""Training by one, two and three workers on this machine: losses, time of a step, and of the all-reduce alone.

    python benchmarks/workers.py [--source data/tinyshakespeare/input.txt] [--json FILE]

Every group trains the same model on the same global batches. The workers share the cores of one machine and talk
through its loopback: what is to be seen is that losses are those of one process and what the messages cost, not a
speed-up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from measure import print_table, write_json

Figures = dict[str, Any]


def work(job: Figures) -> Figures:
    """What one worker does and finds: the loss and seconds of each step, and the seconds of reducing so many bytes."""
    from textrnn.training.distributed.cluster import cluster_of
    from textrnn.training.tasks.configuration import load_config
    from textrnn.training.tensorflow_setup import import_tensorflow

    def meet() -> Any:
        from textrnn.training.distributed.distribution import join, of_this_process

        cluster = cluster_of(os.environ)
        return join(cluster) if cluster else of_this_process()

    distribution = import_tensorflow(meet)
    from textrnn.training.tasks.shared_run import open_shared_run
    from textrnn.training.tasks.table import trainer_of

    with ExitStack() as held:
        config = load_config(None, job["settings"])
        run = open_shared_run(distribution, Path(job["folder"]), config, resume=False, quiet=True, held=held)
        trainer = trainer_of(run, distribution=distribution)
        losses, seconds = [], []
        take_step = trainer._train_one

        def timed() -> float:
            begin = time.perf_counter()
            losses.append(take_step())
            seconds.append(time.perf_counter() - begin)
            return losses[-1]

        trainer._train_one = timed  # type: ignore[method-assign]
        trainer.fit()
        gradients = 4 * sum(math.prod(weight.shape) for weight in trainer.model.trainable_variables)
        reduced = {} if distribution.replicas == 1 else time_reductions(distribution, [gradients, *job["bytes"]])
        distribution.gather_text("")  # so that none leaves before the others are done
    return {"losses": losses, "seconds": seconds, "gradient_bytes": gradients, "reduced": reduced}


def time_reductions(distribution: Any, sizes: list[int], runs: int = 15) -> dict[int, float]:
    """Median seconds of the mean of gradients of so many bytes over all workers; every worker must call it."""
    import tensorflow as tf

    found = {}
    for size in sizes:
        gradient = tf.random.stateless_normal((size // 4,), (1, 2))
        reduce = tf.function(lambda gradient: distribution.mean(tf.zeros(()), [gradient])[1][0][0], autograph=False)
        times = []
        for _ in range(runs + 2):
            begin = time.perf_counter()
            float(reduce(gradient))
            times.append(time.perf_counter() - begin)
        found[size] = statistics.median(times[2:])
    return found


def run_workers(count: int, job: Figures) -> Figures:
    """What the first of `count` workers finds."""
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("localhost", 0))
    addresses = [f"localhost:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    processes = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, "--job", json.dumps(job)],
                env=os.environ | {"TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a worker of {count} failed, see above")
    figures: Figures = json.loads(outputs[0].splitlines()[-1])
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, metavar="FILE", help="the text (default: the Python manual)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="(%(default)s)")
    parser.add_argument("--units", type=int, default=512, metavar="N", help="of each of two layers (%(default)s)")
    parser.add_argument("--batch", type=int, default=48, metavar="N", help="streams of all workers (%(default)s)")
    parser.add_argument("--length", type=int, default=64, metavar="N", help="tokens of a stream a step (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="of training (%(default)s)")
    parser.add_argument("--megabytes", type=float, nargs="*", default=[1, 4, 16, 64], help="reduced (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.job:
        print(json.dumps(work(arguments.job)))
        return 0

    settings = [
        *(f"model.hidden_dim={arguments.units}", "model.layers=2", "model.dropout=0.2", "model.weight_drop=0.1"),
        *(f"train.batch_size={arguments.batch}", f"train.sequence_length={arguments.length}", "train.evaluations=1"),
        "train.sample_length=0",
    ]
    if arguments.source:
        settings.append(f"data.source={json.dumps([str(arguments.source.resolve())])}")
    found: dict[int, Figures] = {}
    for count in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            job: Figures = {"folder": str(Path(folder) / "run"), "bytes": [round(1e6 * n) for n in arguments.megabytes]}
            epochs = arguments.steps / steps_of_an_epoch(arguments)
            found[count] = run_workers(count, job | {"settings": [*settings, f"train.epochs={epochs}"]})
    rows = [row for count, figures in found.items() for row in rows_of(count, figures, found[arguments.workers[0]])]
    print_table([row for row in rows if row["what"] == "a step"])
    print_table([row for row in rows if row["what"] != "a step"])
    first = [figures["losses"][:5] + figures["losses"][-3:] for figures in found.values()]
    print("losses of the first five and the last three steps, by", ", ".join(map(str, found)), "workers:")
    for losses in zip(*first, strict=True):
        print("  ".join(f"{loss:.7f}" for loss in losses))
    if arguments.json:
        losses = {count: figures["losses"] for count, figures in found.items()}
        write_json(arguments.json, "workers", rows, losses=losses, settings=settings)
    return 0


def steps_of_an_epoch(arguments: argparse.Namespace) -> float:
    """Steps in which about all of the training text, nine tenths of it, is read once by tokens of a character."""
    if arguments.source:
        characters = len(arguments.source.read_text(encoding="utf-8"))
    else:
        from pydoc_data.topics import topics

        characters = sum(map(len, topics.values()))
    return 0.9 * characters / arguments.batch / arguments.length


def rows_of(count: int, figures: Figures, one: Figures) -> list[Figures]:
    """The rows of one group of workers; `one` is what its losses are compared with."""
    steps = min(len(figures["losses"]), len(one["losses"]))
    losses, expected = np.array(figures["losses"][:steps]), np.array(one["losses"][:steps])
    row = {
        "workers": count,
        "what": "a step",
        "candidate": f"{count} workers",
        "steps": steps,
        "milliseconds": 1e3 * statistics.median(figures["seconds"][2:] or figures["seconds"]),
        "gradient_megabytes": figures["gradient_bytes"] / 1e6,
        "largest_relative_difference": float(np.abs(losses / expected - 1).max()),
    }
    return [row] + [
        {
            "workers": count,
            "what": "all-reduce",
            "candidate": f"all-reduce by {count} workers",
            "megabytes": int(size) / 1e6,
            "milliseconds": 1e3 * seconds,
            # Each worker sends, and receives, this share in a ring.
            "megabytes_a_second": int(size) * 2 * (count - 1) / count / seconds / 1e6,
        }
        for size, seconds in figures["reduced"].items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
