"""The held-out pairs of a run, as texts."""

from __future__ import annotations

from collections import Counter

from textrnn.data.pairs.dataset import is_held_out
from textrnn.data.pairs.reading import Pair, pair_options, read_pairs
from textrnn.training.loop.run import Run


def held_out_pairs(run: Run) -> list[Pair]:
    """Return the pairs that a run is evaluated on, read from its sources.

    Raises:
        UserError: the sources are gone or cannot be read.
    """
    data = run.config.data
    pairs = list(read_pairs(data.validation or data.source, pair_options(data), Counter()))
    if data.validation:
        return pairs
    chosen = is_held_out(pairs, data.held_out)
    return [pair for pair, is_chosen in zip(pairs, chosen.tolist(), strict=True) if is_chosen]
