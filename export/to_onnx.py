"""Export the best weights of a run as a bundle of ONNX graphs.

python export/to_onnx.py runs/demo --out demo-bundle [--quantize int8]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from textrnn.cli import main as textrnn


def main(argv: Sequence[str] | None = None) -> int:
    return textrnn(["export", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
