"""A compiled training step: forward, backward, clip, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from textrnn.config import TrainConfig
from textrnn.errors import UserError
from textrnn.hardware import has_bfloat16
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.loop.compilation import Compiler, compiled
from textrnn.training.loop.row_updates import RowwiseAdamW, is_worthwhile
from textrnn.training.network.backbone import Masks
from textrnn.training.network.classifier import Classifier
from textrnn.training.network.forecaster import Forecaster
from textrnn.training.network.language_model import LanguageModel
from textrnn.training.network.model import Model
from textrnn.training.network.products import Tensor
from textrnn.training.network.recognition.recognizer import Recognizer
from textrnn.training.network.text_to_text.translator import Translator


class TrainingStep:
    """A training step of a language model: it updates the weights from a batch and returns the loss and the next state.

    If the recurrent loop is a TensorFlow graph (see `Compiler`), so is the step, and XLA compiles only the update.
    Otherwise XLA compiles the whole step.

    With `recompute`, only the activations of that many steps are stored at a time. The states between such segments are
    stored, and the backward pass recomputes each segment from its first state (Chen et al. 2016). Gradients are those
    of the whole sequence. Memory grows with the segment, not with the sequence.
    """

    def __init__(
        self, model: LanguageModel, optimizer: Any, recompute: int = 0, distribution: Distribution = ALONE
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.recompute = recompute
        self._distribution = distribution
        self._compiler = compiler = Compiler(model, distribution)
        self._gradients = compiler.of_tokens(self._find_gradients)
        self._forward = compiler.of_tokens(self._read)
        self._whole = compiled(self._find_gradients_and_update, jit_compile=True)
        self.rows = optimizer if isinstance(optimizer, RowwiseAdamW) else None
        self._flush = compiled(self.rows.catch_up_all) if self.rows is not None else None
        model.backbone.reads_rows = self.rows is not None
        self.update = compiler.update(self._update) if self.rows is None else compiled(self._update)
        self._run = compiled(self._step)
        # The step is one XLA program without a graph around it, whose overhead would slow down a small network.
        is_plain = not recompute and not model.backbone.drops and self._distribution.replicas == 1
        self._is_plain = is_plain and self.rows is None

    def __call__(self, inputs: Tensor, targets: Tensor, state: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Train on one batch.

        Args:
            inputs: int32 ``(batch, time)``.
            targets: int32 ``(batch, time)``, the token after each of `inputs`.
            state: float32 ``(layers, batch, hidden)``, before the first token.
            seed: int32 ``(2,)``, the seed of the dropout masks.

        With several replicas, all arguments but the seed are results of `Distribution.rows`.

        Returns:
            the mean loss in nats per token over all replicas, and the state after the last token.
        """
        if self._is_plain and not self._compiler.uses_cpu_loop(inputs):
            loss, state = self._whole(inputs, targets, state, {})
        else:
            loss, state = self._run(inputs, targets, state, seed)
        return loss, state

    def _step(self, inputs: Tensor, targets: Tensor, state: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows is not None:
            self.rows.sync_rows(self.model.rows_read(inputs, state))
        elif self._is_one_program(inputs):
            loss, state = self._whole(inputs, targets, state, self._draw_masks(inputs.shape, seed))
            return loss, state
        loss, state, gradients = self._distribution.run(self._replica_gradients, (inputs, targets, state, seed))
        # Between two XLA programs: on a CPU, a program cannot contain a message to another worker.
        loss, gradients = self._distribution.mean(loss, gradients)
        self.update(gradients)
        return loss, state

    def _is_one_program(self, inputs: Tensor) -> bool:
        alone = self._distribution.replicas == 1
        return alone and not self._by_segments(inputs) and not self._compiler.uses_cpu_loop(inputs)

    def _by_segments(self, inputs: Tensor) -> bool:
        return 0 < self.recompute < int(inputs.shape[1])

    def _replica_gradients(
        self, inputs: Tensor, targets: Tensor, state: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        if self._by_segments(inputs):
            return self._gradients_by_segments(inputs, targets, state, seed)
        masks = self._draw_masks(inputs.shape, seed)
        loss, state, gradients, _ = self._gradients(inputs, targets, state, masks, tf.zeros_like(state))
        return loss, state, gradients

    def _draw_masks(self, shape: Any, seed: Tensor, segment: Tensor | int = 0) -> Masks:
        batch, time = shape
        return draw_replica_masks(
            lambda rows: self.model.backbone.draw_masks(rows, time, seed, segment), self._distribution, batch
        )

    def _find_gradients_and_update(
        self, inputs: Tensor, targets: Tensor, state: Tensor, masks: Masks
    ) -> tuple[Tensor, Tensor]:
        loss, state, gradients, _ = self._find_gradients(inputs, targets, state, masks, tf.zeros_like(state))
        self._update(gradients)
        return loss, state

    def _find_gradients(
        self, inputs: Tensor, targets: Tensor, state: Tensor, masks: Masks, grad_next_state: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Return the loss, the next state and the gradients at the weights and at `state`.

        `grad_next_state` is the gradient at the next state.
        """
        with tf.GradientTape() as tape:
            tape.watch(state)
            hidden, next_state = self.model.read(inputs, state, masks)
            loss = tf.reduce_mean(self.model.token_loss(hidden, targets))
        gradients, grad_state = tape.gradient(
            [loss, next_state], [self.model.trainable_variables, state], [tf.ones(()), grad_next_state]
        )
        if self.rows is None:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return loss, next_state, gradients, grad_state

    def _gradients_by_segments(
        self, inputs: Tensor, targets: Tensor, state: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        batch, time = inputs.shape
        count, length = time // self.recompute, self.recompute

        def segment(tokens: Tensor, index: Tensor) -> Tensor:
            return tf.ensure_shape(tokens[:, index * length : (index + 1) * length], (batch, length))

        def forward(index: Tensor, state: Tensor, states: Any) -> tuple[Tensor, Tensor, Any]:
            masks = self._draw_masks((batch, length), seed, index)
            next_state = self._forward(segment(inputs, index), state, masks)
            return index + 1, next_state, states.write(index, state)

        def backward(
            index: Tensor, loss: Tensor, grad_next_state: Tensor, last: Tensor, *sums: Tensor
        ) -> tuple[Tensor, ...]:
            masks = self._draw_masks((batch, length), seed, index)
            segment_loss, next_state, gradients, grad_state = self._gradients(
                segment(inputs, index), segment(targets, index), states.read(index), masks, grad_next_state
            )
            sums = tuple(total + gradient for total, gradient in zip(sums, gradients, strict=True))
            last = tf.where(index == count - 1, next_state, last)
            return index - 1, loss + segment_loss, grad_state, last, *sums

        states = tf.TensorArray(tf.float32, count, element_shape=state.shape, clear_after_read=False)
        # The backward pass starts with the last segment, so this loop skips it.
        loop = (tf.constant(0), state, states)
        _, last_start, states = tf.while_loop(lambda index, *_: index < count - 1, forward, loop)
        states = states.write(count - 1, last_start)
        zeros = [tf.zeros_like(weight) for weight in self.model.trainable_variables]
        # The loop sums the gradients of each segment's mean loss, at weights and at states. Both sums are therefore
        # `count` times too large.
        begin = (tf.constant(count - 1), tf.zeros(()), tf.zeros_like(state), tf.zeros_like(state), *zeros)
        _, loss, _, last, *sums = tf.while_loop(
            lambda index, *_: index >= 0, backward, begin, maximum_iterations=count, parallel_iterations=1
        )
        return loss / count, last, [total / count for total in sums]

    def _read(self, inputs: Tensor, state: Tensor, masks: Masks) -> Tensor:
        _, state = self.model.backbone(inputs, state, keep=self.model.keep(inputs), masks=masks)
        return state

    def _update(self, gradients: list[Tensor]) -> None:
        if self.rows is None:
            self.optimizer.apply(gradients)
        else:
            self.rows.apply_by_rows(gradients)

    def flush(self) -> None:
        """Apply the pending updates to all weights; call it before the weights are read."""
        if self._flush is not None:
            self._flush()


class SupervisedStep:
    """A training step of a classifier, regressor, forecaster, translator or recognizer on a batch of whole sequences.

    Args:
        model: the model to train.
        optimizer: its optimizer.
        loss: the mean loss of a batch from ``(outputs, targets)``.
        one_length: whether all batches have the same shape.
        distribution: the devices and processes that share a batch.
    """

    def __init__(
        self,
        model: Classifier | Forecaster | Translator | Recognizer,
        optimizer: Any,
        loss: Callable[[Tensor, Tensor], Tensor],
        one_length: bool = False,
        distribution: Distribution = ALONE,
    ) -> None:
        self.model: Any = model
        self.optimizer = optimizer
        self._loss = loss
        self._distribution = distribution
        compiler = Compiler(model, distribution)
        self._gradients = compiler.of_sequences(self._find_gradients, one_length)
        self._update = compiler.update(lambda gradients: self.optimizer.apply(gradients))
        self._run = compiled(self._step)

    def __call__(self, inputs: tuple[Tensor, ...], targets: Tensor, seed: Tensor) -> Tensor:
        """Train on one batch.

        Args:
            inputs: the arguments of the model.
            targets: int32 ``(batch,)``, the class of each sequence; or float32 ``(batch, outputs)``.
            seed: int32 ``(2,)``, the seed of the dropout masks.

        Returns:
            the mean loss.
        """
        return self._run(inputs, targets, seed)

    def _step(self, inputs: tuple[Tensor, ...], targets: Tensor, seed: Tensor) -> Tensor:
        loss, gradients = self._distribution.run(self._replica_gradients, (inputs, targets, seed))
        loss, gradients = self._distribution.mean(loss, gradients)
        self._update(gradients)
        return loss

    def draw_masks(self, rows: int, inputs: tuple[Tensor, ...], seed: Tensor) -> Masks:
        """Draw the dropout masks of a step on `rows` sequences as long as `inputs`."""
        masks: Masks = self.model.draw_masks(rows, inputs[0].shape[1], seed)
        return masks

    def _replica_gradients(
        self, inputs: tuple[Tensor, ...], targets: Tensor, seed: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        batch = inputs[0].shape[0]
        masks = draw_replica_masks(lambda rows: self.draw_masks(rows, inputs, seed), self._distribution, batch)
        loss, gradients = self._gradients(inputs, targets, masks)
        return loss, gradients

    def _find_gradients(self, inputs: tuple[Tensor, ...], targets: Tensor, masks: Masks) -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            loss = self._loss(self.model(*inputs, masks=masks), targets)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def require_possible(config: TrainConfig) -> None:
    """Raise an error for settings that contradict each other or that this processor cannot run.

    Raises:
        UserError: `recompute` does not divide `sequence_length`, or the processor has no bfloat16 products.
    """
    if config.recompute and config.sequence_length % config.recompute:
        raise UserError(
            f"train.recompute must divide train.sequence_length, {config.sequence_length}, was: {config.recompute}; "
            f"{math.gcd(config.recompute, config.sequence_length)} does"
        )
    if config.precision == "bfloat16" and not tf.config.list_physical_devices("GPU") and not has_bfloat16():
        raise UserError(
            "train.precision was: bfloat16, which needs a processor with bfloat16 products (avx512_bf16, amx_bf16); "
            "this one has none, set train.precision=float32"
        )


def draw_replica_masks(draw: Callable[[int], Masks], distribution: Distribution, batch: int) -> Masks:
    """Draw the dropout masks of a replica of `batch` rows.

    They are its rows of the masks of the whole batch, so that they do not depend on the number of replicas.

    Args:
        draw: function from a number of rows to the masks of inputs and hidden states ``(time, rows, n)``, where a text
            may be several rows, of the features of texts ``(rows, n)``, and of weights.
        distribution: the replicas.
        batch: rows of one replica.
    """
    masks = draw(batch * distribution.replicas)
    axes = {name: 1 for name in masks if "hidden_" in name or name.endswith("inputs")} | {"features": 0}
    return {name: distribution.of_replica(mask, axes[name]) if name in axes else mask for name, mask in masks.items()}


class Restarted(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule of the learning rate that begins at a step after the first (Loshchilov & Hutter 2017)."""

    def __init__(self, schedule: Any, start: int) -> None:
        super().__init__()
        self._schedule, self._start = schedule, start

    def __call__(self, step: Tensor) -> Tensor:
        """Return the learning rate of a step."""
        step = ops.maximum(ops.convert_to_tensor(step) - self._start, 0)
        return self._schedule(step) if callable(self._schedule) else ops.convert_to_tensor(self._schedule)


def optimizer_of(
    config: TrainConfig,
    total_steps: int,
    model: Model,
    distribution: Distribution = ALONE,
    starts: Sequence[int] = (),
) -> Any:
    """Return the optimizer of a model, with a linear warm-up of its learning rate.

    AdamW applies no weight decay to vectors.

    Args:
        config: settings of the training.
        total_steps: number of steps.
        model: the model.
        distribution: the devices and processes that share a batch.
        starts: steps at which the schedule begins again.
    """
    start = starts[-1] if starts else 0
    whole, total_steps = total_steps, total_steps - start
    warmup = min(config.warmup_steps, total_steps // 2)
    schedule: Any = config.learning_rate
    if config.schedule == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else config.learning_rate,
            decay_steps=max(1, total_steps - warmup),
            warmup_target=config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    elif warmup:
        schedule = keras.optimizers.schedules.PolynomialDecay(0.0, warmup, config.learning_rate)
    if start:
        schedule = Restarted(schedule, start)
    variables = model.trainable_variables
    if config.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(schedule, global_clipnorm=config.gradient_clip)
    else:
        settings = {"weight_decay": config.weight_decay, "beta_2": config.beta_2, "epsilon": 1e-8}
        by_rows = _updates_by_rows(config, model, distribution)
        if by_rows:
            ends = zip((0, *starts), (*starts, whole), strict=True)
            lengths = [end - begin for begin, end in ends]
            rates = np.concatenate(
                [learning_rates(config, length, min(config.warmup_steps, length // 2)) for length in lengths]
            )
            optimizer = RowwiseAdamW(rates, config.gradient_clip, learning_rate=schedule, **settings)
        else:
            optimizer = keras.optimizers.AdamW(schedule, global_clipnorm=config.gradient_clip, **settings)
        optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if len(variable.shape) < 2])
        if by_rows:
            optimizer.build_rows(variables, model.backbone.row_tables())
            return optimizer
    optimizer.build(variables)
    return optimizer


def _updates_by_rows(config: TrainConfig, model: Model, distribution: Distribution) -> bool:
    """Return whether the input tables are updated by rows: if one is large, and none is shared with the output."""
    backbone, tokens = model.backbone, config.batch_size * config.sequence_length
    reads = (tokens, tokens * (backbone.config.input_ngrams - 1))  # of tokens, and of n-grams
    return (
        isinstance(model, LanguageModel)
        and not backbone.config.tied
        and not config.recompute  # recomputation and replicas sum whole gradients
        and distribution.replicas == 1
        and any(
            is_worthwhile(table.shape[0], table.shape[1], read)
            for table, read in zip(backbone.row_tables(), reads, strict=False)
        )
    )


def learning_rates(config: TrainConfig, total_steps: int, warmup: int) -> NDArray[np.float64]:
    """Return the learning rate of every step, ``(steps,)``, equal to the schedule of `optimizer_of`."""
    steps = np.arange(total_steps)
    rates = np.full(total_steps, config.learning_rate)
    if config.schedule == "cosine":
        done = np.clip((steps - warmup) / max(1, total_steps - warmup), 0, 1)
        rates *= 0.5 * (1 + np.cos(np.pi * done))
    return np.where(steps < warmup, config.learning_rate * steps / max(1, warmup), rates)
