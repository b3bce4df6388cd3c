"""One step of training: what it computes does not depend on how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from textrnn.config import ModelConfig, TrainConfig
from textrnn.errors import UserError
from textrnn.train import cpu_loop, recurrent, training_step
from textrnn.train.language_model import LanguageModel
from textrnn.train.training_step import TrainingStep, adamw, require_possible

VOCABULARY_SIZE, BATCH, TIME = 11, 4, 24
MODEL = ModelConfig(hidden_dim=16, layers=2, normalization="layer")
DROPPING = ModelConfig(hidden_dim=16, layers=2, dropout=0.3, embedding_dropout=0.2, weight_drop=0.2)


def train(
    model_config: ModelConfig, recompute: int = 0, precision: str = "float32", apart: bool = False, steps: int = 3
) -> tuple[list[float], Mapping[str, Any], Any]:
    """Losses, weights and last state after some steps with the state carried."""
    model = LanguageModel(model_config, VOCABULARY_SIZE, 1, precision, apart)
    step = TrainingStep(model, adamw(TrainConfig(warmup_steps=0, learning_rate=0.01), 100, model), recompute)
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, (BATCH, steps * TIME + 1), np.int32)
    state, losses = model.backbone.initial_state(BATCH), []
    for number in range(steps):
        part = ids[:, number * TIME : (number + 1) * TIME + 1]
        seed = tf.constant([1, number * 1000])
        loss, state = step(tf.constant(part[:, :-1]), tf.constant(part[:, 1:]), state, seed)
        losses.append(float(loss))
    return losses, model.arrays(), state.numpy()


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...], tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(one[0], other[0], rtol=tolerance)
    for name, array in one[1].items():
        np.testing.assert_allclose(array, other[1][name], rtol=0.01, atol=10 * tolerance, err_msg=name)
    np.testing.assert_allclose(one[2], other[2], atol=10 * tolerance)


@pytest.mark.parametrize(("recompute", "apart"), [(1, False), (8, True), (12, False)])
def test_recomputation_changes_nothing_but_memory(recompute: int, apart: bool) -> None:
    assert_same(train(MODEL, recompute, apart=apart), train(MODEL, apart=apart))


def test_recomputation_drops_the_same_on_both_ways() -> None:
    losses, _, _ = train(DROPPING, recompute=8, steps=4)
    again, _, _ = train(DROPPING, recompute=8, steps=4)
    other, _, _ = train(DROPPING, recompute=6, steps=4)
    assert losses == again
    assert losses != other  # each segment draws its own masks


def test_the_gradient_with_dropout_is_the_slope_of_the_recomputed_loss() -> None:
    """Were other masks drawn on the way back, the loss would not fall as its gradient says."""
    model = LanguageModel(DROPPING, VOCABULARY_SIZE, 1)
    step = TrainingStep(model, adamw(TrainConfig(), 100, model), recompute=6)
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
    expected = train(config)
    for chains in (1, 2):
        for module in (recurrent, training_step):
            monkeypatch.setattr(module, "runs_as_graph", lambda *_: True)
        monkeypatch.setattr(cpu_loop, "chains", lambda batch, hidden, chains=chains: chains)
        assert_same(train(config), expected)


def test_bfloat16_trains_as_float32_does_but_for_rounding() -> None:
    exact, rough = train(MODEL, steps=5), train(MODEL, precision="bfloat16", steps=5)
    assert exact[0] != rough[0]
    np.testing.assert_allclose(rough[0], exact[0], rtol=0.02)
    assert all(array.dtype == np.float32 for array in rough[1].values())


def test_what_cannot_be_run_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must divide train.sequence_length, 128, was: 48; 16 does$"):
        require_possible(TrainConfig(sequence_length=128, recompute=48))
    monkeypatch.setattr(training_step, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match=r"was: bfloat16, .* set train.precision=float32$"):
        require_possible(TrainConfig(precision="bfloat16"))
    require_possible(TrainConfig(sequence_length=128, recompute=32))
