"""All stages of a run, one after the other; stages that are done are not done again.

python pipelines/run_all.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import classify_text
import classify_vectors
import evaluate_model
import generate_text
import prepare_text
import quantize_model
import train_model
import train_tokenizer
from stage import config_of

STAGES = (train_tokenizer, prepare_text, train_model, evaluate_model, quantize_model)
LAST_STAGE = {"language_model": generate_text, "classification": classify_text}
LAST_STAGE_OF_VECTORS = {"classification": classify_vectors, "regression": classify_vectors}


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    config = config_of(__doc__, argv)
    if config is None:
        return 1
    last = (LAST_STAGE_OF_VECTORS if config.data.reads == "vectors" else LAST_STAGE).get(config.task)
    for stage in (*STAGES, *([last] if last else [])):
        print(f"\n== {(stage.__doc__ or '').splitlines()[0]}", flush=True)
        if code := stage.main(argv):
            return code
    print(f"\n== done in {time.monotonic() - began:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
