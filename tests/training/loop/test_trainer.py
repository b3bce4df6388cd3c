"""The training loop: it learns, it writes down what it did, and whatever ends it leaves a checkpoint to go on from."""

from __future__ import annotations

import json
import math
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from commands import call, files_of
from conftest import TrainedRun, tiny_settings, write_small_text
from full_disk import files_limited_to

from textrnn.errors import Stopped, UserError
from textrnn.training.loop import trainer as trainer_module
from textrnn.training.loop import training_step
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.row_updates import RowwiseAdamW
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.language_model.trainer import LanguageModelTrainer
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import prepare


def history_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


# A run that trained to its end


def test_the_loss_falls_below_the_entropy_of_single_characters(trained: TrainedRun) -> None:
    text = trained.source.read_text(encoding="utf-8")
    shares = [count / len(text) for count in Counter(text).values()]
    entropy = -sum(share * math.log(share) for share in shares)
    losses = [line["training_loss"] for line in history_of(trained.folder)]
    assert losses[0] > entropy  # it knew nothing
    assert np.mean(losses[-10:]) < np.mean(losses[10:20]) < np.mean(losses[:10])
    assert history_of(trained.folder)[-1]["held_out_loss"] < entropy / 4  # and knows the words now


def test_the_history_has_a_line_a_step(trained: TrainedRun) -> None:
    lines = history_of(trained.folder)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    always = {"step", "epoch", "seconds", "tokens_per_second", "learning_rate", "training_loss"}
    assert all(always <= set(line) for line in lines)
    assert all(earlier["seconds"] <= later["seconds"] for earlier, later in pairwise(lines))
    assert (lines[-1]["epoch"], lines[-1]["learning_rate"]) == (2.0, 0.0)
    evaluated = [line for line in lines if "held_out_loss" in line]
    assert [line["step"] for line in evaluated] == [round(len(lines) * third / 3) for third in (1, 2, 3)]
    assert all(len(line["sample"]) == 30 for line in evaluated)


