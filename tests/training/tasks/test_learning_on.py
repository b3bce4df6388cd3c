"""A model learns on from new data: it keeps what it knows, new characters, words and classes are added."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import Result, call, files_of, told
from conftest import (
    TrainedRun,
    classifier_settings,
    forecast_settings,
    tiny_settings,
    vector_settings,
    write_lines,
    write_opinions,
    write_small_text,
)

import textrnn
from textrnn.tokenizers import load_tokenizer
from textrnn.training.direct.model import DirectPath
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.tasks.runs import open_run
from textrnn.training.tasks.table import trainer_of

pytestmark = pytest.mark.usefixtures("as_graphs")

NEW_SETTINGS = ("--set", "train.batch_size=8", "--set", "train.sequence_length=16", "--set", "train.warmup_steps=5")
NEW_SETTINGS += ("--set", "train.sample_length=0", "--set", "train.evaluations=2")


def write_new_text(path: Path, sentences: int = 200) -> Path:
    """Text of other words than `write_small_text` has, with characters that it lacks."""
    choose = random.Random(1).choice
    lines = [f"Ein Käfer {choose(['zählt', 'prüft'])} {choose('1234')} Blätter.\n" for _ in range(sentences)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def history(run: Path) -> list[dict[str, Any]]:
    """Return the measurements on held-out data; the first is of the model that the run starts from."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "held_out_loss" in line]


