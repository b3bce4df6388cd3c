"""N-grams as inputs: x_t is the vector of a token plus the vectors of the n-grams that end at it.

The n-grams share one table of vectors; a hash says which row an n-gram has. The tokens read last are part of the state,
so that a text gives the same inputs in one piece or in many.
"""

from __future__ import annotations

from keras import ops

from textrnn.config import ModelConfig
from textrnn.training.direct.ngrams import FACTORS, PRIME, TERMS
from textrnn.training.network.products import Tensor

ROW_FACTORS, ROW_TERMS = FACTORS[:, 0].tolist(), TERMS[:, 0].tolist()
"""Factor of the token at each place of an n-gram, the last token first, and term of the n-grams of each length."""


def state_rows(config: ModelConfig) -> int:
    """Return the rows of a state: one for each layer, and one for the tokens read last if n-grams are inputs."""
    return config.layers + (config.input_ngrams > 1)


def earlier_tokens(ids: Tensor, history: Tensor, keep: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Return the tokens before each token.

    Args:
        ids: int32 ``(batch, time)``.
        history: float32 ``(batch, n - 1)``: the tokens before the first one, in their order; 0 for none.
        keep: reset mask, ``(time, batch, 1)``: 0 where nothing before the token counts.

    Returns:
        for each distance from 1 to n - 1 the tokens that far back, int32 ``(batch, time)``, 0 for none; and the history
        after the last token, of the shape of `history`.
    """
    count, time = history.shape[1], ids.shape[1]
    # One place more, after the last token: what is before it is the next history.
    joined = ops.concatenate([ops.cast(history, "int32"), ids, ops.zeros_like(ids[:, :1])], axis=1)
    kept = ops.ones_like(joined)
    if keep is not None:
        inside = ops.transpose(ops.cast(keep[:, :, 0], "int32"))
        kept = ops.concatenate([kept[:, :count], inside, kept[:, :1]], axis=1)
    earlier, counts = [], kept[:, count:]
    for back in range(1, count + 1):
        earlier.append(joined[:, count - back : count - back + time + 1] * counts)
        counts = counts * kept[:, count - back : count - back + time + 1]
    last = ops.stack([tokens[:, -1] for tokens in reversed(earlier)], axis=1)
    return [tokens[:, :-1] for tokens in earlier], ops.cast(last, history.dtype)


def ngram_rows(ids: Tensor, earlier: list[Tensor], rows: int) -> Tensor:
    """Return the rows of the n-grams that end at each token, int32 ``(batch, time, n - 1)``, the shortest first.

    Args:
        ids: int32 ``(batch, time)``.
        earlier: of `earlier_tokens`.
        rows: number of rows of the table.
    """
    sums = ops.cast(ids, "int64") * ROW_FACTORS[0]
    found = []
    for back, tokens in enumerate(earlier, start=1):
        sums = sums + ops.cast(tokens, "int64") * ROW_FACTORS[back]
        found.append((sums + ROW_TERMS[back]) % PRIME % rows)
    return ops.cast(ops.stack(found, axis=-1), "int32")