def test_the_learning_rate_warms_up_and_falls(trained: TrainedRun) -> None:
    rates = [line["learning_rate"] for line in history_of(trained.folder)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_curves_are_a_picture(trained: TrainedRun) -> None:
    picture = (trained.folder / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 5000


def test_the_curves_are_drawn_when_they_are_old_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        trainer_module, "draw_curves", lambda history, *_: drawn.append(len(history_of(history.parent)))
    )
    for name, seconds in (("often", 0.0), ("rarely", 1e9)):
        monkeypatch.setattr(trainer_module, "CURVES_SECONDS", seconds)
        without_network(trainer := trainer_of(tmp_path / name), monkeypatch).fit()
        assert drawn == sorted(drawn)
        assert drawn[-1] == len(history_of(trainer.run.folder))
        assert len(drawn) == (4 if name == "often" else 1)
        drawn.clear()


def test_the_best_weights_are_those_with_the_lowest_held_out_loss(trained: TrainedRun) -> None:
    evaluated = [line for line in history_of(trained.folder) if "held_out_loss" in line]
    best = min(evaluated, key=lambda line: line["held_out_loss"])
    progress, _ = load_checkpoint(trained.folder / "best.npz")
    assert (progress.step, progress.best_loss) == (best["step"], best["held_out_loss"])


def test_progress_tells_loss_speed_time_left_and_samples(trained: TrainedRun) -> None:
    shown = trained.result.err
    assert "token/s, loss=0." in shown
    assert "<" in shown  # tqdm's "elapsed<left"
    assert "epoch 2.00  training 0." in shown
    assert "held out 0." in shown
    sample = history_of(trained.folder)[-1]["sample"]
    assert "  | " + sample.split("\n")[0] in shown
    assert shown.endswith(f"try: textrnn generate {trained.folder}\n")


def test_quiet_is_quiet_and_any_name_will_do(trained_poems: TrainedRun) -> None:
    assert trained_poems.result.err == ""
    assert trained_poems.result.out == f"{trained_poems.folder / 'bundle'}\n"
    assert trained_poems.folder.name == "诗集"  # no font of the picture has these characters


# The loop alone, with a step that costs nothing


def trainer_of(folder: Path, **changes: object) -> LanguageModelTrainer:
    """The trainer of a run of about 20 steps, opened if it is there."""
    if folder.exists():
        run = open_run(folder, quiet=True)
    else:
        source = folder.with_name("animals.txt")
        if not source.exists():
            write_small_text(source, 120)
        settings = tiny_settings(
            **{"model__hidden_dim": 16, "train__epochs": 1, "train__sample_length": 0, **changes},
            data__source=json.dumps([str(source)]),
        )
        run = create_run(folder, load_config(None, settings[1::2]), quiet=True)
    tokenizer, parts, _ = prepare(run)
    return LanguageModelTrainer(run, tokenizer, *parts)


def without_network(
    trainer: LanguageModelTrainer,
    monkeypatch: pytest.MonkeyPatch,
    at_step: Callable[[int], float | None] = lambda step: None,
    held_out: Callable[[int], float] = lambda step: 3.0 - step / 100,
) -> LanguageModelTrainer:
    """Replace the network by a sum of all tokens read so far, which any step left out or done twice would change.

    `at_step` is called in each step and may give its loss; `held_out` gives the held-out loss after a step.
    """
    model = trainer.model

    def step(inputs: Any, targets: Any, state: Any, seed: Any) -> tuple[Any, Any]:
        loss = at_step(trainer.progress.step + 1)
        read = tf.reduce_sum(tf.cast(inputs, tf.float32)) / 1000
        model.output_bias.assign(model.output_bias * 0.9 + read)
        trainer.optimizer.iterations.assign_add(1)
        return tf.constant(float(read) if loss is None else loss), state * 0.5 + read

    monkeypatch.setattr(trainer, "_step", step)
    monkeypatch.setattr(trainer, "held_out_loss", lambda: held_out(trainer.progress.step))
    return trainer


def checkpoint_of(trainer: LanguageModelTrainer) -> tuple[int, dict[str, bytes]]:
    progress, arrays = load_checkpoint(trainer.run.checkpoint)
    assert all(np.isfinite(array).all() for array in arrays.values())
    return progress.step, {name: array.tobytes() for name, array in arrays.items()}


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if "second" not in name} for line in history]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_at_every_step_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = without_network(trainer_of(tmp_path / "whole"), monkeypatch)
    whole.fit()

    stops, finished = 0, False
    before = signal.getsignal(number)
    while not finished:
        stopped = without_network(
            trainer_of(tmp_path / "stopped"), monkeypatch, lambda step: signal.raise_signal(number)
        )
        try:
            stopped.fit()
            finished = True
        except Stopped:
            stops += 1
            assert checkpoint_of(stopped)[0] == stops
        assert signal.getsignal(number) == before
    assert stops == whole.total_steps - 1  # asked to stop in the last step, it ends
    assert checkpoint_of(stopped) == checkpoint_of(whole)
    assert timeless(history_of(stopped.run.folder)) == timeless(history_of(whole.run.folder))


ROTATIONS = {
    "model__recurrence": "rotation",
    "model__activation": "linear",
    "model__mixing": "glu",
    "train__optimizer": "rmsprop",
    "train__schedule": "constant",
    "train__evaluations": 1,
}
WORDS = {
    "tokenizer__kind": "word",
    "tokenizer__vocabulary_size": 0,
    "model__softmax": "adaptive",
    "model__cutoffs": [6, 9],
    "model__embedding_dropout": 0.1,
    "model__input_ngrams": 3,
    "model__ngram_rows": 50,
    "model__ngram_dropout": 0.1,
    "train__batch_size": 2,
    "train__evaluations": 2,
}


