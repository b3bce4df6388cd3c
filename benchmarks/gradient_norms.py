"""How much of a gradient comes back to an input of long ago, when training starts.

Of a layer of `textrnn.training.network.layers` with random inputs: the norm of the gradient of ``v h_T`` at
``x_{T-d}``, over the distance d, for random directions v. Its root mean square is the Frobenius norm of the Jacobian of
the last state at that input, which is what Pascanu et al. (2013) follow to find it vanish or explode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.files import write_atomically
from textrnn.training.tasks.configuration import from_dict

# An entry of U is as large as torch.nn.RNN draws it, uniform up to 1 / sqrt(hidden): 1 / sqrt(3) of an orthogonal one.
SMALL = 3**-0.5
STARTS: dict[str, dict[str, Any]] = {
    "tanh, orthogonal": {"activation": "tanh"},
    "tanh, as small as torch's": {"activation": "tanh", "recurrent_scale": SMALL},
    "irnn: ReLU, identity": {"activation": "relu", "recurrent_start": "identity", "recurrent_scale": 1.0},
    "orthogonal, linear": {"activation": "linear"},
    "indrnn: ReLU, diagonal": {"activation": "relu", "recurrence": "diagonal"},
    "diagonal, linear": {"activation": "linear", "recurrence": "diagonal"},
    "rotation, linear": {"activation": "linear", "recurrence": "rotation"},
}
FLOOR = 1e-30  # below it a float32 gradient is as good as none


def gradient_norms(length: int, units: int, batch: int) -> dict[str, NDArray[np.float64]]:
    """Norms at distances ``0 ... length - 1``, by start; diagonals and rotations remember for up to `length` steps."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textrnn.training.network.layers import InitScale, recurrent_layer

    inputs = tf.random.stateless_normal((length, batch, units), (1, 1))
    directions = tf.random.stateless_normal((batch, units), (1, 2))
    norms = {}
    for name, settings in STARTS.items():
        model = {"hidden_dim": units, "layers": 1, "memory": float(length), **settings}
        layer = recurrent_layer(
            from_dict({"model": model}).model, units, InitScale(), InitScale().projected, 1, "layer"
        )
        kernel, bias = layer.input_weights()
        with tf.GradientTape() as tape:
            projected = tf.tensordot(inputs, kernel, 1) + bias
            tape.watch(projected)
            _, last = layer(projected, tf.zeros((batch, units)))
            total = tf.reduce_sum(last * directions)
        at_inputs = tf.tensordot(tape.gradient(total, projected), kernel, (-1, -1)).numpy().astype(np.float64)
        norms[name] = np.sqrt(np.square(at_inputs).sum(-1).mean(-1))[::-1]
    return norms


def table_of(norms: Mapping[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """A row a start: the norm at the last input, and what share of it is left 10, 100 and more steps before."""
    length = min(map(len, norms.values()))
    distances = [distance for distance in (10, 100, 300, 1000) if distance < length] + [length - 1]
    return [
        {
            "start": name,
            "at the last input": float(line[0]),
            **{f"{distance} before": float(line[distance] / line[0]) for distance in distances},
        }
        for name, line in norms.items()
    ]


def draw_norms(norms: Mapping[str, Sequence[float] | NDArray[np.float64]], path: Path) -> None:
    """Each as a share of what it is at the last input."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, line in norms.items():
        share = np.maximum(np.asarray(line) / line[0], FLOOR)
        # Diagonals and rotations forget alike: one line lies upon the other.
        axes.plot(np.arange(len(share)), share, "--" if "rotation" in name else "-", label=name)
    axes.set(xlabel="steps before the last", ylabel="norm of the gradient, of that at the last input", yscale="log")
    axes.set_ylim(bottom=1e-10)
    axes.set_title("gradient of the last state at earlier inputs, when training starts")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    FigureCanvasAgg(figure)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
