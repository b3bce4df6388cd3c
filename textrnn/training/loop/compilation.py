"""Compilation of the functions of a model: each as an XLA program or as a TensorFlow graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor
from textrnn.training.network.recurrent import runs_as_graph

Function = Callable[..., Any]


class Compiler:
    """Decides for one model what becomes an XLA program and what a graph.

    XLA fuses small operations into one loop, but it compiles a program for each shape, and it cannot contain the loop
    over time that this package runs on the cores of a CPU.

    Args:
        model: the model.
        distribution: the devices and processes that share a batch.
    """

    def __init__(self, model: Model, distribution: Distribution = ALONE) -> None:
        self._model, self._distribution = model, distribution

    def of_tokens(self, function: Function) -> Function:
        """Compile a function whose first argument is tokens ``(batch, time)``: by XLA unless the loop is a graph."""
        by_xla, use_cpu_loop = compiled(function, jit_compile=True), compiled(function)

        def call(ids: Tensor, *others: Any) -> Any:
            return (use_cpu_loop if self.uses_cpu_loop(ids) else by_xla)(ids, *others)

        return call

    def of_sequences(self, function: Function, one_length: bool = False) -> Function:
        """Compile a function of whole sequences: by XLA on a GPU, or if all have one length; else as a graph.

        On a CPU, XLA takes seconds for each length.

        Args:
            function: the function.
            one_length: whether all calls have the same shape.
        """
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        return compiled(function, jit_compile=True if one_length and self._model.precision == "float32" else on_gpu)

    def update(self, function: Function) -> Function:
        """Compile an update of weights by XLA; return it unchanged if weights are mirrored on several devices."""
        return function if self._distribution.is_mirrored else compiled(function, jit_compile=True)

    def uses_cpu_loop(self, ids: Tensor) -> bool:
        """Return whether the loop over tokens ``(batch, time)`` is a graph, which XLA cannot compile."""
        config, precision = self._model.backbone.config, self._model.precision
        if config.recurrence != "dense":
            return bool(precision != "float32")
        return runs_as_graph(ids.shape[0], config.hidden_dim, precision)


def compiled(function: Function, jit_compile: bool | None = None) -> Function:
    """Return a function as a TensorFlow graph, or with `jit_compile` as an XLA program.

    AutoGraph is off. The functions have no Python control flow to convert, and AutoGraph reads source files again at
    each trace: training must not depend on edits of these files while it runs.
    """
    return tf.function(function, autograph=False, jit_compile=jit_compile)  # type: ignore[no-any-return]
