"""Models of vectors as a program uses them, `textrnn.load(...).classify(images)`, against the equations in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_classifier
from commands import error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array
from numpy.typing import NDArray
from tiny_bundle import (
    CLASSES,
    OUTPUTS,
    VALUES_MEAN,
    VALUES_SCALE,
    tiny_runtime,
    tiny_vector_weights,
    vector_model,
    write_tiny_bundle,
    write_tiny_classifier,
    write_tiny_regressor,
    write_tiny_vector_classifier,
)

import textrnn
from textrnn.classification import Prediction, probabilities
from textrnn.data.vectors import arrange
from textrnn.runtime import vector_models as vector_runtime
from textrnn.runtime.load import load_classifier, load_language_model
from textrnn.runtime.vector_models import Regressor, VectorClassifier

numbers = st.floats(-3, 3, width=32)
series = st.integers(1, 9).flatmap(lambda time: any_array(np.float32, (time, 2), elements=numbers))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of two values a step."""
    return write_tiny_vector_classifier(tmp_path_factory.mktemp("classifier") / "bundle", features=2).folder


@pytest.fixture(scope="module")
def model(folder: Path) -> VectorClassifier:
    loaded: VectorClassifier = textrnn.load(folder)
    return loaded


@pytest.fixture(scope="module")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Regressor:
    loaded: Regressor = textrnn.load(
        write_tiny_regressor(tmp_path_factory.mktemp("regressor") / "b", features=2).folder
    )
    return loaded


def told(sequences: list[NDArray[Any]], outputs: int, stride: int = 1) -> NDArray[np.float64]:
    """What the network tells of sequences (time, features), by the equations, each alone."""
    weights = tiny_vector_weights(outputs, sequences[0].shape[1], stride)
    return reference_classifier.run(vector_model(stride), weights, sequences)


def random_series(count: int, longest: int = 40) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [random.normal(size=(random.integers(1, longest + 1), 2)).astype(np.float32) for _ in range(count)]


# What is told


@settings(max_examples=50)
@given(batch=st.lists(series, min_size=1, max_size=6))
def test_a_record_is_what_the_equations_say_whatever_it_is_read_with(
    model: VectorClassifier, regressor: Regressor, batch: list[NDArray[np.float32]]
) -> None:
    probs, values = model.predict(batch), regressor.predict(batch)
    np.testing.assert_allclose(probs, probabilities(told(batch, len(CLASSES))), atol=1e-5)
    np.testing.assert_allclose((values - VALUES_MEAN) / VALUES_SCALE, told(batch, OUTPUTS), atol=1e-5)
    for index, record in enumerate(batch):
        np.testing.assert_allclose(probs[index], model.predict([record])[0], atol=1e-6)
        np.testing.assert_allclose(values[index], regressor.predict([record])[0], atol=1e-5)


def test_predictions_stand_in_the_order_of_the_records(model: VectorClassifier) -> None:
    records = random_series(7)
    predictions = model.classify(records)
    probs = model.predict(records)
    assert probs.dtype == np.float64
    for prediction, row in zip(predictions, probs, strict=True):
        assert prediction == Prediction(CLASSES[row.argmax()], dict(zip(CLASSES, row.tolist(), strict=True)))
        assert prediction.to_dict() == {"label": prediction.label, "probability": max(row), "probs": prediction.probs}
    assert len({prediction.label for prediction in predictions}) > 1


def test_values_are_float32_and_in_their_own_units(regressor: Regressor) -> None:
    values = regressor.predict(random_series(50))
    assert (values.dtype, values.shape, regressor.outputs) == (np.float32, (50, OUTPUTS), OUTPUTS)
    assert abs(values[:, 1].mean() - 10) < 2


def test_many_records_of_all_lengths_are_read_in_parts(
    model: VectorClassifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = random_series(100)
    whole = model.predict(records)
    monkeypatch.setattr(vector_runtime, "BATCH_VALUES", 4 * 50)  # 50 steps of 4 units
    in_parts = textrnn.load(folder, threads=2)
    read, batches = in_parts._read._session.run, []

    class Watched:
        def run(self, outputs: Any, inputs: dict[str, NDArray[Any]]) -> Any:
            batches.append(inputs["vectors"].shape)
            return read(outputs, inputs)

    in_parts._read._session = Watched()
    np.testing.assert_allclose(in_parts.predict(records), whole, atol=1e-6)
    assert sum(rows for rows, _, _ in batches) == 100
    assert all(rows * time <= 50 for rows, time, _ in batches)
    assert len(batches) < 60


def test_no_record_has_no_label(model: VectorClassifier, regressor: Regressor) -> None:
    assert model.classify([]) == []
    assert model.predict(np.zeros((0, 5, 2))).shape == (0, len(CLASSES))
    assert regressor.predict([]).shape == (0, OUTPUTS)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_a_sequence_shorter_than_the_stride_is_read_too(tmp_path: Path, length: int) -> None:
    model = textrnn.load(write_tiny_vector_classifier(tmp_path / "bundle", features=2, stride=3).folder)
    records = [record[:length] for record in random_series(3, 1)] + [np.ones((length, 2))]
    expected = probabilities(told(records, len(CLASSES), stride=3))
    np.testing.assert_allclose(model.predict(records), expected, atol=1e-5)


# How arrays become steps


@pytest.mark.parametrize("data", [{}, {"steps": "values"}])
def test_images_become_steps_as_in_training(tmp_path: Path, data: dict[str, Any]) -> None:
    steps = data.get("steps", "rows")
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5), dtype=np.uint8)
    sequences = [arrange(image, steps) / 1.0 for image in images]
    features = sequences[0].shape[1]
    model = textrnn.load(write_tiny_vector_classifier(tmp_path / "bundle", features=features, data=data).folder)
    assert model.features == features
    expected = probabilities(told(sequences, len(CLASSES)))
    for given_ in (images, list(images), images.tolist(), images.astype(np.float64)):
        np.testing.assert_allclose(model.predict(given_), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(sequences, arranged=True), expected, atol=1e-5)


