"""All stages of a run, one after the other; stages that are done are not done again.

python pipelines/run_all.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import evaluate_model
import generate_text
import prepare_text
import quantize_model
import train_model
import train_tokenizer

STAGES = (train_tokenizer, prepare_text, train_model, evaluate_model, quantize_model, generate_text)


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    for stage in STAGES:
        print(f"\n== {(stage.__doc__ or '').splitlines()[0]}", flush=True)
        if code := stage.main(argv):
            return code
    print(f"\n== done in {time.monotonic() - began:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
