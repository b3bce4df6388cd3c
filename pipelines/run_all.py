"""All stages of a run, one after the other; stages that are done are not done again.

python pipelines/run_all.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import evaluate_model
import generate_text
import predict_labels
import prepare_text
import quantize_model
import train_model
import train_tokenizer
from stage import config_of

from textrnn.training.tasks.table import task_of

STAGES = (train_tokenizer, prepare_text, train_model, evaluate_model, quantize_model)
LAST_STAGE = {"language model": generate_text, "classifier": predict_labels, "regressor": predict_labels}


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    config = config_of(__doc__, argv)
    if config is None:
        return 1
    last = LAST_STAGE.get(task_of(config).model)
    for stage in (*STAGES, *([last] if last else [])):
        print(f"\n== {(stage.__doc__ or '').splitlines()[0]}", flush=True)
        if code := stage.main(argv):
            return code
    print(f"\n== done in {time.monotonic() - began:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
