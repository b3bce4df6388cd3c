"""The recurrent loop for a diagonal U or a U that rotates pairs of units: a step needs no matrix product.

``U h`` is then an elementwise product. With angles, the units are two halves ``p`` and ``q``. Each pair is one complex
number, and U is a diagonal matrix of complex numbers ``a + b i``. In real numbers this is still linear:

    p' = a p - b q        q' = b p + a q

If f is the identity, the whole sequence is a sum of powers of U times the inputs. Sums can be regrouped, so a parallel
scan computes it (Blelloch 1990; for recurrent networks Martin & Cundy 2018). Blocks of `RADIX` steps are summed in
parallel, then the ends of the blocks in the same way. The number of sequential operations therefore grows with the
logarithm of the length. A loop over time runs every other f and the resets between documents. On a CPU it also runs all
large steps, because the loop reads memory once and the scan reads it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
from keras import ops

from textrnn.training.network.products import Tensor
from textrnn.training.network.scan_loop import ACTIVATIONS
from textrnn.training.tensorflow_setup import on_tensorflow_processor

RADIX = 4  # steps of a block
# Below this product of units and rows, a step is too small for one iteration of a loop on a CPU.
SCAN_BELOW = 1024

Parts = tuple[Tensor, ...]
"""A vector of units as one tensor or as the halves p and q; or a diagonal U as real numbers or as a and b."""


def recurrence(
    projected: Tensor,
    initial_state: Tensor,
    u: Parts,
    activation: str = "linear",
    keep: Tensor | None = None,
    as_scan: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Run ``h_t = f(a_t + k_t U h_{t-1})`` over a sequence.

    Args:
        projected: ``a_t = x_t W + b``, ``(time, batch, hidden)``, float32 or bfloat16. The states stored for the
            backward pass have the same dtype. All sums are float32.
        initial_state: ``h_0``, float32 ``(batch, hidden)``.
        u: the diagonal of U, float32 ``(hidden,)``; or its real and imaginary parts, each ``(hidden / 2,)``.
        activation: f, a key of `ACTIVATIONS`.
        keep: reset mask ``k_t``, float32 ``(time, batch, 1)``: 0 where the state is reset, else 1; None is 1
            everywhere.
        as_scan: whether to run a parallel scan, only for linear f without resets; None chooses the faster way.

    Returns:
        ``h_1 ... h_T``, ``(time, batch, hidden)`` in the dtype of `projected`, and ``h_T``, float32
        ``(batch, hidden)``; both are differentiable in the first three arguments.
    """
    _, batch, hidden = projected.shape
    small = batch is not None and batch * hidden < SCAN_BELOW
    if as_scan is None:
        as_scan = small or not on_tensorflow_processor()
    as_scan = as_scan and activation == "linear" and keep is None

    def run(*inputs: Tensor) -> Any:
        # An eager tape would differentiate through the XLA program, which has no gradient; `gradient` below replaces
        # it.
        projected, initial_state, *u = (ops.stop_gradient(each) for each in inputs)
        states, last = _compiled(_forward)(projected, initial_state, u, activation, keep, as_scan)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Tensor, ...]:
            # TensorFlow passes one argument per output, JAX one for both, PyTorch by name.
            from_above, grad_next_state = upstream or (args if len(args) == 2 else args[0])
            deltas, at_initial_state, at_u = _compiled(_backward)(
                from_above, grad_next_state, states, initial_state, u, activation, keep, as_scan
            )
            return deltas, at_initial_state, *at_u

        return (states, last), gradient

    return ops.custom_gradient(run)(projected, initial_state, *(ops.copy(part) for part in u))  # type: ignore[no-any-return]


