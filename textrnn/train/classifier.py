"""The classifier: the backbone in one direction or both, pooling over everything it read, and an output layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.train.backbone import Backbone, Masks, Start, draw_mask
from textrnn.train.model import Model
from textrnn.train.products import Tensor

# A network that starts almost linear in the words learns first what they say by themselves, and fits less of the noise.
START = Start(embedding=0.1, projected=0.05, recurrent=0.5)

LOWEST = -1e30  # what the maximum of no state is, before it is taken for 0


class Classifier(Model):
    """Logits of the classes of a text: ``o = V p + c``, where p pools over the whole text.

    p holds the largest and the mean of every hidden state, and the mean of the embedding itself. Padding counts in
    none of them, so that a text has the same logits whatever the batch it came in. A text without tokens has p = 0.

    With `segment_length` a text is read in segments of so many tokens, each from the zero state (Johnson & Zhang 2016):
    the segments of a text are read side by side, and no gradient has farther to go than a segment.
    """

    def __init__(
        self, config: ModelConfig, vocabulary_size: int, classes: int, seed: int = 0, precision: str = "float32"
    ) -> None:
        super().__init__(name="classifier")
        self.config = config
        self.classes = classes
        self.precision = precision
        self.backbone = Backbone(config, vocabulary_size, seed, precision, START)
        states = config.hidden_dim * (2 if config.bidirectional else 1)
        self.features = 2 * states + self.backbone.embedding_dim
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.features, classes),
            initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed + 3),
        )
        self.output_bias = self.add_weight(name="output_bias", shape=(classes,), initializer="zeros")
        self.built = True

    def head_weights(self) -> dict[str, Any]:
        return {"output_kernel": self.output_kernel, "output_bias": self.output_bias}

    def segments(self, batch: int, time: int) -> tuple[int, int]:
        """Rows and steps in which texts of ``(batch, time)`` tokens are read.

        `time` must be a multiple of `segment_length`, or less.
        """
        steps = min(time, self.config.segment_length or time)
        return batch * (time // steps), steps

    def draw_masks(self, batch: int, time: int, random_seed: Tensor) -> Masks:
        """What one training step drops, as `Backbone.draw_masks`; and of the pooled features, for each text."""
        rows, steps = self.segments(batch, time)
        masks = self.backbone.draw_masks(rows, steps, random_seed, last_layer=False)
        if self.config.dropout:
            masks["features"] = draw_mask(self.config.dropout, (batch, self.features), random_seed - 1)
        return masks

    def call(self, ids: Tensor, masks: Masks | None = None) -> Tensor:
        """Read whole texts.

        Args:
            ids: int32 ``(batch, time)``, each text followed by padding.
            masks: what is dropped, from `draw_masks`, when training; None when not.

        Returns:
            logits, float32 ``(batch, classes)``.
        """
        batch, time = ids.shape
        rows, steps = self.segments(batch, time)
        ids = ops.reshape(ids, (rows, steps))
        real = ops.cast(ops.transpose(ids) != PAD_ID, "float32")[:, :, None]
        vectors = self.backbone.embed(ids, masks)
        states = self.backbone.read_both_ways(vectors, real, masks)

        def over_text(pool: Any, x: Tensor) -> Tensor:
            """``(time, rows, n)`` to ``(batch, n)``: over each segment, then over the segments of a text."""
            return pool(ops.reshape(pool(x, axis=0), (batch, rows // batch, x.shape[-1])), axis=1)

        count = over_text(ops.sum, real)
        largest = over_text(ops.max, ops.where(real > 0, ops.cast(states, "float32"), LOWEST))
        total = over_text(ops.sum, ops.cast(states, "float32") * real)
        embedded = over_text(ops.sum, vectors * real)
        some = ops.maximum(count, 1.0)
        pooled = ops.concatenate([ops.where(count > 0, largest, 0.0), total / some, embedded / some], axis=-1)
        if masks and "features" in masks:
            pooled = pooled * masks["features"]
        return ops.matmul(pooled, self.output_kernel) + self.output_bias
