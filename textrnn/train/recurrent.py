"""The plain recurrent layer, with the loop run the fast way.

The layer computes ``h_t = f(x_t W + h_{t-1} U + b)`` (Elman 1990). It has the weights, arguments and results of
``keras.layers.SimpleRNN``; only the way the loop is run differs:

* ``x_t W + b`` depends on no earlier step, so it is one matrix product for the whole sequence, outside the loop;
* the backward loop carries only the gradient at the state; the gradients of ``U``, ``W`` and ``b`` are single
  matrix products after it (back-propagation through time, Werbos 1990);
* sequences are time-major inside, so that each step reads and writes one contiguous block.

It is written in ``keras.ops`` and runs under Keras's TensorFlow and JAX backends.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any  # a tensor of the Keras backend in use

# f, and its derivative written in terms of h = f(a): all that the backward loop needs to keep is h.
ACTIVATIONS = {
    "tanh": (ops.tanh, lambda h: 1.0 - ops.square(h)),
    "relu": (ops.relu, lambda h: ops.cast(h > 0, h.dtype)),
    "linear": (lambda a: a, ops.ones_like),
}


def product(a: Tensor, b: Tensor, precision: str = "float32") -> Tensor:
    """Matrix product of float32 tensors, ``(..., n) (n, m) -> (..., m)``, computed in `precision`, given as float32."""
    if precision == "float32":
        return ops.matmul(a, b)
    return ops.cast(ops.matmul(ops.cast(a, precision), ops.cast(b, precision)), "float32")


def recurrence(
    projected: Tensor,
    initial_state: Tensor,
    recurrent_kernel: Tensor,
    activation: str = "tanh",
    keep: Tensor | None = None,
    precision: str = "float32",
) -> Tensor:
    """Run ``h_t = f(a_t + k_t h_{t-1} U)`` over a sequence.

    Args:
        projected: ``a_t = x_t W + b``, float32 ``(time, batch, hidden)``.
        initial_state: ``h_0``, float32 ``(batch, hidden)``.
        recurrent_kernel: ``U``, float32 ``(hidden, hidden)``.
        activation: ``f``, a key of `ACTIVATIONS`.
        keep: ``k_t``, float32 ``(time, batch, 1)``: 0 where a new document starts and the state must be forgotten,
            1 elsewhere; None is 1 everywhere.
        precision: of the matrix products, "float32" or "bfloat16"; states and sums stay float32.

    Returns:
        ``h_1 ... h_T``, float32 ``(time, batch, hidden)``; differentiable in the first three arguments.
    """
    function, derivative = ACTIVATIONS[activation]

    def run(projected: Tensor, initial_state: Tensor, recurrent_kernel: Tensor) -> Tensor:
        kernel = ops.cast(recurrent_kernel, precision)
        transposed = ops.transpose(kernel)

        def step(state: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            projected_t, *keep_t = inputs
            state = state * keep_t[0] if keep_t else state
            state = function(projected_t + product(state, kernel, precision))
            return state, state

        _, states = ops.scan(step, initial_state, _without_none(projected, keep))

        def gradient(*args: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor, Tensor]:
            if upstream is None:  # TensorFlow passes it by position, other backends by name
                (upstream,) = args

            def step_back(from_later: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
                upstream_t, state, *keep_t = inputs
                delta = (upstream_t + from_later) * derivative(state)
                to_earlier = product(delta, transposed, precision)
                return (to_earlier * keep_t[0] if keep_t else to_earlier), delta

            state_gradient, deltas = ops.scan(
                step_back, ops.zeros_like(initial_state), _without_none(upstream, states, keep), reverse=True
            )
            previous = ops.concatenate([initial_state[None], states[:-1]], axis=0)
            previous = previous if keep is None else previous * keep
            hidden = recurrent_kernel.shape[0]
            kernel_gradient = product(
                ops.transpose(ops.reshape(previous, (-1, hidden))), ops.reshape(deltas, (-1, hidden)), precision
            )
            return deltas, state_gradient, kernel_gradient

        return states, gradient

    # A variable must enter a custom gradient as a tensor: eager TensorFlow refuses it otherwise.
    return ops.custom_gradient(run)(projected, initial_state, ops.copy(recurrent_kernel))


def _without_none(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in tensors if tensor is not None)


class SimpleRNN(keras.layers.SimpleRNN):  # type: ignore[misc]
    """`keras.layers.SimpleRNN` with the same arguments, weights and results, run faster.

    What the fast loop cannot do (a mask, recurrent dropout, ``unroll=True``, an activation other than tanh, ReLU or
    the identity) is left to Keras's own loop, so every model that runs with the parent class runs with this one.
    """

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Inputs ``(batch, time, features)`` to (last output, outputs ``(batch, time, hidden)``, [last state])."""
        activation = keras.activations.serialize(self.cell.activation)
        if (
            mask is not None
            or self.unroll
            or activation not in ACTIVATIONS
            or (training and self.recurrent_dropout)
            or self.compute_dtype != "float32"
        ):
            return super().inner_loop(sequences, initial_state, mask, training)  # type: ignore[no-any-return]
        if training and self.dropout:
            sequences = sequences * self.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
        projected = ops.matmul(ops.transpose(sequences, (1, 0, 2)), self.cell.kernel)
        if self.cell.bias is not None:
            projected = projected + self.cell.bias
        (state,) = keras.tree.flatten(initial_state)
        states = recurrence(projected, state, self.cell.recurrent_kernel, activation)
        return states[-1], ops.transpose(states, (1, 0, 2)), [states[-1]]
