"""`textrnn push`: upload a model to the hub."""

from __future__ import annotations

import argparse
from typing import Any

from textrnn.commands.arguments import add_command


def add_push(commands: Any) -> None:
    """Add the command and its arguments."""
    push = add_command(commands, "push", push_command, "upload a model to the hub, with its card", model=True)
    push.add_argument("name", metavar="USER/MODEL", help="name on the hub; the model is created if it does not exist")
    push.add_argument("--private", action="store_true", help="create it as private")
    push.add_argument("--message", default="Upload a textrnn model", metavar="TEXT", help="message of the commit")


def push_command(arguments: argparse.Namespace) -> None:
    from textrnn.bundle import read_bundle
    from textrnn.models.hub import upload
    from textrnn.models.places import find_model

    bundle = read_bundle(find_model(arguments.model))
    print(upload(bundle, arguments.name, arguments.private, arguments.message))