def _forward(
    projected: Tensor, initial_state: Tensor, u: Parts, activation: str, keep: Tensor | None, as_scan: bool
) -> tuple[Tensor, Tensor]:
    """Return the states ``h_1 ... h_T`` in the dtype of `projected`, and ``h_T`` in float32."""
    dtype = projected.dtype
    if as_scan:
        carried = _times(u, _split(initial_state, u))
        inputs = _split(ops.cast(projected, "float32"), u)
        first = tuple(x[:1] + c[None] for x, c in zip(inputs, carried, strict=True))
        inputs = tuple(ops.concatenate([f, x[1:]], axis=0) for f, x in zip(first, inputs, strict=True))
        states = _join(_scan(inputs, u))
        return ops.cast(states, dtype), states[-1]
    function, _ = ACTIVATIONS[activation]

    def step(t: Tensor, carried: tuple[Tensor, Parts]) -> tuple[Tensor, Parts]:
        states, state = carried
        earlier = state if keep is None else tuple(part * keep[t] for part in state)
        inputs = _split(ops.cast(projected[t], "float32"), u)
        state = tuple(function(x + c) for x, c in zip(inputs, _times(u, earlier), strict=True))
        return _write(states, t, state), state

    # Float32 to the end of the loop: XLA on a CPU reads and writes a whole bfloat16 sequence to change one step of it.
    start = (ops.zeros(projected.shape), _split(initial_state, u))
    states, last = ops.fori_loop(0, projected.shape[0], step, start)
    return ops.cast(states, dtype), _join(last)


def _backward(
    upstream: Tensor,
    grad_next_state: Tensor,
    states: Tensor,
    initial_state: Tensor,
    u: Parts,
    activation: str,
    keep: Tensor | None,
    as_scan: bool,
) -> tuple[Tensor, Tensor, Parts]:
    """Return the gradients at ``a_1 ... a_T``, at ``h_0`` and at U.

    Args:
        upstream: the gradient at ``h_1 ... h_T`` from the layer above.
        grad_next_state: the gradient at ``h_T`` from the steps after the sequence.
        states: the states that `_forward` returned.
        initial_state: as in `recurrence`.
        u: as in `recurrence`.
        activation: as in `recurrence`.
        keep: as in `recurrence`.
        as_scan: as in `recurrence`, never None.
    """
    dtype, time = upstream.dtype, upstream.shape[0]
    transposed = u if len(u) == 1 else (u[0], -u[1])
    if as_scan:
        upstream = ops.cast(upstream, "float32")
        upstream = ops.concatenate([upstream[:-1], (upstream[-1] + grad_next_state)[None]], axis=0)
        flipped = tuple(ops.flip(part, 0) for part in _split(upstream, u))
        deltas = tuple(ops.flip(part, 0) for part in _scan(flipped, transposed))
        previous = ops.concatenate([initial_state[None], ops.cast(states[:-1], "float32")], axis=0)
        at_u = tuple(ops.sum(part, axis=0) for part in _at_u(deltas, _split(previous, u)))
        grad_state = _join(_times(transposed, tuple(part[0] for part in deltas)))
        return ops.cast(_join(deltas), dtype), grad_state, tuple(ops.sum(part, axis=0) for part in at_u)
    _, derivative = ACTIVATIONS[activation]

    def step(index: Tensor, carried: tuple[Any, ...]) -> tuple[Any, ...]:
        deltas, gradient, delta, at_u = carried
        t = time - 1 - index
        state = _split(ops.cast(states[t], "float32"), u)
        # The next step multiplied U by this state. Adding its gradient here reads each state only once.
        at_u = added(at_u, delta, state, None if keep is None else keep[ops.minimum(t + 1, time - 1)])
        above = _split(ops.cast(upstream[t], "float32"), u)
        delta = tuple((now + after) * derivative(h) for now, after, h in zip(above, gradient, state, strict=True))
        gradient = _times(transposed, delta)
        gradient = gradient if keep is None else tuple(part * keep[t] for part in gradient)
        return _write(deltas, t, delta), gradient, delta, at_u

    def added(sums: Parts, delta: Parts, state: Parts, keep_t: Tensor | None) -> Parts:
        kept = state if keep_t is None else tuple(part * keep_t for part in state)
        return tuple(total + part for total, part in zip(sums, _at_u(delta, kept), strict=True))

    nothing = _split(ops.zeros_like(grad_next_state), u)
    start = (ops.zeros(upstream.shape), _split(grad_next_state, u), nothing, nothing)
    deltas, grad_state, delta, at_u = ops.fori_loop(0, time, step, start)
    at_u = added(at_u, delta, _split(initial_state, u), None if keep is None else keep[0])
    return ops.cast(deltas, dtype), _join(grad_state), tuple(ops.sum(part, axis=0) for part in at_u)


