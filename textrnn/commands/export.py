"""`textrnn export`: export a run as a bundle, in float32 or int8."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textrnn.actions.exporting import PRECISIONS
from textrnn.commands.arguments import add_command
from textrnn.errors import UserError


def add_export(commands: Any) -> None:
    """Add the command and its arguments."""
    export = add_command(commands, "export", export_command, "export the best weights of a run as ONNX")
    export.add_argument("model", metavar="RUN", help="a run folder; the files of any other MODEL are copied to --out")
    export.add_argument(
        "--out", type=Path, metavar="BUNDLE", help="the bundle folder (default: RUN/bundle, or RUN/bundle-int8)"
    )
    export.add_argument("--quantize", choices=PRECISIONS, help="store weights in 8 bits and report what it costs")


def export_command(arguments: argparse.Namespace) -> None:
    from textrnn.actions.exporting import export_run

    run = Path(arguments.model)
    if not (run / "config.json").exists():
        _copy(arguments)
        return
    folder = arguments.out or run / (f"bundle-{arguments.quantize}" if arguments.quantize else "bundle")
    manifest = export_run(run, folder, arguments.quantize, "--out").manifest
    print(folder)
    if arguments.quantize:
        what = "texts" if manifest.tokenizer else "sequences"
        print(_cost_of_8_bits(manifest.metrics, what), file=sys.stderr)


def _copy(arguments: argparse.Namespace) -> None:
    """Copy the bundle of a model that is no run."""
    from textrnn.runtime.load import load

    model = load(arguments.model)
    if arguments.quantize:
        raise UserError(f"--quantize needs the weights of a run, {arguments.model} is a bundle; give a run folder")
    if not arguments.out:
        raise UserError(f"{arguments.model} is a bundle, whose files are copied; give --out FOLDER")
    model.save(arguments.out)
    print(arguments.out)


def _cost_of_8_bits(metrics: Mapping[str, Any], what: str) -> str:
    full, small = (metrics.get(precision, {}) for precision in ("float32", "int8"))
    if "accuracy" in small:
        lost = 100 * (full["accuracy"] - small["accuracy"])
        return f"int8 costs {lost:.2f} points of accuracy on held-out {what}"
    if "micro_f1" in small:
        return f"int8 costs {100 * (full['micro_f1'] - small['micro_f1']):.2f} points of micro F1 on held-out {what}"
    if "mean_squared_error" in small:
        errors = (f"{measured['mean_squared_error']:.6g}" for measured in (full, small))
        return "int8 raises the mean squared error on held-out {} from {} to {}".format(what, *errors)
    return f"int8 costs {small['loss']:.4f} nats a token on held-out text"
