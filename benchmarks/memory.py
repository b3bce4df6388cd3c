"""Peak memory of one training step as sequences grow: ours, ours with activations computed again, Keras, torch.

    python benchmarks/memory.py [--steps N ...] [--recompute N] [--json FILE]

Each figure is a process of its own that takes a few steps: its peak resident memory, libraries and compilation
included, and the median time of a step. Bytes a token are the slope between the two longest sequences.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import alternate, has_bfloat16, measure_apart, peer, print_table, write_json
from training_peers import Case, Run, keras_step, our_step, torch_step

WITH_RECOMPUTING = "textrnn float32 recompute"
CANDIDATES: dict[str, Callable[[Case, int], Run]] = {
    "textrnn float32": lambda case, _: our_step(case),
    WITH_RECOMPUTING: lambda case, recompute: our_step(case, recompute=recompute),
    "textrnn bfloat16": lambda case, _: our_step(case, "bfloat16"),
    "keras float32": lambda case, _: keras_step(case),
    "torch float32": lambda case, _: torch_step(case),
}


def segment(steps: int, most: int) -> int:
    """The longest part, of `most` steps at most, that a sequence can be cut into without a rest."""
    return max(length for length in range(1, min(steps, most) + 1) if steps % length == 0)


def measure_here(name: str, case: Case, recompute: int, seconds: float) -> dict[str, float]:
    """Take some steps in this process."""
    if not name.startswith("torch"):
        from textrnn.training.tensorflow_setup import import_tensorflow

        import_tensorflow()
    run = CANDIDATES[name](case, recompute)
    times = alternate({name: run}, seconds, minimum=2, warm_up=1)[name]
    return {"peak_megabytes": peak_bytes() / 1e6, "milliseconds": 1e3 * statistics.median(times)}


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    try:
        # getrusage would count what the process was before it became this program.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        import resource

        kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte


def slopes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bytes a token of each candidate that was measured at two lengths at least."""
    result = []
    for name in dict.fromkeys(row["candidate"] for row in rows):
        measured = sorted(
            (row["tokens"], row["peak_megabytes"])
            for row in rows
            if row["candidate"] == name and "peak_megabytes" in row
        )
        if len(measured) > 1:
            (fewer, less), (more, most) = measured[-2:]
            result.append({"candidate": name, "bytes_a_token": 1e6 * (most - less) / (more - fewer)})
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--units", type=int, default=512, metavar="N", help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="(%(default)s)")
    parser.add_argument("--layers", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", default=[128, 512, 2048, 10_000], metavar="N")
    parser.add_argument("--recompute", type=int, default=128, metavar="N", help="steps kept at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, metavar="N", help="of timing, a figure (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.job:
        job = json.loads(arguments.job)
        print(json.dumps(measure_here(**(job | {"case": Case(**job["case"])}))))
        return 0
    names = [name for name in CANDIDATES if "bfloat16" not in name or has_bfloat16()]
    if peer("torch") is None:
        names.remove("torch float32")
    rows: list[dict[str, Any]] = []
    for steps in arguments.steps:
        case = Case(arguments.units, arguments.batch, steps, arguments.layers)
        kept = segment(steps, arguments.recompute)
        for name in names:
            recompute = kept if name == WITH_RECOMPUTING else 0
            job = {"name": name, "case": vars(case), "recompute": recompute, "seconds": arguments.seconds}
            figures = measure_apart(__file__, job, f"{name} of {steps} steps")
            row = {"steps": steps, "tokens": case.tokens, "candidate": name, **(figures or {})}
            rows.append(row | ({"recompute": kept} if name == WITH_RECOMPUTING else {}))
        print_table(rows[-len(names) :])
        print()
    bytes_a_token = slopes(rows)
    if bytes_a_token:
        print_table(bytes_a_token)
    if arguments.json:
        sizes = {"units": arguments.units, "batch": arguments.batch, "layers": arguments.layers}
        write_json(arguments.json, "memory", rows, case=sizes, bytes_a_token=bytes_a_token)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
