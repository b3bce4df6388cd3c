"""An embedding updated by the rows that were read: the weights that AdamW gives, whenever a row was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from textrnn.config import ModelConfig, TrainConfig
from textrnn.training.loop import training_step
from textrnn.training.loop.row_updates import RowwiseAdamW, is_worthwhile
from textrnn.training.loop.training_step import TrainingStep, optimizer_of
from textrnn.training.network.language_model import LanguageModel

WORDS, BATCH, TIME = 60, 2, 4


SETTINGS: dict[str, Any] = {"hidden_dim": 8, "layers": 1, "embedding_dim": 6, "embedding_dropout": 0.2}


def trained(
    by_rows: bool, steps: int = 40, ngrams: int = 0, start: int = 0
) -> tuple[list[float], dict[str, Any], TrainingStep]:
    """Losses, and weights, of a text in which most words are rare."""
    config = TrainConfig(
        batch_size=BATCH,
        sequence_length=TIME,
        learning_rate=0.01,
        warmup_steps=8,
        weight_decay=0.5,
        gradient_clip=0.3,
    )
    model = LanguageModel(ModelConfig(**SETTINGS, input_ngrams=ngrams, ngram_rows=300), WORDS, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_step, "is_worthwhile", lambda *_: by_rows)
        optimizer = optimizer_of(config, start + 50, model, starts=(start,) if start else ())
        step = TrainingStep(model, optimizer)
    optimizer.iterations.assign(start)  # as a finished run has it, whose rows are all up to date
    for table in getattr(optimizer, "tables", ()):
        table.updates.assign(tf.fill(table.updates.shape, start))
    state, losses, random = model.backbone.initial_state(BATCH), [], np.random.default_rng(0)
    for number in range(steps):
        ids = np.minimum(random.geometric(0.08, (BATCH, TIME + 1)) - 1, WORDS - 1).astype(np.int32)
        loss, state = step(tf.constant(ids[:, :-1]), tf.constant(ids[:, 1:]), state, tf.constant([1, 1000 * number]))
        losses.append(float(loss))
    return losses, model.arrays(), step


@pytest.mark.parametrize(("ngrams", "start"), [(0, 0), (3, 0), (0, 30)])
def test_rows_end_where_adamw_brings_them(ngrams: int, start: int) -> None:
    expected_losses, expected, plain = trained(False, ngrams=ngrams, start=start)
    losses, before, step = trained(True, ngrams=ngrams, start=start)
    assert not isinstance(plain.optimizer, RowwiseAdamW)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    # Rows that were not read for long lie behind, until all are to be seen.
    assert np.abs(before["embedding"] - expected["embedding"]).max() > 0.01
    step.flush()
    after = step.model.arrays()
    for name, array in expected.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-3, atol=1e-3, err_msg=name)
    step.flush()
    np.testing.assert_array_equal(step.model.arrays()["embedding"], after["embedding"])

    # One step more changes the rows that it reads, and no other.
    ids = tf.constant([[7, 50, 7, 7], [50, 7, 7, 51]])
    step(ids, ids, step.model.backbone.initial_state(BATCH), tf.constant([1, 0]))
    changed = np.flatnonzero(np.any(step.model.arrays()["embedding"] != after["embedding"], axis=1))
    assert changed.tolist() == [7, 50, 51]


def test_only_large_tables_that_are_read_alone_are_updated_by_rows() -> None:
    assert is_worthwhile(33_000, 320, 64 * 32)
    assert not is_worthwhile(5_000, 320, 64 * 32)  # a step reads most of it
    assert not is_worthwhile(33_000, 16, 64 * 32)  # little to save
    model = LanguageModel(ModelConfig(hidden_dim=64, layers=1, input_ngrams=3, ngram_rows=17_000), 50, 1)
    assert isinstance(optimizer_of(TrainConfig(batch_size=2, sequence_length=8), 10, model), RowwiseAdamW)
    for tied, recompute, by_rows in ((False, 0, True), (True, 0, False), (False, 4, False)):
        model = LanguageModel(ModelConfig(hidden_dim=64, layers=1, tied=tied), 17_000, 1)
        config = TrainConfig(batch_size=2, sequence_length=8, recompute=recompute)
        assert isinstance(optimizer_of(config, 10, model), RowwiseAdamW) == by_rows
