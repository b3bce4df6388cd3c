"""Stage 1: train the tokenizer of a run on the training part of its text.

python pipelines/train_tokenizer.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from textrnn.config import load_config
from textrnn.train.run import Run, create_run, open_run


def stage_run(description: str | None, argv: Sequence[str] | None) -> Run:
    """The run a stage works on: opened if it is there, else made from its configuration."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="a TOML file of configs/")
    parser.add_argument("--out", type=Path, required=True, help="the run folder, the same for every stage")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="one setting")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.set)
    if arguments.out.exists():
        return open_run(arguments.out, config, arguments.quiet)
    return create_run(arguments.out, config, arguments.quiet)


def main(argv: Sequence[str] | None = None) -> int:
    run = stage_run(__doc__, argv)
    tokenizer = run.tokenizer()
    print(f"{tokenizer.kind} tokenizer of {tokenizer.vocabulary_size:,} tokens: {run.folder / tokenizer.file_name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
