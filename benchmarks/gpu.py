"""The recurrent layer and a whole training step on a GPU, in absolute times: ours, Keras's and torch's.

    pip install 'jax[cuda12]' torch==2.13.0
    python benchmarks/gpu.py [--json FILE]

Ours and Keras's run under Keras's JAX backend, each compiled, torch's is `torch.nn.RNN`, that is cuDNN. Ours has three
forms of U: dense as the others', diagonal, and rotations of pairs, whose loop over time is a parallel scan. The layer
reads float32 vectors of size units and gives the gradients at them and at the weights. The step reads ids of 65
characters: embedding, layer, output layer, cross-entropy, gradients, update by Adam. Products of float32 may use
TensorFloat-32 in all; in bfloat16 Keras and torch have their own mixed precision. Where there is no GPU nothing is run,
unless `--device cpu` is given.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from measure import alternate, median_rows, peer, print_table, write_json

RECURRENCES = ("dense", "diagonal", "rotation")
OURS = "textrnn dense"
VOCABULARY = 65
RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7

Run = Callable[[], object]
Size = tuple[int, int, int]
"""Units, batch, steps."""


def our_layer(recurrence: str, precision: str, size: Size) -> tuple[list[Any], Callable[[Any, Any, Any], Any]]:
    """Return the weights of a layer, and a function from them, inputs and ids to states ``(time, batch, units)``.

    The inputs are vectors ``(batch, time, units)``; or, if there are ids ``(batch, time)``, a table ``(ids, units)``,
    which is projected before its rows are looked up, as the backbone does it.
    """
    import keras
    from keras import ops

    from textrnn.config import ModelConfig
    from textrnn.training.network.layers import InitScale, recurrent_layer
    from textrnn.training.network.products import dense, lookup

    units, batch, _ = size
    activation = "tanh" if recurrence == "dense" else "linear"
    config = ModelConfig(hidden_dim=units, recurrence=recurrence, activation=activation)
    layer = recurrent_layer(config, units, InitScale(), 0.5, 1, "layer")
    variables = layer.trainable_variables

    def run(weights: Any, inputs: Any, ids: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            kernel, bias = layer.input_weights()
            if ids is None:
                projected = dense(ops.transpose(inputs, (1, 0, 2)), kernel, bias, precision)
            else:
                projected = lookup(dense(inputs, kernel, bias, precision), ops.transpose(ids))
            return layer.call(projected, ops.zeros((batch, units)))[0]

    return [variable.value for variable in variables], run


def keras_layer(precision: str, size: Size) -> tuple[list[Any], Callable[[Any, Any, Any], Any]]:
    """Return weights and function of Keras's layer, as `our_layer` does."""
    import keras
    from keras import ops

    units, batch, steps = size
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    layer = keras.layers.SimpleRNN(units, return_sequences=True, dtype=policy)
    layer.build((batch, steps, units))
    others = [variable.value for variable in layer.non_trainable_variables]

    def run(weights: Any, inputs: Any, ids: Any) -> Any:
        vectors = inputs if ids is None else ops.take(inputs, ids, axis=0)
        return ops.transpose(layer.stateless_call(weights, others, vectors)[0], (1, 0, 2))

    return [variable.value for variable in layer.trainable_variables], run


def gradients_of(jax: ModuleType, weights: list[Any], layer: Callable[[Any, Any, Any], Any], size: Size) -> Run:
    """One compiled forward and backward pass of a layer."""

    def total(inputs: Any, weights: list[Any]) -> Any:
        return (layer(weights, inputs, None).astype("float32") ** 2).sum()

    step = jax.jit(jax.grad(total, argnums=(0, 1)))
    inputs = jax.numpy.asarray(_vectors(size))
    return lambda: jax.block_until_ready(step(inputs, weights))


def step_of(
    jax: ModuleType, weights: list[Any], layer: Callable[[Any, Any, Any], Any], precision: str, size: Size
) -> Run:
    """One compiled training step with a layer."""
    numpy, units = jax.numpy, size[0]
    random = np.random.default_rng(1)
    table, kernel = (numpy.asarray(_normal(random, shape)) for shape in ((VOCABULARY, units), (units, VOCABULARY)))
    ids, targets = (numpy.asarray(_ids(size, seed)) for seed in (2, 3))
    all_weights = [*weights, table, kernel, numpy.zeros(VOCABULARY)]

    def loss(weights: list[Any]) -> Any:
        *own, table, kernel, bias = weights
        hidden = layer(own, table, ids).astype(precision)
        logits = (hidden @ kernel.astype(precision)).astype("float32") + bias
        right = numpy.take_along_axis(logits, targets.T[..., None], axis=-1)[..., 0]
        return (jax.nn.logsumexp(logits, axis=-1) - right).mean()

    def update(carried: Any) -> Any:
        count, weights, means, squares = carried
        value, slopes = jax.value_and_grad(loss)(weights)
        count = count + 1
        means = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(means, slopes, strict=True)]
        squares = [BETA_2 * s + (1 - BETA_2) * g * g for s, g in zip(squares, slopes, strict=True)]
        rate = RATE * numpy.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
        moved = [w - rate * m / (numpy.sqrt(s) + EPSILON) for w, m, s in zip(weights, means, squares, strict=True)]
        return value, (count, moved, means, squares)

    step = jax.jit(update, donate_argnums=0)
    zeros = [numpy.zeros_like(weight) for weight in all_weights]
    carried = [(numpy.zeros(()), [weight.copy() for weight in all_weights], zeros, [zero.copy() for zero in zeros])]

    def run() -> object:
        value, carried[0] = step(carried[0])
        return jax.block_until_ready(value)

    return run


