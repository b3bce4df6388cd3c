"""One training step in detail: ours beside Keras and torch, and what the trainer spends around it.

    python benchmarks/training_step.py [--units N] [--batch N] [--steps N] [--layers N] [--vocabulary N] [--json FILE]

Prints milliseconds a step (the median of runs taken in turn), tokens a second, how many times our float32 step each
takes, GFLOP/s, and these as a share of what TensorFlow's float32 matrix product reaches in the same run. Then where the
time of our step goes, and what reading batches and the trainer's own bookkeeping add to it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from measure import alternate, has_bfloat16, matrix_product_peak, median_rows, print_table, write_json
from training_peers import OURS, Case, our_steps, peer_steps

from textrnn.training.tensorflow_setup import import_tensorflow

TRAINER_STEPS = 500  # taken with the network left out, to see what is around it


def step_rows(case: Case, times: Mapping[str, Sequence[float]], peak: float) -> list[dict[str, Any]]:
    """Medians with what they mean; `peak` in GFLOP/s."""
    rows = median_rows(times, against=OURS)
    for row in rows:
        seconds = row["milliseconds"] / 1e3
        row["tokens_a_second"] = case.tokens / seconds
        row["gigaflops"] = case.floating_point_operations / seconds / 1e9
        row["share_of_peak"] = row["gigaflops"] / peak
    return rows


def network_parts(case: Case, precision: str) -> dict[str, Callable[[], object]]:
    """The parts of the product's step for a network of one layer, each compiled alone as the step compiles it."""
    import tensorflow as tf

    from textrnn.training.network import cpu_loop, scan_loop
    from textrnn.training.network.language_model import cross_entropy
    from textrnn.training.network.products import dense, lookup, transposed_product
    from textrnn.training.network.recurrent import runs_as_graph

    use_cpu_loop = runs_as_graph(case.batch, case.units, precision)
    loop: Any = cpu_loop if use_cpu_loop else scan_loop

    def normal(*shape: int) -> Any:
        return tf.random.normal(shape, stddev=case.units**-0.5)

    sequence = (case.steps, case.batch, case.units)
    projected, from_above = tf.cast(normal(*sequence), precision), tf.cast(normal(*sequence), precision)
    kernel, output = normal(case.units, case.units), normal(case.units, case.vocabulary)
    embedding, bias, nothing = normal(case.vocabulary, case.units), tf.zeros(case.units), normal(*sequence[1:])
    ids, targets = map(tf.constant, case.data())
    states, _ = loop.forward(projected, nothing, kernel, "tanh", None)

    def read() -> Any:
        with tf.GradientTape() as tape:
            tape.watch([embedding, kernel, bias])
            rows = lookup(dense(embedding, kernel, bias, precision), tf.transpose(ids))
        return tape.gradient(rows, bias, from_above)

    def predict() -> Any:
        with tf.GradientTape() as tape:
            tape.watch([states, output])
            logits = tf.cast(dense(states[1:], output, precision=precision), tf.float32)
            loss = tf.reduce_mean(cross_entropy(logits, targets))
        return tape.gradient(loss, [states, output])[1]

    parts: dict[str, Callable[[], Any]] = {
        "input table, both ways": read,
        "loop forward": lambda: loop.forward(projected, nothing, kernel, "tanh", None)[1],
        "loop backward": lambda: loop.backward(from_above, nothing, states, kernel, "tanh", None)[1],
        "gradient of U, one product": lambda: transposed_product(states[:-1], from_above),
        "output and loss, both ways": predict,
    }

    def compiled(part: Callable[[], Any]) -> Callable[[], object]:
        graph = tf.function(part, autograph=False, jit_compile=None if use_cpu_loop else True)
        return lambda: graph().numpy()

    return {f"{precision}: {name}": compiled(part) for name, part in parts.items()}


def update_alone(case: Case) -> Callable[[], float]:
    """The update of the product's step, clipping included, on gradients that are there already."""
    import tensorflow as tf

    from textrnn.config import ModelConfig, TrainConfig
    from textrnn.training.loop.training_step import TrainingStep, optimizer_of
    from textrnn.training.network.language_model import LanguageModel

    model = LanguageModel(ModelConfig(hidden_dim=case.units, layers=case.layers, residual=False), case.vocabulary)
    step = TrainingStep(model, optimizer_of(TrainConfig(), 1_000_000, model))
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]

    def run() -> float:
        step.update(gradients)
        return float(step.optimizer.iterations)

    return run


