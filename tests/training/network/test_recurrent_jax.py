"""The layer under Keras's JAX backend equals Keras's own, and it and the elementwise loop equal the equations in numpy.

A process has one Keras backend, so that this file, run as a script, is the process with JAX: it computes outputs and
gradients for the tests to compare.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[3]
BATCH, TIME, FEATURES, HIDDEN = 3, 7, 4, 5
OPTIONS: dict[str, dict[str, Any]] = {
    "tanh": {"activation": "tanh", "return_sequences": True},
    "relu": {"activation": "relu", "return_sequences": True},
    "linear": {"activation": "linear", "return_sequences": True},
    "backwards": {"activation": "tanh", "return_sequences": True, "go_backwards": True},
    "last output": {"activation": "tanh"},
}
# The loop of a U that is no matrix: f, whether it turns pairs, whether it is asked to be a scan, whether it forgets.
ELEMENTWISE = {
    "loop": ("linear", False, False, False),
    "scan": ("linear", False, True, False),
    "tanh": ("tanh", False, False, True),
    "rotation": ("linear", True, False, True),
    "rotation as a scan": ("linear", True, True, False),
    "rotation with relu": ("relu", True, False, False),
}
LONG = 23  # steps: blocks of blocks of a scan, and a rest
NAMES = ["outputs", "inputs", "kernel", "recurrent_kernel", "bias", "initial_state"]

Arrays = dict[str, NDArray[Any]]


def given() -> Arrays:
    """Inputs, initial state and weights, float32."""
    random = np.random.default_rng(7)
    shapes = {
        "inputs": (BATCH, TIME, FEATURES),
        "kernel": (FEATURES, HIDDEN),
        "recurrent_kernel": (HIDDEN, HIDDEN),
        "bias": (HIDDEN,),
        "initial_state": (BATCH, HIDDEN),
    }
    return {name: 0.5 * random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def compute_with_jax(path: Path) -> None:
    """Outputs, and the gradients of the sum of their sines, of Keras's layer and of ours."""
    import jax
    import keras

    from textrnn.training.network.recurrent import SimpleRNN

    values = given()
    results: Arrays = {"backend": np.array(keras.backend.backend())}
    for case, options in OPTIONS.items():
        for who, layer_class in {"keras": keras.layers.SimpleRNN, "ours": SimpleRNN}.items():
            layer = layer_class(HIDDEN, **options)
            layer.build((BATCH, TIME, FEATURES))

            def total(arguments: list[Any], layer: Any = layer) -> Any:
                inputs, *weights, initial_state = arguments
                others = [variable.value for variable in layer.non_trainable_variables]
                outputs, _ = layer.stateless_call(weights, others, inputs, initial_state=initial_state)
                return jax.numpy.sin(outputs).sum(), outputs

            step = jax.jit(jax.value_and_grad(total, has_aux=True))
            (_, outputs), gradients = step([values[name] for name in NAMES[1:]])
            for name, array in zip(NAMES, [outputs, *gradients], strict=True):
                results[f"{case}, {who}, {name}"] = np.asarray(array)
    for case in ELEMENTWISE:
        for name, array in zip(ELEMENTWISE_NAMES, elementwise_with_jax(case), strict=False):
            results[f"elementwise, {case}, {name}"] = np.asarray(array)
    np.savez(path, **results)


ELEMENTWISE_NAMES = ["states", "last state", "a", "h_0", "U", "imaginary part of U"]


def given_elementwise(case: str) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[Any]], NDArray[Any] | None]:
    """a, h_0, U and what is kept, float32."""
    _, rotates, _, forgets = ELEMENTWISE[case]
    random = np.random.default_rng(8)
    a, first = random.normal(size=(LONG, BATCH, 6)), random.normal(size=(BATCH, 6))
    angle = random.uniform(0, np.pi, 3)
    u = [0.9 * np.cos(angle), 0.9 * np.sin(angle)] if rotates else [random.uniform(-0.95, 0.95, 6)]
    keep = (random.random((LONG, BATCH, 1)) > 0.3).astype("float32") if forgets else None
    return a.astype("float32"), first.astype("float32"), [part.astype("float32") for part in u], keep


