"""Initial weights from another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.training.loop.checkpoints import load_checkpoint

if TYPE_CHECKING:  # importing it at run time would load Keras
    from textrnn.training.network.model import Model

Arrays = dict[str, NDArray[Any]]
FACTS = ("learns_on", "labels", "drawn")
GROWING = {"embedding": 0, "tail_rows": 0, "tail_bias": 0, "output_kernel": 1, "output_bias": 0}
"""The axis of tokens or classes of weights, by name without a number."""


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        arrays: weights by name, and those of a direct path.
        learns_on: whether the other model is of the same task, so that all of its weights are kept.
        labels: its classes.
        drawn: ids that it may generate, ``(ids,)``.
    """

    arrays: Arrays
    learns_on: bool = False
    labels: tuple[str, ...] = ()
    drawn: NDArray[np.int64] = np.zeros(0, np.int64)


def as_start(
    arrays: Arrays, learns_on: bool, labels: Sequence[str] = (), drawn: Sequence[int] | NDArray[Any] = ()
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that `load_start` reads; the arguments are those of `Start`."""
    return arrays | {
        "learns_on": np.array(learns_on),
        "labels": np.array(labels, dtype=np.str_),
        "drawn": np.array(drawn, np.int64),
    }


def load_start(path: Path) -> Start:
    """Read what a run starts from.

    Raises:
        UserError: the file is missing or damaged.
    """
    _, arrays = load_checkpoint(path)
    facts = [arrays.pop(name, np.zeros(0)) for name in FACTS]
    return Start(arrays, bool(facts[0].any()), tuple(map(str, facts[1])), facts[2].astype(np.int64))


def without_output(arrays: Arrays) -> Arrays:
    """Return weights without those of the output layer."""
    return {name: array for name, array in arrays.items() if not name.startswith("output_")}


def classes_before(path: Path) -> tuple[str, ...]:
    """Return the classes of the model that a run learns on from; none if it begins otherwise."""
    return load_start(path).labels if path.exists() else ()


def start_from(model: Model, start: Start, counts: NDArray[Any] | None = None, like: int | None = None) -> None:
    """Copy the weights that a run starts from into a model where name and shape match.

    Where a model learns on, it may have more tokens or classes than before. Its first rows are then the old ones. A
    new row is the mean of the old rows that occur, and its bias is higher or lower by the log of how much more or less
    often it occurs.

    Args:
        model: the model.
        start: what it starts from.
        counts: how often each token occurs in the training data, ``(tokens,)``, or each class.
        like: the token whose row a new row of the embedding copies; None for the mean.

    Raises:
        UserError: a weight of the backbone has another shape.
    """
    own = model.arrays()
    left = () if start.learns_on else ("input_", "output_")  # another task scales its input and output otherwise
    taken = {name: array for name, array in start.arrays.items() if name in own and not name.startswith(left)}
    for name, array in taken.items():
        wanted, axis = own[name].shape, GROWING.get(name.rstrip("_0123456789"), 0)
        grows = start.learns_on and array.ndim == len(wanted) and array.shape[axis] <= wanted[axis]
        if grows and np.delete(array.shape, axis).tolist() == np.delete(wanted, axis).tolist():
            row = like if name == "embedding" else None
            taken[name] = _grown(array, axis, wanted[axis], counts, row) if array.shape != wanted else array
        elif array.shape != wanted and (start.learns_on or name in model.backbone.named_weights()):
            raise UserError(
                f"model.init_from must have weights of the same shapes, its {name} has {array.shape} instead of"
                f" {wanted}; give a model that reads vectors as wide"
            )
    model.set_arrays(own | {name: array for name, array in taken.items() if array.shape == own[name].shape})


def _grown(array: NDArray[Any], axis: int, size: int, counts: NDArray[Any] | None, like: int | None) -> NDArray[Any]:
    """Return an array whose axis has `size` entries, the first of which are the old ones."""
    before = array.shape[axis]
    # Rows of a tail of an adaptive softmax belong to the last tokens.
    found = np.ones(size) if counts is None else np.asarray(counts[len(counts) - size :], np.float64)
    occurs = np.flatnonzero(found[:before] > 0)
    occurs = occurs if len(occurs) else np.arange(before)
    chosen = occurs if like is None else np.array([like])
    new = np.repeat(array.take(chosen, axis).mean(axis, keepdims=True), size - before, axis)
    if array.ndim == 1:  # biases
        new = new + np.log(np.maximum(found[before:], 1)) - np.log(np.maximum(found[occurs], 1)).mean()
    return np.concatenate([array, new.astype(array.dtype)], axis)


def mixed_sizes(batch_size: int, mix: Sequence[Any]) -> tuple[int, int]:
    """Return how many rows of a batch are of the new data, and how many of those that are mixed in.

    Raises:
        UserError: a batch of one row cannot be both.
    """
    old = batch_size // 2 if mix else 0
    if mix and not old:
        raise UserError(f"data.mix needs batches of 2 or more, train.batch_size was: {batch_size}; raise it")
    return batch_size - old, old
