"""One step of training: what it computes does not depend on how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from textrnn.config import ModelConfig, TrainConfig
from textrnn.errors import UserError
from textrnn.training.loop import compilation, training_step
from textrnn.training.loop.training_step import TrainingStep, learning_rates, optimizer_of, require_possible
from textrnn.training.network import cpu_loop, recurrent
from textrnn.training.network.language_model import LanguageModel

VOCABULARY_SIZE, BATCH, TIME = 11, 4, 24
MODEL = ModelConfig(hidden_dim=16, layers=2, normalization="layer")
ELEMENTWISE = ModelConfig(hidden_dim=16, layers=2, recurrence="rotation", activation="linear", mixing="glu")
DROPPING = ModelConfig(hidden_dim=16, layers=2, dropout=0.3, embedding_dropout=0.2, weight_drop=0.2)


def train(
    model_config: ModelConfig, recompute: int = 0, precision: str = "float32", apart: bool = False, steps: int = 3
) -> tuple[list[float], Mapping[str, Any], Any]:
    """Losses, weights and last state after some steps with the state carried."""
    model = LanguageModel(model_config, VOCABULARY_SIZE, 1, precision, apart)
    step = TrainingStep(model, optimizer_of(TrainConfig(warmup_steps=0, learning_rate=0.01), 100, model), recompute)
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (BATCH, steps * TIME + 1), np.int32)
    state, losses = model.backbone.initial_state(BATCH), []
    for number in range(steps):
        part = ids[:, number * TIME : (number + 1) * TIME + 1]
        seed = tf.constant([1, number * 1000])
        loss, state = step(tf.constant(part[:, :-1]), tf.constant(part[:, 1:]), state, seed)
        losses.append(float(loss))
    return losses, model.arrays(), state.numpy()


@cache
def trained_plainly(model_config: ModelConfig, apart: bool = False) -> tuple[list[float], Mapping[str, Any], Any]:
    """What the other ways of a step are compared with: whole sequences in float32, by XLA."""
    return train(model_config, apart=apart)


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...], tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(one[0], other[0], rtol=tolerance)
    for name, array in one[1].items():
        np.testing.assert_allclose(array, other[1][name], rtol=0.01, atol=10 * tolerance, err_msg=name)
    np.testing.assert_allclose(one[2], other[2], atol=10 * tolerance)


@pytest.mark.parametrize(
    ("config", "recompute", "apart"),
    [(MODEL, 1, False), (MODEL, 8, True), (ELEMENTWISE, 8, True)],
)
def test_recomputation_changes_nothing_but_memory(config: ModelConfig, recompute: int, apart: bool) -> None:
    assert_same(train(config, recompute, apart=apart), trained_plainly(config, apart))


def test_recomputation_drops_the_same_on_both_ways() -> None:
    config = replace(DROPPING, layers=1)
    losses, _, _ = train(config, recompute=8)
    again, _, _ = train(config, recompute=8)
    other, _, _ = train(config, recompute=6)
    assert losses == again
    assert losses != other  # each segment draws its own masks


def test_the_gradient_with_dropout_is_the_slope_of_the_recomputed_loss() -> None:
    """Were other masks drawn on the way back, the loss would not fall as its gradient says."""
    model = LanguageModel(DROPPING, VOCABULARY_SIZE, 1)
    step = TrainingStep(model, optimizer_of(TrainConfig(), 100, model), recompute=6)
    ids = tf.constant(np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (BATCH, TIME + 1), np.int32))
    seed, state = tf.constant([1, 0]), model.backbone.initial_state(BATCH)
    find = tf.function(lambda: step._gradients_by_segments(ids[:, :-1], ids[:, 1:], state, seed), autograph=False)
    _, _, gradients = find()
    weight, gradient = model.trainable_variables[0], gradients[0].numpy()
    losses = []
    for sign in (1, -1):
        weight.assign_add(sign * 0.01 * gradient / np.linalg.norm(gradient))
        losses.append(float(find()[0]))
        weight.assign_sub(sign * 0.01 * gradient / np.linalg.norm(gradient))
    slope = (losses[0] - losses[1]) / 0.02
    assert slope == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)


@pytest.mark.parametrize("config", [MODEL, DROPPING], ids=["normalised", "dropping"])
def test_the_loop_of_the_processor_trains_as_the_one_of_xla(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained_plainly(config)
    for chains in (1, 2):
        for module in (recurrent, compilation):
            monkeypatch.setattr(module, "runs_as_graph", lambda *_: True)
        monkeypatch.setattr(cpu_loop, "chains", lambda batch, hidden, chains=chains: chains)
        assert_same(train(config), expected)


@pytest.mark.parametrize("config", [MODEL, ELEMENTWISE], ids=["dense", "rotation"])
def test_bfloat16_trains_as_float32_does_but_for_rounding(config: ModelConfig) -> None:
    exact, rough = trained_plainly(config), train(config, precision="bfloat16")
    assert exact[0] != rough[0]
    np.testing.assert_allclose(rough[0], exact[0], rtol=0.02)
    assert all(array.dtype == np.float32 for array in rough[1].values())


GATED = ModelConfig(hidden_dim=16, layers=3, mixing="glu", normalization="layer", dropout=0.3, variational=True)
FORMS = {
    "dense": MODEL,
    "rotation": ELEMENTWISE,
    "gated": GATED,
    "relu": ModelConfig(hidden_dim=16, layers=2, mixing="relu", residual=False, dropout=0.2),
    "no-mixing": ModelConfig(hidden_dim=16, layers=2, recurrence="diagonal", normalization="layer"),
    "tied": ModelConfig(
        hidden_dim=16, layers=2, recurrence="rotation", activation="linear", tied=True, embedding_dim=8
    ),
}


def gradients_of(config: ModelConfig, precision: str) -> tuple[Any, LanguageModel]:
    """The traced function of loss, state and gradients of one step, with the masks that the step would draw."""
    model = LanguageModel(config, VOCABULARY_SIZE, 1, precision)
    step = TrainingStep(model, optimizer_of(TrainConfig(), 100, model))
    ids = tf.constant(np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (BATCH, TIME + 1), np.int32))
    state = model.backbone.initial_state(BATCH)
    masks = step._draw_masks((BATCH, TIME), tf.constant([1, 0]))
    find = tf.function(
        lambda: step._find_gradients(ids[:, :-1], ids[:, 1:], state, masks, tf.zeros_like(state)), autograph=False
    )
    return find, model


@pytest.mark.parametrize("config", FORMS.values(), ids=FORMS)
def test_every_product_of_a_bfloat16_step_is_one(config: ModelConfig) -> None:
    graph = gradients_of(config, "bfloat16")[0].get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    types = [node.attr["T"].type for node in nodes if "MatMul" in node.op]
    assert len(types) >= 6
    assert set(types) == {tf.bfloat16.as_datatype_enum}


# Not of ReLU layers: a rounded sum near 0 lets a unit through in one precision and not in the other.
SMOOTH = {name: config for name, config in FORMS.items() if config.mixing != "relu"}


@pytest.mark.parametrize("config", SMOOTH.values(), ids=SMOOTH)
def test_gradients_in_bfloat16_are_those_in_float32_but_for_rounding(config: ModelConfig) -> None:
    (exact, model), (rough, _) = gradients_of(config, "float32"), gradients_of(config, "bfloat16")
    (loss, state, gradients, at_state), (rough_loss, rough_state, rough_gradients, rough_at_state) = exact(), rough()
    assert float(rough_loss) == pytest.approx(float(loss), rel=2e-3)
    names = [variable.path for variable in model.trainable_variables]
    pairs = zip(["state", "at state", *names], [state, at_state, *gradients], strict=True)
    for (name, wanted), ours in zip(pairs, [rough_state, rough_at_state, *rough_gradients], strict=True):
        wanted, ours = (tf.cast(tf.convert_to_tensor(each), tf.float32).numpy() for each in (wanted, ours))
        assert np.linalg.norm(ours - wanted) < 0.06 * np.linalg.norm(wanted), name


def test_what_cannot_be_run_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must divide train.sequence_length, 128, was: 48; 16 does$"):
        require_possible(TrainConfig(sequence_length=128, recompute=48))
    monkeypatch.setattr(training_step, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match=r"was: bfloat16, .* set train.precision=float32$"):
        require_possible(TrainConfig(precision="bfloat16"))
    require_possible(TrainConfig(sequence_length=128, recompute=32))


# The optimizer


def updated(config: TrainConfig, steps: int = 3, total_steps: int = 100) -> tuple[list[Any], list[Any], list[Any]]:
    """Weights before and after some steps of random gradients, and these, each by the weight."""
    model = LanguageModel(ModelConfig(hidden_dim=4, layers=1), VOCABULARY_SIZE, 1)
    optimizer = optimizer_of(config, total_steps, model)
    random = np.random.default_rng(2)
    before = [variable.numpy().astype(np.float64) for variable in model.trainable_variables]
    gradients = [[random.normal(size=array.shape) for array in before] for _ in range(steps)]
    for step in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in step])
    return before, [variable.numpy() for variable in model.trainable_variables], gradients


def clipped(gradients: list[Any], largest: float) -> list[Any]:
    """Gradients whose norm over all weights together is at most the largest (Pascanu et al. 2013)."""
    norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
    return [gradient * min(1, largest / norm) for gradient in gradients]


@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_rmsprop_is_its_equation(clip: float) -> None:
    """v = 0.9 v + 0.1 g^2, w = w - rate g / sqrt(v) (Hinton 2012)."""
    config = TrainConfig(
        optimizer="rmsprop", schedule="constant", warmup_steps=0, learning_rate=0.1, gradient_clip=clip
    )
    weights, after, steps = updated(config)
    squares = [np.zeros_like(weight) for weight in weights]
    for gradients in (clipped(step, clip) for step in steps):
        for index, gradient in enumerate(gradients):
            squares[index] = 0.9 * squares[index] + 0.1 * gradient**2
            weights[index] = weights[index] - 0.1 * gradient / np.sqrt(squares[index] + 1e-7)
    for actual, expected in zip(after, weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_adamw_is_its_equation(clip: float) -> None:
    """m and v as means over time, their start mended; weights decay apart from it (Loshchilov & Hutter 2019)."""
    config = TrainConfig(
        schedule="constant", warmup_steps=0, learning_rate=0.1, gradient_clip=clip, beta_2=0.95, weight_decay=0.3
    )
    weights, after, steps = updated(config)
    means, squares = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    for t, gradients in enumerate((clipped(step, clip) for step in steps), start=1):
        for index, gradient in enumerate(gradients):
            decay = 0.1 * 0.3 if weights[index].ndim > 1 else 0.0  # vectors do not decay
            means[index] = 0.9 * means[index] + 0.1 * gradient
            squares[index] = 0.95 * squares[index] + 0.05 * gradient**2
            mean, square = means[index] / (1 - 0.9**t), squares[index] / (1 - 0.95**t)
            weights[index] = weights[index] * (1 - decay) - 0.1 * mean / (np.sqrt(square) + 1e-8)
    for actual, expected in zip(after, weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("constant", 4), ("cosine", 0), ("cosine", 4)])
def test_the_learning_rate_is_that_of_its_schedule(optimizer: str, schedule: str, warmup: int) -> None:
    config = TrainConfig(optimizer=optimizer, schedule=schedule, warmup_steps=warmup, learning_rate=0.1)
    model = LanguageModel(ModelConfig(hidden_dim=4, layers=1), VOCABULARY_SIZE)
    found = optimizer_of(config, 20, model)
    rates = learning_rates(config, 20, warmup)
    for step in range(21):
        found.iterations.assign(step)
        rate = 0.1 * step / warmup if step < warmup else 0.1
        if schedule == "cosine" and step >= warmup:
            rate *= 0.5 * (1 + np.cos(np.pi * (step - warmup) / (20 - warmup)))
        assert float(found.learning_rate) == pytest.approx(rate, rel=1e-5, abs=1e-8), step
        assert step == 20 or rates[step] == pytest.approx(rate, rel=1e-9, abs=1e-12)


def test_the_schedule_of_a_run_that_goes_on_begins_again() -> None:
    config = TrainConfig(warmup_steps=4, learning_rate=0.1)
    found = optimizer_of(config, 32, LanguageModel(MODEL, VOCABULARY_SIZE), starts=(5, 12))
    for step, rate in enumerate(learning_rates(config, 20, 4)):
        found.iterations.assign(12 + step)
        assert float(found.learning_rate) == pytest.approx(rate, rel=1e-5, abs=1e-8)


def test_the_warm_up_takes_half_of_a_short_run_at_most() -> None:
    found = optimizer_of(TrainConfig(schedule="constant", warmup_steps=100), 20, LanguageModel(MODEL, VOCABULARY_SIZE))
    found.iterations.assign(10)
    assert float(found.learning_rate) == pytest.approx(TrainConfig().learning_rate)
