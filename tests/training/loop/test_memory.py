"""What does not fit in memory is refused before it is tried, with what it would need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textrnn.config import Config
from textrnn.training.loop import memory
from textrnn.training.loop.memory import available_bytes, bytes_needed, require_memory
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import trainer_of

REGRESSION = {"task": "regression", "model": {"hidden_dim": 64, "layers": 2}, "train": {"batch_size": 32}}


def changed(config: Config, section: str, **values: Any) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **values)})


def test_what_is_needed_grows_with_what_is_kept() -> None:
    config = from_dict(REGRESSION)
    needed = bytes_needed(config, 2, 0, 1000)
    assert needed > 2 * 4 * 32 * 64 * 1000  # two layers of states alone
    assert bytes_needed(config, 2, 0, 2000) == 2 * needed
    assert bytes_needed(changed(config, "train", batch_size=64), 2, 0, 1000) == 2 * needed
    assert bytes_needed(changed(config, "model", bidirectional=True), 2, 0, 1000) > 1.9 * needed
    assert bytes_needed(changed(config, "model", mixing="none", normalization="none"), 2, 0, 1000) < needed / 2
    assert bytes_needed(changed(config, "model", stride=4), 2, 0, 1000) < needed / 2
    assert bytes_needed(config, 2, 5000, 1000) > 5 * needed  # logits of a large vocabulary
    halved = bytes_needed(changed(config, "train", precision="bfloat16"), 2, 0, 1000)
    assert 0.5 * needed <= halved < 0.51 * needed
    assert bytes_needed(changed(config, "train", recompute=100), 2, 0, 1000) == bytes_needed(config, 2, 0, 100)


def test_this_machine_has_some_left() -> None:
    available = available_bytes()
    if not Path("/proc/meminfo").exists():
        assert available is None
    else:
        assert available is not None and available > 1e7


def test_what_does_not_fit_is_told_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "on_tensorflow_processor", lambda: True)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3_000_000_000)
    require_memory(2_999_999_999, 7)
    expected = r"one over 10,000 steps needs about 12.3 GB, 3.0 are left; lower train.batch_size or model.hidden_dim"
    with pytest.raises(memory.UserError, match=expected):
        require_memory(12_345_000_000, 10_000)
    for unknown in ("available_bytes", "on_tensorflow_processor"):  # another system; a GPU
        with monkeypatch.context() as patched:
            patched.setattr(memory, unknown, lambda: None)
            require_memory(12_345_000_000, 10_000)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_training_asks_first(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    np.savez(tmp_path / "records.npz", x=random.random((20, 30, 2)), y=np.arange(20) % 2)
    values = {"source": [str(tmp_path / "records.npz")], "reads": "vectors"}
    config = from_dict({"task": task, "data": values, "train": {"batch_size": 4}})
    monkeypatch.setattr(memory, "on_tensorflow_processor", lambda: True)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(memory.UserError, match="a training step must fit in memory, one over 30 steps needs about"):
        trainer_of(create_run(tmp_path / "run", config, quiet=True))