def learned(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was measured before the training and with the weights of the bundle."""
    lines = history(run)
    assert lines[0]["step"] == 0
    return lines[0], min(lines, key=lambda line: float(line["held_out_loss"]))


def start_of(run: Path) -> dict[str, Any]:
    """Return the weights that a finished run began with, by name."""
    for name in ("checkpoint.npz", "best.npz"):
        (run / name).unlink()
    return trainer_of(open_run(run, quiet=True)).model.arrays()


# Language models


class LearnedOn(NamedTuple):
    """A run that learned new text: its folder, its command without ``--out``, and what that printed."""

    folder: Path
    command: list[object]
    result: Result


@pytest.fixture(scope="module")
def learned_on(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> LearnedOn:
    """Start from a copy of the run `trained`, which is gone afterwards."""
    folder = tmp_path_factory.mktemp("learned_on")
    shutil.copytree(trained.folder, folder / "model")
    source = write_new_text(folder / "new.txt")
    command = ["train", source, "--from", folder / "model", *NEW_SETTINGS, "--set", "train.epochs=6"]
    result = call(*command, "--out", folder / "run")
    assert result.code == 0, result.err
    shutil.rmtree(folder / "model")
    return LearnedOn(folder / "run", command, result)


@pytest.mark.parametrize("place", ["", "bundle"])
def test_a_character_model_learns_new_text_with_new_characters(
    trained: TrainedRun, learned_on: LearnedOn, tmp_path: Path, place: str
) -> None:
    run, result = tmp_path / "run", learned_on.result
    if place:
        source, epochs = write_new_text(tmp_path / "new.txt"), ("--set", "train.epochs=3")
        result = call("train", source, "--from", trained.folder / place, *NEW_SETTINGS, *epochs, "--out", run)
    else:
        shutil.copytree(learned_on.folder, run)
    assert result.code == 0, result.err
    before, after = learned(run)
    assert after["held_out_loss"] < 0.8 * before["held_out_loss"]
    assert f"new data {before['held_out_loss']:.4f} before, {after['held_out_loss']:.4f} after" in result.err

    old, new = (load_tokenizer(folder, "char") for folder in (trained.folder, run))
    ids = old.encode("the cat sat on the mat.\n")
    assert new.decode(ids) == "the cat sat on the mat.\n"
    np.testing.assert_array_equal(new.encode("the cat sat on the mat.\n"), ids)
    assert len(old.encode("ä")) == 4  # as two bytes
    assert len(new.encode("ä")) == 1
    assert any(letter in textrnn.load(run).generate("Ein K", length=300, seed=1) for letter in "äü")

    _, known = load_checkpoint(trained.folder / "best.npz")
    arrays, size = start_of(run), old.vocabulary_size
    np.testing.assert_array_equal(arrays["output_kernel"][:, :size], known["output_kernel"])
    np.testing.assert_array_equal(arrays["output_bias"][:size], known["output_bias"])
    if not place:
        for name in known.keys() - {"output_kernel", "output_bias"}:
            np.testing.assert_array_equal(arrays[name][: len(known[name])], known[name])


KINDS = {
    "words": {"tokenizer.kind": "word"},
    "tied and narrow": {"tokenizer.kind": "word", "model.tied": "true", "model.embedding_dim": 16},
    "adaptive": {
        "tokenizer.kind": "word",
        "model.softmax": "adaptive",
        "model.cutoffs": "[9]",
        "tokenizer.split": "punctuation",
    },
    "adaptive and tied": {
        "tokenizer.kind": "word",
        "model.softmax": "adaptive",
        "model.cutoffs": "[9]",
        "model.tied": "true",
    },
    "sentencepiece": {"tokenizer.kind": "sentencepiece", "tokenizer.vocabulary_size": 280},
    "tied characters": {"model.tied": "true"},
}


class OfKind(NamedTuple):
    """A finished run, its kind of tokenizer, and whether its softmax is adaptive."""

    folder: Path
    tokenizer: str
    adaptive: bool


@pytest.fixture(scope="module", params=KINDS)
def of_kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OfKind:
    folder, settings = tmp_path_factory.mktemp("of_kind"), KINDS[request.param]
    arguments = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    tiny = tiny_settings(train__epochs=1, model__layers=1, train__evaluations=1, train__sample_length=0)
    if "tokenizer.kind" in settings:  # n-grams are inputs of character models alone
        tiny = [word for word in tiny if "ngram" not in word]
        tiny = [word for word, other in zip(tiny, [*tiny[1:], ""], strict=True) if (word, other) != ("--set", "--set")]
    text = write_small_text(folder / "old.txt", 120)
    assert call("train", text, *tiny, *arguments, "--out", folder / "run", "--quiet").code == 0
    return OfKind(folder / "run", str(settings.get("tokenizer.kind", "char")), "adaptive" in settings.values())


@pytest.mark.parametrize("place", ["", "bundle"])
def test_every_kind_of_language_model_learns_on(of_kind: OfKind, place: str, tmp_path: Path) -> None:
    run, kind = tmp_path / "run", of_kind.tokenizer
    source = write_new_text(tmp_path / "new.txt")
    command = [
        "train",
        source,
        "--from",
        of_kind.folder / place,
        *NEW_SETTINGS,
        "--set",
        "train.epochs=3",
        "--out",
        run,
        "--quiet",
    ]
    if place and of_kind.adaptive:
        assert "a bundle to start from must have a full softmax" in told(call(*command))
        return
    assert call(*command).err == ""
    before, after = learned(run)
    assert after["held_out_loss"] < 0.97 * before["held_out_loss"]
    mine, theirs = load_tokenizer(run, kind), load_tokenizer(of_kind.folder, kind)
    size = theirs.vocabulary_size
    assert [mine.token_text(id) for id in range(size)] == [theirs.token_text(id) for id in range(size)]
    grows = kind != "sentencepiece"  # whose pieces stay; other characters are spelled as bytes
    assert (mine.vocabulary_size > size) == grows
    assert "Käfer" in mine.decode(mine.encode("Ein Käfer"))


def test_a_mixed_in_text_is_half_of_the_batches_and_is_forgotten_less(
    trained: TrainedRun, learned_on: LearnedOn, tmp_path: Path
) -> None:
    (_, source, option, _, *settings), run = learned_on.command, tmp_path / "run"
    result = call("train", source, option, trained.folder, *settings, "--mix", trained.source, "--out", run)
    assert result.code == 0, result.err
    before, after = learned(run)
    assert after["held_out_loss"] < 0.8 * before["held_out_loss"]
    words = f"mixed-in data {before['mixed_loss']:.4f} before, {after['mixed_loss']:.4f} after"
    assert words in result.err

    def of_old_text(run: Path) -> float:
        return textrnn.load(run).score(trained.source.read_text(encoding="utf-8")).bits_per_character

    assert of_old_text(run) < of_old_text(learned_on.folder) - 0.1


def test_a_run_that_learns_on_resumes_with_its_command_when_the_model_is_gone(
    learned_on: LearnedOn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(learned_on.folder, run)
    _, whole = load_checkpoint(run / "best.npz")
    for name in ("checkpoint.npz", "best.npz"):
        (run / name).unlink()
    command = [*learned_on.command, "--out", run, "--resume", "--quiet"]
    assert call(*command).err == ""
    _, again = load_checkpoint(run / "best.npz")
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
    message = told(call(*command, "--set", "train.learning_rate=0.5"))
    assert "differs in train.learning_rate" in message


# Classifiers


def write_films(path: Path, words: dict[str, list[str]], count: int = 120, seed: int = 1) -> Path:
    """Texts that one word tells apart."""
    random_ = random.Random(seed)
    lines = []
    for number in range(count):
        label = list(words)[number % len(words)]
        text = " ".join(["the", "film", "was", random_.choice(words[label]), random_.choice(["story", "indeed"])])
        lines.append(json.dumps({"text": text, "label": label}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


CLASSIFIER = classifier_settings()[2:]  # without the task
OF_TRAINING = [word for word in CLASSIFIER if word.startswith(("train.", "data."))]
OF_TRAINING = [word for setting in OF_TRAINING for word in ("--set", setting)]


@pytest.mark.parametrize("place", ["", "bundle"])
def test_a_classifier_gets_a_new_class_and_new_words(
    trained_classifier: TrainedRun, tmp_path: Path, place: str
) -> None:
    words = {"negative": ["bad"], "positive": ["good"], "mixed": ["uneven", "halfway"]}
    source, run = write_films(tmp_path / "films.jsonl", words), tmp_path / "run"
    old = trained_classifier.folder / place
    result = call("train", source, "--from", old, *OF_TRAINING, "--mix", trained_classifier.source, "--out", run)
    assert result.code == 0, result.err
    assert "mixed-in data" in result.err
    model = textrnn.load(run)
    assert model.labels == ("negative", "positive", "mixed")
    found = model.classify(["the film was uneven", "the film was good", "the film was bad"])
    assert [each.label for each in found] == ["mixed", "positive", "negative"]

    _, known = load_checkpoint(trained_classifier.folder / "best.npz")
    arrays = start_of(run)
    if not place:
        np.testing.assert_array_equal(arrays["output_kernel"][:, :2], known["output_kernel"])
        np.testing.assert_array_equal(arrays["output_bias"][:2], known["output_bias"])
    np.testing.assert_array_equal(arrays["embedding"][: len(known["embedding"])], known["embedding"])
    np.testing.assert_array_equal(arrays["embedding"][-1], known["embedding"][1])  # read as the unknown word so far


def test_other_classes_alone_replace_those_of_the_model_and_a_line_says_so(
    trained_classifier: TrainedRun, tmp_path: Path
) -> None:
    source = write_films(tmp_path / "films.jsonl", {"long": ["endless"], "Long ": ["eternal"], "short": ["brief"]})
    command = ["train", source, "--from", trained_classifier.folder, *OF_TRAINING, "--set", "train.epochs=1"]
    result = call(*command, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert "no class of the model, 'negative, positive', is in the data, so they are not kept; --mix" in result.err
    assert textrnn.load(tmp_path / "run").labels == ("Long", "long", "short")
    assert "the classes 'Long' and 'long' differ in spelling alone" in result.err
    kept = call(*command, "--mix", trained_classifier.source, "--out", tmp_path / "kept")
    assert kept.code == 0, kept.err
    assert textrnn.load(tmp_path / "kept").labels == ("negative", "positive", "Long", "long", "short")


def test_a_model_of_several_labels_gets_another(tmp_path: Path) -> None:
    words = {"a|b": ["one two"], "a": ["one"], "b": ["two"]}
    old = write_films(tmp_path / "old.jsonl", words)
    settings = classifier_settings(task="multilabel")
    assert call("train", old, *settings, "--out", tmp_path / "old", "--quiet").code == 0
    source = write_films(tmp_path / "new.jsonl", {**words, "c|a": ["one three"], "c": ["three"]})
    command = ["train", source, "--from", tmp_path / "old", *OF_TRAINING, "--out", tmp_path / "run", "--quiet"]
    assert call(*command).err == ""
    before, after = learned(tmp_path / "run")
    assert after["held_out_loss"] < before["held_out_loss"]
    model = textrnn.load(tmp_path / "run")
    assert model.labels == ("a", "b", "c")
    assert [each.labels for each in model.classify(["the film was three story"])] == [("c",)]


def test_the_direct_path_keeps_its_logits_when_classes_are_added(trained_classifier: TrainedRun) -> None:
    path = DirectPath.load(trained_classifier.folder / "direct.npz")
    assert path is not None
    texts = [np.array([7, 5, 9]), np.arange(4, 20)]
    grown = path.with_labels((*path.labels, "mixed")).logits(texts)
    scores = path.logits(texts)  # half of the score of the second class, and minus that
    np.testing.assert_allclose(grown, np.concatenate([2 * scores, np.zeros((2, 1))], axis=1), rtol=1e-5)


# Vectors


@pytest.mark.parametrize("place", ["", "bundle"])
def test_a_classifier_of_vectors_gets_a_new_class(trained_on_vectors: TrainedRun, tmp_path: Path, place: str) -> None:
    write_lines(tmp_path / "new.npz", seed=1)
    data = np.load(tmp_path / "new.npz")
    level = data["x"][:80].mean(axis=1, keepdims=True) + np.random.default_rng(0).normal(size=(80, 10)) / 3
    x, y = np.concatenate([data["x"], level.astype(np.float32)]), np.concatenate([data["y"], ["level"] * 80])
    np.savez(tmp_path / "new.npz", x=x, y=y)
    old, settings = trained_on_vectors.folder / place, [*vector_settings()[6:], "--set", "train.epochs=30"]
    assert call("train", tmp_path / "new.npz", "--from", old, *settings, "--out", tmp_path / "run", "--quiet").err == ""
    before, after = learned(tmp_path / "run")
    assert after["held_out_loss"] < before["held_out_loss"]
    model = textrnn.load(tmp_path / "run")
    assert model.labels == ("down", "up", "level")
    assert "level" in {each.label for each in model.classify(list(level[:20].astype(np.float32)[:, :, None]))}


@pytest.mark.parametrize("place", ["", "bundle"])
@pytest.mark.parametrize("task", ["classification", "regression", "forecast"])
def test_before_the_training_a_model_of_vectors_computes_what_it_did(
    trained_on_vectors: TrainedRun,
    trained_regressor: TrainedRun,
    trained_forecaster: TrainedRun,
    tmp_path: Path,
    task: str,
    place: str,
) -> None:
    old = {"classification": trained_on_vectors, "regression": trained_regressor, "forecast": trained_forecaster}[task]
    if task == "forecast":
        source, settings = old.source, forecast_settings()[10:]
    else:
        source = write_lines(tmp_path / "new.npz", 60, seed=3, values=task == "regression")
        settings = vector_settings()[6:]
    run = tmp_path / "run"
    settings += ["--set", "train.epochs=0.1", "--set", "train.evaluations=1"]  # a step: looked at is what is before it
    result = call("train", source, "--from", old.folder / place, *settings, "--out", run, "--quiet")
    assert (result.code, result.err) == (0, "")
    figure = {"classification": "held_out_accuracy", "regression": "mean_squared_error", "forecast": "horizon_rmse"}
    before = learned(run)[0][figure[task]]
    # The run goes on from the very function of the model: on the held-out records of the new data it is as good.
    held_out = json.loads((old.folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))["metrics"]["held_out"]
    if task == "forecast":  # the same data, so the same figure
        assert before == pytest.approx(held_out["horizon_rmse"], rel=1e-3)
        return
    records = np.load(next((run / "data").glob("*.held_out.npz")))["records"]
    data = np.load(source)
    model = textrnn.load(old.folder)
    sequences = [data["x"][record][:, None] for record in records]
    if task == "regression":
        errors = np.stack(model.predict(sequences)) - data["y"][records]
        assert before == pytest.approx(float(np.square(errors).mean()), rel=1e-3)
    else:
        right = [each.label == label for each, label in zip(model.classify(sequences), data["y"][records], strict=True)]
        assert before == pytest.approx(np.mean(right))


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--set", "model.hidden_dim=16"), "model.hidden_dim must be that of the model {}, 32, was: 16; leave it out"),
        (("--set", "model.input_ngrams=3"), "model.input_ngrams must be that of the model {}, 4, was: 3"),
        (("--set", "tokenizer.kind=word"), "tokenizer.kind must be that of the model {}, 'char', was: 'word'"),
        (("--set", "data.separate_documents=true"), "data.separate_documents must be that of the model {}, False"),
        (("--task", "regression"), "model.init_from must read vectors, {} reads text; give another model"),
    ],
)
def test_what_contradicts_the_model_is_refused(
    trained: TrainedRun, tmp_path: Path, changes: tuple[str, ...], message: str
) -> None:
    before = files_of(tmp_path)
    result = call("train", trained.source, "--from", trained.folder, *changes, "--out", tmp_path / "run", "--quiet")
    assert message.format(trained.folder) in told(result)
    assert files_of(tmp_path) == before


def test_models_that_cannot_learn_on_are_refused(
    trained: TrainedRun, trained_classifier: TrainedRun, trained_classifier_int8: Path, tmp_path: Path
) -> None:
    films = write_opinions(tmp_path / "films.jsonl", 60)
    message = told(call("train", films, "--from", trained_classifier_int8, "--out", tmp_path / "run"))
    assert message.endswith("is in int8; give the run, or export it again")
    assert "nothing was found at" in told(call("train", films, "--from", tmp_path / "no", "--out", tmp_path / "run"))
    message = told(call("train", films, "--mix", films, "--out", tmp_path / "run"))
    assert "data.mix is for a run that starts from a model" in message
    shutil.copytree(trained.folder, tmp_path / "unfinished", ignore=shutil.ignore_patterns("bundle"))
    message = told(call("train", trained.source, "--from", tmp_path / "unfinished", "--out", tmp_path / "run"))
    assert "if it is a training run, let it end" in message
    assert not (tmp_path / "run").exists()


# More epochs of a finished run


def test_a_finished_run_goes_on_for_more_epochs(trained: TrainedRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    manifest = (run / "bundle" / "manifest.json").read_bytes()
    steps = load_checkpoint(run / "checkpoint.npz")[0].step
    assert "may only grow" in told(call("train", "--resume", "--out", run, "--set", "train.epochs=1"))
    result = call("train", "--resume", "--out", run, "--set", "train.epochs=4", "--quiet")
    assert (result.code, result.err) == (0, "")
    progress, _ = load_checkpoint(run / "checkpoint.npz")
    assert (progress.step, progress.finished) == (2 * steps, True)
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines}
    assert rates[steps] < 1e-6  # it had decayed
    assert max(rate for step, rate in rates.items() if step > steps) > 0.009  # it warms up again
    assert rates[2 * steps] < 1e-6
    assert min(line["held_out_loss"] for line in history(run)[3:]) < history(run)[2]["held_out_loss"]
    assert (run / "bundle" / "manifest.json").read_bytes() != manifest
    assert json.loads((run / "bundle" / "manifest.json").read_bytes())["config"]["train"]["epochs"] == 4
    assert not list(run.glob(".*"))
    again = call("train", "--resume", "--out", run, "--set", "train.epochs=4", "--quiet")
    assert (again.code, again.err) == (0, "")
    assert load_checkpoint(run / "checkpoint.npz")[0].step == 2 * steps


class Killed(BaseException):
    """A kill that no code expects."""


def test_a_run_that_goes_on_resumes_to_the_same_bits_and_keeps_its_bundle_meanwhile(
    trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textrnn.training.loop import trainer
    from textrnn.training.tasks.language_model.trainer import LanguageModelTrainer

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for run in (whole, cut):
        shutil.copytree(trained.folder, run)
    assert call("train", "--resume", "--out", whole, "--set", "train.epochs=3", "--quiet").code == 0
    manifest = (cut / "bundle" / "manifest.json").read_bytes()
    save, finish = trainer.save_checkpoint, LanguageModelTrainer.finish

    def save_and_die(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        if path.name == "checkpoint.npz":
            raise Killed

    def die(self: LanguageModelTrainer) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_checkpoint", save_and_die)
        for more in (("--set", "train.epochs=3"), ()):
            with pytest.raises(Killed):
                call("train", "--resume", "--out", cut, *more, "--quiet")
    assert "until it has ended" in told(call("train", "--resume", "--out", cut, "--set", "train.epochs=9"))
    with monkeypatch.context() as patch:  # after the last step, before the new bundle
        patch.setattr(LanguageModelTrainer, "finish", die)
        with pytest.raises(Killed):
            call("train", "--resume", "--out", cut, "--quiet")
    assert (cut / "bundle" / "manifest.json").read_bytes() == manifest
    assert call("train", "--resume", "--out", cut, "--quiet").code == 0
    assert finish is LanguageModelTrainer.finish
    for name in ("checkpoint.npz", "best.npz"):
        (_, expected), (_, found) = (load_checkpoint(run / name) for run in (whole, cut))
        assert expected.keys() == found.keys()
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    bundles = [files_of(run / "bundle") for run in (whole, cut)]
    assert bundles[0] == bundles[1]


def test_a_run_that_has_not_ended_keeps_its_epochs(trained: TrainedRun, tmp_path: Path) -> None:
    from textrnn.training.tasks.configuration import read_config
    from textrnn.training.tasks.runs import create_run

    config = read_config(trained.folder)
    create_run(tmp_path / "run", config)
    message = told(call("train", "--resume", "--out", tmp_path / "run", "--set", "train.epochs=9"))
    assert "until it has ended" in message
    assert "end it first: textrnn train --resume --out" in message


def test_a_finished_forecaster_goes_on_too(trained_forecaster: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(trained_forecaster.folder, tmp_path / "run")
    before = load_checkpoint(tmp_path / "run" / "checkpoint.npz")[0].step
    result = call("train", "--resume", "--out", tmp_path / "run", "--set", "train.epochs=30", "--quiet")
    assert (result.code, result.err) == (0, "")
    assert load_checkpoint(tmp_path / "run" / "checkpoint.npz")[0].step == 1.5 * before
