"""A checkpoint is whole, or it is refused by name; the one before stays until the new one is whole."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from full_disk import files_limited_to
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import UserError
from textrnn.training.loop.checkpoints import Progress, load_checkpoint, save_checkpoint

PROGRESS = Progress(step=7, fingerprint="abc", best_loss=1.25, loss_sum=0.1 + 0.2, loss_count=3, seconds=1.5)
ARRAYS: dict[str, Any] = {
    "model/embedding": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),
    "optimizer/0": np.array(7, np.int64),
    "state": np.zeros((2, 0, 3), np.float32),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    for progress in (PROGRESS, Progress(finished=True)):  # the second has an infinite loss, and replaces the first
        save_checkpoint(path, progress, ARRAYS)
        loaded, arrays = load_checkpoint(path)
        assert loaded == progress
        assert set(arrays) == set(ARRAYS)
        for name, array in arrays.items():
            assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
            assert array.tobytes() == ARRAYS[name].tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found none: .*none\.npz"):
        load_checkpoint(tmp_path / "none.npz")


def saved() -> bytes:
    buffer = io.BytesIO()
    header = json.dumps({"format_version": 1, "step": 7, "fingerprint": "abc"})
    arrays: dict[str, Any] = {"progress.json": np.array(header)}
    np.savez(buffer, **arrays, **ARRAYS)
    return buffer.getvalue()


WHOLE = saved()


def load_bytes(folder: Path, content: bytes) -> tuple[Progress, dict[str, Any]]:
    path = folder / "checkpoint.npz"
    path.write_bytes(content)
    return load_checkpoint(path)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_checkpoint_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.npz is damaged"):
        load_bytes(tmp_path_factory.getbasetemp(), WHOLE[:size])


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, bits: int) -> None:
    expected, expected_arrays = load_bytes(tmp_path, WHOLE)
    refused = 0
    for position in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= bits
        try:
            progress, arrays = load_bytes(tmp_path, bytes(damaged))
        except UserError as error:
            assert "checkpoint.npz" in str(error)
            refused += 1
        else:  # a date, a flag that nothing reads, the number of arrays; who restores them looks for each by its name
            assert progress == expected
            for name, array in arrays.items():
                assert array.tobytes() == expected_arrays[name].tobytes()
    assert refused > len(WHOLE) // 2


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"PK\x03\x04", np.arange(3).tobytes()],
    ids=["empty", "text", "signature", "numbers"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.npz is damaged"):
        load_bytes(tmp_path, content)


def test_a_single_array_and_an_archive_of_others_are_refused(tmp_path: Path) -> None:
    for save, thing in ((np.save, np.zeros(3)), (np.savez, np.zeros(3))):
        buffer = io.BytesIO()
        save(buffer, thing)
        with pytest.raises(UserError, match=r"checkpoint\.npz is damaged"):
            load_bytes(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("header", ["[]", "7", "{", '{"format_version": 1, "step": }'])
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: str) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"progress.json": np.array(header)}
    np.savez(buffer, **arrays)
    with pytest.raises(UserError, match=r"checkpoint\.npz (is damaged|has checkpoint format 0)"):
        load_bytes(tmp_path, buffer.getvalue())


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"progress.json": np.array('{"format_version": 2, "step": 7}')}
    np.savez(buffer, **arrays)
    with pytest.raises(UserError, match="has checkpoint format 2, this textrnn reads 1"):
        load_bytes(tmp_path, buffer.getvalue())


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"progress.json": np.array([{"step": 7}], object)}
    np.savez(buffer, **arrays)
    with pytest.raises(UserError, match=r"checkpoint\.npz is damaged"):
        load_bytes(tmp_path, buffer.getvalue())


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, PROGRESS, ARRAYS)
    before = path.read_bytes()
    with (
        files_limited_to(len(before) // 2),
        pytest.raises(UserError, match=r"checkpoint\.npz could not be written: File too large; free space"),
    ):
        save_checkpoint(path, Progress(step=8), ARRAYS)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_an_error_while_writing_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, PROGRESS, ARRAYS)
    before = path.read_bytes()

    def full(file: Any, **arrays: Any) -> None:
        file.write(before[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"checkpoint\.npz could not be written: No space left on device"):
        save_checkpoint(path, Progress(step=8), ARRAYS)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_every_array_has_a_checksum() -> None:
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        assert all(entry.CRC for entry in archive.infolist())
