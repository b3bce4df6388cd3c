"""Dynamic evaluation: the model keeps learning during evaluation.

Each short segment of the text is first predicted and its loss counted. Then a gradient step updates the weights, and
the next segment is predicted with the new weights. No token is learned before it is predicted. The update rule is from
Krause, Kahembwe, Murray & Renals (2018), "Dynamic evaluation of neural sequence models". It divides by the root mean
square of the gradients on the training text, ``R``, and pulls the weights back to the trained ones:

    w  <-  w - learning_rate * g / (R + EPSILON * mean(R)) + min(1, decay * R / mean(R)) * (w_trained - w)

``g`` is the gradient of the mean loss of a segment; ``mean(R)`` is over all weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.data.tokens.datasets import Batches
from textrnn.data.tokens.shards import Ids
from textrnn.tokenizers.base import END_ID
from textrnn.training.loop.compilation import Compiler, compiled
from textrnn.training.network.language_model import LanguageModel
from textrnn.training.network.products import Tensor

EPSILON = 0.5  # fraction of mean(R) that is added to R, which is almost 0 for rare words
STATISTICS_TOKENS = 50_000  # training tokens from whose gradients R is computed
STATISTICS_STREAMS = 16


@dataclass(frozen=True)
class Reading:
    """The result of reading a segment of a text.

    Attributes:
        nats: nats of each token, float32 ``(tokens,)``.
        hidden: input of the output layer before each token, float32 ``(tokens, n)``.
    """

    nats: NDArray[np.float32]
    hidden: NDArray[np.float32]


class DynamicEvaluation:
    """A reader of texts that trains the model on each segment after predicting it.

    The model's weights change while it reads a text. At the end of the text they are the trained weights again.

    Args:
        model: a float32 language model.
        ids: the training text, int ``(tokens,)``; its gradients determine the step size of each weight.
        segment: number of tokens that are predicted before each update of the weights.
    """

    def __init__(self, model: LanguageModel, ids: Ids, segment: int) -> None:
        self.model = model
        self.segment = segment
        self._variables = model.trainable_variables
        self._trained = [tf.identity(variable) for variable in self._variables]
        self._forward_and_back = Compiler(model).of_tokens(self._find_gradients)
        self._move = compiled(self._update, jit_compile=True)
        self._rates, self._decays = self._statistics(ids)

    def read(self, ids: NDArray[Any], start_id: int, learning_rate: float, decay: float) -> Iterator[Reading]:
        """Read a text, starting from the zero state and the trained weights.

        With separate documents, each document starts from both.

        Args:
            ids: int ``(tokens,)``.
            start_id: the token that precedes the first one.
            learning_rate: as in `DynamicSettings`.
            decay: as in `DynamicSettings`.
        """
        state, last = self.model.backbone.initial_state(1), start_id
        scales = tf.constant(learning_rate, tf.float32), tf.constant(decay, tf.float32)
        moved = False
        try:
            for part in _segments(ids, self.segment, self.model.separate_documents):
                inputs, targets, real = np.zeros((3, 1, self.segment), np.int32)
                inputs[0, : len(part)] = [last, *part[:-1]]
                targets[0, : len(part)], real[0, : len(part)] = part, 1
                if self.model.separate_documents and last == END_ID and moved:
                    self._forget()
                nats, hidden, state, gradients = self._forward_and_back(
                    tf.constant(inputs), tf.constant(targets), state, tf.constant(real, tf.float32)
                )
                yield Reading(nats.numpy()[: len(part), 0], hidden.numpy()[: len(part), 0])
                self._move(gradients, *scales)
                last, moved = int(part[-1]), True
        finally:
            self._forget()

    def _forget(self) -> None:
        for variable, trained in zip(self._variables, self._trained, strict=True):
            variable.assign(trained)

    def _find_gradients(
        self, inputs: Tensor, targets: Tensor, state: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return nats ``(time, batch)``, hidden states, the next state, and the gradients of the mean nats."""
        with tf.GradientTape() as tape:
            hidden, next_state = self.model.read(inputs, state)
            nats = self.model.token_loss(hidden, targets)
            loss = tf.reduce_mean(nats * tf.transpose(real))
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self._variables)]
        return nats, hidden, next_state, gradients

    def _update(self, gradients: list[Tensor], learning_rate: Tensor, decay: Tensor) -> None:
        for variable, trained, gradient, rate, pull in zip(
            self._variables, self._trained, gradients, self._rates, self._decays, strict=True
        ):
            back = tf.minimum(decay * pull, 1.0) * (trained - variable)
            variable.assign_add(back - learning_rate * rate * gradient)

    def _statistics(self, ids: Ids) -> tuple[list[Tensor], list[Tensor]]:
        """Return ``1 / (R + EPSILON * mean(R))`` and ``R / mean(R)`` of each weight."""
        streams = max(1, min(STATISTICS_STREAMS, len(ids) // (self.segment + 1)))
        batches = Batches(ids, streams, self.segment, seed=0)
        count = max(1, min(batches.steps_per_epoch, STATISTICS_TOKENS // (streams * self.segment)))
        squares = [tf.Variable(tf.zeros_like(variable)) for variable in self._trained]

        @compiled
        def add(gradients: list[Tensor]) -> None:
            for square, gradient in zip(squares, gradients, strict=True):
                square.assign_add(tf.square(gradient))

        state = self.model.backbone.initial_state(streams)
        ones = tf.ones((streams, self.segment))
        for step in range(count):
            inputs, targets, _ = batches.batch(step)
            _, _, state, gradients = self._forward_and_back(tf.constant(inputs), tf.constant(targets), state, ones)
            add(gradients)
        roots = [tf.sqrt(square / count) for square in squares]
        mean = sum(tf.reduce_sum(root) for root in roots) / sum(tf.size(root, tf.float32) for root in roots)
        mean = tf.maximum(mean, 1e-30)  # avoids a division by 0 if all gradients are 0
        return [1.0 / (root + EPSILON * mean) for root in roots], [root / mean for root in roots]


def _segments(ids: NDArray[Any], length: int, apart: bool) -> Iterator[NDArray[Any]]:
    """Yield chunks of at most `length` tokens; with `apart`, a chunk ends at every end token."""
    ids = np.asarray(ids, np.int32)
    ends: Iterable[int] = np.flatnonzero(ids == END_ID) + 1 if apart else []
    begin = 0
    for end in [*ends, len(ids)]:
        for start in range(begin, end, length):
            yield ids[start : min(start + length, end)]
        begin = end
