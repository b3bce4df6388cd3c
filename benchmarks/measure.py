"""What the benchmarks share: candidates timed in turn, what the machine can do, tables, and files of figures."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from textrnn.files import write_atomically
from textrnn.hardware import cores, has_bfloat16

PACKAGES = [
    "numpy",
    "tensorflow",
    "keras",
    "torch",
    "jax",
    "jaxlib",
    "onnx",
    "onnxruntime",
    "sentencepiece",
    "tokenizers",
    "scikit-learn",
    "fasttext-wheel",
]
DISTRIBUTIONS = {"sklearn": "scikit-learn", "fasttext": "fasttext-wheel"}  # where another name is imported
FLAGS = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16"]


def alternate(
    candidates: Mapping[str, Callable[[], object]], seconds: float = 10.0, minimum: int = 5, warm_up: int = 2
) -> dict[str, list[float]]:
    """Time candidates side by side, so that whatever else the machine does falls on all of them alike.

    Each gets an equal share of `seconds`, or the time of `minimum` runs if that is more. The one that has got the
    smallest part of its own runs next, so a slow candidate is run less often but over the same stretch of time.

    Args:
        candidates: what to run, by name; a run must wait for its own result.
        seconds: for all of them together, `warm_up` not counted.
        minimum: runs of each at least.
        warm_up: runs of each before, not counted.

    Returns:
        Seconds of each run, by name.
    """
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    share = max(seconds / max(1, len(candidates)), 1e-9)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    spent = dict.fromkeys(candidates, 0.0)

    def progress(name: str) -> float:
        return min(len(times[name]) / minimum, spent[name] / share)

    while waiting := [name for name in candidates if progress(name) < 1]:
        name = min(waiting, key=progress)
        start = time.perf_counter()
        candidates[name]()
        times[name].append(time.perf_counter() - start)
        spent[name] += times[name][-1]
    return times


def median_rows(times: Mapping[str, Sequence[float]], against: str | None = None) -> list[dict[str, Any]]:
    """One row a candidate: median and fastest run in milliseconds, and how many times the median of `against`."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows: list[dict[str, Any]] = []
    for name, seconds in times.items():
        row = {
            "candidate": name,
            "milliseconds": 1e3 * medians[name],
            "fastest_milliseconds": 1e3 * min(seconds),
            "runs": len(seconds),
        }
        if against in medians:
            row["ratio"] = medians[name] / medians[against]
        rows.append(row)
    return rows


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows in columns under their keys; numbers to four digits, a dash where a row has no such value."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[column.replace("_", " ") for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    is_text = [any(isinstance(row.get(column), str) for row in rows) for column in columns]
    for line in cells:
        padded = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ]
        print("  ".join(padded).rstrip(), flush=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def matrix_product_peak(size: int = 2048, runs: int = 9) -> dict[str, float]:
    """GFLOP/s of TensorFlow's product of two square matrices, by type: what no step of training can pass.

    bfloat16 is measured where the processor computes in it. The median of several runs; call it in the run whose
    figures it goes with, as shared machines change by the hour.
    """
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    peak = {}
    for dtype in ["float32", "bfloat16"] if has_bfloat16() else ["float32"]:
        a, b = (tf.cast(tf.random.stateless_normal((size, size), (1, seed)), dtype) for seed in (1, 2))
        multiply = tf.function(lambda a, b: tf.matmul(a, b)[0, 0], autograph=False)
        times = alternate({dtype: partial(_waited_for, multiply, a, b)}, seconds=0, minimum=runs)[dtype]
        peak[dtype] = 2 * size**3 / statistics.median(times) / 1e9
    return peak


def _waited_for(function: Callable[..., Any], *arguments: Any) -> float:
    return float(function(*arguments))


def environment() -> dict[str, Any]:
    """What a figure depends on: Python, packages, processor, operating system. No names of machines or folders."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    name, flags = _processor()
    return {
        "python": platform.python_version(),
        "packages": versions,
        "processor": name,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": cores(),
        "os": f"{platform.system()} {platform.machine()}",
    }


@cache
def _processor() -> tuple[str, list[str]]:
    """Its name and its flags; only Linux tells the flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor(), []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags") or fields.get("Features", "")  # x86, ARM
    return fields.get("model name", platform.machine()), flags.split()


def write_json(path: Path, table: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Write a table's rows with the environment they were measured in, and whatever else belongs to it."""
    document = {"table": table, "environment": environment(), **facts, "rows": list(rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def measure_apart(script: str, job: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """What a script prints as JSON when it is given a job, in a process of its own.

    None where it dies, of lack of memory most likely; what `what` names is then said to have failed.
    """
    command = [sys.executable, script, "--job", json.dumps(job)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        last_words = (process.stderr.strip().splitlines() or ["without a word"])[-1]
        print(f"{what} failed, exit code {process.returncode}: {last_words}", file=sys.stderr)
        return None
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures


@cache
def peer(name: str) -> ModuleType | None:
    """An optional package to compare with; where it is not installed, None, and a line that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        print(f"{name} is not installed, its column is left out; pip install {_requirement(name)}", file=sys.stderr)
        return None


def _requirement(name: str) -> str:
    """The version that the figures are taken with, as requirements.txt beside this file pins it."""
    name = DISTRIBUTIONS.get(name, name)
    requirements = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition(";")[0].strip() for line in requirements]
    return next((line for line in pinned if line.partition("==")[0] == name), name)
