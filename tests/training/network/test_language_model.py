"""The whole model against the same equations in numpy, forward and backward, for every option of its configuration."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import reference_model
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.config import ModelConfig
from textrnn.tokenizers.base import END_ID
from textrnn.training.network import elementwise
from textrnn.training.network.backbone import Backbone
from textrnn.training.network.language_model import LanguageModel, cross_entropy

VOCABULARY_SIZE = 9
SMALL = ModelConfig(hidden_dim=5, embedding_dim=4, layers=2)

# Each option in both its values, and every kind of output: free, tied through an adapter, tied alone.
CONFIGS = {
    "default": SMALL,
    "one layer": replace(SMALL, layers=1, residual=False),
    "three layers, normalised": replace(SMALL, layers=3, normalization="layer"),
    "no residual": replace(SMALL, residual=False, normalization="layer"),
    "tied by an adapter": replace(SMALL, tied=True),
    "tied": replace(SMALL, embedding_dim=0, tied=True, layers=3, residual=False),
    "adaptive": replace(SMALL, softmax="adaptive", cutoffs=(3, 5)),
    "adaptive and tied": replace(SMALL, softmax="adaptive", cutoffs=(6,), tied=True),
    "pairs": replace(SMALL, input_ngrams=2, ngram_rows=7),
    "n-grams of four": replace(SMALL, input_ngrams=4, ngram_rows=40, embedding_dim=0, tied=True),
    "n-grams, adaptive": replace(SMALL, input_ngrams=3, ngram_rows=11, softmax="adaptive", cutoffs=(6,), tied=True),
    "relu": replace(SMALL, activation="relu"),
    "linear": replace(SMALL, activation="linear", layers=3),
    "mixed by relu": replace(SMALL, mixing="relu", residual=False),
    "mixed by gates": replace(SMALL, mixing="glu", normalization="layer", activation="linear"),
    "diagonal": replace(SMALL, recurrence="diagonal"),
    "diagonal, linear": replace(SMALL, recurrence="diagonal", activation="linear", mixing="relu", tied=True),
    "diagonal, relu": replace(SMALL, recurrence="diagonal", activation="relu", mixing="glu", normalization="layer"),
    "rotation": replace(SMALL, recurrence="rotation", hidden_dim=6, layers=1),
    "rotation, linear": replace(
        SMALL, recurrence="rotation", hidden_dim=6, activation="linear", mixing="glu", normalization="layer"
    ),
}
# Where the state goes another way.
FORMS = ["three layers, normalised", "diagonal, relu", "diagonal, linear", "rotation", "rotation, linear"]


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An elementwise loop would compile a program for each shape; test_elementwise has it compiled."""
    monkeypatch.setattr(elementwise, "_compiled", lambda function: function)


def model_of(config: ModelConfig, apart: bool = False) -> tuple[LanguageModel, dict[str, NDArray[np.float64]]]:
    model = LanguageModel(config, VOCABULARY_SIZE, separate_documents=apart)
    weights = reference_model.random_weights(config, VOCABULARY_SIZE)
    model.set_arrays(weights)
    return model, weights


def random_ids(batch: int, time: int, seed: int = 1) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, VOCABULARY_SIZE, (batch, time), dtype=np.int32)


def random_state(config: ModelConfig, batch: int) -> NDArray[np.float32]:
    return reference_model.random_state(config, batch, VOCABULARY_SIZE)


