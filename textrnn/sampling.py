"""From logits (batch, vocabulary) to ids (batch,): what temperature, top-k and the other options mean.

Each transform takes logits (batch, vocabulary) and gives new float64 logits of the same shape, in which a token that
may not be chosen is -inf. `choose` is the one definition of drawing a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, log
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, require_whole_number, shown

Logits = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is picked; the defaults sample from the model's own distribution.

    Attributes:
        temperature: logits are divided by it; below 1 bolder, above 1 wilder; 0 always takes the most probable token.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the fewest most probable tokens that together have this probability; 1 keeps all.
        min_p: keep tokens at least this many times as probable as the most probable one; 0 keeps all.
        repetition_penalty: above 1, tokens already in the text become less probable; 1 changes nothing.

    Raises:
        UserError: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, Real) and 0 <= self.temperature < inf):
            raise UserError(
                f"temperature must be 0 or above, was: {shown(self.temperature)}; "
                "use 0.2 to 1.2 for most text, 0 for the most probable token"
            )
        require_whole_number("top_k", self.top_k, 0, "use 0 to keep all tokens")
        if not (isinstance(self.top_p, Real) and 0 < self.top_p <= 1):
            raise UserError(f"top_p must be above 0 and at most 1, was: {shown(self.top_p)}; use 1 to keep all tokens")
        if not (isinstance(self.min_p, Real) and 0 <= self.min_p <= 1):
            raise UserError(f"min_p must be between 0 and 1, was: {shown(self.min_p)}; use 0 to keep all tokens")
        if not (isinstance(self.repetition_penalty, Real) and 0 < self.repetition_penalty < inf):
            raise UserError(
                f"repetition_penalty must be above 0, was: {shown(self.repetition_penalty)}; "
                "use 1 for none, 1.1 to 1.3 for less repetition"
            )


def sample(
    logits: Logits, options: SamplingOptions, uniforms: NDArray[np.float64], seen: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """Pick one token a row: the transforms in the order written here, then `greedy` or `choose`.

    Args:
        logits: (batch, vocabulary).
        uniforms: (batch,) in [0, 1), one draw a row; not looked at when the temperature is 0.
        seen: (batch, vocabulary), true where the token is in the row's text; needed for a repetition penalty only.

    Returns:
        ids (batch,) int32.

    Raises:
        UserError: a row holds NaN or +inf, or no token may be chosen.
    """
    if options.repetition_penalty != 1 and seen is not None:
        logits = penalise_repetition(logits, seen, options.repetition_penalty)
    if options.temperature == 0:
        return greedy(logits)
    if options.temperature != 1:
        logits = apply_temperature(logits, options.temperature)
    if options.top_k:
        logits = keep_top_k(logits, options.top_k)
    if options.top_p < 1:
        logits = keep_top_p(logits, options.top_p)
    if options.min_p:
        logits = keep_min_p(logits, options.min_p)
    return choose(logits, uniforms)


def penalise_repetition(logits: Logits, seen: NDArray[np.bool_], penalty: float) -> NDArray[np.float64]:
    """Make the tokens where `seen` (batch, vocabulary) is true less probable (Keskar et al. 2019, CTRL).

    Positive logits are divided by the penalty and negative ones multiplied, once, however often the token was seen.
    """
    penalised = logits.astype(np.float64)
    np.divide(penalised, penalty, out=penalised, where=seen & (logits > 0))
    np.multiply(penalised, penalty, out=penalised, where=seen & (logits < 0))
    return penalised


def apply_temperature(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Divide by a temperature above 0, each row shifted so that its highest logit is 0.

    The shift changes no probability; with it, the lowest temperatures lead to -inf and never to NaN.
    """
    shifted = np.subtract(logits, _highest(logits), dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.divide(shifted, temperature, out=shifted)


def keep_top_k(logits: Logits, k: int) -> NDArray[np.float64]:
    """Keep the k highest logits of each row, and those equal to the k-th."""
    vocabulary_size = logits.shape[1]
    if k >= vocabulary_size:
        return logits.astype(np.float64)
    kth = np.partition(logits, vocabulary_size - k, axis=1)[:, vocabulary_size - k, None]
    return _keep(logits, logits >= kth)


def keep_top_p(logits: Logits, p: float) -> NDArray[np.float64]:
    """Keep the nucleus: the fewest most probable tokens whose probabilities sum to p or more (Holtzman et al. 2020).

    Of equally probable tokens the one with the lower id comes first.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    weights = np.exp(np.take_along_axis(logits, order, axis=1).astype(np.float64) - _highest(logits))
    cumulative = np.cumsum(weights, axis=1)
    before = np.zeros_like(cumulative)
    before[:, 1:] = cumulative[:, :-1]
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, before < p * cumulative[:, -1:], axis=1)
    return _keep(logits, kept)


def keep_min_p(logits: Logits, p: float) -> NDArray[np.float64]:
    """Keep tokens with at least p, above 0, times the probability of the most probable one (Nguyen et al. 2024)."""
    return _keep(logits, logits >= _highest(logits) + log(p))


def greedy(logits: Logits) -> NDArray[np.int32]:
    """The id of the highest logit of each row (batch,) int32; the lowest id among equals.

    Raises:
        UserError: as in `choose`.
    """
    _highest(logits)
    return np.asarray(logits.argmax(axis=1), np.int32)


def choose(logits: Logits, uniforms: NDArray[np.float64]) -> NDArray[np.int32]:
    """Draw one token a row by the inverse of the cumulative distribution, ids in ascending order.

    For a row of logits l_0 .. l_n and its uniform u in [0, 1), all in float64: with weights w_i = exp(l_i - max l) and
    cumulative weights c_i = c_{i-1} + w_i, added in this order from c_0 = w_0, the token is the lowest i for which
    c_i > u c_n. A token of logit -inf is never drawn.

    Args:
        logits: (batch, vocabulary); computed in float64 whatever the dtype.
        uniforms: (batch,) float64 in [0, 1).

    Returns:
        ids (batch,) int32.

    Raises:
        UserError: a row holds NaN or +inf, or nothing but -inf.
    """
    if len(logits) == 1:  # the usual case, in half the time: no reductions over an axis
        row = logits[0].astype(np.float64)
        row -= _finite(row[row.argmax()])
        np.exp(row, out=row)
        np.add.accumulate(row, out=row)
        return np.asarray(row.searchsorted(uniforms * row[-1], side="right"), np.int32)
    weights = np.subtract(logits, _highest(logits), dtype=np.float64)
    np.exp(weights, out=weights)
    np.add.accumulate(weights, axis=1, out=weights)
    return np.asarray(np.count_nonzero(weights <= (uniforms * weights[:, -1])[:, None], axis=1), np.int32)


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Log probabilities (batch, vocabulary) float64, in nats.

    Raises:
        UserError: as in `choose`.
    """
    shifted = np.subtract(logits, _highest(logits), dtype=np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def random_streams(seed: int, count: int) -> list[np.random.Generator]:
    """One generator a stream, each of its own: what stream 0 draws does not depend on the count."""
    return [np.random.Generator(np.random.PCG64([seed, stream])) for stream in range(count)]


def _keep(logits: Logits, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Logits where kept, -inf elsewhere."""
    return np.where(kept, logits.astype(np.float64), -inf)


def _highest(logits: Logits) -> Logits:
    """The highest logit of each row (batch, 1), which must be finite."""
    highest: Logits = logits.max(axis=1, keepdims=True)
    for value in highest[:, 0].tolist():
        _finite(value)
    return highest


def _finite(highest: float) -> float:
    """The highest logit of a row, unless nothing can be chosen from the row."""
    if isfinite(highest):
        return highest
    if highest == -inf:
        raise UserError("at least one token must be allowed, none was; loosen the options")
    raise UserError(f"logits must be finite numbers, the highest was: {highest}; the model is damaged, train it again")
