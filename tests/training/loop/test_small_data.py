"""Data too small for the defaults: they shrink, that is said in one line, and the run ends with a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import call, error_of
from hypothesis import given
from hypothesis import strategies as st

import textrnn
from textrnn.config import Config, TrainConfig
from textrnn.training.loop.run import Run
from textrnn.training.loop.small_data import fit_to_records, fit_to_tokens, fitted, read_fitted, write_fitted
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.runs import open_run

pytestmark = pytest.mark.usefixtures("eagerly")

LANGUAGE_MODEL, CLASSIFIER = Config(), from_dict({"task": "classification"})


def fit_text(config: Config, tokens: int, replicas: int) -> Config:
    return fit_to_tokens(config, LANGUAGE_MODEL, tokens, replicas)


def fit_texts(texts: int, replicas: int) -> Config:
    return fit_to_records(CLASSIFIER, CLASSIFIER, texts, replicas)


@given(tokens=st.integers(2, 10**7), batch=st.integers(1, 300), length=st.integers(1, 300))
def test_a_batch_always_fits_the_text(tokens: int, batch: int, length: int) -> None:
    for train in (TrainConfig(), TrainConfig(batch_size=batch, sequence_length=length)):
        found = fit_text(Config(train=train), tokens, 1).train
        assert found.batch_size * (found.sequence_length + 1) <= tokens
        assert found.batch_size <= train.batch_size
        assert found.sequence_length <= train.sequence_length
        if train != TrainConfig() and batch * (length + 1) <= tokens:
            assert found == train, "what is stated and fits stays"


def test_defaults_suit_the_size_of_the_text() -> None:
    small, middle, large = (fit_text(LANGUAGE_MODEL, tokens, 1) for tokens in (10_000, 100_000, 1_000_000))
    assert (small.train.batch_size, small.train.sequence_length, small.model.hidden_dim) == (8, 64, 128)
    assert (middle.train.batch_size, middle.train.sequence_length, middle.model.hidden_dim) == (64, 128, 256)
    assert large == LANGUAGE_MODEL
    assert fit_text(middle, 100_000, 1) == middle, "and are the same when the run is opened again"


def test_batches_are_a_multiple_of_the_replicas() -> None:
    assert fit_text(LANGUAGE_MODEL, 100, 3).train.batch_size % 3 == 0
    assert fit_texts(22, 3).train.batch_size == 6
    assert "training text must have at least 6 tokens, has 5" in error_of(lambda: fit_text(LANGUAGE_MODEL, 5, 3))
    assert "needs a record to train on, there are 2" in error_of(lambda: fit_texts(2, 3))


def test_the_table_of_ngrams_suits_the_texts() -> None:
    config = from_dict({"task": "classification", "model": {"input_ngrams": 2}})
    for tokens, rows in ((1000, 1024), (200_000, 8192), (10**7, 32_768)):
        assert fit_to_records(config, CLASSIFIER, 1000, 1, tokens).model.ngram_rows == rows
    stated = from_dict({"task": "classification", "model": {"input_ngrams": 2, "ngram_rows": 500}})
    assert fit_to_records(stated, CLASSIFIER, 1000, 1, 10**7) == stated
    assert fit_to_records(CLASSIFIER, CLASSIFIER, 1000, 1, 1000) == CLASSIFIER, "as a model of tokens alone stays"


def test_a_small_set_is_read_in_several_batches() -> None:
    sizes = [fit_texts(records, 1).train.batch_size for records in (1, 5, 22, 100, 255, 256, 9999)]
    assert sizes == [1, 5, 8, 12, 31, 32, 32]


def train(tmp_path: Path, *arguments: object) -> str:
    """Train with few epochs and units; what was said beside the progress."""
    quick = ("--set", "train.epochs=1", "--set", "train.sample_length=0")
    result = call("train", *arguments, *quick, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    return result.err


def test_a_text_of_ten_bytes(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a dog carr")
    said = train(tmp_path, tmp_path / "text.txt", "--set", "model.hidden_dim=4")
    assert "5 training tokens are few, so some settings are smaller: train.batch_size 64 -> 1, train" in said
    assert "train.sequence_length 128 -> 4" in said
    assert open_run(tmp_path / "run").config.train.batch_size == 1
    assert set(textrnn.load(tmp_path / "run").generate(length=50)) <= set("a dog")
    assert call("train", "--resume", "--out", tmp_path / "run").code == 0
    assert call("export", tmp_path / "run", "--quantize", "int8").code == 0


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_sentencepiece_pieces_of_a_small_text(tmp_path: Path, model_type: str) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n" * 60)
    pieces = ("tokenizer.kind=sentencepiece", f"tokenizer.model_type={model_type}", "model.hidden_dim=4")
    train(tmp_path, tmp_path / "text.txt", *(word for setting in pieces for word in ("--set", setting)))
    assert "\ufffd" not in textrnn.load(tmp_path / "run").generate(length=200, seed=1)


def test_a_table_of_a_few_texts(tmp_path: Path) -> None:
    rows = [f"{word} thing {number},{word}" for number in range(6) for word in ("good", "bad")]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows))
    said = train(tmp_path, tmp_path / "a.csv", "--task", "classification")
    assert "10 training texts are few, so some settings are smaller: train.batch_size 32 -> 8" in said


def test_a_short_series(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(str(number % 5) for number in range(30)))
    said = train(tmp_path, tmp_path / "a.csv", "--task", "forecast")
    assert "30 steps are few, so some settings are smaller: train.sequence_length 256 -> 13" in said


def test_a_value_that_a_search_chose_is_not_made_smaller(tmp_path: Path) -> None:
    write_fitted(tmp_path, {"model.hidden_dim": LANGUAGE_MODEL.model.hidden_dim})
    run = fitted(Run(tmp_path, LANGUAGE_MODEL, quiet=True), fit_text(LANGUAGE_MODEL, 20_000, 1), "a text", keep=True)
    assert run.config.model.hidden_dim == LANGUAGE_MODEL.model.hidden_dim
    assert run.config.train.batch_size < LANGUAGE_MODEL.train.batch_size
    assert read_fitted(tmp_path)["train.batch_size"] == run.config.train.batch_size


def test_a_damaged_record_of_what_shrank_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a dog carr")
    train(tmp_path, tmp_path / "text.txt", "--set", "model.hidden_dim=4")
    fitted = tmp_path / "run" / "fitted.json"
    assert json.loads(fitted.read_text())["train.batch_size"] == 1
    fitted.write_text('{"train.batch_size": "2"}')
    assert "fitted.json cannot be used" in error_of(lambda: open_run(tmp_path / "run"))
