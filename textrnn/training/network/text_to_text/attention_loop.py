"""The loop of the decoder's first layer: a plain recurrent layer that reads its own output, with attention in it.

At each step the layer computes::

    h_t = f(a_t + h_{t-1} U + o_{t-1} W_o)              a_t = W y_{t-1} + b is known before the loop
    w_t = softmax(K h_t + mask)                         attention over the states of the encoder, whose keys are K
    o_t = tanh(V h_t + c + w_t X)                       X: the values of the states of the encoder

``o_{t-1}`` in the first line is input feeding (Luong et al. 2015): the layer knows where it has read. The recurrence
is plain: attention is part of the output alone.

The backward loop carries the gradients at ``h`` and ``o`` only. The gradients of all weights, of K and of X are single
products after it.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from textrnn.training.network.cpu_loop import ACTIVATIONS, GRADIENTS
from textrnn.training.network.products import Tensor, transposed_product


class AttentionWeights(NamedTuple):
    """Weights of the loop."""

    recurrent: Tensor
    """U above W_o, ``(2 * hidden, hidden)``."""
    output: Tensor
    """V, ``(hidden, hidden)``."""
    bias: Tensor
    """c, ``(hidden,)``."""


class Memory(NamedTuple):
    """What the decoder reads of a source."""

    keys: Tensor
    """K, ``(batch, source, hidden)``."""
    values: Tensor
    """X, ``(batch, source, hidden)``."""
    mask: Tensor
    """Added to the scores, ``(batch, source)``: 0, or a large negative number at padding."""


def attend(
    projected: Tensor, first: Tensor, memory: Memory, weights: AttentionWeights, activation: str
) -> tuple[Tensor, Tensor]:
    """Run the loop over a target.

    Args:
        projected: ``a_t``, float32 ``(time, batch, hidden)``.
        first: ``h_0`` and ``o_0``, float32 ``(batch, 2 * hidden)``.
        memory: what is read of each source.
        weights: the weights.
        activation: f, a key of `textrnn.training.network.cpu_loop.ACTIVATIONS`.

    Returns:
        ``h_t`` and ``o_t`` side by side, ``(time, batch, 2 * hidden)``, and the attention ``w_t``, ``(time, batch,
        source)``, which has no gradient.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(
        projected: Tensor,
        first: Tensor,
        keys: Tensor,
        values: Tensor,
        recurrent: Tensor,
        output: Tensor,
        bias: Tensor,
    ) -> tuple[tuple[Tensor, Tensor], object]:
        inputs = Memory(keys, values, memory.mask)
        states, attention = _forward(projected, first, inputs, AttentionWeights(recurrent, output, bias), activation)

        def gradient(upstream: Tensor, _: Tensor) -> tuple[Tensor, ...]:
            return _backward(
                upstream, states, attention, first, inputs, AttentionWeights(recurrent, output, bias), activation
            )

        return (states, attention), gradient

    states, attention = run(projected, first, memory.keys, memory.values, *(tf.identity(each) for each in weights))
    return states, tf.stop_gradient(attention)


def _forward(
    projected: Tensor, first: Tensor, memory: Memory, weights: AttentionWeights, activation: str
) -> tuple[Tensor, Tensor]:
    time, batch, hidden = projected.shape
    source = memory.mask.shape[1]
    states = tf.TensorArray(tf.float32, time, element_shape=(batch, 2 * hidden))
    attention = tf.TensorArray(tf.float32, time, element_shape=(batch, source))

    def step(t: Tensor, state: Tensor, states: tf.TensorArray, attention: tf.TensorArray) -> tuple[object, ...]:
        h = ACTIVATIONS[activation](projected[t] + tf.matmul(state, weights.recurrent))
        w = tf.nn.softmax(tf.linalg.matvec(memory.keys, h) + memory.mask)
        context = tf.linalg.matvec(memory.values, w, transpose_a=True)
        o = tf.tanh(tf.matmul(h, weights.output) + weights.bias + context)
        state = tf.concat([h, o], 1)
        return t + 1, state, states.write(t, state), attention.write(t, w)

    _, _, states, attention = tf.while_loop(
        lambda t, *_: t < time, step, (0, first, states, attention), maximum_iterations=time
    )
    return states.stack(), attention.stack()


def _backward(
    upstream: Tensor,
    states: Tensor,
    attention: Tensor,
    first: Tensor,
    memory: Memory,
    weights: AttentionWeights,
    activation: str,
) -> tuple[Tensor, ...]:
    """Return the gradients at the inputs of the loop, in the order of `run`."""
    time, batch, width = states.shape
    hidden, source = width // 2, memory.mask.shape[1]
    recurrent, output = tf.transpose(weights.recurrent), tf.transpose(weights.output)
    shapes = ((batch, hidden), (batch, hidden), (batch, source))
    written = [tf.TensorArray(tf.float32, time, element_shape=shape) for shape in shapes]

    def step(index: Tensor, carried: Tensor, *written: tf.TensorArray) -> tuple[object, ...]:
        t = time - 1 - index
        h, o = tf.split(states[t], 2, axis=1)
        from_h, from_o = tf.split(upstream[t] + carried, 2, axis=1)
        at_output = tf.raw_ops.TanhGrad(y=o, dy=from_o)
        at_attention = tf.linalg.matvec(memory.values, at_output)
        w = attention[t]
        at_scores = w * (at_attention - tf.reduce_sum(w * at_attention, axis=1, keepdims=True))
        at_h = from_h + tf.matmul(at_output, output) + tf.linalg.matvec(memory.keys, at_scores, transpose_a=True)
        delta = GRADIENTS[activation](at_h, h)
        arrays = [array.write(t, each) for array, each in zip(written, (delta, at_output, at_scores), strict=True)]
        return index + 1, tf.matmul(delta, recurrent), *arrays

    _, at_first, *written = tf.while_loop(
        lambda index, *_: index < time, step, (0, tf.zeros_like(first), *written), maximum_iterations=time
    )
    deltas, at_outputs, at_scores = (array.stack() for array in written)
    hs = states[:, :, :hidden]
    return (
        deltas,
        at_first,
        tf.einsum("tbs,tbh->bsh", at_scores, hs),
        tf.einsum("tbs,tbh->bsh", attention, at_outputs),
        transposed_product(tf.concat([first[None], states[:-1]], 0), deltas),
        transposed_product(hs, at_outputs),
        tf.reduce_sum(at_outputs, axis=(0, 1)),
    )
