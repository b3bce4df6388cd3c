"""Stage 5: quantise the exported model of a run to int8 in a second bundle, and report the loss of quality.

python pipelines/quantize_model.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.cli import main as textrnn
from textrnn.training.loop.run import Run


@stage
def main(run: Run) -> int:
    small = run.folder / "bundle-int8"
    if not small.exists() and (code := textrnn(["export", str(run.folder), "--quantize", "int8"])):
        return code
    return textrnn(["info", str(small)])


if __name__ == "__main__":
    sys.exit(main())
