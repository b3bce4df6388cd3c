"""The output of a layer, computed by one program, equals the equations in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from textrnn.training.network import layer_output
from textrnn.training.network.layer_output import NORMALIZATION_EPSILON

TIME, BATCH, HIDDEN = 5, 3, 8


def expected(mixing: str, mask: Any, mixed: Any, bias: Any, below: Any, gain: Any, shift: Any) -> tuple[Any, Any]:
    """Both outputs, float64."""
    hidden = mixed if bias is None else mixed + bias
    if mixing == "relu":
        hidden = np.maximum(hidden, 0)
    elif mixing == "glu":
        hidden = hidden[..., :HIDDEN] / (1 + np.exp(-hidden[..., HIDDEN:]))
    hidden = hidden if below is None else hidden + below
    read = hidden
    if gain is not None:
        centred = hidden - hidden.mean(-1, keepdims=True)
        read = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + NORMALIZATION_EPSILON) * gain + shift
    return hidden, read if mask is None else read * mask


@pytest.mark.parametrize("mixing", ["none", "relu", "glu"])
@pytest.mark.parametrize("left_out", ["nothing", "bias", "below", "normalization", "mask"])
def test_the_one_program_computes_the_equations_and_their_slope(mixing: str, left_out: str) -> None:
    random = np.random.default_rng(1)
    width = HIDDEN * (2 if mixing == "glu" else 1)
    arrays = {
        "mixed": random.normal(size=(TIME, BATCH, width)),
        "bias": random.normal(size=width),
        "below": random.normal(size=(TIME, BATCH, HIDDEN)),
        "gain": random.normal(size=HIDDEN),
        "shift": random.normal(size=HIDDEN),
    }
    mask = None if left_out == "mask" else random.integers(0, 2, (1, BATCH, HIDDEN)) / 0.5
    missing = {"normalization": ("gain", "shift")}.get(left_out, (left_out,))
    arrays = {name: None if name in missing else array for name, array in arrays.items()}
    weights = random.normal(size=(2, TIME, BATCH, HIDDEN))

    def total(arrays: dict[str, Any]) -> float:
        outputs = expected(mixing, mask, *arrays.values())
        return float(sum((weight * output).sum() for weight, output in zip(weights, outputs, strict=True)))

    tensors = {name: None if array is None else tf.constant(array, tf.float32) for name, array in arrays.items()}
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = layer_output._fused(mixing, None if mask is None else tf.constant(mask), *tensors.values())
        loss = tf.add_n([tf.reduce_sum(tf.constant(w, tf.float32) * o) for w, o in zip(weights, outputs, strict=True)])
    for ours, wanted in zip(outputs, expected(mixing, mask, *arrays.values()), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)
    for name, gradient in tape.gradient(loss, given).items():
        direction = random.normal(size=gradient.shape)
        there, back = ({**arrays, name: arrays[name] + sign * 1e-5 * direction} for sign in (1, -1))
        slope = (total(there) - total(back)) / 2e-5
        assert float((gradient.numpy() * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-3), name
