"""The language model: the backbone and an output layer over the vocabulary."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID
from textrnn.training.network.backbone import Backbone, Masks
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor, dense
from textrnn.training.network.softmax.adaptive_softmax import AdaptiveSoftmax
from textrnn.training.network.softmax.cross_entropy import cross_entropy


class LanguageModel(Model):
    """A language model with next-token logits ``o_t = V h_t + c``, or with an adaptive softmax.

    ``V`` is a separate weight or tied to the embedding. With `separate_documents` the state is reset at every end
    token, so that no document depends on another.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        seed: int = 0,
        precision: str = "float32",
        separate_documents: bool = False,
    ) -> None:
        super().__init__(name="language_model")
        self.config = config
        self.separate_documents = separate_documents
        self.precision = precision
        self.backbone = Backbone(config, vocabulary_size, seed, precision)
        small = keras.initializers.VarianceScaling(
            scale=0.25, mode="fan_in", distribution="untruncated_normal", seed=seed + 3
        )
        embedding_dim = self.backbone.embedding_dim
        self.adapter = None
        self.output_kernel = None
        self.output_bias = None
        self.adaptive = None
        width = embedding_dim if config.tied else config.hidden_dim
        if config.softmax == "adaptive":
            self.adaptive = AdaptiveSoftmax(config, vocabulary_size, width, seed + 4)
        elif not config.tied:
            self.output_kernel = self.add_weight(
                name="output_kernel", shape=(config.hidden_dim, vocabulary_size), initializer=small
            )
        if width != config.hidden_dim:
            self.adapter = self.add_weight(name="adapter", shape=(config.hidden_dim, width), initializer=small)
        if self.adaptive is None:
            self.output_bias = self.add_weight(name="output_bias", shape=(vocabulary_size,), initializer="zeros")
        self.built = True

    def call(self, ids: Tensor, state: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits of the token after each token read.

        Args:
            ids: int32 ``(batch, time)``.
            state: float32 ``(layers, batch, hidden)``.
            masks: dropout masks from `Backbone.draw_masks` in training; None in inference.

        Returns:
            logits, float32 ``(time, batch, vocabulary)``, and the final state, with the shape of `state`.
        """
        hidden, state = self.read(ids, state, masks)
        return self.logits(hidden), state

    def read(self, ids: Tensor, state: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden states after each token, ``(time, batch, hidden)``, and the final state, as in `call`."""
        return self.backbone(ids, state, keep=self.keep(ids), masks=masks)  # type: ignore[no-any-return]

    def rows_read(self, ids: Tensor, state: Tensor) -> list[Tensor]:
        """Return the rows that `read` looks up in each of `Backbone.row_tables`."""
        return self.backbone.rows_read(ids, state, self.keep(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits, float32 ``(time, batch, vocabulary)``, of the hidden states that `read` returns.

        The product has the dtype of `hidden`. An adaptive softmax returns log-probabilities: their exponentials sum to
        one.
        """
        hidden = self._adapted(hidden)
        if self.adaptive is not None:
            return self.adaptive.log_probs(hidden, self._tables())
        output = self.backbone.embedding if self.output_kernel is None else self.output_kernel
        output = ops.convert_to_tensor(output)
        output = ops.transpose(output) if self.output_kernel is None else output
        return ops.cast(dense(hidden, output, precision=_precision(hidden)), "float32") + self.output_bias

    def token_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return ``-log p`` of each target ``(batch, time)``, float32 ``(time, batch)``, from the output of `read`."""
        if self.adaptive is not None:
            return self.adaptive.token_loss(self._adapted(hidden), targets, self._tables())
        return cross_entropy(self.logits(hidden), targets)

    def _adapted(self, hidden: Tensor) -> Tensor:
        """Return the hidden states projected to the width of the word vectors."""
        return hidden if self.adapter is None else dense(hidden, self.adapter, precision=_precision(hidden))

    def _tables(self) -> list[Tensor]:
        """Return the word vectors that the output layer shares with the embedding; an empty list if it shares none."""
        return self.backbone.tables() if self.config.tied else []

    def keep(self, ids: Tensor) -> Tensor | None:
        """Return the reset mask ``(time, batch, 1)``: 0 at an end token of the ids ``(batch, time)``, else 1."""
        if not self.separate_documents:
            return None
        return ops.cast(ops.transpose(ids) != END_ID, "float32")[:, :, None]

    def head_weights(self) -> dict[str, Any]:
        own = {"adapter": self.adapter, "output_kernel": self.output_kernel, "output_bias": self.output_bias}
        own = {name: weight for name, weight in own.items() if weight is not None}
        return own if self.adaptive is None else own | self.adaptive.named_weights()


def _precision(hidden: Tensor) -> str:
    return keras.backend.standardize_dtype(hidden.dtype)  # type: ignore[no-any-return]
