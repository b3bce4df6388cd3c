"""Character tokenizer. Unknown characters are spelled as bytes, so encoding is lossless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.tokenizers.base import (
    END_ID,
    REPLACEMENT,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    StreamDecoder,
    Tokenizer,
    Utf8StreamDecoder,
    check_at_least,
    check_id,
    check_text,
    from_json,
    to_json,
    training_texts,
)

FIRST_DIGIT = len(SPECIAL_TOKENS)
FIRST_CHARACTER = FIRST_DIGIT + 16

UNICODE_SIZE = 0x110000
MISSING = -1
ENCODE_BLOCK = 1 << 16  # characters; the data of a block fits the CPU cache
COUNT_BLOCK = 1 << 20

NOT_UTF8 = b"\xff"  # for a digit without a second digit: it decodes to U+FFFD


class CharTokenizer(Tokenizer):
    """A tokenizer with one token per character.

    The vocabulary has the special tokens, sixteen hexadecimal digits, the characters sorted by code point, then those
    that were added later. An unknown character is spelled by the hexadecimal digits of its UTF-8 bytes, two tokens per
    byte. There are sixteen digit tokens instead of 256 byte tokens, because their rows in the embedding and the softmax
    are seldom used: unknown characters are rare.

    `decode(encode(text)) == text` for every valid string. Ids that are not valid UTF-8 decode to U+FFFD.
    """

    kind = "char"
    file_name = "tokenizer.json"
    can_grow = True

    def __init__(self, characters: str) -> None:
        """Build the tokenizer from its characters, in the order of their ids.

        Raises:
            UserError: the characters are not distinct, or one is a lone surrogate.
        """
        check_text(characters)
        codes = _code_points(characters)
        if len(set(characters)) < len(characters):
            raise UserError("characters must be distinct; train again")
        self._characters = characters
        # The last entry is for all code points above the largest known one.
        self._ids = np.full(int(codes.max()) + 2 if codes.size else 1, MISSING, dtype=np.int32)
        self._ids[codes] = np.arange(FIRST_CHARACTER, FIRST_CHARACTER + codes.size)
        # The value 0, the pad id, marks an unknown character, and one whose id does not fit a byte.
        ascii_ids = np.zeros(256, dtype=np.uint8)
        ascii_codes = codes[(codes < 128) & (self._ids[codes] < 256)]
        ascii_ids[ascii_codes] = self._ids[ascii_codes]
        self._ascii_ids = ascii_ids.tobytes()
        self._codes = np.full(FIRST_CHARACTER + codes.size, ord(REPLACEMENT), dtype="<u4")
        self._codes[FIRST_CHARACTER:] = codes

    @classmethod
    def train(cls, texts: Iterable[str], *, vocabulary_size: int | None = None, min_count: int = 1) -> CharTokenizer:
        """Train the tokenizer on some texts.

        Args:
            texts: the corpus, in blocks of any size.
            vocabulary_size: maximum number of ids, including the 20 special tokens and digits. The rarest characters
                are left out. None keeps all characters.
            min_count: minimum count of a character in the corpus; rarer ones are left out.

        Raises:
            UserError: there is no text, a text has a lone surrogate, or an option is out of range.
        """
        _check_options(vocabulary_size, min_count)
        counts = cls.count(training_texts(texts))
        return cls.from_counts([counts], vocabulary_size=vocabulary_size, min_count=min_count)

    @classmethod
    def count(cls, texts: Iterable[str]) -> Counter[str]:
        """Return the count of each character in some texts."""
        counts = np.zeros(UNICODE_SIZE, dtype=np.int64)
        for block in _blocks(texts, COUNT_BLOCK):
            seen = np.bincount(_code_points(block))
            counts[: seen.size] += seen
        codes = np.flatnonzero(counts)
        return Counter(dict(zip(_text(codes), counts[codes].tolist(), strict=True)))

    @classmethod
    def from_counts(
        cls, counts: Iterable[Counter[str]], *, vocabulary_size: int | None = None, min_count: int = 1
    ) -> CharTokenizer:
        """Build the tokenizer from counts, as `train` builds it from the counted texts; options as in `train`."""
        _check_options(vocabulary_size, min_count)
        total: Counter[str] = Counter()
        for some in counts:
            total.update(some)
        kept = sorted(character for character, number in total.items() if number >= min_count)
        if vocabulary_size is not None:
            kept = sorted(sorted(kept, key=lambda character: -total[character])[: vocabulary_size - FIRST_CHARACTER])
        return cls("".join(kept))

    def extended(self, other: Tokenizer) -> CharTokenizer:
        if not isinstance(other, CharTokenizer):
            return self
        known = set(self._characters)
        return CharTokenizer(self._characters + "".join(each for each in other._characters if each not in known))

    @property
    def vocabulary_size(self) -> int:
        return self._codes.size

    def encode(self, text: str) -> NDArray[np.int32]:
        if not isinstance(text, str):
            check_text(text)
        starts = range(0, len(text), ENCODE_BLOCK)
        try:
            blocks = [self._encode_block(text[start : start + ENCODE_BLOCK]) for start in starts]
        except UnicodeEncodeError:
            check_text(text)  # its message has the position in the whole text
            raise
        return np.concatenate(blocks, dtype=np.int32) if blocks else np.empty(0, dtype=np.int32)

    def encode_whole(self, text: str) -> tuple[NDArray[np.int32], list[str]]:
        check_text(text)
        ids = self._ids.take(_code_points(text), mode="clip").astype(np.int32)
        return np.where(ids == MISSING, np.int32(UNKNOWN_ID), ids), list(text)

    def _encode_block(self, block: str) -> NDArray[np.integer[Any]]:
        if block.isascii():
            translated = block.encode("ascii").translate(self._ascii_ids)
            if b"\0" not in translated:
                return np.frombuffer(translated, dtype=np.uint8)
        codes = _code_points(block)
        ids = self._ids.take(codes, mode="clip")
        missing = ids == MISSING
        if not missing.any():
            return ids
        # Replace each unknown character by two ids for each of its bytes, for all unknown characters at once.
        widths = np.ones(ids.size, dtype=np.intp)
        gaps = codes[missing]
        widths[missing] = 2 * (1 + (gaps >= 0x80) + (gaps >= 0x800) + (gaps >= 0x10000))
        ids = np.repeat(ids, widths)
        spelling = np.frombuffer(_text(gaps).encode("utf-8"), dtype=np.uint8)
        ids[ids == MISSING] = FIRST_DIGIT + np.stack([spelling >> 4, spelling & 15], axis=1).ravel()
        return ids

    def _decode(self, ids: NDArray[np.integer[Any]], after: str) -> str:
        ids = ids[(ids == UNKNOWN_ID) | (ids > END_ID)]
        is_digit = (ids >= FIRST_DIGIT) & (ids < FIRST_CHARACTER)
        if not is_digit.any():
            return _text(self._codes[ids])
        borders = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
        runs = np.split(ids, borders)
        first_run = 0 if is_digit[0] else 1
        return "".join(
            _spelled(run - FIRST_DIGIT) if number % 2 == first_run else _text(self._codes[run])
            for number, run in enumerate(runs)
        )

    def token_text(self, id: int) -> str:
        check_id(id, self.vocabulary_size)
        if id < FIRST_DIGIT:
            return SPECIAL_TOKENS[id]
        return f"<hex {id - FIRST_DIGIT:x}>" if id < FIRST_CHARACTER else chr(self._codes[id])

    def stream_decoder(self, after: str = "") -> StreamDecoder:
        return _CharStreamDecoder(self._token_bytes)

    @cached_property
    def _token_bytes(self) -> list[bytes]:
        nothing = [b""] * FIRST_CHARACTER
        nothing[UNKNOWN_ID] = REPLACEMENT.encode("utf-8")
        return nothing + [character.encode("utf-8") for character in self._characters]

    def _to_bytes(self) -> bytes:
        return to_json(self.kind, {"characters": self._characters})

    @classmethod
    def _from_bytes(cls, content: bytes) -> CharTokenizer:
        return cls(from_json(content, cls.kind, {"characters": str})["characters"])


class _CharStreamDecoder(Utf8StreamDecoder):
    """A stream decoder that joins two digits to a byte, and bytes to characters."""

    _high: int | None = None

    def push(self, id: int) -> str:
        if not FIRST_DIGIT <= id < FIRST_CHARACTER:
            # A special token between two digits has no effect, as in `decode`.
            lone = self._lone_digit() if id == UNKNOWN_ID or id > END_ID else ""
            return lone + super().push(id)
        digit = id - FIRST_DIGIT
        if self._high is None:
            self._high = digit
            return ""
        byte, self._high = self._high << 4 | digit, None
        return self._utf8.decode(bytes([byte]))

    def extend(self, ids: Sequence[int]) -> str:
        is_plain = self._high is None and min(ids, default=0) >= FIRST_CHARACTER
        return super().extend(ids) if is_plain else "".join(map(self.push, ids))

    def finish(self) -> str:
        return self._lone_digit() + super().finish()

    def _lone_digit(self) -> str:
        if self._high is None:
            return ""
        self._high = None
        return self._utf8.decode(NOT_UTF8)


def _check_options(vocabulary_size: int | None, min_count: int) -> None:
    check_at_least("min_count", min_count, 1)
    if vocabulary_size is not None:
        check_at_least("vocabulary_size", vocabulary_size, FIRST_CHARACTER)


def _spelled(digits: NDArray[np.integer[Any]]) -> str:
    pairs = digits[: digits.size // 2 * 2].astype(np.uint8)
    spelling = (pairs[0::2] << 4 | pairs[1::2]).tobytes()
    return (spelling + NOT_UTF8 * (digits.size % 2)).decode("utf-8", errors="replace")


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _text(codes: NDArray[np.integer[Any]]) -> str:
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le")


def _blocks(texts: Iterable[str], size: int) -> Iterator[str]:
    """Yield blocks of about `size` characters: short texts are joined, and long texts are cut."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        for start in range(0, len(text), size):
            waiting.append(text[start : start + size])
            length += len(waiting[-1])
            if length >= size:
                yield "".join(waiting)
                waiting, length = [], 0
    yield "".join(waiting)
