"""The tokenizers of source and target texts: their kinds are chosen from the texts unless they are set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from textrnn.config import TokenizerConfig
from textrnn.data.pairs.reading import Pair
from textrnn.tokenizers import KINDS, load_tokenizer, train_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run

TARGET = "target_"
"""Prefix of the name of the target tokenizer's file."""
MOST_WORDS, FEWEST_COUNTS = 1000, 3  # of texts made of few different words: at most, and each so often on average
PIECES = 8000  # of SentencePiece at most
CHARACTERS_A_PIECE = 400  # of long corpora: few pieces, each frequent, are learned best
FEWEST_PIECES = 2000  # fewer are chosen from the text, as for other tasks
LONG = 40  # characters of a text on average, from which on texts with blanks are split into pieces


class BothTokenizers(NamedTuple):
    """The tokenizers of a run; the same one twice if it is shared."""

    source: Tokenizer
    target: Tokenizer


def kept_tokenizers(run: Run, pairs: Callable[[], Sequence[Pair]]) -> BothTokenizers:
    """Return the tokenizers in the folder of a run, learned from training pairs and saved if they are not there yet."""
    found = [_saved(run, prefix) for prefix in ("", TARGET)]
    config = run.config.tokenizer
    if found[0] and config.shared:
        return BothTokenizers(found[0], found[0])
    if found[0] and found[1]:
        return BothTokenizers(found[0], found[1])
    sides = list(zip(*pairs(), strict=True))
    if config.shared:
        both = _learned(config.source_kind, [*sides[0], *sides[1]], config)
        both.save(run.folder)
        return BothTokenizers(both, both)
    learned = BothTokenizers(
        _learned(config.source_kind, sides[0], config, is_source=True), _learned(config.target_kind, sides[1], config)
    )
    learned.target.save(run.folder, TARGET)
    learned.source.save(run.folder)
    return learned


def _saved(run: Run, prefix: str) -> Tokenizer | None:
    for kind, tokenizer in KINDS.items():
        path = run.folder / f"{prefix}{tokenizer.file_name}"
        if path.exists() and (tokenizer.file_name != "tokenizer.json" or f'"kind": "{kind}"' in _beginning(path)):
            return load_tokenizer(run.folder, kind, prefix)
    return None


def _beginning(path) -> str:  # type: ignore[no-untyped-def]
    with path.open(encoding="utf-8") as file:
        return file.read(200)  # type: ignore[no-any-return]


def suitable_kind(texts: Sequence[str], is_source: bool = False) -> str:
    """Return the kind of tokenizer that suits texts.

    Words, where most texts have several and there are few different ones, each frequent and without a digit, as
    phonemes with blanks between them or numbers in words. A source text may have other words later, so that only
    symbols of few characters count there. SentencePiece for long texts with blanks, else characters.
    """
    counts = Counter(word for text in texts for word in text.split())
    several = sum(len(text.split()) > 1 for text in texts) / len(texts)
    total, characters = counts.total(), sum(map(len, texts)) / len(texts)
    if several > 0.5:
        has_digits = any(character.isdigit() for word in counts for character in word)
        is_short = max(map(len, counts)) <= 4
        is_closed = len(counts) <= min(MOST_WORDS, total / FEWEST_COUNTS / 10)
        if is_closed and (is_short or not (is_source or has_digits)):
            return "word"
        if characters > LONG:
            return "sentencepiece"
    return "char"


def _learned(kind: str, texts: Sequence[str], config: TokenizerConfig, is_source: bool = False) -> Tokenizer:
    kind = suitable_kind(texts, is_source) if kind == "auto" else kind
    options: dict[str, object] = {"vocabulary_size": config.vocabulary_size} if config.vocabulary_size else {}
    if kind == "sentencepiece":
        options["model_type"] = config.model_type
        pieces = min(PIECES, sum(map(len, texts)) // CHARACTERS_A_PIECE)
        if not config.vocabulary_size and pieces >= FEWEST_PIECES:
            options["vocabulary_size"] = pieces
    else:
        options["min_count"] = config.min_count
    return train_tokenizer(kind, texts, **options)
