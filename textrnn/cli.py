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
from textrnn.commands.train import TASKS, Stopped, train_command
from textrnn.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 a failure told in one line, 2 a wrong call, 130 stopped by a signal."""
    if sys.stderr is None:  # closed: what is meant for it must not go to standard output
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (as long as the process lives)
    debug = False
    try:
        arguments = _parse(argv)
        debug = arguments.debug
        _require_output(arguments)
        arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that a full disk is told of here
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
        description="Train a small recurrent text model on your own text; run it anywhere.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", train_command, "train a model on text and export it", repeated="source")
    train.add_argument(
        "source", nargs="*", metavar="SOURCE", help="files, folders or Hugging Face ids (default: the Python manual)"
    )
    train.add_argument("--task", choices=TASKS, help="what is learned (default: language_model, or what --config says)")
    train.add_argument("--config", type=Path, metavar="FILE.toml", help="settings that differ from the defaults")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting, e.g. train.epochs=5"
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default: runs/NAME)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --out")
    train.add_argument(
        "--errors", choices=("strict", "replace"), help="bytes that are not UTF-8: stop, or replace them"
    )
    train.add_argument("--text", metavar="COLUMN", help="of records: where the text is (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="of texts or vectors: where the label is (default: label)")
    train.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of vectors: where the numbers are; repeatable"
    )
    train.add_argument("--quiet", action="store_true", help="show no progress")

    evaluate = _command(
        commands, "evaluate", evaluate_command, "measure a model on text or vectors", model=True, repeated="source"
    )
    evaluate.add_argument(
        "source", nargs="*", metavar="SOURCE", help="what the model was not trained on (default: its held-out part)"
    )
    evaluate.add_argument(
        "--window", type=int, metavar="N", help="of a language model: read windows of N tokens, each from a fresh state"
    )
    evaluate.add_argument(
        "--dynamic", action="store_true", help="of a language model: measure too how it does when it learns as it reads"
    )
    evaluate.add_argument(
        "--cache", type=int, metavar="N", help="of a language model: measure too how it does with the last N tokens"
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of --dynamic or --cache, e.g. dynamic.learning_rate=1e-4 (default: searched on the held-out text)",
    )
    evaluate.add_argument(
        "--errors", choices=("strict", "replace"), help="bytes that are not UTF-8: stop, or replace them"
    )
    evaluate.add_argument("--text", metavar="COLUMN", help="of a classifier's SOURCE: where the text is")
    evaluate.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of vectors: where the numbers are; repeatable"
    )
    evaluate.add_argument("--label", metavar="COLUMN", help="of texts or vectors: where the label is")
    evaluate.add_argument("--json", action="store_true", help="print one JSON document")

    generate = _command(commands, "generate", generate_command, "write text", model=True)
    generate.add_argument("--prompt", default="", metavar="TEXT", help="what the text goes on from")
    generate.add_argument("--length", type=int, default=200, metavar="N", help="the most tokens to write (200)")
    generate.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="F",
        help="below 1 bolder, above 1 wilder; 0 most probable (1)",
    )
    generate.add_argument("--top-k", type=int, default=0, metavar="N", help="keep the N most probable tokens (0: all)")
    generate.add_argument(
        "--top-p", type=float, default=1.0, metavar="F", help="keep tokens that make up this probability (1: all)"
    )
    generate.add_argument(
        "--min-p", type=float, default=0.0, metavar="F", help="keep tokens this likely beside the likeliest (0: all)"
    )
    generate.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="F", help="above 1, less repetition (1)"
    )
    generate.add_argument(
        "--beams", type=int, default=1, metavar="N", help="search for the most probable text (1: sample)"
    )
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again"
    )
    generate.add_argument("--count", type=int, default=1, metavar="N", help="how many texts (1)")
    generate.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text")
    generate.add_argument("--json", action="store_true", help="print one JSON document")

    classify = _command(
        commands,
        "classify",
        classify_command,
        "predict labels or values, one JSON object a line",
        model=True,
        repeated="texts",
    )
    classify.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: lines of standard input)")
    classify.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="a text a line, or records (.csv, ...); a row each, also of an empty text; of vectors .npz and IDX too",
    )
    classify.add_argument(
        "--output", type=Path, metavar="FILE", help="write the table of --input with columns added: .csv or .jsonl"
    )
    classify.add_argument(
        "--errors", choices=("strict", "replace"), help="bytes that are not UTF-8: stop, or replace them"
    )
    classify.add_argument("--text", metavar="COLUMN", help="of records: the text column (default: as in training)")
    classify.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of vectors: where the numbers are; repeatable"
    )
    classify.add_argument("--why", action="store_true", help="show what each token of a text speaks for")
    classify.add_argument("--label", metavar="LABEL", help="with --why: the label to explain (the most probable)")
    classify.add_argument("--png", type=Path, metavar="FILE", help="with --why: draw it")
    classify.add_argument("--json", action="store_true", help="with --why: print JSON; labels are printed so always")

    forecast = _command(
        commands, "forecast", forecast_command, "tell how a series goes on", model=True, repeated="source"
    )
    forecast.add_argument("source", nargs="*", metavar="SOURCE", help="the series so far (default: all of the run's)")
    forecast.add_argument("--steps", type=int, metavar="N", help="how many to tell (default: the model's horizon)")
    forecast.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="of SOURCE: where the numbers are"
    )
    forecast.add_argument("--json", action="store_true", help="print one JSON document")

    export = _command(commands, "export", export_command, "export a run's best weights")
    export.add_argument("model", type=Path, metavar="RUN", help="a run folder")
    export.add_argument(
        "--out", type=Path, metavar="BUNDLE", help="the bundle folder (default: RUN/bundle, or RUN/bundle-int8)"
    )
    export.add_argument("--quantize", choices=("int8",), help="store weights in 8 bits; the loss it costs is measured")

    info = _command(commands, "info", info_command, "describe a model", model=True)
    info.add_argument("--json", action="store_true", help="print the manifest")
    return parser


def _command(
    commands: Any, name: str, run: Any, text: str, model: bool = False, repeated: str | None = None
) -> argparse.ArgumentParser:
    """A command; `repeated` is its argument that may be given any number of times."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
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
