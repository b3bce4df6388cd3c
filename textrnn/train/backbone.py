"""The backbone that every task shares: token ids to hidden states, through stacked plain recurrent layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from textrnn.config import ModelConfig
from textrnn.train.recurrent import SimpleRNN, Tensor, product, recurrence

NORMALIZATION_EPSILON = 1e-5


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

    def call(
        self,
        ids: Tensor,
        state: Tensor,
        keep: Tensor | None = None,
        training: bool = False,
        random_seed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read tokens.

        Args:
            ids: int32 ``(batch, time)``.
            state: float32 ``(layers, batch, hidden)``.
            keep: float32 ``(time, batch, 1)``, 0 where the state is forgotten before that token; None keeps it.
            training: whether to drop.
            random_seed: int32 ``(2,)``, which decides what is dropped; needed when training.

        Returns:
            hidden states, float32 ``(time, batch, hidden)``, and the final state, shaped as `state`.
        """
        config = self.config
        precision = self.precision if training else "float32"
        drop = _Dropper(random_seed if training else None)
        final_states = []
        hidden = None
        for index, layer in enumerate(self.recurrent_layers):
            cell = layer.cell
            if hidden is None:
                projected = self._embed_and_project(ids, drop, precision)
            else:
                inputs = drop.entries(self._normalize(hidden, index - 1), config.dropout)
                projected = product(inputs, ops.convert_to_tensor(cell.kernel), precision) + cell.bias
            kernel = drop.entries(ops.convert_to_tensor(cell.recurrent_kernel), config.weight_drop)
            states = recurrence(projected, state[index], kernel, config.activation, keep, precision)
            final_states.append(states[-1])
            hidden = hidden + states if config.residual and hidden is not None else states
        hidden = drop.entries(self._normalize(hidden, config.layers - 1), config.dropout)
        return hidden, ops.stack(final_states)

    def _embed_and_project(self, ids: Tensor, drop: _Dropper, precision: str) -> Tensor:
        """``x_t W + b`` of the first layer, ``(time, batch, hidden)``."""
        cell = self.recurrent_layers[0].cell
        kernel = ops.convert_to_tensor(cell.kernel)
        embedding = drop.rows(ops.convert_to_tensor(self.embedding), self.config.embedding_dropout)
        ids = ops.transpose(ids)
        batch, time = ids.shape
        if batch is not None and time is not None and self.vocabulary_size < batch * time:
            # Fewer words than tokens: project the whole table once, then look up.
            return ops.take(product(embedding, kernel, precision) + cell.bias, ids, axis=0)
        return product(ops.take(embedding, ids, axis=0), kernel, precision) + cell.bias

    def _normalize(self, hidden: Tensor, index: int) -> Tensor:
        if not self.normalizations:
            return hidden
        gain, shift = self.normalizations[index]
        centred = hidden - ops.mean(hidden, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        return centred * ops.rsqrt(variance + NORMALIZATION_EPSILON) * gain + shift


class _Dropper:
    """Inverted dropout (Srivastava et al. 2014); every mask follows from one seed, so there is nothing to save."""

    def __init__(self, random_seed: Tensor | None) -> None:
        self.random_seed = random_seed
        self.count = 0

    def entries(self, x: Tensor, rate: float) -> Tensor:
        return self._drop(x, rate, x.shape)

    def rows(self, x: Tensor, rate: float) -> Tensor:
        return self._drop(x, rate, (x.shape[0], 1))

    def _drop(self, x: Tensor, rate: float, shape: tuple[int, ...]) -> Tensor:
        if self.random_seed is None or rate == 0.0:
            return x
        self.count += 1
        uniform = tf.random.stateless_uniform(shape, ops.add(self.random_seed, [0, self.count]))
        return x * (ops.cast(uniform >= rate, x.dtype) / (1.0 - rate))
