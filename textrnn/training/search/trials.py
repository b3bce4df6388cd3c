"""Trials: runs in folders of their own inside the run folder, stopped when they are not worth their time."""

from __future__ import annotations

import copy
import gc
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textrnn.config import ARCHITECTURE, Config, require_consistent
from textrnn.errors import UserError
from textrnn.files import new_folder
from textrnn.training.loop.checkpoints import Progress, load_checkpoint
from textrnn.training.loop.history import read_history
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import FITTED, fitted_values, read_fitted, with_fitted_values, write_fitted
from textrnn.training.search.budget import Clock
from textrnn.training.search.candidates import Candidate
from textrnn.training.search.record import FAILED, TOO_SLOW, WORSE, Search, Trial
from textrnn.training.tasks.configuration import from_dict, insert, read_config, validate
from textrnn.training.tasks.runs import as_json, require_applicable_to_model, with_model_of
from textrnn.training.tasks.table import prepare, trainer_of

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution
    from textrnn.training.loop.trainer import Trainer

SLACK = 0.15  # relative: how much worse a trial may be at the beginning than the leading trial was there
PATIENCE = 3  # evaluations without a better loss, after which a trial that is behind is stopped in its second half
FIRST_STEPS, FIRST_SECONDS = 20, 20.0  # after one of them, the speed of a trial is known
LONG_STEP = 3  # times the median, from which on a step does not count
MANY_TRIALS = 3.5  # trainings in full that must fit the budget, or trials are shorter
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


