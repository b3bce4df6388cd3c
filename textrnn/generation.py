"""The one loop over step(ids, state) -> (logits, state) that writes text, one step a token.

It knows nothing of how a step is computed: the runtime gives it an ONNX graph, the tests give it a few lines.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import inf
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.sampling import SamplingOptions, log_softmax, random_streams, sample
from textrnn.tokenizers.base import BEGINNING_ID, END_ID, PAD_ID, UNKNOWN_ID, Tokenizer

State = NDArray[np.float32]
"""What the model remembers of the text, (layers, batch, hidden)."""

Step = Callable[[NDArray[np.int32], State], tuple[NDArray[np.float32], State]]
"""ids (batch,), state -> logits of the next token (batch, vocabulary), next state.

What it returned is not looked at after its next call, so that it may write to the same arrays each time.
"""

Prefill = Callable[[NDArray[np.int32], State], tuple[NDArray[np.float32], State]]
"""ids (batch, time), state -> logits after the last of them (batch, vocabulary), next state."""


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(SamplingOptions):
    """What to write, and how each token of it is picked.

    Attributes:
        length: the most tokens that are written.
        beams: above 1, beam search of this width for the most probable continuation, in place of sampling.
        stop: a string or strings at which a text ends; it is cut before the one that is complete first.
        count: how many texts are sampled.
        seed: 0 or above; the same seed gives the same text, None a new one each time.

    Raises:
        UserError: a value out of its range, or beams together with options of sampling.
    """

    length: int = 200
    beams: int = 1
    stop: str | Sequence[str] = ()
    count: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.length, Integral) and self.length >= 0):
            raise UserError(f"length must be a whole number, 0 or above, was: {self.length!r}; give a number of tokens")
        if not (isinstance(self.beams, Integral) and self.beams >= 1):
            raise UserError(f"beams must be a whole number, 1 or above, was: {self.beams!r}; use 1 to sample")
        if not (isinstance(self.count, Integral) and self.count >= 1):
            raise UserError(f"count must be a whole number, 1 or above, was: {self.count!r}; give a number of texts")
        if not (self.seed is None or (isinstance(self.seed, Integral) and self.seed >= 0)):
            raise UserError(f"seed must be a whole number, 0 or above, was: {self.seed!r}; leave it out for a new text")
        if not all(isinstance(text, str) and text for text in self.stops):
            raise UserError(f"stop must be strings of at least one character, was: {self.stop!r}; leave out empty ones")
        if self.beams > 1 and self.count > 1:
            raise UserError(f"beam search gives one text, count was: {self.count}; use beams or count, not both")
        for option in fields(SamplingOptions):
            if self.beams > 1 and (value := getattr(self, option.name)) != option.default:
                raise UserError(f"beam search does not sample, {option.name} was: {value}; use beams or {option.name}")

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def generate(
    step: Step,
    state: State,
    tokenizer: Tokenizer,
    start_id: int,
    prompt_ids: NDArray[np.int32],
    options: GenerationOptions,
    prefill: Prefill | None = None,
) -> Iterator[tuple[int, str]]:
    """Write texts that go on after a prompt.

    Padding, unknown and beginning tokens are never written; the end token ends a text.

    Args:
        state: the state before any token, (layers, 1, hidden).
        start_id: the token before every text.
        prompt_ids: (time,), may be empty.
        prefill: a faster way to feed a long prompt than one step a token.

    Yields:
        (index of the text, 0 to count - 1; the next piece of it, whole characters that will not be taken back).
    """
    ids = np.concatenate([[start_id], prompt_ids]).astype(np.int32)
    if prefill is not None:
        logits, state = prefill(ids[None], state)
    else:
        for token in ids:
            logits, state = step(token[None], state)
    if options.beams > 1:
        if text := _search(step, state, logits, tokenizer, options):
            yield 0, text
    else:
        yield from _sample(step, state, logits, tokenizer, prompt_ids, options)


def _sample(
    step: Step,
    state: State,
    logits: NDArray[np.float32],
    tokenizer: Tokenizer,
    prompt_ids: NDArray[np.int32],
    options: GenerationOptions,
) -> Iterator[tuple[int, str]]:
    """Sample `count` texts as one batch, whose rows leave it as their texts end."""
    count, vocabulary_size = options.count, logits.shape[1]
    logits, state = np.repeat(logits, count, axis=0), np.repeat(state, count, axis=1)
    forbidden = _forbidden(vocabulary_size)
    seen = None
    if options.repetition_penalty != 1:
        seen = np.zeros((count, vocabulary_size), bool)
        seen[:, prompt_ids] = True
    streams = random_streams(secrets.randbits(64) if options.seed is None else options.seed, count)
    texts = [_Text(tokenizer, options.stops) for _ in range(count)]
    running = list(range(count))  # the text that each row of the batch belongs to
    for position in range(1, options.length + 1):
        uniforms = np.array([streams[index].random() for index in running])
        ids = sample(logits + forbidden, options, uniforms, seen)
        if seen is not None:
            seen[np.arange(len(ids)), ids] = True
        kept = []
        for row, (index, token) in enumerate(zip(running, ids.tolist(), strict=True)):
            text = texts[index]
            piece = text.end() if token == END_ID else text.push(token)
            if position == options.length and not text.ended:
                piece += text.end()
            if piece:
                yield index, piece
            if not text.ended:
                kept.append(row)
        if not kept:
            return
        if len(kept) < len(running):
            ids, state = ids[kept], state[:, kept]
            seen = None if seen is None else seen[kept]
            running = [running[row] for row in kept]
        logits, state = step(ids, state)


class _Text:
    """A text as it is written: it ends before the first complete stop string, and never shows a part of one."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._decoder = tokenizer.stream_decoder()
        self._stop = stop
        self._held = ""  # certain text that may be the beginning of a stop string
        self.ended = False

    def push(self, token: int) -> str:
        """Add a token; returns the text that is now certain and no part of a stop string."""
        return self._release(self._decoder.push(token))

    def end(self) -> str:
        """End the text; returns what is left of it."""
        piece = self._release(self._decoder.finish())
        if not self.ended:
            self.ended = True
            piece += self._held
        return piece

    def _release(self, piece: str) -> str:
        if not self._stop:
            return piece
        text = self._held + piece
        cut = _stop_position(text, self._stop)
        if cut is not None:
            self.ended = True
            return text[:cut]
        held = _longest_beginning(text, self._stop)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _stop_position(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string begins that is complete first, the longest if several are; None where there is none."""
    found = [(begin + len(string), begin) for string in stop if (begin := text.find(string)) >= 0]
    return min(found)[1] if found else None


def _longest_beginning(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of a text that is the beginning of a stop string."""
    longest = min(len(text), max(map(len, stop)) - 1)
    return next((n for n in range(longest, 0, -1) if any(string.startswith(text[-n:]) for string in stop)), 0)


class _Beam(NamedTuple):
    """A continuation as its last token and the beam before it: adding a token copies nothing."""

    before: _Beam | None
    token: int

    def ids(self) -> list[int]:
        """The tokens from the first to the last."""
        tokens, beam = [], self
        while beam.before is not None:
            tokens.append(beam.token)
            beam = beam.before
        return tokens[::-1]


def _search(
    step: Step, state: State, logits: NDArray[np.float32], tokenizer: Tokenizer, options: GenerationOptions
) -> str:
    """Beam search for the most probable continuation: one that ends, stops, or has `length` tokens.

    The score is the sum of the log probabilities of its tokens, the end token and those of a stop string included. With
    stop strings the text of every beam is decoded anew at each step; without, a step costs the same at any length.
    """
    forbidden = _forbidden(logits.shape[1])
    width, stop = options.beams, options.stops
    beams, scores = [_Beam(None, -1)], np.zeros(1)
    best, best_score = beams[0], -inf
    for position in range(1, options.length + 1):
        totals = (scores[:, None] + log_softmax(logits + forbidden)).ravel()
        rows: list[int] = []
        ids: list[int] = []
        kept: list[_Beam] = []
        # Of 2 * width candidates at most width end with the end token, so that width are left to go on.
        for candidate in _best(totals, 2 * width):
            row, token = divmod(int(candidate), logits.shape[1])
            beam = beams[row] if token == END_ID else _Beam(beams[row], token)
            if token == END_ID or position == options.length or _stopped(tokenizer, beam, stop):
                if totals[candidate] > best_score:
                    best, best_score = beam, totals[candidate]
            elif len(ids) < width:
                rows.append(row)
                ids.append(token)
                kept.append(beam)
        if not ids:
            break
        beams, scores = kept, totals[np.multiply(rows, logits.shape[1]) + ids]
        if best_score >= scores[0]:  # a beam never becomes more probable
            break
        logits, state = step(np.array(ids, np.int32), state[:, rows])
    text = _Text(tokenizer, stop)
    pieces = []
    for token in best.ids():
        pieces.append(text.push(token))
        if text.ended:
            break
    else:
        pieces.append(text.end())
    return "".join(pieces)


def _best(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Positions of the `count` highest values above -inf, the highest first, the lower position first among equals."""
    if count < len(values):
        positions = np.flatnonzero(values >= np.partition(values, len(values) - count)[len(values) - count])
    else:
        positions = np.arange(len(values))
    ordered = positions[np.argsort(-values[positions], kind="stable")][:count]
    return ordered[values[ordered] > -inf]


def _stopped(tokenizer: Tokenizer, beam: _Beam, stop: Sequence[str]) -> bool:
    return bool(stop) and _stop_position(tokenizer.decode(beam.ids()), stop) is not None


def _forbidden(vocabulary_size: int) -> NDArray[np.float64]:
    """What to add to logits (batch, vocabulary) so that no padding, unknown or beginning token is written."""
    forbidden = np.zeros(vocabulary_size)
    forbidden[[PAD_ID, UNKNOWN_ID, BEGINNING_ID]] = -inf
    return forbidden
