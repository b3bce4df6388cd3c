"""Stage 2: split off the held-out part of a run's data, and store its texts as token ids or its vectors as numbers.

python pipelines/prepare_text.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import prepare


@stage
def main(run: Run) -> int:
    train, held_out, *_ = prepare(run).parts
    for name, data in (("training", train), ("held out", held_out)):
        print(f"{name}: {data.summary}: {data.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