def config_of(run: Run, stated: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """Return the configuration of a trial.

    Args:
        run: the run that settings are sought for.
        stated: what the user stated, in sections.
        changes: the changes of the trial, by key.

    Raises:
        UserError: the changes do not fit the run.
    """
    values: dict[str, Any] = copy.deepcopy(dict(stated))
    for key, value in changes.items():
        insert(values, key, value)
    config = replace(from_dict(values), data=run.config.data)
    if not run.config.model.init_from:
        validate(config)
        return config
    config = with_model_of(config, run.config)
    config = replace(config, model=replace(config.model, init_from=run.config.model.init_from))
    require_applicable_to_model(config)
    require_consistent(config)
    return config


def is_fixed(stated: Mapping[str, Any], config: Config, key: str) -> bool:
    """Return whether a search may not change a setting: the user stated it, or another model gives it."""
    section, _, name = key.partition(".")
    of_section = stated.get(section, {})
    if config.model.init_from and (section == "tokenizer" or name in ARCHITECTURE):
        return True
    return bool(of_section) if key == "tokenizer.kind" else name in of_section


def config_from(run: Run, search: Search, trial: Trial) -> Config:
    """Return the configuration that a trial was trained with, with settings that suit the size of its data."""
    config = with_fitted_values(config_of(run, search.stated, trial.changes), trial.fitted)
    return replace(config, train=replace(config.train, epochs=trial.epochs))


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


def folder_of(run: Run, number: int) -> Path:
    """Return the folder of a trial."""
    return run.trials / f"{number:03d}"


def train_trial(
    run: Run,
    search: Search,
    candidate: Candidate,
    clock: Clock,
    distribution: Distribution,
    tick: Callable[[], None],
    choose: Callable[[float], Search],
) -> tuple[Trial, float]:
    """Train the next trial, from its last checkpoint if there is one.

    Args:
        run: the run that settings are sought for.
        search: what is known so far.
        candidate: what is tried.
        clock: the time of the search.
        distribution: the devices that share a batch.
        tick: function that is called after each step.
        choose: function that is given the seconds of a training in full with the defaults, as soon as they are known;
            it returns the search with the share of the epochs that trials train.

    Returns:
        the trial, and the noise of its loss.

    Raises:
        ShorterTrials: of the first trial, see there; its folder is gone.
        UserError: the first trial failed.
        Stopped: a signal asked to stop.
    """
    number = len(search.trials)
    config = config_of(run, search.stated, candidate.changes)
    own = replace(_opened(run, number, config, candidate.changes), share=search.share or 1.0)
    trial = Trial(dict(candidate.changes), candidate.move.setting, candidate.move.upwards, candidate.base)
    began = clock.spent - trained_seconds(own)
    noise = 0.0
    watch: _Watch | None = None
    try:
        trainer = trainer_of(own, prepare(own), distribution)
        epochs = trainer.total_steps / trainer.steps_per_epoch / own.share
        trial = replace(trial, fitted=fitted_values(trainer.run.config), epochs=round(epochs, 4))
        noise = trainer.noise()
        watch = _Watch(trainer, search, clock, began, tick, choose)
        trainer.fit(watch)
    except TrialStopped as stopped:
        trial = replace(trial, outcome=stopped.outcome)
    except ShorterTrials:
        shutil.rmtree(own.folder)
        raise
    except UserError as error:
        if not number:
            raise
        trial = replace(trial, outcome=FAILED, reason=str(error))
    finally:
        _forget_graphs()
    if watch is not None:
        trial = replace(trial, **watch.found())
    return replace(trial, seconds=round(clock.spent - began, 1)), noise


def trained_seconds(run: Run) -> float:
    """Return the seconds that a trial was trained before; 0 for a new one."""
    return load_checkpoint(run.checkpoint)[0].seconds if run.checkpoint.exists() else 0.0


def link_files(source: Path, target: Path, names: Sequence[str] = ("*",)) -> None:
    """Give files of a folder a second name in another, or copy them where the file system has no hard links.

    Files of runs are never changed in place, but for the history, which only one of the two folders keeps.
    """
    for path in sorted({path for name in names for path in source.rglob(name)}):
        inside = path.relative_to(source)
        place = target / inside
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        if place.exists() and place.samefile(path):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(place)


def _opened(run: Run, number: int, config: Config, changes: Mapping[str, Any]) -> Run:
    """Return the run of a trial; a new folder shares tokenizer and data with one that has the same."""
    folder = folder_of(run, number)
    if not folder.exists():
        searched = {f"{section}.{name}": changes.get(f"{section}.{name}") for section, name in FITTED}
        with new_folder(folder) as temporary:
            if donor := _with_same_tokens(run, config):
                link_files(donor / "data", temporary / "data")
                link_files(donor, temporary, ("tokenizer*",))
            if run.initial.exists():
                link_files(run.folder, temporary, (run.initial.name,))
            if chosen := {key: value for key, value in searched.items() if value is not None}:
                write_fitted(temporary, chosen)  # a value that was searched is not made smaller
            (temporary / "config.json").write_text(as_json(config), encoding="utf-8")
    return Run(folder, with_fitted_values(config, read_fitted(folder)), quiet=True)


def _with_same_tokens(run: Run, config: Config) -> Path | None:
    if run.config.tokenizer == config.tokenizer:
        return run.folder
    folders = sorted(run.trials.glob("[0-9]*"))
    for folder in folders:
        with suppress(UserError):
            if read_config(folder).tokenizer == config.tokenizer:
                return folder
    return None


class _Watch:
    """Follows a trial step by step, and stops it when it is behind the leading trial or takes too long.

    Args:
        trainer: of the trial.
        search: what is known so far.
        clock: the time of the search.
        began: time of the clock when the trial began.
        tick, choose: as `train_trial` takes them.
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
        self._steps: list[float] = []  # seconds of the steps
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
        loss = self._trainer.comparable_loss(measured["held_out_loss"])
        if not self._curve or loss < self._curve[-1][1]:
            self._described = self._trainer.describe(measured)
        else:
            loss = self._curve[-1][1]
        self._curve.append((round(step / self._trainer.total_steps, 4), loss))

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
        evaluations_left = self._trainer.config.evaluations - len(self._curve)
        return a_step * (self._trainer.total_steps - step) + sum(self._evaluations[1:2]) * max(0, evaluations_left)

    def _weigh_time(self, step: int) -> None:
        left = self._seconds_left(step)
        whole = self._clock.spent - self._began + left
        if self._search.share == 0:
            self._search = self._choose(whole)
            if self._search.share < 1:
                raise ShorterTrials
        if self._search.trials and left + seconds_kept(whole, self._search) > self._clock.left:
            raise TrialStopped(TOO_SLOW)


def _forget_graphs() -> None:
    """Free the graphs and weights of a trial, which Keras and TensorFlow keep."""
    import keras

    keras.backend.clear_session(free_memory=False)
    gc.collect()