def elementwise_with_jax(case: str) -> list[Any]:
    """States, the last one, and the gradients of the sum of the sines of the states and of the last one."""
    import jax

    from textrnn.training.network.elementwise import recurrence

    activation, _, as_scan, _ = ELEMENTWISE[case]
    a, first, u, kept = given_elementwise(case)
    keep = None if kept is None else jax.numpy.asarray(kept)

    def total(arguments: list[Any]) -> Any:
        a, first, *u = arguments
        states, last = recurrence(a, first, tuple(u), activation, keep, as_scan)
        return jax.numpy.sin(states).sum() + last.sum(), (states, last)

    (_, results), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))([a, first, *u])
    return [*results, *gradients]


def reference(options: dict[str, Any]) -> list[NDArray[np.float64]]:
    """h_t = f(x_t W + h_{t-1} U + b) and back-propagation through time, one line an equation, in float64.

    Outputs, then the gradients of the sum of their sines, in the order of `NAMES`.
    """
    inputs, kernel, recurrent_kernel, bias, first = (given()[name].astype(np.float64) for name in NAMES[1:])
    f, slope = {
        "tanh": (np.tanh, lambda h: 1 - h**2),
        "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(float)),
        "linear": (lambda a: a, np.ones_like),
    }[options["activation"]]
    order = range(TIME)[::-1] if options.get("go_backwards") else range(TIME)
    states = [first]
    for t in order:
        states.append(f(inputs[:, t] @ kernel + states[-1] @ recurrent_kernel + bias))
    outputs = np.stack(states[1:], axis=1)
    upstream = np.cos(outputs)
    if not options.get("return_sequences"):
        outputs = outputs[:, -1]
        upstream[:, :-1] = 0
    at_inputs, at_kernel, at_recurrent, at_bias = map(np.zeros_like, (inputs, kernel, recurrent_kernel, bias))
    at_state = np.zeros_like(first)
    for step in reversed(range(TIME)):
        t = order[step]
        delta = (upstream[:, step] + at_state) * slope(states[step + 1])
        at_inputs[:, t] = delta @ kernel.T
        at_kernel += inputs[:, t].T @ delta
        at_recurrent += states[step].T @ delta
        at_bias += delta.sum(axis=0)
        at_state = delta @ recurrent_kernel.T
    return [outputs, at_inputs, at_kernel, at_recurrent, at_bias, at_state]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    path = tmp_path_factory.mktemp("jax") / "results.npz"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, __file__, str(path)], env=environment, check=True)
    with np.load(path) as file:
        return dict(file)


def test_the_backend_is_jax(computed: Arrays) -> None:
    assert computed["backend"] == "jax"


@pytest.mark.parametrize("case", OPTIONS)
def test_layer_equals_keras_and_the_equations_under_jax(computed: Arrays, case: str) -> None:
    for name, expected in zip(NAMES, reference(OPTIONS[case]), strict=True):
        ours, theirs = (computed[f"{case}, {who}, {name}"] for who in ("ours", "keras"))
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5, err_msg=f"{name}, numpy")
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=f"{name}, Keras")


@pytest.mark.parametrize("case", ELEMENTWISE)
def test_the_elementwise_loop_equals_the_equations_under_jax(computed: Arrays, case: str) -> None:
    # In the process with JAX, where this file is run as a script, the references are not to be found.
    from reference_recurrence import gradients_at_parts, matrix_of, through_time

    activation = ELEMENTWISE[case][0]
    a, first, *u = (array.astype(np.float64) for array in [*given_elementwise(case)[:2], *given_elementwise(case)[2]])
    kept = given_elementwise(case)[3]
    keep = np.ones((LONG, BATCH, 1)) if kept is None else kept.astype(np.float64)
    matrix = matrix_of(u)
    states, *_ = through_time(a, first, matrix, activation, keep, 0 * a, 0 * first)
    _, deltas, at_first, at_u = through_time(a, first, matrix, activation, keep, np.cos(states), np.ones_like(first))
    expected = [states, states[-1], deltas, at_first, *gradients_at_parts(at_u, u)]
    for name, wanted in zip(ELEMENTWISE_NAMES, expected, strict=False):
        actual = computed[f"elementwise, {case}, {name}"]
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4, err_msg=name)


if __name__ == "__main__":
    compute_with_jax(Path(sys.argv[1]))
