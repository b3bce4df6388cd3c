"""The recognizer: its logits and its graph beside numpy, its loss beside a sum over all paths."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import in_onnxruntime
from numpy.typing import NDArray
from reference_classifier import cepstra_and_slopes, layers_over_time
from reference_model import drawn

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.tensorflow_setup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from textrnn.training.export.recognition.graph import recognize_graph  # noqa: E402
from textrnn.training.network.recognition.ctc_loss import ctc_nats  # noqa: E402
from textrnn.training.network.recognition.recognizer import Recognizer  # noqa: E402

LENGTHS = np.array([11, 6, 2], np.int32)
FEATURES, TOKENS = 3, 5


def model(**settings: Any) -> Recognizer:
    config = ModelConfig(**{"hidden_dim": 6, "layers": 2, "bidirectional": True, "frame_stack": 3, **settings})
    made = Recognizer(config, FEATURES, TOKENS, seed=3)
    weights = drawn({name: array.shape for name, array in made.arrays().items()}, seed=1)
    weights["input_scale"] = np.abs(weights["input_scale"]) + 0.5
    made.set_arrays(weights)
    return made


def frames() -> NDArray[np.float32]:
    found = np.random.default_rng(0).normal(size=(len(LENGTHS), LENGTHS.max(), FEATURES))
    return np.where(np.arange(LENGTHS.max())[:, None] < LENGTHS[:, None, None], found, 0).astype(np.float32)


def reference(network: Recognizer, recording: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits (steps, tokens) of one recording (time, features), in float64."""
    config, weights = network.config, network.arrays()
    steps = len(recording) // config.frame_stack
    read = recording
    if config.cepstra:
        read = cepstra_and_slopes(recording - weights["input_frame_mean"], config.cepstra)
    x = read[: steps * config.frame_stack].reshape(steps, -1)
    x = (x - weights["input_mean"]) / weights["input_scale"]
    if config.embedding_dim:
        x = np.maximum(x @ weights["projection_kernel"] + weights["projection_bias"], 0)
    directions = ("", "backward_") if config.bidirectional else ("",)
    states = np.concatenate([layers_over_time(config, weights, x, prefix) for prefix in directions], axis=1)
    return np.asarray(states @ weights["output_kernel"] + weights["output_bias"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bidirectional": False, "frame_stack": 1, "layers": 1},
        {"recurrence": "rotation", "activation": "linear", "mixing": "glu", "normalization": "layer"},
        {"recurrence": "diagonal", "bidirectional": False, "embedding_dim": 4, "frame_stack": 2},
        {"cepstra": 2, "frame_stack": 2},
    ],
)
def test_network_and_graph_compute_what_numpy_does(settings: dict[str, Any], tmp_path: Path) -> None:
    network, given = model(**settings), frames()
    logits, steps = network(tf.constant(given), tf.constant(LENGTHS))
    assert steps.numpy().tolist() == (LENGTHS // network.config.frame_stack).tolist()
    graphs = in_onnxruntime({"recognize": recognize_graph(network.config, network.arrays())}, tmp_path)
    (found,) = graphs["recognize"](given, LENGTHS)
    for row, length in enumerate(LENGTHS):
        if count := int(steps[row]):
            expected = reference(network, given[row, :length])
            np.testing.assert_allclose(logits[:count, row], expected, atol=3e-5)
            np.testing.assert_allclose(found[row, :count], expected, atol=3e-5)
    assert np.isfinite(found).all()  # of a recording shorter than a step, too


def test_the_loss_is_minus_the_log_of_the_sum_over_all_paths() -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(0, 2, (4, 5, 3)).astype(np.float32)
    targets = np.array([[1, 2], [1, 1], [2, PAD_ID], [1, 2], [PAD_ID, PAD_ID]], np.int32)
    steps = np.array([4, 4, 3, 2, 0], np.int32)
    with tf.GradientTape() as tape:
        given = tf.constant(logits)
        tape.watch(given)
        nats = ctc_nats(given, tf.constant(steps), tf.constant(targets))
        total = tf.reduce_sum(nats[:4])
    gradient = tape.gradient(total, given).numpy()
    log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=2, keepdims=True))
    for row in range(4):
        wanted = tuple(token for token in targets[row].tolist() if token != PAD_ID)
        paths = [
            sum(log_probs[t, row, token] for t, token in enumerate(path))
            for path in itertools.product(range(3), repeat=int(steps[row]))
            if tuple(token for token, _ in itertools.groupby(path) if token != PAD_ID) == wanted
        ]
        assert float(nats[row]) == pytest.approx(-np.logaddexp.reduce(paths), rel=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[2:, 3].any()  # padding
    np.testing.assert_allclose(gradient[:4, 0].sum(axis=-1), 0, atol=1e-5)