def test_a_series_is_one_value_a_step(tmp_path: Path) -> None:
    model = textrnn.load(write_tiny_regressor(tmp_path / "bundle").folder)
    values = model.predict([[1, 2, 3], [0.5]])
    expected = told([np.array([[1], [2], [3]]), np.array([[0.5]])], OUTPUTS)
    np.testing.assert_allclose(values, expected * VALUES_SCALE + VALUES_MEAN, atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.ones((3, 2)), np.ones((3, 5))], "the 2 values that the model reads, those of record 2 have 5"),
        (np.ones((28, 28)), "those of record 1 have 1; give several records"),  # one image, and not a list of one
        ([np.ones((3, 2)), [[1, np.nan]]], "values must be finite numbers below 3.4e38, record 2 has: nan"),
        ([np.full((1, 2), np.inf)], "record 1 has: inf"),
        ([np.ones((1, 2)), np.ones((0, 2))], "a record must have a step at least, record 2 has none; leave it out"),
        ([np.ones((2, 0))], "a record must have a step at least, record 1 has none"),
        ([[[1, 2], [3]]], "an array must have as many numbers in each row, those of record 1 differ"),
        ([1.0, 2.0], "an array of 1 to 3 dimensions, record 1 has 0"),
        (np.array(1.0), "an array of 1 to 3 dimensions, record 1 has 0"),
        ([np.ones((1, 1, 1, 2))], "an array of 1 to 3 dimensions, record 1 has 4"),
        ([np.ones((1, 2)), "good"], "a model of vectors reads arrays of numbers, record 2 is text: 'good'; give"),
        ("good", "a model of vectors reads arrays of numbers, record 1 is text: 'good'; give"),
        ([["good", "bad"]], "a record must hold numbers alone, record 1 has: ['good', 'bad']"),
        ([None], "a record must hold numbers alone, record 1 has: None"),
    ],
)
def test_arrays_that_cannot_be_read(model: VectorClassifier, regressor: Regressor, arrays: Any, message: str) -> None:
    assert message in error_of(lambda: model.classify(arrays))
    assert message in error_of(lambda: regressor.predict(arrays))


def test_arrays_for_a_model_of_texts(tmp_path: Path) -> None:
    texts = textrnn.load(write_tiny_classifier(tmp_path / "bundle").folder)
    for arrays in (np.ones((2, 3)), [np.ones((3, 2))], [[1, 2]]):
        assert "a classifier of texts reads strings, was: " in error_of(lambda arrays=arrays: texts.classify(arrays))


def test_each_kind_of_model_is_asked_for_what_it_does(folder: Path, tmp_path: Path) -> None:
    regressor = write_tiny_regressor(tmp_path / "regressor").folder
    for path, kind in ((folder, "vector classifier"), (regressor, "regressor")):
        message = error_of(lambda path=path: load_language_model(path))
        assert message == f"a language model is needed, {path} is a {kind}; use: textrnn predict {path}"
        message = error_of(lambda path=path: load_classifier(path))
        assert message == f"a classifier of texts is needed, {path} is a {kind}; give it arrays: textrnn.load"
    assert "is a language model; use: textrnn generate" in error_of(
        lambda: load_classifier(write_tiny_bundle(tmp_path / "language_model").folder)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "a classifier must have labels and a classify graph"),
        ({"graphs": {}}, "a classifier must have labels and a classify graph"),
        ({"labels": ("up", "down")}, "has 2 labels and 3 logits; export it again"),
        ({"kind": "regressor"}, "a regressor must have a regress graph"),
        ({"kind": "classifier", "runtime": tiny_runtime(max_length=9, segment_length=0)}, "reads vectors"),
    ],
)
def test_a_bundle_that_is_not_what_it_says(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_tiny_vector_classifier(tmp_path / "bundle", **changes).folder
    assert message in error_of(lambda: textrnn.load(folder))


def test_a_graph_of_texts_in_a_bundle_of_vectors(tmp_path: Path) -> None:
    runtime = tiny_runtime(steps="rows", stride=1, hidden_dim=4)
    changes = {"kind": "vector_classifier", "tokenizer": None, "runtime": runtime}
    folder = write_tiny_classifier(tmp_path / "bundle", **changes).folder
    assert "must have the inputs" in error_of(lambda: textrnn.load(folder))