@pytest.mark.parametrize("settings", [ROTATIONS, WORDS], ids=["rotations", "words by rows"])
def test_other_networks_go_on_as_if_nothing_had_been(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_rows = settings is WORDS
    monkeypatch.setattr(training_step, "is_worthwhile", lambda rows, width, tokens: by_rows)
    settings = {"model__layers": 1, **settings}
    whole = trainer_of(tmp_path / "whole", **settings)
    whole.fit()
    stopped = trainer_of(tmp_path / "stopped", **settings)
    true_step = stopped._step

    def step(*arguments: Any) -> Any:
        if stopped.progress.step == 6:
            signal.raise_signal(signal.SIGINT)
        return true_step(*arguments)

    stopped._step = step  # type: ignore[assignment]
    with pytest.raises(Stopped):
        stopped.fit()
    assert checkpoint_of(stopped)[0] == 7 < whole.total_steps
    assert isinstance(whole.optimizer, RowwiseAdamW) == by_rows
    again = trainer_of(tmp_path / "stopped")
    again.fit()
    assert checkpoint_of(again) == checkpoint_of(whole)
    assert timeless(history_of(again.run.folder)) == timeless(history_of(whole.run.folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_names_the_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    trainer = trainer_of(tmp_path / "my run")

    def stopped_in_the_first_step(self: LanguageModelTrainer) -> float:
        signal.raise_signal(number)
        return 1.0

    monkeypatch.setattr(LanguageModelTrainer, "_train_one", stopped_in_the_first_step)
    result = call("train", "--resume", "--out", trainer.run.folder, "--quiet")
    assert result == (
        130,
        "",
        f"textrnn: stopped at step 1 of {trainer.total_steps}, nothing is lost;"
        f" go on with: textrnn train --resume --out '{trainer.run.folder}'\n",
    )
    assert load_checkpoint(trainer.run.checkpoint)[0].step == 1


def test_lines_written_after_the_last_checkpoint_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        if step == 9:
            raise Killed

    for number in (0, 1):  # without a checkpoint, and with that of the evaluation
        folder = tmp_path / f"run {number}"
        trainer = without_network(trainer_of(folder, train__evaluations=1 + 2 * number), monkeypatch, die)
        with pytest.raises(Killed):
            trainer.fit()
        assert len(history_of(folder)) == 8
        assert trainer.run.checkpoint.exists() == bool(number)
        with trainer.run.history.open("ab") as file:
            file.write('{"step": 9, "sample": "春'.encode()[:-1])  # as far as the disk had room
        without_network(trainer_of(folder), monkeypatch).fit()
        assert [line["step"] for line in history_of(folder)] == list(range(1, trainer.total_steps + 1))


def test_patience_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {2: 3.0, 4: 2.0, 6: 2.5, 8: 1.9, 10: 1.9, 12: 2.1}  # the third and the last two are no better
    trainer = trainer_of(tmp_path / "run", train__patience=2, train__evaluations=10)
    trainer.total_steps = 20
    without_network(trainer, monkeypatch, held_out=lambda step: losses[step]).fit()
    assert history_of(trainer.run.folder)[-1]["step"] == 12
    assert load_checkpoint(trainer.run.best)[0].step == 8
    progress, _ = load_checkpoint(trainer.run.checkpoint)
    assert (progress.step, progress.finished) == (12, True)
    before = files_of(trainer.run.folder)
    without_network(trainer_of(tmp_path / "run"), monkeypatch).fit()  # has ended: nothing is left to do
    assert files_of(trainer.run.folder) == before


def test_a_loss_that_is_not_finite_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(tmp_path / "run", train__evaluations=3)
    total = trainer.total_steps
    without_network(trainer, monkeypatch, lambda step: math.nan if step == total - 2 else None)
    with pytest.raises(
        UserError, match=f"the loss must stay finite, was not at step {total - 2}; the checkpoint before"
    ):
        trainer.fit()
    assert checkpoint_of(trainer)[0] == round(total * 2 / 3)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(tmp_path / "run", train__checkpoint_seconds=0)

    def overflow(step: int) -> None:
        if step == 5:  # the loss of this step is still that of the weights before
            trainer.model.backbone.embedding.assign(trainer.model.backbone.embedding * math.inf)

    without_network(trainer, monkeypatch, overflow)
    with pytest.raises(UserError, match="every weight must stay finite, was not at step 5; the checkpoint before it"):
        trainer.fit()
    assert checkpoint_of(trainer)[0] == 4


def test_a_held_out_loss_that_is_not_finite_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch, held_out=lambda step: math.inf)
    with pytest.raises(
        UserError, match=r"the held-out loss must stay finite, was not at step .*; no checkpoint was due"
    ):
        trainer.fit()
    assert not trainer.run.best.exists()
    assert all(math.isfinite(line["training_loss"]) for line in history_of(trainer.run.folder))


def test_a_learning_rate_far_too_high_ends_in_one_line(trained: TrainedRun, tmp_path: Path) -> None:
    settings = tiny_settings(
        model__activation="linear",
        train__learning_rate=10.0,
        train__gradient_clip=1e9,
        train__warmup_steps=0,
        train__checkpoint_seconds=0,
        train__sample_length=0,
    )
    result = call("train", trained.source, *settings, "--out", tmp_path / "run", "--quiet")
    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert "must stay finite" in result.err
    assert "lower train.learning_rate" in result.err
    if (tmp_path / "run" / "checkpoint.npz").exists():  # it may be the very first step
        _, arrays = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
        assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize(
    ("file", "writer"),
    [
        ("best.npz", "save_checkpoint"),
        ("history.jsonl", "append_history"),
        ("curves.png", "draw_curves"),
        ("checkpoint.npz", "save_checkpoint"),
    ],
)
def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, writer: str
) -> None:
    monkeypatch.setattr(trainer_module, "CURVES_SECONDS", 0)  # drawn at each evaluation
    without_network(whole := trainer_of(tmp_path / "whole"), monkeypatch).fit()
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch)
    first, second, _ = (round(trainer.total_steps * third / 3) for third in (1, 2, 3))
    write = getattr(trainer_module, writer)

    def write_on_a_full_disk(path: Path, *rest: Any) -> None:
        """As the real one, but at the second evaluation no file can grow beyond ten bytes."""
        is_full = trainer.progress.step == second and trainer.run.folder / file in (path, *rest)
        with files_limited_to(10) if is_full else nullcontext():
            write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, writer, write_on_a_full_disk)
        with pytest.raises(UserError, match=f"{file} could not be written: File too large; free space") as caught:
            trainer.fit()
    assert "\n" not in str(caught.value)
    assert checkpoint_of(trainer)[0] == first
    assert not list(trainer.run.folder.glob(".*"))

    # With room again, it goes on as if nothing had been.
    without_network(resumed := trainer_of(tmp_path / "run"), monkeypatch).fit()
    assert checkpoint_of(resumed) == checkpoint_of(whole)
    assert timeless(history_of(resumed.run.folder)) == timeless(history_of(whole.run.folder))


