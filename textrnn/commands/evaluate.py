"""`textrnn evaluate`: how well a model does on what it has not seen."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from textrnn.commands.arguments import add_command, add_reading_options, number

ADAPTED = {
    "cache": "continuous cache",
    "dynamic": "dynamic evaluation",
    "dynamic_and_cache": "dynamic evaluation and continuous cache",
}
ADAPTED_FIGURES = (
    "nats_per_token",
    "perplexity",
    "bits_per_character",
    "word_perplexity",
    "spelled_bits_per_character",
    "spelled_word_perplexity",
)


def add_evaluate(commands: Any) -> None:
    """Add the command and its arguments."""
    evaluate = add_command(
        commands, "evaluate", evaluate_command, "evaluate a model on held-out data", model=True, repeated="source"
    )
    evaluate.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="evaluation data, or - for standard input (default: the held-out split of the run)",
    )
    evaluate.add_argument("--window", type=int, metavar="N", help="language models: reset the state every N tokens")
    evaluate.add_argument(
        "--dynamic",
        action="store_true",
        help="language models: also report dynamic evaluation, which trains on the text it has read",
    )
    evaluate.add_argument(
        "--cache", type=int, metavar="N", help="language models: also report a continuous cache of the last N tokens"
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of --dynamic or --cache, e.g. cache.theta=0.3 (default: tuned on the held-out split)",
    )
    add_reading_options(evaluate)
    evaluate.add_argument("--text", metavar="COLUMN", help="text column of SOURCE (default: as in training)")
    evaluate.add_argument("--label", metavar="COLUMN", help="label column of SOURCE (default: as in training)")
    evaluate.add_argument("--target", metavar="COLUMN", help="text to text: target column (default: as in training)")
    evaluate.add_argument(
        "--beams", type=int, metavar="N", help="text to text and recognition: hypotheses of the beam search"
    )
    evaluate.add_argument("--lm", metavar="MODEL", help="recognition: a language model of characters")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")


def evaluate_command(arguments: argparse.Namespace) -> None:
    from textrnn.actions.evaluation import Evaluation, evaluate
    from textrnn.data.labels import describe
    from textrnn.runtime.load import load

    model = load(arguments.model, threads=os.cpu_count() or 1)
    names = (
        "source",
        "text",
        "label",
        "values",
        "errors",
        "window",
        "dynamic",
        "cache",
        "set",
        "target",
        "beams",
        "lm",
    )
    options: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    metrics = evaluate(model, Evaluation(**given, quiet=False, mark="--"))
    if left_out := metrics.get("left_out"):
        print(f"left out: {describe(left_out)}", file=sys.stderr)
    if metrics.get("adapted", {}).get("searched_on_the_text_itself"):
        print("settings were searched on the text that is measured here; give a SOURCE of its own", file=sys.stderr)
    if arguments.json:
        source = arguments.source or "held out"
        document = {"model": str(arguments.model), "source": source, "window": arguments.window, **metrics}
        print(json.dumps(document, ensure_ascii=False))
        return
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            print(f"{name.replace('_', ' '):20} {number(value)}")
    if metrics.get("not_predicted"):
        print(f"{'not predicted':20} {metrics['not_predicted']}")
    for label, figures in metrics.get("classes", {}).items():
        print(f"{label:20} " + "  ".join(f"{name} {number(value)}" for name, value in figures.items()))
    if "adapted" in metrics:
        _print_adapted(metrics["adapted"])


def _print_adapted(adapted: Mapping[str, Any]) -> None:
    """Print adaptive figures apart from the static ones, so that nobody takes one for the other."""
    print("\nThe figures below are adaptive, not static: the model used the text before each token it predicted.")
    for name, title in ADAPTED.items():
        if found := adapted.get(name):
            print(f"\n{title}")
            for figure in ADAPTED_FIGURES:
                if figure in found:
                    print(f"{figure.replace('_', ' '):20} {number(found[figure])}")
            settings = dict(found["settings"])
            size = [f"--cache {settings.pop('cache.size')}"] if "cache.size" in settings else []
            print(
                f"{'settings':20} " + " ".join([*size, *(f"--set {key}={value:g}" for key, value in settings.items())])
            )
            print(f"{'seconds':20} {found['seconds']:.1f}")
    if searched := adapted["searched_on_held_out"]:
        print(f"\nsearched on the run's held-out text: {', '.join(searched)}")
