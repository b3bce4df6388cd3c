"""A program that uses the library finds its own process as it left it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_no_public_call_changes_global_state(tmp_path: Path) -> None:
    script = Path(__file__).with_name("use_every_public_call.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MPL"))}
    environment |= {"HF_HOME": str(tmp_path / "hub"), "MPLCONFIGDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"changed": {}, "added": []}
