"""Stage 6: generate text with the exported model of a run; with its int8 bundle if there is one.

python pipelines/generate_text.py configs/demo.toml --out runs/demo
"""

from __future__ import annotations

import sys

from stage import stage

from textrnn.cli import main as textrnn
from textrnn.training.loop.run import Run


@stage
def main(run: Run) -> int:
    small = run.folder / "bundle-int8"
    model = str(small if small.exists() else run.folder)
    prompt = run.config.train.prompt
    return textrnn(["generate", model, "--prompt", prompt, "--temperature", "0.7", "--length", "400", "--seed", "1"])


if __name__ == "__main__":
    sys.exit(main())
