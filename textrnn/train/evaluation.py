"""How well a model predicts held-out text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from textrnn.errors import UserError
from textrnn.scoring import Read, Scorer, TextMetrics, windowed_nats
from textrnn.tokenizers.base import END_ID, Tokenizer
from textrnn.train.sources import Piece


def evaluate_text(
    read: Read,
    tokenizer: Tokenizer,
    pieces: Iterable[Piece],
    start_id: int,
    *,
    apart: bool = False,
    window: int | None = None,
) -> TextMetrics:
    """The loss of a model on a text.

    Args:
        read: the model, ``(ids (batch, time), state) -> (logits (batch, time, vocabulary), state)``.
        tokenizer: the model's tokenizer.
        pieces: the text.
        start_id: the token that stands before the first one.
        apart: whether documents are apart: an end token after each, the state forgotten there.
        window: None predicts every token once with the state carried. A number reads consecutive windows of so many
            tokens, each from a fresh state, as systems that carry no state are measured.

    Raises:
        UserError: a window longer than the text.
    """
    scorer = Scorer(read, tokenizer.vocabulary_size, start_id, apart)
    nats, tokens, characters, size = 0.0, 0, 0, 0
    parts = []
    for piece in pieces:
        ids = tokenizer.encode(piece.text)
        if apart and piece.ends_document:
            ids = np.append(ids, np.int32(END_ID))
        tokens += len(ids)
        characters += len(piece.text)
        size += len(piece.text.encode())
        if window is None:
            nats += float(scorer.add(ids).sum())
        else:
            parts.append(ids)
    if window is None:
        return TextMetrics(nats, tokens, characters, size)
    if window < 1 or window >= tokens:
        raise UserError(f"--window must be between 1 and {tokens - 1}, the tokens of the text less one, was: {window}")
    nats, predicted = windowed_nats(read, tokenizer.vocabulary_size, np.concatenate(parts), window)
    # The few tokens that fill no window are left out; characters and bytes are counted in proportion.
    share = predicted / tokens
    return TextMetrics(nats, predicted, round(characters * share), round(size * share))
