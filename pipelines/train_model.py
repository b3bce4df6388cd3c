"""Stage 3: train the model of a run and export its best weights; an interrupted run is resumed.

python pipelines/train_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.actions.training import train_run
from textrnn.training.loop.run import Run


@stage
def main(run: Run) -> int:
    print(f"bundle: {train_run(run)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
