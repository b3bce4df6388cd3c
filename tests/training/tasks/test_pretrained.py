"""A classifier that starts from another model has its tokenizer, embedding and layers, and needs it no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from commands import call, files_of, told
from conftest import TrainedRun, classifier_settings, tiny_settings, write_opinions, write_small_text
from numpy.typing import NDArray

from textrnn.config import ARCHITECTURE
from textrnn.training.direct.model import DIRECT, DirectPath
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.network.layers import fold_input_scale
from textrnn.training.tasks.classification.trainer import ClassifierTrainer
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import prepare, trainer_of

pytestmark = pytest.mark.usefixtures("eagerly")

SETTINGS = {
    "task": "classification",
    "model.bidirectional": "true",
    "model.dropout": 0.3,
    "train.batch_size": 16,
    "train.epochs": 1,
    "train.evaluations": 1,
}


def settings_of(source: Path, init_from: Path, **changes: object) -> list[str]:
    """Settings that leave tokenizer and architecture to the model that is started from."""
    values = SETTINGS | {"data.source": json.dumps([str(source)]), "model.init_from": init_from}
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [f"{name}={value}" for name, value in values.items()]


def arguments_of(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def started(folder: Path, init_from: Path, **changes: object) -> ClassifierTrainer:
    """The trainer, before its first step, of a new run on opinions."""
    source = folder.with_name("opinions.jsonl")
    if not source.exists():
        write_opinions(source, 60)
    trainer = trainer_of(create_run(folder, load_config(None, settings_of(source, init_from, **changes)), quiet=True))
    assert isinstance(trainer, ClassifierTrainer)
    return trainer


def assert_same(arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], names: list[str]) -> None:
    for name in names:
        np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)
        assert np.ptp(expected[name]) > 0, name


def layers(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{name}_{i}" for i in range(count) for name in ("kernel", "recurrent_kernel", "bias")]


def states_of(trainer: ClassifierTrainer) -> NDArray[np.float32]:
    """What the layers say of a text of the language model."""
    ids = tf.constant(trainer.tokenizer.encode("the cat sat on the mat")[None], tf.int32)
    backbone = trainer.model.backbone
    vectors = backbone.embed(ids, places=backbone.ngrams_of_texts(ids))
    states: NDArray[np.float32] = backbone.bidirectional_states(vectors, tf.ones((ids.shape[1], 1, 1))).numpy()
    return states


# From a language model


def test_from_the_run_of_a_language_model(trained: TrainedRun, tmp_path: Path) -> None:
    trainer = started(tmp_path / "run", trained.folder)
    _, source = load_checkpoint(trained.folder / "best.npz")
    arrays = trainer.model.arrays()
    assert_same(arrays, source, ["embedding", "ngrams", *layers("", 2)])
    # A language model has read nothing from the end: those layers begin as the others.
    for name in layers("", 2):
        np.testing.assert_array_equal(arrays[f"backward_{name}"], source[name])
    assert arrays["output_kernel"].shape == (2 * 2 * 32 + 128, 2)
    assert np.abs(arrays["output_kernel"]).max() < 0.1  # the head is new

    config, theirs = open_run(tmp_path / "run").config, open_run(trained.folder).config
    assert trainer.tokenizer.fingerprint == prepare(open_run(trained.folder)).tokenizer.fingerprint
    assert config.tokenizer == theirs.tokenizer
    assert config.model == replace(
        trainer.run.config.model,
        **{name: getattr(theirs.model, name) for name in (*ARCHITECTURE, "input_ngrams", "ngram_rows")},
    )
    assert (config.model.hidden_dim, config.model.layers, config.model.activation) == (32, 2, "tanh")
    assert config.model.dropout == 0.3  # as is said here, whatever the language model had


def test_from_the_bundle_of_a_language_model_the_same_is_computed(trained: TrainedRun, tmp_path: Path) -> None:
    # The bundle holds the embedding already multiplied with the first kernel.
    by_run, by_bundle = started(tmp_path / "a", trained.folder), started(tmp_path / "b", trained.folder / "bundle")
    states = states_of(by_run)
    assert np.abs(states).max() > 0.1
    np.testing.assert_allclose(states_of(by_bundle), states, atol=1e-4)
    assert by_bundle.tokenizer.fingerprint == by_run.tokenizer.fingerprint
    names = [name for name in layers("", 2) if name not in ("kernel_0", "bias_0")]
    assert_same(by_bundle.model.arrays(), by_run.model.arrays(), names)


def test_one_direction_takes_one(trained: TrainedRun, tmp_path: Path) -> None:
    trainer = started(tmp_path / "run", trained.folder, model__bidirectional="false")
    _, source = load_checkpoint(trained.folder / "best.npz")
    arrays = trainer.model.arrays()
    assert_same(arrays, source, ["embedding", *layers("", 2)])
    assert not any("backward" in name for name in arrays)


# N-grams as inputs


@pytest.fixture(scope="module")
def without_ngrams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, as it stands before its first step, of a language model that reads characters alone."""
    folder = tmp_path_factory.mktemp("without_ngrams")
    source = write_small_text(folder / "animals.txt", 60)
    settings = tiny_settings(model__input_ngrams=0, model__ngram_rows=32_768, data__source=json.dumps([str(source)]))
    trainer = trainer_of(create_run(folder / "run", load_config(None, settings[1::2]), quiet=True))
    trainer._keep_best(3.0)
    return folder / "run"


