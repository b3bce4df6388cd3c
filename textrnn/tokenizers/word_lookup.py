"""Words of long texts to ids in numpy: the bytes of words are keys of hash tables, and no word becomes an object.

Eight bytes of UTF-8 are a number of 64 bits, and a word is one, two or three of them. Words are equal if their numbers
are, so that no word can be taken for another. Longer words are looked up in a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from textrnn.tokenizers.word_bounds import WordBounds

Places = NDArray[np.int64]
Numbers = NDArray[np.uint64]

NUMBER_BYTES = 8
COLUMNS = 3  # numbers of a word in a table
LONGEST = NUMBER_BYTES * COLUMNS
BLOCK_BYTES = 1 << 17  # whose arrays fit the cache
MASKS = np.array([(1 << 8 * size) - 1 for size in range(NUMBER_BYTES + 1)], np.uint64)
ROUNDS = 1000


class WordLookup:
    """A lookup of the words of a text.

    Args:
        ids: id of each word in UTF-8.
        unknown: id of all other words.
        bounds: finds the words.
    """

    def __init__(self, ids: Mapping[bytes, int], unknown: int, bounds: WordBounds) -> None:
        self._unknown, self._bounds = unknown, bounds
        words: list[list[bytes]] = [[] for _ in range(COLUMNS)]
        self._long = {}
        for word, id in ids.items():
            if len(word) > LONGEST:
                self._long[word] = id
            elif b"\0" not in word:
                words[(len(word) - 1) // NUMBER_BYTES].append(word)
        self._tables = [
            _Table(some, [ids[word] for word in some], columns, unknown) for columns, some in enumerate(words, 1)
        ]

    def ids(self, text: bytes) -> NDArray[np.int32]:
        """Return the ids of the words in a text in UTF-8, int32 ``(words,)``. It must not hold the character NUL."""
        data = text + bytes(LONGEST + NUMBER_BYTES)
        room = np.empty(0, np.uint64)
        found = [np.empty(0, np.int32)]
        for begin, end in _blocks(text):
            if room.size < end - begin + LONGEST:
                room = np.empty(end - begin + LONGEST, np.uint64)
            found.append(self._block(data, begin, end, room))
        return np.concatenate(found)

    def _block(self, data: bytes, begin: int, end: int, room: Numbers) -> NDArray[np.int32]:
        """Return the ids of the words in ``data[begin:end]``, which cuts no word; `room` is overwritten."""
        starts, lengths = self._bounds(data, begin, end)
        # The eight bytes from each byte on as a number: many words are gathered faster from an aligned array.
        numbers = room[: end - begin + LONGEST]
        np.copyto(numbers, np.ndarray(numbers.shape, "<u8", data, begin, (1,)))
        ids = np.empty(len(starts), np.int32)
        rows = np.arange(len(starts))
        columns: list[Numbers] = []
        for table in self._tables:
            columns.append(numbers.take(starts))
            columns[-1] &= MASKS.take(lengths, mode="clip")
            ids[rows] = table.ids(columns)
            # Of the longer words the next bytes decide too.
            longer = np.flatnonzero(lengths > NUMBER_BYTES)
            if not longer.size:
                return ids
            starts, lengths = starts[longer] + NUMBER_BYTES, lengths[longer] - NUMBER_BYTES
            rows = rows[longer]
            columns = [numbers_of_word[longer] for numbers_of_word in columns]
        begins = starts + (begin - LONGEST)
        ends = begins + lengths + LONGEST
        words = [data[start:stop] for start, stop in zip(begins.tolist(), ends.tolist(), strict=True)]
        ids[rows] = [self._long.get(word, self._unknown) for word in words]
        return ids


def _blocks(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the blocks of a text begin and end; they are cut after blanks and newlines."""
    begin = 0
    while begin < len(text):
        end = min(len(text), begin + BLOCK_BYTES)
        if end < len(text):
            cut = max(text.rfind(b" ", begin, end), text.rfind(b"\n", begin, end))
            if cut < 0:
                cuts = [place for place in (text.find(b" ", end), text.find(b"\n", end)) if place >= 0]
                cut = min(cuts, default=len(text) - 1)
            end = cut + 1
        yield begin, end
        begin = end


