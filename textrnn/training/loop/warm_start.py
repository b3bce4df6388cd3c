"""Initial weights from another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from textrnn.errors import UserError

if TYPE_CHECKING:  # importing it at run time would load Keras
    from textrnn.training.network.model import Model

Arrays = dict[str, NDArray[Any]]


def start_from(model: Model, arrays: Arrays) -> None:
    """Copy the weights from `load_pretrained` into a model where name and shape match.

    Raises:
        UserError: a weight of the backbone has another shape.
    """
    own = model.arrays()
    taken = {name: array for name, array in arrays.items() if name in own and not name.startswith("input_")}
    for name in set(taken) & set(model.backbone.named_weights()):
        if taken[name].shape != own[name].shape:
            raise UserError(
                f"model.init_from must have weights of the same shapes, its {name} has {taken[name].shape} instead of"
                f" {own[name].shape}; give a model that reads vectors as wide"
            )
    model.set_arrays(own | {name: array for name, array in taken.items() if array.shape == own[name].shape})
