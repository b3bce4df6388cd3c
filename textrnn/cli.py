"""The `textrnn` command: its calls. What a command does is in `textrnn.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textrnn.commands.classify import classify_command
from textrnn.commands.evaluate import evaluate_command
from textrnn.commands.export import export_command
from textrnn.commands.forecast import forecast_command
from textrnn.commands.generate import generate_command
from textrnn.commands.info import info_command
from textrnn.commands.train import TASKS, train_command
from textrnn.errors import Stopped, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 failure with one line, 2 wrong call, 130 interrupted."""
    if sys.stderr is None:  # closed: what is meant for it must not go to standard output
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (as long as the process lives)
    debug = False
    try:
        arguments = _parse(argv)
        debug = arguments.debug
        _require_output(arguments)
        arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that a full disk is reported here
    except UserError as error:
        if debug:
            raise
        print("textrnn:", *str(error).splitlines(), file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # half a character in an argument, or an output that lacks the character
        if debug:
            raise
        character = ascii(error.object[error.start])
        print(
            f"textrnn: text must be what {error.encoding} can spell, was: {character}; use UTF-8 everywhere",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if debug:
            raise
        what = f"{error.filename} could not be used" if error.filename else "standard output could not be written"
        print(f"textrnn: {what}: {error.strerror}; check it and try again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("textrnn: stopped", file=sys.stderr)
        return 130
    except Stopped as stopped:
        print(f"textrnn: {stopped}", file=sys.stderr)
        return 130
    return 0


def _require_output(arguments: argparse.Namespace) -> None:
    """Refuse a command whose result would go nowhere; what train and export make is in files."""
    if sys.stdout is None and arguments.run not in (train_command, export_command) and not _writes_file(arguments):
        raise UserError("standard output is closed, and the result goes there; direct it to a file or a terminal")


def _writes_file(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "output", None) or getattr(arguments, "png", None))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; what it takes any number of may stand before, between or after its options."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse gives such an argument only what stands before the first option.
    repeated: str | None = getattr(arguments, "repeated", None)
    end = rest.index("--") if "--" in rest else len(rest)  # after it nothing is an option
    options = [word for word in rest[:end] if word.startswith("-") and word != "-"]
    rest = rest[:end] + rest[end + 1 :]
    if rest and (repeated is None or options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if repeated is not None:
        setattr(arguments, repeated, getattr(arguments, repeated) + rest)
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textrnn",
        description="Train a small recurrent neural network on your own text; run it anywhere.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", train_command, "train a model on text and export it", repeated="source")
    train.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="training data: files, folders, Hugging Face ids, or - for standard input (default: the Python manual)",
    )
    train.add_argument("--task", choices=TASKS, help="what to train (default: language_model, or the task of --config)")
    train.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="a TOML file with settings that differ from the defaults"
    )
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting, e.g. train.epochs=5"
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default: runs/NAME)")
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    train.add_argument(
        "--errors", choices=("strict", "replace"), help="invalid UTF-8: stop with an error, or replace it with U+FFFD"
    )
    train.add_argument("--text", metavar="COLUMN", help="text column of a table (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="label column (default: label)")
    train.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of numbers, for vectors and series; repeatable",
    )
    train.add_argument("--quiet", action="store_true", help="show no progress")

    evaluate = _command(
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
    evaluate.add_argument(
        "--errors", choices=("strict", "replace"), help="invalid UTF-8: stop with an error, or replace it with U+FFFD"
    )
    evaluate.add_argument("--text", metavar="COLUMN", help="text column of SOURCE (default: as in training)")
    evaluate.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of numbers, for vectors and series; repeatable",
    )
    evaluate.add_argument("--label", metavar="COLUMN", help="label column of SOURCE (default: as in training)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")

    generate = _command(commands, "generate", generate_command, "generate text", model=True)
    generate.add_argument("--prompt", default="", metavar="TEXT", help="text to continue")
    generate.add_argument(
        "--length", type=int, default=200, metavar="N", help="maximum number of tokens to generate (200)"
    )
    generate.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="F",
        help="sampling temperature: lower is more predictable, higher more random; 0 is greedy (1)",
    )
    generate.add_argument(
        "--top-k", type=int, default=0, metavar="N", help="sample from the N most probable tokens (0: all)"
    )
    generate.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="F",
        help="sample from the fewest tokens whose probabilities sum to F (1: all)",
    )
    generate.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        metavar="F",
        help="drop tokens below F times the top token's probability (0: none)",
    )
    generate.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="F",
        help="above 1: make tokens that occurred less probable (1)",
    )
    generate.add_argument("--beams", type=int, default=1, metavar="N", help="beam search with N beams (1: sample)")
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this string; repeatable"
    )
    generate.add_argument("--count", type=int, default=1, metavar="N", help="number of texts (1)")
    generate.add_argument("--seed", type=int, metavar="N", help="random seed: the same seed gives the same text")
    generate.add_argument("--json", action="store_true", help="print one JSON document")

    predict = _command(
        commands,
        "predict",
        classify_command,
        "predict labels or values, one JSON object a line",
        model=True,
        repeated="texts",
        alias="classify",
    )
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input)")
    predict.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="one text a line, or a table (.csv, .jsonl, ...); vectors: .npz and IDX too. Every record gives one row",
    )
    predict.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the table of --input with the predictions as new columns: .csv or .jsonl",
    )
    predict.add_argument(
        "--errors", choices=("strict", "replace"), help="invalid UTF-8: stop with an error, or replace it with U+FFFD"
    )
    predict.add_argument("--text", metavar="COLUMN", help="text column of --input (default: as in training)")
    predict.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of numbers, for vectors and series; repeatable",
    )
    predict.add_argument("--why", action="store_true", help="explain: show the contribution of each token to the label")
    predict.add_argument(
        "--label", metavar="LABEL", help="with --why: the label to explain (default: the most probable)"
    )
    predict.add_argument("--png", type=Path, metavar="FILE", help="with --why: save the explanation as a picture")
    predict.add_argument("--json", action="store_true", help="with --why: print JSON (predictions are always JSON)")

    forecast = _command(commands, "forecast", forecast_command, "forecast a time series", model=True, repeated="source")
    forecast.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="the series up to now, or - for standard input (default: the series of the run)",
    )
    forecast.add_argument(
        "--steps", type=int, metavar="N", help="number of steps to forecast (default: the model's horizon)"
    )
    forecast.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="a column of SOURCE to forecast; repeatable"
    )
    forecast.add_argument("--json", action="store_true", help="print one JSON document")

    export = _command(commands, "export", export_command, "export the best weights of a run as ONNX")
    export.add_argument("model", type=Path, metavar="RUN", help="a run folder")
    export.add_argument(
        "--out", type=Path, metavar="BUNDLE", help="the bundle folder (default: RUN/bundle, or RUN/bundle-int8)"
    )
    export.add_argument("--quantize", choices=("int8",), help="store weights in 8 bits and report what it costs")

    info = _command(commands, "info", info_command, "describe a model", model=True)
    info.add_argument("--json", action="store_true", help="print the manifest")
    return parser


def _command(
    commands: Any,
    name: str,
    run: Any,
    text: str,
    model: bool = False,
    repeated: str | None = None,
    alias: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: what it is added to.
        name: of the command.
        run: the function that it calls.
        text: its help.
        model: whether its first argument is a model.
        repeated: its argument that may be given any number of times.
        alias: another name of it.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text.capitalize() + ".", aliases=[alias] if alias else []
    )
    command.set_defaults(run=run, repeated=repeated)
    command.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    if model:
        command.add_argument("model", type=Path, metavar="MODEL", help="a bundle or a run folder")
    return command


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import textrnn

        print(f"textrnn {textrnn.__version__}")
        parser.exit()
