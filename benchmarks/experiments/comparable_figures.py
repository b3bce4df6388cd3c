"""Models of words, of pieces and of characters on one text, trained for the same time, in units that compare them.

    python benchmarks/experiments/comparable_figures.py --text FILE --seconds 120

Each trains for --seconds, which a short training before it turns into steps, and is measured on the same held-out
tenth. Perplexity says nothing across tokenizers; bits a character, and the perplexity of words, do, once words that a
tokenizer does not know are charged their spelling (the columns "spelled").
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from textrnn.cli import main as textrnn

sys.path.append(str(Path(__file__).resolve().parent.parent))
from measure import print_table, write_json

SETTINGS: dict[str, dict[str, Any]] = {
    "word": {
        "tokenizer.split": "punctuation",
        "tokenizer.min_count": 2,
        "train.batch_size": 32,
        "train.sequence_length": 32,
        "model.dropout": 0.3,
    },
    "sentencepiece": {
        "tokenizer.vocabulary_size": 2000,
        "train.batch_size": 32,
        "train.sequence_length": 64,
        "model.dropout": 0.3,
    },
    "char": {"train.batch_size": 64, "train.sequence_length": 128, "model.dropout": 0.1},
}
SHARED = {"model.hidden_dim": 256, "model.layers": 1, "train.sample_length": 0, "train.warmup_steps": 20}
MOST_EPOCHS = 40.0  # more would only learn the text by heart
SHORT = 0.2  # epochs from which the speed is taken


def train(kind: str, text: Sequence[str], folder: Path, changes: Sequence[str], epochs: float) -> list[dict[str, Any]]:
    """Train one model; the lines of its history."""
    settings = SHARED | SETTINGS[kind] | {"tokenizer.kind": kind, "train.epochs": f"{epochs:.8f}"}
    stated = [*(f"{name}={value}" for name, value in settings.items()), *changes]
    words = [word for statement in stated for word in ("--set", statement)]
    with redirect_stdout(io.StringIO()):
        code = textrnn(["train", *text, "--out", str(folder), "--quiet", *words])
    if code:
        raise SystemExit(code)
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def epochs_for(seconds: float, kind: str, text: Sequence[str], folder: Path, changes: Sequence[str]) -> float:
    """How many epochs take so long, from the second half of a short training."""
    history = train(kind, text, folder / f"{kind}-short", [*changes, "train.evaluations=1"], SHORT)
    an_epoch = history[-1]["step"] / history[-1]["epoch"]
    middle, last = history[len(history) // 2], history[-1]
    speed = (last["step"] - middle["step"]) / (last["seconds"] - middle["seconds"])
    return min(MOST_EPOCHS, seconds * speed / an_epoch)


def measure(kind: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    text = [str(arguments.text)] if arguments.text else []
    epochs = arguments.epochs or epochs_for(arguments.seconds, kind, text, folder, arguments.set_value)
    history = train(kind, text, folder / kind, arguments.set_value, epochs)
    printed = io.StringIO()
    with redirect_stdout(printed):
        textrnn(["evaluate", str(folder / kind), "--json"])
    found = json.loads(printed.getvalue())
    names = ["tokens", "perplexity", "bits_per_character", "word_perplexity"]
    row = {"candidate": kind, "epochs": epochs, "seconds": history[-1]["seconds"], "unknown": found.get("unknown", 0)}
    row |= {name: found.get(name) for name in names}
    for name in ("bits_per_character", "word_perplexity"):
        row[f"spelled_{name}"] = found.get(f"spelled_{name}", found.get(name))
    return row


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", type=Path, metavar="FILE", help="what is modelled (default: the built-in corpus)")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="N", help="of training, each (default 120)")
    parser.add_argument("--epochs", type=float, metavar="N", help="train so long instead")
    parser.add_argument("--tokenizers", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="default: all")
    parser.add_argument("--set-value", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        rows = [measure(kind, arguments, Path(name)) for kind in arguments.tokenizers]
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, "comparable figures", rows, text=arguments.text.name if arguments.text else None)


if __name__ == "__main__":
    main()
