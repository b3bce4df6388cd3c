"""Runs a translator, a model from a text to another, by beam search over two graphs:

encode    ids int32 (batch, time) -> keys, values float32 (batch, time, hidden), mask (batch, time), state
decode    ids int32 (batch,), state float32 (layers + 1, batch, hidden), keys, values, mask
          -> logits float32 (batch, vocabulary), attention (batch, time), next_state
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.classification import like_lengths
from textrnn.decoding.beam_search import Hypothesis, Memory, search
from textrnn.errors import UserError, is_several, require_whole_number, shown
from textrnn.runtime.sessions import OfBundle, Sessions, load_bundled_tokenizer
from textrnn.tokenizers import Tokenizer, load_tokenizer
from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID

BEAMS = 4
BATCH_TOKENS = 1024  # source tokens that are read at once

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """Which source tokens each output token was made from."""

    source: tuple[str, ...]
    """Tokens of the source."""
    output: tuple[str, ...]
    """Tokens of the output."""
    weights: tuple[tuple[float, ...], ...]
    """Attention to each source token at each output token."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """A possible output."""

    text: str
    score: float
    """Mean log-probability of its tokens in nats, at the length penalty of 1."""
    log_prob: float
    """Log-probability of the whole output in nats."""
    alignment: Alignment | None = None
    """Its alignment, where it was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        facts = asdict(self)
        if self.alignment is None:
            del facts["alignment"]
        return facts


@dataclass(frozen=True)
class Translation:
    """The output of a model for a source text."""

    text: str
    """The best output."""
    score: float
    """Its score, as in `Candidate`."""
    log_prob: float
    """Its log-probability."""
    candidates: tuple[Candidate, ...]
    """The best outputs, this one first."""
    tokens: int
    """Tokens of the source."""
    is_whole: bool
    """False where the output was cut at the bound on its length."""
    is_longer: bool
    """Whether the source has more tokens than any source in training, so that the output is uncertain."""

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "candidates": [each.to_dict() for each in self.candidates]}

    def columns(self) -> dict[str, Any]:
        """Return the columns of an output in a table, by name."""
        return {"output": self.text, "score": self.score}


