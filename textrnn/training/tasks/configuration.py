"""Configurations of runs: what a user states, over the defaults of the task.

A TOML file and ``--set key.path=value`` state differences only.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textrnn.config import Config, build, require_applicable, require_consistent
from textrnn.errors import UserError
from textrnn.training.tasks.table import TASKS, task_of
from textrnn.training.tasks.task import with_defaults

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def from_dict(values: Mapping[str, Any]) -> Config:
    """Return a `Config` from nested dictionaries that state differences from the defaults of its task.

    Raises:
        UserError: an unknown key (the nearest is named), a value of the wrong type or out of its range.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"a config must be sections of settings, was: {values!r:.60}")
    name, data = values.get("task", Config.task), values.get("data")
    reads = data.get("reads") if isinstance(data, Mapping) else None
    names = list(dict.fromkeys(task.name for task in TASKS))
    if isinstance(name, str) and name not in names:
        near = difflib.get_close_matches(str(name), names, 1, 0.5)
        raise UserError(
            f"task must be one of {', '.join(names)}, was: {name!r}" + (f"; did you mean {near[0]}?" if near else "")
        )
    of_this_name = [task for task in TASKS if task.name == name]
    if not of_this_name:  # no text at all, which `build` refuses
        return build(Config, values)
    task = next((task for task in of_this_name if task.reads == reads), of_this_name[0])
    return build(Config, with_defaults(task.defaults(values), values))


def task_names() -> dict[str, str]:
    """Return what ``textrnn train --task`` takes: names of tasks and their aliases, with the name each stands for."""
    return {name: task.name for task in TASKS for name in (task.name, *task.aliases)}


def answers_of(task: object) -> str:
    """Return the setting of `data` that names the second column of a pair, for a task by its name."""
    return next((each.answers for each in TASKS if each.name == task), TASKS[0].answers)


def validate(config: Config) -> None:
    """Refuse settings that do not apply to the run, or do not fit each other.

    Raises:
        UserError: the first that does not.
    """
    task = task_of(config)
    require_applicable(config, task.default_config(), task.model)
    require_consistent(config)


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Return a `Config` from a TOML file and ``key.path=value`` overrides; an override wins.

    Raises:
        UserError: as `stated_values` and `from_dict` raise it.
    """
    return from_dict(stated_values(path, overrides))


def stated_values(path: Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a TOML file and ``key.path=value`` overrides state, in sections; an override wins.

    Values of overrides are read as TOML; what is no TOML value is taken as a string.

    Raises:
        UserError: the file cannot be read, or an override has no ``=``.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"a config must be a readable TOML file, {path}: {error.strerror}") from error
        except ValueError as error:  # of TOML, of UTF-8, or a number too long for Python
            raise UserError(f"a config must be valid TOML, {path}: {error}; mend that line") from error
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UserError(f"--set takes key.path=value, was: {override}; for example --set train.epochs=5")
        insert(values, key.strip(), _toml_value(text.strip()))
    return values


def read_config(folder: Path) -> Config:
    """Return the configuration of a run folder.

    Raises:
        UserError: no run there, or its configuration is damaged.
    """
    path = folder / "config.json"
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(
            f"a run folder holds config.json, found none in: {folder}; give one that textrnn train has made"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be used ({error}); restore it or train again") from error


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def insert(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its key, such as ``model.layers``, in sections of settings.

    Raises:
        UserError: a section is a value.
    """
    *sections, name = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set: {section} is a value, not a section, in: {key}")
        values = inner
    values[name] = value
