"""One training step of the same network, by us and by others.

Everybody does the same work: an embedding of size units, plain recurrent layers with tanh, a dense layer to the
vocabulary, cross-entropy, backward, gradients clipped to a norm of 1, AdamW. Tokens are random; speed does not depend
on them. Each function gives a `run()` that takes one step, waits for it and gives its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import has_bfloat16, peer
from numpy.typing import NDArray

Run = Callable[[], float]

OURS = "textrnn float32"
MOST_UNROLLED = 128  # steps
# Where a step of the loop is fewer multiplications, the meeting of torch's threads may cost more than they save.
SMALL_MULTIPLICATIONS = 2**22
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-3, 0.01, 1.0


@dataclass(frozen=True)
class Case:
    """The size of a training step."""

    units: int = 512
    batch: int = 64
    steps: int = 128
    layers: int = 1
    vocabulary: int = 65

    @property
    def tokens(self) -> int:
        """Tokens that a step reads."""
        return self.batch * self.steps

    @property
    def floating_point_operations(self) -> int:
        """What the matrix products of a step need, forward and backward.

        A product of a vector and a matrix with n entries is 2 n operations a token, and backward twice that again.
        The first layer's input is a row of a table, which needs none.
        """
        matrices = (2 * self.layers - 1) * self.units**2 + self.units * self.vocabulary
        return 6 * matrices * self.tokens

    def data(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Inputs and the tokens that follow them, int32 ``(batch, steps)`` twice."""
        random = np.random.default_rng(0)
        ids = random.integers(0, self.vocabulary, (self.batch, self.steps + 1), dtype=np.int32)
        return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])


def our_step(case: Case, precision: str = "float32", recompute: int = 0) -> Run:
    """The step that `textrnn train` takes; `recompute` as in `TrainingStep`."""
    import tensorflow as tf

    from textrnn.config import ModelConfig, TrainConfig
    from textrnn.training.loop.training_step import TrainingStep, optimizer_of
    from textrnn.training.network.language_model import LanguageModel

    model = LanguageModel(
        ModelConfig(hidden_dim=case.units, layers=case.layers, residual=False), case.vocabulary, 1, precision
    )
    train = TrainConfig(
        batch_size=case.batch,
        sequence_length=case.steps,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        gradient_clip=CLIP_NORM,
        precision=precision,
    )
    step = TrainingStep(model, optimizer_of(train, 1_000_000, model), recompute=recompute)
    inputs, targets = map(tf.constant, case.data())
    seed = tf.constant([1, 0], tf.int32)
    state = model.backbone.initial_state(case.batch)

    def run() -> float:
        nonlocal state
        loss, state = step(inputs, targets, state, seed)
        return float(loss)

    return run


def keras_step(case: Case, precision: str = "float32", unroll: bool = False, jit_compile: bool | None = None) -> Run:
    """`keras.layers.SimpleRNN` in a compiled TensorFlow step; bfloat16 is Keras's mixed precision."""
    import keras
    import tensorflow as tf

    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    ids = keras.Input((case.steps,), dtype="int32")
    hidden = keras.layers.Embedding(case.vocabulary, case.units, dtype=policy)(ids)
    for _ in range(case.layers):
        hidden = keras.layers.SimpleRNN(case.units, return_sequences=True, unroll=unroll, dtype=policy)(hidden)
    model = keras.Model(ids, keras.layers.Dense(case.vocabulary, dtype=policy)(hidden))
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
    optimizer.build(model.trainable_variables)

    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = tf.cast(model(inputs, training=True), tf.float32)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    compiled = tf.function(step, autograph=False, jit_compile=jit_compile)
    inputs, targets = map(tf.constant, case.data())
    return lambda: float(compiled(inputs, targets))


def torch_step(case: Case, precision: str = "float32", threads: int = 0, device: str = "cpu") -> Run:
    """`torch.nn.RNN`, time-major, its fastest order; bfloat16 is torch's autocast.

    `threads` is how many the processor's products use; 0 is torch's own choice. Small networks run best on one.
    """
    import torch

    threads = threads or torch.get_num_threads()
    modules = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(case.vocabulary, case.units),
            "recurrent": torch.nn.RNN(case.units, case.units, case.layers),
            "output": torch.nn.Linear(case.units, case.vocabulary),
        }
    ).to(device)
    optimizer = torch.optim.AdamW(modules.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    inputs, targets = (torch.tensor(ids.T.copy(), device=device).long() for ids in case.data())

    def run() -> float:
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            hidden, _ = modules["recurrent"](modules["embedding"](inputs))
            logits = modules["output"](hidden).reshape(-1, case.vocabulary)
            loss = torch.nn.functional.cross_entropy(logits, targets.reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(modules.parameters(), CLIP_NORM)
        optimizer.step()
        return float(loss.item())

    return run


def our_steps(case: Case) -> dict[str, Callable[[], Run]]:
    """Ours by name, the first word textrnn and the second the precision; each is built when called."""
    steps: dict[str, Callable[[], Run]] = {OURS: lambda: our_step(case)}
    if has_bfloat16():
        steps["textrnn bfloat16"] = lambda: our_step(case, "bfloat16")
    return steps


def peer_steps(case: Case) -> dict[str, Callable[[], Run]]:
    """The others by name; each is built when called.

    A loop of more than 128 steps is not unrolled: building the graph would take minutes.
    """
    steps: dict[str, Callable[[], Run]] = {
        "keras float32": lambda: keras_step(case),
        "keras float32 XLA": lambda: keras_step(case, jit_compile=True),
    }
    if case.steps <= MOST_UNROLLED:
        steps["keras float32 unrolled"] = lambda: keras_step(case, unroll=True)
    if has_bfloat16():
        steps["keras bfloat16"] = lambda: keras_step(case, "bfloat16")
    if peer("torch"):
        steps["torch float32"] = lambda: torch_step(case)
        if case.batch * case.units**2 < SMALL_MULTIPLICATIONS:
            steps["torch float32 one thread"] = lambda: torch_step(case, threads=1)
        if has_bfloat16():
            steps["torch bfloat16"] = lambda: torch_step(case, "bfloat16")
    return steps
