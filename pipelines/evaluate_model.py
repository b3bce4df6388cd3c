"""Stage 4: evaluate the exported model of a run on its held-out text or vectors.

python pipelines/evaluate_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.cli import main as textrnn
from textrnn.training.loop.run import Run


@stage
def main(run: Run) -> int:
    return textrnn(["evaluate", str(run.folder)])


if __name__ == "__main__":
    sys.exit(main())
