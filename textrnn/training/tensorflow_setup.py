"""The quiet start of TensorFlow and the choice of its device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from textrnn.errors import UserError

T = TypeVar("T")


def import_tensorflow(start: Callable[[], T] = lambda: None) -> T:  # type: ignore[assignment,return-value]
    """Import TensorFlow once without its start-up messages.

    Args:
        start: function that must run before any computation, such as joining a cluster; its result is returned.

    Raises:
        UserError: the extra is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with _standard_error_silenced():
            import keras  # noqa: F401
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            result = start()
            tf.constant(0)  # starts the runtime, which prints messages of its own
            return result
    except ModuleNotFoundError as error:
        raise UserError(
            f"training needs TensorFlow and more, {error.name} is missing; run: pip install 'textrnn[train]'"
        ) from error


@contextmanager
def _standard_error_silenced() -> Iterator[None]:
    """Suppress file descriptor 2, because C++ code prints messages before logging can be configured."""
    try:
        kept = os.dup(2)
    except OSError:  # closed, as in a Windows program without a console
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@cache
def on_tensorflow_processor() -> bool:
    """Return whether Keras computes with TensorFlow on the CPU."""
    import keras  # imported late, because Keras reads its backend from the environment on import

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")
