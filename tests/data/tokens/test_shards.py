"""Ids in several files, read as one array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.tokens.shards import ShardedIds, joined

lengths = st.lists(st.integers(1, 9), min_size=2, max_size=6)


def sharded(sizes: list[int]) -> tuple[ShardedIds, np.ndarray]:
    """Ids in parts of some sizes, and the same in one array."""
    whole = np.arange(1000, 1000 + sum(sizes), dtype=np.uint16)
    ids = joined(np.split(whole, np.cumsum(sizes)[:-1]))
    assert isinstance(ids, ShardedIds)
    return ids, whole


@given(sizes=lengths, data=st.data())
def test_what_is_read_is_what_numpy_reads_of_one_array(sizes: list[int], data: st.DataObject) -> None:
    ids, whole = sharded(sizes)
    assert len(ids) == len(whole)
    assert (ids.shape, ids.dtype) == (whole.shape, whole.dtype)
    shape = data.draw(st.sampled_from([(), (7,), (2, 3), (0, 4)]))
    positions = np.array(data.draw(st.lists(st.integers(-99, 99), min_size=8, max_size=8)))
    positions = np.resize(positions[: int(np.prod(shape))], shape)
    for mode in ("wrap", "clip"):
        taken = ids.take(positions, mode=mode)
        assert taken.dtype == whole.dtype
        assert np.array_equal(taken, whole.take(positions, mode=mode)), mode
    begin, end = data.draw(st.none() | st.integers(-60, 60)), data.draw(st.none() | st.integers(-60, 60))
    assert np.array_equal(np.asarray(ids[begin:end]), whole[begin:end])
    index = data.draw(st.integers(-len(whole), len(whole) - 1))
    assert ids[index] == whole[index]


def test_a_stretch_is_not_copied() -> None:
    ids, whole = sharded([5, 3, 8])
    assert np.shares_memory(ids[6:8], whole)
    several = ids[3:12]
    assert isinstance(several, ShardedIds)
    assert [len(part) for part in several.parts] == [2, 3, 4]
    assert all(np.shares_memory(part, whole) for part in several.parts)


def test_what_cannot_be_read_is_refused() -> None:
    ids, _ = sharded([5, 3])
    for index in (8, -9):
        with pytest.raises(IndexError, match="below 8"):
            ids[index]
    with pytest.raises(IndexError, match="step 1"):
        ids[::2]
