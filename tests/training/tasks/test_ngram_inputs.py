"""Text classifiers with n-grams as inputs: trained, stopped and resumed, exported, explained, on several devices."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from conftest import classifier_settings, write_opinions

import textrnn
from textrnn.errors import Stopped
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import trainer_of

pytestmark = pytest.mark.usefixtures("as_graphs")

ROOT = Path(__file__).resolve().parents[3]
MIRRORED = Path(__file__).parents[1] / "distributed" / "train_mirrored.py"
NGRAMS = {"model__input_ngrams": 3, "model__ngram_dropout": 0.2, "model__direct_ngrams": 0}
SMALL = {**NGRAMS, "model__layers": 1, "data__max_length": 8, "train__epochs": 2}  # all texts are padded to one length


def write_orders(path: Path, count: int = 240) -> Path:
    """Records of three kinds of words in random order, positive exactly if an "a" is followed by a "b"."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abc", k=draw.randint(2, 7))) for _ in range(count)]
    path.write_text("".join(json.dumps({"text": t, "label": f"{'a b' in t}"}) + "\n" for t in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on orders of words whose recurrent layers are of no use: a single unit, in segments of one token."""
    folder = tmp_path_factory.mktemp("orders")
    settings = classifier_settings(
        **NGRAMS | {"model__input_ngrams": 2}, model__hidden_dim=1, model__segment_length=1, train__epochs=30
    )
    result = call("train", write_orders(folder / "orders.jsonl"), *settings, "--out", folder / "run")
    assert result.code == 0, result.err
    assert "model.ngram_rows 32768 -> 1024" in result.err
    return folder / "run"


def test_pairs_of_words_are_told_from_the_words(model: Path) -> None:
    loaded = textrnn.load(model)
    predicted = [each.label for each in loaded.classify(["c a b c", "c b a c", "b c a", "a b"])]
    assert predicted == ["True", "False", "False", "True"]
    assert json.loads((model / "report.json").read_text(encoding="utf-8"))["accuracy"] > 0.95


def test_a_text_has_the_same_probabilities_alone_and_among_others(model: Path) -> None:
    loaded = textrnn.load(model)
    texts = ["a b", "", "c", "c b a c a b", "b a " * 40]
    for text, together in zip(texts, loaded.classify(texts), strict=True):
        assert loaded.classify([text])[0].probs == pytest.approx(together.probs, abs=1e-6)


def test_both_words_of_a_pair_are_reasons(model: Path) -> None:
    result = call("predict", model, "--why", "--json", "c c a b c")
    tokens = json.loads(result.out)["tokens"]
    contributions = {number: token["contribution"] for number, token in enumerate(tokens)}
    assert sorted(sorted(contributions, key=contributions.__getitem__)[-2:]) == [2, 3]


def test_8_bits_cost_little(model: Path, tmp_path: Path) -> None:
    assert call("export", model, "--quantize", "int8", "--out", tmp_path / "int8").code == 0
    texts = ["c a b c", "c b a c", "b c a", "a b"]
    exact, rough = (textrnn.load(place).classify(texts) for place in (model, tmp_path / "int8"))
    for one, other in zip(exact, rough, strict=True):
        assert one.probs == pytest.approx(other.probs, abs=0.05)


def test_a_stopped_run_ends_in_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    source = write_opinions(tmp_path / "opinions.jsonl")
    settings = classifier_settings(**SMALL, data__source=json.dumps([str(source)]))
    whole, stopped = (
        trainer_of(create_run(tmp_path / name, load_config(None, settings[1::2]), quiet=True))
        for name in ("whole", "stopped")
    )
    whole.fit()
    true_step: Any = stopped._step

    def step(*arguments: Any) -> Any:
        if stopped.progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return true_step(*arguments)

    stopped._step = step  # type: ignore[attr-defined]
    with pytest.raises(Stopped):
        stopped.fit()
    assert stopped.progress.step < whole.total_steps
    trainer_of(open_run(tmp_path / "stopped", quiet=True)).fit()
    (_, arrays), (_, expected) = (load_checkpoint(tmp_path / name / "checkpoint.npz") for name in ("stopped", "whole"))
    assert np.ptp(expected["model/ngrams"]) > 0
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_two_devices_end_in_the_weights_of_one(tmp_path: Path) -> None:
    settings = classifier_settings(**SMALL)
    source = write_opinions(tmp_path / "opinions.jsonl")
    assert call("train", source, *settings, "--out", tmp_path / "one", "--quiet").code == 0
    command = [sys.executable, str(MIRRORED), "2", "train", str(source), *settings]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "two"), "--quiet"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert ended.returncode == 0, ended.stderr
    (_, arrays), (_, expected) = (load_checkpoint(tmp_path / name / "checkpoint.npz") for name in ("two", "one"))
    assert set(arrays) == set(expected)
    for name in ("model/ngrams", "model/embedding", "model/output_kernel"):
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
