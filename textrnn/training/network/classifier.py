"""The classifier: the backbone in one or both directions, pooling over all steps, and an output layer.

With values instead of classes it is a regressor. With vectors instead of tokens it classifies images, sounds or series.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID
from textrnn.training.network.backbone import Backbone, Masks, draw_mask
from textrnn.training.network.layers import InitScale
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor

# A network that starts almost linear in the words learns their separate effects first and overfits less.
START = InitScale(embedding=0.1, projected=0.05, recurrent=0.5)

LOWEST = -1e30  # the maximum over no states, before it is replaced by 0
NEAR = 1e-6  # share of a maximum by which a value that rounding took from it may be lower


class Classifier(Model):
    """A classifier of whole sequences with logits ``o = V p + c``, where p pools over the sequence; or a regressor.

    With `pooling` "all", p holds the maximum and the mean of every hidden state, and the mean input vector. With
    "mean" it holds the mean states, with "last" the last states. The last state of the backward stack is at the first
    step. With a stride, pooling uses every stride-th state. Padding never counts, so the logits of a text do not depend
    on its batch. A text without tokens has p = 0.

    With `segment_length` a text is read in segments of that many tokens, each from the zero state (Johnson & Zhang
    2016). The segments of a text run in parallel, and no gradient crosses a segment boundary. Input n-grams are those
    of the whole text: at the start of a segment they reach into the one before.

    Args:
        config: model configuration.
        vocabulary_size: number of tokens that the network knows; it reads higher ids as the unknown token. 0 if the
            input is vectors.
        outputs: number of classes, or of values of a regression.
        seed: seed of the weight initialisation.
        precision: dtype of the matrix products in training.
        features: size of the input vectors; 0 if the input is tokens.
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
        """Return the rows and steps into which texts of ``(batch, time)`` tokens are reshaped.

        `time` must be a multiple of `segment_length`, or less than it.
        """
        steps = min(time, self.config.segment_length or time)
        return batch * (time // steps), steps

    def draw_masks(self, batch: int, time: int, random_seed: Tensor) -> Masks:
        """Draw the masks of one training step, as `Backbone.draw_masks`, and those of each text's pooled features."""
        rows, steps = self.segments(batch, time)
        masks = self.backbone.draw_masks(rows, steps, random_seed, last_layer=False)
        if self.config.dropout:
            masks["features"] = draw_mask(self.config.dropout, (batch, self.pooled), random_seed - 1)
        return masks

    def call(self, inputs: Tensor, lengths: Tensor | None = None, masks: Masks | None = None) -> Tensor:
        """Read whole sequences.

        Args:
            inputs: int32 ``(batch, time)``, each text followed by padding; or vectors ``(batch, time, features)``.
            lengths: int32 ``(batch,)``, number of steps of each sequence of vectors.
            masks: dropout masks from `draw_masks` in training; None in inference.

        Returns:
            logits or values, float32 ``(batch, outputs)``.
        """
        if inputs.shape[1] < self.config.stride:  # the upper layers need one whole block of stride steps
            inputs = ops.pad(inputs, ((0, 0), (0, self.config.stride - inputs.shape[1]), (0, 0)))
        batch, time = inputs.shape[:2]
        rows, steps = self.segments(batch, time)
        if self.backbone.features:
            real = ops.cast(ops.arange(time)[:, None] < lengths, "float32")[:, :, None]
            vectors = self.backbone.scaled(self.backbone.read_frames(inputs, lengths))
        else:
            known = ops.where(inputs < self.backbone.vocabulary_size, inputs, UNKNOWN_ID)
            ids = ops.reshape(known, (rows, steps))
            real = ops.cast(ops.transpose(ids) != PAD_ID, "float32")[:, :, None]
            places = self.backbone.ngrams_of_texts(known)
            if places is not None:
                places = ops.reshape(places, (rows, steps, places.shape[-1]))
            vectors = self.backbone.embed(ids, masks, places)
        states = self.backbone.bidirectional_states(vectors, real, masks)
        if (stride := self.config.stride) > 1:
            real, vectors = real[stride - 1 :: stride], vectors[stride - 1 :: stride]

        def over_text(pool: Any, x: Tensor) -> Tensor:
            """Pool ``(time, rows, n)`` to ``(batch, n)``: over each segment, then over the segments of a text."""
            return pool(ops.reshape(pool(x, axis=0), (batch, rows // batch, x.shape[-1])), axis=1)

        count = over_text(ops.sum, real)
        some = ops.maximum(count, 1.0)
        if self.config.pooling == "last":
            pooled = self._last(ops.cast(states, "float32"), ops.cast(count, "int32")) * ops.cast(count > 0, "float32")
        else:
            pooled = over_text(ops.sum, ops.cast(states, "float32") * real) / some
        if self.config.pooling == "all":
            largest = over_text(maximum, ops.where(real > 0, ops.cast(states, "float32"), LOWEST))
            embedded = over_text(ops.sum, vectors * real) / some
            pooled = ops.concatenate([ops.where(count > 0, largest, 0.0), pooled, embedded], axis=-1)
        if masks and "features" in masks:
            pooled = pooled * masks["features"]
        return ops.matmul(pooled, self.output_kernel) + self.output_bias

    def _last(self, states: Tensor, count: Tensor) -> Tensor:
        """Return the last state of each direction, from ``(time, batch, states)`` and step counts ``(batch, 1)``."""
        hidden = self.config.hidden_dim
        ends = ops.maximum(count - 1, 0)[None]
        last = ops.take_along_axis(states[:, :, :hidden], ops.broadcast_to(ends, (1, states.shape[1], hidden)), axis=0)[
            0
        ]
        return ops.concatenate([last, states[0, :, hidden:]], axis=-1) if self.config.bidirectional else last


def maximum(x: Tensor, axis: int) -> Tensor:
    """Compute the maximum over an axis. Its gradient goes to the values within `NEAR` of it, in equal shares.

    The gradient of Keras goes to values that equal the maximum. An XLA program may compute a value twice, in two fused
    loops that round differently. Then no value is equal, and the gradient is 0 / 0.
    """

    def run(x: Tensor) -> Any:
        largest = ops.max(x, axis=axis, keepdims=True)

        def gradient(*args: Any, upstream: Any = None) -> Tensor:
            at_largest = ops.expand_dims(args[0] if upstream is None else upstream, axis)
            chosen = ops.cast(x >= largest - NEAR * ops.abs(largest), x.dtype)
            return chosen * (at_largest / ops.maximum(ops.sum(chosen, axis=axis, keepdims=True), 1.0))

        return ops.squeeze(largest, axis), gradient

    return ops.custom_gradient(run)(x)
