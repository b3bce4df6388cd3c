"""Stage 2: turn the text of a run into token ids on disk, or its vectors into numbers; a held-out part apart.

python pipelines/prepare_text.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.training.loop.run import Run
from textrnn.training.tasks.table import prepare


@stage
def main(run: Run) -> int:
    train, held_out = prepare(run).parts
    for name, data in (("training", train), ("held out", held_out)):
        print(f"{name}: {data.summary}: {data.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
