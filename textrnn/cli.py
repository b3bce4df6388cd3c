"""Entry point and argument parser of the `textrnn` command. The commands are in `textrnn.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textrnn.commands.arguments import say_what_hides_a_model
from textrnn.commands.card import add_card
from textrnn.commands.completion import SHELLS, PrintCompletion
from textrnn.commands.evaluate import add_evaluate
from textrnn.commands.export import add_export, export_command
from textrnn.commands.forecast import add_forecast
from textrnn.commands.generate import add_generate
from textrnn.commands.info import add_info
from textrnn.commands.models import add_models
from textrnn.commands.predict import add_predict
from textrnn.commands.push import add_push
from textrnn.commands.serve import add_serve, serve_command
from textrnn.commands.train import add_train, train_command
from textrnn.commands.transcribe import add_transcribe
from textrnn.errors import Stopped, UserError
from textrnn.platforms import is_broken_pipe, use_utf8
from textrnn.training import tensorflow_setup


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 error with a message, 2 wrong call, 130 interrupted."""
    tensorflow_setup.runs_one_command = argv is None
    if sys.stderr is None:  # closed: messages for it must not go to standard output
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (as long as the process lives)
    use_utf8(sys.stdout, sys.stderr)
    debug = False
    try:
        arguments = _parse(argv)
        debug = arguments.debug
        _require_output(arguments)
        say_what_hides_a_model(arguments)
        arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that a full disk is reported here
    except UserError as error:
        if debug:
            raise
        print("textrnn:", *str(error).splitlines(), file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # an incomplete character in an argument, or one that the output cannot encode
        if debug:
            raise
        character = ascii(error.object[error.start])
        print(
            f"textrnn: text must be what {error.encoding} can spell, was: {character}; use UTF-8 everywhere",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        if is_broken_pipe(error):  # the reader of the output has exited, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
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
    """Raise a UserError if standard output is closed and the command needs it; train and export write files,
    serve answers elsewhere."""
    if (
        sys.stdout is None
        and arguments.run not in (train_command, export_command, serve_command)
        and not _writes_file(arguments)
    ):
        raise UserError("standard output is closed, and the result goes there; direct it to a file or a terminal")


def _writes_file(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "output", None) or getattr(arguments, "png", None))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments of a command. Its repeated argument may be before, between or after its options."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse assigns only the values before the first option to such an argument.
    repeated: str | None = getattr(arguments, "repeated", None)
    end = rest.index("--") if "--" in rest else len(rest)  # after it nothing is an option
    options = [word for word in rest[:end] if word.startswith("-") and word != "-"]
    rest = rest[:end] + rest[end + 1 :]
    if rest and (repeated is None or options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if repeated is not None:
        setattr(arguments, repeated, getattr(arguments, repeated) + rest)
    return arguments


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="textrnn",
        description="Train a small recurrent neural network on your own text; run it anywhere.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=SHELLS, help="print the completion script of a shell"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_train,
        add_evaluate,
        add_generate,
        add_predict,
        add_transcribe,
        add_forecast,
        add_serve,
        add_export,
        add_info,
        add_models,
        add_card,
        add_push,
    ):
        add(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import textrnn

        print(f"textrnn {textrnn.__version__}")
        parser.exit()
