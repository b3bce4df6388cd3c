"""Continuous batching: texts that begin and end at different times share each call of a language model's graphs.

The text of a stream depends on its prompt, options and seed only, never on the streams beside it or the sizes of the
calls. Therefore a batch is used only if a row of it has the same bits as the row alone, which `shares_calls` tries when
the model is loaded. Where that fails, as with activations quantised for the whole batch, each stream has its own calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn import generation
from textrnn.errors import UserError, require_whole_number
from textrnn.generation import GenerationOptions, State, forbid
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.sessions import checked_ids
from textrnn.sampling import log_softmax, sample
from textrnn.tokenizers import END_ID
from textrnn.tokenizers.base import BEGINNING_ID, check_text

READ_AT_ONCE = 512
"""Tokens of a prompt in one call: few, so that a long prompt does not keep other streams waiting."""

TRIED_TOKENS = 8  # of each row, when `shares_calls` compares batches
MOST_ALTERNATIVES = 20


class Token(NamedTuple):
    """One token of a text and its probability."""

    text: str
    """What the token adds to the text: empty for a part of a character."""
    log_prob: float
    """Log-probability in nats, at temperature 1 and among all tokens."""
    alternatives: tuple[tuple[str, float], ...]
    """The most probable tokens at this place and their log-probabilities, the highest first."""


class Piece(NamedTuple):
    """What a stream has added to its text."""

    text: str
    tokens: tuple[Token, ...]
    """The tokens of `text`, if they were asked for."""
    finish_reason: str | None
    """``"stop"`` for the end of the text or a stop string, ``"length"`` for the maximum length, None before the end."""
    generated: int = 0
    """Tokens drawn for this piece."""


class Stream:
    """One text that is being generated.

    Args:
        model: the language model.
        prompt: text to continue, or its ids ``(tokens,)``, which may begin with that of ``<s>``.
        options: options of generation without beams; `count` is ignored.
        seed: the seed, 0 or above.
        number: number of the text among those of the same seed, as in `LanguageModel.samples`.
        alternatives: number of alternatives for each token; None: no tokens, only text.
        echo: whether the tokens of the prompt are in the first piece, if there are `alternatives`.

    Raises:
        UserError: the prompt is not text that UTF-8 can spell, or has ids that are not in the vocabulary.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: str | Sequence[int],
        options: GenerationOptions,
        seed: int,
        number: int = 0,
        alternatives: int | None = None,
        echo: bool = False,
    ) -> None:
        if alternatives is not None:
            require_whole_number("logprobs", alternatives, 0, "give a number of alternatives")
        self.model = model
        self.options = options
        self.has_start = False
        if isinstance(prompt, str):
            check_text(prompt)
            self.prompt, ids = prompt, model.tokenizer.encode(prompt)
        else:
            ids = checked_ids(prompt, model.vocabulary_size, 1)
            # Tools of evaluation give the start token. Every text follows it anyway.
            self.has_start = ids[:1].tolist() == [BEGINNING_ID]
            ids = ids[self.has_start :]
            self.prompt = model.tokenizer.decode(ids)
        self.prompt_ids = ids
        self.alternatives = alternatives
        self.generated = 0
        self.finish_reason: str | None = None
        self._echoes = echo and alternatives is not None
        self._unread = np.concatenate([[model.start_id], ids[:-1]]).astype(np.int32) if len(ids) else ids
        self.last_id = int(ids[-1]) if len(ids) else model.start_id
        self.state: State = model.initial_state(1)
        self._read_tokens = 0
        self.is_ready = False  # whether the prompt has been read
        self._random = np.random.Generator(np.random.PCG64([seed, number]))
        self._text = generation.StreamedText(model.tokenizer, self.prompt, options.stops)
        if alternatives is not None:
            self._prompt_decoder = model.tokenizer.stream_decoder()
            self._decoder = model.tokenizer.stream_decoder(self.prompt)
        self._waiting: list[Token] = []  # tokens whose text may still be cut by a stop string
        self._ahead = 0  # characters of tokens returned already, whose text is still held
        self.graph = model.graph_of(options)
        self.seen: NDArray[np.bool_] | None = None
        if options.repetition_penalty != 1:
            self.seen = np.zeros((1, model.vocabulary_size), bool)
            self.seen[:, ids] = True

    @property
    def unread(self) -> int:
        """Number of tokens of the prompt that have not been read."""
        return len(self._unread) - self._read_tokens

    @property
    def group(self) -> Any:
        """Streams with an equal group can share calls."""
        needs_own = self.graph == "generate" and not self.model.has_temperatures
        return self.options.temperature if needs_own else self.graph

    def read_prompt(self) -> Piece | None:
        """Read some more of the prompt, at most `READ_AT_ONCE` tokens; return its tokens if they are to be echoed."""
        begin = self._read_tokens
        ids = self._unread[begin : begin + READ_AT_ONCE]
        tokens: tuple[Token, ...] = ()
        if len(ids) and self._echoes:
            logits, self.state = self.model.read(ids[None], self.state)
            read = self.prompt_ids[begin : begin + len(ids)]
            pieces = [self._prompt_decoder.push(int(token)) for token in read]
            tokens = tuple(self._tokens(logits[0], read, pieces))
        elif len(ids):
            self.state = self.model.remember(ids[None], self.state)
        self._read_tokens += len(ids)
        self.is_ready = not self.unread
        if self.is_ready and self.options.length == 0:
            self.finish_reason = "length"
        return Piece("", tokens, self.finish_reason) if tokens or self.finish_reason else None

    def uniforms(self, steps: int) -> NDArray[np.float64]:
        """Return the next random numbers, float64 ``(steps,)``."""
        return self._random.random(steps)

    def take(self, drawn: NDArray[np.int32], logits: NDArray[np.float32] | None) -> Piece:
        """Add drawn tokens ``(time,)`` and return the new text.

        Args:
            drawn: tokens; those after the end of the text are dropped.
            logits: of each token, ``(time, vocabulary)``; None without `alternatives`.
        """
        drawn = drawn[: self.options.length - self.generated]
        ends = np.flatnonzero(drawn == END_ID)
        kept = drawn[: ends[0]] if len(ends) else drawn
        text, used = "", 0
        # A stop string must end the text at the same token however many are drawn in one call.
        for part in np.split(kept, len(kept)) if self.options.stops and len(kept) else (kept,):
            text += self._text.push(part)
            used += len(part)
            if self._text.ended:
                break
        self.generated += used
        if logits is not None:
            pieces = [self._decoder.push(int(token)) for token in kept[:used]]
            self._waiting += self._tokens(logits, kept[:used], pieces)
        if not self._text.ended and (len(ends) or self.generated == self.options.length):
            text += self._text.end()
            self.finish_reason = "stop" if len(ends) else "length"
        if self._text.stopped:
            self.finish_reason = "stop"
        return Piece(text, tuple(self._released(text)), self.finish_reason, used)

    def _released(self, text: str) -> list[Token]:
        """Return the waiting tokens that a new piece of the text belongs to."""
        room, released = len(text) - self._ahead, list[Token]()
        everything = self.finish_reason is not None and not self._text.stopped
        while self._waiting and (everything or room > 0 or not self._waiting[0].text):
            token = self._waiting.pop(0)
            released.append(token)
            room -= len(token.text)
        self._ahead = -room
        return released

    def _tokens(self, logits: NDArray[np.float32], ids: NDArray[np.int32], pieces: Sequence[str]) -> list[Token]:
        """Return tokens with their probabilities; logits ``(time, vocabulary)``, ids ``(time,)``."""
        log_probs = log_softmax(logits[: len(ids)])
        count, token_text = self.alternatives or 0, self.model.tokenizer.token_text
        tokens = []
        for row, token, text in zip(log_probs, ids.tolist(), pieces, strict=True):
            best = _highest(row, count)
            alternatives = tuple((token_text(int(index)), float(row[index])) for index in best)
            tokens.append(Token(text, float(row[token]), alternatives))
        return tokens