def torch_layer(torch: ModuleType, device: str, size: Size) -> Run:
    """One forward and backward pass of `torch.nn.RNN`, time-major, its fastest order."""
    units = size[0]
    layer = torch.nn.RNN(units, units).to(device)
    inputs = torch.tensor(_vectors(size).swapaxes(0, 1).copy(), device=device, requires_grad=True)
    wanted = [inputs, *layer.parameters()]

    def run() -> object:
        outputs, _ = layer(inputs)
        gradients = torch.autograd.grad((outputs**2).sum(), wanted)
        if device == "cuda":
            torch.cuda.synchronize()
        return gradients

    return run


def torch_step(torch: ModuleType, device: str, precision: str, size: Size) -> Run:
    """One training step with `torch.nn.RNN`, Adam in one kernel."""
    units = size[0]
    parts = torch.nn.ModuleList(
        [torch.nn.Embedding(VOCABULARY, units), torch.nn.RNN(units, units), torch.nn.Linear(units, VOCABULARY)]
    ).to(device)
    optimizer = torch.optim.Adam(parts.parameters(), RATE, (BETA_1, BETA_2), EPSILON, fused=device == "cuda")
    ids, targets = (torch.tensor(_ids(size, seed).T.copy(), device=device, dtype=torch.long) for seed in (2, 3))

    def run() -> object:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            hidden, _ = parts[1](parts[0](ids))
            logits = parts[2](hidden)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def peak(jax: ModuleType, precision: str, size: int) -> float:
    """Return the TFLOP/s of the product of two square matrices."""
    a = jax.numpy.asarray(_normal(np.random.default_rng(0), (size, size))).astype(precision)
    product = jax.jit(lambda x, y: x @ y)
    times = alternate({"": lambda: jax.block_until_ready(product(a, a))}, 0.5)[""]
    return float(2e-12 * size**3 / np.median(times))


def _vectors(size: Size) -> Any:
    units, batch, steps = size
    return _normal(np.random.default_rng(0), (batch, steps, units))


def _ids(size: Size, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, VOCABULARY, size[1:]).astype(np.int32)


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return random.normal(size=shape, scale=shape[-1] ** -0.5).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help="(%(default)s)")
    sizes = {"units": [512, 1024, 2048, 4096], "batch": [64], "steps": [128]}
    for name, values in sizes.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=values, metavar="N", help="(%(default)s)")
    parser.add_argument("--what", nargs="+", choices=["step", "layer"], default=["step", "layer"], help="(both)")
    parser.add_argument("--seconds", type=float, default=2, metavar="N", help="of timing, a size (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)

    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves memory to torch
    if arguments.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    jax = peer("jax")
    if jax is None:
        return 0
    if jax.default_backend() != arguments.device:
        print("a GPU that JAX can use was not found, nothing is run; pip install 'jax[cuda12]', or say --device cpu")
        return 0
    jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    torch_device = "cuda" if arguments.device == "gpu" else "cpu"
    torch = peer("torch")
    if torch is not None and torch_device == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        if not torch.cuda.is_available():
            print("torch sees no GPU, its column is left out; pip install its build for this machine's driver")
            torch = None

    device = jax.devices()[0].device_kind
    square = 8192 if arguments.device == "gpu" else 512
    peaks = {precision: peak(jax, precision, square) for precision in ("float32", "bfloat16")}
    print(f"milliseconds on: {device}; TFLOP/s of a product of two matrices: {peaks}", flush=True)
    rows: list[dict[str, Any]] = []
    for what, units, batch, steps in itertools.product(
        arguments.what, arguments.units, arguments.batch, arguments.steps
    ):
        for precision in ("float32", "bfloat16") if what == "step" else ("float32",):
            size = (units, batch, steps)
            candidates = {f"textrnn {kind}": our_layer(kind, precision, size) for kind in RECURRENCES}
            candidates["keras SimpleRNN"] = keras_layer(precision, size)
            runs: dict[str, Run] = {
                name: gradients_of(jax, *layer, size) if what == "layer" else step_of(jax, *layer, precision, size)
                for name, layer in candidates.items()
            }
            if torch is not None:
                is_layer = what == "layer"
                runs["torch nn.RNN"] = (
                    torch_layer(torch, torch_device, size)
                    if is_layer
                    else torch_step(torch, torch_device, precision, size)
                )
            times = alternate(runs, arguments.seconds)
            cell = {"what": what, "precision": precision, "units": units, "batch": batch, "steps": steps}
            new = [cell | row for row in median_rows(times, against=OURS)]
            print_table(new)
            rows += new
            if arguments.json:  # after each size, so that nothing is lost when time runs out
                write_json(arguments.json, "layer and step on a GPU", rows, device=device, peak_tflops=peaks)
            jax.clear_caches()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
