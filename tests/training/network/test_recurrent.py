"""The layer equals Keras's own, and equals the equations spelled out in numpy, forward and backward."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference_recurrence import through_time

from textrnn.training.network import cpu_loop, recurrent
from textrnn.training.network.recurrent import SimpleRNN, recurrence

LOOPS = ["scan", "one chain", "two chains"]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which the loop is run, whatever its size here."""
    monkeypatch.setattr(recurrent, "runs_as_graph", lambda batch, hidden, precision: request.param != "scan")
    monkeypatch.setattr(cpu_loop, "chains", lambda batch, hidden: 2 if request.param == "two chains" else 1)
    return str(request.param)


CASES = [
    *itertools.product(LOOPS, ["tanh", "relu", "linear"], ["eager", "graph", "xla"], [7]),
    *itertools.product(LOOPS, ["tanh"], ["graph", "xla"], [1, 4, 8]),
]


@pytest.mark.parametrize(
    ("loop", "activation", "compiled", "time"),
    # Only Keras compiles chains by XLA, which takes seconds: once each. Activations and times are those of the graphs.
    [case for case in CASES if case[0] == "scan" or case[2] != "xla" or case[1:] == ("tanh", "xla", 7)],
    indirect=["loop"],
)
@pytest.mark.parametrize("resets", [False, True])
def test_recurrence_equals_the_equations(loop: str, activation: str, resets: bool, compiled: str, time: int) -> None:
    random = np.random.default_rng(3)
    batch, hidden = 4, 5
    projected = random.normal(size=(time, batch, hidden))
    first = random.normal(size=(batch, hidden))
    kernel = random.normal(size=(hidden, hidden)) * 0.5
    upstream = random.normal(size=(time, batch, hidden))
    later = random.normal(size=(batch, hidden))
    keep = (random.random((time, batch, 1)) > 0.4).astype(float) if resets else np.ones((time, batch, 1))
    expected = through_time(projected, first, kernel, activation, keep, upstream, later)

    def run(a: tf.Tensor, h: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([a, h, u])
            states, last = recurrence(a, h, u, activation, tf.constant(keep, tf.float32) if resets else None)
            total = tf.reduce_sum(states * tf.constant(upstream, tf.float32))
            total += tf.reduce_sum(last * tf.constant(later, tf.float32))
        return states, last, tape.gradient(total, [a, h, u])

    call = run if compiled == "eager" else tf.function(run, jit_compile=compiled == "xla", autograph=False)
    states, last, gradients = call(*(tf.constant(x, tf.float32) for x in (projected, first, kernel)))
    np.testing.assert_array_equal(last, states[-1])
    for name, actual, wanted in zip(("states", "delta", "h_0", "U"), (states, *gradients), expected, strict=True):
        np.testing.assert_allclose(actual.numpy(), wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_bfloat16_stays_close_and_carries_its_state_in_float32(loop: str) -> None:
    random = np.random.default_rng(4)
    arrays = [random.normal(size=shape).astype("float32") * 0.3 for shape in ((9, 4, 16), (4, 16), (16, 16))]
    projected, first, kernel = map(tf.constant, arrays)
    results = []
    for inputs in (projected, tf.cast(projected, tf.bfloat16)):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            states, last = recurrence(inputs, first, kernel)
            total = tf.reduce_sum(tf.cast(states, tf.float32) ** 2)
        results.append([states, last, tape.gradient(total, kernel)])
    exact, rough = results
    assert rough[0].dtype == tf.bfloat16
    assert rough[1].dtype == rough[2].dtype == tf.float32
    assert not np.array_equal(rough[1], tf.cast(rough[0][-1], tf.float32))  # finer than what is kept of it
    for one, other in zip(exact, rough, strict=True):
        one, other = (tf.cast(x, tf.float32).numpy() for x in (one, other))
        assert 0 < np.abs(one - other).max() < 0.02 * np.abs(one).max()


def test_chains_have_rows_of_equal_number_and_work_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_loop, "cores", lambda: 4)
    assert cpu_loop.chains(64, 512) == 4
    assert cpu_loop.chains(16, 512) == 2  # a quarter of the rows would be too little work a step
    assert cpu_loop.chains(9, 1000) == 3  # of equal size
    assert cpu_loop.chains(64, 64) == cpu_loop.chains(1, 1024) == cpu_loop.chains(64, 4096) == 1


OPTIONS = [
    {},
    {"activation": "relu"},
    {"activation": "linear", "use_bias": False},
    {"activation": "sigmoid"},
    {"return_sequences": True},
    {"return_sequences": True, "go_backwards": True},
    {"return_state": True},
    {"unroll": True},
    {"kernel_regularizer": "l2", "recurrent_initializer": "identity"},
]


def twins(options: dict[str, object], features: int = 4) -> tuple[keras.Layer, keras.Layer]:
    """Keras's layer and ours with the same weights."""
    theirs, ours = keras.layers.SimpleRNN(6, **options), SimpleRNN(6, **options)
    for layer in (theirs, ours):
        layer.build((3, 8, features))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layer_equals_keras_forward_and_backward(options: dict[str, object]) -> None:
    theirs, ours = twins(options)
    inputs = tf.constant(np.random.default_rng(0).normal(size=(3, 8, 4)), tf.float32)
    results = []
    for layer in (theirs, ours):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.nest.flatten(layer(inputs))
            total = tf.add_n([tf.reduce_sum(tf.sin(output)) for output in outputs])
        results.append([*outputs, *tape.gradient(total, [inputs, *layer.trainable_variables])])
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_layer_equals_keras_with_a_mask_and_an_initial_state() -> None:
    theirs, ours = twins({"return_sequences": True})
    random = np.random.default_rng(1)
    inputs, state = random.normal(size=(3, 8, 4)), random.normal(size=(3, 6))
    mask = np.arange(8)[None, :] < np.array([[8], [5], [1]])
    for arguments in ({"initial_state": state}, {"mask": mask}, {"initial_state": state, "mask": mask}):
        np.testing.assert_allclose(ours(inputs, **arguments), theirs(inputs, **arguments), rtol=1e-5, atol=1e-6)


def test_stateful_layer_carries_its_state_as_keras_does() -> None:
    theirs, ours = twins({"stateful": True})
    inputs = np.random.default_rng(2).normal(size=(3, 8, 4))
    models = []
    for layer in (theirs, ours):
        models.append(keras.Sequential([keras.Input(batch_shape=(3, 8, 4)), layer]))
    for _ in range(3):
        theirs_out, ours_out = (model(inputs) for model in models)
        np.testing.assert_allclose(ours_out, theirs_out, rtol=1e-5, atol=1e-6)


def test_layer_trains_with_keras_fit_and_saves(tmp_path: object) -> None:
    model = keras.Sequential([keras.Input((5, 2)), SimpleRNN(8, dropout=0.1), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    random = np.random.default_rng(5)
    inputs = random.normal(size=(64, 5, 2))
    targets = inputs.sum(axis=(1, 2))[:, None]
    losses = model.fit(inputs, targets, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    path = f"{tmp_path}/model.keras"
    model.save(path)
    again = keras.models.load_model(path, custom_objects={"SimpleRNN": SimpleRNN})
    np.testing.assert_allclose(again(inputs), model(inputs), rtol=1e-5, atol=1e-6)
