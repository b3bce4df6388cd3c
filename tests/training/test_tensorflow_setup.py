"""The import of TensorFlow: the command spares packages that it does not need, a program of a user keeps them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from textrnn.training.tensorflow_setup import NOT_NEEDED

IMPORT = """
import sys
from textrnn.training import tensorflow_setup
tensorflow_setup.runs_one_command = {alone}
tensorflow_setup.import_tensorflow()
print("TensorFlow")
import pandas
"""


@pytest.mark.parametrize("alone", [True, False])
def test_only_a_program_of_a_user_shows_other_packages_to_keras(alone: bool, tmp_path: Path) -> None:
    for name in NOT_NEEDED if alone else ["pandas"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"print('{name}')\nDataFrame = Series = type('', (), {{}})\n")
    program = IMPORT.format(alone=alone)
    told = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == (["TensorFlow", "pandas"] if alone else ["pandas", "TensorFlow"])