def shares_calls(model: LanguageModel, most: int) -> bool:
    """Return whether a row of every batch up to `most` has the bits that it has alone, for the tokens tried."""
    random = np.random.Generator(np.random.PCG64(0))
    ids = random.integers(0, model.vocabulary_size, (TRIED_TOKENS, most), dtype=np.int32)

    def logits(columns: slice) -> NDArray[np.float32]:
        state, found = model.initial_state(len(range(most)[columns])), np.empty(0, np.float32)
        for row in ids:
            found, state = model.step(row[columns], state)
        return found

    alone = np.concatenate([logits(slice(column, column + 1)) for column in range(most)])
    return all(np.array_equal(logits(slice(0, size)), alone[:size]) for size in range(2, most + 1))


def advance(streams: Iterable[Stream], steps: int, together: bool) -> list[tuple[Stream, Piece | UserError]]:
    """Generate at most `steps` tokens of each stream.

    Args:
        streams: streams of one model whose prompts have been read.
        steps: maximum number of tokens.
        together: whether streams share calls; see `shares_calls`.

    Returns:
        What each stream has added, or why it cannot go on.
    """
    groups: dict[Any, list[Stream]] = {}
    for number, stream in enumerate(streams):
        groups.setdefault(stream.group if together else number, []).append(stream)
    found: list[tuple[Stream, Piece | UserError]] = []
    for group in groups.values():
        needed = max(stream.options.length - stream.generated for stream in group)
        try:
            found += _advance_group(group, min(steps, needed))
        except UserError as error:
            found += [(stream, error) for stream in group]
    return found


