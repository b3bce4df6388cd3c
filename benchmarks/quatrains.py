"""How many generated poems keep the form: four lines of seven (or --characters) Chinese characters.

python benchmarks/quatrains.py runs/tang
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import textrnn


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="a bundle or a run folder")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="poems to write (200)")
    parser.add_argument("--characters", type=int, default=7, metavar="N", help="of a line (7)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="F")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    line = rf"[\u3400-\u9fff\U00020000-\U0003ffff]{{{arguments.characters}}}"
    form = re.compile(f"{line}，{line}。{line}，{line}。")
    model = textrnn.load(arguments.model)
    poems = model.samples(count=arguments.count, length=100, temperature=arguments.temperature, seed=arguments.seed)
    kept = sum(form.fullmatch(poem) is not None for poem in poems)
    for poem in poems[:5]:
        print(poem)
    print(f"{kept} of {len(poems)} poems keep the form: {kept / len(poems):.1%}")
    if arguments.json:
        figures = {"poems": len(poems), "kept": kept, "temperature": arguments.temperature}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
