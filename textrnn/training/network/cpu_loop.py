"""The recurrent loop as a TensorFlow graph for the CPU: the rows of a batch run in parallel chains, one for each core.

A step's matrix product is too small to share between cores: their synchronisation at the end of each product costs
about as much as it saves. Rows of a batch are independent, so each core takes some rows through all steps, and the
cores synchronise only at the end of the sequence.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from textrnn.hardware import cores
from textrnn.training.network.products import Tensor

# Minimum multiplications per step of a chain: below, TensorFlow's overhead per step costs more. This value and the next
# come from timing one and two chains over the sizes of benchmarks/training_sizes.py, on two cores.
CHAIN_MULTIPLICATIONS = 2**21
# Above this size, one product keeps all cores busy, and each chain would read the matrix again.
CHAIN_HIDDEN = 1024
# Steps of one iteration of the loop, which share the overhead of the iteration.
UNROLL = 4

ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "linear": tf.identity}
GRADIENTS = {
    "tanh": lambda upstream, state: tf.raw_ops.TanhGrad(y=state, dy=upstream),
    "relu": lambda upstream, state: tf.raw_ops.ReluGrad(gradients=upstream, features=state),
    "linear": lambda upstream, state: upstream,
}


def chains(batch: int, hidden: int) -> int:
    """Return the number of equal parts into which the rows of a batch are split."""
    if hidden > CHAIN_HIDDEN:
        return 1
    enough = (
        count for count in range(1, min(cores(), batch) + 1) if batch // count * hidden**2 >= CHAIN_MULTIPLICATIONS
    )
    return max((count for count in enough if batch % count == 0), default=1)


def forward(
    projected: Tensor, initial_state: Tensor, kernel: Tensor, activation: str, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the states ``h_0 ... h_T`` and, in float32, ``h_T``.

    The states are ``(time + 1, batch, hidden)`` in the dtype of `projected`. The arguments are those of `recurrence`.
    """
    time, batch, hidden = projected.shape
    dtype = projected.dtype
    parts = _parts(batch, hidden)
    kernel = tf.cast(kernel, dtype)
    states = [initial_state[part] for part in parts]
    written = tf.TensorArray(dtype, (time + 1) * len(parts), element_shape=states[0].shape)
    for number, state in enumerate(states):
        written = written.write(number, tf.cast(state, dtype))

    def step(t: Tensor, written: Any, states: list[Tensor]) -> tuple[Any, list[Tensor]]:
        projected_t = projected[t]
        next_states = []
        for number, (part, state) in enumerate(zip(parts, states, strict=True)):
            if keep is not None:
                state = state * keep[t][part]
            product = tf.matmul(tf.cast(state, dtype), kernel)
            state = ACTIVATIONS[activation](tf.cast(projected_t[part], tf.float32) + tf.cast(product, tf.float32))
            written = written.write((t + 1) * len(parts) + number, tf.cast(state, dtype))
            next_states.append(state)
        return written, next_states

    written, states = _loop(step, range(time), written, states)
    return tf.reshape(written.stack(), (time + 1, batch, hidden)), tf.concat(states, 0)


def backward(
    upstream: Tensor, grad_next_state: Tensor, states: Tensor, kernel: Tensor, activation: str, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients at ``a_1 ... a_T``, ``(time, batch, hidden)``, and at ``h_0``, float32 ``(batch, hidden)``.

    Args:
        upstream: the gradient at ``h_1 ... h_T`` from the layer above, ``(time, batch, hidden)``.
        grad_next_state: the gradient at ``h_T`` from the steps after the sequence, float32 ``(batch, hidden)``.
        states: the states that `forward` returned.
        kernel: as in `recurrence`.
        activation: as in `recurrence`.
        keep: as in `recurrence`.
    """
    time, batch, hidden = upstream.shape
    dtype = upstream.dtype
    parts = _parts(batch, hidden)
    kernel = tf.transpose(tf.cast(kernel, dtype))
    gradients = [grad_next_state[part] for part in parts]
    written = tf.TensorArray(dtype, time * len(parts), element_shape=gradients[0].shape)

    def step(t: Tensor, written: Any, gradients: list[Tensor]) -> tuple[Any, list[Tensor]]:
        upstream_t, states_t = upstream[t], states[t + 1]
        grad_state = []
        for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
            state = tf.cast(states_t[part], tf.float32)
            delta = GRADIENTS[activation](tf.cast(upstream_t[part], tf.float32) + gradient, state)
            delta = tf.cast(delta, dtype)
            gradient = tf.cast(tf.matmul(delta, kernel), tf.float32)
            if keep is not None:
                gradient = gradient * keep[t][part]
            written = written.write(t * len(parts) + number, delta)
            grad_state.append(gradient)
        return written, grad_state

    written, gradients = _loop(step, range(time - 1, -1, -1), written, gradients)
    return tf.reshape(written.stack(), (time, batch, hidden)), tf.concat(gradients, 0)


def _parts(batch: int, hidden: int) -> list[slice]:
    """Return the rows of each chain."""
    rows = batch // chains(batch, hidden)
    return [slice(first, first + rows) for first in range(0, batch, rows)]


def _loop(step: Any, times: range, written: Any, carried: list[Tensor]) -> tuple[Any, list[Tensor]]:
    """Run step(t, written, carried) at each of `times`, `UNROLL` steps per iteration; the remainder runs first."""
    iterations, odd = divmod(len(times), UNROLL)
    for t in times[:odd]:
        written, carried = step(t, written, carried)

    def body(iteration: Tensor, written: Any, *carried: Tensor) -> tuple[Any, ...]:
        states = list(carried)
        for offset in range(UNROLL):
            written, states = step(times.start + (odd + iteration * UNROLL + offset) * times.step, written, states)
        return (iteration + 1, written, *states)

    _, written, *carried = tf.while_loop(
        lambda iteration, *_: iteration < iterations, body, (0, written, *carried), maximum_iterations=iterations
    )
    return written, carried
