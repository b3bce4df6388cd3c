"""The classifier: the backbone in one direction or both, pooling over everything it read, and an output layer.

Values instead of classes make it a regressor, vectors instead of tokens a classifier of images, sounds or series.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.network.backbone import Backbone, Masks, draw_mask
from textrnn.training.network.layers import InitScale
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor

# A network that starts almost linear in the words learns first what they say by themselves, and fits less of the noise.
START = InitScale(embedding=0.1, projected=0.05, recurrent=0.5)

LOWEST = -1e30  # what the maximum of no state is, before it is taken for 0


class Classifier(Model):
    """Logits of the classes of a sequence: ``o = V p + c``, where p pools over the whole of it; or values, likewise.

    With `pooling` "all", p holds the largest and the mean of every hidden state, and the mean of the embedding itself;
    with "mean" the mean states, with "last" the last ones, of the stack that reads from the end those at the first
    step. With a stride, all of them are of every so-manyth step. Padding counts in none of them, so that a text has
    the same logits whatever the batch it came in. A text without tokens has p = 0.

    With `segment_length` a text is read in segments of so many tokens, each from the zero state (Johnson & Zhang 2016):
    the segments of a text are read side by side, and no gradient has farther to go than a segment.

    Args:
        config: of the network.
        vocabulary_size: of the tokens that are read; 0 where vectors are.
        outputs: classes, or values of a regression.
        seed: of the weights.
        precision: of the matrix products when training.
        features: numbers in each vector that is read; 0 where tokens are.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        outputs: int,
        seed: int = 0,
        precision: str = "float32",
        features: int = 0,
    ) -> None:
        super().__init__(name="classifier")
        self.config = config
        self.outputs = outputs
        self.precision = precision
        self.backbone = Backbone(config, vocabulary_size, seed, precision, None if features else START, features)
        states = config.hidden_dim * (2 if config.bidirectional else 1)
        self.pooled = 2 * states + self.backbone.embedding_dim if config.pooling == "all" else states
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.pooled, outputs),
            initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed + 3),
        )
        self.output_bias = self.add_weight(name="output_bias", shape=(outputs,), initializer="zeros")
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
            masks["features"] = draw_mask(self.config.dropout, (batch, self.pooled), random_seed - 1)
        return masks

    def call(self, inputs: Tensor, lengths: Tensor | None = None, masks: Masks | None = None) -> Tensor:
        """Read whole sequences.

        Args:
            inputs: int32 ``(batch, time)``, each text followed by padding; or vectors ``(batch, time, features)``.
            lengths: int32 ``(batch,)``, steps of each sequence of vectors.
            masks: what is dropped, from `draw_masks`, when training; None when not.

        Returns:
            logits, or values, float32 ``(batch, outputs)``.
        """
        if inputs.shape[1] < self.config.stride:  # no whole block, of which the layers above the first would read none
            inputs = ops.pad(inputs, ((0, 0), (0, self.config.stride - inputs.shape[1]), (0, 0)))
        batch, time = inputs.shape[:2]
        rows, steps = self.segments(batch, time)
        if self.backbone.features:
            real = ops.cast(ops.arange(time)[:, None] < lengths, "float32")[:, :, None]
            vectors = self.backbone.scaled(inputs)
        else:
            ids = ops.reshape(inputs, (rows, steps))
            real = ops.cast(ops.transpose(ids) != PAD_ID, "float32")[:, :, None]
            vectors = self.backbone.embed(ids, masks)
        states = self.backbone.bidirectional_states(vectors, real, masks)
        if (stride := self.config.stride) > 1:
            real, vectors = real[stride - 1 :: stride], vectors[stride - 1 :: stride]

        def over_text(pool: Any, x: Tensor) -> Tensor:
            """``(time, rows, n)`` to ``(batch, n)``: over each segment, then over the segments of a text."""
            return pool(ops.reshape(pool(x, axis=0), (batch, rows // batch, x.shape[-1])), axis=1)

        count = over_text(ops.sum, real)
        some = ops.maximum(count, 1.0)
        if self.config.pooling == "last":
            pooled = self._last(ops.cast(states, "float32"), ops.cast(count, "int32")) * ops.cast(count > 0, "float32")
        else:
            pooled = over_text(ops.sum, ops.cast(states, "float32") * real) / some
        if self.config.pooling == "all":
            largest = over_text(ops.max, ops.where(real > 0, ops.cast(states, "float32"), LOWEST))
            embedded = over_text(ops.sum, vectors * real) / some
            pooled = ops.concatenate([ops.where(count > 0, largest, 0.0), pooled, embedded], axis=-1)
        if masks and "features" in masks:
            pooled = pooled * masks["features"]
        return ops.matmul(pooled, self.output_kernel) + self.output_bias

    def _last(self, states: Tensor, count: Tensor) -> Tensor:
        """Of ``(time, batch, states)`` what each direction knows when it has read all ``(batch, 1)`` steps."""
        hidden = self.config.hidden_dim
        ends = ops.maximum(count - 1, 0)[None]
        last = ops.take_along_axis(states[:, :, :hidden], ops.broadcast_to(ends, (1, states.shape[1], hidden)), axis=0)[
            0
        ]
        return ops.concatenate([last, states[0, :, hidden:]], axis=-1) if self.config.bidirectional else last