class Translator(OfBundle):
    """A model from a text to another, of a bundle.

    Attributes:
        manifest: the bundle's manifest.
        tokenizer: source text to ids.
        target_tokenizer: ids to target text.
        longest_source: tokens of the longest source in training.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        if lacking := {"encode", "decode"} - set(self.manifest.graphs):
            raise UserError(f"text to text must have a {min(lacking)} graph, {bundle.folder} has none; export it again")
        self._sessions = Sessions(bundle, threads)
        self._encode, self._decode = self._sessions("encode"), self._sessions("decode")
        self.tokenizer = load_bundled_tokenizer(bundle)
        self.target_tokenizer = _target_tokenizer(bundle, self.tokenizer)
        runtime = self.manifest.runtime
        self.longest_source: int = runtime["longest_source"]
        self._longest_target: int = runtime["longest_target"]
        self._length_penalty: float = runtime["length_penalty"]
        self._unknown = self.target_tokenizer.decode([UNKNOWN_ID]).strip()

    def transform(
        self,
        texts: Iterable[str],
        beams: int = BEAMS,
        length_penalty: float | None = None,
        *,
        align: bool = False,
        progress: Callable[[], object] | None = None,
    ) -> list[Translation]:
        """Return the output for each text, in their order.

        >>> one, two = textrnn.load("runs/numbers").transform(["42", "7"])
        >>> one.text
        'forty two'

        Args:
            texts: several source texts, of any length.
            beams: hypotheses that the search keeps, and candidates that are returned at most; 1 is greedy and fastest.
            length_penalty: power of the length that divides log-probabilities when outputs are compared: 0 prefers
                short ones, 1 compares means. None: as the model was exported with.
            align: whether candidates have their alignments.
            progress: called before each step of the search; an exception of it ends the search.

        Raises:
            UserError: one string instead of several, or a text that is empty or no string.
        """
        require_whole_number("beams", beams, 1, "4 is usual, 1 is greedy")
        encoded = self._encoded(texts)
        found: list[Any] = [None] * len(encoded)
        for number, hypotheses in self._searched([ids for ids, _ in encoded], beams, length_penalty, progress):
            ids, pieces = encoded[number]
            candidates = tuple(
                Candidate(
                    self._text(each, ids, pieces),
                    each.score,
                    each.log_prob,
                    self._alignment(each, ids, pieces) if align else None,
                )
                for each in hypotheses
            )
            best = candidates[0]
            found[number] = Translation(
                best.text,
                best.score,
                best.log_prob,
                candidates,
                len(ids),
                hypotheses[0].is_whole,
                len(ids) > self.longest_source,
            )
        return found

    def align(self, text: str, beams: int = BEAMS) -> Alignment:
        """Return which source tokens each token of the best output was made from, by the attention.

        Raises:
            UserError: as `transform` raises it.
        """
        ((ids, pieces),) = self._encoded([text])
        ((_, hypotheses),) = self._searched([ids], beams, None, None)
        return self._alignment(hypotheses[0], ids, pieces)

    def _encoded(self, texts: Iterable[str]) -> list[tuple[NDArray[np.int32], list[str]]]:
        if isinstance(texts, str) or not is_several(texts):
            raise UserError(f"texts must be several strings, was: {shown(texts)}; give a list of strings")
        encoded = []
        for text in texts:
            if not isinstance(text, str):
                raise UserError(f"a source must be a string, was: {shown(text)}; give strings")
            ids, pieces = self.tokenizer.encode_whole(text.strip())
            if not len(ids):
                raise UserError(f"a source must have text, was: {text!r:.60}; leave it out")
            encoded.append((ids, pieces))
        return encoded

    def _searched(
        self,
        sources: Sequence[NDArray[np.int32]],
        beams: int,
        length_penalty: float | None,
        progress: Callable[[], object] | None,
    ) -> Iterable[tuple[int, list[Hypothesis]]]:
        """Yield the number of each source and its hypotheses; sources of similar length are searched together."""
        penalty = self._length_penalty if length_penalty is None else length_penalty

        def step(ids: NDArray[np.int32], state: Array, memory: Memory) -> tuple[Array, Array, Array]:
            if progress:
                progress()
            keys, values, mask = memory
            feeds = {"ids": ids, "state": state, "keys": keys, "values": values, "mask": mask}
            logits, attention, state = self._decode.run(None, feeds)
            return logits, attention, state

        lengths = np.array([len(ids) for ids in sources], np.int64)
        for rows, longest in like_lengths(lengths, lambda length: length, BATCH_TOKENS):
            ids = np.full((len(rows), longest), PAD_ID, np.int32)
            for row, number in enumerate(rows):
                ids[row, : lengths[number]] = sources[number]
            *memory, state = self._encode.run(None, {"ids": ids})
            bounds = [self._bound(int(lengths[number])) for number in rows]
            yield from zip(rows.tolist(), search(step, tuple(memory), state, bounds, beams, penalty), strict=True)

    def _bound(self, length: int) -> int:
        """Return the maximum number of tokens of an output, the end token included.

        It is that of the longest target in training. For a source longer than any in training it grows in proportion.
        """
        return math.ceil(self._longest_target * max(1.0, length / self.longest_source)) + 1

    def _text(self, hypothesis: Hypothesis, ids: NDArray[np.int32], pieces: Sequence[str]) -> str:
        """Return the text of a hypothesis; an unknown token becomes the source token that was read for it."""
        if UNKNOWN_ID not in hypothesis.ids:
            return self.target_tokenizer.decode(hypothesis.ids)
        decoder, parts = self.target_tokenizer.stream_decoder(), list[str]()
        for t, id in enumerate(hypothesis.ids):
            part = decoder.push(id)
            if id == UNKNOWN_ID:
                part = part.replace(self._unknown, self._copied(hypothesis, t, ids, pieces))
            parts.append(part)
        return "".join([*parts, decoder.finish()])

    def _alignment(self, hypothesis: Hypothesis, ids: NDArray[np.int32], pieces: Sequence[str]) -> Alignment:
        output = [self._piece(hypothesis, t, ids, pieces) for t in range(len(hypothesis.ids))]
        weights = hypothesis.attention[:, : len(ids)] if output else ()
        return Alignment(tuple(pieces), tuple(output), tuple(tuple(map(float, row)) for row in weights))

    def _copied(self, hypothesis: Hypothesis, t: int, ids: NDArray[np.int32], pieces: Sequence[str]) -> str:
        """Return the source token with the highest attention, among unknown ones if there are any."""
        weights = hypothesis.attention[t, : len(ids)]
        is_unknown = ids == UNKNOWN_ID
        return pieces[int(np.argmax(np.where(is_unknown, weights, -1.0) if is_unknown.any() else weights))]

    def _piece(self, hypothesis: Hypothesis, t: int, ids: NDArray[np.int32], pieces: Sequence[str]) -> str:
        id = hypothesis.ids[t]
        return self._copied(hypothesis, t, ids, pieces) if id == UNKNOWN_ID else self.target_tokenizer.token_text(id)


def _target_tokenizer(bundle: Bundle, source: Tokenizer) -> Tokenizer:
    """Load the tokenizer of the targets.

    Raises:
        UserError: the manifest names no such file, or it cannot be read.
    """
    declared, files = bundle.manifest.runtime["target_tokenizer"], bundle.manifest.files
    kind, file = declared.get("kind"), declared.get("file")
    if file not in files or not isinstance(kind, str):
        raise UserError(f"text to text must have a tokenizer of targets, {bundle.folder} has none; export it again")
    if file == bundle.tokenizer.file:
        return source
    tokenizer = load_tokenizer(bundle.folder, kind, "target_")
    if file != f"target_{tokenizer.file_name}":  # the file that was read is not the file that was checked
        raise UserError(f"targets must be in target_{tokenizer.file_name}, was: {file}; export it again")
    return tokenizer
