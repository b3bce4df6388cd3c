"""Shards: files of token ids that are read as one array."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.files import sha256
from textrnn.scoring import TextSize

SAMPLES, SAMPLE_BYTES = 8, 4096
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unfinished(UserError):
    """The error when a shard could not be written; a later call can continue from the finished shards."""


class DiskFull(Unfinished):
    """The error when a shard could not be written because the disk is full."""


@dataclass(frozen=True)
class Shard:
    """A file of token ids, with counts and checksums from the time it was written.

    Attributes:
        name: file name in its folder.
        tokens, characters, bytes, documents: counts as in `TokenDataset`.
        sha256: SHA-256 of the whole file.
        sample: SHA-256 of some blocks spread over the file, which is fast to compute.
        counted: size of the text with its words and unknown words; None if they were not counted, as in training data.
    """

    name: str
    tokens: int
    characters: int
    bytes: int
    documents: int
    sha256: str
    sample: str
    counted: TextSize | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Shard:
        """Return the shard from the result of `to_dict`."""
        counted = record.get("counted")
        return cls(**{**record, "counted": TextSize(**counted) if counted else None})

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def open(self, folder: Path, dtype: np.dtype[Any], whole: bool = False) -> NDArray[Any]:
        """Return the memory-mapped ids, ``(tokens,)``.

        Args:
            folder: folder of the file.
            dtype: dtype of the ids.
            whole: whether to read the whole file, not only its sample, to check that it has not changed.

        Raises:
            ValueError: the file is missing, or has changed. The message names it.
        """
        path = folder / self.name
        try:
            size, wanted = path.stat().st_size, self.tokens * dtype.itemsize
            if size != wanted:
                raise ValueError(f"{self.name} has {size:,} bytes instead of {wanted:,}")
            if sample(path) != self.sample or (whole and sha256(path) != self.sha256):
                raise ValueError(f"{self.name} has changed")
            return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
        except OSError as error:
            raise ValueError(f"{self.name} cannot be read, {error.strerror}") from error


class ShardWriter:
    """A writer of one shard.

    Args:
        path: temporary path of the file, which is renamed when it is complete.
        dtype: dtype of the ids in the file.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._file, self._dtype, self._digest = path.open("wb"), dtype, hashlib.sha256()
        self.tokens = self.characters = self.bytes = self.documents = 0
        self.counted: TextSize | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, ids: NDArray[Any], text: str, ends_document: bool, counted: TextSize | None = None) -> None:
        """Append the ids of a text, and add its size to the counts; `counted` if its words are counted too."""
        data = ids.astype(self._dtype).data
        self._file.write(data)
        self._digest.update(data)
        del data  # free the memory before the text is encoded
        self.tokens += len(ids)
        self.characters += len(text)
        self.bytes += len(text) if text.isascii() else len(text.encode())
        self.documents += ends_document
        if counted is not None:
            self.counted = counted if self.counted is None else self.counted + counted

    def shard(self, path: Path) -> Shard:
        """Return the shard, when its file has its final name `path`."""
        counts = (self.tokens, self.characters, self.bytes, self.documents)
        return Shard(path.name, *counts, self._digest.hexdigest(), sample(path), self.counted)


def sample(path: Path) -> str:
    """Return the SHA-256 of `SAMPLES` blocks spread evenly over a file, which include the first and the last."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        last = max(0, path.stat().st_size - SAMPLE_BYTES)
        for number in range(SAMPLES):
            file.seek(last * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


class ShardedIds:
    """Token ids in several arrays, read as one concatenated array ``(tokens,)`` without a copy.

    It only supports what reading needs: `len`, a single index, slices with step 1 and `take`. `numpy.asarray` copies it
    to an array.

    Args:
        parts: one or more non-empty arrays of the same dtype.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self.parts = tuple(parts)
        self.dtype = self.parts[0].dtype
        self._ends = np.cumsum([len(part) for part in self.parts])
        self._begins = self._ends - [len(part) for part in self.parts]

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> ShardedIds | NDArray[Any]: ...
    def __getitem__(self, key: int | np.integer[Any] | slice) -> Any:
        """Return an id, or a slice of ids without a copy: an array if it lies in one part, else a `ShardedIds`."""
        if not isinstance(key, slice):
            return self.take(np.asarray(key), mode="raise")[()]
        begin, end, step = key.indices(len(self))
        if step != 1:
            raise IndexError(f"a slice must have the step 1, was: {step}")
        if begin >= end:
            return self.parts[0][:0]
        first = int(np.searchsorted(self._ends, begin, side="right"))
        last = int(np.searchsorted(self._ends, end, side="left"))
        cut = [part[:] for part in self.parts[first : last + 1]]
        cut[-1] = cut[-1][: end - int(self._begins[last])]
        cut[0] = cut[0][begin - int(self._begins[first]) :]
        return joined(cut)

    def take(self, positions: Any, mode: str = "raise") -> NDArray[Any]:
        """Return the ids at some positions, as `numpy.take` does.

        Args:
            positions: integers of any shape, counted from 0, or from the end if negative.
            mode: handling of positions out of range, as in `numpy.take`: ``raise`` an IndexError, ``wrap`` or ``clip``.
        """
        places, length = np.asarray(positions), len(self)
        if mode == "wrap":
            places = places % length
        elif mode == "clip":
            places = np.clip(places, 0, length - 1)
        else:
            if np.any((places < -length) | (places >= length)):
                raise IndexError(f"a position must be below {length}")
            places = np.where(places < 0, places + length, places)
        flat = places.ravel()
        owners = np.searchsorted(self._ends, flat, side="right")
        order = np.argsort(owners, kind="stable")
        found, firsts = np.unique(owners[order], return_index=True)
        ids = np.empty(flat.size, self.dtype)
        for owner, chosen in zip(found.tolist(), np.split(order, firsts)[1:], strict=True):
            ids[chosen] = self.parts[owner][flat[chosen] - self._begins[owner]]
        return ids.reshape(places.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("ids in several files cannot be one array without a copy")
        ids = np.concatenate(self.parts)
        return ids if dtype is None else ids.astype(dtype)


Ids = ShardedIds | NDArray[Any]


def joined(parts: Sequence[NDArray[Any]]) -> Ids:
    """Return the concatenation of arrays without a copy; a single array is returned itself."""
    return parts[0] if len(parts) == 1 else ShardedIds(parts)
