"""Settings of what a model does with the text that it has just read, checked before anything heavy is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from textrnn.errors import UserError

NAMES = {"dynamic": ("learning_rate", "decay", "segment"), "cache": ("theta", "weight")}
LARGEST_SIZE = 100_000


@dataclass(frozen=True)
class DynamicSettings:
    """How a model goes on learning while it is measured."""

    learning_rate: float
    decay: float
    """Share of the way back to the trained weights that is taken after each segment, for a weight of average R."""
    segment: int
    """Tokens that are predicted before the weights move."""

    def __post_init__(self) -> None:
        if not 0 <= self.learning_rate < math.inf:
            raise UserError(f"the learning rate of --dynamic must be at least 0, was: {self.learning_rate}")
        if not 0 <= self.decay <= 1:
            raise UserError(f"the decay of --dynamic must be from 0 to 1, was: {self.decay}; 0.01 is usual")
        if not 1 <= self.segment <= 1000:
            raise UserError(f"the segment of --dynamic must be 1 to 1000 tokens, was: {self.segment}; 5 to 20 is usual")


@dataclass(frozen=True)
class CacheSettings:
    """How far back a cache looks, how much it prefers similar states, and how much it has to say."""

    size: int
    """Positions that are remembered, at least 1."""
    theta: float
    """By which products of two states are multiplied; 0 counts words, whatever the state."""
    weight: float
    """Of p_cache, from 0 to below 1."""

    def __post_init__(self) -> None:
        require_size(self.size)
        if not 0 <= self.theta < math.inf:
            raise UserError(f"the theta of a cache must be at least 0, was: {self.theta}; 0 counts words alone")
        if not 0 <= self.weight < 1:
            raise UserError(f"the weight of a cache must be from 0 to below 1, was: {self.weight}; 0.1 is usual")


def require_size(size: int) -> None:
    """Refuse a size that no cache can have.

    Raises:
        UserError: it is below 1 or above `LARGEST_SIZE`.
    """
    if not 1 <= size <= LARGEST_SIZE:
        raise UserError(f"--cache must be between 1 and {LARGEST_SIZE:,} positions, was: {size:,}; 2000 is usual")


FIRST = DynamicSettings(learning_rate=1e-4, decay=0.01, segment=20)
"""What is tried first."""


def parse_settings(statements: Sequence[str], dynamic: bool, cache: int | None) -> dict[str, float]:
    """Settings as they are stated, ``dynamic.learning_rate=1e-4``, by name.

    Raises:
        UserError: one that is not known or no number, or of what is not asked for.
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
    # A value out of its range is refused before minutes are spent.
    given = {kind: {n: settings[f"{kind}.{n}"] for n in NAMES[kind] if f"{kind}.{n}" in settings} for kind in NAMES}
    DynamicSettings(**(asdict(FIRST) | given["dynamic"]))
    if cache is not None:
        require_size(cache)
        CacheSettings(cache, **({"theta": 0.0, "weight": 0.1} | given["cache"]))
    return settings
