"""Settings of all tests, and the trained runs that they share: look, and copy before you touch."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import Result, call
from hypothesis import settings

from textrnn.errors import UserError
from textrnn.training.loop.run_lock import locked

# XLA optimises its programs little: to compile one takes longer than what most tests compute with it. Processes that
# tests start have it too. `XLA_FLAGS= make test` tests the programs as users get them, as one of the workflows does.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# No deadline: how long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@contextmanager
def xla(allowed: bool) -> Iterator[None]:
    """Train with XLA programs as users do, or with TensorFlow graphs alone.

    To compile XLA programs takes longer than a tiny training.
    """
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from textrnn.training.loop import compilation

    def graph(of: Any, autograph: bool, jit_compile: bool | None = None) -> Any:
        return tf.function(of, autograph=autograph)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation, "tf", tf if allowed else SimpleNamespace(function=graph, config=tf.config))
        yield


@pytest.fixture(scope="module")
def as_graphs() -> Iterator[None]:
    """Trainings of this module without XLA. The runs that all tests share, such as `trained`, still use it."""
    with xla(False):
        yield


@pytest.fixture
def by_xla() -> Iterator[None]:
    """Trainings of one test with XLA, in a module that does without."""
    with xla(True):
        yield


POEMS = ["春眠不觉晓，处处闻啼鸟。", "床前明月光，疑是地上霜。", "白日依山尽，黄河入海流。", "红豆生南国，春来发几枝。"]

# Small enough to compile and train in seconds, large enough to learn the spelling of a dozen words.
TINY = {
    "model.hidden_dim": 32,
    "model.ngram_rows": 1024,
    "model.dropout": 0.1,
    "train.batch_size": 8,
    "train.sequence_length": 16,
    "train.learning_rate": 0.01,
    "train.warmup_steps": 10,
    "train.evaluations": 3,
    "train.sample_length": 30,
}


class TrainedRun(NamedTuple):
    """A run that trained to its end: its folder, the text it was given, what the command printed."""

    folder: Path
    source: Path
    result: Result


def tiny_settings(**changes: object) -> list[str]:
    """Arguments of `textrnn train` for a tiny model; `model__layers=1` is ``--set model.layers=1``."""
    values = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


def write_small_text(path: Path, sentences: int = 250) -> Path:
    """Text of a few words in random order: easy to spell, impossible to know by heart."""
    choose = random.Random(0).choice
    animals, verbs, places = ["the cat", "a dog", "one bird"], ["sat", "slept", "sang"], ["mat", "hat", "map"]
    lines = [f"{choose(animals)} {choose(verbs)} on the {choose(places)}.\n" for _ in range(sentences)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


# By the CPU seconds that they take, from the longest on.
LONGEST = (
    "test_benchmarks.py",
    "test_search.py",
    "test_audio.py",
    "test_resume.py",
    "test_ordinary_classification.py",
    "test_learning_on.py",
    "test_python_training.py",
    "test_distribution.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would start the files with the most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: where two processes take files in turn, none is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without any compilation, which takes longer than a few steps of a training."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@contextmanager
def made_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """Give a folder that the processes of pytest-xdist share, and whether its content is still to be made."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    lock = folder.with_name(f"{name} is made")
    lock.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(lock))
                break
            except UserError:  # another process makes it
                time.sleep(0.1)
        folder.mkdir(exist_ok=True)
        done = folder / "made"
        yield folder, not done.exists()
        done.touch()


def trained_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, prepare: Callable[[Path], tuple[Path, Sequence[object], str]]
) -> TrainedRun:
    """Train a run once for all processes; `prepare` writes the source into a folder and gives the arguments."""
    with made_once(tmp_path_factory, name) as (folder, new):
        record = folder / "result.json"
        if new:
            source, arguments, run = prepare(folder)
            with xla(True):
                result = call("train", source, *arguments, "--out", folder / run)
            assert result.code == 0, result.err
            record.write_text(json.dumps([run, source.name, *result]), encoding="utf-8")
        run, source_name, *what = json.loads(record.read_text(encoding="utf-8"))
    return TrainedRun(folder / run, folder / source_name, Result(*what))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A character model of small English text, documents together, trained with its progress shown."""
    return trained_once(
        tmp_path_factory,
        "trained",
        lambda folder: (write_small_text(folder / "animals.txt"), tiny_settings(train__epochs=2), "run"),
    )


@pytest.fixture(scope="session")
def trained_poems(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A character model of Chinese couplets, one a line, documents apart, one layer."""

    def prepare(folder: Path) -> tuple[Path, Sequence[object], str]:
        source = folder / "诗.txt"
        source.write_text("".join(f"{poem}\n" for poem in POEMS * 40), encoding="utf-8")
        documents = {"data__separate_documents": "true", "data__document": "line"}
        return source, [*tiny_settings(model__layers=1, train__epochs=4, **documents), "--quiet"], "诗集"

    return trained_once(tmp_path_factory, "poems", prepare)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Public data sets, where this machine has them."""
    folder = os.environ.get("TEXTRNN_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TEXTRNN_DATA names no folder of data sets")
    return Path(folder)


# Of a classifier small enough to train in seconds.
TINY_CLASSIFIER = {
    "model.hidden_dim": 8,
    "model.embedding_dim": 6,
    "model.segment_length": 8,
    "model.dropout": 0.1,
    "model.embedding_dropout": 0.1,
    "data.held_out": 0.2,
    "data.max_length": 12,
    "train.batch_size": 16,
    "train.learning_rate": 0.05,
    "train.warmup_steps": 5,
    "train.epochs": 10,
    "train.evaluations": 5,
}


def classifier_settings(**changes: object) -> list[str]:
    """Arguments of `textrnn train` for a tiny classifier; changes as those of `tiny_settings`."""
    values = {"task": "classification"} | TINY_CLASSIFIER
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


def write_opinions(path: Path, count: int = 200, seed: int = 0) -> Path:
    """Records of a few words in English and Chinese, good or bad by one of them; every tenth has the wrong label."""
    random_ = random.Random(seed)
    filler = ["the", "film", "was", "and", "story", "电", "影", "的"]
    records = []
    for number in range(count):
        good = random_.random() < 0.4
        words = random_.choices(filler, k=random_.randint(1, 14))
        words.insert(random_.randint(0, len(words)), random_.choice(["good", "好"] if good else ["bad", "差"]))
        label = int(good) if number % 10 else int(not good)
        records.append(json.dumps({"text": " ".join(words), "label": label}, ensure_ascii=False) + "\n")
    path.write_text("".join(records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained_classifier(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A classifier of opinions, trained with its progress shown."""
    settings = ["--task", "sentiment", *classifier_settings(data__label_names='["0=negative", "1=positive"]')]
    return trained_once(
        tmp_path_factory,
        "trained_classifier",
        lambda folder: (write_opinions(folder / "opinions.jsonl"), settings, "run"),
    )


