"""Tokens and their probabilities, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from textrnn.errors import UserError
from textrnn.generation import GenerationOptions
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.streams import Stream, Token
from textrnn.tokenizers.base import check_text


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
