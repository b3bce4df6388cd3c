"""Stage 4: measure the exported model of a run on its held-out text.

python pipelines/evaluate_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from train_tokenizer import stage_run

from textrnn.cli import main as textrnn


def main(argv: Sequence[str] | None = None) -> int:
    return textrnn(["evaluate", str(stage_run(__doc__, argv).folder)])


if __name__ == "__main__":
    sys.exit(main())
