"""Stage 1: train the tokenizer of a run on its training text.

python pipelines/train_tokenizer.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import task_of


@stage
def main(run: Run) -> int:
    tokenizer = task_of(run.config).tokenizer(run)
    if tokenizer is None:
        print("this run reads vectors and needs no tokenizer")
        return 0
    print(f"{tokenizer.kind} tokenizer of {tokenizer.vocabulary_size:,} tokens: {run.folder / tokenizer.file_name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
