"""The training loop of every task: steps, evaluation, history and checkpoints."""

from __future__ import annotations

import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray
from tqdm import tqdm

from textrnn.bundle import Bundle
from textrnn.config import TrainConfig
from textrnn.errors import Stopped, UserError
from textrnn.training.distributed.distribution import Distribution
from textrnn.training.export.exporter import Exporter
from textrnn.training.loop.checkpoints import Progress, load_checkpoint, save_checkpoint
from textrnn.training.loop.history import append_history, draw_curves, drop_history_after, read_history
from textrnn.training.loop.run import Run
from textrnn.training.loop.training_step import optimizer_of
from textrnn.training.network.model import Model

HISTORY_LINES = 200  # approximate number of training-loss lines per run
CURVES_SECONDS = 10.0  # between two drawings of the curves: drawing takes longer than a short training's steps
MIXED = "mixed_loss"
"""Figure of the history: the held-out loss of the data that are mixed in."""
LEAST_NOISE = 0.003  # of the held-out loss: two seeds differ by so much


class Trainer(ABC):
    """A trainer of one model; its checkpoint holds every number that determines the result.

    A task defines the step, the evaluation and the bundle.

    Args:
        run: the run.
        model: the model to train.
        epochs: number of passes over the training data.
        steps_per_epoch: steps of one pass over the training data.
        units_per_step: number of units (see `unit`) that a step reads.
        state: state carried from one step to the next, ``(layers, batch, hidden)`` of the whole batch; an empty tensor
            if the task carries none.
        fingerprint: hash of everything that determines the weights.
    """

    unit: str
    """The unit of speed and loss, for example a token."""
    loss_unit = "nats"
    """The unit of the loss value."""
    learns_on = False
    """Whether the run began with all weights of another model."""

    def __init__(
        self,
        run: Run,
        model: Model,
        epochs: float,
        steps_per_epoch: int,
        units_per_step: int,
        state: Any,
        fingerprint: str,
        distribution: Distribution,
    ) -> None:
        self.run = run
        self.config: TrainConfig = run.config.train
        self.model = model
        self.steps_per_epoch = steps_per_epoch
        self.units_per_step = units_per_step
        self.total_steps = max(1, round(epochs * steps_per_epoch * run.share))
        self.distribution = distribution
        self.distribution.require_divisible(self.config.batch_size)
        self.quiet = run.quiet or not self.distribution.is_chief
        with self.distribution.scope():
            self.optimizer = optimizer_of(self.config, self.total_steps, model, distribution, run.continued.starts)
        self.progress = Progress(fingerprint=fingerprint)
        self.state = self.distribution.rows(state, axis=1)
        self._stop_requested = False
        self._last_drawn = -math.inf

    @abstractmethod
    def train_one(self) -> Any:
        """Run the next step and return its loss, a scalar."""

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Evaluate the model and return ``held_out_loss`` in nats and other figures for the history."""

    @abstractmethod
    def exporter(self) -> Exporter:
        """Return the exporter of the model with the weights it has now."""

    def export(self, folder: Path, quantize: str | None = None) -> Bundle:
        """Write the bundle of the best weights; see `Exporter.export`."""
        self.best_weights()
        return self.exporter().export(folder, quantize)

    def finish(self) -> None:
        """Write the results of a run: its bundle."""
        self.run.write_bundle(self.export)
        if self.learns_on and self._writes and not self.quiet:
            print(self.what_was_learned(), file=sys.stderr)

    def what_was_learned(self) -> str:
        """Return the held-out losses of the model that the run began with, and of the one it ends with, for people."""
        lines = [line for line in read_history(self.run.history) if "held_out_loss" in line]
        before, after = lines[0], min(lines, key=lambda line: line["held_out_loss"])
        unit = "" if self.loss_unit != "nats" else f" a {self.unit}"
        parts = [
            f"{what} {before[name]:.4f} before, {after[name]:.4f} after"
            for what, name in (("new data", "held_out_loss"), ("mixed-in data", MIXED))
            if name in before
        ]
        return f"held-out loss in {self.loss_unit}{unit}: {'; '.join(parts)}"

    def describe(self, measured: Mapping[str, Any]) -> str:
        """Format the result of `measure` as a short phrase."""
        return f"held out {measured['held_out_loss']:.4f} nats a {self.unit}"

    def comparable_loss(self, loss: float) -> float:
        """Return a held-out loss as one that models with other tokenizers can be compared by."""
        return loss

    def noise(self) -> float:
        """Return the relative difference of two held-out losses that chance explains, roughly."""
        return LEAST_NOISE

    # The loop

    def fit(
        self,
        watch: Callable[[Progress, Mapping[str, Any] | None], None] | None = None,
        report: Callable[[Mapping[str, Any], int], None] | None = None,
    ) -> None:
        """Train to the end, from the last checkpoint if there is one.

        Args:
            watch: function that is called after each step, with the result of `measure` after an evaluation; what it
                raises ends the training.
            report: function that is called with each line of the history and the total number of steps. If it raises
                KeyboardInterrupt, the training stops as with Ctrl-C; what else it raises ends the training.

        Raises:
            UserError: the loss is not finite, or a file cannot be written; the last good checkpoint stays.
            Stopped: a signal asked to stop; the checkpoint is written.
        """
        if self.run.checkpoint.exists():
            self._restore()
        elif self._writes:
            self.run.history.unlink(missing_ok=True)  # left by a run that was killed before its first checkpoint
        self._begin_together()
        start = self.run.continued.start
        if self.progress.finished:
            if self.progress.step != start or not start:
                return
            self.progress = replace(self.progress, finished=False, evaluations_since_best=0)
        evaluations = {start + step for step in _evaluation_steps(self.total_steps - start, self.config.evaluations)}
        log_every = max(1, self.total_steps // HISTORY_LINES)
        last_saved = self._last_drawn = time.monotonic()
        with _progress_bar(self) as bar, self._stop_on_signal():
            if self.learns_on and not self.progress.step:
                self._record(bar, True, report)
            while self.progress.step < self.total_steps:
                began = time.monotonic()
                self.distribution.ask(self._stop_requested, self._is_due(last_saved))
                loss = self._train_one()
                step = self.progress.step + 1
                self.progress = replace(
                    self.progress,
                    step=step,
                    loss_sum=self.progress.loss_sum + loss,
                    loss_count=self.progress.loss_count + 1,
                    seconds=self.progress.seconds + time.monotonic() - began,
                )
                bar.update(self.units_per_step)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                evaluate = step in evaluations
                measured = self._record(bar, evaluate, report) if evaluate or step % log_every == 0 else None
                if self.config.patience and self.progress.evaluations_since_best >= self.config.patience:
                    self._say(bar, f"stopped early: no better held-out loss in {self.config.patience} evaluations")
                    break
                stop, due = self.distribution.answer(self._stop_requested, self._is_due(last_saved))
                if (evaluate or due or stop) and step < self.total_steps:
                    self._save()
                    last_saved = time.monotonic()
                    if stop:
                        self._draw_curves()
                        raise Stopped(
                            f"stopped at step {step} of {self.total_steps}, nothing is lost; {self._how_to_continue}"
                        )
                if watch:
                    watch(self.progress, measured)
        self._draw_curves()
        self.progress = replace(self.progress, finished=True)
        self._save()

    @property
    def step_seed(self) -> Any:
        """Seed of the next step's dropout masks, int32 ``(2,)``, the same after a resume."""
        return ops.convert_to_tensor([self.run.config.seed, self.progress.step * 1000 % 2**31], "int32")

    @property
    def _how_to_continue(self) -> str:
        workers = "for every worker: " if self.distribution.has_workers else ""
        comma = ", " if workers else ": "
        return f"go on with{comma}{workers}{self.run.resume_command}"

    @property
    def _writes(self) -> bool:
        """Whether this process writes the files of the run: among several workers only the chief does."""
        return self.distribution.is_chief

    def _is_due(self, last_saved: float) -> bool:
        return time.monotonic() - last_saved >= self.config.checkpoint_seconds

    def _begin_together(self) -> None:
        """Require the same data and step of every worker, and give all workers the chief's weights."""
        if self.distribution.has_workers:
            self.distribution.require_same({"fingerprint": self.progress.fingerprint, "step": self.progress.step})
            self.model.set_arrays(
                {name: self.distribution.broadcast(each) for name, each in self.model.arrays().items()}
            )

    def best_weights(self) -> None:
        """Set the model's weights to those with the lowest held-out loss."""
        _, arrays = self._load(self.run.best, self.model.named_weights())
        self.model.set_arrays(arrays)

    def _train_one(self) -> float:
        loss = float(self.train_one())
        self._require_finite("the loss", math.isfinite(loss), self.progress.step + 1)
        return loss

    # Output files

    def _record(
        self, bar: Any, evaluate: bool, report: Callable[[Mapping[str, Any], int], None] | None
    ) -> Mapping[str, Any] | None:
        """Add a line to the history; with `evaluate`, also the result of `measure`, and keep the best weights.

        Returns:
            the result of `measure`; None without `evaluate`.
        """
        progress, speed = self.progress, f"{self.unit}s_per_second"
        line: dict[str, Any] = {
            "step": progress.step,
            "epoch": round(progress.step / self.steps_per_epoch, 4),
            "seconds": round(progress.seconds, 3),
            speed: round(progress.step * self.units_per_step / max(progress.seconds, 1e-9)),
            "learning_rate": float(self.optimizer.learning_rate),
        }
        if progress.loss_count:
            line["training_loss"] = progress.loss_sum / progress.loss_count
        self.progress = replace(progress, loss_sum=0.0, loss_count=0)
        measured: dict[str, Any] | None = None
        if evaluate:
            # Only the chief measures. All workers use its result, so that they decide alike.
            measured = self.measure() if self._writes else {"held_out_loss": 0.0}
            loss = float(self.distribution.broadcast(np.float64(measured["held_out_loss"])))
            measured["held_out_loss"] = loss
            self._require_finite("the held-out loss", math.isfinite(loss), progress.step)
            line |= measured
            self._keep_best(loss)
        if measured is not None and not self.quiet:
            self._say(
                bar,
                f"epoch {line['epoch']:.2f}  training {line['training_loss']:.4f}  {self.describe(measured)}"
                f"  ({line[speed]:,} {self.unit}s/s)"
                if progress.loss_count
                else f"before training: {self.describe(measured)}",
            )
            if line.get("sample"):
                self._say(bar, "  | " + line["sample"].replace("\n", "\n  | "))
        if self._writes:
            append_history(self.run.history, line)
        if evaluate and time.monotonic() - self._last_drawn >= CURVES_SECONDS:
            self._draw_curves()
        if report:
            try:
                report(line, self.total_steps)
            except KeyboardInterrupt:
                self._stop_requested = True
        return measured

    def _draw_curves(self) -> None:
        if self._writes:
            draw_curves(self.run.history, self.run.curves, self.unit, self.loss_unit)
        self._last_drawn = time.monotonic()

    def _say(self, bar: Any, text: str) -> None:
        if not self.quiet:
            bar.write(text, sys.stderr)

    def _require_finite(self, what: str, finite: bool, step: int) -> None:
        if not finite:
            kept = "the checkpoint before it is kept" if self.run.checkpoint.exists() else "no checkpoint was due yet"
            raise UserError(
                f"{what} must stay finite, was not at step {step}; {kept}: lower train.learning_rate or"
                " train.gradient_clip and train again"
            )

    def _keep_best(self, loss: float) -> None:
        if loss < self.progress.best_loss:
            if self._writes:
                save_checkpoint(self.run.best, replace(self.progress, best_loss=loss), self.model.arrays())
            self.progress = replace(self.progress, best_loss=loss, evaluations_since_best=0)
        else:
            self.progress = replace(self.progress, evaluations_since_best=self.progress.evaluations_since_best + 1)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that the next step depends on."""
        arrays: dict[str, NDArray[Any]] = {f"model/{name}": array for name, array in self.model.arrays().items()}
        for index, variable in enumerate(self.optimizer.variables):
            arrays[f"optimizer/{index}"] = ops.convert_to_numpy(variable)
        return arrays | {"state": self.distribution.all_rows(self.state, axis=1)}

    def _save(self) -> None:
        arrays = self._arrays()
        # The loss reveals bad weights one step late. They must not replace the last good ones.
        finite = all(np.isfinite(array).all() for array in arrays.values())
        self._require_finite("every weight", finite, self.progress.step)
        if self._writes:
            save_checkpoint(self.run.checkpoint, self.progress, arrays)

    def _load(self, path: Path, names: Iterable[str]) -> tuple[Progress, dict[str, NDArray[np.generic]]]:
        progress, arrays = load_checkpoint(path)
        if progress.fingerprint != self.progress.fingerprint:
            raise UserError(
                f"{path} belongs to another configuration, tokenizer or text;"
                " restore those of the run, or train again into another --out"
            )
        if missing := set(names) - set(arrays):
            raise UserError(f"a checkpoint must be whole, {path} lacks {min(missing)}; remove it and train again")
        return progress, arrays

    def _restore(self) -> None:
        progress, arrays = self._load(self.run.checkpoint, self._arrays())
        prefix = "model/"
        self.model.set_arrays({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        for index, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer/{index}"])
        self.state = self.distribution.rows(arrays["state"], axis=1)
        self.progress = progress
        if self._writes:
            drop_history_after(self.run.history, progress.step)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM stop the loop after the current step, so that no step is half recorded."""

        def ask(*_: object) -> None:
            if self._stop_requested:
                raise KeyboardInterrupt
            self._stop_requested = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # only the main thread may set handlers
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _evaluation_steps(total_steps: int, evaluations: int) -> set[int]:
    count = min(evaluations, total_steps)
    return {round(total_steps * (index + 1) / count) for index in range(count)}


def _progress_bar(trainer: Trainer) -> Any:
    return tqdm(
        total=trainer.total_steps * trainer.units_per_step,
        initial=trainer.progress.step * trainer.units_per_step,
        unit=trainer.unit,
        unit_scale=True,
        desc="training",
        disable=trainer.quiet,
        mininterval=0.5,
        file=sys.stderr,
    )
