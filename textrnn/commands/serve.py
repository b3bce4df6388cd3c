"""`textrnn serve`: an HTTP server for finished models."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from typing import Any

from textrnn.commands.arguments import MODEL, add_command
from textrnn.errors import UserError


def add_serve(commands: Any) -> None:
    """Add the command and its arguments."""
    from textrnn.serve.settings import PREFIX, Settings, option

    serve = add_command(
        commands, "serve", serve_command, "serve models over HTTP, with a page in the browser", repeated="models"
    )
    serve.add_argument("models", nargs="*", metavar="MODEL", help=f"{MODEL}; one or more")
    serve.epilog = f"Every option is an environment variable too: {PREFIX}PORT, {PREFIX}API_KEY, ..."
    for entry in fields(Settings):
        kind = type(entry.default)
        default = "" if entry.default == "" else f" ({entry.default})"
        serve.add_argument(
            option(entry.name),
            type=kind,
            metavar={int: "N", float: "F", str: entry.name.upper()}[kind],
            help=entry.metadata["text"] + default,
        )


def serve_command(arguments: argparse.Namespace) -> None:
    from textrnn.serve.settings import Settings, from_environment

    if not arguments.models:
        raise UserError("a server needs a model, was given none; try: textrnn serve shakespeare reviews-en")
    given = {entry.name: getattr(arguments, entry.name) for entry in fields(Settings)}
    settings = Settings(
        **{**from_environment(os.environ), **{name: value for name, value in given.items() if value is not None}}
    )
    try:
        from textrnn.serve.http import Service
    except ImportError as error:
        raise UserError(
            f"textrnn serve needs the extra serve, {error.name} is not installed; run: pip install 'textrnn[serve]'"
        ) from error
    service = Service(arguments.models, settings)
    print(f"{service.url} loads {', '.join(arguments.models)}", file=sys.stderr, flush=True)
    service.run(lambda: print(f"{service.url} is ready; Ctrl-C stops it", file=sys.stderr, flush=True))
