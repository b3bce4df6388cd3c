"""Training of a tokenizer on the training part of a corpus of any size."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

from textrnn.data.tokens.chunks import Chunk, Corpus, reported
from textrnn.data.tokens.processes import Report
from textrnn.tokenizers import CharTokenizer, Tokenizer, WordTokenizer, train_tokenizer

COUNTING: dict[str, tuple[type[CharTokenizer] | type[WordTokenizer], tuple[str, ...]]] = {
    "char": (CharTokenizer, ()),
    "word": (WordTokenizer, ("lowercase", "split")),
}
"""The kinds of tokenizers that are trained by counting, chunk by chunk, with the options that affect the counts."""


def learn_tokenizer(kind: str, corpus: Corpus, **options: Any) -> Tokenizer:
    """Train a tokenizer of a kind on the text that is not held out; the options are those of its `train`.

    Characters and words are counted in several processes, one chunk of text at a time. The result does not depend on
    the number of processes. SentencePiece is trained on a sample, which is drawn in this process. Memory is bounded for
    all kinds.

    Raises:
        UserError: an error of `train_tokenizer`, or the text cannot be read.
    """
    if kind not in COUNTING:
        return train_tokenizer(kind, corpus.training_texts(), **options)
    train_tokenizer(kind, ["a"], **options)  # raises errors about options before the text is read
    tokenizer_class, deciding = COUNTING[kind]
    count = _Count(kind, {name: options[name] for name in deciding if name in options})
    with closing(corpus.each("Counting tokens", count)) as counted:
        found = filter(None, counted)
        first = next(found, None)
        if first is None:  # the text is blank or empty
            return train_tokenizer(kind, corpus.training_texts(), **options)
        return tokenizer_class.from_counts(chain([first], found), **options)


@dataclass(frozen=True)
class _Count:
    kind: str
    options: dict[str, Any]

    def __call__(self, chunk: Chunk, report: Report) -> Counter[str]:
        pieces = reported(chunk.read(), report)
        texts = (piece.text for is_held_out, piece in pieces if not is_held_out)
        return COUNTING[self.kind][0].count(texts, **self.options)
