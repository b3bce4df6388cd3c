"""The graphs of a translator: a numpy reference, and Keras for every kind of layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_translator
from exported import in_onnxruntime

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import PAD_ID
from textrnn.training.tensorflow_setup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from textrnn.training.export.text_to_text import translator_graphs  # noqa: E402
from textrnn.training.network.text_to_text.translator import Translator  # noqa: E402

SOURCES = np.array([[5, 6, 7, 4], [8, 4, PAD_ID, PAD_ID], [PAD_ID] * 4], np.int32)
TARGETS = np.array([[2, 5, 6, 5, 4], [2, 7, 7, 4, 6], [2, 4, 4, 4, 4]], np.int32)


def model(**settings: Any) -> Translator:
    config = ModelConfig(**{"hidden_dim": 6, "embedding_dim": 5, "layers": 2, "bidirectional": True, **settings})
    made = Translator(config, 9, 8, seed=3)
    draw = np.random.default_rng(0)
    made.set_arrays({name: array + 0.2 * draw.normal(size=array.shape) for name, array in made.arrays().items()})
    return made


def by_graphs(network: Translator, folder: Path, in_8_bits: bool = False) -> tuple[Any, Any]:
    """Logits (time, batch, vocabulary) and attention (time, batch, source) of the graphs, step by step."""
    graphs = in_onnxruntime(translator_graphs(network.config, network.arrays(), in_8_bits), folder)
    keys, values, mask, state = graphs["encode"](SOURCES)
    steps = []
    for t in range(TARGETS.shape[1]):
        logits, attention, state = graphs["decode"](TARGETS[:, t], state, keys, values, mask)
        steps.append((logits, attention))
    return np.stack([step[0] for step in steps]), np.stack([step[1] for step in steps])


def test_the_graphs_compute_what_numpy_does(tmp_path: Path) -> None:
    network = model(layers=3)
    logits, attention = by_graphs(network, tmp_path)
    for row, length in enumerate((4, 2)):
        expected = reference_translator.logits(network.arrays(), SOURCES[row, :length], TARGETS[row])
        np.testing.assert_allclose(logits[:, row], expected[0], atol=2e-5)
        np.testing.assert_allclose(attention[:, row, :length], expected[1], atol=1e-5)
    assert np.isfinite(logits).all()  # of a source without a token, too


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": 1, "bidirectional": False},
        {"recurrence": "rotation", "activation": "linear", "mixing": "glu", "normalization": "layer"},
        {"recurrence": "diagonal", "activation": "relu", "mixing": "relu", "residual": False},
        {"activation": "relu", "max_excitation": 0.9, "input_ngrams": 3, "ngram_rows": 32},
    ],
)
def test_the_graphs_compute_what_keras_does_with_every_layer(settings: dict[str, Any], tmp_path: Path) -> None:
    network = model(**settings)
    memory, state = network.encode(tf.constant(SOURCES))
    expected = network.decode(tf.constant(TARGETS), state, memory)
    for one, other in zip(by_graphs(network, tmp_path), expected, strict=False):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_weights_in_8_bits_change_logits_little(tmp_path: Path) -> None:
    network = model(hidden_dim=32, embedding_dim=32)
    full, small = by_graphs(network, tmp_path / "a")[0], by_graphs(network, tmp_path / "b", in_8_bits=True)[0]
    assert 0 < np.abs(full - small).max() < 0.1 * np.abs(full).max()
