"""The backbone of every task: stacked plain recurrent layers from tokens or vectors to hidden states."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.training.network.cepstra import cepstra_of, cepstral_kernel, cepstral_scaling
from textrnn.training.network.layer_output import layer_output
from textrnn.training.network.layers import DenseLayer, DiagonalLayer, InitScale, recurrent_layer
from textrnn.training.network.ngram_inputs import earlier_tokens, ngram_rows, state_rows
from textrnn.training.network.products import Layer, Tensor, dense, lookup, lookup_inside
from textrnn.training.network.softmax.adaptive_softmax import Tail, tails
from textrnn.training.network.weight_names import BACKWARD, directions

BACKWARD_SEED = 50_000  # offset larger than the seeds of all forward layers

Masks = dict[str, Tensor]
"""Dropout masks of one training step, keyed by the tensor they multiply."""


class Stack(Layer):
    """A stack of plain recurrent layers, with residual connections, normalisation and dropout between them.

    Args:
        config: model configuration.
        input_dim: size of the vectors that the first layer reads.
        start: scales of the initial weights.
        seed: seed of the weight initialisation.
        prefix: prefix of the names of weights and masks.
    """

    def __init__(self, config: ModelConfig, input_dim: int, start: InitScale, seed: int, prefix: str = "") -> None:
        super().__init__(name=f"{prefix}stack")
        self.config = config
        self.prefix = prefix
        self.recurrent_layers: list[DenseLayer | DiagonalLayer] = []
        self.normalizations: list[tuple[Tensor, Tensor]] = []
        self.mixings: list[tuple[Tensor, Tensor]] = []
        for index in range(config.layers):
            self.recurrent_layers.append(
                recurrent_layer(
                    config,
                    config.hidden_dim if index else input_dim,
                    start,
                    start.projected if index else start.projected / start.embedding,
                    seed + 100 * index,
                    f"{prefix}recurrent_{index}",
                )
            )
            if config.mixing != "none":
                width = config.hidden_dim * (2 if config.mixing == "glu" else 1)
                kernel = self.add_weight(
                    name=f"mixing_kernel_{index}",
                    shape=(config.hidden_dim, width),
                    initializer=keras.initializers.VarianceScaling(
                        mode="fan_in", distribution="untruncated_normal", seed=seed + 100 * index + 4
                    ),
                )
                bias = self.add_weight(name=f"mixing_bias_{index}", shape=(width,), initializer="zeros")
                self.mixings.append((kernel, bias))
            if config.normalization == "layer":
                gain = self.add_weight(name=f"gain_{index}", shape=(config.hidden_dim,), initializer="ones")
                shift = self.add_weight(name=f"shift_{index}", shape=(config.hidden_dim,), initializer="zeros")
                self.normalizations.append((gain, shift))
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in checkpoints and exported graphs."""
        weights = {}
        for index, layer in enumerate(self.recurrent_layers):
            for name, variable in layer.named_weights().items():
                weights[f"{self.prefix}{name}_{index}"] = variable
        for index, (kernel, bias) in enumerate(self.mixings):
            weights[f"{self.prefix}mixing_kernel_{index}"] = kernel
            weights[f"{self.prefix}mixing_bias_{index}"] = bias
        for index, (gain, shift) in enumerate(self.normalizations):
            weights[f"{self.prefix}gain_{index}"], weights[f"{self.prefix}shift_{index}"] = gain, shift
        return weights

    def call(
        self,
        projected: Tensor,
        state: Tensor,
        keep: Tensor | None = None,
        real: Tensor | None = None,
        masks: Masks | None = None,
        use_cpu_loop: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read a sequence.

        Args:
            projected: ``x_t W + b`` of the first layer, ``(time, batch, hidden)``; its dtype is the dtype of all
                products.
            state: float32 ``(layers, batch, hidden)``.
            keep: reset mask, float32 ``(time, batch, 1)``, 0 where the state is reset before the step; None never
                resets.
            real: padding mask, float32 ``(time, batch, 1)``, 0 at padding, where a zero state stays zero; None means no
                padding.
            masks: dropout masks in training; None in inference.
            use_cpu_loop: as in `recurrence`.

        Returns:
            hidden states of the last layer, ``(time, batch, hidden)``, and the final state, with the shape of `state`.
        """
        config, masks = self.config, masks or {}
        precision = keras.backend.standardize_dtype(projected.dtype)
        final_states = []
        hidden = read = None
        for index, layer in enumerate(self.recurrent_layers):
            if read is not None:
                projected = dense(read, *layer.input_weights(), precision)
            if real is not None:
                # f(0 + 0 U) = 0 for every supported f, so leading padding has no effect.
                projected = projected * ops.cast(real, precision)
            # Not named `mask`, which Keras would treat as a mask of time steps.
            drop = masks.get(f"{self.prefix}recurrent_kernel_{index}")
            states, last = layer(projected, state[index], keep=keep, drop=drop, use_cpu_loop=use_cpu_loop)
            final_states.append(last)
            if index == 0 and config.stride > 1:
                # Blocks are counted from the first vector of the sequence, which a backward stack reads last.
                rest = 0 if real is None else states.shape[0] % config.stride
                states = states[rest + config.stride - 1 :: config.stride]
                real = None if real is None else real[rest :: config.stride]
            hidden, read = layer_output(
                states,
                hidden if config.residual else None,
                self.mixings[index] if self.mixings else None,
                self.normalizations[index] if self.normalizations else None,
                masks.get(f"{self.prefix}hidden_{index}"),
                config.mixing,
            )
        return read, ops.stack(final_states)


class Backbone(Layer):
    """An embedding and a stack of plain recurrent layers; with `bidirectional`, a second stack that reads backward.

    The state is explicit, so that training with carried state, exact resume, streaming generation and the exported
    graphs do the same computation.

    Args:
        config: model configuration.
        vocabulary_size: size of the vocabulary; 0 if the input is vectors.
        seed: seed of the weight initialisation.
        precision: dtype of the matrix products in training, "float32" or "bfloat16".
        start: scales of the initial weights.
        features: size of the input vectors, or of the frames of recordings; 0 if the input is tokens.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        seed: int = 0,
        precision: str = "float32",
        start: InitScale | None = None,
        features: int = 0,
    ) -> None:
        super().__init__(name="backbone")
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.features = features
        width = (2 * config.cepstra or features) * config.frame_stack
        self.embedding_dim = config.embedding_dim or width or config.hidden_dim
        self.precision = precision
        # A tied embedding is also the output matrix, whose logits should start near zero. The first projection
        # compensates for its small entries.
        start = start or InitScale(
            embedding=0.05 if config.tied else 1.0,
            # ReLU states are unbounded and would otherwise grow along a document.
            recurrent=0.5 if config.activation == "relu" else 1.0,
        )
        self.embedding = None
        # True makes the gradient of the embedding an `IndexedSlices` of the rows that were read.
        self.reads_rows = False
        self.tails: list[Tail] = []
        self.tail_embeddings: list[tuple[Tensor, Tensor]] = []
        self.projection: tuple[Tensor, Tensor] | None = None
        if features:
            self.input_mean = self.add_weight(name="input_mean", shape=(width,), initializer="zeros", trainable=False)
            self.input_scale = self.add_weight(name="input_scale", shape=(width,), initializer="ones", trainable=False)
            if config.cepstra:
                self.cepstral_kernel = cepstral_kernel(features, config.cepstra)
                self.frame_mean = self.add_weight(
                    name="input_frame_mean", shape=(features,), initializer="zeros", trainable=False
                )
            if config.embedding_dim:
                he = keras.initializers.HeNormal(seed=seed)
                self.projection = (
                    self.add_weight(name="projection_kernel", shape=(width, config.embedding_dim), initializer=he),
                    self.add_weight(name="projection_bias", shape=(config.embedding_dim,), initializer="zeros"),
                )
        else:
            # A tied adaptive softmax shares its tails with the embedding: rarer words have narrower vectors.
            is_shared = config.softmax == "adaptive" and config.tied
            self.tails = tails(config, vocabulary_size, self.embedding_dim) if is_shared else []
            self.embedding = self.add_weight(
                name="embedding",
                shape=(self.tails[0].first if self.tails else vocabulary_size, self.embedding_dim),
                initializer=keras.initializers.RandomNormal(stddev=start.embedding, seed=seed),
            )
            for number, tail in enumerate(self.tails, start=1):
                wide = {"shape": (tail.width, self.embedding_dim), "name": f"embedding_projection_{number}"}
                unit = keras.initializers.VarianceScaling(
                    mode="fan_in", distribution="untruncated_normal", seed=seed + 20 + number
                )
                normal = keras.initializers.RandomNormal(stddev=start.embedding, seed=seed + 40 + number)
                rows = self.add_weight(name=f"embedding_{number}", shape=(tail.size, tail.width), initializer=normal)
                self.tail_embeddings.append((rows, self.add_weight(initializer=unit, **wide)))
        self.ngrams = None
        if config.input_ngrams > 1:
            # They start at zero, so that training begins as it does without them.
            self.ngrams = self.add_weight(
                name="ngrams", shape=(config.ngram_rows, self.embedding_dim), initializer="zeros"
            )
        self.stack = Stack(config, self.embedding_dim, start, seed)
        self.backward_stack = None
        if config.bidirectional:
            self.backward_stack = Stack(config, self.embedding_dim, start, seed + BACKWARD_SEED, BACKWARD)
        self.built = True

    def initial_state(self, batch_size: int) -> Tensor:
        """Return zeros, float32 ``(layers, batch, hidden)``; with n-grams as inputs ``(layers + 1, batch, hidden)``.

        The last row then begins with the tokens read last.
        """
        return ops.zeros((state_rows(self.config), batch_size, self.config.hidden_dim))

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in checkpoints and exported graphs."""
        weights = {"embedding": self.embedding}
        if self.ngrams is not None:
            weights["ngrams"] = self.ngrams
        if self.embedding is None:
            weights = {"input_mean": self.input_mean, "input_scale": self.input_scale}
            if self.config.cepstra:
                weights["input_frame_mean"] = self.frame_mean
        for number, (rows, projection) in enumerate(self.tail_embeddings, start=1):
            weights[f"embedding_{number}"], weights[f"embedding_projection_{number}"] = rows, projection
        if self.projection:
            weights["projection_kernel"], weights["projection_bias"] = self.projection
        weights |= self.stack.named_weights()
        return weights if self.backward_stack is None else weights | self.backward_stack.named_weights()

    @property
    def drops(self) -> bool:
        """Whether training uses any dropout, so that it needs masks."""
        config = self.config
        rates = (
            config.dropout,
            config.input_dropout,
            config.embedding_dropout,
            config.ngram_dropout,
            config.weight_drop,
        )
        return sum(rates) > 0

    def draw_masks(
        self,
        batch_size: int,
        sequence_length: int,
        random_seed: Tensor,
        segment: Tensor | int = 0,
        last_layer: bool = True,
    ) -> Masks:
        """Draw the inverted dropout masks of one training step (Srivastava et al. 2014).

        Entries are 0 or ``1 / (1 - rate)``. Every mask is a function of the seed, int32 ``(2,)``, so that a checkpoint
        needs no random state. The masks are drawn outside `call`, because XLA draws random numbers many times slower
        than a TensorFlow graph. All segments of a sequence share the masks of weights, but not those of hidden states.
        Without `last_layer` the output of the last layer has no dropout.
        """
        config = self.config
        steps = 1 if config.variational else sequence_length // config.stride
        sequence = (steps, batch_size, config.hidden_dim)
        shapes: dict[str, tuple[float, tuple[int, ...]]] = {
            "embedding": (config.embedding_dropout, (self.vocabulary_size, 1)),
        }
        if config.input_ngrams > 1:
            shapes["ngrams"] = (config.ngram_dropout, (config.ngram_rows, 1))
        for prefix in directions(config):
            for index in range(config.layers):
                rate = config.dropout if last_layer or index < config.layers - 1 else 0.0
                shapes[f"{prefix}hidden_{index}"] = (rate, sequence)
                size = (config.hidden_dim, config.hidden_dim)
                shapes[f"{prefix}recurrent_kernel_{index}"] = (config.weight_drop, size)
        inputs = (steps, batch_size, self.embedding_dim)
        shapes["inputs"] = (config.input_dropout, inputs)
        by_step = (sequence, inputs) if not config.variational else ()
        return {
            name: draw_mask(rate, shape, random_seed + tf.stack([segment if shape in by_step else 0, number]))
            for number, (name, (rate, shape)) in enumerate(shapes.items())
            if rate > 0
        }

    def call(
        self, ids: Tensor, state: Tensor, keep: Tensor | None = None, masks: Masks | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read tokens or vectors.

        Args:
            ids: int32 ``(batch, time)``; or vectors ``(batch, time, features)``.
            state: float32 ``(layers, batch, hidden)``.
            keep: reset mask, float32 ``(time, batch, 1)``, 0 where the state is reset before the token; None never
                resets.
            masks: dropout masks from `draw_masks` in training; None in inference, which is always float32.

        Returns:
            hidden states, ``(time, batch, hidden)``, bfloat16 in training with that precision, else float32; and the
            final state, with the shape of `state`.
        """
        precision = "float32" if masks is None else self.precision
        if self.features:
            projected = dense(self.scaled(ids), *self.stack.recurrent_layers[0].input_weights(), precision)
        elif self.ngrams is None:
            projected = self._embed_and_project(ids, masks or {}, precision)
        else:
            places, history = self._ngram_rows(ids, state, keep)
            projected = self._embed_and_project(ids, masks or {}, precision, places)
            hidden, states = self.stack(projected, state[:-1], keep=keep, masks=masks)
            room = ops.zeros((history.shape[0], self.config.hidden_dim - history.shape[1]))
            return hidden, ops.concatenate([states, ops.concatenate([history, room], axis=1)[None]])
        return self.stack(projected, state, keep=keep, masks=masks)  # type: ignore[no-any-return]

    def set_scaling(self, mean: Tensor, scale: Tensor) -> None:
        """Set the mean that is subtracted from input vectors and the scale that divides them, each ``(features,)``."""
        self.input_mean.assign(mean)
        self.input_scale.assign(scale)

    def set_frame_scaling(
        self, mean: NDArray[np.float32], scale: NDArray[np.float32], frames: list[NDArray[np.float32]]
    ) -> None:
        """Set the scaling of a model that reads vectors, or frames of recordings.

        Args:
            mean: mean of each value of a vector or frame, ``(features,)``.
            scale: its standard deviation.
            frames: recordings to train on, ``(time, features)`` each. The scaling of cepstra is computed from them.
        """
        if self.config.cepstra:
            self.frame_mean.assign(mean)
            mean, scale = cepstral_scaling(frames, mean, self.config.cepstra)
        self.set_scaling(np.tile(mean, self.config.frame_stack), np.tile(scale, self.config.frame_stack))

    def read_frames(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Compute what a model of recordings reads of frames: their cepstra and slopes, or the frames themselves.

        Args:
            frames: float32 ``(batch, time, features)``.
            lengths: int32 ``(batch,)``, frames of each recording; those behind are padding.
        """
        if not self.config.cepstra:
            return frames
        real = ops.cast(ops.arange(frames.shape[1]) < lengths[:, None], "float32")[:, :, None]
        return cepstra_of((frames - self.frame_mean) * real, self.cepstral_kernel)

    def scaled(self, vectors: Tensor) -> Tensor:
        """Scale the input vectors for the first layer, and project them if the model has an input projection.

        ``(batch, time, features)`` to float32 ``(time, batch, features)``; with a projection, ``(..., embedding)``.
        """
        scaled = ops.transpose((vectors - self.input_mean) / self.input_scale, (1, 0, 2))
        return ops.relu(dense(scaled, *self.projection)) if self.projection else scaled

    def ngrams_of_texts(self, ids: Tensor) -> Tensor | None:
        """Return the rows of the n-grams that end at each token of whole texts, int32 ``(batch, time, n - 1)``.

        `ids` are int32 ``(batch, time)``. None for a model that reads tokens alone.
        """
        table: Any = self.ngrams
        if table is None:
            return None
        earlier, _ = earlier_tokens(ids, ops.zeros((ids.shape[0], self.config.input_ngrams - 1)))
        return ngram_rows(ids, earlier, table.shape[0])

    def embed(self, ids: Tensor, masks: Masks | None = None, places: Tensor | None = None) -> Tensor:
        """Return the input vectors of tokens ``(batch, time)``, float32 ``(time, batch, embedding)``.

        With `places`, the rows of n-grams ``(batch, time, n - 1)``, the vectors of these are added.
        """
        masks, ids = masks or {}, ops.transpose(ids)
        table: Any = self.embedding
        if self.tails or self.reads_rows:
            vectors = self._embed_by_tails(ids) if self.tails else tf.gather(table.value, ids)
            if "embedding" in masks:
                vectors = vectors * ops.take(masks["embedding"], ids, axis=0)
        else:
            vectors = lookup(_masked(ops.convert_to_tensor(table), masks, "embedding"), ids)
        if places is not None:
            vectors = vectors + self._ngram_vectors(places, masks)
        return _masked(vectors, masks, "inputs")

    def _embed_by_tails(self, ids: Tensor) -> Tensor:
        """Embed ids ``(time, batch)`` as `embed` does, where rarer words have narrower vectors."""
        sizes = (self.tails[0].first, *(tail.size for tail in self.tails))
        places = zip((0, *(tail.first for tail in self.tails)), sizes, self.tables(), strict=True)
        vectors = []
        for first, size, table in places:
            # A token outside the tail reads a row of zeros.
            place = ops.where((ids >= first) & (ids < first + size), ids - first, size)
            vectors.append(lookup_inside(table, place))
        projections = ops.concatenate([projection for _, projection in self.tail_embeddings], axis=0)
        return vectors[0] + dense(ops.concatenate(vectors[1:], axis=-1), projections)

    def tables(self) -> list[Tensor]:
        """Return the embedding tables: one ``(vocabulary, embedding)``, or head and tails of an adaptive softmax."""
        return [ops.convert_to_tensor(table) for table in (self.embedding, *(rows for rows, _ in self.tail_embeddings))]

    def bidirectional_states(self, vectors: Tensor, real: Tensor, masks: Masks | None = None) -> Tensor:
        """Read whole sequences from the zero state, in one direction or both.

        Args:
            vectors: float32 ``(time, batch, features)``.
            real: padding mask, float32 ``(time, batch, 1)``, 0 at padding, which may only be at the end.
            masks: as in `call`.

        Returns:
            hidden states, ``(time, batch, hidden)``, or ``(time, batch, 2 * hidden)`` in both directions. Both halves
            at a step belong to the state after that step was read. Values at padding have no meaning.
        """
        precision = "float32" if masks is None else self.precision
        state = self.initial_state(vectors.shape[1])
        read = []
        for stack in (self.stack, self.backward_stack):
            if stack is None:
                continue
            projected = dense(vectors, *stack.recurrent_layers[0].input_weights(), precision)
            if stack is self.stack:
                states, _ = stack(projected, state, masks=masks, use_cpu_loop=True)
            else:
                states, _ = stack(ops.flip(projected, 0), state, real=ops.flip(real, 0), masks=masks, use_cpu_loop=True)
                states = ops.flip(states, 0)
            read.append(states)
        return ops.concatenate(read, axis=-1) if len(read) > 1 else read[0]

    def row_tables(self) -> list[Any]:
        """Return the tables of input vectors, of which a step reads some rows: of tokens, and of n-grams."""
        return [self.embedding] if self.ngrams is None else [self.embedding, self.ngrams]

    def rows_read(self, ids: Tensor, state: Tensor, keep: Tensor | None = None) -> list[Tensor]:
        """Return the rows that `call` looks up in each of `row_tables`, int32 of any shape."""
        return [ids] if self.ngrams is None else [ids, self._ngram_rows(ids, state, keep)[0]]

    def _ngram_rows(self, ids: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the rows of the n-grams that end at each token, int32 ``(batch, time, n - 1)``, and the tokens read.

        These are float32 ``(batch, n - 1)``.
        """
        table: Any = self.ngrams
        earlier, history = earlier_tokens(ids, state[-1, :, : self.config.input_ngrams - 1], keep)
        return ngram_rows(ids, earlier, table.shape[0]), history

    def _ngram_vectors(self, places: Tensor, masks: Masks) -> Tensor:
        """Return the sum of the vectors of the n-grams that end at each token, ``(time, batch, embedding)``."""
        table: Any = self.ngrams
        places = ops.transpose(places, (1, 0, 2))
        if self.reads_rows:
            vectors = tf.gather(table.value, places)
            if "ngrams" in masks:
                vectors = vectors * ops.take(masks["ngrams"], places, axis=0)
        else:
            vectors = lookup(_masked(ops.convert_to_tensor(table), masks, "ngrams"), places)
        return ops.sum(vectors, axis=2)

    def _embed_and_project(self, ids: Tensor, masks: Masks, precision: str, places: Tensor | None = None) -> Tensor:
        """Compute ``x_t W + b`` of the first layer, ``(time, batch, hidden)``; `places` are rows of n-grams."""
        kernel, bias = self.stack.recurrent_layers[0].input_weights()
        batch, time = ids.shape
        known = batch is not None and time is not None
        apart = self.tails or self.reads_rows or places is not None or "inputs" in masks
        if known and not apart and self.vocabulary_size < batch * time:
            # The vocabulary is smaller than the batch: project the whole table once, then look up.
            embedding = _masked(ops.convert_to_tensor(self.embedding), masks, "embedding")
            return lookup(dense(embedding, kernel, bias, precision), ops.transpose(ids))
        return dense(self.embed(ids, masks, places), kernel, bias, precision)


def _masked(x: Tensor, masks: Masks, name: str) -> Tensor:
    return x * ops.cast(masks[name], x.dtype) if name in masks else x


def draw_mask(rate: float, shape: tuple[int, ...], random_seed: Tensor) -> Tensor:
    """Draw float32 entries: 0 with probability `rate` (rounded to 16 bits), else ``1 / (1 - rate)``."""
    # 16 random bits per entry, two entries per draw: half the time of one float per entry.
    count = math.prod(shape)
    draws = tf.random.stateless_uniform(((count + 1) // 2,), random_seed, None, None, tf.int32)
    bits = tf.reshape(tf.reshape(tf.bitcast(draws, tf.uint16), (-1,))[:count], shape)
    kept = bits >= tf.constant(round(rate * 65536), tf.uint16)
    return tf.cast(kept, tf.float32) / (1.0 - rate)
