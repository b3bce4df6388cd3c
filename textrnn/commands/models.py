"""`textrnn models`: the finished models of the package."""

from __future__ import annotations

import argparse
import json
from typing import Any

from textrnn.commands.arguments import add_command


def add_models(commands: Any) -> None:
    """Add the command and its arguments."""
    models = add_command(commands, "models", models_command, "list the finished models, usable by their names")
    models.add_argument("--json", action="store_true", help="print one JSON document")


def models_command(arguments: argparse.Namespace) -> None:
    from textrnn.bundle import read_bundle
    from textrnn.models.card import languages_of, main_figure, size_of, summary_of
    from textrnn.models.places import find_finished, finished_models

    found: list[dict[str, Any]] = []
    for name in finished_models():
        manifest = read_bundle(find_finished(name)).manifest
        figure = main_figure(manifest)
        found.append(
            {
                "name": name,
                "kind": manifest.kind,
                "language": languages_of(manifest),
                "summary": summary_of(manifest),
                "bytes": size_of(manifest),
                "precision": manifest.precision,
                "held_out": {figure[0]: figure[1]} if figure else {},
            }
        )
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    rows = [("name", "kind", "language", "size", "held out")]
    for model in found:
        figures = ", ".join(f"{value:.4g} {name}" for name, value in model["held_out"].items())
        size = f"{model['bytes'] / 1e6:.2f} MB"
        rows.append((model["name"], model["kind"].replace("_", " "), ", ".join(model["language"]), size, figures))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    summaries = ["what it does", *(model["summary"] for model in found)]
    for row, summary in zip(rows, summaries, strict=True):
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), summary]).rstrip())
