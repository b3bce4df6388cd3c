"""Beam search, with models whose probabilities can be enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textrnn.decoding.beam_search import NEVER, search
from textrnn.tokenizers.base import END_ID

VOCABULARY, BOUND = 7, 4  # tokens 1 (unknown), 4, 5, 6 and the end can be written


class Table:
    """A model whose next token depends on the last two tokens and on the source."""

    def __init__(self, seed: int, sources: int) -> None:
        shape = (sources, VOCABULARY, VOCABULARY, VOCABULARY)
        self.logits = 1.5 * np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def step(self, ids: NDArray[np.int32], state: Any, memory: Any) -> Any:
        (source,) = memory
        before = state[0, :, 0].astype(int)
        logits = self.logits[source[:, 0].astype(int), before, ids]
        attention = np.stack([ids, source[:, 0]], axis=1).astype(np.float32)
        return logits, attention, np.repeat(ids[None, :, None], 1, axis=2).astype(np.float32)

    def log_prob(self, source: int, ids: tuple[int, ...]) -> float:
        before, last, total = 0, 2, 0.0
        for token in ids:
            logits = self.logits[source, before, last].astype(np.float64)
            total += logits[token] - np.log(np.exp(logits).sum())
            before, last = last, token
        return total

    def search(self, beams: int, length_penalty: float, sources: tuple[int, ...] = (0, 1, 2)) -> Any:
        memory = (np.array(sources, np.float32)[:, None],)
        state = np.zeros((1, len(sources), 1), np.float32)
        return search(self.step, memory, state, [BOUND] * len(sources), beams, length_penalty)


def every_target() -> list[tuple[int, ...]]:
    """All targets with at most `BOUND` tokens, the end token included."""
    tokens = [token for token in range(VOCABULARY) if token not in (*NEVER, END_ID)]
    return [target for length in range(BOUND) for target in itertools.product(tokens, repeat=length)]


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_search_with_enough_beams_finds_what_enumeration_finds(seed: int, length_penalty: float) -> None:
    model = Table(seed, 3)
    for source, found in enumerate(model.search(2000, length_penalty)):
        scored = {
            target: (total := model.log_prob(source, (*target, END_ID))) / (len(target) + 1) ** length_penalty
            for target in every_target()
        }
        best = sorted(scored, key=lambda target: -scored[target])
        assert [each.ids for each in found[:20]] == best[:20]
        assert [each.score for each in found[:20]] == pytest.approx([scored[target] for target in best[:20]])
        assert all(each.is_whole for each in found)
        assert total <= 0


def test_one_beam_is_greedy() -> None:
    model = Table(5, 3)
    for source, (found,) in enumerate(model.search(1, 1.0)):
        before, last, ids = 0, 2, list[int]()
        while len(ids) < BOUND:
            logits = model.logits[source, before, last].copy()
            logits[list(NEVER)] = -np.inf
            before, last = last, int(logits.argmax())
            if last == END_ID:
                break
            ids.append(last)
        assert list(found.ids) == ids
        assert found.is_whole == (last == END_ID)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_a_source_is_searched_alike_alone_and_among_others(beams: int) -> None:
    model = Table(6, 3)
    together = model.search(beams, 1.0, (0, 1, 2, 1))
    for source in range(3):
        (alone,) = model.search(beams, 1.0, (source,))
        assert [each.ids for each in alone] == [each.ids for each in together[source]]
        assert [each.score for each in alone] == pytest.approx([each.score for each in together[source]])


def test_attention_is_that_of_the_tokens_of_the_hypothesis() -> None:
    model = Table(7, 3)
    for source, found in enumerate(model.search(4, 1.0)):
        for each in found:
            read = [2, *each.ids][: len(each.ids)]
            assert each.attention.tolist() == [[token, source] for token in read]


def test_what_never_ends_is_cut_at_the_bound() -> None:
    model = Table(8, 1)
    model.logits[..., END_ID] = -1e9
    (found,) = model.search(3, 1.0, (0,))
    assert {len(each.ids) for each in found} == {BOUND}
    assert not any(each.is_whole for each in found)
