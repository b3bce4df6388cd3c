"""The search: trials one after the other within the budget, and the best one becomes the run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from textrnn.config import Config
from textrnn.errors import Stopped, UserError
from textrnn.files import write_atomically
from textrnn.training.loop.run import Run
from textrnn.training.search.budget import Clock, as_duration
from textrnn.training.search.candidates import Candidate, next_candidate
from textrnn.training.search.record import (
    TABLE,
    Search,
    Trial,
    as_settings,
    loss_of,
    read_search,
    table,
    write_search,
)
from textrnn.training.search.trials import (
    config_from,
    config_of,
    folder_of,
    forget_graphs,
    is_fixed,
    link_files,
    train_trial,
    trained_seconds,
)
from textrnn.training.search.watch import ShorterTrials, choose_length, seconds_kept
from textrnn.training.tasks.configuration import read_config
from textrnn.training.tasks.moves import Move
from textrnn.training.tasks.runs import as_json, open_run
from textrnn.training.tasks.table import task_of

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution

EXPECTED = 0.9  # time of a new trial, as a share of that of the leading one
OF_TRAINING = ("checkpoint.npz", "best.npz", "history.jsonl", "curves.png")


def begin_search(run: Run, budget: float, stated: Mapping[str, Any]) -> None:
    """Note in a new run folder that its settings are to be sought.

    Args:
        run: the run.
        budget: seconds.
        stated: what the user stated, in sections; these settings are kept.
    """
    write_search(run.folder, Search(budget, stated))


def resume_search(
    folder: Path, budget: float | None, stated: Mapping[str, Any], config: Config | None
) -> Config | None:
    """Return the configuration that a resumed run must have; None where the command states none.

    Args:
        folder: the run folder.
        budget: seconds, if the command states them; they replace those of a search that has not ended.
        stated: what the command states, in sections.
        config: its configuration.

    Raises:
        UserError: the run was made without a budget, or with other settings.
    """
    search = read_search(folder)
    if search is None:
        if budget:
            raise UserError(
                f"--budget is for a new run or one that was made with it, {folder} was made without; leave it out, or"
                " give another --out"
            )
        return config
    if budget and budget != search.budget:
        if search.winner is not None:
            raise UserError(
                f"the search of {folder} has ended, its budget was {as_duration(search.budget)}; resume it without"
                " --budget, or give another --out"
            )
        write_search(folder, replace(search, budget=budget))
    if stated and stated != search.stated:
        raise UserError(
            f"a search goes on with the settings it was begun with, {folder} was begun with others; resume it with"
            " --out alone, or give another --out"
        )
    if config is None or search.winner is None:
        return config
    return replace(read_config(folder), data=config.data)


def is_searched(folder: Path) -> bool:
    """Return whether the settings of a run are sought within a budget."""
    return read_search(folder) is not None


def with_best_settings(run: Run, distribution: Distribution) -> Run:
    """Try settings until the budget ends, and return the run with the best, to be trained to its end.

    What an earlier process tried is not tried again. The caller holds the lock of the run.

    Args:
        run: the run, made by `begin_search`.
        distribution: the devices that share a batch.

    Raises:
        UserError: the training with the defaults failed, or a file cannot be written.
        Stopped: a signal asked to stop; the search can be resumed.
    """
    search = read_search(run.folder)
    if search is None:
        return run
    if search.winner is None:
        search = _Searching(run, search, distribution).search_to_end()
    if run.trials.exists():
        _adopt(run, search, search.winner or 0)
    return open_run(run.folder, quiet=run.quiet)


class _Searching:
    """A search in this process.

    Args:
        run: the run.
        search: what is known so far.
        distribution: the devices that share a batch.
    """

    def __init__(self, run: Run, search: Search, distribution: Distribution) -> None:
        self.run, self.search, self.distribution = run, search, distribution
        under_way = trained_seconds(Run(folder_of(run, len(search.trials)), run.config))
        self.clock = Clock(search.budget, search.spent + under_way)
        self.bar: Any = None

    def search_to_end(self) -> Search:
        """Try settings until the time ends or all was tried, then write the table and choose the winner."""
        budget = self.search.budget
        with tqdm(
            total=round(budget), unit="s", desc="search", disable=self.run.quiet, file=sys.stderr, leave=False
        ) as self.bar:
            while candidate := self._next():
                self._try(candidate)
        self.search = replace(self.search, winner=self.search.best(), spent=self.clock.spent)
        with write_atomically(self.run.folder / TABLE) as temporary:
            temporary.write_text(table(self.search), encoding="utf-8")
        write_search(self.run.folder, self.search)
        if not self.run.quiet:
            print(table(self.search), file=sys.stderr)
        return self.search

    def _next(self) -> Candidate | None:
        search = self.search
        if not search.trials:
            return Candidate({}, Move("", True, {}), 0)
        leading = search.trials[search.leading()]
        expected = 0.0 if folder_of(self.run, len(search.trials)).exists() else leading.seconds * EXPECTED
        if self.clock.left < expected + seconds_kept(leading.seconds, search):
            return None
        config = config_from(self.run, search, leading)
        moves = task_of(config).moves(config)
        return next_candidate(search, moves, self._is_fixed, self._allows)

    def _is_fixed(self, key: str) -> bool:
        shorter = key == "train.epochs" and self.search.share < 1  # a short trial says nothing of more epochs
        return shorter or is_fixed(self.search.stated, self.run.config, key)

    def _allows(self, changes: Mapping[str, Any]) -> bool:
        try:
            config_of(self.run, self.search.stated, changes)
        except UserError:
            return False
        return True

    def _try(self, candidate: Candidate) -> None:
        number = len(self.search.trials)
        forget_graphs()
        try:
            trial, noise = train_trial(
                self.run,
                self.search,
                candidate,
                self.clock,
                self.distribution,
                tick=self._show_time,
                choose=self._choose_length,
            )
        except ShorterTrials:
            self.search = replace(self.search, spent=self.clock.spent)
            write_search(self.run.folder, self.search)  # not before the longer trial is gone
            return
        except Stopped as stopped:
            raise Stopped(
                f"stopped in trial {number}, nothing is lost; go on with: {self.run.resume_command}"
            ) from stopped
        self.search = replace(
            self.search,
            trials=(*self.search.trials, trial),
            spent=self.clock.spent,
            share=self.search.share or 1.0,
            noise=self.search.noise or noise,
        )
        write_search(self.run.folder, self.search)
        self._say(number, trial)
        keep = {self.search.best(), self.search.leading()}
        for other in range(len(self.search.trials)):
            if other not in keep:
                shutil.rmtree(folder_of(self.run, other), ignore_errors=True)

    def _choose_length(self, seconds: float) -> Search:
        """Choose the share of the epochs that trials train, given the seconds of a training in full."""
        budget = self.search.budget
        share = choose_length(seconds, budget)
        if not share:
            self._print(
                f"a budget of {as_duration(budget)} is too small to try settings, one training takes about"
                f" {as_duration(seconds)}; trains with the defaults"
            )
        self.search = replace(self.search, share=share or 1.0)
        return self.search

    def _say(self, number: int, trial: Trial) -> None:
        outcome = trial.reason or trial.outcome
        found = "no loss yet" if trial.loss is None else f"loss {trial.loss:.4f} ({trial.described})"
        best = loss_of(self.search.trials[self.search.leading()])
        self._print(
            f"trial {number}, {as_settings(trial.changes)}: {outcome}, {found}, lowest {best:.4f},"
            f" {as_duration(trial.seconds)}"
        )

    def _print(self, line: str) -> None:
        if not self.run.quiet:
            self.bar.write(line, sys.stderr)

    def _show_time(self) -> None:
        self.bar.update(round(self.clock.spent) - self.bar.n)


def _adopt(run: Run, search: Search, winner: int) -> None:
    """Give a run what the winning trial has: settings, tokenizer, data and, if it was trained in full, its weights.

    After a kill it is done again from the beginning: the folders of the trials stay until all is there.
    """
    config = config_of(run, search.stated, search.trials[winner].changes)
    if config.tokenizer != run.config.tokenizer:
        shutil.rmtree(run.folder / "data", ignore_errors=True)
        for path in run.folder.glob("tokenizer*"):
            path.unlink()
    link_files(folder_of(run, winner), run.folder)
    if search.share < 1:
        for name in OF_TRAINING:
            (run.folder / name).unlink(missing_ok=True)
    with write_atomically(run.folder / "config.json") as temporary:  # the sources may have moved since the trial
        temporary.write_text(as_json(config), encoding="utf-8")
    done = run.trials.with_name(f".{run.trials.name}.tmp")  # a name that `Run.remove_leftovers` knows
    run.trials.rename(done)
    shutil.rmtree(done, ignore_errors=True)
