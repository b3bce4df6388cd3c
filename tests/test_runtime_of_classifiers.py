"""A classifier as a program uses it, `textrnn.load(...).classify([...])`, against the equations in numpy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import reference_classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import (
    CLASSIFIER,
    LABELS,
    MAX_LENGTH,
    tiny_classifier_weights,
    tiny_words,
    write_tiny_bundle,
    write_tiny_classifier,
)

import textrnn
from textrnn.classification import head_and_tail, probabilities
from textrnn.errors import UserError
from textrnn.runtime.load import load_classifier, load_language_model
from textrnn.runtime.text_classifier import Classifier

WEIGHTS = tiny_classifier_weights()
TOKENIZER = tiny_words()

words = st.lists(
    st.sampled_from(["good", "bad", "Film", "the", "好", "差", "😀", "unheard", "<pad>", "\n"]), max_size=30
)
texts = st.one_of(words.map(" ".join), words.map("".join), st.text(st.characters(codec="utf-8"), max_size=20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_classifier(tmp_path_factory.mktemp("classifier") / "bundle").folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Classifier:
    loaded: Classifier = textrnn.load(folder)
    return loaded


def expected_probs(*texts: str) -> NDArray[np.float64]:
    """By the equations, from each text alone; `MAX_LENGTH` tokens of it are read."""
    ids = [head_and_tail(TOKENIZER.encode(text), MAX_LENGTH).tolist() for text in texts]
    return probabilities(reference_classifier.run(CLASSIFIER, WEIGHTS, ids))


# What a text is


def test_labels_stand_in_the_order_of_the_texts(model: Classifier) -> None:
    predictions = model.classify(["a bad film", "", "good " * 50, "这部影片好", "good", "差"])
    assert [prediction.label for prediction in predictions] == ["bad", "bad", "good", "good", "good", "bad"]
    assert [prediction.tokens for prediction in predictions] == [3, 0, 50, 5, 1, 1]
    assert [prediction.tokens_read for prediction in predictions] == [3, 0, MAX_LENGTH, 5, 1, 1]
    assert predictions[1].probs == {"bad": 0.5, "good": 0.5}  # a text without a token says nothing


@settings(max_examples=60)
@given(batch=st.lists(texts, max_size=8))
def test_a_text_is_what_the_equations_say_whatever_it_is_classified_with(model: Classifier, batch: list[str]) -> None:
    predictions = model.classify(batch)
    assert len(predictions) == len(batch)
    for text, prediction in zip(batch, predictions, strict=True):
        probs = list(prediction.probs.values())
        assert tuple(prediction.probs) == LABELS
        assert sum(probs) == pytest.approx(1, abs=1e-12)
        assert prediction.probability == prediction.probs[prediction.label] == max(probs)
        np.testing.assert_allclose(probs, expected_probs(text)[0], atol=1e-5)
        np.testing.assert_allclose(probs, list(model.classify([text])[0].probs.values()), atol=1e-6)


def test_many_texts_of_all_lengths_are_read_in_parts(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    many = [" ".join(random.choice(["good", "bad", "the", "影"], random.integers(0, 20))) for _ in range(100)]
    whole = model.predict([TOKENIZER.encode(text) for text in many])
    np.testing.assert_allclose(whole, expected_probs(*many), atol=1e-5)
    monkeypatch.setattr("textrnn.classification.BATCH_TOKENS", 20)
    np.testing.assert_allclose(model.predict([TOKENIZER.encode(text) for text in many]), whole, atol=1e-6)


def test_order_and_threads(folder: Path, model: Classifier) -> None:
    first, second = model.predict([TOKENIZER.encode(text) for text in ("good the bad", "bad the good")])
    assert np.abs(first - second).max() > 1e-3
    (again,) = textrnn.load(folder, threads=2).classify(["good the bad"])
    assert list(again.probs.values()) == pytest.approx(first.tolist(), abs=1e-6)


def test_no_text_has_no_label(model: Classifier) -> None:
    assert model.classify([]) == []


def test_any_iterable_of_texts_is_classified(model: Classifier, tmp_path: Path) -> None:
    given = ["good the film", "bad", ""]
    expected = model.classify(given)
    (tmp_path / "a.txt").write_text("\n".join(given[:2]), encoding="utf-8")
    assert model.classify(text for text in given) == expected
    assert model.classify(map(str, given)) == expected
    assert model.classify(dict.fromkeys(given)) == expected
    assert model.classify(np.array(given, object)) == expected
    with (tmp_path / "a.txt").open(encoding="utf-8") as file:
        assert [told.label for told in model.classify(file)] == [told.label for told in expected[:2]]
    assert model.predict(TOKENIZER.encode(text) for text in given).tolist() == [
        list(e.probs.values()) for e in expected
    ]


def test_what_is_no_iterable_of_texts_is_refused(model: Classifier) -> None:
    for texts in (None, 3):
        with pytest.raises(UserError, match=f"texts must be several strings, was: {texts}; give a list of strings"):
            model.classify(texts)  # type: ignore[arg-type]


def test_one_string_is_not_a_list_of_its_letters(model: Classifier) -> None:
    with pytest.raises(UserError, match="texts must be several strings, was one; put it in a list"):
        model.classify("good")


def test_half_a_character_is_told(model: Classifier) -> None:
    with pytest.raises(UserError, match=r"U\+D83D"):
        model.classify(["good", "\ud83d"])


# Why


def test_an_explanation_is_of_the_whole_text_and_its_tokens(model: Classifier) -> None:
    explanation = model.explain("A good film 好")
    assert "".join(explanation.pieces) == "A good film 好"
    assert explanation.label == "good"
    assert explanation.probs == pytest.approx(expected_probs("a good film 好")[0], abs=1e-5)
    prefixes = ["a", "a good", "a good film", "a good film 好"]
    assert explanation.after == pytest.approx(expected_probs(*prefixes)[:, 1], abs=1e-5)
    odds = np.log(expected_probs("a good film 好", "a film 好"))
    assert explanation.contributions[1] == pytest.approx(
        (odds[0, 1] - odds[0, 0]) - (odds[1, 1] - odds[1, 0]), abs=1e-3
    )
    opposite = model.explain("A good film 好", "bad")
    assert opposite.contributions == pytest.approx([-value for value in explanation.contributions], abs=1e-3)


def test_of_a_long_text_head_and_tail_are_explained(model: Classifier) -> None:
    text = " ".join(["good", *["the"] * 40, "bad"])
    explanation = model.explain(text)
    assert [piece.strip() for piece in explanation.pieces] == ["good", *["the"] * (MAX_LENGTH - 2), "bad"]
    assert explanation.probs == pytest.approx(expected_probs(text)[0], abs=1e-5)


# What is refused


def test_each_kind_of_model_is_asked_for_what_it_does(folder: Path, tmp_path: Path) -> None:
    language_model = write_tiny_bundle(tmp_path / "language_model").folder
    with pytest.raises(UserError, match=f"a language model is needed, {folder} is a classifier; use: textrnn predict"):
        load_language_model(folder)
    with pytest.raises(UserError, match=f"a classifier is needed, {language_model} is a language model; use: textrnn"):
        load_classifier(language_model)


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_damage_is_found(folder: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    path = tmp_path / "bundle" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{file} must have the SHA-256 that the manifest says"):
        textrnn.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "a classifier must have labels and a classify graph, .* lacks one; export it"),
        ({"graphs": {}}, "a classifier must have labels and a classify graph, .* lacks one; export it"),
        ({"labels": ("bad", "so so", "good")}, "has 3 labels and 2 logits; export it again"),
        ({"kind": "tagger"}, "a model must be one of language_model, classifier, .* is a tagger; upgrade textrnn"),
    ],
)
def test_a_bundle_that_cannot_classify(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    folder = write_tiny_classifier(tmp_path / "bundle", **changes).folder
    with pytest.raises(UserError, match=message):
        textrnn.load(folder)


def test_a_graph_that_is_not_what_the_manifest_says(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["graphs"]["classify"]["outputs"][0]["name"] = "probs"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"model\.onnx must have the outputs .* of its manifest"):
        textrnn.load(tmp_path / "bundle")