def _write(sequence: Tensor, t: Tensor, parts: Parts) -> Tensor:
    """Return the sequence ``(time, batch, hidden)`` with step t replaced."""
    width = parts[0].shape[-1]
    for number, part in enumerate(parts):
        sequence = ops.slice_update(sequence, (t, 0, number * width), ops.cast(part, sequence.dtype)[None])
    return sequence


def _at_u(deltas: Parts, previous: Parts) -> Parts:
    """Return the gradients at U for each step and row."""
    if len(deltas) == 1:
        return (deltas[0] * previous[0],)
    (at_p, at_q), (p, q) = deltas, previous
    return at_p * p + at_q * q, at_q * p - at_p * q


def _scan(x: Parts, u: Parts) -> Parts:
    """Compute ``h_t = x_t + U h_{t-1}`` from ``h_0 = 0``; each part is ``(time, ...)``."""
    time = x[0].shape[0]
    if time <= RADIX:
        return tuple(ops.stack(steps) for steps in zip(*_running_sums(x, u, time), strict=True))
    blocks = -(-time // RADIX)
    padding = [[0, blocks * RADIX - time]] + [[0, 0]] * (len(x[0].shape) - 1)
    inner = tuple(ops.reshape(ops.pad(part, padding), (blocks, RADIX, *part.shape[1:])) for part in x)
    by_step = _running_sums(tuple(ops.moveaxis(part, 1, 0) for part in inner), u, RADIX)
    power = _power(u, RADIX)
    ends = _scan(by_step[-1], power)
    before = tuple(ops.concatenate([ops.zeros_like(part[:1]), part[:-1]], axis=0) for part in ends)
    whole = []
    for sums in by_step:
        before = _times(u, before)  # contribution of the previous blocks at this step
        whole.append(tuple(own + earlier for own, earlier in zip(sums, before, strict=True)))
    joined = (ops.stack(steps, axis=1) for steps in zip(*whole, strict=True))
    return tuple(ops.reshape(part, (blocks * RADIX, *part.shape[2:]))[:time] for part in joined)


def _running_sums(x: Parts, u: Parts, count: int) -> list[Parts]:
    """Return the running sums of the first `count` steps: each step plus U times the sum before."""
    sums = [tuple(part[0] for part in x)]
    for t in range(1, count):
        carried = _times(u, sums[-1])
        sums.append(tuple(part[t] + c for part, c in zip(x, carried, strict=True)))
    return sums


def _power(u: Parts, exponent: int) -> Parts:
    result = u
    for _ in range(exponent - 1):
        result = _times(u, result)
    return result


def _times(u: Parts, h: Parts) -> Parts:
    """Compute ``U h``."""
    if len(u) == 1:
        return (u[0] * h[0],)
    (a, b), (p, q) = u, h
    return a * p - b * q, b * p + a * q


def _split(x: Tensor, u: Parts) -> Parts:
    return (x,) if len(u) == 1 else tuple(ops.split(x, 2, axis=-1))


def _join(parts: Parts) -> Tensor:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with XLA under TensorFlow, which fuses many small operations; JAX compiles the whole step itself."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=True)  # type: ignore[no-any-return]
