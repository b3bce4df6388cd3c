"""The base class of the models of all tasks: a backbone and named weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from textrnn.training.network.backbone import Backbone


class Model(keras.Model):  # type: ignore[misc]
    """A model of a backbone and an output layer (head)."""

    backbone: Backbone

    def __init__(self, name: str) -> None:
        super().__init__(name=name, autocast=False)  # see `textrnn.training.network.products.Layer`

    def head_weights(self) -> dict[str, Any]:
        """Return the variables of the head by name."""
        raise NotImplementedError

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in checkpoints and exported graphs."""
        return self.backbone.named_weights() | self.head_weights()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights by name, float32."""
        return {name: ops.convert_to_numpy(weight) for name, weight in self.named_weights().items()}

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set every weight from `arrays`, in the form that `arrays()` returns."""
        for name, weight in self.named_weights().items():
            weight.assign(arrays[name])
