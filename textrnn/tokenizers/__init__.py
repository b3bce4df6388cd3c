"""Tokenizers of characters, words or subwords, which encode text to ids and decode ids to text."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textrnn.errors import UserError
from textrnn.tokenizers.base import (
    BEGINNING_ID,
    END_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    StreamDecoder,
    Tokenizer,
)
from textrnn.tokenizers.char import CharTokenizer
from textrnn.tokenizers.sentence_piece import SentencePieceTokenizer
from textrnn.tokenizers.word import WordTokenizer

__all__ = [
    "BEGINNING_ID",
    "END_ID",
    "PAD_ID",
    "SPECIAL_TOKENS",
    "UNKNOWN_ID",
    "CharTokenizer",
    "SentencePieceTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "WordTokenizer",
    "load_tokenizer",
    "train_tokenizer",
]

TokenizerClass = type[CharTokenizer] | type[WordTokenizer] | type[SentencePieceTokenizer]
KINDS: dict[str, TokenizerClass] = {
    "char": CharTokenizer,
    "word": WordTokenizer,
    "sentencepiece": SentencePieceTokenizer,
}


def load_tokenizer(folder: Path, kind: str, prefix: str = "") -> Tokenizer:
    """Load the tokenizer of a kind (`"char"`, `"word"` or `"sentencepiece"`) from the folder it was saved in.

    `prefix` is that of the name of its file.

    Raises:
        UserError: the kind is unknown; the file is missing, damaged, of another kind or of a newer format.
    """
    return _tokenizer_class(kind).load(folder, prefix)


def train_tokenizer(kind: str, texts: Iterable[str], **options: Any) -> Tokenizer:
    """Train a tokenizer of a kind (`"char"`, `"word"` or `"sentencepiece"`); the options are those of its `train`.

    Raises:
        UserError: the kind or an option is unknown (the message suggests the nearest), or an error of `train`.
    """
    tokenizer_class = _tokenizer_class(kind)
    parameters = inspect.signature(tokenizer_class.train).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(_unknown(f"an option of a {kind} tokenizer", option, known))
    return tokenizer_class.train(texts, **options)


def _tokenizer_class(kind: str) -> TokenizerClass:
    if kind not in KINDS:
        raise UserError(_unknown("a tokenizer kind", kind, list(KINDS)))
    return KINDS[kind]


def _unknown(what: str, received: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(received, known, n=1, cutoff=0.0)[0]
    return f"{what} must be one of {', '.join(known)}, was: {received!r}; did you mean {nearest!r}?"
