"""A softmax over a large vocabulary in two steps: a frequent word or a group of rarer words, then a word of the group.

Adaptive softmax (Grave et al. 2017): ids are sorted by falling frequency, and cutoffs divide them into groups. The head
holds the words before the first cutoff and one entry for each group after it. Such a group is a tail. Every token needs
a softmax over the head::

    log p(w) = log softmax(head)_w                                    for a frequent word w
    log p(w) = log softmax(head)_tail + log softmax(tail)_w           for a word w of a tail

A tail is computed only for the tokens whose word is in it. Its vectors are `NARROWING` times narrower than those of the
tail before. With `tied`, the vectors of head and tails are also the embedding, so rarer words have narrower embeddings
(Baevski & Auli 2019). The projections from the hidden state and to the embedding are separate weights.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from textrnn.config import ModelConfig
from textrnn.errors import UserError
from textrnn.training.network.products import Layer, Tensor, dense
from textrnn.training.network.softmax.cross_entropy import cross_entropy

NARROWING = 4
NARROWEST = 8  # narrower vectors save nothing measurable
# The first groups have about as many parameters as the head. The narrowest groups double in size, because the cost of a
# token is proportional to the number of words in its group.
CUTOFFS = (2_000, 10_000, 50_000, 100_000, 200_000, 400_000, 800_000)
ROWS = 128  # tokens of a tail whose logits are in memory at a time


class Tail(NamedTuple):
    """A group of rarer words."""

    first: int
    """The lowest id of the group."""
    size: int
    width: int
    """Size of each word's vector."""