def read_batches(case: Case) -> Callable[[], object]:
    """The input pipeline: one batch of a corpus of a million tokens, or of what one batch needs."""
    from textrnn.data.tokens.datasets import Batches

    count = max(1_000_000, 2 * case.batch * (case.steps + 1))
    ids = np.random.default_rng(0).integers(0, case.vocabulary, count).astype(np.min_scalar_type(case.vocabulary))
    batches = Batches(ids, case.batch, case.steps, seed=1)
    number = 0

    def run() -> object:
        nonlocal number
        number += 1
        return batches.batch(number)

    return run


def trainer_around_the_step(case: Case) -> float:
    """Seconds a step that the trainer takes with a step that does nothing: batches, progress, history."""
    import tensorflow as tf

    from textrnn.training.loop.training_step import TrainingStep
    from textrnn.training.tasks.configuration import from_dict
    from textrnn.training.tasks.language_model.trainer import LanguageModelTrainer
    from textrnn.training.tasks.runs import create_run
    from textrnn.training.tasks.table import prepare

    loss = tf.constant(1.0)
    calls: list[float] = []

    def do_nothing(_: Any, inputs: Any, targets: Any, state: Any, seed: Any) -> tuple[Any, Any]:
        calls.append(time.perf_counter())
        return loss, state

    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        source = Path(name) / "text.txt"
        tokens = 4 * case.batch * (case.steps + 1)
        letters = [chr(code) for code in range(0x4E00, 0x4E00 + case.vocabulary)]
        source.write_text("".join(letters[index % len(letters)] for index in range(tokens)), encoding="utf-8")
        steps_per_epoch = int(0.9 * tokens) // case.batch // case.steps
        train = {
            "batch_size": case.batch,
            "sequence_length": case.steps,
            "epochs": TRAINER_STEPS / steps_per_epoch,
            "evaluations": 1,
            "sample_length": 0,
        }
        config = from_dict(
            {
                "data": {"source": [str(source)]},
                "model": {"hidden_dim": case.units, "layers": case.layers, "residual": False},
                "train": train,
            }
        )
        with mock.patch.object(TrainingStep, "__call__", do_nothing), contextlib.redirect_stderr(nowhere):
            run = create_run(Path(name) / "run", config)
            tokenizer, parts, _ = prepare(run)
            LanguageModelTrainer(run, tokenizer, *parts).fit()
    return (calls[-1] - calls[0]) / (len(calls) - 1)


def parts(case: Case, step_seconds: float, seconds: float) -> list[dict[str, Any]]:
    """Where the time of a step of `textrnn train` goes, in milliseconds and as a share of our float32 step."""
    alone = {"optimizer": update_alone(case), "reading a batch": read_batches(case)}
    if case.layers == 1:
        alone = network_parts(case, "float32") | (network_parts(case, "bfloat16") if has_bfloat16() else {}) | alone
    medians = {name: statistics.median(runs) for name, runs in alternate(alone, seconds).items()}
    around = trainer_around_the_step(case)
    medians["progress, history and the rest of the loop"] = around - medians["reading a batch"]
    return [
        {"part": name, "milliseconds": 1e3 * value, "share_of_step": value / step_seconds}
        for name, value in medians.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    case = Case()
    for name in ("units", "batch", "steps", "layers", "vocabulary"):
        parser.add_argument(f"--{name}", type=int, default=getattr(case, name), metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, metavar="N", help="of timing (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    case = Case(arguments.units, arguments.batch, arguments.steps, arguments.layers, arguments.vocabulary)

    import_tensorflow()
    before = matrix_product_peak()
    steps = {name: build() for name, build in (our_steps(case) | peer_steps(case)).items()}
    times = alternate(steps, arguments.seconds)
    # On a shared machine the speed may halve for a while: the better of two measurements is nearer to the peak.
    peak = {dtype: max(speed, before[dtype]) for dtype, speed in matrix_product_peak().items()}
    rows = step_rows(case, times, peak["float32"])
    print("matrix product: " + ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in peak.items()))
    print_table(rows)
    print()
    around = parts(case, rows[0]["milliseconds"] / 1e3, arguments.seconds / 3)
    print_table(around)
    if arguments.json:
        write_json(arguments.json, "training step", rows, case=vars(case), peak_gigaflops=peak, parts=around)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