class _Table:
    """A perfect hash table: each word has a place of its own, so that one comparison decides.

    Each bucket of words has a salt that puts its words in places that are free (Belazzougui et al. 2009, hash, displace
    and compress).

    Args:
        words: words without NUL.
        ids: their ids.
        columns: numbers of each word.
        unknown: id of all other words.
    """

    def __init__(self, words: Sequence[bytes], ids: Sequence[int], columns: int, unknown: int) -> None:
        self._unknown = np.int32(unknown)
        joined = b"".join(word.ljust(NUMBER_BYTES * columns, b"\0") for word in words)
        numbers = np.frombuffer(joined, "<u8").reshape(len(words), columns).T.astype(np.uint64)
        # The last entry is for empty places; no word is 0.
        self._columns = list(np.append(numbers, np.zeros((columns, 1), np.uint64), axis=1))
        self._ids = np.array([*ids, unknown], np.int32)
        bits = max(2, (2 * len(words)).bit_length())
        self._shift, self._bucket_shift = np.uint64(64 - bits), np.uint64(64 - bits + 2)
        generator = np.random.default_rng(0)
        while not self._fill(generator, numbers, bits):
            pass

    def _fill(self, generator: np.random.Generator, numbers: Numbers, bits: int) -> bool:
        """Draw factors, then salts until all words have a place; return whether they have."""
        count = numbers.shape[1]
        self._factors = generator.integers(1 << 63, 1 << 64, len(numbers), np.uint64) | np.uint64(1)
        self._salts = np.zeros(1 << bits - 2, np.uint64)
        self._entries = np.full(1 << bits, count, np.int32)
        hashes = self._hashes(numbers)
        if len(np.unique(hashes)) < count:
            return False
        buckets = (hashes >> self._bucket_shift).view(np.int64)
        sizes = np.bincount(buckets, minlength=self._salts.size)
        for size in range(sizes.max(initial=0), 0, -1):  # the largest first, as long as most places are free
            left = np.flatnonzero(sizes[buckets] == size)
            for _ in range(ROUNDS):
                if not left.size:
                    break
                drawn, rows = np.unique(buckets[left], return_inverse=True)
                self._salts[drawn] = generator.integers(0, 1 << 64, len(drawn), np.uint64)
                places = self._places(hashes[left])
                firsts = np.unique(places, return_index=True)[1]
                fails = np.ones(left.size, bool)
                fails[firsts] = self._entries[places[firsts]] < count
                fails = np.bincount(rows, fails, len(drawn))[rows] > 0
                self._entries[places[~fails]] = left[~fails]
                left = left[fails]
            if left.size:
                return False
        return True

    def ids(self, numbers: Sequence[Numbers]) -> NDArray[np.int32]:
        """Return the ids of words, int32 ``(words,)``, by their numbers, an array ``(words,)`` for each column."""
        entries = self._entries.take(self._places(self._hashes(numbers)))
        known = self._columns[0].take(entries) == numbers[0]
        for column, number in zip(self._columns[1:], numbers[1:], strict=True):
            known &= column.take(entries) == number
        return np.where(known, self._ids.take(entries), self._unknown)

    def _hashes(self, numbers: Sequence[Numbers] | Numbers) -> Numbers:
        hashes: Numbers = numbers[0] * self._factors[0]
        for number, factor in zip(numbers[1:], self._factors[1:], strict=True):
            hashes += number * factor
        return hashes

    def _places(self, hashes: Numbers) -> Places:
        mixed = self._salts.take((hashes >> self._bucket_shift).view(np.int64))
        mixed ^= hashes
        mixed *= self._factors[0]
        mixed >>= self._shift
        return mixed.view(np.int64)
