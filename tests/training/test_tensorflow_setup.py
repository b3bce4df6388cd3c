"""The import of TensorFlow: the command hides packages that it does not need; a program does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import call

from textrnn import cli
from textrnn.training import tensorflow_setup
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
def test_keras_sees_other_packages_in_a_program_but_not_in_the_command(alone: bool, tmp_path: Path) -> None:
    for name in NOT_NEEDED if alone else ["pandas"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"print('{name}')\nDataFrame = Series = type('', (), {{}})\n")
    program = IMPORT.format(alone=alone)
    finished = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == (["TensorFlow", "pandas"] if alone else ["pandas", "TensorFlow"])


def test_a_program_that_calls_the_command_is_not_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorflow_setup, "runs_one_command", False)
    monkeypatch.setattr(sys, "argv", ["textrnn", "models"])
    assert cli.main() == 0
    assert tensorflow_setup.runs_one_command
    assert call("models").code == 0
    assert not tensorflow_setup.runs_one_command
