"""Exported classifiers compute what Keras computes, in every shape, or nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import reference_classifier
import tensorflow as tf
from conftest import write_opinions
from exported import in_onnxruntime
from numpy.typing import NDArray

import textrnn
from textrnn.bundle import Bundle
from textrnn.config import Config, DataConfig, ModelConfig
from textrnn.data.labelled_texts import LabelledCorpus, TextBatches, prepare_labelled
from textrnn.data.labels import Labels
from textrnn.data.records import SourceOptions
from textrnn.errors import UserError
from textrnn.models.card import card_of
from textrnn.tokenizers import WordTokenizer
from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID
from textrnn.training.export import classifier as export_classifier_module
from textrnn.training.export.classifier import (
    Calibration,
    ClassifierExporter,
    classify_graph,
)
from textrnn.training.network.classifier import Classifier

SMALL = ModelConfig(hidden_dim=6, embedding_dim=5, layers=1)
SHAPES = {
    f"{layers} layers, {'both directions' if both else 'one direction'}, {norm}, segments of {segment}": replace(
        SMALL, layers=layers, bidirectional=both, normalization=norm, segment_length=segment
    )
    for layers, both, norm, segment in itertools.product((1, 2), (False, True), ("none", "layer"), (0, 4))
}
OTHERS = {
    "relu": replace(SMALL, activation="relu", bidirectional=True),
    "linear": replace(SMALL, activation="linear"),
    "no residual": replace(SMALL, layers=3, residual=False, segment_length=1),
    "pairs": replace(SMALL, input_ngrams=2, ngram_rows=9),
    "n-grams of four, segments, both directions": replace(
        SMALL, input_ngrams=4, ngram_rows=50, segment_length=4, bidirectional=True, embedding_dim=0
    ),
    "embedding as wide as the layers": replace(SMALL, embedding_dim=0, segment_length=4),
}
VOCABULARY_SIZE, CLASSES = 11, 3
TEMPERATURE = 1.7
SETTINGS = Config(task="classification", data=DataConfig(max_length=100))
CALIBRATION = Calibration(TEMPERATURE, 0.0, 0.2, 0.1)


def model_of(config: ModelConfig, vocabulary_size: int = VOCABULARY_SIZE, classes: int = CLASSES) -> Classifier:
    model = Classifier(config, vocabulary_size, classes)
    model.set_arrays(reference_classifier.random_weights(config, vocabulary_size, classes))
    return model


def batch_of(lengths: list[int], time: int, vocabulary_size: int = VOCABULARY_SIZE) -> NDArray[np.int32]:
    ids = np.random.default_rng(1).integers(1, vocabulary_size, (len(lengths), time), dtype=np.int32)
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = PAD_ID
    return ids


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer.train(["the film was and story good bad 电 影 的 好 差"])


@pytest.fixture(scope="module")
def held_out(tokenizer: WordTokenizer, tmp_path_factory: pytest.TempPathFactory) -> TextBatches:
    folder = tmp_path_factory.mktemp("held_out")
    source = str(write_opinions(folder / "opinions.jsonl", 60))
    with LabelledCorpus([source], SourceOptions(label="label"), Labels(), folder / "data", quiet=True) as corpus:
        (dataset,) = prepare_labelled(tokenizer, corpus)
    return TextBatches(dataset, 16, 100, 4, seed=0)


# Parity


@pytest.mark.parametrize("name", SHAPES | OTHERS)
def test_the_graph_equals_keras_and_the_equations(name: str, tmp_path: Path) -> None:
    config = (SHAPES | OTHERS)[name]
    model = model_of(config)
    classify = in_onnxruntime({"classify": classify_graph(config, model.arrays(), TEMPERATURE)}, tmp_path)["classify"]
    for ids in (batch_of([8, 0, 1, 5, 7], 8), batch_of([3], 3), batch_of([0], 4), batch_of([1, 12], 12)):
        (logits,) = classify(ids)
        np.testing.assert_allclose(logits, model(tf.constant(ids)) / TEMPERATURE, atol=1e-4)
        texts = [row[row != PAD_ID].tolist() for row in ids]
        expected = reference_classifier.run(config, model.arrays(), texts) / TEMPERATURE
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_graph_reads_a_token_beyond_the_known_ones_as_unknown(tmp_path: Path) -> None:
    config = SHAPES[next(iter(SHAPES))]
    graph = classify_graph(config, model_of(config).arrays(), TEMPERATURE)
    classify = in_onnxruntime({"classify": graph}, tmp_path)["classify"]
    rare = np.array([[4, VOCABULARY_SIZE, 1, VOCABULARY_SIZE + 500]], np.int32)
    np.testing.assert_array_equal(classify(rare)[0], classify(np.where(rare < VOCABULARY_SIZE, rare, UNKNOWN_ID))[0])


def test_the_graph_is_for_onnxruntimes_of_years_ago() -> None:
    for config in SHAPES.values():
        graph = classify_graph(config, model_of(config).arrays())
        assert graph.ir_version == 8
        assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
        assert not graph.functions


# Bundles


def exporter(model: Classifier, tokenizer: WordTokenizer, held_out: TextBatches) -> ClassifierExporter:
    return ClassifierExporter(model, tokenizer, held_out, CALIBRATION, replace(SETTINGS, model=model.config))


def export(
    model: Classifier, tokenizer: WordTokenizer, held_out: TextBatches, folder: Path, quantize: str | None = None
) -> Bundle:
    return exporter(model, tokenizer, held_out).export(folder, quantize)


def test_a_bundle_is_whole(tokenizer: WordTokenizer, held_out: TextBatches, tmp_path: Path) -> None:
    model = model_of(replace(SMALL, bidirectional=True, segment_length=4), tokenizer.vocabulary_size, 2)
    bundle = export(model, tokenizer, held_out, tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.kind, manifest.precision, manifest.labels) == ("classifier", "float32", ("0", "1"))
    assert manifest.metrics["calibration"] == {
        "temperature": TEMPERATURE,
        "direct_scale": 0.0,
        "calibration_error_before": 0.2,
        "calibration_error": 0.1,
    }
    loaded = textrnn.load(tmp_path / "bundle")
    probs = loaded.predict([held_out.dataset.text(index, 100) for index in range(len(held_out.dataset))])
    right = probs.argmax(axis=1) == held_out.dataset.targets
    assert manifest.metrics["held_out"]["accuracy"] == manifest.metrics["float32"]["accuracy"] == right.mean()
    assert exporter(model, tokenizer, held_out).check(bundle) < 1e-4


def test_nothing_is_written_of_a_graph_that_differs(
    tokenizer: WordTokenizer, held_out: TextBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(SMALL, tokenizer.vocabulary_size, 2)
    true_graph = export_classifier_module.classify_graph
    for name in sorted(model.arrays()):
        for damage in (0.01, np.nan):

            def otherwise(
                config: ModelConfig, arrays: Mapping[str, Any], *others: Any, name: str = name, damage: float = damage
            ) -> Any:
                changed = arrays[name].copy()
                changed[np.unravel_index(np.abs(changed).argmax(), changed.shape)] += damage
                return true_graph(config, {**arrays, name: changed}, *others)

            monkeypatch.setattr(export_classifier_module, "classify_graph", otherwise)
            with pytest.raises(UserError, match=r"within 0\.0001 of the largest logit, .*; no bundle was written"):
                export(model, tokenizer, held_out, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1e-3, 1e3, 1e6])
def test_a_good_model_of_any_size_is_written(
    tokenizer: WordTokenizer, held_out: TextBatches, tmp_path: Path, size: float
) -> None:
    model = model_of(SMALL, tokenizer.vocabulary_size, 2)
    model.output_kernel.assign(model.output_kernel * size)
    export(model, tokenizer, held_out, tmp_path / "bundle")
    text = textrnn.load(tmp_path / "bundle").classify(["the a"])[0]
    assert sum(text.probs.values()) == pytest.approx(1)


def test_8_bits_cost_little_and_say_what(tokenizer: WordTokenizer, held_out: TextBatches, tmp_path: Path) -> None:
    config = replace(
        SMALL, hidden_dim=96, embedding_dim=64, bidirectional=True, segment_length=4, input_ngrams=3, ngram_rows=200
    )
    model = model_of(config, tokenizer.vocabulary_size, 2)
    full = export(model, tokenizer, held_out, tmp_path / "full")
    small = export(model, tokenizer, held_out, tmp_path / "small", "int8")
    assert (full.manifest.precision, small.manifest.precision) == ("float32", "int8")

    metrics = small.manifest.metrics
    for bundle, precision in ((full, "float32"), (small, "int8")):
        size = sum(entry.bytes for entry in bundle.manifest.files.values())
        assert (bundle.folder / "README.md").read_text(encoding="utf-8") == card_of(bundle.manifest)
        assert bundle.manifest.metrics[precision] == metrics[precision]
        assert metrics[precision]["bytes"] == size
        assert bundle.manifest.metrics["held_out"]["accuracy"] == metrics[precision]["accuracy"]
    assert metrics["int8"]["bytes"] < 0.4 * metrics["float32"]["bytes"]

    texts = ["good the 影", "", "bad", "the good bad story " * 6]
    exact, rough = (textrnn.load(bundle.folder).classify(texts) for bundle in (full, small))
    differences = [abs(a.probs["1"] - b.probs["1"]) for a, b in zip(exact, rough, strict=True)]
    assert 0 < max(differences) < 0.02
    # Weights alone are in 8 bits, so that neighbours make no difference.
    loaded = textrnn.load(small.folder)
    for text, together in zip(texts, rough, strict=True):
        assert loaded.classify([text])[0].probs == pytest.approx(together.probs, abs=1e-6)
    weights = onnx.load(small.path("model.onnx")).graph.initializer
    kinds = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in weights}
    assert kinds["recurrent_kernel_0_int8"] == kinds["embedding_int8"] == kinds["ngrams_int8"] == "INT8"
    assert "recurrent_kernel_0" not in kinds


def test_an_existing_folder_is_not_touched(tokenizer: WordTokenizer, held_out: TextBatches, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UserError, match="bundle"):
        export(model_of(SMALL, tokenizer.vocabulary_size, 2), tokenizer, held_out, tmp_path / "bundle")
    assert list((tmp_path / "bundle").iterdir()) == []
