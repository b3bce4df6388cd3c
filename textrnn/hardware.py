"""Properties of the processor."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 matrix products; true if that is unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return "bf16" in flags  # avx512_bf16 and amx_bf16 on x86, bf16 on ARM
