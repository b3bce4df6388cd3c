"""A layer of each form of U: what its weights mean, where they start, and that they never let a state grow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference_model
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.training.network.layers import (
    DenseLayer,
    DiagonalLayer,
    InitScale,
    diagonal,
    fold_input_scale,
    input_scale,
    limited,
    recurrent_layer,
)
from textrnn.training.network.products import dense

DIAGONAL = ModelConfig(hidden_dim=6, layers=1, recurrence="diagonal")
ROTATION = replace(DIAGONAL, recurrence="rotation")


def layer_of(config: ModelConfig, input_dim: int = 4, scale: float = 0.5, seed: int = 1) -> Any:
    return recurrent_layer(config, input_dim, InitScale(), scale, seed, "layer")


def starts(config: ModelConfig) -> NDArray[np.float32]:
    decay: NDArray[np.float32] = layer_of(config).decay.numpy()
    return decay


def test_each_form_has_its_weights() -> None:
    shapes = {
        recurrence: {name: tuple(weight.shape) for name, weight in layer_of(config).named_weights().items()}
        for recurrence in ("dense", "diagonal", "rotation")
        for config in [replace(DIAGONAL, recurrence=recurrence)]
    }
    shared = {"kernel": (4, 6), "bias": (6,)}
    assert shapes == {
        "dense": shared | {"recurrent_kernel": (6, 6)},
        "diagonal": shared | {"decay": (6,)},
        "rotation": shared | {"decay": (3,), "angle": (3,)},
    }


# No weight lets a state grow


@settings(max_examples=100)
@given(decay=st.floats(-15, 4), angle=st.floats(-100, 100))
def test_what_a_step_leaves_lies_between_0_and_1_whatever_the_weights(decay: float, angle: float) -> None:
    weight = np.array([decay], np.float32)
    (magnitude,) = diagonal(weight, None)
    assert 0 < float(magnitude[0]) < 1
    a, b = diagonal(weight, np.array([angle], np.float32))
    assert math.hypot(float(a[0]), float(b[0])) == pytest.approx(float(magnitude[0]), rel=1e-5)
    # What is read is scaled so that states of noise of variance 1 have variance 1: scale^2 (1 + m^2 + m^4 + ...) = 1.
    exact = math.exp(-math.exp(float(weight[0])))
    assert float(input_scale(weight, False)[0]) == pytest.approx(math.sqrt(1 - exact * exact), rel=1e-4)


def test_even_the_longest_memory_forgets() -> None:
    # A memory of 10^9 steps is more than float32 tells from 1, and still what is read counts.
    (magnitude,) = diagonal(np.array([-math.log(1e9), 30.0], np.float32), None)
    assert magnitude.numpy().tolist() == [1.0, 0.0]
    scale = input_scale(np.array([-math.log(1e9)], np.float32), False).numpy()
    assert scale[0] == pytest.approx(math.sqrt(2e-9), rel=1e-3)


@pytest.mark.parametrize("config", [DIAGONAL, ROTATION], ids=["diagonal", "rotation"])
def test_states_are_as_large_as_what_is_read_however_long_they_remember(config: ModelConfig) -> None:
    layer = layer_of(replace(config, hidden_dim=8, activation="linear"))
    units = layer.decay.shape[0]
    layer.decay.assign([-math.log(steps) for steps in (1, 10, 100, 300)] * (units // 4))
    projected = np.random.default_rng(0).normal(size=(3000, 16, 8))
    scale = input_scale(tf.convert_to_tensor(layer.decay), layer.angle is not None)
    states, _ = layer(tf.constant(projected, tf.float32) * scale, tf.zeros((16, 8)))
    spread = states.numpy()[1500:].std(axis=(0, 1))
    np.testing.assert_allclose(spread, 1, rtol=0.15)


# The start


@pytest.mark.parametrize("memory", [1.0, 20.0, 1000.0])
@pytest.mark.parametrize("config", [DIAGONAL, ROTATION], ids=["diagonal", "rotation"])
def test_units_start_by_forgetting_in_1_to_memory_steps(config: ModelConfig, memory: float) -> None:
    decay = starts(replace(config, hidden_dim=4000, memory=memory)).astype(np.float64)
    steps = 1 / np.exp(decay)  # after which magnitude^steps = 1/e
    assert steps.min() >= 1 - 1e-6
    assert steps.max() <= memory * (1 + 1e-6)
    # As many in each decade.
    assert np.log(steps).mean() == pytest.approx(math.log(memory) / 2, abs=0.05 * math.log(memory))
    assert np.log(steps).std() == pytest.approx(math.log(memory) / math.sqrt(12), abs=0.05 * math.log(memory))


def test_pairs_start_turned_by_any_angle_of_half_a_turn() -> None:
    angle = layer_of(replace(ROTATION, hidden_dim=4000)).angle.numpy()
    assert 0 <= angle.min() < 0.01
    assert math.pi - 0.01 < angle.max() <= math.pi + 1e-6
    assert angle.mean() == pytest.approx(math.pi / 2, abs=0.1)


@pytest.mark.parametrize("config", [DIAGONAL, ROTATION], ids=["diagonal", "rotation"])
def test_weights_start_as_large_as_is_said_and_as_the_seed_says(config: ModelConfig) -> None:
    config = replace(config, hidden_dim=400)
    first, same, other = (layer_of(config, 300, 0.5, seed) for seed in (1, 1, 2))
    for name, weight in first.named_weights().items():
        np.testing.assert_array_equal(weight, same.named_weights()[name])
        assert name == "bias" or not np.array_equal(weight, other.named_weights()[name])
    # Of inputs of variance 1, x W has a standard deviation of 0.5.
    assert first.kernel.numpy().std() * math.sqrt(300) == pytest.approx(0.5, rel=0.02)
    assert not first.bias.numpy().any()


@pytest.mark.parametrize(
    ("start", "scale", "gain"), [("orthogonal", 0.0, 0.7), ("orthogonal", 1.2, 1.2), ("identity", 0.9, 0.9)]
)
def test_a_dense_u_starts_as_is_said(start: str, scale: float, gain: float) -> None:
    config = ModelConfig(hidden_dim=6, recurrent_start=start, recurrent_scale=scale)
    layer = recurrent_layer(config, 4, InitScale(recurrent=0.7), 0.5, 1, "layer")
    assert isinstance(layer, DenseLayer)
    u = layer.named_weights()["recurrent_kernel"].numpy()
    np.testing.assert_allclose(u @ u.T, gain**2 * np.eye(6), atol=1e-6)
    assert np.allclose(u, gain * np.eye(6)) == (start == "identity")


# What is multiplied


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
@pytest.mark.parametrize("recurrence", ["dense", "diagonal", "rotation"])
def test_a_layer_equals_the_equations_and_the_weights_as_multiplied(recurrence: str, activation: str) -> None:
    config = replace(DIAGONAL, recurrence=recurrence, activation=activation, layers=2)
    weights = reference_model.drawn(reference_model.layer_shapes(config, 6), seed=0)
    multiplied = fold_input_scale(config, {name: array.astype(np.float32) for name, array in weights.items()})
    random = np.random.default_rng(2)
    x, h = random.normal(size=(5, 3, 6)), random.normal(size=(3, 6))
    for index in range(2):
        layer = layer_of(config, 6)
        for name, weight in layer.named_weights().items():
            weight.assign(weights[f"{name}_{index}"])
        kernel, bias = layer.input_weights()
        projected = dense(tf.constant(x, tf.float32), kernel, bias)
        states, last = layer(projected, tf.constant(h, tf.float32))

        expected, by_numbers = h, h
        for t in range(5):
            expected = reference_model.next_state(config, weights, index, x[t], expected)
            # As the exported graph takes a step.
            if recurrence == "dense":
                carried = by_numbers @ multiplied[f"recurrent_kernel_{index}"]
            else:
                carried = by_numbers * multiplied[f"recurrent_{index}"]
            if recurrence == "rotation":
                carried = carried + np.roll(by_numbers, 3, axis=1) * multiplied[f"crossed_{index}"]
            by_numbers = reference_model.FUNCTIONS[activation](
                x[t] @ multiplied[f"kernel_{index}"] + multiplied[f"bias_{index}"] + carried
            )
            np.testing.assert_allclose(states[t], expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(by_numbers, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-5)


def test_as_multiplied_keeps_what_is_not_of_the_direction() -> None:
    shapes = reference_model.layer_shapes(ROTATION, 4) | reference_model.layer_shapes(ROTATION, 4, "backward_")
    weights = reference_model.drawn(shapes, seed=0)
    forward = fold_input_scale(ROTATION, weights)
    both = fold_input_scale(replace(ROTATION, bidirectional=True), weights)
    own = {"kernel_0", "bias_0", "recurrent_0", "crossed_0"}
    assert set(forward) == own | {name for name in weights if name.startswith("backward_")}
    assert set(both) == own | {f"backward_{name}" for name in own}
    assert isinstance(layer_of(ROTATION), DiagonalLayer)


class TestLimitedExcitation:
    @given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.01, 100), limit=st.sampled_from([0.5, 0.9, 0.98]))
    @settings(max_examples=40, deadline=None)
    def test_states_of_any_length_are_bounded_whatever_the_weights(self, seed: int, size: float, limit: float) -> None:
        config = ModelConfig(hidden_dim=6, layers=1, activation="relu", max_excitation=limit)
        layer, generator = layer_of(config), np.random.default_rng(seed)
        layer.rnn.cell.recurrent_kernel.assign(size * generator.normal(size=(6, 6)))
        projected = generator.normal(size=(300, 2, 6)).astype(np.float32)
        states, _ = layer(tf.constant(projected), tf.zeros((2, 6)))
        assert states.numpy().max() <= 1.001 * projected.max() / (1 - limit)

    def test_inhibition_and_little_excitation_stay_as_they_are(self) -> None:
        kernel = np.array([[0.2, -3, 4], [-1, 0.5, 1], [0.1, 0.4, -2]], np.float32)
        expected = [[0.2, -3, 0.8], [-1, 0.5, 0.2], [0.1, 0.4, -2]]
        np.testing.assert_allclose(limited(tf.constant(kernel), 1.0), expected, atol=1e-6)
        np.testing.assert_allclose(limited(tf.constant(limited(kernel, 1.0)), 1.0), expected, atol=1e-6)

    def test_what_is_exported_is_what_is_trained(self) -> None:
        config = ModelConfig(hidden_dim=6, layers=1, activation="relu", max_excitation=0.5)
        layer = layer_of(config)
        arrays = {f"{name}_0": weight.numpy() for name, weight in layer.named_weights().items()}
        kernel = fold_input_scale(config, arrays)["recurrent_kernel_0"]
        state = np.abs(np.random.default_rng(0).normal(size=(3, 6))).astype(np.float32)
        states, _ = layer(tf.zeros((1, 3, 6)), tf.constant(state))
        np.testing.assert_allclose(states[0], np.maximum(state @ kernel, 0), atol=1e-6)
        assert np.maximum(kernel, 0).sum(axis=0).max() <= 0.5 + 1e-6
