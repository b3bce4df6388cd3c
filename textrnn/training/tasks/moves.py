"""Moves of a search: changes of settings that are worth a trial, seen from the best configuration so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from textrnn.config import Config, value_of

UNITS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
DROPOUT = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
DECAY = (0.0, 0.01, 0.05, 0.2)
BATCHES = (8, 16, 32, 64, 128)
HIGHER, LOWER = 1.8, 0.55  # factors of the learning rate
LONGER, SHORTER = 1.6, 0.6  # factors of the epochs


class Move(NamedTuple):
    """One change.

    Attributes:
        setting: the key of the setting that it is about; the move is left out if the user stated that one.
        upwards: whether the value rises; the opposite of a move that helped is tried last.
        changes: values by key; those that the user stated are left out.
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


def times(config: Config, key: str, factor: float) -> list[Move]:
    """Return the move of a setting by a factor, rounded to two digits; none where the value is 0."""
    value = float(f"{value_of(config, key) * factor:.1e}")
    return [Move(key, factor > 1, {key: value})] if value else []


def chosen(key: str, value: Any, from_defaults: bool = False) -> Move:
    """Return the move of a setting to a value of no order."""
    return Move(key, True, {key: value}, from_defaults)


def moves_of_vectors(config: Config) -> list[Move]:
    """Return the moves of a model that reads vectors."""
    return [
        *times(config, "train.learning_rate", HIGHER),
        *times(config, "train.learning_rate", LOWER),
        *up(config, "model.hidden_dim", UNITS),
        *up(config, "model.dropout", DROPOUT),
        *down(config, "model.hidden_dim", UNITS),
        *up(config, "model.layers", (1, 2, 3, 4)),
        *down(config, "model.layers", (1, 2, 3, 4)),
        *up(config, "train.weight_decay", DECAY),
        *down(config, "train.weight_decay", DECAY),
        *down(config, "train.batch_size", BATCHES),
        *times(config, "train.epochs", LONGER),
        *down(config, "model.dropout", DROPOUT),
    ]
