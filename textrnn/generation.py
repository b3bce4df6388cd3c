"""The one loop that writes text, over write(ids, state, ...) -> (tokens, state), a chunk of tokens at a time.

It knows nothing of how tokens are computed. A writer is made of any step(ids, state) -> (logits, state) and
`textrnn.sampling`, or is a graph of the runtime that draws the same tokens itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, is_several, require_whole_number, shown
from textrnn.sampling import SamplingOptions, log_softmax, random_streams, sample
from textrnn.tokenizers.base import BEGINNING_ID, END_ID, PAD_ID, UNKNOWN_ID, Tokenizer

State = NDArray[np.float32]
"""What the model remembers of the text, (layers, batch, hidden)."""

Step = Callable[[NDArray[np.int32], State], tuple[NDArray[np.float32], State]]
"""ids (batch,), state -> logits of the next token (batch, vocabulary), next state.

What it returned is not looked at after its next call, so that it may write to the same arrays each time.
"""

Prefill = Callable[[NDArray[np.int32], State], State]
"""ids (batch, time), state -> state after the last of them."""

Write = Callable[[NDArray[np.int32], State, NDArray[np.float64], Sequence[int]], tuple[NDArray[np.int32], State]]
"""ids (batch,), state, uniforms (steps, batch), texts (batch,) -> tokens (steps, batch), next state.

Reads ids, then draws and reads one token a row after the other; the last of them is drawn and not yet read. `texts`
says which text each row belongs to.
"""

CHUNK = 32
"""Tokens a call of a writer that is a graph: few, so that they are seen at once; enough that the call costs little."""

DRAWN_AHEAD = 16 * CHUNK
"""Random numbers of a text drawn in one call, which costs hardly more than drawing one."""

SPECIAL = frozenset((PAD_ID, UNKNOWN_ID, BEGINNING_ID))
"""Tokens that are never drawn, whatever the text that the model was trained on."""


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
        require_whole_number("length", self.length, 0, "give a number of tokens")
        require_whole_number("beams", self.beams, 1, "use 1 to sample")
        require_whole_number("count", self.count, 1, "give a number of texts")
        if self.seed is not None:
            require_whole_number("seed", self.seed, 0, "leave it out for a new text")
        if not is_several(self.stop) or not all(isinstance(text, str) and text for text in self.stops):
            raise UserError(
                f"stop must be strings of at least one character, was: {shown(self.stop)}; leave out empty ones"
            )
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
    prompt: str,
    options: GenerationOptions,
    never_drawn: NDArray[np.int32],
    prefill: Prefill | None = None,
    write: Write | None = None,
    whole: bool = False,
) -> Iterator[tuple[int, str]]:
    """Write texts that continue a prompt.

    The end token ends a text. A text is written so that prompt and text joined read as one: of words, it begins with
    the space between the two, unless the prompt ends with one or none belongs there.

    Args:
        state: the state before any token, (layers, 1, hidden).
        start_id: the token before every text.
        prompt: any text, may be empty.
        never_drawn: ids (tokens,) of `untrained`.
        prefill: a faster way to read a long prompt than one step a token.
        write: a faster way to sample with these options than `step` and `textrnn.sampling`, `CHUNK` tokens at a time.
        whole: give each text as one piece at its end, which is faster where many are written side by side.

    Yields:
        (index of the text, 0 to count - 1; the next piece of it, whole characters that will not be taken back).
    """
    prompt_ids = tokenizer.encode(prompt)
    ids = np.concatenate([[start_id], prompt_ids]).astype(np.int32)
    before, last = ids[:-1], ids[-1:]
    if len(before) and prefill is not None:
        state = prefill(before[None], state)
    else:
        for token in before:
            _, state = step(token[None], state)
    if options.beams > 1:
        if text := _search(step, last, state, tokenizer, prompt, options, never_drawn):
            yield 0, text
    elif write is not None:
        yield from _sample(write, CHUNK, last, state, tokenizer, prompt, options, whole)
    else:
        write = _step_writer(step, tokenizer.vocabulary_size, prompt_ids, options, never_drawn)
        yield from _sample(write, 1, last, state, tokenizer, prompt, options, whole)


def untrained(counts: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Return the ids that are never drawn: `SPECIAL`, and tokens that do not occur in the training text.

    A model learns nothing of such a token but that others are more probable, and would draw it now and then: bytes
    that spell no character, or the end of a text where the training text had no ends.

    Args:
        counts: of each token in the training text, (vocabulary,).

    Returns:
        ids in ascending order, int32 (tokens,).
    """
    never = counts == 0
    never[list(SPECIAL)] = True
    return np.flatnonzero(never).astype(np.int32)


