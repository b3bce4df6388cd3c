"""Settings of dynamic evaluation and the cache, validated before slow imports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from textrnn.errors import UserError

NAMES = {"dynamic": ("learning_rate", "decay", "segment"), "cache": ("theta", "weight")}
LARGEST_SIZE = 100_000


@dataclass(frozen=True)
class DynamicSettings:
    """Settings of dynamic evaluation."""

    learning_rate: float
    decay: float
    """Fraction by which a weight of average R moves back to its trained value after each segment."""
    segment: int
    """Number of tokens that are predicted before each update of the weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.learning_rate < math.inf:
            raise UserError(f"the learning rate of --dynamic must be at least 0, was: {self.learning_rate}")
        if not 0 <= self.decay <= 1:
            raise UserError(f"the decay of --dynamic must be from 0 to 1, was: {self.decay}; 0.01 is usual")
        if not 1 <= self.segment <= 1000:
            raise UserError(f"the segment of --dynamic must be 1 to 1000 tokens, was: {self.segment}; 5 to 20 is usual")


@dataclass(frozen=True)
class CacheSettings:
    """Settings of a continuous cache."""

    size: int
    """Number of positions in the cache, at least 1."""
    theta: float
    """Factor of the products of two states; 0 counts words and ignores the states."""
    weight: float
    """Weight of p_cache, at least 0 and below 1."""

    def __post_init__(self) -> None:
        require_size(self.size)
        if not 0 <= self.theta < math.inf:
            raise UserError(f"the theta of a cache must be at least 0, was: {self.theta}; 0 counts words alone")
        if not 0 <= self.weight < 1:
            raise UserError(f"the weight of a cache must be from 0 to below 1, was: {self.weight}; 0.1 is usual")


def require_size(size: int) -> None:
    """Raise an error for an invalid cache size.

    Raises:
        UserError: the size is below 1 or above `LARGEST_SIZE`.
    """
    if not 1 <= size <= LARGEST_SIZE:
        raise UserError(f"--cache must be between 1 and {LARGEST_SIZE:,} positions, was: {size:,}; 2000 is usual")


FIRST = DynamicSettings(learning_rate=1e-4, decay=0.01, segment=20)
"""Start values of the search."""


def parse_settings(statements: Sequence[str], dynamic: bool, cache: int | None) -> dict[str, float]:
    """Parse statements such as ``dynamic.learning_rate=1e-4`` into settings by name.

    Raises:
        UserError: a setting is unknown, is not a number or is out of range, or its method is not used.
    """
    known = {f"{kind}.{name}": kind for kind, names in NAMES.items() for name in names}
    asked = {"dynamic": dynamic, "cache": cache is not None}
    settings: dict[str, float] = {}
    for statement in statements:
        name, _, value = statement.partition("=")
        if name not in known:
            raise UserError(f"--set of evaluate must be one of {', '.join(known)}, was: {statement!r}")
        if not asked[known[name]]:
            raise UserError(f"{name} is a setting of --{known[name]}, which was not given; give both")
        try:
            settings[name] = int(value) if name == "dynamic.segment" else float(value)
        except ValueError as error:
            raise UserError(f"{name} must be a number, was: {value!r}") from error
    # Reject values out of range before minutes of work.
    given = {kind: {n: settings[f"{kind}.{n}"] for n in NAMES[kind] if f"{kind}.{n}" in settings} for kind in NAMES}
    DynamicSettings(**(asdict(FIRST) | given["dynamic"]))
    if cache is not None:
        require_size(cache)
        CacheSettings(cache, **({"theta": 0.0, "weight": 0.1} | given["cache"]))
    return settings
