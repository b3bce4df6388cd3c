"""Trials: runs in folders of their own inside the run folder, stopped when they are not worth their time."""

from __future__ import annotations

import copy
import gc
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.config import ARCHITECTURE, STRUCTURE, Config, require_consistent
from textrnn.errors import UserError
from textrnn.files import new_folder
from textrnn.training.direct.model import DIRECT
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import FITTED, fitted_values, read_fitted, with_fitted_values, write_fitted
from textrnn.training.search.budget import Clock
from textrnn.training.search.candidates import Candidate
from textrnn.training.search.record import FAILED, Search, Trial
from textrnn.training.search.watch import ShorterTrials, TrialStopped, Watch
from textrnn.training.tasks.configuration import from_dict, insert, read_config, validate
from textrnn.training.tasks.pretrained import with_model_of
from textrnn.training.tasks.runs import as_json, require_applicable_to_model
from textrnn.training.tasks.table import prepare, trainer_of

if TYPE_CHECKING:
    from textrnn.training.distributed.distribution import Distribution


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
    if config.model.init_from and (section == "tokenizer" or name in (*ARCHITECTURE, *STRUCTURE)):
        return True
    return bool(of_section) if key == "tokenizer.kind" else name in of_section


def config_from(run: Run, search: Search, trial: Trial) -> Config:
    """Return the configuration that a trial was trained with, with settings that suit the size of its data."""
    config = with_fitted_values(config_of(run, search.stated, trial.changes), trial.fitted)
    return replace(config, train=replace(config.train, epochs=trial.epochs))


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
    watch: Watch | None = None
    try:
        trainer = trainer_of(own, prepare(own), distribution)
        epochs = trainer.total_steps / trainer.steps_per_epoch / own.share
        trial = replace(trial, fitted=fitted_values(trainer.run.config), epochs=round(epochs, 4))
        noise = trainer.noise()
        watch = Watch(trainer, search, clock, began, tick, choose)
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
    if watch is not None:
        trial = replace(trial, **watch.found())
    return replace(trial, seconds=round(clock.spent - began, 1)), noise


def trained_seconds(run: Run) -> float:
    """Return the seconds that a trial was trained before; 0 for a new one."""
    return load_checkpoint(run.checkpoint)[0].seconds if run.checkpoint.exists() else 0.0


def link_files(source: Path, target: Path, pattern: str = "**/*") -> None:
    """Give files of a folder a second name in another, or copy them where the file system has no hard links.

    Files of runs are never changed in place, but for the history, which only one of the two folders keeps.
    """
    for path in sorted(source.glob(pattern)):
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
    if folder.exists() and replace(read_config(folder), data=config.data) != config:
        shutil.rmtree(folder)  # another version of the program would have tried something else
    if not folder.exists():
        searched = {f"{section}.{name}": changes.get(f"{section}.{name}") for section, name in FITTED}
        with new_folder(folder) as temporary:
            if donor := _with_same_tokens(run, config):
                link_files(donor / "data", temporary / "data")
                for shared in ("tokenizer*", DIRECT):  # a direct path of other settings is fitted again
                    link_files(donor, temporary, shared)
            link_files(run.folder, temporary, run.initial.name)
            if chosen := {key: value for key, value in searched.items() if value is not None}:
                write_fitted(temporary, chosen)  # a value that was searched is not made smaller
            (temporary / "config.json").write_text(as_json(config), encoding="utf-8")
    return Run(folder, with_fitted_values(config, read_fitted(folder)), quiet=True)


def _with_same_tokens(run: Run, config: Config) -> Path | None:
    """Return a folder whose tokenizer has the same settings; a trial has more to share than the run."""
    for folder in [*sorted(run.trials.glob("[0-9]*"), reverse=True), run.folder]:
        with suppress(UserError):
            if read_config(folder).tokenizer == config.tokenizer:
                return folder
    return None


def forget_graphs() -> None:
    """Free the graphs and weights of earlier trials, which Keras and TensorFlow keep."""
    import keras

    keras.backend.clear_session(free_memory=False)
    gc.collect()
