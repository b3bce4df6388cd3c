"""Runtime of recognizers of speech: log-mel frames, as in training, to texts. One graph over whole recordings:

    recognize  vectors float32 (batch, time, features), lengths int32 (batch,) -> logits float32 (batch, steps, tokens)

A step is `frame_stack` frames. The blank is token 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.bundle import Bundle
from textrnn.classification import like_lengths
from textrnn.config import data_of_bundle
from textrnn.ctc import greedy, log_probability
from textrnn.data.audio.recordings import AudioFormat
from textrnn.data.vectors import padded
from textrnn.errors import UserError
from textrnn.runtime.audio_classifier import placed
from textrnn.runtime.sessions import OfBundle, Sessions, load_bundled_tokenizer
from textrnn.runtime.vector_models import BATCH_VALUES
from textrnn.sampling import log_softmax


@dataclass(frozen=True)
class Transcript:
    """The text of a recording."""

    text: str
    """The text."""
    score: float
    """Mean log-probability of a character: near 0 where the model is certain."""
    log_prob: float
    """Log-probability of the text."""
    seconds: float
    """Length of the recording."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return asdict(self)


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
        self.features, outputs = graph.inputs[0].shape[-1], graph.outputs[0].shape[-1]
        if (data.mel_bins, self.tokenizer.vocabulary_size) != (self.features, outputs):
            raise UserError(
                f"graph, frames and tokenizer of a recognizer must belong together, {bundle.folder} reads "
                f"{self.features} values and says {data.mel_bins}, and has {outputs} outputs for "
                f"{self.tokenizer.vocabulary_size} tokens; export it again"
            )
        self.frame_stack: int = runtime["frame_stack"]
        self._room = max(1, BATCH_VALUES // max(data.mel_bins, runtime["hidden_dim"]))

    def transcribe(self, recordings: Any) -> list[Transcript]:
        """Return the text of each recording, in their order.

        >>> [found.text for found in textrnn.load("runs/digits").transcribe(["a.wav"])]
        ['seven three one']

        Args:
            recordings: several recordings of any sample rate: paths, the bytes of files, or pairs of samples ``(time,)``
                or ``(time, channels)`` between -1 and 1 and their rate.

        Raises:
            UserError: a recording cannot be read, is empty, silent or longer than 10 minutes; or the extra ``audio`` is
                not installed.
        """
        frames = [self.format.frames(each, place) for each, place in placed(recordings)]
        found: list[Any] = [None] * len(frames)
        for number, log_probs in self.log_probs(frames):
            ids = greedy(log_probs)
            log_prob = log_probability(log_probs, ids)
            seconds = len(frames[number]) / 100
            found[number] = Transcript(self.tokenizer.decode(ids), log_prob / max(1, len(ids)), log_prob, seconds)
        return found

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
                yield number, log_softmax(logits[row, :count]) if count else np.zeros((0, logits.shape[2]))
