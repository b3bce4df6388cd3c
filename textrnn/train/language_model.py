"""The language model: the backbone, and an output layer over the vocabulary."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID
from textrnn.train.backbone import Backbone, Masks
from textrnn.train.model import Model
from textrnn.train.products import Tensor, dense


class LanguageModel(Model):
    """Next-token logits: ``o_t = V h_t + c``, with ``V`` free or tied to the embedding.

    With `documents_apart` the state is forgotten at every end token, so that no document sees another.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        seed: int = 0,
        precision: str = "float32",
        documents_apart: bool = False,
    ) -> None:
        super().__init__(name="language_model")
        self.config = config
        self.documents_apart = documents_apart
        self.precision = precision
        self.backbone = Backbone(config, vocabulary_size, seed, precision)
        small = keras.initializers.VarianceScaling(
            scale=0.25, mode="fan_in", distribution="untruncated_normal", seed=seed + 3
        )
        embedding_dim = self.backbone.embedding_dim
        self.adapter = None
        self.output_kernel = None
        if not config.tied:
            self.output_kernel = self.add_weight(
                name="output_kernel", shape=(config.hidden_dim, vocabulary_size), initializer=small
            )
        elif embedding_dim != config.hidden_dim:
            self.adapter = self.add_weight(name="adapter", shape=(config.hidden_dim, embedding_dim), initializer=small)
        self.output_bias = self.add_weight(name="output_bias", shape=(vocabulary_size,), initializer="zeros")
        self.built = True

    def call(self, ids: Tensor, state: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """Logits of the token after each one read.

        Args:
            ids: int32 ``(batch, time)``.
            state: float32 ``(layers, batch, hidden)``.
            masks: what is dropped, from `Backbone.draw_masks`, when training; None when not.

        Returns:
            logits, float32 ``(time, batch, vocabulary)``, and the final state, shaped as `state`.
        """
        hidden, state = self.read(ids, state, masks)
        return self.logits(hidden), state

    def read(self, ids: Tensor, state: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """What the output layer reads after each token, ``(time, batch, n)``, and the final state; as `call`."""
        hidden, state = self.backbone(ids, state, keep=self.keep(ids), masks=masks)
        if self.adapter is not None:
            hidden = dense(hidden, self.adapter, precision=keras.backend.standardize_dtype(hidden.dtype))
        return hidden, state

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 ``(time, batch, vocabulary)`` of what `read` gives, whose dtype is that of the product."""
        precision = keras.backend.standardize_dtype(hidden.dtype)
        output = self.backbone.embedding if self.output_kernel is None else self.output_kernel
        output = ops.convert_to_tensor(output)
        output = ops.transpose(output) if self.output_kernel is None else output
        return ops.cast(dense(hidden, output, precision=precision), "float32") + self.output_bias

    def nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """``-log p`` of each target ``(batch, time)`` after what `read` gives: float32 ``(time, batch)``."""
        return cross_entropy(self.logits(hidden), targets)

    def keep(self, ids: Tensor) -> Tensor | None:
        """What the backbone forgets, ``(time, batch, 1)``: 0 before an end token of ids ``(batch, time)``, else 1."""
        if not self.documents_apart:
            return None
        return ops.cast(ops.transpose(ids) != END_ID, "float32")[:, :, None]

    def head_weights(self) -> dict[str, Any]:
        own = {"adapter": self.adapter, "output_kernel": self.output_kernel, "output_bias": self.output_bias}
        return {name: weight for name, weight in own.items() if weight is not None}


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats for each token, ``(time, batch)``, of logits ``(time, batch, vocabulary)`` and targets ``(batch, time)``.

    In XLA, where each way is a single pass over the logits: a third of the time of TensorFlow's own operation.
    """
    targets = tf.transpose(targets)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(logits: Tensor) -> Any:
        nats, log_sum = _nats(logits, targets)
        return nats, lambda upstream: _gradient_at_logits(logits, targets, log_sum, upstream)

    return run(logits)


@partial(tf.function, autograph=False, jit_compile=True)
def _nats(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_sum = tf.reduce_logsumexp(logits, axis=-1)
    return log_sum - tf.gather(logits, targets, batch_dims=2), log_sum


@partial(tf.function, autograph=False, jit_compile=True)
def _gradient_at_logits(logits: Tensor, targets: Tensor, log_sum: Tensor, upstream: Tensor) -> Tensor:
    """Softmax, less one at the target."""
    is_target = tf.cast(targets[:, :, None] == tf.range(logits.shape[-1]), tf.float32)
    return (tf.exp(logits - log_sum[:, :, None]) - is_target) * upstream[:, :, None]
