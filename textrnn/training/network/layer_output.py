"""The output of a layer: ``o_t = g(V h_t + c)``, the residual connection, layer normalisation and dropout.

All of it but the product is elementwise. With bfloat16 products TensorFlow would run a dozen operations that each read
and write the whole sequence, so XLA makes one program of them, and one of their gradients. Float32 steps do not need
it: XLA compiles most of them whole.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import keras
from keras import ops

from textrnn.training.network.products import Tensor, dense, transposed_product

NORMALIZATION_EPSILON = 1e-5

Pair = tuple[Tensor, Tensor]


def layer_output(
    states: Tensor,
    below: Tensor | None,
    weights: Pair | None,
    normalization: Pair | None,
    mask: Tensor | None,
    mixing: str,
) -> Pair:
    """Compute the output of a layer from its states.

    Args:
        states: ``h_t``, ``(time, batch, hidden)``; its dtype is that of the product and of the results.
        below: the output of the layer below, to which this one is added; None adds nothing.
        weights: ``V``, ``(hidden, n)``, and ``c``, ``(n,)``; None without mixing, where ``o_t = h_t``.
        normalization: gain and shift of the layer normalisation, each ``(hidden,)``; None does not normalise.
        mask: dropout mask, shape of `states` or with one step for all; None drops nothing.
        mixing: g, as in `ModelConfig.mixing`.

    Returns:
        the output, for the layer above to add to, and the same normalised and with dropout, for it to read; each
        ``(time, batch, hidden)``.
    """
    kernel, bias = weights or (None, None)
    gain, shift = normalization or (None, None)
    rest = [each if each is None else ops.convert_to_tensor(each) for each in (bias, below, gain, shift)]
    precision = keras.backend.standardize_dtype(states.dtype)
    if keras.backend.backend() != "tensorflow" or precision == "float32":
        mixed = states if kernel is None else dense(states, kernel, bias, precision)
        return _combined(mixing, mask, mixed, None, *rest[1:])
    mixed = states if kernel is None else dense(states, kernel, precision=precision)
    return _fused(mixing, mask, mixed, *rest)


def _combined(
    mixing: str,
    mask: Tensor | None,
    mixed: Tensor,
    bias: Tensor | None,
    below: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
) -> Pair:
    """Return both outputs of a layer in the dtype of `mixed`, ``V h_t``; sums are float32."""
    dtype = mixed.dtype
    hidden = ops.cast(mixed, "float32")
    hidden = hidden if bias is None else hidden + bias
    if mixing == "relu":
        hidden = ops.relu(hidden)
    elif mixing == "glu":
        values, gates = ops.split(hidden, 2, axis=-1)
        hidden = values * ops.sigmoid(gates)
    hidden = hidden if below is None else ops.cast(below, "float32") + hidden
    read = hidden
    if gain is not None:
        centred = read - ops.mean(read, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        read = centred * ops.rsqrt(variance + NORMALIZATION_EPSILON) * gain + shift
    read = read if mask is None else read * ops.cast(mask, "float32")
    return ops.cast(hidden, dtype), ops.cast(read, dtype)


def _fused(mixing: str, mask: Tensor | None, *arguments: Tensor | None) -> Pair:
    """Compute `_combined` by one XLA program; its gradient is one too, which computes the outputs again."""
    import tensorflow as tf  # imported late, because the equations run under other backends of Keras too

    places = [place for place, each in enumerate(arguments) if each is not None]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*given: Tensor) -> Any:
        full: list[Tensor | None] = [None] * len(arguments)
        for place, each in zip(places, given, strict=True):
            full[place] = each
        forward, backward = _programs()

        def gradient(*upstream: Tensor) -> list[Tensor]:
            gradients = backward(mixing, mask, full, upstream)
            ones = ops.ones_like(gradients[0][..., :1])
            return [
                transposed_product(ones, at)[0] if len(each.shape) == 1 else at
                for each, at in zip(given, gradients, strict=True)
            ]

        return forward(mixing, mask, *full), gradient

    # Variables must enter a custom gradient as tensors: eager TensorFlow rejects variables.
    return run(*(tf.identity(arguments[place]) for place in places))  # type: ignore[no-any-return]


@cache
def _programs() -> tuple[Any, Any]:
    import tensorflow as tf

    def backward(mixing: str, mask: Tensor | None, arguments: list[Tensor | None], upstream: Pair) -> list[Tensor]:
        """Return the gradients at the arguments; those at vectors for each row, which XLA would sum slowly."""
        rows = upstream[0].shape[:-1]
        wide = [x if x is None or len(x.shape) > 1 else tf.broadcast_to(x, (*rows, x.shape[0])) for x in arguments]
        given = [each for each in wide if each is not None]
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = _combined(mixing, mask, *wide)
        return [ops.cast(each, upstream[0].dtype) for each in tape.gradient(outputs, given, upstream)]

    compiled = partial(tf.function, autograph=False, jit_compile=True)
    return compiled(_combined), compiled(backward)
