"""Moves of a search: changes of settings that are worth a trial, seen from the best configuration so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from textrnn.config import Config, value_of

UNITS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
DROPOUT = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
DECAY = (0.0, 0.01, 0.05, 0.2)
FASTER, SLOWER = 1.8, 0.55  # factors of the learning rate


class Move(NamedTuple):
    """One change.

    Attributes:
        setting: the key of the setting that it is about.
        upwards: whether the value rises; the opposite of a move that helped is tried last.
        changes: values by key.
        from_defaults: whether the other settings are those of the defaults, not of the best trial: another kind of
            tokenizer needs others.
    """

    setting: str
    upwards: bool
    changes: Mapping[str, Any]
    from_defaults: bool = False


def up(config: Config, key: str, values: Sequence[Any]) -> list[Move]:
    """Return the move of a setting to the next higher of some values; none from the highest."""
    higher = [value for value in values if value > value_of(config, key)]
    return [Move(key, True, {key: min(higher)})] if higher else []


def down(config: Config, key: str, values: Sequence[Any]) -> list[Move]:
    """Return the move of a setting to the next lower of some values; none from the lowest."""
    lower = [value for value in values if value < value_of(config, key)]
    return [Move(key, False, {key: max(lower)})] if lower else []


def learning_rate(config: Config, factor: float) -> list[Move]:
    """Return the move of the learning rate by a factor, rounded to two digits."""
    rate = float(f"{config.train.learning_rate * factor:.1e}")
    return [Move("train.learning_rate", factor > 1, {"train.learning_rate": rate})]


def chosen(key: str, value: Any, from_defaults: bool = False) -> Move:
    """Return the move of a setting to a value of no order."""
    return Move(key, True, {key: value}, from_defaults)


def moves_of_vectors(config: Config) -> list[Move]:
    """Return the moves of a model that reads vectors."""
    return [
        *learning_rate(config, FASTER),
        *learning_rate(config, SLOWER),
        *up(config, "model.hidden_dim", UNITS),
        *up(config, "model.dropout", DROPOUT),
        *down(config, "model.hidden_dim", UNITS),
        *up(config, "model.layers", (1, 2, 3, 4)),
        *down(config, "model.layers", (1, 2, 3, 4)),
        *up(config, "train.weight_decay", DECAY),
        *down(config, "train.weight_decay", DECAY),
        *down(config, "model.dropout", DROPOUT),
    ]