# Fewer tokens than words, and more: the first projection is of each token, or of the whole table.
@pytest.mark.parametrize("time", [2, 7])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_state_equal_the_equations(name: str, apart: bool, time: int) -> None:
    config = CONFIGS[name]
    model, weights = model_of(config, apart)
    ids, state = random_ids(3, time), random_state(config, 3)
    ids[1, 1] = END_ID
    expected_logits, expected_state = reference_model.run(config, weights, ids, state, apart)
    logits, next_state = model(tf.constant(ids), tf.constant(state))
    np.testing.assert_allclose(logits.numpy().transpose(1, 0, 2), expected_logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(next_state.numpy(), expected_state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_the_slopes_of_the_equations(name: str, apart: bool) -> None:
    config = CONFIGS[name]
    model, weights = model_of(config, apart)
    ids, targets = random_ids(2, 6), random_ids(2, 6, seed=3)
    ids[0, 2] = END_ID
    with tf.GradientTape() as tape:
        hidden, _ = model.read(tf.constant(ids), model.backbone.initial_state(2))
        loss = tf.reduce_mean(model.token_loss(hidden, tf.constant(targets)))
    variables = model.named_weights()
    gradients = dict(zip(variables, tape.gradient(loss, list(variables.values())), strict=True))

    def loss_with(name: str, entry: tuple[int, ...], change: float) -> float:
        changed = weights[name].copy()
        changed[entry] += change
        return reference_model.mean_nats(
            reference_model.run(config, weights | {name: changed}, ids, apart=apart)[0], targets
        )

    assert float(loss) == pytest.approx(loss_with("embedding", (0, 0), 0.0), rel=1e-5)
    random = np.random.default_rng(4)
    for weight, gradient in gradients.items():
        gradient = tf.convert_to_tensor(gradient).numpy()
        for _ in range(4):
            entry = tuple(int(random.integers(size)) for size in weights[weight].shape)
            slope = (loss_with(weight, entry, 1e-5) - loss_with(weight, entry, -1e-5)) / 2e-5
            assert gradient[entry] == pytest.approx(slope, rel=1e-3, abs=1e-5), (weight, entry)


def test_a_plain_keras_model_with_the_same_weights_gives_the_same_logits_and_gradients() -> None:
    config = ModelConfig(hidden_dim=6, embedding_dim=4, layers=1)
    model, weights = model_of(config)
    theirs = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY_SIZE, 4),
            keras.layers.SimpleRNN(6, return_sequences=True),
            keras.layers.Dense(VOCABULARY_SIZE),
        ]
    )
    theirs.build((3, 8))
    names = ("embedding", "kernel_0", "recurrent_kernel_0", "bias_0", "output_kernel", "output_bias")
    theirs.set_weights([weights[name] for name in names])
    ids, targets = random_ids(3, 8), random_ids(3, 8, seed=5)
    with tf.GradientTape(persistent=True) as tape:
        logits, _ = model(tf.constant(ids), model.backbone.initial_state(3))
        loss = tf.reduce_mean(cross_entropy(logits, tf.constant(targets)))
        their_logits = theirs(tf.constant(ids))
        their_loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(targets, their_logits, True))
    np.testing.assert_allclose(logits.numpy().transpose(1, 0, 2), their_logits, rtol=1e-4, atol=1e-5)
    ours = tape.gradient(loss, [model.named_weights()[name] for name in names])
    for name, actual, expected in zip(names, ours, tape.gradient(their_loss, theirs.trainable_variables), strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(actual), tf.convert_to_tensor(expected), rtol=1e-3, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("name", FORMS)
def test_two_halves_with_the_state_carried_are_one_pass(name: str, apart: bool) -> None:
    model, _ = model_of(CONFIGS[name], apart)
    ids = random_ids(2, 10)
    ids[0, 5] = END_ID  # the first token of the second half
    start = model.backbone.initial_state(2)
    whole, whole_state = model(tf.constant(ids), start)
    first, state = model(tf.constant(ids[:, :5]), start)
    second, state = model(tf.constant(ids[:, 5:]), state)
    np.testing.assert_allclose(tf.concat([first, second], axis=0), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, whole_state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["default", *FORMS])
def test_with_documents_apart_no_document_sees_the_one_before(name: str) -> None:
    ids = np.array([[5, 6, 7, END_ID, 8, 4]], np.int32)
    other = np.array([[8, 8, 4, END_ID, 8, 4]], np.int32)
    for apart in (True, False):
        model, _ = model_of(CONFIGS[name], apart)
        start = model.backbone.initial_state(1)
        after, after_other = (model(tf.constant(tokens), start)[0].numpy()[3:] for tokens in (ids, other))
        assert np.array_equal(after, after_other) == apart


def test_the_named_weights_are_all_there_are() -> None:
    for config in CONFIGS.values():
        model, weights = model_of(config)
        named = model.named_weights()
        assert {id(weight) for weight in named.values()} == {id(weight) for weight in model.trainable_variables}
        assert set(named) == set(weights)
        for name, array in model.arrays().items():
            np.testing.assert_array_equal(array, weights[name])


def test_the_seed_decides_the_initial_weights() -> None:
    first, same, other = (LanguageModel(SMALL, VOCABULARY_SIZE, seed).arrays() for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, same[name])
    assert not np.array_equal(first["recurrent_kernel_0"], other["recurrent_kernel_0"])
    # Two layers must not start as one.
    assert not np.array_equal(first["recurrent_kernel_0"], first["recurrent_kernel_1"])


DROPPING = replace(SMALL, hidden_dim=40, dropout=0.4, embedding_dropout=0.25, weight_drop=0.5)


def masks_of(backbone: Backbone, *seed: int) -> dict[str, NDArray[np.float32]]:
    return {name: mask.numpy() for name, mask in backbone.draw_masks(8, 16, tf.constant(seed, tf.int32)).items()}


def test_masks_follow_from_the_seed_alone() -> None:
    backbone = Backbone(DROPPING, 1000)
    first, same, other = masks_of(backbone, 1, 7000), masks_of(backbone, 1, 7000), masks_of(backbone, 1, 8000)
    assert set(first) == {"embedding", "hidden_0", "hidden_1", "recurrent_kernel_0", "recurrent_kernel_1"}
    for name, mask in first.items():
        np.testing.assert_array_equal(mask, same[name])
        assert not np.array_equal(mask, other[name]), name
    # No two masks of a step are alike, nor one of them in the next step.
    flat = [mask.ravel()[:1000] for masks in (first, other) for mask in masks.values()]
    agreement = [np.mean((a > 0) == (b > 0)) for i, a in enumerate(flat) for b in flat[:i] if len(a) == len(b)]
    assert max(agreement) < 0.75


@pytest.mark.parametrize(
    ("name", "shape", "rate"),
    [("embedding", (1000, 1), 0.25), ("hidden_1", (16, 8, 40), 0.4), ("recurrent_kernel_0", (40, 40), 0.5)],
)
def test_masks_drop_their_share_and_keep_the_mean(name: str, shape: tuple[int, ...], rate: float) -> None:
    mask = masks_of(Backbone(DROPPING, 1000), 3, 0)[name]
    assert mask.shape == shape
    np.testing.assert_allclose(np.unique(mask), [0.0, 1 / (1 - rate)], rtol=1e-6)
    assert np.mean(mask == 0) == pytest.approx(rate, abs=0.06)


def test_variational_masks_are_the_same_at_all_steps_and_segments() -> None:
    backbone = Backbone(replace(DROPPING, variational=True, input_dropout=0.3, embedding_dim=24), 1000)
    masks = masks_of(backbone, 3, 0)
    assert masks["hidden_0"].shape == (1, 8, 40)
    assert masks["inputs"].shape == (1, 8, 24)
    assert np.mean(masks["inputs"] == 0) == pytest.approx(0.3, abs=0.12)
    later = backbone.draw_masks(8, 16, tf.constant([3, 0]), segment=2)
    assert all(np.array_equal(mask, later[name]) for name, mask in masks.items())


def test_without_rates_there_is_nothing_to_drop() -> None:
    assert masks_of(Backbone(SMALL, VOCABULARY_SIZE), 1, 0) == {}


def test_each_mask_acts_where_its_name_says() -> None:
    config = CONFIGS["tied by an adapter"]
    model, weights = model_of(config)
    ids, state = random_ids(3, 4), random_state(config, 3)
    no_words, no_memory = np.ones((VOCABULARY_SIZE, 1)), np.ones((5, 5))
    no_words[ids[0]] = 0
    no_memory[:, 2] = 0
    masks = {"embedding": no_words, "recurrent_kernel_1": no_memory}
    logits, next_state = model(ids, state, masks={name: tf.constant(m, tf.float32) for name, m in masks.items()})
    # The output matrix is the embedding too, and keeps its rows.
    dropped = weights | {"recurrent_kernel_1": weights["recurrent_kernel_1"] * no_memory}
    free = replace(config, tied=False)
    dropped["output_kernel"] = weights["embedding"].T
    dropped["embedding"] = weights["embedding"] * no_words
    expected, expected_state = reference_model.run(free, dropped, ids, state)
    np.testing.assert_allclose(logits.numpy().transpose(1, 0, 2), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(next_state.numpy(), expected_state, rtol=1e-4, atol=1e-5)

    # What is dropped of the inputs is as if it were not in the embedding, which the output still reads whole.
    shorter = weights | {"output_kernel": weights["embedding"].T, "embedding": weights["embedding"] * [1, 0, 1, 0]}
    masks = {"inputs": tf.constant([[[1.0, 0, 1, 0]]] * 1)}
    logits, next_state = model(ids, state, masks=masks)
    expected, expected_state = reference_model.run(free, shorter, ids, state)
    np.testing.assert_allclose(logits.numpy().transpose(1, 0, 2), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(next_state.numpy(), expected_state, rtol=1e-4, atol=1e-5)

    # Dropped between the layers and before the output, not inside the recurrence.
    nothing = tf.zeros((4, 3, 5))
    logits, next_state = model(ids, state, masks={"hidden_1": nothing})
    np.testing.assert_allclose(logits, np.broadcast_to(weights["output_bias"], logits.shape), rtol=1e-6)
    np.testing.assert_allclose(next_state, model(ids, state)[1], rtol=1e-6)


def test_bfloat16_is_for_training_only() -> None:
    rough = LanguageModel(SMALL, VOCABULARY_SIZE, precision="bfloat16")
    exact = LanguageModel(SMALL, VOCABULARY_SIZE)
    ids, state = random_ids(2, 5), random_state(SMALL, 2)
    np.testing.assert_array_equal(rough(ids, state)[0], exact(ids, state)[0])
    difference = np.abs(rough(ids, state, masks={})[0].numpy() - exact(ids, state, masks={})[0].numpy()).max()
    assert 0 < difference < 0.05


def test_cross_entropy_is_time_major_and_in_nats() -> None:
    logits = np.zeros((3, 2, 4), np.float32)  # (time, batch, vocabulary)
    logits[2, 1, 3] = 5.0
    targets = np.array([[0, 0, 0], [0, 0, 3]], np.int32)
    nats = cross_entropy(tf.constant(logits), tf.constant(targets)).numpy()
    assert nats.shape == (3, 2)
    np.testing.assert_allclose(nats[:2], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(nats[2], [np.log(4), np.log(np.exp(5) + 3) - 5], rtol=1e-5)
