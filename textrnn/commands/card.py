"""`textrnn card`: the model card of a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from textrnn.commands.arguments import add_command
from textrnn.errors import UserError
from textrnn.files import write_atomically


def add_card(commands: Any) -> None:
    """Add the command and its arguments."""
    card = add_command(commands, "card", card_command, "print the model card of a model, in Markdown", model=True)
    card.add_argument("--title", metavar="TEXT", help="title of the card")
    card.add_argument("--summary", metavar="TEXT", help="one sentence that describes the model")
    card.add_argument("--language", action="append", metavar="CODE", help="a language, e.g. en or zh; repeatable")
    card.add_argument("--license", metavar="NAME", help="the licence of the weights, e.g. mit")
    card.add_argument("--dataset", action="append", metavar="ID", help="a dataset of the hub; repeatable")
    card.add_argument("--example", metavar="TEXT", help="an input to show")
    card.add_argument("--save", action="store_true", help="keep these facts in the model and its README.md")


def card_command(arguments: argparse.Namespace) -> None:
    from textrnn.bundle import CARD, MANIFEST, read_bundle
    from textrnn.models.card import ANYWHERE, card_of
    from textrnn.models.hub import SCHEME
    from textrnn.models.places import FINISHED, find_model

    folder = find_model(arguments.model)
    stated = {
        "title": arguments.title,
        "summary": arguments.summary,
        "language": arguments.language,
        "license": arguments.license,
        "datasets": arguments.dataset,
        "example": arguments.example,
    }
    manifest = read_bundle(folder).manifest
    facts = {name: value for name, value in stated.items() if value}
    manifest = replace(manifest, card={**manifest.card, **facts})
    is_own = not arguments.model.startswith(SCHEME) and folder.parent != FINISHED
    place = ANYWHERE if is_own else arguments.model
    if arguments.save:
        if not is_own:
            raise UserError(f"--save changes a model of your own, {arguments.model} is not one; leave it out")
        with write_atomically(folder / CARD) as temporary:
            temporary.write_text(card_of(manifest), encoding="utf-8")
        with write_atomically(folder / MANIFEST) as temporary:
            temporary.write_text(manifest.to_json(), encoding="utf-8")
    print(card_of(manifest, place), end="")
