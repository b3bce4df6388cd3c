"""The training loop: one compiled step, evaluation, history, checkpoints."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.bundle import Bundle
from textrnn.config import TrainConfig
from textrnn.errors import UserError
from textrnn.generation import GenerationOptions, generate
from textrnn.tokenizers.base import Tokenizer
from textrnn.train.checkpoints import Progress, load_checkpoint, save_checkpoint
from textrnn.train.datasets import Batches, TokenDataset, evaluation_batches
from textrnn.train.export_onnx import export_language_model
from textrnn.train.history import append_history, draw_curves, drop_history_after
from textrnn.train.language_model import LanguageModel, cross_entropy
from textrnn.train.run import Run, run_fingerprint, start_id
from textrnn.train.training_step import TrainingStep, adamw, compiled, compiled_for, require_possible

HISTORY_LINES = 200  # lines of training loss over a run
SAMPLE_TEMPERATURE = 0.8
EVALUATION_TOKENS = 500_000  # of the held-out text are read, so that a large corpus does not wait for its evaluations
EVALUATION_STREAMS = 16  # held-out text is read at so many places at once while training


class Interrupted(Exception):
    """Training was stopped by a signal; the checkpoint is written."""


class LanguageModelTrainer:
    """Trains one language model; every number that decides the result is in its checkpoint."""

    def __init__(self, run: Run, tokenizer: Tokenizer, train: TokenDataset, held_out: TokenDataset) -> None:
        config = run.config
        self.run = run
        self.config: TrainConfig = config.train
        require_possible(self.config)
        self.quiet = run.quiet
        self.tokenizer = tokenizer
        self.held_out = held_out.first(EVALUATION_TOKENS)
        self.start_id = start_id(tokenizer, train, config.data.apart)
        self.batches = Batches(train.ids, self.config.batch_size, self.config.sequence_length, config.seed)
        self.total_steps = max(1, round(self.config.epochs * self.batches.steps_per_epoch))
        with tf.distribute.get_strategy().scope():
            self.model = LanguageModel(
                config.model, tokenizer.vocabulary_size, config.seed, self.config.precision, config.data.apart
            )
            self.optimizer = adamw(self.config, self.total_steps, self.model)
        self.progress = Progress(fingerprint=run_fingerprint(config, tokenizer, train, held_out))
        self.state = self.model.backbone.initial_state(self.config.batch_size)
        self._stop_requested = False
        self._step = TrainingStep(self.model, self.optimizer, self.config.recompute)
        self._evaluate_batch = compiled_for(self.model, self._evaluation_step)
        self._forward = compiled(lambda ids, state: self.model(ids, state))

    # The loop

    def fit(self) -> None:
        """Train to the end, from the last checkpoint if there is one.

        Raises:
            UserError: the loss is not finite, or the disk refuses; the last good checkpoint stays.
            Interrupted: a signal asked to stop; the checkpoint is written.
        """
        if self.run.checkpoint.exists():
            self._restore()
        else:
            self.run.history.unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
        if self.progress.finished:
            return
        evaluations = _evaluation_steps(self.total_steps, self.config.evaluations)
        log_every = max(1, self.total_steps // HISTORY_LINES)
        tokens = self.config.batch_size * self.config.sequence_length
        last_saved = time.monotonic()
        with _progress_bar(self, tokens) as bar, self._stop_on_signal():
            while self.progress.step < self.total_steps:
                began = time.monotonic()
                loss = self._train_one()
                step = self.progress.step + 1
                self.progress = replace(
                    self.progress,
                    step=step,
                    loss_sum=self.progress.loss_sum + loss,
                    loss_count=self.progress.loss_count + 1,
                    seconds=self.progress.seconds + time.monotonic() - began,
                )
                bar.update(tokens)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                evaluate = step in evaluations
                if evaluate or step % log_every == 0:
                    self._record(bar, evaluate)
                if self.config.patience and self.progress.evaluations_since_best >= self.config.patience:
                    self._say(bar, f"stopped early: no better held-out loss in {self.config.patience} evaluations")
                    break
                due = time.monotonic() - last_saved >= self.config.checkpoint_seconds
                stop = self._stop_requested
                if (evaluate or due or stop) and step < self.total_steps:
                    self._save()
                    last_saved = time.monotonic()
                    if stop:
                        raise Interrupted
        self.progress = replace(self.progress, finished=True)
        self._save()

    def best_weights(self) -> None:
        """Give the model the weights with the lowest held-out loss."""
        _, arrays = self._load(self.run.best, self.model.named_weights())
        self.model.set_arrays(arrays)

    def export(self, folder: Path, quantize: str | None = None) -> Bundle:
        """Write the bundle of the best weights; see `export_language_model`."""
        self.best_weights()
        settings = self.run.config.to_dict()
        return export_language_model(
            self.model, self.tokenizer, self.held_out, self.start_id, settings, folder, quantize
        )

    def _train_one(self) -> float:
        inputs, targets, starts_epoch = self.batches.batch(self.progress.step)
        state = self.model.backbone.initial_state(self.config.batch_size) if starts_epoch else self.state
        seed = tf.constant([self.run.config.seed, self.progress.step * 1000 % 2**31], tf.int32)
        loss_tensor, self.state = self._step(tf.constant(inputs), tf.constant(targets), state, seed)
        loss = float(loss_tensor)
        self._require_finite("the loss", math.isfinite(loss), self.progress.step + 1)
        return loss

    # Evaluation

    def _evaluation_step(self, inputs: Any, targets: Any, weights: Any, state: Any) -> tuple[Any, Any]:
        logits, state = self.model(inputs, state)
        return tf.reduce_sum(cross_entropy(logits, targets) * tf.transpose(weights)), state

    def held_out_loss(self) -> float:
        """Nats a token on the held-out text, read at several places at once with the state carried at each."""
        ids, length = self.held_out.ids, self.config.sequence_length
        streams = max(1, min(EVALUATION_STREAMS, len(ids) // (4 * length)))
        state = self.model.backbone.initial_state(streams)
        total, count = 0.0, 0.0
        for inputs, targets, weights in evaluation_batches(ids, streams, length):
            loss, state = self._evaluate_batch(inputs, targets, weights, state)
            total += float(loss)
            count += float(weights.sum())
        return total / count

    def sample(self) -> str:
        """Text written by the model as it stands."""
        if not self.config.sample_length:
            return ""

        def step(ids: NDArray[np.int32], state: Any) -> tuple[NDArray[np.float32], Any]:
            logits, state = self._forward(tf.constant(ids[:, None], tf.int32), state)
            return logits.numpy()[0], state

        prompt_ids = self.tokenizer.encode(self.config.prompt)
        options = GenerationOptions(
            length=self.config.sample_length, temperature=SAMPLE_TEMPERATURE, seed=self.run.config.seed
        )
        state = self.model.backbone.initial_state(1)
        return "".join(piece for _, piece in generate(step, state, self.tokenizer, self.start_id, prompt_ids, options))

    # What is written

    def _record(self, bar: Any, evaluate: bool) -> None:
        """Add a line to the history; with `evaluate`, the held-out loss and a sample, and keep the best weights."""
        progress = self.progress
        line: dict[str, Any] = {
            "step": progress.step,
            "epoch": round(progress.step / self.batches.steps_per_epoch, 4),
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(
                progress.step * self.config.batch_size * self.config.sequence_length / max(progress.seconds, 1e-9)
            ),
            "learning_rate": float(self.optimizer.learning_rate),
            "training_loss": progress.loss_sum / progress.loss_count,
        }
        self.progress = replace(progress, loss_sum=0.0, loss_count=0)
        if evaluate:
            loss = self.held_out_loss()
            self._require_finite("the held-out loss", math.isfinite(loss), progress.step)
            line |= {"held_out_loss": loss, "sample": self.sample()}
            self._keep_best(loss)
            self._say(
                bar,
                f"epoch {line['epoch']:.2f}  training {line['training_loss']:.4f}  held out {loss:.4f} nats a token"
                f"  ({line['tokens_per_second']:,} tokens/s)",
            )
            if line["sample"]:
                self._say(bar, "  | " + line["sample"].replace("\n", "\n  | "))
        append_history(self.run.history, line)
        if evaluate:
            draw_curves(self.run.history, self.run.curves)

    def _say(self, bar: Any, text: str) -> None:
        if not self.quiet:
            bar.write(text, sys.stderr)

    def _require_finite(self, what: str, finite: bool, step: int) -> None:
        if not finite:
            kept = "the checkpoint before it is kept" if self.run.checkpoint.exists() else "no checkpoint was due yet"
            raise UserError(
                f"{what} must stay finite, was not at step {step}; {kept}: lower train.learning_rate or"
                " train.gradient_clip and train anew"
            )

    def _keep_best(self, loss: float) -> None:
        if loss < self.progress.best_loss:
            save_checkpoint(self.run.best, replace(self.progress, best_loss=loss), self.model.arrays())
            self.progress = replace(self.progress, best_loss=loss, evaluations_since_best=0)
        else:
            self.progress = replace(self.progress, evaluations_since_best=self.progress.evaluations_since_best + 1)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that the next step depends on, beside its number."""
        arrays: dict[str, NDArray[Any]] = {f"model/{name}": array for name, array in self.model.arrays().items()}
        for index, variable in enumerate(self.optimizer.variables):
            arrays[f"optimizer/{index}"] = ops.convert_to_numpy(variable)
        return arrays | {"state": ops.convert_to_numpy(self.state)}

    def _save(self) -> None:
        arrays = self._arrays()
        # The loss tells of bad weights one step late; they must not replace the last good ones.
        finite = all(np.isfinite(array).all() for array in arrays.values())
        self._require_finite("every weight", finite, self.progress.step)
        save_checkpoint(self.run.checkpoint, self.progress, arrays)

    def _load(self, path: Path, names: Iterable[str]) -> tuple[Progress, dict[str, NDArray[np.generic]]]:
        progress, arrays = load_checkpoint(path)
        if progress.fingerprint != self.progress.fingerprint:
            raise UserError(
                f"{path} belongs to another configuration, tokenizer or text;"
                " restore those of the run, or train anew into another --out"
            )
        if missing := set(names) - set(arrays):
            raise UserError(f"a checkpoint must be whole, {path} lacks {min(missing)}; remove it and train anew")
        return progress, arrays

    def _restore(self) -> None:
        progress, arrays = self._load(self.run.checkpoint, self._arrays())
        prefix = "model/"
        self.model.set_arrays({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        for index, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer/{index}"])
        self.state = tf.constant(arrays["state"])
        self.progress = progress
        drop_history_after(self.run.history, progress.step)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask the loop to stop after the step in hand, so that no step is half recorded."""

        def ask(*_: object) -> None:
            if self._stop_requested:
                raise KeyboardInterrupt
            self._stop_requested = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, which alone may set handlers
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _evaluation_steps(total_steps: int, evaluations: int) -> set[int]:
    count = min(evaluations, total_steps)
    return {round(total_steps * (index + 1) / count) for index in range(count)}


def _progress_bar(trainer: LanguageModelTrainer, tokens: int) -> Any:
    return tqdm(
        total=trainer.total_steps * tokens,
        initial=trainer.progress.step * tokens,
        unit="token",
        unit_scale=True,
        desc="training",
        disable=trainer.quiet,
        mininterval=0.5,
        file=sys.stderr,
    )
