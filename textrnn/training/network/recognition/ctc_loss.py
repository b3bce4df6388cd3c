"""The loss of a recognizer, connectionist temporal classification (Graves et al. 2006).

The probability of a text is the sum over all its alignments to the steps.
"""

from __future__ import annotations

import tensorflow as tf

from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID
from textrnn.training.network.products import Tensor


def ctc_nats(logits: Tensor, steps: Tensor, targets: Tensor) -> Tensor:
    """Compute ``-log p(text | recording)`` of each recording, float32 ``(batch,)``.

    Args:
        logits: float32 ``(steps, batch, vocabulary)``.
        steps: int32 ``(batch,)``, steps of each recording: as many as its text needs, or the result is infinite.
        targets: int32 ``(batch, time)``, texts followed by `PAD_ID`. The result of a row of padding has no meaning.
    """
    is_empty = tf.reduce_all(targets == PAD_ID, axis=1, keepdims=True)  # which TensorFlow refuses
    targets = tf.concat([tf.where(is_empty, UNKNOWN_ID, targets[:, :1]), targets[:, 1:]], axis=1)
    if tf.config.list_physical_devices("GPU"):  # XLA compiles dense targets only
        lengths = tf.reduce_sum(tf.cast(targets != PAD_ID, tf.int32), axis=1)
    else:  # five times as fast
        targets, lengths = tf.sparse.from_dense(targets), None
    nats: Tensor = tf.nn.ctc_loss(targets, logits, lengths, tf.maximum(steps, 1), blank_index=PAD_ID)
    return nats
