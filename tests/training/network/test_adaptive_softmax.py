"""The adaptive softmax: probabilities of two choices, and a loss that is theirs however many words are rare."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from textrnn.config import ModelConfig
from textrnn.errors import UserError
from textrnn.training.network.softmax import adaptive_softmax
from textrnn.training.network.softmax.adaptive_softmax import AdaptiveSoftmax, Tail, tail_nats, tails

CONFIG = ModelConfig(softmax="adaptive", cutoffs=(2,))


def test_a_word_of_a_tail_is_two_choices() -> None:
    """Two frequent words and a tail of two, all logits told: half of it is the tail's, a quarter of which its first."""
    layer = AdaptiveSoftmax(CONFIG, 4, 1, 0)
    weights = layer.named_weights()
    weights["output_kernel"].assign(np.log([[1, 1, 2]]))
    weights["tail_projection_1"].assign([[1]])
    weights["tail_rows_1"].assign(np.log([[1], [3]]))
    hidden = tf.ones((1, 4, 1))
    log_probs = layer.log_probs(hidden, [])
    np.testing.assert_allclose(np.exp(log_probs[0, 0]), [1 / 4, 1 / 4, 1 / 8, 3 / 8], rtol=1e-5)
    nats = layer.token_loss(hidden, tf.constant([[0], [1], [2], [3]]), [])
    np.testing.assert_allclose(nats[0], -np.log([1 / 4, 1 / 4, 1 / 8, 3 / 8]), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_any_number_of_rare_words_is_computed_a_few_at_a_time(
    jit_compile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients against TensorFlow's own, of none, some and all of ten tokens, three at once."""
    monkeypatch.setattr(adaptive_softmax, "ROWS", 3)
    x, rows, bias = (tf.random.stateless_normal(shape, (1, 2)) for shape in ((10, 4), (7, 4), (7,)))
    weights = tf.random.stateless_normal((10,), (3, 4))

    def slopes(nats: object) -> object:
        @tf.function(autograph=False, jit_compile=jit_compile)
        def find(places: tf.Tensor) -> object:
            with tf.GradientTape() as tape:
                tape.watch([x, rows, bias])
                loss = tf.reduce_sum(nats(x, rows, bias, places) * weights)  # type: ignore[operator]
            return loss, tape.gradient(loss, [x, rows, bias])

        return find

    def expected(x: tf.Tensor, rows: tf.Tensor, bias: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        logits = tf.matmul(x, rows, transpose_b=True) + bias
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(places, 0), logits)
        return tf.where(places >= 0, nats, 0.0)

    actual, reference = slopes(tail_nats), slopes(expected)
    for places in ([-1] * 10, [-1, 3, -1, 0, 6, -1, 3, -1, -1, 1], [2, 0, 1, 6, 5, 4, 3, 2, 1, 0]):
        ids = tf.constant(places)
        for one, other in zip(tf.nest.flatten(actual(ids)), tf.nest.flatten(reference(ids)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_cutoffs_follow_from_the_vocabulary() -> None:
    config = ModelConfig(softmax="adaptive")
    assert tails(config, 33_000, 320) == [Tail(2_000, 8_000, 80), Tail(10_000, 23_000, 20)]
    assert tails(config, 10_000, 320) == [Tail(2_000, 8_000, 80)]
    assert [tail.first for tail in tails(config, 250_000, 512)] == [2_000, 10_000, 50_000, 100_000]
    with pytest.raises(
        UserError, match=r"larger than its cutoffs, \[2000\], was: 1,500 tokens; set model.softmax=full"
    ):
        tails(config, 1_500, 320)
    with pytest.raises(UserError, match=r"larger than its cutoffs, \[4, 9\], was: 9 tokens"):
        tails(ModelConfig(softmax="adaptive", cutoffs=(4, 9)), 9, 320)
