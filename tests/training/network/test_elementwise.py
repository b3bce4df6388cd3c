"""The loop of a diagonal U, and of units that turn in pairs, equals the equations in numpy, forward and backward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_recurrence import Array, gradients_at_parts, matrix_of, through_time

from textrnn.training.network import elementwise
from textrnn.training.network.elementwise import recurrence

FORMS = ["diagonal", "rotation"]
ACTIVATIONS = ["tanh", "relu", "linear"]


class Case(NamedTuple):
    """What goes into a recurrence, and the gradients that come to it, float64."""

    projected: Array
    first: Array
    u: list[Array]
    keep: Array | None
    upstream: Array
    later: Array


def case_of(form: str, time: int, batch: int = 3, hidden: int = 6, resets: bool = False, seed: int = 3) -> Case:
    random = np.random.default_rng(seed)
    sequence = (time, batch, hidden)
    if form == "diagonal":
        u = [random.uniform(-0.95, 0.95, hidden)]
    else:
        magnitude, angle = random.uniform(0.3, 0.95, hidden // 2), random.uniform(0, np.pi, hidden // 2)
        u = [magnitude * np.cos(angle), magnitude * np.sin(angle)]
    return Case(
        random.normal(size=sequence),
        random.normal(size=(batch, hidden)),
        u,
        (random.random((time, batch, 1)) > 0.4).astype(float) if resets else None,
        random.normal(size=sequence),
        random.normal(size=(batch, hidden)),
    )


def expected_of(case: Case, activation: str) -> list[Array]:
    """States, the last one, and the gradients at a, h_0 and the numbers of U."""
    keep = np.ones((*case.projected.shape[:2], 1)) if case.keep is None else case.keep
    states, deltas, at_first, at_u = through_time(
        case.projected, case.first, matrix_of(case.u), activation, keep, case.upstream, case.later
    )
    return [states, states[-1], deltas, at_first, *gradients_at_parts(at_u, case.u)]


def computed(
    case: Case, activation: str, as_scan: bool | None, dtype: Any = tf.float32, compiled: str = "eager"
) -> list[Any]:
    """The same of `recurrence`."""
    upstream, later = tf.constant(case.upstream, tf.float32), tf.constant(case.later, tf.float32)
    keep = None if case.keep is None else tf.constant(case.keep, tf.float32)

    def run(projected: tf.Tensor, first: tf.Tensor, *u: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([projected, first, *u])
            states, last = recurrence(projected, first, u, activation, keep, as_scan)
            total = tf.reduce_sum(tf.cast(states, tf.float32) * upstream) + tf.reduce_sum(last * later)
        return [states, last, *tape.gradient(total, [projected, first, *u])]

    call: Callable[..., list[tf.Tensor]] = run
    if compiled != "eager":
        call = tf.function(run, autograph=False, jit_compile=True if compiled == "xla" else None)
    inputs = (tf.constant(x, tf.float32) for x in (case.first, *case.u))
    return call(tf.cast(case.projected, dtype), *inputs)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shape would be a program of XLA, which takes a second to compile."""
    monkeypatch.setattr(elementwise, "_compiled", lambda function: function)


def assert_close(actual: list[Any], expected: list[Array], tolerance: float = 1e-5, terms: float = 0) -> None:
    """Compare with the equations; `terms` is how large the terms of the sums are that gradients at U are, together."""
    names = ["states", "last state", "a", "h_0", "U", "imaginary part of U"]
    for name, ours, wanted in zip(names, actual, expected, strict=False):
        ours = tf.cast(ours, tf.float32).numpy()
        assert ours.shape == wanted.shape, name
        allowed = tolerance * (1 + np.abs(wanted).max())
        if terms and "U" in name:
            allowed = (
                ROUNDING * terms
            )  # of terms of both signs the sum can be small, what rounding takes from them is not
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=allowed, err_msg=name)


ROUNDING = 2.0**-20  # 16 roundings of float32 in each term, a product of two numbers that a recurrence computed


def assert_equations_hold(case: Case, activation: str, actual: list[Any]) -> None:
    """Compare with the equations, in float32."""
    expected = expected_of(case, activation)
    states, _, deltas, *_ = expected
    before = np.concatenate([case.first[None], states[:-1]]) * (1 if case.keep is None else case.keep)
    # Each number of U multiplies one unit, or both of a pair.
    sizes = [np.abs(x).reshape(*x.shape[:2], len(case.u), -1).sum(axis=2) for x in (before, deltas)]
    assert_close(actual, expected, terms=float(np.prod(sizes, axis=0).sum(axis=(0, 1)).max()))


