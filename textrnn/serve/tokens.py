"""Tokens of texts, and their probabilities, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from textrnn.errors import UserError
from textrnn.generation import GenerationOptions
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.sessions import checked_ids
from textrnn.runtime.streams import Stream, Token
from textrnn.tokenizers import Tokenizer
from textrnn.tokenizers.base import BEGINNING_ID, END_ID, PAD_ID, SPECIAL_TOKENS, check_text


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text; a text that is only a special token is its id.

    Raises:
        UserError: the text cannot be read.
    """
    if text in SPECIAL_TOKENS:
        return [SPECIAL_TOKENS.index(text)]
    ids: list[int] = tokenizer.encode(text).tolist()
    return ids


def text_of_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of ids.

    Raises:
        UserError: one of them is not in the vocabulary.
    """
    return tokenizer.decode(checked_ids(ids, tokenizer.vocabulary_size, 1))


def tokenizer_facts(model: LanguageModel) -> dict[str, Any]:
    """Return the kind, the size and the special tokens of a model's tokenizer, by the names of evaluation tools."""
    return {
        "tokenizer_class": model.manifest.tokenizer.kind if model.manifest.tokenizer else None,
        "vocabulary_size": model.vocabulary_size,
        "bos_token": SPECIAL_TOKENS[BEGINNING_ID],
        "eos_token": SPECIAL_TOKENS[END_ID],
        "pad_token": SPECIAL_TOKENS[PAD_ID],
    }


def token_facts(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Return tokens with probabilities and alternatives."""
    return [
        {
            "text": token.text,
            "probability": exp(token.log_prob),
            "alternatives": [{"text": text, "probability": exp(log_prob)} for text, log_prob in token.alternatives],
        }
        for token in tokens
    ]


def scored(
    model: LanguageModel, texts: Sequence[str], alternatives: int | None, gone: Sequence[bool]
) -> list[dict[str, Any]]:
    """Return the metrics of texts, and their tokens if there are `alternatives`.

    Args:
        model: the model.
        texts: the texts.
        alternatives: number of alternatives for each token; None: no tokens.
        gone: not empty once nobody waits for the result.

    Raises:
        UserError: a text cannot be read.
    """
    for text in texts:
        check_text(text)
    scores = list[dict[str, Any]]()
    for text in texts:
        facts: dict[str, Any] = model.score(text).to_dict()
        if alternatives is not None:
            stream = Stream(model, text, GenerationOptions(length=0), 0, alternatives=alternatives, echo=True)
            tokens = list[Token]()
            while not stream.is_ready:
                piece = stream.read_prompt()
                tokens += piece.tokens if piece else ()
            facts["token_probabilities"] = token_facts(tokens)
        scores.append(facts)
        if gone:
            raise UserError("the client has gone")
    return scores
