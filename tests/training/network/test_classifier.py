"""The classifier against the same equations in numpy, forward and backward; padding counts in nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import reference_classifier
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.config import ModelConfig, TrainConfig
from textrnn.tokenizers.base import PAD_ID, UNKNOWN_ID
from textrnn.training.loop.training_step import SupervisedStep, optimizer_of
from textrnn.training.network.classifier import Classifier
from textrnn.training.tasks.classification.trainer import weighted_cross_entropy

VOCABULARY_SIZE, CLASSES = 9, 3
SMALL = ModelConfig(hidden_dim=5, embedding_dim=4, layers=1)

# Each option in both its values.
CONFIGS = {
    "one layer": SMALL,
    "relu": replace(SMALL, activation="relu"),
    "both directions": replace(SMALL, bidirectional=True),
    "two layers": replace(SMALL, layers=2, embedding_dim=0),
    "two layers, no residual": replace(SMALL, layers=2, residual=False),
    "two layers, normalised, both directions": replace(SMALL, layers=2, normalization="layer", bidirectional=True),
    "segments": replace(SMALL, segment_length=3),
    "pairs": replace(SMALL, input_ngrams=2, ngram_rows=7),
    "n-grams of four, segments, both directions": replace(
        SMALL, layers=2, input_ngrams=4, ngram_rows=40, segment_length=4, bidirectional=True
    ),
    "all of it": replace(
        SMALL, layers=2, normalization="layer", bidirectional=True, segment_length=4, activation="relu"
    ),
}
UNWEIGHTED = weighted_cross_entropy(np.ones(CLASSES, np.float32))
TEXTS = [[4, 7, 1, 8, 5, 5, 3], [6], [], [2, 3, 4, 5], [8, 7, 6, 5, 4, 3, 2, 1]]


def model_of(config: ModelConfig) -> tuple[Classifier, dict[str, NDArray[np.float64]]]:
    model = Classifier(config, VOCABULARY_SIZE, CLASSES)
    weights = reference_classifier.random_weights(config, VOCABULARY_SIZE, CLASSES)
    model.set_arrays(weights)
    return model, weights


def padded(texts: Sequence[Sequence[int]], segment_length: int = 0, more: int = 0) -> NDArray[np.int32]:
    """One batch: to the length of the longest, to whole segments, and `more` units beyond."""
    unit = segment_length or 1
    length = unit * (-(-max(1, *map(len, texts)) // unit) + more)
    ids = np.full((len(texts), length), PAD_ID, np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids


def logits_of(model: Classifier, texts: Sequence[Sequence[int]], more: int = 0) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = model(tf.constant(padded([*texts], model.config.segment_length, more))).numpy()
    return logits


# The equations


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_the_equations(name: str) -> None:
    model, weights = model_of(CONFIGS[name])
    expected = reference_classifier.run(CONFIGS[name], weights, TEXTS)
    assert np.ptp(expected, axis=0).min() > 0.1  # texts that look alike would prove nothing
    np.testing.assert_allclose(logits_of(model, TEXTS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["two layers, normalised, both directions", "all of it", "n-grams of four, segments, both directions"]
)
def test_gradients_are_the_slopes_of_the_equations(name: str) -> None:
    config = replace(CONFIGS[name], activation="tanh")  # whose slope has no step that a difference could straddle
    model, weights = model_of(config)
    targets = np.array([0, 1, 2, 1, 0], np.int32)
    step = SupervisedStep(model, optimizer_of(TrainConfig(), 10, model), UNWEIGHTED)
    loss, gradients = step._find_gradients((tf.constant(padded(TEXTS, config.segment_length)),), targets, {})

    def loss_with(name: str, entry: tuple[int, ...], change: float) -> float:
        changed = weights[name].copy()
        changed[entry] += change
        logits = reference_classifier.run(config, weights | {name: changed}, TEXTS)
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[range(len(TEXTS)), targets]))

    assert float(loss) == pytest.approx(loss_with("embedding", (0, 0), 0.0), rel=1e-5)
    random = np.random.default_rng(4)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        (name,) = (name for name, variable in model.named_weights().items() if variable is weight)
        for _ in range(3):
            entry = tuple(int(random.integers(size)) for size in weights[name].shape)
            slope = (loss_with(name, entry, 1e-5) - loss_with(name, entry, -1e-5)) / 2e-5
            assert gradient.numpy()[entry] == pytest.approx(slope, rel=1e-3, abs=1e-5), (name, entry)


def test_the_named_weights_are_all_there_are() -> None:
    for config in CONFIGS.values():
        model, weights = model_of(config)
        named = model.named_weights()
        assert {id(weight) for weight in named.values()} == {id(weight) for weight in model.trainable_variables}
        assert set(named) == set(weights)


# Padding and batches


@settings(max_examples=15)
@given(
    texts=st.lists(st.lists(st.integers(1, VOCABULARY_SIZE - 1), max_size=10), min_size=1, max_size=5),
    more=st.integers(0, 3),
    name=st.sampled_from(
        ["two layers, normalised, both directions", "all of it", "n-grams of four, segments, both directions"]
    ),
)
def test_a_text_has_the_same_logits_whatever_the_padding_and_the_batch(
    texts: list[list[int]], more: int, name: str
) -> None:
    model, weights = model_of(CONFIGS[name])
    # The reference reads one text at a time, and knows no padding.
    expected = reference_classifier.run(CONFIGS[name], weights, texts)
    np.testing.assert_allclose(logits_of(model, texts, more), expected, rtol=1e-4, atol=1e-5)


def test_padding_has_no_gradient() -> None:
    model, _ = model_of(CONFIGS["all of it"])
    with tf.GradientTape() as tape:
        logits = model(tf.constant(padded([[4, 7, 1], [5]], 4, more=2)))
    gradient = tf.convert_to_tensor(tape.gradient(logits, model.backbone.embedding)).numpy()
    assert set(np.flatnonzero(gradient.any(axis=1))) == {1, 4, 5, 7}


def test_a_token_beyond_the_known_ones_is_read_as_unknown() -> None:
    model, _ = model_of(CONFIGS["all of it"])
    rare = [[4, VOCABULARY_SIZE, 1], [VOCABULARY_SIZE + 70]]
    unknown = [[4, UNKNOWN_ID, 1], [UNKNOWN_ID]]
    np.testing.assert_array_equal(logits_of(model, rare), logits_of(model, unknown))


# Order


def test_each_segment_starts_afresh() -> None:
    first, second = [4, 7, 1], [8, 5, 3]
    apart, _ = model_of(CONFIGS["segments"])
    np.testing.assert_allclose(logits_of(apart, [first + second]), logits_of(apart, [second + first]), atol=1e-6)
    whole, _ = model_of(replace(CONFIGS["segments"], segment_length=0))
    assert np.abs(logits_of(whole, [first + second]) - logits_of(whole, [second + first])).max() > 0.01


def test_both_directions_read_a_text_and_its_reverse_alike() -> None:
    config = replace(CONFIGS["both directions"], layers=2)
    model, weights = model_of(config)
    names = [name for name in weights if not name.startswith("backward_") and f"backward_{name}" in weights]
    mirrored = weights | {f"backward_{name}": weights[name] for name in names}
    # Largest and mean states stand as forward, backward, forward, backward.
    output = mirrored["output_kernel"]
    for begin in (0, 10):
        output[begin + 5 : begin + 10] = output[begin : begin + 5]
    model.set_arrays(mirrored)
    text = [4, 7, 1, 8, 5]
    np.testing.assert_allclose(logits_of(model, [text]), logits_of(model, [text[::-1]]), atol=1e-5)
    model.set_arrays(weights | {f"backward_{name}": 0 * weights[name] for name in names})
    assert np.abs(logits_of(model, [text]) - logits_of(model, [text[::-1]])).max() > 0.01


# Learning

GOOD, BAD, DOG, MAN = 4, 5, 6, 7


def by_a_word(random: np.random.Generator) -> tuple[list[int], int]:
    """Some words, one of them good or bad."""
    words = random.integers(DOG, VOCABULARY_SIZE, random.integers(0, 7)).tolist()
    good = int(random.integers(2))
    words.insert(int(random.integers(len(words) + 1)), GOOD if good else BAD)
    return words, good


def by_order(random: np.random.Generator) -> tuple[list[int], int]:
    """Dog bites man, or man bites dog: the same words."""
    dog_bites = int(random.integers(2))
    return ([DOG, 8, MAN] if dog_bites else [MAN, 8, DOG]), dog_bites


@pytest.mark.parametrize(
    ("rule", "config"),
    [
        (by_a_word, replace(SMALL, hidden_dim=8, activation="relu", bidirectional=True, segment_length=4)),
        (by_order, replace(SMALL, hidden_dim=8)),
    ],
    ids=["a word", "order"],
)
def test_a_rule_is_learned_to_the_last_text(rule: object, config: ModelConfig) -> None:
    random = np.random.default_rng(0)
    texts, targets = zip(*(rule(random) for _ in range(64)), strict=True)  # type: ignore[operator]
    model = Classifier(config, VOCABULARY_SIZE, 2, seed=1)
    optimizer = optimizer_of(TrainConfig(learning_rate=0.05, warmup_steps=0), 60, model)
    step = SupervisedStep(model, optimizer, weighted_cross_entropy(np.ones(2, np.float32)))
    ids = tf.constant(padded(texts[:32], config.segment_length, more=1))
    for number in range(60):
        step((ids,), tf.constant(targets[:32], tf.int32), tf.constant([1, number], tf.int32))
    unseen = logits_of(model, texts[32:])
    assert (unseen.argmax(axis=1) == targets[32:]).all()
    assert sorted(set(targets[32:])) == [0, 1]
    if rule is by_order:  # without its memory the network sees a bag of words, the same in both classes
        for name, weight in model.named_weights().items():
            if "recurrent" in name:
                weight.assign(tf.zeros_like(weight))
        forgetful = logits_of(model, texts[32:])
        np.testing.assert_allclose(forgetful, np.broadcast_to(forgetful[0], forgetful.shape), atol=1e-5)


# Start and masks


def test_the_seed_decides_the_initial_weights() -> None:
    config = CONFIGS["two layers, normalised, both directions"]
    first, same, other = (Classifier(config, VOCABULARY_SIZE, CLASSES, seed).arrays() for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, same[name])
    for name in ("embedding", "recurrent_kernel_0", "backward_kernel_1", "output_kernel"):
        assert not np.array_equal(first[name], other[name])
    # Neither two layers nor two directions may start as one.
    assert not np.array_equal(first["recurrent_kernel_0"], first["recurrent_kernel_1"])
    assert not np.array_equal(first["kernel_0"], first["backward_kernel_0"])


def test_what_is_dropped_follows_from_the_seed() -> None:
    config = replace(CONFIGS["all of it"], hidden_dim=40, dropout=0.4, embedding_dropout=0.25, weight_drop=0.5)
    model = Classifier(config, 100, CLASSES)

    def masks(*seed: int) -> dict[str, NDArray[np.float32]]:
        return {name: mask.numpy() for name, mask in model.draw_masks(6, 8, tf.constant(seed, tf.int32)).items()}

    first, same, other = masks(1, 7000), masks(1, 7000), masks(1, 8000)
    assert {name: mask.shape for name, mask in first.items()} == {
        "embedding": (100, 1),
        "hidden_0": (4, 12, 40),
        "recurrent_kernel_0": (40, 40),
        "recurrent_kernel_1": (40, 40),
        "backward_hidden_0": (4, 12, 40),
        "backward_recurrent_kernel_0": (40, 40),
        "backward_recurrent_kernel_1": (40, 40),
        "features": (6, 2 * 2 * 40 + 4),
    }
    for name, mask in first.items():
        np.testing.assert_array_equal(mask, same[name])
        assert not np.array_equal(mask, other[name]), name
    assert np.mean(first["features"] == 0) == pytest.approx(0.4, abs=0.06)
    assert (first["recurrent_kernel_0"] != first["backward_recurrent_kernel_0"]).any()