# What a run resumes from


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch)
    trainer.fit()
    prepare(trainer.run)
    path = trainer.run.checkpoint
    path.write_bytes(path.read_bytes()[:-100])
    before = files_of(tmp_path / "run")
    result = call("train", "--resume", "--out", tmp_path / "run", "--quiet")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert f"{path} is damaged" in result.err
    assert files_of(tmp_path / "run") == before


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("run", 1), ("other", 2)):
        without_network(trainer_of(tmp_path / name, seed=seed), monkeypatch).fit()
    for file in ("checkpoint.npz", "best.npz"):
        foreign = tmp_path / "run" / file
        foreign.write_bytes((tmp_path / "other" / file).read_bytes())
        trainer = trainer_of(tmp_path / "run")
        with pytest.raises(UserError, match=f"{file} belongs to another configuration, tokenizer or text"):
            trainer.fit() if file == "checkpoint.npz" else trainer.best_weights()


def test_the_text_must_be_the_same_when_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch)
    trainer.fit()
    before = files_of(tmp_path / "run")
    source = tmp_path / "animals.txt"
    source.write_text(source.read_text(encoding="utf-8").replace("cat", "rat"), encoding="utf-8")
    result = call("train", "--resume", "--out", tmp_path / "run", "--quiet")
    assert result.code == 1
    assert "checkpoint.npz belongs to another configuration, tokenizer or text" in result.err
    kept = files_of(tmp_path / "run")
    assert {name: kept[name] for name in before} == before  # the other text is prepared beside it


def test_best_weights_are_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch)
    trainer.fit()
    trainer.run.checkpoint.write_bytes(trainer.run.best.read_bytes())
    with pytest.raises(UserError, match=r"checkpoint\.npz lacks model/"):
        trainer_of(tmp_path / "run").fit()


def test_a_resume_that_cannot_begin_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(tmp_path / "run")  # tokenised, not yet trained
    (tmp_path / "animals.txt").rename(tmp_path / "away.txt")
    before = files_of(tmp_path / "run")
    result = call("train", "--resume", "--out", tmp_path / "run", "--quiet")
    assert result.code == 1
    assert "animals.txt" in result.err
    assert files_of(trainer.run.folder) == before


def test_looking_at_a_run_leaves_what_another_process_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = without_network(trainer_of(tmp_path / "run"), monkeypatch)
    being_written = trainer.run.folder / ".checkpoint.npz.1.tmp"
    being_written.touch()
    call("export", trainer.run.folder)
    call("evaluate", trainer.run.folder)
    assert being_written.exists()
    trainer.run.remove_leftovers()
    assert not being_written.exists()
