"""Runtime of recognizers of speech: log-mel frames, as in training, to texts. One graph over whole recordings:

    recognize  vectors float32 (batch, time, features), lengths int32 (batch,) -> logits float32 (batch, steps, tokens)

A step is `frame_stack` frames. The blank is token 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle, read_bundle
from textrnn.classification import like_lengths
from textrnn.config import data_of_bundle
from textrnn.data.audio.recordings import SHIFT_MS, AudioFormat
from textrnn.data.vectors import padded, require_width, to_sequence
from textrnn.decoding.ctc import BLANK, Decoded, LogProbs, beam_search, greedy, log_probability
from textrnn.errors import UserError, require_whole_number, shown
from textrnn.models.places import find_model
from textrnn.runtime.audio_classifier import placed
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.sessions import OfBundle, Sessions, load_bundled_tokenizer
from textrnn.runtime.vector_models import BATCH_VALUES
from textrnn.sampling import log_softmax
from textrnn.tokenizers.base import END_ID, UNKNOWN_ID, Tokenizer
from textrnn.tokenizers.char import FIRST_CHARACTER

BEAMS = 8  # prefixes of the beam search, where a language model needs one
ALPHA, BETA = 0.5, 0.5  # weights of a language model and of the length, which suit models of characters


@dataclass(frozen=True)
class Candidate:
    """One of the most probable texts of a recording."""

    text: str
    score: float
    """By which texts are compared: `log_prob` plus what language model and length add."""
    log_prob: float
    """Log-probability of the text by the recognizer; of a beam search, over the paths that it kept."""

    @property
    def probability(self) -> float:
        """That of the text by the recognizer."""
        return math.exp(self.log_prob)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**asdict(self), "probability": self.probability}


@dataclass(frozen=True)
class Transcript(Candidate):
    """The text of a recording."""

    candidates: tuple[Candidate, ...]
    """The best texts that the search found, the best first; greedy decoding finds one."""
    seconds: float
    """Length of the recording."""

    def to_dict(self) -> dict[str, Any]:
        best, *others = [each.to_dict() for each in self.candidates]
        return {**best, "seconds": self.seconds, **({"candidates": [best, *others]} if others else {})}


class Recognizer(OfBundle):
    """Recognizer of speech. It needs the extra ``audio``.

    Attributes:
        manifest: manifest of the bundle.
        tokenizer: between text and tokens; token 0 is the blank.
        features: number of values per frame.
        format: how a recording becomes frames.
        frame_stack: frames of a step.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        runtime = self.manifest.runtime
        if "recognize" not in self.manifest.graphs:
            raise UserError(f"a recognizer must have a recognize graph, {bundle.folder} has none; export it again")
        self._session = Sessions(bundle, threads)("recognize")
        self.tokenizer = load_bundled_tokenizer(bundle)
        data = data_of_bundle(runtime)
        self.format = AudioFormat(data.sample_rate, data.mel_bins)
        graph = self.manifest.graphs["recognize"]
        features, outputs = graph.inputs[0].shape[-1], graph.outputs[0].shape[-1]
        self.features: int = data.mel_bins
        if (features, outputs) != (self.features, self.tokenizer.vocabulary_size):
            raise UserError(
                f"graph, frames and tokenizer of a recognizer must belong together, {bundle.folder} reads "
                f"{features} values and says {self.features}, and has {outputs} outputs for "
                f"{self.tokenizer.vocabulary_size} tokens; export it again"
            )
        self.frame_stack: int = runtime["frame_stack"]
        self._room = max(1, BATCH_VALUES // max(self.features, runtime["hidden_dim"]))

    def transcribe(
        self,
        recordings: Any,
        beams: int | None = None,
        *,
        lm: LanguageModel | str | PathLike[str] | None = None,
        alpha: float = ALPHA,
        beta: float = BETA,
        arranged: bool = False,
    ) -> list[Transcript]:
        """Return the text of each recording, in their order.

        >>> [found.text for found in textrnn.load("runs/digits").transcribe(["a.wav"])]
        ['seven three one']

        Args:
            recordings: several recordings of any sample rate: paths, the bytes of files, or pairs of samples
                ``(time,)`` or ``(time, channels)`` between -1 and 1 and their rate.
            beams: prefixes that a beam search keeps, and candidates that are returned at most. None: 8 with a language
                model, else 1, the most probable path, which is fastest.
            lm: a language model of characters, or its place, as for `textrnn.load`.
            alpha: weight of the language model: the score of a text is ``log p(text | recording) + alpha log p(text) +
                beta characters``.
            beta: what each character adds with a language model, which prefers short texts.
            arranged: whether log-mel frames ``(time, features)`` are given in place of recordings.

        Raises:
            UserError: a recording cannot be read, is empty, silent or longer than 10 minutes; the language model does
                not read characters; or the extra ``audio`` is not installed.
        """
        beams = beams if beams is not None else 1 if lm is None else BEAMS
        require_whole_number("beams", beams, 1, "8 is usual, 1 is greedy")
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not (isinstance(value, int | float) and math.isfinite(value)):
                raise UserError(f"{name} must be a finite number, was: {shown(value)}; 0.5 is usual")
        scorer = None if lm is None else CharacterScorer(language_model(lm), self.tokenizer)
        frames = [
            self._arranged(each, place) if arranged else self.format.frames(each, place)
            for each, place in placed(recordings)
        ]
        found: list[Any] = [None] * len(frames)
        for number, log_probs in self.log_probs(frames):
            if beams == 1 and scorer is None:
                ids = greedy(log_probs)
                total = log_probability(log_probs, ids)
                best = [Decoded(ids, total, total)]
            elif scorer is None:
                best = beam_search(log_probs, beams)
            else:
                best = beam_search(log_probs, beams, scorer, alpha, beta)
            candidates = [Candidate(self.tokenizer.decode(ids), score, total) for ids, total, score in best]
            first = candidates[0]
            found[number] = Transcript(
                first.text, first.score, first.log_prob, tuple(candidates), len(frames[number]) * SHIFT_MS / 1000
            )
        return found

    def _arranged(self, frames: Any, place: str) -> NDArray[np.float32]:
        found = to_sequence(frames, "rows", place)
        require_width(found, self.features, place)
        return found.astype(np.float32)

    def log_probs(self, frames: list[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the number of each recording and its log-probabilities ``(steps, tokens)``.

        Args:
            frames: log-mel frames of each recording, ``(time, features)``.
        """
        lengths = np.array([len(each) for each in frames], np.int64)
        for rows, time in like_lengths(lengths, lambda length: max(length, self.frame_stack), self._room):
            vectors, steps = padded([frames[row] for row in rows], time)
            (logits,) = self._session.run(None, {"vectors": vectors, "lengths": steps})
            for row, number in enumerate(rows.tolist()):
                count = int(steps[row]) // self.frame_stack
                found = log_softmax(logits[row, :count]) if count else np.zeros((0, logits.shape[2]))
                found[:, 1:FIRST_CHARACTER] = -np.inf  # tokens that no transcript has
                yield number, found


class CharacterScorer:
    """A language model of characters that scores the tokens of a recognizer, as `textrnn.decoding.ctc.Scorer` says.

    A character that the language model does not know is as improbable as the least probable of the others.

    Args:
        model: the language model.
        tokenizer: that of the recognizer.

    Raises:
        UserError: the language model has other tokens than characters.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        if model.tokenizer.kind != "char":
            raise UserError(
                f"a language model for transcripts must read characters, {model.folder} reads tokens of "
                f"{model.tokenizer.kind}; train one with tokenizer.kind=char"
            )
        self._model = model
        texts = [tokenizer.token_text(token) for token in range(FIRST_CHARACTER, tokenizer.vocabulary_size)]
        ids, _ = model.tokenizer.encode_whole("".join(texts))
        self._ids = np.concatenate([np.full(FIRST_CHARACTER, UNKNOWN_ID), ids])
        self._is_known = self._ids != UNKNOWN_ID
        ends = model.start_id == END_ID or model.tokenizer.token_text(model.start_id) == "\n"
        if ends:  # a text ends with what is between two of them
            self._ids[BLANK], self._is_known[BLANK] = model.start_id, True
        self._ends = ends

    def begin(self) -> tuple[LogProbs, NDArray[Any]]:
        return self._after(np.array([self._model.start_id]), self._model.initial_state(1))

    def read(self, tokens: NDArray[np.int64], state: NDArray[Any]) -> tuple[LogProbs, NDArray[Any]]:
        return self._after(self._ids[tokens], state)

    def _after(self, ids: NDArray[np.integer[Any]], state: NDArray[Any]) -> tuple[LogProbs, NDArray[Any]]:
        logits, state = self._model.step(ids, np.ascontiguousarray(state))
        log_probs = log_softmax(logits)
        known = log_probs[:, self._ids[self._is_known]]
        found = np.repeat(log_probs.min(axis=1, keepdims=True), len(self._ids), axis=1)
        found[:, self._is_known] = known
        if not self._ends:
            found[:, BLANK] = 0.0
        return found, state


def language_model(place: LanguageModel | str | PathLike[str]) -> LanguageModel:
    """Return a language model, loaded if its place is given.

    Raises:
        UserError: there is none.
    """
    if isinstance(place, LanguageModel):
        return place
    bundle = read_bundle(find_model(place).absolute())
    if bundle.manifest.kind != "language_model":
        kind = bundle.manifest.kind.replace("_", " ")
        raise UserError(f"lm must be a language model, {place} is a {kind}; give one of characters")
    return LanguageModel(bundle)
