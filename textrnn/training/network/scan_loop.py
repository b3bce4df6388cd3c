"""The recurrent loop in `keras.ops`: for XLA, on any device and under any Keras backend."""

from __future__ import annotations

from keras import ops

from textrnn.training.network.products import Tensor

# f, and its derivative as a function of h = f(a), so that the backward loop needs to store h only.
ACTIVATIONS = {
    "tanh": (ops.tanh, lambda h: 1.0 - ops.square(h)),
    "relu": (ops.relu, lambda h: ops.cast(h > 0, h.dtype)),
    "linear": (lambda a: a, ops.ones_like),
}


def forward(
    projected: Tensor, initial_state: Tensor, kernel: Tensor, activation: str, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the states ``h_0 ... h_T`` and, in float32, ``h_T``.

    The states are ``(time + 1, batch, hidden)`` in the dtype of `projected`. The arguments are those of `recurrence`.
    """
    function, _ = ACTIVATIONS[activation]
    dtype = projected.dtype
    kernel = ops.cast(kernel, dtype)

    def step(state: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        projected_t, *keep_t = inputs
        state = state * keep_t[0] if keep_t else state
        product = ops.matmul(ops.cast(state, dtype), kernel)
        state = function(ops.cast(projected_t, "float32") + ops.cast(product, "float32"))
        return state, state

    last, states = ops.scan(step, initial_state, _without_none(projected, keep))
    return ops.cast(ops.concatenate([initial_state[None], states], axis=0), dtype), last


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
    _, derivative = ACTIVATIONS[activation]
    dtype = upstream.dtype
    kernel = ops.transpose(ops.cast(kernel, dtype))

    def step(gradient: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        upstream_t, state, *keep_t = inputs
        delta = (ops.cast(upstream_t, "float32") + gradient) * derivative(ops.cast(state, "float32"))
        gradient = ops.cast(ops.matmul(ops.cast(delta, dtype), kernel), "float32")
        return (gradient * keep_t[0] if keep_t else gradient), delta

    sequences = _without_none(upstream, states[1:], keep)
    from_first, deltas = ops.scan(step, grad_next_state, sequences, reverse=True)
    return ops.cast(deltas, dtype), from_first


def _without_none(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in tensors if tensor is not None)
