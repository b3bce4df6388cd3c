"""The quiet start of TensorFlow and the choice of its device."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from textrnn.errors import UserError

# TensorFlow and Keras import these packages only if they are installed. Training does not need them, or not yet, and
# their import takes as long as that of TensorFlow itself.
NOT_NEEDED = ("IPython", "h5py", "jax", "matplotlib", "pandas", "scipy", "sklearn")

runs_one_command = False
"""Whether this process is the `textrnn` command, so that no other code shares its modules."""

T = TypeVar("T")


def import_tensorflow(start: Callable[[], T] = lambda: None) -> T:  # type: ignore[assignment,return-value]
    """Import TensorFlow once without its start-up messages; environment and random numbers stay as they were.

    The `textrnn` command hides the packages `NOT_NEEDED` from TensorFlow. A program that imports textrnn does not,
    because it may pass their objects to Keras.

    Args:
        start: function that must run before any computation, such as joining a cluster; its result is returned.

    Raises:
        UserError: the extra is not installed.
    """
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    try:
        hidden = NOT_NEEDED if runs_one_command else ()
        with _environment(environment), _hidden(hidden), _random_state_kept(), _standard_error_silenced():
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
def logging_unchanged() -> Iterator[None]:
    """Give TensorFlow's logger back the level that it had before the block."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set, for the block. TensorFlow and Keras read them once."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Make packages that are not imported yet look as if they were not installed, for the block."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be found
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Give the random numbers of Python and numpy the state that they had before the block: imports draw from them."""
    import numpy as np  # imported late, because the command imports this module and some of its parts need no numpy

    state, state_of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(state_of_numpy)


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
