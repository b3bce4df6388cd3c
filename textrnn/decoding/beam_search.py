"""Beam search over the targets of source texts, with the model as a function of one step.

A hypothesis is scored by the sum of the log-probabilities of its tokens, end token included, divided by their number
to the power of `length_penalty`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.sampling import log_softmax
from textrnn.tokenizers.base import BEGINNING_ID, END_ID, PAD_ID

NEVER = (PAD_ID, BEGINNING_ID)  # tokens that no target has

Array = NDArray[np.float32]
Memory = tuple[Array, ...]
"""What every step reads of the sources: arrays whose first axis is the rows."""
Step = Callable[[NDArray[np.int32], Array, Memory], tuple[Array, Array, Array]]
"""Ids ``(rows,)``, state ``(layers, rows, hidden)`` and memory to logits ``(rows, vocabulary)``, attention ``(rows,
source)`` and the next state."""


@dataclass(frozen=True)
class Hypothesis:
    """A target that the search found."""

    ids: tuple[int, ...]
    """Tokens, without the end token."""
    log_prob: float
    """Sum of the log-probabilities of the tokens and of the end token."""
    score: float
    """By which hypotheses are compared."""
    is_whole: bool
    """Whether the end token was reached within the bound."""
    attention: Array
    """Weight of each source token at each token, ``(tokens, source)``."""


class _Node(NamedTuple):
    """The last token of a partial hypothesis."""

    parent: _Node | None
    token: int
    attention: Array


class _Live(NamedTuple):
    """An unfinished hypothesis: its row in the arrays of the next step, its log-probability and its last token."""

    row: int
    log_prob: float
    node: _Node | None


def search(
    step: Step, memory: Memory, state: Array, bounds: Sequence[int], beams: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """Search the most probable targets of several sources at once.

    The search of a source ends when as many hypotheses are whole as there are beams, or at its bound.

    Args:
        step: one step of the decoder.
        memory: what it reads of the sources.
        state: its first state, ``(layers, sources, hidden)``.
        bounds: maximum number of tokens of each target.
        beams: number of hypotheses that are kept at each step; 1 is greedy.
        length_penalty: power of the length that divides a score: 0 compares sums, 1 means.

    Returns:
        hypotheses of each source, the best first: `beams` at most, one at least.
    """
    found: list[list[Hypothesis]] = [[] for _ in bounds]
    live = {number: [_Live(number, 0.0, None)] for number in range(len(bounds))}
    ids, length = np.full(len(bounds), BEGINNING_ID, np.int32), 0
    read = list(live)  # source of each row of the memory
    while live:
        logits, attention, state = step(ids, state, memory)
        length += 1
        log_probs = log_softmax(np.asarray(logits, np.float64))
        log_probs[:, NEVER] = -np.inf
        rows, tokens, following = list[int](), list[int](), dict[int, list[_Live]]()
        for number, before in live.items():
            extended, done = _extend(before, log_probs, attention, beams)
            found[number] += [_whole(node, total, length, length_penalty, True) for node, total in done]
            if len(found[number]) < beams and extended and length < bounds[number]:
                kept = [_Live(len(rows) + place, each.log_prob, each.node) for place, each in enumerate(extended)]
                rows += [each.row for each in extended]
                tokens += [each.node.token for each in extended if each.node]
                following[number] = kept
            elif not found[number]:  # at the bound, and none has ended
                found[number] = [_whole(each.node, each.log_prob, length, length_penalty, False) for each in extended]
        live, ids = following, np.array(tokens, np.int32)
        sources = [number for number, each in live.items() for _ in each]
        if sources != read:  # not at most steps: all hypotheses of a source read the same
            memory = tuple(array[rows] for array in memory)
            read = sources
        state = np.ascontiguousarray(state[:, rows])
    return [sorted(each, key=lambda one: -one.score)[:beams] for each in found]


def _extend(
    before: Sequence[_Live], log_probs: NDArray[np.float64], attention: Array, beams: int
) -> tuple[list[_Live], list[tuple[_Node | None, float]]]:
    """Return the best unfinished hypotheses one token longer, with the rows of the ones before, and the ended ones."""
    rows = [each.row for each in before]
    totals = np.array([each.log_prob for each in before])[:, None] + log_probs[rows]
    vocabulary, flat = totals.shape[1], totals.ravel()
    # Each hypothesis can end in one way only, so that this many hold enough that do not end.
    count = min(2 * beams, len(flat))
    best = np.argpartition(-flat, count - 1)[:count] if count < len(flat) else np.arange(count)
    extended, done = list[_Live](), list[tuple[_Node | None, float]]()
    for rank, place in enumerate(best[np.argsort(-flat[best], kind="stable")].tolist()):
        parent, token = before[place // vocabulary], place % vocabulary
        total = float(flat[place])
        if total == -np.inf or len(extended) == beams:
            break
        if token != END_ID:
            extended.append(_Live(parent.row, total, _Node(parent.node, token, attention[parent.row])))
        elif rank < beams:
            done.append((parent.node, total))
    return extended, done


def _whole(node: _Node | None, total: float, length: int, length_penalty: float, is_whole: bool) -> Hypothesis:
    tokens, weights = list[int](), list[Array]()
    while node is not None:
        tokens.append(node.token)
        weights.append(node.attention)
        node = node.parent
    attention = np.array(weights[::-1], np.float32)
    return Hypothesis(tuple(tokens[::-1]), total, total / length**length_penalty, is_whole, attention)