@pytest.mark.parametrize("place", ["", "bundle"])
@pytest.mark.parametrize("order", [0, 2])
def test_both_have_ngrams_and_the_rows_are_taken(trained: TrainedRun, tmp_path: Path, place: str, order: int) -> None:
    changes = {"model__input_ngrams": order} if order else {}
    trainer = started(tmp_path / "run", trained.folder / place, **changes)
    assert (trainer.model.config.input_ngrams, trainer.model.config.ngram_rows) == (order or 4, 1024)
    _, source = load_checkpoint(trained.folder / "best.npz")
    expected = source["ngrams"] @ source["kernel_0"] if place else source["ngrams"]
    np.testing.assert_allclose(trainer.model.arrays()["ngrams"], expected, atol=1e-5)
    config = open_run(tmp_path / "run").config  # and a resumed run is the same
    assert trainer_of(open_run(tmp_path / "run", config)).model.config == trainer.model.config


def test_ngrams_that_the_other_model_lacks_start_at_zero(without_ngrams: Path, tmp_path: Path) -> None:
    assert started(tmp_path / "tokens", without_ngrams).model.config.input_ngrams == 0
    trainer = started(tmp_path / "run", without_ngrams, model__input_ngrams=3, model__ngram_rows=50)
    np.testing.assert_array_equal(trainer.model.arrays()["ngrams"], np.zeros((50, 32)))
    _, source = load_checkpoint(without_ngrams / "best.npz")
    np.testing.assert_array_equal(trainer.model.arrays()["embedding"], source["embedding"])


def test_1_leaves_out_the_ngrams_of_the_other_model(trained: TrainedRun, tmp_path: Path) -> None:
    assert "ngrams" not in started(tmp_path / "run", trained.folder, model__input_ngrams=1).model.arrays()


def test_another_number_of_rows_is_refused(trained: TrainedRun, tmp_path: Path) -> None:
    message = refused(tmp_path, trained.folder, "model.input_ngrams=2", "model.ngram_rows=99")
    assert f"model.ngram_rows must be that of the model {trained.folder}, 1024, was: 99; leave it out" in message


# From a classifier


@pytest.mark.parametrize("place", ["", "bundle"])
def test_from_a_classifier_with_ngrams(tmp_path: Path, place: str) -> None:
    source = write_opinions(tmp_path / "opinions.jsonl", 60)
    settings = classifier_settings(data__source=json.dumps([str(source)]), model__input_ngrams=3, train__epochs=3)
    first = trainer_of(create_run(tmp_path / "first", load_config(None, settings[1::2]), quiet=True))
    first.fit()
    first.finish()
    trainer = started(tmp_path / "run", tmp_path / "first" / place)
    assert (trainer.model.config.input_ngrams, trainer.model.config.ngram_rows) == (3, 1024)
    assert_same(trainer.model.arrays(), load_checkpoint(tmp_path / "first" / "best.npz")[1], ["ngrams", "embedding"])


