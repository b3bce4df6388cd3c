"""Stage 5: store the exported model of a run in 8 bits, beside it, and say what that costs.

python pipelines/quantize_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from train_tokenizer import stage_run

from textrnn.cli import main as textrnn


def main(argv: Sequence[str] | None = None) -> int:
    folder = stage_run(__doc__, argv).folder
    if not (folder / "bundle-int8").exists() and (code := textrnn(["export", str(folder), "--quantize", "int8"])):
        return code
    return textrnn(["info", str(folder / "bundle-int8")])


if __name__ == "__main__":
    sys.exit(main())
