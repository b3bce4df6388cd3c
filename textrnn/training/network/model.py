"""What the models of all tasks share: a backbone, and their weights by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from textrnn.training.network.backbone import Backbone


class Model(keras.Model):  # type: ignore[misc]
    """A backbone and a head."""

    backbone: Backbone

    def head_weights(self) -> dict[str, Any]:
        """The variables of the head by name."""
        raise NotImplementedError

    def named_weights(self) -> dict[str, Any]:
        """The variables by the names under which checkpoints and exported graphs hold them."""
        return self.backbone.named_weights() | self.head_weights()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights by name, float32."""
        return {name: ops.convert_to_numpy(weight) for name, weight in self.named_weights().items()}

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set every weight; `arrays` as `arrays()` gives them."""
        for name, weight in self.named_weights().items():
            weight.assign(arrays[name])
