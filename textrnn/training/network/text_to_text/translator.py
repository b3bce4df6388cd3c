"""The network from a text to another: a backbone as encoder, and a plain decoder with attention and input feeding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.network.backbone import Backbone, Masks, Stack, draw_mask
from textrnn.training.network.layers import InitScale
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor, dense, lookup
from textrnn.training.network.text_to_text.attention_loop import AttentionWeights, Memory, attend

UPPER = "decoder_upper_"
"""Prefix of the weights of the decoder's layers above the first."""
LOWEST = -1e9  # added to the scores of padding
DECODER_SEED = 70_000  # offset larger than the seeds of the encoder


class Translator(Model):
    """A network that reads a source text and writes a target text token by token.

    The encoder is the backbone of all models. The decoder's first layer attends to the states of the encoder
    (`textrnn.training.network.text_to_text.attention_loop`); its U is dense, and its f is tanh where that of the others
    is linear. The layers above it are the plain layers of the backbone, and read its output. The first state of the
    decoder is computed from the mean state of the encoder.

    Args:
        config: model configuration.
        source_size: size of the source vocabulary.
        target_size: size of the target vocabulary.
        seed: seed of the weight initialisation.
        precision: dtype of the matrix products of the encoder in training, "float32" or "bfloat16".
    """

    def __init__(
        self, config: ModelConfig, source_size: int, target_size: int, seed: int = 0, precision: str = "float32"
    ) -> None:
        super().__init__(name="translator")
        self.config, self.target_size, self.precision = config, target_size, precision
        self.backbone = Backbone(config, source_size, seed, precision)
        hidden, embedding = config.hidden_dim, self.backbone.embedding_dim
        states = hidden * (2 if config.bidirectional else 1)
        seed += DECODER_SEED

        def weight(name: str, shape: tuple[int, ...], scale: float, number: int) -> Any:
            """Return a weight whose products with inputs of variance 1 have the standard deviation `scale`."""
            if not scale:
                return self.add_weight(name=name, shape=shape, initializer="zeros")
            normal = keras.initializers.VarianceScaling(
                scale=scale**2, mode="fan_in", distribution="untruncated_normal", seed=seed + number
            )
            return self.add_weight(name=name, shape=shape, initializer=normal)

        self.decoder = {
            "decoder_embedding": self.add_weight(
                name="decoder_embedding",
                shape=(target_size, embedding),
                initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed),
            ),
            "decoder_kernel": weight("decoder_kernel", (embedding, hidden), 0.5, 1),
            "decoder_bias": weight("decoder_bias", (hidden,), 0.0, 0),
            "decoder_recurrent_kernel": self.add_weight(
                name="decoder_recurrent_kernel",
                shape=(hidden, hidden),
                initializer=keras.initializers.Orthogonal(0.5 if config.activation == "relu" else 1.0, seed=seed + 2),
            ),
            "feed_kernel": weight("feed_kernel", (hidden, hidden), 0.5, 3),
            "key_kernel": weight("key_kernel", (states, hidden), 1.0, 4),
            "value_kernel": weight("value_kernel", (states, hidden), 1.0, 5),
            "attention_kernel": weight("attention_kernel", (hidden, hidden), 1.0, 6),
            "attention_bias": weight("attention_bias", (hidden,), 0.0, 0),
            "initial_kernel": weight("initial_kernel", (states, hidden), 1.0, 7),
            "initial_bias": weight("initial_bias", (hidden,), 0.0, 0),
            "output_kernel": weight("output_kernel", (hidden, target_size), 0.1, 8),
            "output_bias": weight("output_bias", (target_size,), 0.0, 0),
        }
        self.upper = None
        if config.layers > 1:
            self.upper = Stack(upper_config(config), hidden, InitScale(), seed + 100, UPPER)
        self.built = True

    def head_weights(self) -> dict[str, Any]:
        return self.decoder | ({} if self.upper is None else self.upper.named_weights())

    def draw_masks(self, batch: int, source: int, target: int, random_seed: Tensor) -> Masks:
        """Draw the dropout masks of one training step of `source` and `target` tokens, as `Backbone.draw_masks`."""
        config = self.config
        masks = self.backbone.draw_masks(batch, source, random_seed)
        steps = 1 if config.variational else target
        shapes = {
            "decoder_embedding": (config.embedding_dropout, (self.target_size, 1)),
            "decoder_inputs": (config.input_dropout, (steps, batch, self.backbone.embedding_dim)),
            "decoder_hidden_0": (config.dropout, (steps, batch, config.hidden_dim)),
        }
        for index in range(config.layers - 1):
            shapes[f"{UPPER}hidden_{index}"] = (config.dropout, (steps, batch, config.hidden_dim))
        for number, (name, (rate, shape)) in enumerate(shapes.items()):
            if rate > 0:
                masks[name] = draw_mask(rate, shape, random_seed + tf.constant([0, 500 + number]))
        return masks

    def encode(self, ids: Tensor, masks: Masks | None = None) -> tuple[Memory, Tensor]:
        """Read sources.

        Args:
            ids: int32 ``(batch, source)``, each source followed by padding.
            masks: dropout masks from `draw_masks` in training; None in inference.

        Returns:
            what the decoder reads, and its first state, float32 ``(layers + 1, batch, hidden)``: the states of its
            layers, then the output of the first that is fed to its input.
        """
        real = ops.cast(ops.transpose(ids) != PAD_ID, "float32")[:, :, None]
        vectors = self.backbone.embed(ids, masks, self.backbone.ngrams_of_texts(ids))
        states = ops.cast(self.backbone.bidirectional_states(vectors, real, masks), "float32")
        weights, config = self.decoder, self.config
        keys = dense(states, weights["key_kernel"]) * config.hidden_dim**-0.5
        values = dense(states, weights["value_kernel"])
        count = ops.maximum(ops.sum(real, axis=0), 1.0)
        mean = ops.sum(states * real, axis=0) / count
        first = ops.tanh(dense(mean, weights["initial_kernel"], weights["initial_bias"]))
        rest = ops.zeros((config.layers, *first.shape))
        mask = ops.transpose((1.0 - real[:, :, 0]) * LOWEST)
        memory = Memory(ops.transpose(keys, (1, 0, 2)), ops.transpose(values, (1, 0, 2)), mask)
        return memory, ops.concatenate([first[None], rest])

    def decode(
        self, ids: Tensor, state: Tensor, memory: Memory, masks: Masks | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read target tokens, each to predict the next.

        Args:
            ids: int32 ``(batch, time)``.
            state: float32 ``(layers + 1, batch, hidden)``, from `encode` or an earlier call.
            memory: what is read of the sources.
            masks: as in `encode`.

        Returns:
            logits, float32 ``(time, batch, vocabulary)``, the attention at each step, ``(time, batch, source)``, and
            the next state.
        """
        weights, config, masks = self.decoder, self.config, masks or {}
        table = _masked(ops.convert_to_tensor(weights["decoder_embedding"]), masks, "decoder_embedding")
        vectors = _masked(lookup(table, ops.transpose(ids)), masks, "decoder_inputs")
        projected = dense(vectors, weights["decoder_kernel"], weights["decoder_bias"])
        recurrent = ops.concatenate([weights["decoder_recurrent_kernel"], weights["feed_kernel"]], axis=0)
        loop = AttentionWeights(
            recurrent,
            ops.convert_to_tensor(weights["attention_kernel"]),
            ops.convert_to_tensor(weights["attention_bias"]),
        )
        first = ops.concatenate([state[0], state[-1]], axis=1)
        states, attention = attend(projected, first, memory, loop, attention_activation(config))
        hidden = _masked(states[:, :, config.hidden_dim :], masks, "decoder_hidden_0")
        last, fed = ops.split(states[-1], 2, axis=1)
        next_states = [last[None]]
        if self.upper is not None:
            below = dense(hidden, *self.upper.recurrent_layers[0].input_weights())
            above, after = self.upper(below, state[1:-1], masks=masks, use_cpu_loop=True)
            hidden = hidden + above if config.residual else above
            next_states.append(after)
        logits = dense(hidden, weights["output_kernel"], weights["output_bias"])
        return logits, attention, ops.concatenate([*next_states, fed[None]])

    def call(self, sources: Tensor, targets: Tensor, masks: Masks | None = None) -> Tensor:
        """Predict each token of the targets from the sources and the target tokens before it (teacher forcing).

        Args:
            sources: int32 ``(batch, source)``, each followed by padding.
            targets: int32 ``(batch, time)``, what the decoder reads: the beginning token, then all but the end token.
            masks: as in `encode`.

        Returns:
            logits, float32 ``(time, batch, vocabulary)``.
        """
        memory, state = self.encode(sources, masks)
        return self.decode(targets, state, memory, masks)[0]


def attention_activation(config: ModelConfig) -> str:
    """Return f of the decoder's first layer, whose U is dense: states of a linear one could grow without limit."""
    return "tanh" if config.activation == "linear" else config.activation


def upper_config(config: ModelConfig) -> ModelConfig:
    """Return the configuration of the decoder's layers above the first."""
    return replace(config, layers=config.layers - 1, bidirectional=False, input_ngrams=0, weight_drop=0.0)


def _masked(x: Tensor, masks: Masks, name: str) -> Tensor:
    return x * masks[name] if name in masks else x