def tails(config: ModelConfig, vocabulary_size: int, width: int) -> list[Tail]:
    """Return the tails of an adaptive softmax that reads vectors of size `width`.

    Raises:
        UserError: the vocabulary is not larger than the last cutoff.
    """
    cutoffs = config.cutoffs or tuple(cutoff for cutoff in CUTOFFS if cutoff * 1.25 < vocabulary_size)
    if not cutoffs or cutoffs[-1] >= vocabulary_size:
        raise UserError(
            f"an adaptive softmax needs a vocabulary larger than its cutoffs, {list(cutoffs or CUTOFFS[:1])}, was: "
            f"{vocabulary_size:,} tokens; set model.softmax=full, or lower model.cutoffs"
        )
    return [
        Tail(first, end - first, min(width, max(NARROWEST, width // NARROWING**number)))
        for number, (first, end) in enumerate(zip(cutoffs, (*cutoffs[1:], vocabulary_size), strict=True), start=1)
    ]


def logits_held(config: ModelConfig, vocabulary_size: int) -> int:
    """Return how many logits per token a training step holds; the few logits of tails are not counted.

    Raises:
        UserError: the vocabulary is not larger than the last cutoff.
    """
    if config.softmax == "full":
        return vocabulary_size
    groups = tails(config, vocabulary_size, config.embedding_dim or config.hidden_dim)
    return groups[0].first + len(groups)


class AdaptiveSoftmax(Layer):
    """The output layer of a language model with a large vocabulary.

    Each call takes `tables`, the word vectors that it shares with the embedding: ``(head, width)`` of the head, then
    ``(size, width of the tail)`` of each tail. The list is empty if nothing is shared.

    Args:
        config: model configuration.
        vocabulary_size: number of words.
        width: size of the vectors that the layer reads.
        seed: seed of the weight initialisation.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, width: int, seed: int) -> None:
        super().__init__(name="adaptive_softmax")
        self.tails = tails(config, vocabulary_size, width)
        self.head_size = self.tails[0].first
        count = len(self.tails)
        name, columns = ("tail_kernel", count) if config.tied else ("output_kernel", self.head_size + count)
        self.kernels = {name: self.add_weight(name=name, shape=(width, columns), initializer=_small(seed))}
        self.output_bias = self.add_weight(name="output_bias", shape=(self.head_size + count,), initializer="zeros")
        for number, tail in enumerate(self.tails, start=1):
            name = f"tail_projection_{number}"
            self.kernels[name] = self.add_weight(
                name=name, shape=(width, tail.width), initializer=_small(seed + 2 * number)
            )
            if not config.tied:
                name = f"tail_rows_{number}"
                self.kernels[name] = self.add_weight(
                    name=name,
                    shape=(tail.size, tail.width),
                    initializer=keras.initializers.RandomNormal(
                        stddev=0.5 * tail.width**-0.5, seed=seed + 2 * number + 1
                    ),
                )
        self.tail_biases = [
            self.add_weight(name=f"tail_bias_{number}", shape=(tail.size,), initializer="zeros")
            for number, tail in enumerate(self.tails, start=1)
        ]
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in checkpoints."""
        biases = {f"tail_bias_{number}": bias for number, bias in enumerate(self.tail_biases, start=1)}
        return {**self.kernels, "output_bias": self.output_bias, **biases}

    def log_probs(self, hidden: Tensor, tables: list[Tensor]) -> Tensor:
        """Return log-probabilities, float32 ``(time, batch, vocabulary)``, computed in the dtype of `hidden`.

        Args:
            hidden: input vectors ``(time, batch, width)``.
            tables: word vectors shared with the embedding, or an empty list.
        """
        precision = keras.backend.standardize_dtype(hidden.dtype)
        head = tf.nn.log_softmax(self._head_logits(hidden, tables, precision))
        parts = [head[..., : self.head_size]]
        for number, bias in enumerate(self.tail_biases, start=1):
            projected, rows = self._tail(hidden, tables, number, precision)
            logits = tf.cast(dense(projected, tf.transpose(rows), precision=precision), tf.float32) + bias
            tail_log_prob = head[..., self.head_size + number - 1 : self.head_size + number]
            parts.append(tf.nn.log_softmax(logits) + tail_log_prob)
        return tf.concat(parts, axis=-1)

    def token_loss(self, hidden: Tensor, targets: Tensor, tables: list[Tensor]) -> Tensor:
        """Return ``-log p`` of each target, float32 ``(time, batch)``.

        Args:
            hidden: input vectors ``(time, batch, width)``.
            targets: ids ``(batch, time)``.
            tables: word vectors shared with the embedding, or an empty list.
        """
        precision = keras.backend.standardize_dtype(hidden.dtype)
        in_head = targets
        for number, tail in enumerate(self.tails):
            in_head = tf.where(targets >= tail.first, self.head_size + number, in_head)
        nats = cross_entropy(self._head_logits(hidden, tables, precision), in_head)
        flat = tf.reshape(tf.transpose(targets), (-1,))
        for number, (tail, bias) in enumerate(zip(self.tails, self.tail_biases, strict=True), start=1):
            projected, rows = self._tail(hidden, tables, number, precision)
            place = tf.where((flat >= tail.first) & (flat < tail.first + tail.size), flat - tail.first, -1)
            of_tail = tail_nats(tf.reshape(projected, (-1, tail.width)), rows, tf.convert_to_tensor(bias), place)
            nats += tf.reshape(of_tail, tf.shape(nats))
        return nats

    def _head_logits(self, hidden: Tensor, tables: list[Tensor], precision: str) -> Tensor:
        if tables:
            kernel = ops.concatenate([ops.transpose(tables[0]), self.kernels["tail_kernel"]], axis=1)
        else:
            kernel = ops.convert_to_tensor(self.kernels["output_kernel"])
        return ops.cast(dense(hidden, kernel, precision=precision), "float32") + self.output_bias

    def _tail(self, hidden: Tensor, tables: list[Tensor], number: int, precision: str) -> tuple[Tensor, Tensor]:
        """Return the input projected to the width of a tail, and the word vectors of that tail."""
        projected = dense(hidden, self.kernels[f"tail_projection_{number}"], precision=precision)
        return projected, ops.convert_to_tensor(tables[number] if tables else self.kernels[f"tail_rows_{number}"])


def tail_nats(projected: Tensor, rows: Tensor, bias: Tensor, places: Tensor) -> Tensor:
    """Compute ``-log softmax(x R' + c)`` for the tokens whose word is in the tail.

    The tokens are computed in chunks of `ROWS`, in the forward pass and again in the backward pass. Memory is bounded,
    shapes are fixed as XLA requires, and no token is left out.

    Args:
        projected: ``x``, ``(tokens, width)``; its dtype is the dtype of the products.
        rows: ``R``, float32 ``(size, width)``.
        bias: ``c``, float32 ``(size,)``.
        places: int32 ``(tokens,)``, the row of each token's word; -1 for a word outside the tail.

    Returns:
        nats, float32 ``(tokens,)``, 0 for words outside the tail.
    """
    tokens = projected.shape[0]
    at_once = min(ROWS, tokens)
    inside = places >= 0
    count = tf.reduce_sum(tf.cast(inside, tf.int32))
    _, order = tf.math.top_k(tf.cast(inside, tf.int32), tokens)  # tokens of the tail first, a stable sort
    order = tf.pad(order, [[0, -tokens % at_once]])

    def chunk(number: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of a chunk, and whether each is in the tail; others pad the last chunk."""
        begin = number * at_once
        return tf.slice(order, [begin], [at_once]), begin + tf.range(at_once) < count

    def loop(body: Any, *start: Tensor) -> tuple[Tensor, ...]:
        iterations = -(-tokens // at_once)
        _, *end = tf.while_loop(
            lambda number, *_: number * at_once < count,
            lambda number, *carried: (number + 1, *body(number, *carried)),
            (tf.constant(0), *start),
            maximum_iterations=iterations,
            parallel_iterations=1,
        )
        return tuple(end)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(projected: Tensor, rows: Tensor, bias: Tensor) -> Any:
        factor = tf.cast(rows, projected.dtype)

        def forward(number: Tensor, nats: Tensor, log_sums: Tensor) -> tuple[Tensor, Tensor]:
            tokens_here, real = chunk(number)
            logits = tf.matmul(tf.gather(projected, tokens_here), factor, transpose_b=True)
            found = _chunk_nats(logits, bias, tf.gather(places, tokens_here), real)
            at = tokens_here[:, None]
            return tuple(tf.tensor_scatter_nd_add(x, at, y) for x, y in zip((nats, log_sums), found, strict=True))

        nats, log_sums = loop(forward, tf.zeros(tokens), tf.zeros(tokens))

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            def backward(number: Tensor, at_x: Tensor, at_rows: Tensor, at_bias: Tensor) -> tuple[Tensor, ...]:
                tokens_here, real = chunk(number)
                x = tf.gather(projected, tokens_here)
                logits = tf.matmul(x, factor, transpose_b=True)
                here = (tf.gather(each, tokens_here) for each in (places, log_sums, upstream))
                deltas, sums = _chunk_deltas(logits, bias, *here, real)
                at_x = tf.tensor_scatter_nd_add(at_x, tokens_here[:, None], tf.matmul(deltas, factor))
                at_rows += tf.cast(tf.matmul(deltas, x, transpose_a=True), tf.float32)
                return at_x, at_rows, at_bias + sums

            return loop(backward, tf.zeros_like(projected), tf.zeros_like(rows), tf.zeros_like(bias))

        return nats, gradient

    # Variables must enter a custom gradient as tensors.
    return run(tf.identity(projected), tf.identity(rows), tf.identity(bias))


@partial(tf.function, autograph=False, jit_compile=True)
def _chunk_nats(logits: Tensor, bias: Tensor, places: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nats and the log of the sum of exponentials, each ``(rows,)``; 0 where `real` is false."""
    logits = tf.cast(logits, tf.float32) + bias
    log_sums = tf.reduce_logsumexp(logits, axis=-1)
    nats = log_sums - tf.gather(logits, tf.maximum(places, 0), batch_dims=1)
    return tf.where(real, nats, 0.0), tf.where(real, log_sums, 0.0)


@partial(tf.function, autograph=False, jit_compile=True)
def _chunk_deltas(
    logits: Tensor, bias: Tensor, places: Tensor, log_sums: Tensor, upstream: Tensor, real: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradient at the logits, in their dtype, and its sum over the rows.

    The gradient is the softmax minus one at the target word, times `upstream`.
    """
    probs = tf.exp(tf.cast(logits, tf.float32) + bias - log_sums[:, None])
    is_word = tf.cast(places[:, None] == tf.range(logits.shape[-1]), tf.float32)
    # `where` instead of a product: the exponential of a row that is not real may be infinite.
    deltas = tf.where(real[:, None], (probs - is_word) * upstream[:, None], 0.0)
    return tf.cast(deltas, logits.dtype), tf.reduce_sum(deltas, axis=0)


def _small(seed: int) -> Any:
    return keras.initializers.VarianceScaling(scale=0.25, mode="fan_in", distribution="untruncated_normal", seed=seed)
