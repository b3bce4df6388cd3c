"""Matrix products in a chosen precision, whose gradients are single products too.

``precision``, float32 or bfloat16, is the dtype of the factors and of the result. Sums inside a product are always
float32, and so are weights and their gradients.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any  # a tensor of the Keras backend in use

# Up to this number of rows, a product with one-hot vectors is the fastest way to sum the gradients of a table's rows.
ONE_HOT_ROWS = 256


class Layer(keras.layers.Layer):  # type: ignore[misc]
    """A layer whose inputs keep their dtype. Keras would cast them to the dtype of the weights, float32."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, autocast=False)


def dense(x: Tensor, kernel: Tensor, bias: Tensor | None = None, precision: str = "float32") -> Tensor:
    """Compute ``x W + b``: ``(..., n)``, ``(n, m)``, ``(m,)`` to ``(..., m)`` in `precision`."""

    def run(x: Tensor, kernel: Tensor, *biases: Tensor) -> Any:
        rows = ops.cast(_rows(x), precision)
        kernel = ops.cast(kernel, precision)
        # Reshaped before the bias is added: TensorFlow would fuse a product and the addition right after it, and its
        # fused product does not use the matrix units of a processor (AMX), which are three times as fast.
        result = ops.reshape(ops.matmul(rows, kernel), (*ops.shape(x)[:-1], kernel.shape[-1]))
        for bias in biases:
            result = result + ops.cast(bias, precision)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Tensor, ...]:
            upstream = ops.cast(_rows(args[0] if upstream is None else upstream), precision)
            at_x = ops.reshape(ops.matmul(upstream, ops.transpose(kernel)), ops.shape(x))
            ones = ops.ones_like(upstream[:, :1])
            at_biases = (transposed_product(ones, upstream)[0] for _ in biases)
            return ops.cast(at_x, x.dtype), transposed_product(rows, upstream), *at_biases

        return result, gradient

    # Variables must enter a custom gradient as tensors: eager TensorFlow rejects variables.
    return ops.custom_gradient(run)(*(ops.copy(each) for each in (x, kernel, bias) if each is not None))


def lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Look up rows of a table ``(count, n)`` by ids of any shape: ``(..., n)``."""

    def run(table: Tensor) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Tensor:
            upstream, count = _rows(args[0] if upstream is None else upstream), table.shape[0]
            if count <= ONE_HOT_ROWS:
                sums = transposed_product(ops.one_hot(ops.reshape(ids, (-1,)), count, dtype=upstream.dtype), upstream)
            else:
                sums = ops.segment_sum(ops.cast(upstream, "float32"), ops.reshape(ids, (-1,)), count)
            return ops.cast(sums, table.dtype)

        return ops.take(table, ids, axis=0), gradient

    return ops.custom_gradient(run)(ops.copy(table))


def lookup_inside(table: Tensor, ids: Tensor) -> Tensor:
    """Look up rows as `lookup` does; the id ``count`` gives a row of zeros."""
    inside = ops.expand_dims(ops.cast(ids < table.shape[0], table.dtype), -1)

    def run(table: Tensor) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Tensor:
            upstream = ops.cast(_rows(args[0] if upstream is None else upstream), "float32")
            sums = ops.segment_sum(upstream, ops.reshape(ids, (-1,)), table.shape[0] + 1)
            return ops.cast(sums[:-1], table.dtype)

        return ops.take(table, ops.minimum(ids, table.shape[0] - 1), axis=0) * inside, gradient

    return ops.custom_gradient(run)(ops.copy(table))


def transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """Sum the products ``a' b`` over all axes but the last: ``(..., n)``, ``(..., m)`` to float32 ``(n, m)``."""
    a, b = _rows(a), _rows(b)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # No large matrix is copied for the transposition; the product is faster with the narrow matrix first.
        if b.shape[-1] < a.shape[-1]:
            return tf.cast(tf.transpose(tf.matmul(b, a, transpose_a=True)), tf.float32)
        return tf.cast(tf.matmul(a, b, transpose_a=True), tf.float32)
    return ops.cast(ops.matmul(ops.transpose(a), b), "float32")


def _rows(x: Tensor) -> Tensor:
    return ops.reshape(x, (-1, x.shape[-1]))
