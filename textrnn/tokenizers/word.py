"""Word tokens: one for each word. White space, and words never seen in training, are lost."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.spelling import SpellingModel
from textrnn.tokenizers.base import (
    BEGINNING_ID,
    END_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    StreamDecoder,
    Tokenizer,
    check_at_least,
    check_id,
    check_text,
    from_json,
    to_json,
    training_texts,
)

SPLITS = ("space", "punctuation")
NEWLINE = "\n"
LEADING_TOKENS = (*SPECIAL_TOKENS, NEWLINE)

# Ideographs and what is written among them (Unicode script Han), as a character class.
HAN = "\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WIDE = f"[{HAN}，。、；：？！（）《》〈〉「」『』【】〔〕“”‘’…—·～．]"
WIDE_PAIR = re.compile(WIDE * 2)
NO_SPACE_BEFORE = frozenset(".,;:!?)]}…，。、；：？！）》〉」』】〕")
NO_SPACE_AFTER = frozenset("([{（《〈「『【〔")

# Distinct words kept while counting; above it the rarest go, so that memory stays within a few hundred MB.
MOST_COUNTED = 2_000_000


class WordTokenizer(Tokenizer):
    """One token a word, and one for each newline.

    With `split="space"` words are what stands between whitespace. With `split="punctuation"` a word is a run of
    letters, digits, underscores and combining marks; every other visible character is a token by itself, and so is
    every Chinese character.

    The vocabulary is the special tokens, the newline, then the words by falling count, the order that an adaptive
    softmax needs. The word `<unk>` in a text, as in Penn Treebank and WikiText, is the unknown token.

    This tokenizer loses text: a word that is not in the vocabulary reads back as `<unk>`; blanks, tabs, carriage
    returns and other whitespace read back as one space, or as none beside a newline; with `lowercase` capitals are
    gone; with `split="punctuation"` spaces around punctuation are set by rule. What it keeps it keeps for good:
    `encode(decode(encode(text)))` equals `encode(text)`.
    """

    kind = "word"
    file_name = "tokenizer.json"

    def __init__(self, words: Sequence[str], *, lowercase: bool = False, split: str = "space") -> None:
        """Build the tokenizer from its words, without the special tokens and the newline.

        Raises:
            UserError: a word that is empty, holds whitespace, is `<unk>` or comes twice.
        """
        self._lowercase = lowercase
        self._split = split
        self._pattern = _pattern(split)
        joined = " ".join(words)
        check_text(joined)
        if joined.split() != list(words) or SPECIAL_TOKENS[UNKNOWN_ID] in words:
            raise UserError("words must not be empty, hold whitespace or be <unk>; train again")
        self._tokens = [*LEADING_TOKENS, *words]
        self._ids = {word: id for id, word in enumerate(self._tokens) if id > END_ID}
        if len(self._ids) != len(words) + 1:
            raise UserError("words must be distinct; train again")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocabulary_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        split: str = "space",
    ) -> WordTokenizer:
        """Learn the words of some texts.

        Args:
            texts: The corpus; no word goes on from one text to the next.
            vocabulary_size: Maximum number of ids, the special ones and the newline included; the rarest words are left
                out. Without it all are kept.
            min_count: Words seen less often are left out.
            lowercase: Read capitals as small letters.
            split: `"space"` or `"punctuation"`, see the class.

        Raises:
            UserError: no text, a lone surrogate, or an option out of its range.
        """
        _check_options(vocabulary_size, min_count)
        counts = cls.count(training_texts(texts), lowercase=lowercase, split=split)
        return cls.from_counts(
            [counts], vocabulary_size=vocabulary_size, min_count=min_count, lowercase=lowercase, split=split
        )

    @classmethod
    def count(cls, texts: Iterable[str], *, lowercase: bool = False, split: str = "space") -> Counter[str]:
        """Count the words of some texts; if they are very many, the rarest are left out."""
        reader = cls([], lowercase=lowercase, split=split)
        return _added(reader._read(line) for text in texts for line in text.split(NEWLINE))

    @classmethod
    def from_counts(
        cls,
        counts: Iterable[Counter[str]],
        *,
        vocabulary_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        split: str = "space",
    ) -> WordTokenizer:
        """Build the tokenizer that `train` makes from the counted texts; options as there."""
        _check_options(vocabulary_size, min_count)
        total = _added(counts)
        del total[SPECIAL_TOKENS[UNKNOWN_ID]]
        words = sorted((word for word in total if total[word] >= min_count), key=lambda word: (-total[word], word))
        if vocabulary_size is not None:
            words = words[: vocabulary_size - len(LEADING_TOKENS)]
        return cls(words, lowercase=lowercase, split=split)

    @property
    def vocabulary_size(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> NDArray[np.int32]:
        check_text(text)
        id_of = self._ids.get
        return np.fromiter((id_of(word, UNKNOWN_ID) for word in self._read(text)), dtype=np.int32)

    def _read(self, text: str) -> Iterator[str]:
        if self._lowercase:
            text = text.lower()
        return (match[0] for match in self._pattern.finditer(text))

    def pieces(self, text: str) -> list[str]:
        """Return the words as they are written, unknown ones too, each with the blanks before it."""
        check_text(text)
        ends = [match.end() for match in self._pattern.finditer(text.lower() if self._lowercase else text)]
        if self._lowercase and len(text.lower()) != len(text):  # a capital that has two small letters moves all places
            text = text.lower()
        return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    @property
    def loses(self) -> str:
        lost = ["capitals"] if self._lowercase else []
        lost += ["spaces around punctuation"] if self._split == "punctuation" else []
        return ", ".join([*lost, "which blanks and how many stand between words"])

    def unknown(self, text: str) -> tuple[int, float]:
        """Count as the base class does; ``<unk>`` in a text is a word like any other."""
        literal = SPECIAL_TOKENS[UNKNOWN_ID]
        words = [word for word in self._read(text) if word not in self._ids and word != literal]
        return len(words), sum(map(self._spelling.nats, words)) if words else 0.0

    @functools.cached_property
    def _spelling(self) -> SpellingModel:
        return SpellingModel(self._tokens[len(LEADING_TOKENS) :])

    def _decode(self, ids: NDArray[np.integer[Any]], after: str) -> str:
        return "".join(map(self.stream_decoder(after).push, ids.tolist()))

    def token_text(self, id: int) -> str:
        check_id(id, self.vocabulary_size)
        return self._tokens[id]

    def stream_decoder(self, after: str = "") -> StreamDecoder:
        # By the words as they are written: one that is not in the vocabulary may be punctuation too.
        words = self._pattern.findall(after)
        is_complete = not after or after[-1].isspace()
        last = words[-1] if words else NEWLINE
        return _WordStreamDecoder(
            self._tokens, by_rule=self._split == "punctuation", last=last, ends_with_space=is_complete
        )

    def _to_bytes(self) -> bytes:
        words = self._tokens[len(LEADING_TOKENS) :]
        return to_json(self.kind, {"split": self._split, "lowercase": self._lowercase, "words": words})

    @classmethod
    def _from_bytes(cls, content: bytes) -> WordTokenizer:
        fields = from_json(content, cls.kind, {"split": str, "lowercase": bool, "words": list})
        if not all(isinstance(word, str) for word in fields["words"]):
            raise UserError("words must be strings; train again")
        return cls(**fields)


class _WordStreamDecoder(StreamDecoder):
    """Puts the space before each word.

    Args:
        tokens: of all ids.
        by_rule: whether spaces around punctuation follow rules.
        last: the word before the first one, or a newline.
        ends_with_space: whether a space stands there already.
    """

    def __init__(self, tokens: Sequence[str], *, by_rule: bool, last: str, ends_with_space: bool) -> None:
        self._tokens = tokens
        self._by_rule = by_rule
        self._last = last
        self._ends_with_space = ends_with_space

    def push(self, id: int) -> str:
        check_id(id, len(self._tokens))
        if id in (PAD_ID, BEGINNING_ID, END_ID):
            return ""
        word = self._tokens[id]
        space = "" if self._ends_with_space or self._are_close(self._last, word) else " "
        self._last, self._ends_with_space = word, False
        return space + word

    def finish(self) -> str:
        self._last, self._ends_with_space = NEWLINE, False
        return ""

    def _are_close(self, left: str, right: str) -> bool:
        if NEWLINE in (left, right):
            return True
        # All of these are tokens of one character, which end the token beside them with or without a space.
        return self._by_rule and (
            right in NO_SPACE_BEFORE or left in NO_SPACE_AFTER or WIDE_PAIR.fullmatch(left + right) is not None
        )


def _check_options(vocabulary_size: int | None, min_count: int) -> None:
    check_at_least("min_count", min_count, 1)
    if vocabulary_size is not None:
        check_at_least("vocabulary_size", vocabulary_size, len(LEADING_TOKENS))


def _added(counted: Iterable[Iterable[str]]) -> Counter[str]:
    """Merge words, or counts of words, into one count of at most `MOST_COUNTED` words."""
    counts: Counter[str] = Counter()
    floor = 0
    for some in counted:
        counts.update(some)
        while len(counts) > MOST_COUNTED:
            floor += 1
            counts = Counter({word: count for word, count in counts.items() if count > floor})
    return counts


def _pattern(split: str) -> re.Pattern[str]:
    if split == "space":
        return re.compile(r"\n|\S+")
    if split == "punctuation":
        return re.compile(rf"\n|<unk>|[{HAN}]|(?:[^\W{HAN}]+|[{_marks()}]+)+|[^\w\s]")
    raise UserError(f"split must be one of {', '.join(SPLITS)}, was: {split!r}")


@functools.cache
def _marks() -> str:
    r"""Return combining marks and the two joiners, which `\w` lacks, as a character class.

    Without them most words of the scripts of India, and every decomposed accent, would fall apart. Only those of the
    basic plane: `re` looks them up in a table, and anything above in a list, which is much slower.
    """
    marks = [chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M")]
    return "\u200c\u200d" + "".join(marks)
