"""Classifiers and regressors of vectors against the same equations in numpy, forward, backward and as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import reference_classifier
import tensorflow as tf
from exported import in_onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.config import ModelConfig, TrainConfig
from textrnn.data.vectors import padded
from textrnn.metrics.regression import Scaling
from textrnn.training.export.classifier import classify_graph
from textrnn.training.export.regressor import regress_graph
from textrnn.training.loop.training_step import SupervisedStep, optimizer_of
from textrnn.training.network import elementwise
from textrnn.training.network.classifier import Classifier
from textrnn.training.tasks.classification.trainer import weighted_cross_entropy

FEATURES, OUTPUTS = 3, 4
SMALL = ModelConfig(hidden_dim=6, layers=1, pooling="mean")
LINEAR = replace(SMALL, recurrence="rotation", activation="linear", mixing="glu", normalization="layer", layers=2)

# Each member of the family, each pooling, and what reads in both directions and by blocks of steps.
CONFIGS = {
    "tanh": SMALL,
    "two layers, last": replace(SMALL, layers=2, pooling="last"),
    "relu, both directions, all": replace(SMALL, activation="relu", bidirectional=True, pooling="all"),
    "both directions, last": replace(SMALL, bidirectional=True, pooling="last", recurrence="diagonal", layers=2),
    "diagonal, relu": replace(SMALL, recurrence="diagonal", activation="relu", mixing="relu", pooling="all"),
    "rotation": replace(SMALL, recurrence="rotation", residual=False, layers=2),
    "rotation, linear": LINEAR,
    "projected": replace(LINEAR, embedding_dim=5, pooling="all"),
    "cepstra": replace(LINEAR, cepstra=2, bidirectional=True, pooling="all"),
    "stride": replace(LINEAR, stride=3),
    "stride, last": replace(SMALL, stride=2, layers=3, pooling="last"),
    "stride, both directions, last": replace(SMALL, stride=2, layers=2, bidirectional=True, pooling="last"),
    "stride, both directions, all": replace(LINEAR, stride=3, bidirectional=True, pooling="all"),
}
LENGTHS = [7, 1, 0, 4, 12]  # blocks of 3 and of 2 that are whole, and that are not


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An elementwise loop would compile a program for each shape; test_elementwise has it compiled."""
    monkeypatch.setattr(elementwise, "_compiled", lambda function: function)


def model_of(config: ModelConfig) -> tuple[Classifier, dict[str, NDArray[np.float64]]]:
    model = Classifier(config, 0, OUTPUTS, features=FEATURES)
    weights = reference_classifier.random_weights(config, 0, OUTPUTS, features=FEATURES)
    model.set_arrays(weights)
    return model, weights


def sequences_of(lengths: Sequence[int], seed: int = 1) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, FEATURES)).astype(np.float32) for length in lengths]


def batch_of(sequences: Sequence[NDArray[np.float32]], more: int = 0, filler: float = 0.0) -> tuple[Any, Any]:
    """Values and lengths, `more` steps longer than need be; `filler` is what stands behind the ends."""
    values, lengths = padded(sequences, max(len(sequence) for sequence in sequences) + more)
    values[np.arange(values.shape[1]) >= lengths[:, None]] = filler
    return tf.constant(values), tf.constant(lengths)


