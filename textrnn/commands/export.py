"""`textrnn export`: export a run as a bundle, in float32 or int8, or any model as a page for the browser."""

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
    export = add_command(
        commands, "export", export_command, "export a run as ONNX, or a model as a page for the browser"
    )
    export.add_argument("model", metavar="RUN", help="a run folder; the files of any other MODEL are copied to --out")
    export.add_argument(
        "--out", type=Path, metavar="BUNDLE", help="the bundle folder (default: RUN/bundle, or RUN/bundle-int8)"
    )
    export.add_argument("--quantize", choices=PRECISIONS, help="store weights in 8 bits and report what it costs")
    export.add_argument(
        "--web",
        type=Path,
        metavar="DIR",
        help="write a static page that runs any MODEL in the browser",
    )
    export.add_argument(
        "--single-file", type=Path, metavar="HTML", help="write that page as one file, which opens from disk"
    )
    export.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help="the npm package onnxruntime-web for --web and --single-file (default: node_modules/onnxruntime-web)",
    )


def export_command(arguments: argparse.Namespace) -> None:
    from textrnn.actions.exporting import export_run

    if arguments.web or arguments.single_file:
        _export_page(arguments)
        return
    if arguments.runtime:
        raise UserError("--runtime is for a page in the browser; add --web DIR or --single-file HTML")
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


def _export_page(arguments: argparse.Namespace) -> None:
    """Write the page of any model: a folder, one file, or both."""
    from textrnn.runtime.load import load
    from textrnn.web.onnxruntime_web import find_onnxruntime_web
    from textrnn.web.site import require_new, write_single_file, write_site

    if arguments.out or arguments.quantize:
        option = "--out" if arguments.out else "--quantize"
        raise UserError(f"a page is made from a bundle, {option} makes one; export first, then give the bundle")
    for out in filter(None, (arguments.web, arguments.single_file)):
        require_new(out)
    bundle = load(arguments.model).bundle
    onnxruntime_web = find_onnxruntime_web(arguments.runtime)
    name = _title(arguments.model)
    if arguments.web:
        write_site(bundle, name, onnxruntime_web, arguments.web)
        print(arguments.web)
    if arguments.single_file:
        write_single_file(bundle, name, onnxruntime_web, arguments.single_file)
        print(arguments.single_file)


def _title(model: str) -> str:
    """Return the name of a model: of its folder, or the last part of its address."""
    path = Path(model)
    if not path.exists():
        return path.name
    path = path.resolve()
    return path.parent.name if path.name == "bundle" else path.name


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
    if "word_error_rate" in small:
        lost = 100 * (small["word_error_rate"] - full["word_error_rate"])
        return f"int8 costs {lost:.2f} points of word error rate on held-out recordings"
    if "exact_match" in small:
        lost = 100 * (full["exact_match"] - small["exact_match"])
        return f"int8 costs {lost:.2f} points of exact match on held-out pairs"
    if "mean_squared_error" in small:
        errors = (f"{measured['mean_squared_error']:.6g}" for measured in (full, small))
        return "int8 raises the mean squared error on held-out {} from {} to {}".format(what, *errors)
    return f"int8 costs {small['loss']:.4f} nats a token on held-out text"
