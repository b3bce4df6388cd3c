"""`textrnn transcribe`: the texts of recordings."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textrnn.commands.arguments import add_command
from textrnn.errors import UserError

if TYPE_CHECKING:
    from textrnn.runtime.recognizer import Recognizer

AT_ONCE = 16  # recordings in a batch


def add_transcribe(commands: Any) -> None:
    """Add the command and its arguments."""
    transcribe = add_command(
        commands,
        "transcribe",
        transcribe_command,
        "write the texts of recordings, one a line after its path and a tab",
        model=True,
        repeated="recordings",
    )
    transcribe.add_argument("recordings", nargs="*", metavar="RECORDING", help=".wav, .flac, .ogg and .mp3 files")
    transcribe.add_argument(
        "--input", type=Path, metavar="SOURCE", help="a folder of recordings, or a table with a column of their paths"
    )
    transcribe.add_argument(
        "--beams", type=int, metavar="N", help="prefixes of the beam search (default: 1, greedy; 8 with --lm)"
    )
    transcribe.add_argument(
        "--lm", metavar="MODEL", help="a language model of characters that helps to choose among texts"
    )
    transcribe.add_argument("--alpha", type=float, metavar="F", help="with --lm: its weight (default: 0.5)")
    transcribe.add_argument("--beta", type=float, metavar="F", help="with --lm: what a character adds (default: 0.5)")
    transcribe.add_argument("--json", action="store_true", help="print one JSON object a line, with scores")


def transcribe_command(arguments: argparse.Namespace) -> None:
    from textrnn.data.labels import describe
    from textrnn.runtime.load import load
    from textrnn.runtime.recognizer import Recognizer, language_model

    model = load(arguments.model)
    if not isinstance(model, Recognizer):
        kind = model.manifest.kind.replace("_", " ")
        raise UserError(f"transcribe needs a recognizer, {arguments.model} is a {kind}; train one: --task recognition")
    weights = {name: value for name in ("alpha", "beta") if (value := getattr(arguments, name)) is not None}
    if weights and arguments.lm is None:
        raise UserError(f"--{next(iter(weights))} is of a language model, none was given; add --lm MODEL")
    lm = None if arguments.lm is None else language_model(arguments.lm)
    options: dict[str, Any] = {"beams": arguments.beams, "lm": lm, **weights}
    skipped = Counter[str]()
    paths = _paths(model, arguments, skipped)
    number = 0
    while batch := list(islice(paths, AT_ONCE)):
        for path, found in zip(batch, model.transcribe(batch, **options), strict=True):
            number += 1
            if arguments.json:
                facts = {"record": number, "path": path, **found.to_dict()}
                print(json.dumps(facts, ensure_ascii=False), flush=True)
            else:
                print(f"{path}\t{found.text}", flush=True)
    if skipped:
        print(f"left out: {describe(skipped)}", file=sys.stderr)


def _paths(model: Recognizer, arguments: argparse.Namespace, skipped: Counter[str]) -> Iterator[str]:
    from textrnn.config import data_of_bundle
    from textrnn.data.audio.sources import Columns, find_recordings

    if bool(arguments.recordings) == bool(arguments.input):
        was = "both" if arguments.input else "none"
        raise UserError(f"{arguments.model} reads recordings or --input SOURCE, was given {was}; give one of them")
    if not arguments.input:
        return iter(arguments.recordings)
    columns = Columns(data_of_bundle(model.manifest.runtime).recording, "")
    return (str(found.path) for found in find_recordings(str(arguments.input), columns, skipped))
