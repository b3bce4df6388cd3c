"""The time of a search: how long trials are, and when one is stopped because it is behind or too slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from textrnn.training.loop.checkpoints import Progress
from textrnn.training.loop.history import read_history
from textrnn.training.search.budget import Clock
from textrnn.training.search.record import TOO_SLOW, WORSE, Search

if TYPE_CHECKING:
    from textrnn.training.loop.trainer import Trainer

SLACK = 0.15  # relative: how much worse a trial may be at the beginning than the leading trial was there
PATIENCE = 3  # evaluations without a better loss, after which a trial that is behind is stopped in its second half
FIRST_STEPS, FIRST_SECONDS = 40, 20.0  # after one of them, the speed of a trial is known
LAST_STEPS = 500  # by which the speed is known
SHARE_OF_EVALUATIONS = 0.25  # of the time of the steps, as long as no evaluation has shown it
LONG_STEP = 8  # times the median, from which on a step does not count
MANY_TRIALS = 6  # trainings in full that must fit the budget, or trials are shorter
MOST_OF_BUDGET = 0.6  # share of the budget that the final training may take, or nothing can be tried
FINAL_MARGIN = 1.2  # factor of the time that is kept for the final training
SHORT_TRIALS = 6  # shorter trials that should fit
SHORTEST, LONGEST = 0.08, 0.5  # share of the epochs of a shorter trial
LEAST_SPARE = 0.05  # share of the budget that is kept for report and export


class TrialStopped(Exception):
    """The end of a trial before its last step; `outcome` says why."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class ShorterTrials(Exception):
    """The first trial has shown that trials must be shorter than a training in full."""


def choose_length(seconds: float, budget: float) -> float:
    """Return the share of the epochs that trials train, given the time of a training in full and the budget.

    1 where several trainings in full fit; 0 where the budget is too small to try anything.
    """
    if seconds * MANY_TRIALS <= budget:
        return 1.0
    if seconds > budget * MOST_OF_BUDGET:
        return 0.0
    return min(LONGEST, max(SHORTEST, (budget - FINAL_MARGIN * seconds) / (SHORT_TRIALS * seconds)))


def seconds_kept(trial_seconds: float, search: Search) -> float:
    """Return the time that is kept for the end of a search, if a trial that takes so long wins."""
    spare = search.budget * LEAST_SPARE
    return spare if search.share >= 1 else spare + FINAL_MARGIN * trial_seconds / search.share


class Watch:
    """Follows a trial step by step, and stops it when it is behind the leading trial or takes too long.

    Args:
        trainer: of the trial.
        search: what is known so far.
        clock: the time of the search.
        began: time of the clock when the trial began.
        tick, choose: as `textrnn.training.search.trials.train_trial` takes them.
    """

    def __init__(
        self,
        trainer: Trainer,
        search: Search,
        clock: Clock,
        began: float,
        tick: Callable[[], None],
        choose: Callable[[float], Search],
    ) -> None:
        self._trainer, self._search, self._clock, self._began = trainer, search, clock, began
        self._tick, self._choose = tick, choose
        self._last: float | None = None  # time of the last step
        self._steps: deque[float] = deque(maxlen=LAST_STEPS)  # seconds of the last steps
        self._evaluations: list[float] = []  # of steps with an evaluation
        self._described = ""
        self._curve: list[tuple[float, float]] = []
        history = trainer.run.history
        if trainer.run.checkpoint.exists() and history.exists():  # a trial that goes on
            for line in read_history(history):
                if "held_out_loss" in line:
                    self._add(line["step"], line)

    def found(self) -> dict[str, Any]:
        """Return what is known of the trial: its loss, curve and figures."""
        loss = self._curve[-1][1] if self._curve else None
        return {"loss": loss, "curve": self._curve, "described": self._described}

    def __call__(self, progress: Progress, measured: Mapping[str, Any] | None) -> None:
        self._tick()
        if measured is not None:
            self._add(progress.step, measured)
        now = self._clock.spent
        if self._last is not None:
            (self._steps if measured is None else self._evaluations).append(now - self._last)
        self._last = now
        if progress.step >= self._trainer.total_steps:
            return
        if measured is not None and self._is_behind():
            raise TrialStopped(WORSE)
        if len(self._steps) >= FIRST_STEPS or sum(self._steps) > FIRST_SECONDS:
            self._weigh_time(progress.step)

    def _add(self, step: int, measured: Mapping[str, Any]) -> None:
        share = round(step / self._trainer.total_steps, 4)
        if self._curve and share <= self._curve[-1][0]:
            return  # measured again, because a kill came before its checkpoint
        loss = self._trainer.comparable_loss(measured["held_out_loss"])
        if not self._curve or loss < self._curve[-1][1]:
            self._described = self._trainer.describe(measured)
        else:
            loss = self._curve[-1][1]
        self._curve.append((share, loss))

    def _is_behind(self) -> bool:
        if not self._search.trials:
            return False
        leading = self._search.trials[self._search.leading()]
        share, loss = self._curve[-1]
        then = [theirs for at, theirs in leading.curve if at <= share + 1e-6]
        if then and loss > then[-1] * (1 + SLACK * (1 - share)):
            return True
        stale = len(self._curve) > PATIENCE and self._curve[-1 - PATIENCE][1] <= loss
        return share >= 0.5 and stale and leading.loss is not None and loss >= leading.loss

    def _seconds_left(self, step: int) -> float:
        """Return the time that the rest of the trial will take.

        The first step of each shape is compiled and takes long; it does not count, nor does the first evaluation.
        """
        usual = float(np.median(self._steps))
        a_step = float(np.mean([each for each in self._steps if each <= LONG_STEP * usual]))
        of_steps = a_step * (self._trainer.total_steps - step)
        if len(self._evaluations) < 2:
            return of_steps * (1 + SHARE_OF_EVALUATIONS)
        return of_steps + self._evaluations[1] * max(0, self._trainer.config.evaluations - len(self._curve))

    def _weigh_time(self, step: int) -> None:
        left = self._seconds_left(step)
        whole = self._clock.spent - self._began + left
        if self._search.share == 0:
            self._search = self._choose(whole)
            if self._search.share < 1:
                raise ShorterTrials
        if self._search.trials and left + seconds_kept(whole, self._search) > self._clock.left:
            raise TrialStopped(TOO_SLOW)
