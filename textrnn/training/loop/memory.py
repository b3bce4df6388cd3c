"""Estimate the memory of a training step and fail early if it does not fit."""

from __future__ import annotations

from pathlib import Path

from textrnn.config import Config
from textrnn.errors import UserError
from textrnn.training.tensorflow_setup import on_tensorflow_processor

# Numbers stored for the backward pass and used in it, per unit, step and row: from the peak memory of whole processes
# over the sizes of benchmarks/memory.py, and for sequences of vectors up to 10,000 steps long.
LAYER, MIXING, NORMALIZATION = 5, 6, 4
OUTPUTS = 3


def bytes_needed(config: Config, features: int, outputs: int, length: int) -> int:
    """Estimate the peak memory of a training step's activations in bytes.

    Args:
        config: configuration of the run.
        features: size of the vectors that the first layer reads.
        outputs: number of logits or values at each step; 0 if a whole sequence has one output.
        length: steps of the longest sequence.
    """
    model, train = config.model, config.train
    length = min(length, train.recompute or length)
    per_unit = (
        LAYER + (MIXING if model.mixing != "none" else 0) + (NORMALIZATION if model.normalization != "none" else 0)
    )
    above = length // model.stride
    directions = 2 if model.bidirectional else 1
    units = model.hidden_dim * directions * (LAYER * length + (per_unit - LAYER) * above)
    units += model.hidden_dim * directions * per_unit * above * (model.layers - 1)
    size = 2 if train.precision == "bfloat16" else 4
    return int(train.batch_size * (size * units + 4 * length * (features + OUTPUTS * outputs)))


def require_memory(needed: int, length: int) -> None:
    """Raise an error if a training step does not fit; a GPU is not checked, because its memory is unknown here.

    Raises:
        UserError: the machine has less memory left; the message says how much is needed.
    """
    available = available_bytes() if on_tensorflow_processor() else None
    if available is not None and needed > available:
        raise UserError(
            f"a training step must fit in memory, one over {length:,} steps needs about {needed / 1e9:,.1f} GB,"
            f" {available / 1e9:,.1f} are left; lower train.batch_size or model.hidden_dim, or read shorter sequences"
        )


def available_bytes() -> int | None:
    """Return the memory left to this process, the lower of the machine's and its control group's; None if unknown."""
    left = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        left.append(next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            left.append(int(limit) - int((group / "memory.current").read_text(encoding="utf-8")))
    except (OSError, ValueError, StopIteration):  # not Linux, or an older kernel
        pass
    return min(left) if left else None
