"""Write the reference of the command line and of the settings from the code: python docs/write_reference.py

A test compares the pages with the code.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # the package of this folder, installed or not

from textrnn import config as config_module  # noqa: E402
from textrnn.cli import make_parser  # noqa: E402
from textrnn.config import Config, settings, value_of  # noqa: E402
from textrnn.training.tasks.table import TASKS  # noqa: E402

MADE = "<!-- Written by docs/write_reference.py from the code; do not edit. -->"


def command_line() -> str:
    """Return the page of the commands and their arguments."""
    parser = make_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest.split(" ")[0]: str(choice.help) for choice in commands._choices_actions}  # without aliases
    page = [
        "# Command line",
        MADE,
        "Results go to standard output, progress and messages to standard error. A command exits with 0 after success,"
        " 1 with one line that says what was wrong, 2 after a wrong call, and 130 when it was interrupted.",
        _table(
            "command", "what it does", [(f"[`textrnn {name}`](#textrnn-{name})", text) for name, text in helps.items()]
        ),
        "Without a command:",
        _arguments(parser),
        "MODEL is a run folder, a bundle, the name of a finished model (`textrnn models`), or `hf://USER/MODEL[@REVISION]`"
        " of the hub.",
    ]
    seen: list[argparse.ArgumentParser] = []
    for name, command in commands.choices.items():
        if command in seen:
            continue
        seen.append(command)
        aliases = [other for other, same in commands.choices.items() if same is command and other != name]
        page += [f"## textrnn {name}", f"```\n{_usage(name, command)}\n```", str(command.description)]
        page += [f"`textrnn {alias}` is the same command." for alias in aliases]
        page.append(_arguments(command))
    return "\n\n".join(page) + "\n"


def _usage(name: str, command: argparse.ArgumentParser) -> str:
    places = [_placeholder(action) for action in command._actions if not action.option_strings]
    return " ".join(["textrnn", name, *places, "[OPTIONS]"])


def _placeholder(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest.upper())
    return f"[{word} ...]" if action.nargs == "*" else f"[{word}]" if action.nargs == "?" else word


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = []
    for action in sorted(parser._actions, key=lambda action: "--debug" in action.option_strings):
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        if action.option_strings:
            value = "" if action.nargs == 0 else f" {_value(action)}"
            word = ", ".join(f"`{option}{_cell(value)}`" for option in action.option_strings)
        else:
            word = f"`{action.metavar or action.dest.upper()}`"
        choices = ", ".join(map(str, action.choices)) if action.choices else ""
        text = (action.help or "") % {**vars(action), "choices": choices, "prog": parser.prog}
        rows.append((word, _cell(text)))
    return _table("argument", "meaning", rows)


def _value(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def settings_page() -> str:
    """Return the page of all settings."""
    meanings = dict(_meanings())
    parts: dict[str, list[str]] = {}
    for key in settings():
        section = key.rpartition(".")[0]
        parts.setdefault(section, []).append(_setting(key, meanings.get(key, "")))
    titles = {"": "Run", "data": "Data", "tokenizer": "Tokenizer", "model": "Network", "train": "Training"}
    page = [
        "# Settings",
        MADE,
        "Change a setting with `--set KEY=VALUE`, in a TOML file (`--config`), or by its name in `textrnn.train`. How:"
        " [guide](../guide/settings.md). A setting that does not apply to a run is refused. Where a task has a default"
        " of its own, it is listed after the general one.",
    ]
    for section, entries in parts.items():
        page += [f"## {titles[section]}", *entries]
    return "\n\n".join(page) + "\n"


def _meanings() -> Iterator[tuple[str, str]]:
    """Yield the key of each setting and the docstring below it."""
    module = ast.parse(inspect.getsource(config_module))
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    sections = {"": "Config", "data": "DataConfig", "tokenizer": "TokenizerConfig", "model": "ModelConfig"}
    sections["train"] = "TrainConfig"
    for section, name in sections.items():
        body = classes[name].body
        for node, below in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
                key = f"{section}.{node.target.id}".lstrip(".")
                yield key, " ".join(ast.literal_eval(below.value).split())


def _setting(key: str, meaning: str) -> str:
    facts, metadata = [], settings()[key]
    general = value_of(Config(), key)
    own: dict[str, list[str]] = {}
    for task in TASKS:
        value = value_of(task.default_config(), key)
        if value != general and key not in ("task", "data.reads"):
            reads = f" of {task.reads}" if sum(other.name == task.name for other in TASKS) > 1 else ""
            own.setdefault(_shown(value), []).append(task.name + reads)
    others = "".join(f"; {', '.join(tasks)}: {value}" for value, tasks in own.items())
    facts.append(f"Default: {_shown(general)}{others}")
    if "choices" in metadata:
        facts.append("Values: " + ", ".join(f"`{choice}`" for choice in metadata["choices"]))
    elif key == "task":
        facts.append("Values: " + ", ".join(f"`{name}`" for name in dict.fromkeys(task.name for task in TASKS)))
    elif "range" in metadata:
        low, high = metadata["range"]
        facts.append(f"Range: {_number(low)} to {_number(high)}; {metadata['hint']}")
    else:
        kinds = {bool: "`true` or `false`", str: "a string"}
        listed = "a list of whole numbers" if key == "model.cutoffs" else "a string or a list of strings"
        facts.append(f"Values: {listed if isinstance(general, tuple) else kinds[type(general)]}")
    facts.append("Applies to: " + "; ".join(map(str, metadata["scopes"])))
    return "\n".join([f"### `{key}`", "", meaning, "", *(f"- {fact}" for fact in facts)])


def _shown(value: Any) -> str:
    if value in ("", ()):
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {a} | {b} |" for a, b in [(left, right), ("---", "---"), *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"command_line": command_line, "settings": settings_page}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (DOCS / "reference" / f"{name}.md").write_text(write(), encoding="utf-8")
