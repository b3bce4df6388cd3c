"""A training step of one layer: U diagonal, or rotations, beside a dense U.

    python benchmarks/diagonal_step.py [--units 512] [--steps 512] [--batch 64] [--inputs 512] [--json FILE]

Forward and backward, all gradients, in turn in one process. "over time" is what runs from step to step alone,
``h_t = f(a_t + U h_{t-1})``, with ``a_t`` given; "whole layer" has ``a_t = W x_t + b`` too, which costs the same for
every form of U and so hides most of the difference where the input is wide. The dense layer is this project's own; how
it stands beside Keras's and torch's is in training_step.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import alternate, median_rows, print_table, write_json

DENSE = "dense tanh"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--steps", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=512, help="numbers in each vector read (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of timing, for each of both tables (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    sizes = (arguments.steps, arguments.batch, arguments.units)
    rows = []
    for what, inputs in (("over time", 0), ("whole layer", arguments.inputs)):
        times = alternate(candidates(*sizes, inputs), arguments.seconds)
        rows += [{"what": what, "times_as_fast": 1 / row.pop("ratio"), **row} for row in median_rows(times, DENSE)]
    print_table(rows)
    if arguments.json:
        facts = {name: getattr(arguments, name) for name in ("units", "steps", "batch", "inputs")}
        write_json(arguments.json, "diagonal_step", rows, **facts)
    return 0


def candidates(steps: int, batch: int, units: int, inputs: int) -> dict[str, Callable[[], object]]:
    """Steps of training by the form of U; with inputs, of the whole layer."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textrnn.training.network import elementwise
    from textrnn.training.network.products import dense
    from textrnn.training.network.recurrent import recurrence

    read = tf.random.stateless_normal((steps, batch, inputs or units), (1, 1))
    kernel = tf.random.stateless_normal((inputs or 1, units), (1, 2)) / max(1, inputs) ** 0.5
    bias, state = tf.zeros((units,)), tf.zeros((batch, units))
    square = tf.linalg.qr(tf.random.stateless_normal((units, units), (1, 3)))[0]
    diagonal = (tf.fill((units,), 0.99),)
    rotation = (tf.fill((units // 2,), 0.9), tf.fill((units // 2,), 0.1))
    forms: dict[str, tuple[Any, Callable[..., Any]]] = {
        DENSE: ((square,), lambda a, u: recurrence(a, state, *u, "tanh")),
        "diagonal ReLU": (diagonal, lambda a, u: elementwise.recurrence(a, state, u, "relu")),
        "diagonal linear": (diagonal, lambda a, u: elementwise.recurrence(a, state, u, as_scan=False)),
        "diagonal linear, as a scan": (diagonal, lambda a, u: elementwise.recurrence(a, state, u, as_scan=True)),
        "rotation linear": (rotation, lambda a, u: elementwise.recurrence(a, state, u, as_scan=False)),
    }

    def step(u: Any, form: Callable[..., Any]) -> Callable[[], object]:
        def gradients() -> Any:
            with tf.GradientTape() as tape:
                tape.watch([read, kernel, bias, *u])
                states, _ = form(dense(read, kernel, bias) if inputs else read, u)
            found = tape.gradient(states, [read, *([kernel, bias] if inputs else []), *u], output_gradients=states)
            return [tf.reduce_sum(gradient) for gradient in found]

        run = tf.function(gradients, autograph=False)
        return lambda: [float(total) for total in run()]

    return {name: step(*of_form) for name, of_form in forms.items()}


if __name__ == "__main__":
    sys.exit(main())
