"""What each setting of a language model is worth: the held-out loss of a run with it and of one without.

    python benchmarks/experiments/ablation.py --config configs/ptb.toml --out FOLDER [--set KEY=VALUE ...]
        [--only NAME ...] [--also "NAME: KEY=VALUE KEY=VALUE" ...]

The config as it stands, then the same with one setting put back to what it would be without, then with what --also
adds; everything else, the seed and the number of steps too, stays. Differences below a hundredth of a nat are within
what another seed gives. Each run is a run folder in FOLDER: what is finished is not trained anew, what was stopped goes
on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textrnn.cli import main as textrnn
from textrnn.training.tasks.configuration import load_config

sys.path.append(str(Path(__file__).resolve().parent.parent))
from measure import print_table, write_json

WITHOUT = {
    "tied": ["model.tied=false"],
    "embedding_dropout": ["model.embedding_dropout=0"],
    "input_dropout": ["model.input_dropout=0"],
    "dropout": ["model.dropout=0"],
    "variational": ["model.variational=false"],
    "weight_drop": ["model.weight_drop=0"],
    "softmax": ["model.softmax=full"],
    "residual": ["model.residual=false"],
    "weight_decay": ["train.weight_decay=0"],
}
"""By what is left out, the settings without it."""
ALL = "all"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="(default: the built-in text)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument(
        "--only", nargs="+", choices=[ALL, *WITHOUT], metavar="NAME", help=f"{ALL}, {', '.join(WITHOUT)}"
    )
    parser.add_argument("--also", action="append", default=[], metavar="'NAME: KEY=VALUE ...'", help="more to try")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the run folders go")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    whole = load_config(arguments.config, arguments.settings)
    variants = {ALL: [], **{f"without {name}": changes for name, changes in WITHOUT.items()}}
    if arguments.only:
        variants = {name: changes for name, changes in variants.items() if name.split()[-1] in arguments.only}
    for stated in arguments.also:
        name, _, changes = stated.partition(":")
        variants[name.strip()] = changes.split()
    rows: list[dict[str, Any]] = []
    for name, changes in variants.items():
        settings = [*arguments.settings, *changes]
        if changes and load_config(arguments.config, settings) == whole:
            continue  # the config is without it anyway
        measured = train(arguments.config, settings, arguments.out / name.replace(" ", "_"))
        if measured is None:
            print(f"ablation: training of {name!r} failed", file=sys.stderr)
            return 1
        rows.append({"config": name, **measured, "more nats": measured["held-out nats"]})
        rows[-1]["more nats"] -= rows[0]["held-out nats"]
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, "ablation", rows, settings=whole.to_dict())
    return 0


def train(config: Path | None, settings: Sequence[str], run: Path) -> dict[str, Any] | None:
    """The lowest held-out loss of a run, which is taken up where it was left; None if it failed."""
    if not (run / "bundle").exists():
        own = [word for setting in settings for word in ("--set", setting)]
        own += ["--config", str(config)] if config else []
        if (run / "config.json").exists():
            own = ["--resume"]
        with contextlib.redirect_stdout(io.StringIO()):
            if textrnn(["train", *own, "--out", str(run), "--quiet"]):
                return None
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    nats = min(line["held_out_loss"] for line in history if "held_out_loss" in line)
    return {"held-out nats": nats, "perplexity": math.exp(nats), "seconds": history[-1]["seconds"]}


if __name__ == "__main__":
    sys.exit(main())