@pytest.mark.parametrize("place", ["", "bundle"])
def test_from_a_classifier(trained_classifier: TrainedRun, tmp_path: Path, place: str) -> None:
    lines = [json.dumps({"text": f"a {word} film", "label": word}) for word in ("good", "bad", "so") * 10]
    (tmp_path / "opinions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    trainer = started(tmp_path / "run", trained_classifier.folder / place)
    _, source = load_checkpoint(trained_classifier.folder / "best.npz")
    arrays = trainer.model.arrays()
    if place == "bundle":  # which holds U as it multiplies
        config = open_run(trained_classifier.folder).config.model
        source = fold_input_scale(config, source)
    known, now = len(source["embedding"]), arrays["embedding"]
    assert_same(arrays | {"embedding": now[:known]}, source, ["embedding", *layers("", 1), *layers("backward_", 1)])
    assert (arrays["backward_kernel_0"] != arrays["kernel_0"]).any()
    assert arrays["output_kernel"].shape == (2 * 2 * 8 + 6, 3)
    theirs = open_run(trained_classifier.folder)
    # The words of the model keep their ids, and new ones come after them.
    tokenizer, before = trainer.tokenizer, prepare(theirs).tokenizer
    words = [tokenizer.token_text(id) for id in range(tokenizer.vocabulary_size)]
    assert words[: before.vocabulary_size] == [before.token_text(id) for id in range(before.vocabulary_size)]
    assert "so" in words[before.vocabulary_size :]
    assert len(now) == len(words)
    assert trainer.run.config.tokenizer == theirs.config.tokenizer


# Whole way, and without the source


def test_a_run_goes_on_when_its_source_is_gone(trained: TrainedRun, tmp_path: Path) -> None:
    write_opinions(tmp_path / "opinions.jsonl", 60)
    settings = settings_of(tmp_path / "opinions.jsonl", tmp_path / "source", data__max_length=16)
    shutil.copytree(trained.folder, tmp_path / "source")
    create_run(tmp_path / "run", load_config(None, settings))
    shutil.rmtree(tmp_path / "source")
    again = ["train", *arguments_of(settings), "--resume", "--out", tmp_path / "run", "--quiet"]
    other = settings_of(tmp_path / "opinions.jsonl", tmp_path / "elsewhere", data__max_length=16)
    assert f"{tmp_path / 'run'} differs in " in told(call("train", *arguments_of(other), *again[-4:]))
    assert call(*again) == (0, f"{tmp_path / 'run' / 'bundle'}\n", "")

    _, source = load_checkpoint(trained.folder / "best.npz")
    _, ended = load_checkpoint(tmp_path / "run" / "best.npz")
    for name in ("recurrent_kernel_0", "recurrent_kernel_1"):  # three steps lead away from it, not far
        assert 0 < np.abs(ended[name] - source[name]).max() < 0.05
    assert call("classify", tmp_path / "run", "the cat").code == 0
    assert call("export", tmp_path / "run", "--out", tmp_path / "again").code == 0


def test_a_run_that_lost_what_it_starts_from_does_not_start_from_chance(trained: TrainedRun, tmp_path: Path) -> None:
    write_opinions(tmp_path / "opinions.jsonl", 60)
    create_run(tmp_path / "run", load_config(None, settings_of(tmp_path / "opinions.jsonl", trained.folder)))
    (tmp_path / "run" / "init.npz").unlink()
    message = told(call("train", "--resume", "--out", tmp_path / "run", "--quiet"))
    assert f"found none: {tmp_path / 'run' / 'init.npz'}" in message


# What cannot be started from


@pytest.mark.parametrize("place", ["", "bundle"])
def test_the_direct_path_is_one_more_start(trained_classifier: TrainedRun, place: str, tmp_path: Path) -> None:
    names = '["0=negative","1=positive"]'
    started(tmp_path / "run", trained_classifier.folder / place, data__label_names=names)
    _, arrays = load_checkpoint(tmp_path / "run" / "init.npz")
    taken, theirs = DirectPath.restored(arrays), DirectPath.load(trained_classifier.folder / DIRECT)
    assert theirs
    assert taken.labels == theirs.labels == ("negative", "positive")
    texts = [np.arange(4, 30), np.array([7, 5, 9])]
    expected, found = theirs.logits(texts), taken.logits(texts)
    # A bundle holds the weights at the scale that suits its network.
    scale = found[0, 0] / expected[0, 0]
    assert place or scale == 1
    np.testing.assert_allclose(found, scale * expected, rtol=1e-4)
    started(tmp_path / "without", trained_classifier.folder / place, model__direct_ngrams=0)
    assert "direct_weights" not in load_checkpoint(tmp_path / "without" / "init.npz")[1]


def refused(tmp_path: Path, init_from: Path, *changes: str) -> str:
    """What is told of such a start, which leaves nothing behind."""
    write_opinions(tmp_path / "opinions.jsonl", 60)
    before = files_of(tmp_path)
    settings = [*settings_of(tmp_path / "opinions.jsonl", init_from), *changes]
    result = call("train", *arguments_of(settings), "--out", tmp_path / "run", "--quiet")
    assert files_of(tmp_path) == before
    return told(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tokenizer.kind=sentencepiece", "tokenizer.kind must be that of the model {}, 'char', was: 'sentencepiece'"),
        ("tokenizer.vocabulary_size=99", "tokenizer.vocabulary_size must be that of the model {}, 0, was: 99"),
        ("model.hidden_dim=16", "model.hidden_dim must be that of the model {}, 32, was: 16; leave it out"),
        ("model.layers=3", "model.layers must be that of the model {}, 2, was: 3"),
        ("model.activation=linear", "model.activation must be that of the model {}, 'tanh', was: 'linear'"),
        ("model.normalization=layer", "model.normalization must be that of the model {}, 'none', was: 'layer'"),
    ],
)
def test_another_tokenizer_or_architecture_is_refused(
    trained: TrainedRun, tmp_path: Path, change: str, message: str
) -> None:
    assert message.format(trained.folder) in refused(tmp_path, trained.folder, change)


