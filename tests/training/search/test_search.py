"""`textrnn train --budget` as a user sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, told
from conftest import (
    TrainedRun,
    classifier_settings,
    forecast_settings,
    tiny_settings,
    vector_settings,
    write_lines,
    write_opinions,
    write_small_text,
    write_wave,
)

from textrnn.runtime.load import load
from textrnn.training.loop.history import read_history
from textrnn.training.loop.trainer import Trainer
from textrnn.training.search import watch

pytestmark = pytest.mark.usefixtures("as_graphs")

# All that a search of a language model changes but the dropout.
KEPT = {
    "model.layers": 1,
    "model.embedding_dim": 16,
    "model.input_ngrams": 2,
    "model.input_dropout": 0.0,
    "model.ngram_dropout": 0.0,
    "tokenizer.kind": "char",
    "train.weight_decay": 0.0,
    "train.epochs": 2,
    "train.sample_length": 0,
}


def settings_but_dropout(**changes: object) -> list[str]:
    arguments = tiny_settings(**{name.replace(".", "__"): value for name, value in (KEPT | changes).items()})
    place = arguments.index("model.dropout=0.1")
    return [*arguments[: place - 1], *arguments[place + 1 :]]


def trials_of(folder: Path) -> list[dict[str, Any]]:
    """Return what was tried, without the time it took."""
    found = json.loads((folder / "search.json").read_text(encoding="utf-8"))["trials"]
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in found]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_text(tmp_path_factory.mktemp("text") / "animals.txt", 120)


@pytest.fixture(scope="module")
def searched(text: Path) -> Path:
    """A run whose dropout was searched for."""
    folder = text.parent / "searched"
    result = call("train", text, *settings_but_dropout(), "--budget", "1h", "--out", folder)
    assert result.code == 0, result.err
    assert result.out == f"{folder / 'bundle'}\n"
    assert (folder / "trials.txt").read_text(encoding="utf-8") in result.err
    return folder


def test_the_best_row_of_the_table_is_the_model_that_was_trained(searched: Path) -> None:
    table = (searched / "trials.txt").read_text(encoding="utf-8").splitlines()
    best = table[1].split()
    assert best[2] == "best"
    dropout = float(best[-1].removeprefix("model.dropout=")) if best[-1] != "defaults" else 0.0
    config = json.loads((searched / "config.json").read_text(encoding="utf-8"))
    assert config["model"]["dropout"] == dropout
    tried = trials_of(searched)
    assert float(best[1]) == pytest.approx(min(trial["loss"] for trial in tried), abs=1e-4)
    assert {tuple(trial["changes"]) for trial in tried} == {(), ("model.dropout",)}


def test_a_searched_run_is_an_ordinary_run(text: Path, searched: Path) -> None:
    assert load(searched).generate("the ", length=20, seed=1)
    assert read_history(searched / "history.jsonl")[-1]["epoch"] == 2
    assert not (searched / "trials").exists()
    assert call("evaluate", searched, "--json").code == 0
    again = call("train", text, *settings_but_dropout(), "--budget", "1h", "--resume", "--out", searched)
    assert again.code == 0, again.err


def test_a_search_that_was_interrupted_goes_on_without_trying_again(
    text: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Path] = []
    one: Callable[[Trainer], float] = Trainer._train_one

    def counted(trainer: Trainer) -> float:
        steps.append(trainer.run.folder)
        return one(trainer)

    def interrupted(trainer: Trainer) -> float:
        if trainer.run.folder.name == "001" and trainer.progress.step == 20:
            raise KeyboardInterrupt
        return counted(trainer)

    monkeypatch.setattr(Trainer, "_train_one", interrupted)
    folder = tmp_path / "run"
    stopped = call("train", text, *settings_but_dropout(), "--budget", "1h", "--out", folder, "--quiet")
    assert stopped.code != 0
    assert f"--resume --out {folder}" in stopped.err
    done = len(steps)
    monkeypatch.setattr(Trainer, "_train_one", counted)
    resumed = call("train", "--resume", "--out", folder, "--quiet")
    assert resumed.code == 0, resumed.err
    assert trials_of(folder) == trials_of(searched)
    assert folder / "trials" / "000" not in steps[done:]
    assert (folder / "config.json").read_text() == (searched / "config.json").read_text()
    with np.load(folder / "best.npz") as own, np.load(searched / "best.npz") as other:
        assert all(np.array_equal(own[name], other[name]) for name in own.files if name != "progress.json")


def test_short_trials_choose_and_the_best_is_trained_in_full(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MANY_TRIALS", 1e9)
    folder = tmp_path / "run"
    result = call("train", text, *settings_but_dropout(**{"train.epochs": 4}), "--budget", "1h", "--out", folder)
    assert result.code == 0, result.err
    assert "for 50% of the epochs" in result.err
    assert read_history(folder / "history.jsonl")[-1]["epoch"] == 4
    assert load(folder).generate("the ", length=20, seed=1)


def test_a_budget_that_is_too_small_says_so_and_trains_with_the_defaults(tmp_path: Path) -> None:
    folder, text = tmp_path / "run", write_small_text(tmp_path / "animals.txt")  # of enough steps to be timed
    result = call("train", text, *settings_but_dropout(), "--budget", "0.1s", "--out", folder)
    assert result.code == 0, result.err
    assert "a budget of 0 s is too small to try settings, one training takes about" in result.err
    assert [trial["changes"] for trial in trials_of(folder)] == [{}]
    assert read_history(folder / "history.jsonl")[-1]["epoch"] == 2


def opinions(folder: Path) -> list[object]:
    return [write_opinions(folder / "opinions.jsonl"), *classifier_settings(), "--task", "sentiment"]


def several_labels(folder: Path) -> list[object]:
    path = folder / "tickets.csv"
    rows = [f"{'refund' if n % 2 else ''} {'late' if n % 3 else ''} order,{n % 2}|{n % 3}\n" for n in range(120)]
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return [path, *classifier_settings(), "--task", "multilabel"]


def lines(folder: Path) -> list[object]:
    return [write_lines(folder / "lines.npz"), *vector_settings(), "--task", "classification"]


def values(folder: Path) -> list[object]:
    return [write_lines(folder / "values.npz", values=True), *vector_settings(), "--task", "regression"]


def wave(folder: Path) -> list[object]:
    return [write_wave(folder / "wave.csv"), *forecast_settings(), "--task", "forecast"]


@pytest.mark.long
@pytest.mark.parametrize("data", [opinions, several_labels, lines, values, wave])
def test_every_task_can_be_searched(data: Callable[[Path], list[object]], tmp_path: Path) -> None:
    arguments = data(tmp_path)
    task = arguments[-1] if arguments[-1] != "sentiment" else "classification"
    arguments = [f"task={task}" if str(each).startswith("task=") else each for each in arguments]
    result = call("train", *arguments, "--budget", "12s", "--out", tmp_path / "run")
    assert result.code == 0, result.err
    tried = trials_of(tmp_path / "run")
    assert tried[0]["changes"] == {}
    assert all(trial["outcome"] != "failed" for trial in tried), tried
    assert load(tmp_path / "run").manifest.kind


def test_a_search_starts_from_another_model_and_keeps_its_layers(
    trained_classifier: TrainedRun, tmp_path: Path
) -> None:
    # All is stated that a search may change here, but the weight decay: it ends by itself, on a slow machine too.
    stated = classifier_settings(
        model__dropout=0.0,
        model__embedding_dropout=0.0,
        model__direct_ngrams=1,
        model__init_from=trained_classifier.folder,
        train__epochs=2,
        train__learning_rate=0.01,
        train__batch_size=16,
    )
    folder = tmp_path / "run"
    result = call("train", trained_classifier.source, *stated, "--budget", "1h", "--out", folder)
    assert result.code == 0, result.err
    tried = trials_of(folder)
    assert len(tried) > 1
    assert not {key for trial in tried for key in trial["changes"]} & {"model.hidden_dim", "tokenizer.kind"}
    assert all(trial["outcome"] != "failed" for trial in tried), tried
    own, other = (json.loads((each / "config.json").read_text()) for each in (folder, trained_classifier.folder))
    assert own["tokenizer"] == other["tokenizer"]


def test_a_budget_needs_a_new_run_or_one_that_has_one(text: Path, searched: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    assert call("train", text, *settings_but_dropout(), "--out", plain, "--quiet").code == 0
    assert "was made without; leave it out" in told(call("train", "--resume", "--out", plain, "--budget", "5m"))
    assert "has ended, its budget was 60 min" in told(call("train", "--resume", "--out", searched, "--budget", "5m"))
    other = ("train", text, *settings_but_dropout(), "--set", "seed=7", "--resume", "--out", searched)
    assert "with the settings it was begun with" in told(call(*other))
    assert "such as 90s, 10m or 1.5h" in told(call("train", text, "--budget", "soon", "--out", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_several_workers_have_no_budget(
    text: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setitem(os.environ, "TF_CONFIG", json.dumps(cluster))
    assert "--budget searches in one process" in told(call("train", text, "--budget", "5m", "--out", tmp_path / "run"))
    assert "--budget searches in one process" in told(call("train", "--resume", "--out", searched))
