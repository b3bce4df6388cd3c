"""h_t = f(a_t + k_t U h_{t-1}) and back-propagation through time in numpy, float64, one line an equation.

Vectors are rows, as in the code, so that U multiplies them from the right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# f, and its slope at a.
FUNCTIONS = {
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(float)),
    "linear": (lambda a: a, np.ones_like),
}


def through_time(
    projected: Array, first: Array, u: Array, activation: str, keep: Array, upstream: Array, later: Array
) -> tuple[Array, Array, Array, Array]:
    """States, and the gradients of sum(upstream * states) + sum(later * last state) at a, h_0 and U.

    Args:
        projected: a_1 ... a_T, (time, batch, hidden).
        first: h_0, (batch, hidden).
        u: U, (hidden, hidden).
        keep: k_1 ... k_T, (time, batch, 1).
    """
    f, slope = FUNCTIONS[activation]
    time = len(projected)
    states, pre_activations, previous = [], [], first
    for t in range(time):
        pre_activations.append(projected[t] + (keep[t] * previous) @ u)
        previous = f(pre_activations[t])
        states.append(previous)
    deltas = np.zeros_like(projected)
    at_u = np.zeros_like(u)
    at_state = later
    for t in reversed(range(time)):
        deltas[t] = (upstream[t] + at_state) * slope(pre_activations[t])
        before = states[t - 1] if t else first
        at_u += (keep[t] * before).T @ deltas[t]
        at_state = keep[t] * (deltas[t] @ u.T)
    return np.stack(states), deltas, at_state, at_u


def matrix_of(parts: Sequence[Array]) -> Array:
    """U of its diagonal; or, of the real and imaginary parts a and b of each pair of units, the matrix that turns them.

    Units are the halves p and q: p' = a p - b q, and q' = b p + a q.
    """
    if len(parts) == 1:
        return np.diag(parts[0])
    a, b = (np.diag(part) for part in parts)
    return np.block([[a, b], [-b, a]])


def gradients_at_parts(at_u: Array, parts: Sequence[Array]) -> list[Array]:
    """The gradients at the numbers that `matrix_of` made U of, given the one at U."""
    if len(parts) == 1:
        return [np.diag(at_u)]
    half = len(parts[0])
    pp, pq, qp, qq = at_u[:half, :half], at_u[:half, half:], at_u[half:, :half], at_u[half:, half:]
    return [np.diag(pp) + np.diag(qq), np.diag(pq) - np.diag(qp)]
