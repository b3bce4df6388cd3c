"""The direct path: ``R x``, from the n-grams of a text to its classes, beside the network (o = g(V h + R x + c))."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.training.direct.ngrams import Ids, NgramTable

DIRECT = "direct.npz"
"""File of a run folder: its direct path."""
CHUNK = 1 << 20  # tokens, or weights, in memory at once
SMALLEST_SQUARE = 1e-12  # of a norm, so that a text without known n-grams has scores of 0
FORMAT_VERSION = 2

Texts = Sequence[NDArray[np.integer[Any]]]


@dataclass(frozen=True, eq=False)
class Ngrams:
    """The numbers of the n-grams of some texts, one text after the other; or those of the features of some n-grams.

    Attributes:
        numbers: int64 ``(n-grams,)``.
        offsets: int64 ``(texts + 1,)``: text i has ``numbers[offsets[i]:offsets[i + 1]]``.
    """

    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """N-grams of each text."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The number of the text of each n-gram."""
        return np.repeat(np.arange(len(self)), self.counts)

    def some(self, texts: NDArray[Any]) -> Ngrams:
        """Return the n-grams of some of the texts, by their numbers."""
        counts = self.counts[texts]
        ends = np.cumsum(counts)
        places = np.arange(counts.sum()) + np.repeat(self.offsets[texts] - (ends - counts), counts)
        return Ngrams(self.numbers[places], np.concatenate([[0], ends]))


def summed(rows: NDArray[np.floating[Any]], ngrams: Ngrams) -> NDArray[np.float64]:
    """Add the rows of the n-grams of each text: ``(n-grams, columns)`` to ``(texts, columns)``."""
    if np.all(ngrams.counts == 1):  # nothing to add, as for the features of n-grams without subwords
        return rows[ngrams.numbers].astype(np.float64)
    sums = np.zeros((len(ngrams), rows.shape[1]))
    for begin, end in chunks(ngrams.counts, CHUNK // rows.shape[1]):
        first, last = ngrams.offsets[[begin, end]]
        some = begin + np.flatnonzero(ngrams.counts[begin:end])
        if len(some):
            found = rows[ngrams.numbers[first:last]]
            sums[some] = np.add.reduceat(found, ngrams.offsets[some] - first, axis=0)
    return sums


def norms(squares: NDArray[np.float32], ngrams: Ngrams) -> NDArray[np.float32]:
    """Compute the Euclidean norm of the n-grams of each text, ``(texts,)``, from squares ``(n-grams,)``."""
    return np.sqrt(np.maximum(summed(squares[:, None], ngrams)[:, 0], SMALLEST_SQUARE)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class DirectPath:
    """A linear model of the n-grams of a text.

    Each n-gram of a text counts once. x holds the importances of its n-grams, divided by their Euclidean norm.

    Attributes:
        table: its n-grams.
        weights: R, each row times the importance of its n-gram, float32 ``(n-grams + 1, columns)``; row 0, of an
            unknown n-gram, is 0. A column for each class; one column for two classes, of the second.
        squares: the square of the importance of each n-gram, float32 ``(n-grams + 1,)``; that of row 0 is 0.
        bias: float32 ``(columns,)``.
        labels: the classes.
    """

    table: NgramTable
    weights: NDArray[np.float32]
    squares: NDArray[np.float32]
    bias: NDArray[np.float32]
    labels: tuple[str, ...]

    def logits(self, texts: Texts) -> NDArray[np.float64]:
        """Compute logits ``(texts, classes)`` of texts, each ids ``(tokens,)``."""
        found = ngrams_of(self.table, texts)
        return as_logits(summed(self.weights, found) / norms(self.squares, found)[:, None] + self.bias)

    def scaled(self, scale: float) -> DirectPath:
        """Return the path with `scale` times the logits."""
        factor = np.float32(scale)
        return replace(self, weights=self.weights * factor, bias=self.bias * factor)

    def with_labels(self, labels: tuple[str, ...]) -> DirectPath:
        """Return the path for more classes, the first of which are its own; it says nothing of the others."""
        if labels == self.labels:
            return self
        more = len(labels) - len(self.labels)
        weights, bias = self.weights, self.bias[None]
        if weights.shape[1] == 1:  # which is that of the second class, and minus that of the first
            weights, bias = (np.concatenate([-each, each], axis=1) for each in (weights, bias))
        weights, bias = (np.pad(each, ((0, 0), (0, more))) for each in (weights, bias))
        return replace(self, weights=weights, bias=bias[0], labels=labels)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a graph holds, by name."""
        return {
            "direct_fingerprints": self.table.fingerprints,
            "direct_numbers": self.table.numbers,
            "direct_weights": self.weights,
            "direct_squares": self.squares,
            "direct_bias": self.bias,
        }

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return all of the path as arrays, which `restored` reads."""
        return self.arrays() | {"direct_order": np.array(self.table.order), "direct_labels": np.array(self.labels)}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]]) -> DirectPath:
        """Return the path from arrays of `stored`, and any others."""
        table = NgramTable(int(arrays["direct_order"]), arrays["direct_fingerprints"], arrays["direct_numbers"])
        labels = tuple(str(label) for label in arrays["direct_labels"])
        return cls(table, arrays["direct_weights"], arrays["direct_squares"], arrays["direct_bias"], labels)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the path to a file; `fingerprint` is the hash of its settings, tokenizer and data."""
        facts = {"format_version": np.array(FORMAT_VERSION), "fingerprint": np.array(fingerprint)}
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **self.stored(), **facts)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None) -> DirectPath | None:
        """Read a file of `save`; None if there is none, or if it was fitted to something else than `fingerprint`.

        Raises:
            UserError: the file is damaged, or of another format version.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if arrays["format_version"] != FORMAT_VERSION:
                raise ValueError("another format version")
            found = cls.restored(arrays)
        except FileNotFoundError:
            return None
        except Exception as error:  # libraries raise various exceptions for damaged bytes
            raise UserError(f"{path} must be as it was written: {error}; remove it and train again") from error
        return found if fingerprint in (None, str(arrays["fingerprint"])) else None


def as_logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logits ``(texts, classes)`` of scores ``(texts, columns)``; one column is that of the second class."""
    return np.concatenate([-scores / 2, scores / 2], axis=1) if scores.shape[1] == 1 else scores


def ngrams_of(table: NgramTable, texts: Texts) -> Ngrams:
    """Look up the n-grams of texts, each ids ``(tokens,)``."""
    found, counts = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
    for begin, end in chunks([len(text) for text in texts], CHUNK):
        numbers, owners = table.rows(*joined(texts[begin:end]))
        found.append(numbers)
        counts.append(np.bincount(owners, minlength=end - begin))
    return Ngrams(np.concatenate(found), np.cumsum(np.concatenate(counts)))


def joined(texts: Texts) -> tuple[Ids, NDArray[np.int64]]:
    """Return the tokens of texts, one text after the other, and the number of the text of each token."""
    lengths = [len(text) for text in texts]
    return np.concatenate([np.zeros(0, np.int64), *texts]), np.repeat(np.arange(len(texts)), lengths)


def chunks(sizes: Sequence[int] | NDArray[np.int64], room: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of consecutive items whose sizes sum to `room` at most; a larger item is alone."""
    ends = np.cumsum(sizes)
    begin, before = 0, 0
    while begin < len(sizes):
        end = max(begin + 1, int(np.searchsorted(ends, before + room, "right")))
        yield begin, end
        begin, before = end, int(ends[end - 1])
