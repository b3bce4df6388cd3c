"""Makes run folders, and opens them again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from textrnn.config import Config, require_applicable, require_consistent, settings, value_of
from textrnn.data.in_memory import DataInMemory
from textrnn.data.places import absolute_sources, keep_data, keep_input, with_kept_input, with_sources_of
from textrnn.errors import UserError
from textrnn.files import new_folder, write_atomically
from textrnn.training.loop.checkpoints import Progress, load_checkpoint, save_checkpoint
from textrnn.training.loop.history import read_history
from textrnn.training.loop.run import Continued, Run
from textrnn.training.loop.small_data import read_fitted, with_fitted_values
from textrnn.training.tasks.configuration import read_config, validate
from textrnn.training.tasks.pretrained import load_pretrained, with_model_of
from textrnn.training.tasks.table import require_same_content, task_of

MOST_DIFFERENCES = 3  # that a message names


def create_run(folder: Path, config: Config, quiet: bool = False, memory: DataInMemory | None = None) -> Run:
    """Make a run folder with its configuration.

    Args:
        folder: the run folder.
        config: the configuration.
        quiet: show no progress.
        memory: data to train on instead of `data.source`; they are kept in the folder.

    Raises:
        UserError: the folder exists, or a setting does not apply to the run.
    """
    if folder.exists():
        raise UserError(
            f"a new run needs a folder that does not exist yet, found: {folder}; add --resume, or give another --out"
        )
    validate(config)
    config = absolute_sources(config)
    with new_folder(folder) as temporary:
        in_columns = task_of(config).reads_columns(config.data)
        if memory is None:
            sources = keep_input(config.data.source, temporary, in_columns, folder)
        else:
            sources = keep_data(memory, temporary, folder)
        config = replace(config, data=replace(config.data, source=sources))
        if config.model.init_from:
            # Copied now: the run can be resumed whatever becomes of the other model.
            taken = load_pretrained(config)
            config = taken.config
            require_applicable_to_model(config)
            require_consistent(config)
            new = Run(temporary, config)
            if taken.tokenizer and taken.learns_on:
                new.start.mkdir()
            if taken.tokenizer:
                taken.tokenizer.save(new.start if taken.learns_on else temporary)
            save_checkpoint(new.initial, Progress(), taken.start)
        (temporary / "config.json").write_text(as_json(config), encoding="utf-8")
    return Run(folder, config, quiet)


def require_applicable_to_model(config: Config) -> None:
    """Refuse settings that do not apply to a run that starts from another model.

    A setting's scope may depend on the layers, which are those of the other model.

    Args:
        config: configuration with the architecture of the other model.

    Raises:
        UserError: the first that does not.
    """
    task = task_of(config)
    require_applicable(config, with_model_of(task.default_config(), config), task.model)


def open_run(folder: Path, config: Config | None = None, quiet: bool = False, epochs: float | None = None) -> Run:
    """Open an existing run folder.

    A finished run continues if more epochs are stated than it has. The schedule of its learning rate then starts again,
    with its warm-up, over the added epochs.

    Args:
        folder: the run folder.
        config: if given, the configuration the run must have, all but `data.processes` and the places of its sources.
            Sources at other places are kept as those of the run.
        quiet: show no progress.
        epochs: if given, the epochs that the run shall have.

    Raises:
        UserError: no run there, one of another configuration or of other data, or one that has not ended.
    """
    continued = Continued.load(folder)
    before = _with_epochs(read_config(folder), continued.epochs)
    found = with_kept_input(before, folder)
    if config is not None:
        stated = with_kept_input(_as_taken_over(absolute_sources(config), found), folder)
        found = with_sources_of(found, stated)
        found = replace(found, data=replace(found.data, processes=config.data.processes))
        if config.train.epochs == continued.first:  # the command that made the run
            stated = _with_epochs(stated, found.train.epochs)
        elif config.train.epochs > found.train.epochs:
            epochs, stated = config.train.epochs, _with_epochs(stated, found.train.epochs)
        if differing := _differences(stated, found):
            raise UserError(
                f"a run goes on with the settings it was made with, {folder} differs in {'; '.join(differing)}; resume"
                " it with --out alone, or give another --out"
            )
    run = Run(folder, with_fitted_values(found, read_fitted(folder)), quiet, continued=continued)
    if config is not None and with_sources_of(before, found) != before:
        require_same_content(run)
        with write_atomically(folder / "config.json") as temporary:
            temporary.write_text(as_json(_with_epochs(found, continued.first)), encoding="utf-8")
    return run if epochs is None or epochs == run.config.train.epochs else _going_on(run, epochs)


def _going_on(run: Run, epochs: float) -> Run:
    """Return a finished run that goes on to a number of epochs.

    Raises:
        UserError: it has not ended, or has been trained for as many already.
    """
    folder, before = run.folder, run.config.train.epochs
    progress = load_checkpoint(run.checkpoint)[0] if run.checkpoint.exists() else Progress()
    if not progress.finished or run.needs_bundle:
        raise UserError(
            f"a run goes on with the settings it was made with until it has ended, {folder} has train.epochs="
            f"{before:g}, was: {epochs:g}; end it first: {run.resume_command}"
        )
    lines = read_history(run.history)
    trained = lines[-1]["epoch"] if lines else before
    if epochs <= trained:
        raise UserError(
            f"train.epochs of a finished run may only grow, {folder} was trained for {trained:g}, was: {epochs:g}; give"
            " more, or another --out"
        )
    first = before if run.continued.first is None else run.continued.first
    continued = Continued(epochs, first, (*run.continued.starts, progress.step), exported=False)
    continued.save(folder)
    return replace(run, config=_with_epochs(run.config, epochs), continued=continued)


def _with_epochs(config: Config, epochs: float | None) -> Config:
    return config if epochs is None else replace(config, train=replace(config.train, epochs=epochs))


def as_json(config: Config) -> str:
    """Return the content of ``config.json``."""
    return json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"


def _differences(stated: Config, found: Config) -> list[str]:
    """Return the first settings that differ, for people."""
    differing = [
        f"{key}, which was {value_of(found, key)!r} and is {value_of(stated, key)!r} now"
        for key in settings()
        if value_of(stated, key) != value_of(found, key)
    ]
    return differing if len(differing) <= MOST_DIFFERENCES else [*differing[:MOST_DIFFERENCES], "other settings"]


def _as_taken_over(config: Config, found: Config) -> Config:
    """Return a configuration with what its pretrained model gives, which is part of `found` already."""
    if not config.model.init_from or config.model.init_from != found.model.init_from:
        return config
    return with_model_of(config, found)
