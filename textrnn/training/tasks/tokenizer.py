"""The tokenizer of a run that reads text: learned once, kept in its folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace

from textrnn.config import TokenizerConfig
from textrnn.tokenizers import KINDS, SPECIAL_TOKENS, WordTokenizer, load_tokenizer
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.loop.run import Run

_UNSEPARATED = re.compile(r"[\u0e00-\u109f\u1780-\u17ff]")
"""Thai, Lao, Tibetan, Burmese and Khmer, which have no blanks between words. Words of Chinese are its characters."""


def kept_tokenizer(run: Run, learn: Callable[[Run], Tokenizer]) -> Tokenizer:
    """Return the tokenizer in the folder of a run, learned and saved if it is not there yet."""
    kind = run.config.tokenizer.kind
    if (run.folder / KINDS[kind].file_name).exists():
        return load_tokenizer(run.folder, kind)
    known = load_tokenizer(run.start, kind) if run.start.exists() else None
    tokenizer = learn(run) if known is None else _grown(run, known, learn)
    tokenizer.save(run.folder)
    return tokenizer


def _grown(run: Run, known: Tokenizer, learn: Callable[[Run], Tokenizer]) -> Tokenizer:
    """Return the tokenizer of the model that a run learns on from, with the new tokens of the text after its own."""
    if not known.can_grow:
        return known
    tokenizer = known.extended(learn(replace(run, quiet=True)))
    if (new := tokenizer.vocabulary_size - known.vocabulary_size) and not run.quiet:
        print(f"{known.vocabulary_size:,} tokens of the model, {new:,} new ones in the text", file=sys.stderr)
    return tokenizer


def tokenizer_options(config: TokenizerConfig) -> dict[str, object]:
    """Return the settings of a kind of tokenizer, as its `train` takes them."""
    options: dict[str, object] = {}
    if config.vocabulary_size:
        options["vocabulary_size"] = config.vocabulary_size
    if config.kind == "sentencepiece":
        return {**options, "model_type": config.model_type}
    options["min_count"] = config.min_count
    if config.kind == "word":
        options |= {"lowercase": config.lowercase, "split": config.split}
    return options


def of_unseparated_words(tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """Return a hint where most words are of a script without blanks between words, so that they are whole phrases."""
    if not isinstance(tokenizer, WordTokenizer):
        return ()
    words = [tokenizer.token_text(id) for id in range(len(SPECIAL_TOKENS), tokenizer.vocabulary_size)]
    if 2 * sum(bool(_UNSEPARATED.search(word)) for word in words) <= len(words):
        return ()
    return (
        "the texts have no blanks between words, so that a token is a whole phrase; subwords are read with --set"
        " tokenizer.kind=sentencepiece",
    )
