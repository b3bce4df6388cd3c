"""Stage 3: train the model of a run and export its best weights; go on where an earlier call stopped.

python pipelines/train_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from train_tokenizer import stage_run

from textrnn.cli import train_run


def main(argv: Sequence[str] | None = None) -> int:
    print(f"bundle: {train_run(stage_run(__doc__, argv))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