def _advance_group(group: list[Stream], steps: int) -> list[tuple[Stream, Piece | UserError]]:
    model = group[0].model
    ids = np.array([stream.last_id for stream in group], np.int32)
    before = np.concatenate([stream.state for stream in group], axis=1)
    uniforms = np.stack([stream.uniforms(steps) for stream in group], axis=1)
    if group[0].graph == "step":
        tokens, state = _draw_by_steps(model, group, ids, before, uniforms)
    else:
        tokens, state = model.draw(ids, before, uniforms, [stream.options for stream in group])
    logits = dict[int, NDArray[np.float32]]()
    if explained := [row for row, stream in enumerate(group) if stream.alternatives is not None]:
        read = np.concatenate([ids[None], tokens[:-1]])[:, explained].T
        logits = dict(zip(explained, model.read(read, before[:, explained])[0], strict=True))
    found: list[tuple[Stream, Piece | UserError]] = []
    for row, stream in enumerate(group):
        stream.last_id, stream.state = int(tokens[-1, row]), state[:, row : row + 1]
        found.append((stream, stream.take(tokens[:, row], logits.get(row))))
    return found


def _draw_by_steps(
    model: LanguageModel,
    group: list[Stream],
    ids: NDArray[np.int32],
    state: State,
    uniforms: NDArray[np.float64],
) -> tuple[NDArray[np.int32], State]:
    """Do what `LanguageModel.draw` does, with every sampling option: each row is sampled alone."""
    tokens = np.empty(uniforms.shape, np.int32)
    for position, draws in enumerate(uniforms):
        logits, state = model.step(ids, state)
        allowed = forbid(logits, model.never_drawn)
        for row, stream in enumerate(group):
            one = slice(row, row + 1)
            tokens[position, one] = sample(allowed[one], stream.options, draws[one], stream.seen)
            if stream.seen is not None:
                stream.seen[:, tokens[position, one]] = True
        ids = tokens[position]
    return tokens, state


def _highest(row: NDArray[np.float64], count: int) -> list[int]:
    """Return the positions of the `count` highest values, the highest first."""
    if count == 0:
        return []
    count = min(count, len(row))
    best = np.argpartition(-row, count - 1)[:count]
    return [int(index) for index in best[np.lexsort((best, -row[best]))]]