# Each length that has a shape of its own as a scan: less than a block, one, some that leave a rest, blocks of blocks.
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("time", [1, 2, 3, 17, 64, 70])
@pytest.mark.parametrize("as_scan", [False, True], ids=["loop", "scan"])
@pytest.mark.parametrize("form", FORMS)
def test_linear_recurrences_equal_the_equations(form: str, as_scan: bool, time: int) -> None:
    case = case_of(form, time)
    assert_equations_hold(case, "linear", computed(case, "linear", as_scan))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("activation", "resets"),
    [(f, resets) for f, resets in itertools.product(ACTIVATIONS, [False, True]) if f != "linear" or resets],
)
@pytest.mark.parametrize("time", [1, 3, 17])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_a_loop_always_equals_the_equations(form: str, time: int, activation: str, resets: bool) -> None:
    case = case_of(form, time, resets=resets)
    # Asking for a scan asks for where one is possible.
    assert_equations_hold(case, activation, computed(case, activation, as_scan=True))


@pytest.mark.parametrize(
    ("form", "activation", "as_scan", "compiled"),
    [
        ("diagonal", "linear", True, "eager"),
        ("rotation", "linear", True, "xla"),
        ("rotation", "linear", False, "xla"),
        ("rotation", "tanh", False, "graph"),
    ],
)
def test_compiled_alone_or_inside_a_step_too(form: str, activation: str, as_scan: bool, compiled: str) -> None:
    case = case_of(form, 9, resets=activation == "tanh")
    assert_equations_hold(case, activation, computed(case, activation, as_scan, compiled=compiled))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMS),
    activation=st.sampled_from(ACTIVATIONS),
    as_scan=st.sampled_from([True, False, None]),
    time=st.integers(1, 40),
    batch=st.integers(1, 4),
    pairs=st.integers(1, 4),
    resets=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_sequences_of_every_shape_equal_the_equations(
    uncompiled: None,
    form: str,
    activation: str,
    as_scan: bool | None,
    time: int,
    batch: int,
    pairs: int,
    resets: bool,
    seed: int,
) -> None:
    case = case_of(form, time, batch, 2 * pairs, resets, seed)
    assert_equations_hold(case, activation, computed(case, activation, as_scan))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("activation", "as_scan"), [("linear", False), ("linear", True), ("tanh", False)], ids=["loop", "scan", "tanh"]
)
@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_stays_close_and_carries_its_state_in_float32(form: str, activation: str, as_scan: bool) -> None:
    case = case_of(form, 17)
    actual = computed(case, activation, as_scan, tf.bfloat16)
    states, last, deltas, at_first, *at_u = actual
    assert states.dtype == deltas.dtype == tf.bfloat16
    assert all(tensor.dtype == tf.float32 for tensor in (last, at_first, *at_u))
    assert not np.array_equal(last, tf.cast(states[-1], tf.float32))  # finer than what is kept of it
    expected = expected_of(case, activation)
    assert_close(actual, expected, 0.03)
    assert np.abs(tf.cast(states, tf.float32) - expected[0]).max() > 1e-4  # it is rounded


@pytest.mark.usefixtures("uncompiled")
def test_where_no_way_is_asked_for_small_steps_are_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = []
    true_forward = elementwise._forward

    def forward(*arguments: Any) -> Any:
        ways.append(arguments[-1])
        return true_forward(*arguments)

    monkeypatch.setattr(elementwise, "_forward", forward)

    def way(batch: int, activation: str = "linear", resets: bool = False, on_processor: bool = True) -> bool:
        monkeypatch.setattr(elementwise, "on_tensorflow_processor", lambda: on_processor)
        case = case_of("diagonal", 5, batch, 32, resets)
        keep = None if case.keep is None else tf.constant(case.keep, tf.float32)
        inputs = [tf.constant(x, tf.float32) for x in (case.projected, case.first, *case.u)]
        recurrence(inputs[0], inputs[1], tuple(inputs[2:]), activation, keep)
        return bool(ways[-1])

    assert way(31)
    assert not way(32)  # a step is work enough for an iteration of a loop
    assert way(32, on_processor=False)
    assert not way(31, "tanh")
    assert not way(31, resets=True)
