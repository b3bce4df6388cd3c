"""What it takes to run a finished model in an environment without the extra: cold start and peak memory.

    python benchmarks/inference_install.py MODEL

Installs the wheel as `make minimal` does, which measures the size, and times the `textrnn generate` command from a
shell's point of view, from its start to the first character and to its exit, repeatedly.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from minimal_install import install


def generate_once(commands: Path, model: Path, length: int) -> dict[str, float]:
    """Seconds to the first character and to the exit, and peak memory, of one command."""
    start = time.perf_counter()
    arguments = [commands / "textrnn", "generate", model, "--length", str(length), "--seed", "1"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    if process.stdout is None or not process.stdout.read(1):
        raise SystemExit("the command wrote nothing")
    first = time.perf_counter() - start
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the command failed")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return {
        "seconds_to_first_character": first,
        "seconds_to_exit": time.perf_counter() - start,
        "peak_megabytes": usage.ru_maxrss * kilobyte / 1e6,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL", help="a bundle or a run folder")
    parser.add_argument("--length", type=int, default=200, metavar="N", help="tokens to write (200)")
    parser.add_argument("--repeat", type=int, default=11, metavar="N", help="cold starts (11)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        commands = install(Path(name) / "environment")
        figures: dict[str, float | str] = {"python": platform.python_version()}
        runs = [generate_once(commands, arguments.model, arguments.length) for _ in range(arguments.repeat)]
    figures |= {f"median_{name}": statistics.median(run[name] for run in runs) for name in runs[0]}
    for figure, value in figures.items():
        print(f"{figure.replace('_', ' '):36} {value if isinstance(value, str) else format(value, '.3f')}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
