"""Word tokenizer. Encoding loses the whitespace between words and the unknown words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
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
from textrnn.tokenizers.word_bounds import MARK, WordBounds
from textrnn.tokenizers.word_lookup import WordLookup

SPLITS = ("space", "punctuation")
NEWLINE = "\n"
LEADING_TOKENS = (*SPECIAL_TOKENS, NEWLINE)

# Ideographs and related characters (Unicode script Han), as a character class.
HAN = "\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WIDE = f"[{HAN}，。、；：？！（）《》〈〉「」『』【】〔〕“”‘’…—·～．]"
WIDE_PAIR = WIDE * 2  # `re` compiles it at its first use, and keeps it
NO_SPACE_BEFORE = frozenset(".,;:!?)]}…，。、；：？！）》〉」』】〕")
NO_SPACE_AFTER = frozenset("([{（《〈「『【〔")

# A text of at least LONG characters is looked up in numpy, if the words in the first SAMPLED of them have fewer than
# LONG_WORD on average. The table is made after so many characters for each word in it.
LONG, SAMPLED, LONG_WORD = 1 << 13, 1 << 11, 16
PAYS_FOR_A_WORD = 16

# Maximum number of distinct words while counting. The rarest are dropped, so that memory is a few hundred MB.
MOST_COUNTED = 2_000_000


class WordTokenizer(Tokenizer):
    """A tokenizer with one token per word and one per newline.

    With `split="space"` words are separated by whitespace. With `split="punctuation"` a word is a run of letters,
    digits, underscores and combining marks. Every other visible character is a separate token, and so is every Chinese
    character.

    The vocabulary has the special tokens, the newline, the words by descending count, as adaptive softmax needs, then
    those that were added later. The word `<unk>` in a text, as in Penn Treebank and WikiText, is the unknown token.

    Encoding is lossy. A word that is not in the vocabulary decodes to `<unk>`. Spaces, tabs, carriage returns and other
    whitespace decode to one space, or to nothing next to a newline. With `lowercase` the text decodes to lower case.
    With `split="punctuation"` rules set the spaces around punctuation. Nothing else is lost, however often a text is
    encoded: `encode(decode(encode(text)))` equals `encode(text)`.
    """

    kind = "word"
    file_name = "tokenizer.json"
    can_grow = True

    def __init__(self, words: Sequence[str], *, lowercase: bool = False, split: str = "space") -> None:
        """Build the tokenizer from its words, without the special tokens and the newline.

        Raises:
            UserError: a word is empty, has whitespace, is `<unk>` or occurs twice.
        """
        self._lowercase = lowercase
        self._split = split
        self._pattern = _pattern(split)
        self._seen = 0
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
        """Train the tokenizer on some texts.

        Args:
            texts: the corpus. The end of a text ends a word.
            vocabulary_size: maximum number of ids, including the special tokens and the newline. The rarest words are
                left out. None keeps all words.
            min_count: minimum count of a word in the corpus; rarer ones are left out.
            lowercase: whether to convert text to lower case.
            split: `"space"` or `"punctuation"`, see the class.

        Raises:
            UserError: there is no text, a text has a lone surrogate, or an option is out of range.
        """
        _check_options(vocabulary_size, min_count)
        counts = cls.count(training_texts(texts), lowercase=lowercase, split=split)
        return cls.from_counts(
            [counts], vocabulary_size=vocabulary_size, min_count=min_count, lowercase=lowercase, split=split
        )

    @classmethod
    def count(cls, texts: Iterable[str], *, lowercase: bool = False, split: str = "space") -> Counter[str]:
        """Return the count of each word in some texts. Above `MOST_COUNTED` words the rarest are dropped."""
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
        """Build the tokenizer from counts, as `train` builds it from the counted texts; options as in `train`."""
        _check_options(vocabulary_size, min_count)
        total = _added(counts)
        del total[SPECIAL_TOKENS[UNKNOWN_ID]]
        words = sorted((word for word in total if total[word] >= min_count), key=lambda word: (-total[word], word))
        if vocabulary_size is not None:
            words = words[: vocabulary_size - len(LEADING_TOKENS)]
        return cls(words, lowercase=lowercase, split=split)

    def extended(self, other: Tokenizer) -> WordTokenizer:
        if not isinstance(other, WordTokenizer):
            return self
        words = self._tokens[len(LEADING_TOKENS) :]
        new = [word for word in other._tokens[len(LEADING_TOKENS) :] if word not in self._ids]
        return WordTokenizer([*words, *new], lowercase=self._lowercase, split=self._split)

    @property
    def vocabulary_size(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> NDArray[np.int32]:
        check_text(text)
        if self._lowercase:
            text = text.lower()
        if self._is_worth_a_lookup(text):
            return self._lookup.ids(self._bytes(text))
        words = self._words(text)
        return np.fromiter(map(self._ids.get, words, repeat(UNKNOWN_ID)), np.int32, len(words))

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        for text in texts:
            check_text(text)
        if not texts or sum(map(len, texts)) < LONG:
            return super().encode_all(texts)
        # One long text is encoded faster. A newline ends each of them, after the newlines of its own.
        ids = self.encode(NEWLINE.join(texts))
        newlines = np.flatnonzero(ids == self._ids[NEWLINE])
        own = np.array([text.count(NEWLINE) for text in texts[:-1]], np.int64)
        ends = newlines[np.cumsum(own + 1) - 1].tolist()
        begins = [0, *(end + 1 for end in ends)]
        return [ids[begin:end] for begin, end in zip(begins, [*ends, len(ids)], strict=True)]

    def _is_worth_a_lookup(self, text: str) -> bool:
        """Return whether a text is read faster in numpy: it is long, has short words, and pays for the table."""
        if len(text) < LONG or "\0" in text or len(self._words(text[:SAMPLED])) * LONG_WORD < SAMPLED:
            return False
        self._seen += len(text)
        return self._seen >= PAYS_FOR_A_WORD * self.vocabulary_size

    @functools.cached_property
    def _lookup(self) -> WordLookup:
        by_punctuation = self._split == "punctuation"
        ids = {word.encode(): id for word, id in self._ids.items()}
        if not by_punctuation:
            ids[bytes([MARK])] = ids.pop(NEWLINE.encode())
        return WordLookup(ids, UNKNOWN_ID, WordBounds(self._pattern, by_punctuation))

    def _bytes(self, text: str) -> bytes:
        """Return a text in UTF-8 with `MARK` for what is a word whatever stands next to it."""
        if self._split == "punctuation":
            return text.encode().replace(SPECIAL_TOKENS[UNKNOWN_ID].encode(), bytes([MARK]))
        return text.encode().replace(NEWLINE.encode(), b" %c " % MARK)

    def _read(self, text: str) -> list[str]:
        return self._words(text.lower() if self._lowercase else text)

    def _words(self, text: str) -> list[str]:
        if self._split == "space" and NEWLINE not in text:
            return text.split()  # as the pattern does, and faster
        return self._pattern.findall(text)

    def pieces(self, text: str) -> list[str]:
        """Return the words as written in the text, even unknown ones, each with the whitespace before it."""
        check_text(text)
        ends = [match.end() for match in self._pattern.finditer(text.lower() if self._lowercase else text)]
        if self._lowercase and len(text.lower()) != len(text):
            text = text.lower()  # the lower case of some capitals has two characters, which shifts positions
        return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    @property
    def loses(self) -> str:
        lost = ["capitals"] if self._lowercase else []
        lost += ["spaces around punctuation"] if self._split == "punctuation" else []
        return ", ".join([*lost, "which blanks and how many stand between words"])

    def unknown(self, text: str) -> tuple[int, float]:
        """Return the number of unknown words and the nats to spell them; a literal ``<unk>`` is not unknown."""
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
        # Use the words as written, because an unknown word may be punctuation.
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
    """A stream decoder that puts spaces before words.

    Args:
        tokens: token of each id.
        by_rule: whether rules set the spaces around punctuation.
        last: the word before the first id, or a newline.
        ends_with_space: whether the text before the first id is empty or ends with whitespace.
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
        # These tokens have one character and are separated from their neighbours even without a space.
        return self._by_rule and (
            right in NO_SPACE_BEFORE or left in NO_SPACE_AFTER or re.fullmatch(WIDE_PAIR, left + right) is not None
        )


def _check_options(vocabulary_size: int | None, min_count: int) -> None:
    check_at_least("min_count", min_count, 1)
    if vocabulary_size is not None:
        check_at_least("vocabulary_size", vocabulary_size, len(LEADING_TOKENS))


def _added(counted: Iterable[Iterable[str]]) -> Counter[str]:
    """Add words, or counts of words, to one count of at most `MOST_COUNTED` words."""
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
    r"""Return the content of a character class: combining marks and the two joiners, which `\w` lacks.

    Without them, most words of Indian scripts and all decomposed accents would be split. Only marks of the Basic
    Multilingual Plane are included: `re` looks them up in a table, but searches a list for others, which is much
    slower.
    """
    marks = [chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M")]
    return "\u200c\u200d" + "".join(marks)
