"""The network from a text to another: a numpy reference, its gradients, and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_translator

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.tensorflow_setup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from textrnn.training.network.text_to_text.attention_loop import AttentionWeights, Memory, attend  # noqa: E402
from textrnn.training.network.text_to_text.translator import Translator  # noqa: E402
from textrnn.training.tasks.text_to_text.trainer import smoothed_loss  # noqa: E402

SOURCES = np.array([[5, 6, 7, 4], [8, 4, PAD_ID, PAD_ID]], np.int32)
TARGETS = np.array([[2, 5, 6, 5, 4], [2, 7, 7, 4, 6]], np.int32)


def model(layers: int = 2, **settings: Any) -> Translator:
    config = ModelConfig(hidden_dim=6, embedding_dim=5, layers=layers, bidirectional=True, **settings)
    made = Translator(config, 9, 8, seed=3)
    draw = np.random.default_rng(0)
    made.set_arrays({name: 0.5 * draw.normal(size=array.shape) for name, array in made.arrays().items()})
    return made


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_logits_and_attention_are_those_of_numpy(layers: int) -> None:
    network = model(layers)
    memory, state = network.encode(tf.constant(SOURCES))
    logits, attention, _ = network.decode(tf.constant(TARGETS), state, memory)
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        length = int((source != PAD_ID).sum())
        expected = reference_translator.logits(network.arrays(), source[:length], target)
        np.testing.assert_allclose(logits[:, row], expected[0], atol=2e-5)
        np.testing.assert_allclose(attention[:, row, :length], expected[1], atol=1e-5)
        assert not np.any(attention[:, row, length:])


def test_reading_a_target_in_two_parts_gives_the_same_logits() -> None:
    network = model()
    memory, state = network.encode(tf.constant(SOURCES))
    whole, _, last = network.decode(tf.constant(TARGETS), state, memory)
    first, _, between = network.decode(tf.constant(TARGETS[:, :2]), state, memory)
    rest, _, end = network.decode(tf.constant(TARGETS[:, 2:]), between, memory)
    np.testing.assert_allclose(np.concatenate([first, rest]), whole, atol=1e-6)
    np.testing.assert_allclose(end, last, atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
def test_the_gradients_of_the_loop_are_those_of_its_equations(activation: str) -> None:
    draw = np.random.default_rng(1)
    time, batch, source, hidden = 4, 3, 5, 6

    def tensor(*shape: int) -> Any:
        return tf.Variable(0.4 * draw.normal(size=shape).astype(np.float32))

    inputs = [tensor(time, batch, hidden), tensor(batch, 2 * hidden), tensor(batch, source, hidden)]
    inputs += [tensor(batch, source, hidden), tensor(2 * hidden, hidden), tensor(hidden, hidden), tensor(hidden)]
    mask = tf.constant(np.where(np.arange(source) < [[5], [3], [1]], 0, -1e9).astype(np.float32))
    upstream = draw.normal(size=(time, batch, 2 * hidden)).astype(np.float32)

    def by_loop(projected: Any, first: Any, keys: Any, values: Any, *weights: Any) -> Any:
        return attend(projected, first, Memory(keys, values, mask), AttentionWeights(*weights), activation)[0]

    def by_equations(projected: Any, first: Any, keys: Any, values: Any, u: Any, v: Any, c: Any) -> Any:
        f = {"tanh": tf.tanh, "relu": tf.nn.relu, "linear": tf.identity}[activation]
        state, states = first, []
        for t in range(time):
            h = f(projected[t] + state @ u)
            w = tf.nn.softmax(tf.reduce_sum(keys * h[:, None], axis=2) + mask)
            o = tf.tanh(h @ v + c + tf.reduce_sum(values * w[:, :, None], axis=1))
            state = tf.concat([h, o], 1)
            states.append(state)
        return tf.stack(states)

    found = []
    for function in (by_loop, by_equations):
        with tf.GradientTape() as tape:
            states = function(*(tf.convert_to_tensor(each) for each in inputs))
            loss = tf.reduce_sum(states * upstream)
        found.append([states, *tape.gradient(loss, inputs)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_padding_changes_neither_logits_nor_gradients() -> None:
    network, loss = model(dropout=0.0), smoothed_loss(0.1)
    outputs = np.array([[5, 6, 5, 4, 3], [7, 7, 3, PAD_ID, PAD_ID]], np.int32)

    def gradients(extra: int) -> list[Any]:
        sources, targets, inputs = (np.pad(each, ((0, 0), (0, extra))) for each in (SOURCES, outputs, TARGETS))
        with tf.GradientTape() as tape:
            value = loss(network(tf.constant(sources), tf.constant(inputs)), tf.constant(targets))
        return [value, *tape.gradient(value, network.trainable_variables)]

    for one, other in zip(gradients(0), gradients(3), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-6)


def test_label_smoothing_is_the_cross_entropy_with_smoothed_targets() -> None:
    logits = np.random.default_rng(2).normal(size=(3, 1, 4)).astype(np.float32)
    targets = np.array([[2, 3, PAD_ID]], np.int32)
    log_probs = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    wanted = 0.8 * np.eye(4)[[2, 3]] + 0.2 / 4
    expected = -(wanted * log_probs[:2, 0]).sum() / 2
    assert float(smoothed_loss(0.2)(tf.constant(logits), tf.constant(targets))) == pytest.approx(expected, rel=1e-5)