def test_what_is_stated_may_be_what_the_model_has(trained: TrainedRun, tmp_path: Path) -> None:
    stated = {"tokenizer__kind": "char", "model__hidden_dim": 32, "model__layers": 2, "model__activation": "tanh"}
    assert started(tmp_path / "run", trained.folder, **stated).model.config.hidden_dim == 32


def test_a_bundle_in_8_bits_is_refused(trained_classifier_int8: Path, tmp_path: Path) -> None:
    message = refused(tmp_path, trained_classifier_int8)
    assert f"model.init_from must be a model in float32, {trained_classifier_int8} is in int8" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a model must be a bundle or a run folder, nothing was found at: {}"),
        ({}, "a model must be a folder with manifest.json or bundle/manifest.json in it, {} has: nothing"),
        ({"config.json": b"{}"}, "{} has: config.json; if it is a training run, let it end"),
        ({"config.json": b"{}", "best.npz": b"PK"}, "a checkpoint must be whole, {}/best.npz is damaged"),
    ],
    ids=["nothing", "an empty folder", "a run that is not trained", "damaged weights"],
)
def test_a_folder_without_a_model_is_told(tmp_path: Path, content: dict[str, bytes] | None, message: str) -> None:
    folder = tmp_path / "source"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    assert message.format(folder) in refused(tmp_path, folder)


# Other forms of U


@pytest.fixture(scope="module", params=["diagonal", "rotation"])
def elementwise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, as it stands before its first step, of a language model whose U is no matrix, and its bundle."""
    folder = tmp_path_factory.mktemp(request.param)
    source = write_small_text(folder / "animals.txt", 60)
    settings = tiny_settings(
        model__recurrence=request.param,
        model__mixing="glu",
        model__activation="linear",
        model__memory=30,
        data__source=json.dumps([str(source)]),
    )
    trainer = trainer_of(create_run(folder / "run", load_config(None, settings[1::2]), quiet=True))
    trainer._keep_best(3.0)
    trainer.finish()
    return folder / "run"


def test_from_a_run_whose_u_is_no_matrix(elementwise: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path / "run", elementwise)
    config, theirs = trainer.run.config.model, open_run(elementwise).config.model
    assert {name: getattr(config, name) for name in ARCHITECTURE} == {
        name: getattr(theirs, name) for name in ARCHITECTURE
    }
    _, source = load_checkpoint(elementwise / "best.npz")
    arrays = trainer.model.arrays()
    own = ["kernel", "decay", "mixing_kernel"] + (["angle"] if theirs.recurrence == "rotation" else [])
    names = [f"{name}_{index}" for index in range(2) for name in own]
    assert_same(arrays, source, ["embedding", *names])
    for name in names:
        np.testing.assert_array_equal(arrays[f"backward_{name}"], source[name])
    for _ in range(2):  # and it can be trained, once the learning rate has left zero
        trainer.train_one()
    assert np.abs(trainer.model.arrays()["decay_0"] - source["decay_0"]).max() > 0


def test_from_the_bundle_of_such_a_model_the_same_is_computed(elementwise: Path, tmp_path: Path) -> None:
    by_run, by_bundle = started(tmp_path / "a", elementwise), started(tmp_path / "b", elementwise / "bundle")
    states = states_of(by_run)
    assert np.abs(states).max() > 0.1
    np.testing.assert_allclose(states_of(by_bundle), states, atol=1e-4)
