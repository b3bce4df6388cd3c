"""Makes run folders, and opens them again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from textrnn.config import Config, require_applicable, settings, value_of, with_model_settings
from textrnn.data.in_memory import DataInMemory
from textrnn.data.places import absolute_sources, keep_data, keep_input, with_kept_input, with_sources_of
from textrnn.errors import UserError
from textrnn.files import new_folder, write_atomically
from textrnn.training.loop.checkpoints import Progress, save_checkpoint
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import read_fitted, with_fitted_values
from textrnn.training.tasks.configuration import read_config, validate
from textrnn.training.tasks.pretrained import load_pretrained
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
            config, tokenizer, arrays = load_pretrained(config)
            require_applicable_to_model(config)
            if tokenizer:
                tokenizer.save(temporary)
            save_checkpoint(temporary / Run(folder, config).initial.name, Progress(), arrays)
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


def open_run(folder: Path, config: Config | None = None, quiet: bool = False) -> Run:
    """Open an existing run folder.

    Args:
        folder: the run folder.
        config: if given, the configuration the run must have, all but `data.processes` and the places of its sources.
            Sources at other places are kept as those of the run.
        quiet: show no progress.

    Raises:
        UserError: no run there, or one of another configuration or of other data.
    """
    before = read_config(folder)
    found = with_kept_input(before, folder)
    if config is not None:
        stated = with_kept_input(_as_taken_over(absolute_sources(config), found), folder)
        found = with_sources_of(found, stated)
        found = replace(found, data=replace(found.data, processes=config.data.processes))
        if differing := _differences(stated, found):
            raise UserError(
                f"a run goes on with the settings it was made with, {folder} differs in {'; '.join(differing)}; resume"
                " it with --out alone, or give another --out"
            )
    run = Run(folder, with_fitted_values(found, read_fitted(folder)), quiet)
    if config is not None and with_sources_of(before, found) != before:
        require_same_content(run)
        with write_atomically(folder / "config.json") as temporary:
            temporary.write_text(as_json(found), encoding="utf-8")
    return run


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


def with_model_of(config: Config, found: Config) -> Config:
    """Return a configuration with the tokenizer and the architecture of another."""
    return replace(config, tokenizer=found.tokenizer, model=with_model_settings(config.model, found.model))
