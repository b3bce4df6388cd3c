"""The loop that generates text from write(ids, state, ...) -> (tokens, state), a chunk of tokens at a time.

The loop does not depend on how tokens are computed. A writer is built from any step(ids, state) -> (logits, state) and
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
"""The recurrent state, (layers, batch, hidden)."""

Step = Callable[[NDArray[np.int32], State], tuple[NDArray[np.float32], State]]
"""ids (batch,), state -> logits of the next token (batch, vocabulary), next state.

The caller does not use a result after the next call, so that each call may write to the same arrays.
"""

Prefill = Callable[[NDArray[np.int32], State], State]
"""ids (batch, time), state -> state after the last token."""

Write = Callable[[NDArray[np.int32], State, NDArray[np.float64], Sequence[int]], tuple[NDArray[np.int32], State]]
"""ids (batch,), state, uniforms (steps, batch), texts (batch,) -> tokens (steps, batch), next state.

It reads ids, then draws and reads tokens one after another in each row; the last token is drawn but not yet read.
`texts` holds the index of each row's text.
"""

CHUNK = 32
"""Tokens per call of a graph writer: few, so that text appears quickly, but enough that the call overhead is small."""

DRAWN_AHEAD = 16 * CHUNK
"""Random numbers of a text drawn in one call, which costs hardly more than drawing one."""

SPECIAL = frozenset((PAD_ID, UNKNOWN_ID, BEGINNING_ID))
"""Tokens that are never drawn, for any training text."""


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(SamplingOptions):
    """Options of text generation and sampling.

    Attributes:
        length: maximum number of tokens.
        beams: above 1, beam search of this width for the most probable continuation, instead of sampling.
        stop: a string or strings that end a text; it is cut before the first one that is complete.
        count: number of sampled texts.
        seed: 0 or above; the same seed gives the same text, None a new one each time.

    Raises:
        UserError: a value is out of range, or beams are combined with sampling options.
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
    """Generate texts that continue a prompt.

    The end token ends a text. Prompt and text can be joined directly: with word tokens, the text begins with the space
    between the two, unless the prompt ends with a space or no space belongs there.

    Args:
        step: one step of the model.
        state: the state before any token, (layers, 1, hidden).
        tokenizer: the tokenizer of the model.
        start_id: the token that precedes every text.
        prompt: any text, may be empty.
        options: options of generation.
        never_drawn: ids (tokens,) of `untrained`.
        prefill: a faster way to read a long prompt than one step per token.
        write: a faster way to sample with these options than `step` and `textrnn.sampling`, `CHUNK` tokens at a time.
        whole: yield each text as one piece at its end, which is faster for many parallel texts.

    Yields:
        (index of the text, 0 to count - 1; its next piece, whole characters that will not change).
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

    A model only learns that such a token is less probable than others, and would sometimes draw it: bytes that form no
    character, or the end of a text if the training text had no ends.

    Args:
        counts: count of each token in the training text, (vocabulary,).

    Returns:
        ids in ascending order, int32 (tokens,).
    """
    never = counts == 0
    never[list(SPECIAL)] = True
    return np.flatnonzero(never).astype(np.int32)


def forbid(logits: NDArray[np.float32], never_drawn: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return logits (batch, vocabulary) with -inf for tokens that are never drawn."""
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
    """Return a writer that supports every option."""
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
    """Sample `count` texts as one batch; a row leaves the batch when its text ends.

    Args:
        write: the writer.
        chunk: tokens per call of the writer.
        ids: (1,), the last token that is not yet read.
        state: the state before this token, (layers, 1, hidden).
        tokenizer: as in `generate`.
        prompt: as in `generate`.
        options: as in `generate`.
        whole: as in `generate`.
    """
    count = options.count
    ids, state = np.repeat(ids, count), np.repeat(state, count, axis=1)
    streams = random_streams(secrets.randbits(64) if options.seed is None else options.seed, count)
    texts = [_text(tokenizer, prompt, options.stops, whole) for _ in range(count)]
    running = list(range(count))  # the text index of each row of the batch
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
    """A text that is decoded only after its end."""

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
        """End the text and return all of it."""
        self.ended = True
        return self._tokenizer.decode(np.concatenate(self._ids), self._prompt)


class StreamedText:
    """A streamed text: it ends before the first complete stop string, and never shows a part of one.

    Attributes:
        ended: whether nothing can follow.
        stopped: whether a stop string ended it.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str, stop: Sequence[str]) -> None:
        self._decoder = tokenizer.stream_decoder(prompt)
        self._stop = stop
        self._held = ""  # final text that may be the beginning of a stop string
        self.ended = False
        self.stopped = False

    def push(self, ids: NDArray[np.int32]) -> str:
        """Add tokens (time,), and return the text that is now final and not part of a stop string."""
        return self._release(self._decoder.extend(ids.tolist()))

    def end(self) -> str:
        """End the text and return the rest of it."""
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
            self.ended = self.stopped = True
            return text[:cut]
        held = _longest_beginning(text, self._stop)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _text(tokenizer: Tokenizer, prompt: str, stop: Sequence[str], whole: bool) -> StreamedText | _WholeText:
    return _WholeText(tokenizer, prompt) if whole and not stop else StreamedText(tokenizer, prompt, stop)


def _stop_position(text: str, stop: Sequence[str]) -> int | None:
    """Return the start of the stop string that is complete first, the longest among several; None if there is none."""
    found = [(begin + len(string), begin) for string in stop if (begin := text.find(string)) >= 0]
    return min(found)[1] if found else None


def _longest_beginning(text: str, stop: Sequence[str]) -> int:
    """Return the length of the longest suffix of a text that is a prefix of a stop string."""
    longest = min(len(text), max(map(len, stop)) - 1)
    return next((n for n in range(longest, 0, -1) if any(string.startswith(text[-n:]) for string in stop)), 0)


class _Beam(NamedTuple):
    """A continuation as its last token and the previous beam, so that adding a token copies nothing."""

    before: _Beam | None
    token: int

    def ids(self) -> list[int]:
        """Return the tokens from the first to the last."""
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
    """Return the most probable continuation by beam search; it ends, stops, or has `length` tokens.

    The score is the sum of the log-probabilities of its tokens, including the end token and the tokens of a stop
    string. With stop strings, each step decodes the text of every beam again; without, the cost of a step does not
    grow.
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
        # At most width of the 2 * width candidates are end tokens, so at least width can continue.
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
        if best_score >= scores[0]:  # the score of a beam never increases
            break
        logits, state = step(np.array(ids, np.int32), state[:, rows])
    text = StreamedText(tokenizer, prompt, stop)
    written = text.push(np.array(best.ids(), np.int32))
    return written if text.ended else written + text.end()


def _best(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Return the positions of the `count` highest values above -inf, in descending order.

    Among equal values the lower position comes first.
    """
    if count < len(values):
        positions = np.flatnonzero(values >= np.partition(values, len(values) - count)[len(values) - count])
    else:
        positions = np.arange(len(values))
    ordered = positions[np.argsort(-values[positions], kind="stable")][:count]
    return ordered[values[ordered] > -inf]


def _stopped(tokenizer: Tokenizer, prompt: str, beam: _Beam, stop: Sequence[str]) -> bool:
    return bool(stop) and _stop_position(tokenizer.decode(beam.ids(), prompt), stop) is not None
