"""The plain recurrent layer with a fast loop.

The layer computes ``h_t = f(x_t W + h_{t-1} U + b)`` (Elman 1990). It has the weights, arguments and results of
``keras.layers.SimpleRNN``. Only the loop differs:

* ``x_t W + b`` does not depend on earlier steps, so one matrix product outside the loop computes it for the whole
  sequence;
* the backward loop carries only the gradient at the state; the gradients of ``U``, ``W`` and ``b`` are single
  matrix products after it (back-propagation through time, Werbos 1990);
* sequences are time-major, so that each step reads and writes one contiguous block.

The loop is `scan_loop` under Keras's TensorFlow and JAX backends, or TensorFlow's `cpu_loop` on a CPU if a step is
large enough.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.training.network import scan_loop
from textrnn.training.network.products import Tensor, dense, transposed_product
from textrnn.training.tensorflow_setup import on_tensorflow_processor

ACTIVATIONS = frozenset(scan_loop.ACTIVATIONS)

# A step with fewer multiplications is faster in XLA than as a TensorFlow graph: from timing both over the sizes of
# benchmarks/training_sizes.py.
GRAPH_MULTIPLICATIONS = 2**18


def recurrence(
    projected: Tensor,
    initial_state: Tensor,
    recurrent_kernel: Tensor,
    activation: str = "tanh",
    keep: Tensor | None = None,
    use_cpu_loop: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Run ``h_t = f(a_t + k_t h_{t-1} U)`` over a sequence.

    Args:
        projected: ``a_t = x_t W + b``, ``(time, batch, hidden)``. Its dtype, float32 or bfloat16, is the dtype of the
            matrix products and of the states stored for the backward pass. The carried state is always float32.
        initial_state: ``h_0``, float32 ``(batch, hidden)``.
        recurrent_kernel: ``U``, float32 ``(hidden, hidden)``.
        activation: ``f``, a key of `ACTIVATIONS`.
        keep: reset mask ``k_t``, float32 ``(time, batch, 1)``: 0 where a new document starts and the state is reset, 1
            elsewhere; None is 1 everywhere.
        use_cpu_loop: whether to run `cpu_loop`, on a CPU only; None chooses the faster loop by `runs_as_graph`.

    Returns:
        ``h_1 ... h_T``, ``(time, batch, hidden)`` in the dtype of `projected`, and ``h_T``, float32
        ``(batch, hidden)``; both are differentiable in the first three arguments.
    """
    time, batch, hidden = projected.shape
    dtype = keras.backend.standardize_dtype(projected.dtype)
    loop: Any = scan_loop
    if use_cpu_loop is None:
        use_cpu_loop = batch is not None and runs_as_graph(batch, hidden, dtype)
    if use_cpu_loop and time is not None and batch is not None and on_tensorflow_processor():
        from textrnn.training.network import cpu_loop as loop

    def run(projected: Tensor, initial_state: Tensor, kernel: Tensor) -> Any:
        states, last = loop.forward(projected, initial_state, kernel, activation, keep)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Tensor, Tensor, Tensor]:
            # TensorFlow passes one argument per output, JAX one for both, PyTorch by name.
            from_above, grad_next_state = upstream or (args if len(args) == 2 else args[0])
            deltas, at_initial_state = loop.backward(from_above, grad_next_state, states, kernel, activation, keep)
            previous = states[:-1] if keep is None else states[:-1] * ops.cast(keep, dtype)
            return deltas, at_initial_state, transposed_product(previous, deltas)

        return (states[1:], last), gradient

    return ops.custom_gradient(run)(projected, initial_state, ops.copy(recurrent_kernel))  # type: ignore[no-any-return]


def runs_as_graph(batch: int, hidden: int, precision: str) -> bool:
    """Return whether the loop runs as `cpu_loop` in a TensorFlow graph; else it is `scan_loop` in XLA."""
    if not on_tensorflow_processor():
        return False
    return precision != "float32" or (batch > 1 and batch * hidden**2 >= GRAPH_MULTIPLICATIONS)


class SimpleRNN(keras.layers.SimpleRNN):  # type: ignore[misc]
    """A faster `keras.layers.SimpleRNN` with the same arguments, weights and results.

    Keras's own loop runs what the fast loop does not support (a mask, recurrent dropout, ``unroll=True``, an activation
    other than tanh, ReLU or the identity). Every model that runs with the parent class therefore runs with this one.
    """

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map inputs ``(batch, time, features)`` to (last output, outputs ``(batch, time, hidden)``, [last state])."""
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
        projected = dense(ops.transpose(sequences, (1, 0, 2)), self.cell.kernel, self.cell.bias)
        (state,) = keras.tree.flatten(initial_state)
        states, last = recurrence(projected, state, self.cell.recurrent_kernel, activation)
        return last, ops.transpose(states, (1, 0, 2)), [last]
