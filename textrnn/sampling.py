"""Sampling: from logits (batch, vocabulary) to ids (batch,), with temperature, top-k and the other options.

Each transform takes logits (batch, vocabulary) and returns new float64 logits of the same shape, with -inf for tokens
that may not be chosen. `choose` is the single definition of how a token is drawn.
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
    """Sampling options; the defaults sample from the model's own distribution.

    Attributes:
        temperature: divisor of the logits; lower is more predictable, higher more random; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the smallest set of most probable tokens with at least this total probability; 1 keeps all.
        min_p: drop tokens below this fraction of the top token's probability; 0 keeps all.
        repetition_penalty: above 1, tokens already in the text become less probable; 1 has no effect.

    Raises:
        UserError: a value is out of range.
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
    """Choose one token per row: apply the transforms in the order of the code, then `greedy` or `choose`.

    Args:
        logits: (batch, vocabulary).
        options: sampling options.
        uniforms: (batch,) in [0, 1), one draw per row; ignored at temperature 0.
        seen: (batch, vocabulary), true where the token is in the row's text; only needed for a repetition penalty.

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

    Positive logits are divided by the penalty and negative ones multiplied by it. Repeated tokens are penalised only
    once.
    """
    penalised = logits.astype(np.float64)
    np.divide(penalised, penalty, out=penalised, where=seen & (logits > 0))
    np.multiply(penalised, penalty, out=penalised, where=seen & (logits < 0))
    return penalised


def apply_temperature(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Divide by a temperature above 0, after a shift of each row so that its highest logit is 0.

    The shift does not change probabilities. With it, the lowest temperatures give -inf and never NaN.
    """
    shifted = np.subtract(logits, _highest(logits), dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.divide(shifted, temperature, out=shifted)


def keep_top_k(logits: Logits, k: int) -> NDArray[np.float64]:
    """Keep the k highest logits of each row. Among equal logits the lower id comes first."""
    vocabulary_size = logits.shape[1]
    if k >= vocabulary_size:
        return logits.astype(np.float64)
    kth = np.partition(logits, vocabulary_size - k, axis=1)[:, vocabulary_size - k, None]
    above, equal = logits > kth, logits == kth
    room = k - np.count_nonzero(above, axis=1, keepdims=True)
    return _keep(logits, above | (equal & (equal.cumsum(axis=1) <= room)))


def keep_top_p(logits: Logits, p: float) -> NDArray[np.float64]:
    """Keep the nucleus: the fewest most probable tokens whose probabilities sum to p or more (Holtzman et al. 2020).

    Among equally probable tokens the lower id comes first.
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
    """Keep tokens with at least p, above 0, times the top token's probability (Nguyen et al. 2024)."""
    return _keep(logits, logits >= _highest(logits) + log(p))


def greedy(logits: Logits) -> NDArray[np.int32]:
    """Return the id of the highest logit of each row, (batch,) int32; the lowest id among equals.

    Raises:
        UserError: as in `choose`.
    """
    _highest(logits)
    return np.asarray(logits.argmax(axis=1), np.int32)


def choose(logits: Logits, uniforms: NDArray[np.float64]) -> NDArray[np.int32]:
    """Draw one token per row by inverse transform sampling, with ids in ascending order.

    For a row of logits l_0 .. l_n and its uniform u in [0, 1), all in float64: with weights w_i = exp(l_i - max l) and
    cumulative weights c_i = c_{i-1} + w_i, added in this order from c_0 = w_0, the token is the lowest i for which
    c_i > u c_n. A token with logit -inf is never drawn.

    Args:
        logits: (batch, vocabulary) of any dtype; computed in float64.
        uniforms: (batch,) float64 in [0, 1).

    Returns:
        ids (batch,) int32.

    Raises:
        UserError: a row holds NaN or +inf, or only -inf.
    """
    if len(logits) == 1:  # the usual case; half the time without reductions over an axis
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
    """Return log-probabilities (batch, vocabulary) float64, in nats.

    Raises:
        UserError: as in `choose`.
    """
    shifted = np.subtract(logits, _highest(logits), dtype=np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def random_streams(seed: int, count: int) -> list[np.random.Generator]:
    """Return independent generators, one per stream; the draws of a stream do not depend on the count."""
    return [np.random.Generator(np.random.PCG64([seed, stream])) for stream in range(count)]


def _keep(logits: Logits, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the logits where `kept` is true, -inf elsewhere."""
    return np.where(kept, logits.astype(np.float64), -inf)


def _highest(logits: Logits) -> Logits:
    """Return the highest logit of each row (batch, 1), which must be finite."""
    highest: Logits = logits.max(axis=1, keepdims=True)
    for value in highest[:, 0].tolist():
        _finite(value)
    return highest


def _finite(highest: float) -> float:
    """Return the highest logit of a row.

    Raises:
        UserError: it is not finite, so that no token can be chosen.
    """
    if isfinite(highest):
        return highest
    if highest == -inf:
        raise UserError("at least one token must be allowed, none was; loosen the options")
    raise UserError(f"logits must be finite numbers, the highest was: {highest}; the model is damaged, train it again")
