"""The record of a search in its run folder: the budget, what the user stated, and the trials.

``search.json`` is written after each trial, so that no trial is done twice. ``trials.txt`` is its table for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.training.search.budget import as_duration

RECORD, TABLE = "search.json", "trials.txt"
FORMAT_VERSION = 1
FINISHED, WORSE, TOO_SLOW, FAILED = "finished", "worse", "too slow", "failed"


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Attributes:
        changes: settings that differ from the defaults and from what the user stated, by key.
        setting, upwards: of the move that led to it; empty for the defaults.
        base: number of the trial that it was a move from.
        outcome: `FINISHED`, or why it was stopped.
        loss: lowest held-out loss, of language models a character; None where none was measured.
        curve: lowest held-out loss up to a share of the training, as pairs.
        described: the figures of the best evaluation, for people.
        seconds: how long it took.
        fitted: settings that suit the size of its data, by key.
        epochs: of a training in full.
        reason: of a trial that failed.
    """

    changes: Mapping[str, Any]
    setting: str = ""
    upwards: bool = True
    base: int = 0
    outcome: str = FINISHED
    loss: float | None = None
    curve: Sequence[Sequence[float]] = ()
    described: str = ""
    seconds: float = 0.0
    fitted: Mapping[str, int] = field(default_factory=dict)
    epochs: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """All that a search knows.

    Attributes:
        budget: seconds.
        stated: what the user stated, in sections of settings.
        spent: seconds spent so far.
        share: share of the epochs that a trial trains; 0 as long as it is not known.
        noise: relative difference of held-out losses that chance explains.
        trials: all trials, the defaults first.
        winner: number of the trial that the run was given; None during the search.
    """

    budget: float
    stated: Mapping[str, Any]
    spent: float = 0.0
    share: float = 0.0
    noise: float = 0.0
    trials: tuple[Trial, ...] = ()
    winner: int | None = None

    def best(self) -> int:
        """Return the number of the best trial: the defaults, unless another is better by more than `noise`."""
        number, defaults = self.leading(), loss_of(self.trials[0])
        return number if loss_of(self.trials[number]) < defaults - abs(defaults) * self.noise else 0

    def leading(self) -> int:
        """Return the number of the trial with the lowest loss; the next trials change its settings."""
        return min(range(len(self.trials)), key=lambda number: loss_of(self.trials[number]))


def loss_of(trial: Trial) -> float:
    """Return the loss of a trial that was trained to its end; infinity for another."""
    return trial.loss if trial.outcome == FINISHED and trial.loss is not None else float("inf")


def read_search(folder: Path) -> Search | None:
    """Return the record in a run folder; None where there was no search.

    Raises:
        UserError: it is damaged, or of another format version.
    """
    path = folder / RECORD
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if (version := found.pop("format_version", 0)) != FORMAT_VERSION:
            raise ValueError(f"format version {version} instead of {FORMAT_VERSION}")
        trials = tuple(Trial(**trial) for trial in found.pop("trials"))
        return Search(**found, trials=trials)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be used ({error}); restore it or train again") from error


def write_search(folder: Path, search: Search) -> None:
    """Write the record."""
    document = {"format_version": FORMAT_VERSION, **asdict(replace(search, trials=()))}
    document["trials"] = [asdict(trial) for trial in search.trials]
    with write_atomically(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(search: Search) -> str:
    """Return the trials as a table for people, the best first, with what its figures mean."""
    best = search.best() if search.winner is None else search.winner
    order = sorted(range(len(search.trials)), key=lambda number: _rank(search.trials[number], number == best))
    rows = [("trial", "loss", "result", "time", "settings")]
    for number in order:
        trial = search.trials[number]
        loss = "-" if trial.loss is None else f"{trial.loss:.4f}"
        result = "best" if number == best else _result(trial)
        rows.append((str(number), loss, result, as_duration(trial.seconds), as_settings(trial.changes)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    length = "in full" if search.share >= 1 else f"for {search.share:.0%} of the epochs"
    lines += [
        "",
        f"Each trial was trained {length}, or stopped when it was worse. The loss is that of the held-out part, of",
        "language models in nats a character. The defaults win unless another trial is better by more than"
        f" {search.noise:.1%}.",
        "The loss of the best trial is optimistic, because the held-out part chose it: measure on other data with",
        "textrnn evaluate before you rely on it.",
    ]
    return "\n".join(lines) + "\n"


def as_settings(changes: Mapping[str, Any]) -> str:
    """Return changes in the notation of ``--set``; "defaults" where there are none."""
    return " ".join(f"{key}={value}" for key, value in changes.items()) or "defaults"


def _result(trial: Trial) -> str:
    if trial.outcome == WORSE and trial.curve:
        return f"stopped at {trial.curve[-1][0]:.0%}"
    return trial.outcome


def _rank(trial: Trial, is_best: bool) -> tuple[bool, bool, float]:
    return not is_best, trial.outcome != FINISHED, float("inf") if trial.loss is None else trial.loss
