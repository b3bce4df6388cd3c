"""Token ids in several files, read as one array."""

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
    """A shard could not be made now: what is finished can be gone on from."""


class DiskFull(Unfinished):
    """It could not be written for want of room."""


@dataclass(frozen=True)
class Shard:
    """A file of token ids, and what it was when it was written.

    Attributes:
        name: of the file, inside its folder.
        tokens, characters, bytes, documents: as those of a `TokenDataset`.
        sha256: of the whole file.
        sample: SHA-256 of some blocks spread over the file, which takes no time to find again.
        counted: the words of its text too, and what the tokenizer did not know of it; None where it is trained on.
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
        """Build a shard from the result of `to_dict`."""
        counted = record.get("counted")
        return cls(**{**record, "counted": TextSize(**counted) if counted else None})

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def open(self, folder: Path, dtype: np.dtype[Any], whole: bool = False) -> NDArray[Any]:
        """Open its ids, memory-mapped, ``(tokens,)``.

        Args:
            folder: where it lies.
            dtype: of the ids.
            whole: read the file from end to end, and not its samples alone, to see that nothing has changed.

        Raises:
            ValueError: it is missing, or not what was written; the message names it.
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
    """A shard that is being written to the file `path` stands for.

    Args:
        path: a temporary one, in a folder where it will have its name.
        dtype: of the ids in the file.
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
        """Add the ids of a text, and count what they stand for; `counted` where its words are counted too."""
        data = ids.astype(self._dtype).data
        self._file.write(data)
        self._digest.update(data)
        del data  # before the text is copied
        self.tokens += len(ids)
        self.characters += len(text)
        self.bytes += len(text) if text.isascii() else len(text.encode())
        self.documents += ends_document
        if counted is not None:
            self.counted = counted if self.counted is None else self.counted + counted

    def shard(self, path: Path) -> Shard:
        """Return the shard that was written, after it has its name."""
        counts = (self.tokens, self.characters, self.bytes, self.documents)
        return Shard(path.name, *counts, self._digest.hexdigest(), sample(path), self.counted)


def sample(path: Path) -> str:
    """Compute the SHA-256 of `SAMPLES` blocks spread evenly over a file, with its first and its last."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        last = max(0, path.stat().st_size - SAMPLE_BYTES)
        for number in range(SAMPLES):
            file.seek(last * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


class ShardedIds:
    """Ids in several arrays one after the other, read like one array ``(tokens,)`` that is not copied.

    Only what reading takes: `len`, one index, slices without a step, `take`; `numpy.asarray` makes an array of it.

    Args:
        parts: at least one, of one type, none of them empty.
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
        """Return an id, or a slice without copying: an array if it lies in one part, else a `ShardedIds`."""
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
        """Return the ids at some positions, integers of any shape, as `numpy.take` does.

        Args:
            positions: from 0 on, or from the end if negative.
            mode: what becomes of those beyond the ends: ``raise`` an IndexError, ``wrap`` around, or ``clip``.
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
    """Join arrays one after the other; a single array is returned as it is."""
    return parts[0] if len(parts) == 1 else ShardedIds(parts)