@pytest.fixture(scope="session")
def trained_classifier_int8(trained_classifier: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle in 8 bits."""
    with made_once(tmp_path_factory, "trained_classifier_int8") as (folder, new):
        if new:
            result = call("export", trained_classifier.folder, "--quantize", "int8", "--out", folder / "bundle")
            assert result.code == 0, result.err
    return folder / "bundle"


# Of models of vectors small enough to train in seconds.
TINY_VECTORS = {
    "model.hidden_dim": 8,
    "model.layers": 1,
    "data.held_out": 0.2,
    "train.batch_size": 16,
    "train.learning_rate": 0.02,
    "train.warmup_steps": 5,
    "train.epochs": 8,
    "train.evaluations": 3,
}


def vector_settings(**changes: object) -> list[str]:
    """Arguments of `textrnn train` for a tiny model of vectors; changes as those of `tiny_settings`."""
    values = {"data.reads": "vectors"} | TINY_VECTORS
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


def write_lines(path: Path, count: int = 200, seed: int = 0, values: bool = False) -> Path:
    """Noisy lines of 10 points as an ``.npz``, labelled by their direction, or by height and slope."""
    random_ = np.random.default_rng(seed)
    height, slope = 100 + 20 * random_.normal(size=count), random_.uniform(-3, 3, count)
    x = height[:, None] + slope[:, None] * np.arange(-4.5, 5) + random_.normal(size=(count, 10))
    np.savez(
        path, x=x.astype(np.float32), y=np.stack([height, slope], 1) if values else np.where(slope > 0, "up", "down")
    )
    return path


@pytest.fixture(scope="session")
def trained_on_vectors(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A classifier of lines, trained with its progress shown."""
    settings = ["--task", "classification", *vector_settings()]
    return trained_once(
        tmp_path_factory, "trained_on_vectors", lambda folder: (write_lines(folder / "lines.npz"), settings, "run")
    )


@pytest.fixture(scope="session")
def trained_regressor(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """It tells height and slope of lines; its first checkpoint lies beside the run, as ``first.npz``."""
    from textrnn.training.loop import trainer  # which loads TensorFlow

    save = trainer.save_checkpoint

    def keep_first(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        first = path.parents[1] / "first.npz"
        if path.name == "checkpoint.npz" and not first.exists():
            shutil.copyfile(path, first)

    settings = ["--task", "regression", *vector_settings(train__epochs=20)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "save_checkpoint", keep_first)
        return trained_once(
            tmp_path_factory,
            "trained_regressor",
            lambda folder: (write_lines(folder / "lines.npz", values=True), settings, "run"),
        )


def write_wave(path: Path, count: int = 400, period: int = 24, noise: float = 0.0) -> Path:
    """A sine wave around 100 as a .csv with a date in each line."""
    values = 100 + 10 * np.sin(2 * np.pi * np.arange(count) / period)
    values += noise * np.random.default_rng(0).normal(size=count)
    lines = [f'"day {number}",{value:.5f}' for number, value in enumerate(values)]
    path.write_text("\r\n".join(['"Date","Level"', *lines]), encoding="utf-8", newline="")
    return path


def forecast_settings(**changes: object) -> list[str]:
    """Arguments of `textrnn train` for a tiny forecaster; changes as those of `tiny_settings`."""
    values: dict[str, object] = {
        "model.hidden_dim": 8,
        "model.memory": 50,
        "model.horizon": 5,
        "model.mixing": "none",
        "data.season": 24,
        "train.learning_rate": 4e-3,
        "train.sequence_length": 40,
        "train.batch_size": 4,
        "train.epochs": 20,
        "train.evaluations": 3,
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def trained_forecaster(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """It goes on from a sine wave."""
    settings = ["--task", "forecast", *forecast_settings()]
    return trained_once(
        tmp_path_factory, "trained_forecaster", lambda folder: (write_wave(folder / "wave.csv"), settings, "run")
    )
