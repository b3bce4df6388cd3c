"""The backbone that every task shares: token ids to hidden states, through stacked plain recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from textrnn.config import ModelConfig
from textrnn.train.products import Tensor, dense, lookup
from textrnn.train.recurrent import SimpleRNN, recurrence

NORMALIZATION_EPSILON = 1e-5

Masks = dict[str, Tensor]
"""What a training step drops, by the name of what it is multiplied with."""


class Backbone(keras.layers.Layer):  # type: ignore[misc]
    """Embedding, then `layers` plain recurrent layers, with residual connections, normalisation and dropout between.

    The state is explicit, so that carried-state training, exact resume, streaming generation and the exported graphs
    are the same computation.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, seed: int = 0, precision: str = "float32") -> None:
        super().__init__(name="backbone")
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = config.embedding_dim or config.hidden_dim
        self.precision = precision
        # A tied embedding is also the output matrix, whose logits should start near zero; the first projection makes up
        # for its small entries.
        deviation = 0.05 if config.tied else 1.0
        self.embedding = self.add_weight(
            name="embedding",
            shape=(vocabulary_size, self.embedding_dim),
            initializer=keras.initializers.RandomNormal(stddev=deviation, seed=seed),
        )
        self.recurrent_layers: list[SimpleRNN] = []
        self.normalizations: list[tuple[Tensor, Tensor]] = []
        for index in range(config.layers):
            layer = SimpleRNN(
                config.hidden_dim,
                activation=config.activation,
                kernel_initializer=keras.initializers.VarianceScaling(
                    scale=0.25 if index else 0.25 / deviation**2,
                    mode="fan_in",
                    distribution="untruncated_normal",
                    seed=seed + 100 * index + 1,
                ),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed + 100 * index + 2),
                return_sequences=True,
                return_state=True,
                name=f"recurrent_{index}",
            )
            layer.build((None, None, config.hidden_dim if index else self.embedding_dim))
            self.recurrent_layers.append(layer)
            if config.normalization == "layer":
                gain = self.add_weight(name=f"gain_{index}", shape=(config.hidden_dim,), initializer="ones")
                shift = self.add_weight(name=f"shift_{index}", shape=(config.hidden_dim,), initializer="zeros")
                self.normalizations.append((gain, shift))
        self.built = True

    def initial_state(self, batch_size: int) -> Tensor:
        """Zeros, float32 ``(layers, batch, hidden)``."""
        return ops.zeros((self.config.layers, batch_size, self.config.hidden_dim))

    def named_weights(self) -> dict[str, Any]:
        """The variables by the names under which checkpoints and exported graphs hold them."""
        weights = {"embedding": self.embedding}
        for index, layer in enumerate(self.recurrent_layers):
            cell = layer.cell
            weights[f"kernel_{index}"] = cell.kernel
            weights[f"recurrent_kernel_{index}"] = cell.recurrent_kernel
            weights[f"bias_{index}"] = cell.bias
        for index, (gain, shift) in enumerate(self.normalizations):
            weights[f"gain_{index}"], weights[f"shift_{index}"] = gain, shift
        return weights

    @property
    def drops(self) -> bool:
        """Whether training drops anything, so that it needs masks."""
        return self.config.dropout + self.config.embedding_dropout + self.config.weight_drop > 0

    def draw_masks(
        self, batch_size: int, sequence_length: int, random_seed: Tensor, segment: Tensor | int = 0
    ) -> Masks:
        """What one training step drops: inverted dropout (Srivastava et al. 2014), entries 0 or ``1 / (1 - rate)``.

        Every mask follows from the seed, int32 ``(2,)``, so that a checkpoint need not hold any random state. They are
        drawn here, apart from `call`, because XLA draws random numbers many times slower than TensorFlow's own graph.
        The masks of weights are the same in all segments of a sequence, those of hidden states are not.
        """
        config = self.config
        sequence = (sequence_length, batch_size, config.hidden_dim)
        shapes: dict[str, tuple[float, tuple[int, ...]]] = {
            "embedding": (config.embedding_dropout, (self.vocabulary_size, 1))
        }
        for index in range(config.layers):
            shapes[f"hidden_{index}"] = (config.dropout, sequence)
            shapes[f"recurrent_kernel_{index}"] = (config.weight_drop, (config.hidden_dim, config.hidden_dim))
        return {
            name: _draw_mask(rate, shape, random_seed + tf.stack([segment if shape == sequence else 0, number]))
            for number, (name, (rate, shape)) in enumerate(shapes.items())
            if rate > 0
        }

    def call(
        self, ids: Tensor, state: Tensor, keep: Tensor | None = None, masks: Masks | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read tokens.

        Args:
            ids: int32 ``(batch, time)``.
            state: float32 ``(layers, batch, hidden)``.
            keep: float32 ``(time, batch, 1)``, 0 where the state is forgotten before that token; None keeps it.
            masks: what is dropped, from `draw_masks`, when training; None when not, which is float32 throughout.

        Returns:
            hidden states, ``(time, batch, hidden)``, bfloat16 when training in that precision and else float32, and the
            final state, shaped as `state`.
        """
        config = self.config
        precision = "float32" if masks is None else self.precision
        masks = masks or {}
        final_states = []
        hidden = None
        for index, layer in enumerate(self.recurrent_layers):
            cell = layer.cell
            if hidden is None:
                projected = self._embed_and_project(ids, masks, precision)
            else:
                inputs = self._hand_on(hidden, index - 1, masks)
                projected = dense(inputs, cell.kernel, cell.bias, precision)
            kernel = _masked(ops.convert_to_tensor(cell.recurrent_kernel), masks, f"recurrent_kernel_{index}")
            states, last = recurrence(projected, state[index], kernel, config.activation, keep)
            final_states.append(last)
            hidden = hidden + states if config.residual and hidden is not None else states
        return self._hand_on(hidden, config.layers - 1, masks), ops.stack(final_states)

    def _embed_and_project(self, ids: Tensor, masks: Masks, precision: str) -> Tensor:
        """``x_t W + b`` of the first layer, ``(time, batch, hidden)``."""
        cell = self.recurrent_layers[0].cell
        embedding = _masked(ops.convert_to_tensor(self.embedding), masks, "embedding")
        ids = ops.transpose(ids)
        batch, time = ids.shape
        if batch is not None and time is not None and self.vocabulary_size < batch * time:
            # Fewer words than tokens: project the whole table once, then look up.
            return lookup(dense(embedding, cell.kernel, cell.bias, precision), ids)
        return dense(lookup(embedding, ids), cell.kernel, cell.bias, precision)

    def _hand_on(self, hidden: Tensor, index: int, masks: Masks) -> Tensor:
        """What the layer above, or the output, reads of a layer: normalised, and partly dropped."""
        if self.normalizations:
            gain, shift = self.normalizations[index]
            precision = hidden.dtype
            hidden = ops.cast(hidden, "float32")
            centred = hidden - ops.mean(hidden, axis=-1, keepdims=True)
            variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
            hidden = ops.cast(centred * ops.rsqrt(variance + NORMALIZATION_EPSILON) * gain + shift, precision)
        return _masked(hidden, masks, f"hidden_{index}")


def _masked(x: Tensor, masks: Masks, name: str) -> Tensor:
    return x * ops.cast(masks[name], x.dtype) if name in masks else x


def _draw_mask(rate: float, shape: tuple[int, ...], random_seed: Tensor) -> Tensor:
    """Float32 entries, 0 with probability `rate` (to 16 bits) and ``1 / (1 - rate)`` else."""
    # 16 random bits an entry, two entries a draw: half the time of a float each.
    count = math.prod(shape)
    draws = tf.random.stateless_uniform(((count + 1) // 2,), random_seed, None, None, tf.int32)
    bits = tf.reshape(tf.reshape(tf.bitcast(draws, tf.uint16), (-1,))[:count], shape)
    kept = bits >= tf.constant(round(rate * 65536), tf.uint16)
    return tf.cast(kept, tf.float32) / (1.0 - rate)
