"""The next configuration to try. It depends on the finished trials alone, so a resumed search makes the same choices.

The search climbs: it tries the moves of the task from the best trial so far. A move that helped is tried again from
where it led, one that did not help waits until the others were tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from textrnn.training.search.record import Search, Trial, loss_of
from textrnn.training.tasks.moves import Move


class Candidate(NamedTuple):
    """What is tried next: its changes by key, the move that led to it, and the trial that it is a move from."""

    changes: Mapping[str, Any]
    move: Move
    base: int


def next_candidate(
    search: Search, moves: Sequence[Move], fixed: Callable[[str], bool], allows: Callable[[Mapping[str, Any]], bool]
) -> Candidate | None:
    """Return what is tried next; None when all was tried.

    Args:
        search: the trials so far; the defaults were tried.
        moves: moves of the task from the leading trial, the most promising first.
        fixed: whether a setting, by its key, may not be changed.
        allows: whether changes give a valid configuration.
    """
    base = search.leading()
    leading = search.trials[base].changes
    tried = [dict(trial.changes) for trial in search.trials]
    failures = failures_of(search.trials)

    def patience(place: int) -> tuple[int, int]:
        return failures[moves[place].setting, moves[place].upwards], place

    for place in sorted(range(len(moves)), key=patience):
        move = moves[place]
        if fixed(move.setting):
            continue
        free = {key: value for key, value in move.changes.items() if not fixed(key)}
        changes = {**({} if move.from_defaults else leading), **free}
        if changes not in tried and allows(changes):
            return Candidate(changes, move, base)
    return None


def failures_of(trials: Sequence[Trial]) -> Counter[tuple[str, bool]]:
    """Return how often a setting was moved up or down in vain.

    A move that helped counts as one less in its direction and as one more in the other.
    """
    failures: Counter[tuple[str, bool]] = Counter()
    for trial in trials[1:]:
        helped = loss_of(trial) < loss_of(trials[trial.base])
        failures[trial.setting, trial.upwards] += -1 if helped else 1
        failures[trial.setting, not trial.upwards] += int(helped)
    return failures