# The equations


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_equal_the_equations(name: str) -> None:
    model, weights = model_of(CONFIGS[name])
    sequences = sequences_of(LENGTHS)
    expected = reference_classifier.run(CONFIGS[name], weights, sequences)
    assert np.ptp(expected, axis=0).min() > 0.1  # sequences that look alike would prove nothing
    np.testing.assert_allclose(model(*batch_of(sequences)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", [1, 2, 3, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_padding_counts_in_nothing(name: str, more: int) -> None:
    model, _ = model_of(CONFIGS[name])
    sequences = sequences_of(LENGTHS)
    # Whatever stands there: a model that read it would tell.
    padded_more = model(*batch_of(sequences, more, filler=5.0))
    np.testing.assert_allclose(padded_more, model(*batch_of(sequences)), rtol=1e-4, atol=1e-5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    more=st.integers(0, 4),
    seed=st.integers(0, 100),
    name=st.sampled_from(
        ["cepstra", "stride", "stride, both directions, all", "stride, both directions, last", "tanh"]
    ),
)
def test_any_batch_equals_the_equations_of_each_of_its_sequences(
    uncompiled: None, lengths: list[int], more: int, seed: int, name: str
) -> None:
    model, weights = model_of(CONFIGS[name])
    sequences = sequences_of(lengths, seed)
    more = max(more, 1 - max(lengths))
    expected = reference_classifier.run(CONFIGS[name], weights, sequences)
    np.testing.assert_allclose(model(*batch_of(sequences, more)), expected, rtol=1e-4, atol=1e-5)


def test_the_named_weights_are_all_there_are() -> None:
    for config in CONFIGS.values():
        model, weights = model_of(config)
        named = model.named_weights()
        assert {id(weight) for weight in named.values()} == {id(weight) for weight in model.weights}
        assert set(named) == set(weights)
        scaling = {id(named["input_mean"]), id(named["input_scale"])}
        assert not scaling & {id(weight) for weight in model.trainable_variables}


# Gradients


def squared_error(outputs: Any, targets: Any) -> Any:
    return tf.reduce_mean(tf.square(outputs - targets))


@pytest.mark.parametrize("loss", ["classes", "values"])
@pytest.mark.parametrize(
    "name", ["two layers, last", "both directions, last", "projected", "stride, both directions, all"]
)
def test_gradients_are_the_slopes_of_the_equations(name: str, loss: str) -> None:
    config = CONFIGS[name]
    model, weights = model_of(config)
    sequences = sequences_of(LENGTHS)
    classes, values = np.array([0, 1, 2, 3, 0], np.int32), np.random.default_rng(3).normal(size=(5, OUTPUTS))
    of_class = np.array([0.5, 1, 2, 1], np.float32)
    function = weighted_cross_entropy(of_class) if loss == "classes" else squared_error
    step = SupervisedStep(model, optimizer_of(TrainConfig(), 10, model), function)
    targets = tf.constant(classes) if loss == "classes" else tf.constant(values, tf.float32)
    found, gradients = step._find_gradients(batch_of(sequences, more=2), targets, {})

    def loss_with(name: str, entry: tuple[int, ...], change: float) -> float:
        changed = weights[name].copy()
        changed[entry] += change
        outputs = reference_classifier.run(config, weights | {name: changed}, sequences)
        if loss == "values":
            return float(np.square(outputs - values).mean())
        nats = np.log(np.exp(outputs).sum(axis=1)) - outputs[range(5), classes]
        return float(np.mean(nats * of_class[classes]))

    assert float(found) == pytest.approx(loss_with("output_bias", (0,), 0.0), rel=1e-5)
    random = np.random.default_rng(4)
    names = {id(variable): name for name, variable in model.named_weights().items()}
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        name = names[id(weight)]
        for _ in range(2):
            entry = tuple(int(random.integers(size)) for size in weights[name].shape)
            slope = (loss_with(name, entry, 1e-5) - loss_with(name, entry, -1e-5)) / 2e-5
            assert gradient.numpy()[entry] == pytest.approx(slope, rel=2e-3, abs=2e-5), (name, entry)


def test_an_xla_program_has_the_gradients_of_the_maximum_too() -> None:
    """It may compute the states twice with different roundings, so that none equals the maximum."""
    model, _ = model_of(replace(LINEAR, layers=1, pooling="all"))
    batch = batch_of(sequences_of([12] * 5))

    def gradients() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(*batch) ** 2)
        return tape.gradient(total, model.trainable_variables)

    found = tf.function(gradients, autograph=False, jit_compile=True)()
    for ours, wanted in zip(found, gradients(), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("one_length", [False, True])
def test_a_step_lowers_the_squared_error_to_almost_nothing(one_length: bool) -> None:
    """The mean of a sequence is learned, by the graph and by the program of XLA."""
    config = replace(SMALL, activation="linear", recurrence="diagonal", hidden_dim=8)
    model = Classifier(config, 0, 1, seed=1, features=FEATURES)
    sequences = sequences_of([6] * 32)
    values, lengths = batch_of(sequences)
    targets = tf.constant([[sequence.mean()] for sequence in sequences])
    optimizer = optimizer_of(TrainConfig(learning_rate=0.03, warmup_steps=0), 100, model)
    step = SupervisedStep(model, optimizer, squared_error, one_length)
    losses = [float(step((values, lengths), targets, tf.constant([1, number]))) for number in range(100)]
    assert losses[0] == pytest.approx(float(tf.reduce_mean(targets**2)), rel=0.1)
    assert losses[-1] < 0.1 * losses[0]


# Graphs


def run(graph: onnx.ModelProto, folder: Path, *inputs: Any) -> NDArray[Any]:
    """Outputs of the one graph of a model, for tensors."""
    (outputs,) = in_onnxruntime({"classify": graph}, folder)["classify"](*(tensor.numpy() for tensor in inputs))
    return outputs


@pytest.mark.parametrize("name", CONFIGS)
def test_the_graph_that_classifies_equals_keras_and_the_equations(name: str, tmp_path: Path) -> None:
    config, temperature = CONFIGS[name], 1.7
    model, weights = model_of(config)
    graph = classify_graph(config, model.arrays(), temperature)
    for lengths, more in ((LENGTHS, 0), (LENGTHS, 1), (LENGTHS, 5), ([3], 0)):
        sequences = sequences_of(lengths)
        values, count = batch_of(sequences, more)
        logits = run(graph, tmp_path, values, count)
        np.testing.assert_allclose(logits, model(values, count) / temperature, atol=1e-4)
        expected = reference_classifier.run(config, weights, sequences) / temperature
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["two layers, last", "projected", "stride", "stride, both directions, all"])
def test_the_graph_that_tells_values_equals_the_equations_in_their_units(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    model, weights = model_of(config)
    scaling = Scaling(np.random.default_rng(5).normal(3, 20, (50, OUTPUTS)))
    graph = regress_graph(config, model.arrays(), scaling)
    sequences = sequences_of(LENGTHS)
    values, lengths = batch_of(sequences, more=1)
    expected = reference_classifier.run(config, weights, sequences) * scaling.scale + scaling.mean
    np.testing.assert_allclose(run(graph, tmp_path, values, lengths), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "stride" in name])
def test_a_batch_shorter_than_a_block_has_the_outputs_of_nothing(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    model, weights = model_of(config)
    values, lengths = batch_of(sequences_of([config.stride - 1, 0]))
    assert values.shape[1] < config.stride
    expected = np.broadcast_to(weights["output_bias"], (2, OUTPUTS))
    np.testing.assert_allclose(model(values, lengths), expected, atol=1e-6)
    graph = classify_graph(config, model.arrays())
    np.testing.assert_allclose(run(graph, tmp_path, values, lengths), expected, atol=1e-6)


def test_in_8_bits_the_graph_is_close(tmp_path: Path) -> None:
    config = replace(CONFIGS["stride, both directions, all"], hidden_dim=48, pooling="mean")
    model = Classifier(config, 0, OUTPUTS, seed=1, features=FEATURES)
    model.set_arrays(reference_classifier.random_weights(config, 0, OUTPUTS, features=FEATURES))
    inputs = batch_of(sequences_of(LENGTHS))
    exact, rough = (run(classify_graph(config, model.arrays(), 1.0, bits), tmp_path, *inputs) for bits in (False, True))
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.ptp(exact)
