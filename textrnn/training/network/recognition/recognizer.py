"""The recognizer: the backbone over the frames of a recording, and at each step an output over characters or none.

`PAD_ID` is the blank, the output for no character.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from textrnn.config import ModelConfig
from textrnn.training.network.backbone import Backbone, Masks
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor, dense


class Recognizer(Model):
    """A recognizer of speech with logits ``o_t = V h_t + c`` at each step, over the tokens and the blank.

    A step is `frame_stack` consecutive frames, joined to one vector. Frames of an unfinished last step are not read.

    Args:
        config: model configuration.
        features: values of a frame.
        vocabulary_size: number of tokens; `PAD_ID` is the blank.
        seed: seed of the weight initialisation.
        precision: dtype of the matrix products in training.
    """

    def __init__(
        self, config: ModelConfig, features: int, vocabulary_size: int, seed: int = 0, precision: str = "float32"
    ) -> None:
        super().__init__(name="recognizer")
        self.config = config
        self.features, self.outputs = features, vocabulary_size
        self.precision = precision
        self.backbone = Backbone(config, 0, seed, precision, features=features)
        states = config.hidden_dim * (2 if config.bidirectional else 1)
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(states, vocabulary_size),
            initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed + 3),
        )
        self.output_bias = self.add_weight(name="output_bias", shape=(vocabulary_size,), initializer="zeros")
        self.built = True

    def head_weights(self) -> dict[str, Any]:
        return {"output_kernel": self.output_kernel, "output_bias": self.output_bias}

    def draw_masks(self, batch: int, time: int, random_seed: Tensor) -> Masks:
        """Draw the dropout masks of one training step on recordings of `time` frames."""
        return self.backbone.draw_masks(batch, time // self.config.frame_stack, random_seed)

    def call(self, frames: Tensor, lengths: Tensor, masks: Masks | None = None) -> tuple[Tensor, Tensor]:
        """Read whole recordings.

        Args:
            frames: float32 ``(batch, time, features)``, each recording followed by padding; a step at least.
            lengths: int32 ``(batch,)``, number of frames of each.
            masks: dropout masks from `draw_masks` in training; None in inference.

        Returns:
            logits, float32 ``(steps, batch, vocabulary)``, and the number of steps of each recording, int32
            ``(batch,)``. Logits at padding have no meaning.
        """
        stack = self.config.frame_stack
        read = self.backbone.read_frames(frames, lengths)
        batch, time, width = read.shape
        steps = time // stack
        vectors = self.backbone.scaled(ops.reshape(read[:, : steps * stack], (batch, steps, stack * width)))
        counts = lengths // stack
        real = ops.cast(ops.arange(steps)[:, None] < counts, "float32")[:, :, None]
        states = self.backbone.bidirectional_states(vectors, real, masks)
        precision = "float32" if masks is None else self.precision
        logits = ops.cast(dense(states, self.output_kernel, precision=precision), "float32") + self.output_bias
        return logits, counts
