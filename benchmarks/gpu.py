"""The recurrent layer on a GPU, forward and backward, in absolute times: ours, Keras's and torch's.

    pip install 'jax[cuda12]' torch==2.13.0
    python benchmarks/gpu.py [--json FILE]

Ours and Keras's run under Keras's JAX backend, each compiled, torch's is `torch.nn.RNN`, that is cuDNN. All read
float32 vectors of size units and give the gradients at them and at the weights; products may use TensorFloat-32 in
all. Where there is no GPU nothing is run, unless `--device cpu` is given.
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

OURS = "textrnn SimpleRNN"


def jax_layer(jax: ModuleType, layer_class: Any, units: int, batch: int, steps: int) -> Callable[[], object]:
    """One compiled forward and backward pass of a Keras layer."""
    layer = layer_class(units, return_sequences=True)
    layer.build((batch, steps, units))
    others = [variable.value for variable in layer.non_trainable_variables]

    def total(inputs: Any, weights: list[Any]) -> Any:
        outputs, _ = layer.stateless_call(weights, others, inputs)
        return (outputs**2).sum()

    step = jax.jit(jax.grad(total, argnums=(0, 1)))
    inputs = jax.numpy.asarray(_inputs(units, batch, steps))
    weights = [variable.value for variable in layer.trainable_variables]
    return lambda: jax.block_until_ready(step(inputs, weights))


def torch_layer(torch: ModuleType, device: str, units: int, batch: int, steps: int) -> Callable[[], object]:
    """One forward and backward pass of `torch.nn.RNN`, time-major, its fastest order."""
    layer = torch.nn.RNN(units, units).to(device)
    inputs = torch.tensor(_inputs(units, batch, steps).swapaxes(0, 1).copy(), device=device, requires_grad=True)
    wanted = [inputs, *layer.parameters()]

    def run() -> object:
        outputs, _ = layer(inputs)
        gradients = torch.autograd.grad((outputs**2).sum(), wanted)
        if device == "cuda":
            torch.cuda.synchronize()
        return gradients

    return run


def _inputs(units: int, batch: int, steps: int) -> Any:
    return np.random.default_rng(0).normal(size=(batch, steps, units)).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help="(%(default)s)")
    sizes = {"units": [64, 128, 256, 512, 1024, 2048], "batch": [1, 16, 64, 256], "steps": [32, 128, 512]}
    for name, values in sizes.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=values, metavar="N", help="(%(default)s)")
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
    import keras

    from textrnn.training.network.recurrent import SimpleRNN

    device = jax.devices()[0].device_kind
    print(f"milliseconds, forward and backward, on: {device}")
    rows: list[dict[str, Any]] = []
    for units, batch, steps in itertools.product(arguments.units, arguments.batch, arguments.steps):
        size = (units, batch, steps)
        candidates = {
            OURS: jax_layer(jax, SimpleRNN, *size),
            "keras SimpleRNN": jax_layer(jax, keras.layers.SimpleRNN, *size),
        }
        if torch is not None:
            candidates["torch nn.RNN"] = torch_layer(torch, torch_device, *size)
        times = alternate(candidates, arguments.seconds)
        cell = {"units": units, "batch": batch, "steps": steps}
        new = [cell | row for row in median_rows(times, against=OURS)]
        print_table(new)
        rows += new
        if arguments.json:  # after each size, so that nothing is lost when time runs out
            write_json(arguments.json, "recurrent layer", rows, device=device)
        jax.clear_caches()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