def forbid(logits: NDArray[np.float32], never_drawn: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return logits (batch, vocabulary) in which those of tokens that are never drawn are -inf."""
    allowed = logits.astype(np.float64)
    allowed[:, never_drawn] = -inf
    return allowed


def _step_writer(
    step: Step,
    vocabulary_size: int,
    prompt_ids: NDArray[np.int32],
    options: GenerationOptions,
    never_drawn: NDArray[np.int32],
) -> Write:
    """A writer that knows every option."""
    seen = None
    if options.repetition_penalty != 1:
        seen = np.zeros((options.count, vocabulary_size), bool)
        seen[:, prompt_ids] = True

    def write(
        ids: NDArray[np.int32], state: State, uniforms: NDArray[np.float64], texts: Sequence[int]
    ) -> tuple[NDArray[np.int32], State]:
        tokens = np.empty(uniforms.shape, np.int32)
        for position, draws in enumerate(uniforms):
            logits, state = step(ids, state)
            ids = sample(forbid(logits, never_drawn), options, draws, None if seen is None else seen[texts])
            if seen is not None:
                seen[texts, ids] = True
            tokens[position] = ids
        return tokens, state

    return write


def _sample(
    write: Write,
    chunk: int,
    ids: NDArray[np.int32],
    state: State,
    tokenizer: Tokenizer,
    prompt: str,
    options: GenerationOptions,
    whole: bool,
) -> Iterator[tuple[int, str]]:
    """Sample `count` texts as one batch, whose rows leave it as their texts end.

    Args:
        ids: (1,), the last token that is not yet read.
    """
    count = options.count
    ids, state = np.repeat(ids, count), np.repeat(state, count, axis=1)
    streams = random_streams(secrets.randbits(64) if options.seed is None else options.seed, count)
    texts = [_text(tokenizer, prompt, options.stops, whole) for _ in range(count)]
    running = list(range(count))  # the text that each row of the batch belongs to
    for begin in range(0, options.length, chunk):
        steps = min(chunk, options.length - begin)
        if begin % DRAWN_AHEAD == 0:
            drawn = np.array([streams[index].random(min(DRAWN_AHEAD, options.length - begin)) for index in running])
        uniforms = drawn[:, begin % DRAWN_AHEAD :][:, :steps].T
        tokens, state = write(ids, state, uniforms, running)
        ends = (tokens == END_ID).any(axis=0)
        kept = []
        for row, index in enumerate(running):
            text, written = texts[index], tokens[:, row]
            piece = text.push(written[: (written == END_ID).argmax()] if ends[row] else written)
            if (ends[row] or begin + steps == options.length) and not text.ended:
                piece += text.end()
            if piece:
                yield index, piece
            if not text.ended:
                kept.append(row)
        if not kept:
            return
        ids = tokens[-1]
        if len(kept) < len(running):
            ids, state, drawn = ids[kept], state[:, kept], drawn[kept]
            running = [running[row] for row in kept]


class _WholeText:
    """A text that is looked at only when it has ended."""

    def __init__(self, tokenizer: Tokenizer, prompt: str) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._ids: list[NDArray[np.int32]] = []
        self.ended = False

    def push(self, ids: NDArray[np.int32]) -> str:
        """Add tokens (time,)."""
        self._ids.append(ids)
        return ""

    def end(self) -> str:
        """End the text; returns all of it."""
        self.ended = True
        return self._tokenizer.decode(np.concatenate(self._ids), self._prompt)


class _Text:
    """A text as it is written: it ends before the first complete stop string, and never shows a part of one."""

    def __init__(self, tokenizer: Tokenizer, prompt: str, stop: Sequence[str]) -> None:
        self._decoder = tokenizer.stream_decoder(prompt)
        self._stop = stop
        self._held = ""  # certain text that may be the beginning of a stop string
        self.ended = False

    def push(self, ids: NDArray[np.int32]) -> str:
        """Add tokens (time,); returns the text that is now certain and no part of a stop string."""
        return self._release("".join(map(self._decoder.push, ids.tolist())))

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


def _text(tokenizer: Tokenizer, prompt: str, stop: Sequence[str], whole: bool) -> _Text | _WholeText:
    return _WholeText(tokenizer, prompt) if whole and not stop else _Text(tokenizer, prompt, stop)


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
    step: Step,
    last: NDArray[np.int32],
    state: State,
    tokenizer: Tokenizer,
    prompt: str,
    options: GenerationOptions,
    never_drawn: NDArray[np.int32],
) -> str:
    """Beam search for the most probable continuation: one that ends, stops, or has `length` tokens.

    The score is the sum of the log probabilities of its tokens, the end token and those of a stop string included. With
    stop strings the text of every beam is decoded anew at each step; without, a step costs the same at any length.
    """
    logits, state = step(last, state)
    width, stop = options.beams, options.stops
    beams, scores = [_Beam(None, -1)], np.zeros(1)
    best, best_score = beams[0], -inf
    for position in range(1, options.length + 1):
        totals = (scores[:, None] + log_softmax(forbid(logits, never_drawn))).ravel()
        rows: list[int] = []
        ids: list[int] = []
        kept: list[_Beam] = []
        # Of 2 * width candidates at most width end with the end token, so that width are left to go on.
        for candidate in _best(totals, 2 * width):
            row, token = divmod(int(candidate), logits.shape[1])
            beam = beams[row] if token == END_ID else _Beam(beams[row], token)
            if token == END_ID or position == options.length or _stopped(tokenizer, prompt, beam, stop):
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
    text = _Text(tokenizer, prompt, stop)
    written = text.push(np.array(best.ids(), np.int32))
    return written if text.ended else written + text.end()


def _best(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Positions of the `count` highest values above -inf, the highest first, the lower position first among equals."""
    if count < len(values):
        positions = np.flatnonzero(values >= np.partition(values, len(values) - count)[len(values) - count])
    else:
        positions = np.arange(len(values))
    ordered = positions[np.argsort(-values[positions], kind="stable")][:count]
    return ordered[values[ordered] > -inf]


def _stopped(tokenizer: Tokenizer, prompt: str, beam: _Beam, stop: Sequence[str]) -> bool:
    return bool(stop) and _stop_position(tokenizer.decode(beam.ids(), prompt), stop) is not None
