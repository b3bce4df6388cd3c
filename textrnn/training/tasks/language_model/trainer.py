"""The trainer of language models: parallel streams of text, with the state carried from one step to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textrnn.data.tokens.datasets import Batches, MixedBatches, TokenDataset, count_tokens, evaluation_batches
from textrnn.generation import GenerationOptions, generate, untrained
from textrnn.scoring import TextMetrics
from textrnn.tokenizers.base import Tokenizer
from textrnn.training.distributed.distribution import ALONE, Distribution
from textrnn.training.export.language_model import LanguageModelExporter
from textrnn.training.loop.compilation import Compiler, compiled
from textrnn.training.loop.memory import bytes_needed, require_memory
from textrnn.training.loop.run import Run, run_fingerprint, start_id
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.loop.trainer import MIXED, Trainer
from textrnn.training.loop.training_step import TrainingStep, require_possible
from textrnn.training.loop.warm_start import load_start, mixed_sizes, start_from
from textrnn.training.network.language_model import LanguageModel
from textrnn.training.network.softmax.adaptive_softmax import logits_held

SAMPLE_TEMPERATURE = 0.8
ENOUGH_STEPS, FEWEST_EPOCHS = 300, 10
RESET_SEED = 60_000  # first part of the seed of `train.state_reset`, which no other draw has
EVALUATION_TOKENS = 500_000  # maximum held-out tokens per evaluation, which limits its time on a large corpus
EVALUATION_STREAMS = 16  # maximum parallel streams of held-out text in an evaluation


class LanguageModelTrainer(Trainer):
    """A trainer of one language model."""

    unit = "token"
    model: LanguageModel

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        train: TokenDataset,
        held_out: TokenDataset,
        distribution: Distribution = ALONE,
        mixed: Sequence[TokenDataset] = (),
    ) -> None:
        config = run.config
        require_possible(config.train)
        start = load_start(run.initial) if config.model.init_from else None
        self.learns_on = start is not None
        self.mixed = mixed[1].first(EVALUATION_TOKENS) if mixed else None
        length = config.train.sequence_length
        outputs = logits_held(config.model, tokenizer.vocabulary_size)
        require_memory(bytes_needed(config, 0, outputs, length), length)
        self.tokenizer = tokenizer
        self.held_out = held_out.first(EVALUATION_TOKENS)
        self.start_id = start_id(tokenizer, train, config.data.separate_documents)
        counts = np.sum([count_tokens(each.ids, tokenizer.vocabulary_size) for each in (train, *mixed[:1])], axis=0)
        self.never_drawn = untrained(counts)
        if start:  # what the other model has learned is drawn
            self.never_drawn = np.setdiff1d(self.never_drawn, start.drawn).astype(np.int32)
        sizes = mixed_sizes(config.train.batch_size, mixed)
        parts = zip((train, *mixed[:1]), sizes, strict=False)
        self.batches = MixedBatches([Batches(each.ids, size, length, config.seed) for each, size in parts])
        with distribution.scope():
            model = LanguageModel(
                config.model,
                tokenizer.vocabulary_size,
                config.seed,
                config.train.precision,
                config.data.separate_documents,
            )
        super().__init__(
            run,
            model,
            epochs=config.train.epochs or enough_epochs(self.batches.steps_per_epoch, ENOUGH_STEPS, FEWEST_EPOCHS),
            steps_per_epoch=self.batches.steps_per_epoch,
            units_per_step=config.train.batch_size * config.train.sequence_length,
            state=model.backbone.initial_state(config.train.batch_size),
            fingerprint=run_fingerprint(run, tokenizer, train, held_out),
            distribution=distribution,
        )
        if start:
            start_from(model, start, counts)
        self._step = TrainingStep(model, self.optimizer, self.config.recompute, distribution)
        self._flush = self._step.flush
        self._evaluate_batch = Compiler(model).of_tokens(self._evaluation_step)
        self._forward = compiled(lambda ids, state: self.model(ids, state))

    def train_one(self) -> Any:
        inputs, targets, starts_epoch = self.batches.batch(self.progress.step)
        rows, state = self.distribution.rows, self.state
        if starts_epoch:
            state = rows(self.model.backbone.initial_state(self.config.batch_size), axis=1)
        elif self.config.state_reset:
            generator = np.random.Generator(np.random.PCG64([RESET_SEED, self.run.config.seed, self.progress.step]))
            kept = generator.random(self.config.batch_size) >= self.config.state_reset
            of_streams = rows(tf.constant(kept[None, :, None], tf.float32), axis=1)
            state = self.distribution.run(tf.multiply, (state, of_streams))
        loss, self.state = self._step(rows(inputs), rows(targets), state, self.step_seed)
        return loss

    def measure(self) -> dict[str, Any]:
        self._flush()
        mixed = {MIXED: self.loss_of(self.mixed)} if self.mixed else {}
        return {"held_out_loss": self.held_out_loss(), **mixed, "sample": self.sample()}

    def comparable_loss(self, loss: float) -> float:
        """Return nats per character, with unknown words spelled."""
        tokens = self.held_out.tokens
        metrics = TextMetrics.of(loss * tokens, tokens, self.held_out.size)
        return metrics.spelled_bits_per_character * math.log(2)

    def exporter(self) -> LanguageModelExporter:
        return LanguageModelExporter(
            self.model, self.tokenizer, self.held_out, self.start_id, self.never_drawn, self.run.config
        )

    def _evaluation_step(self, inputs: Any, targets: Any, weights: Any, state: Any) -> tuple[Any, Any]:
        hidden, state = self.model.read(inputs, state)
        return tf.reduce_sum(self.model.token_loss(hidden, targets) * tf.transpose(weights)), state

    def held_out_loss(self) -> float:
        """Return the nats per token on the held-out text."""
        return self.loss_of(self.held_out)

    def loss_of(self, text: TokenDataset) -> float:
        """Return the nats per token on a text, read in parallel streams with carried states."""
        ids, length = text.ids, self.config.sequence_length
        streams = max(1, min(EVALUATION_STREAMS, len(ids) // (4 * length)))
        state = self.model.backbone.initial_state(streams)
        total, count = 0.0, 0.0
        for inputs, targets, weights in evaluation_batches(ids, streams, length):
            loss, state = self._evaluate_batch(inputs, targets, weights, state)
            total += float(loss)
            count += float(weights.sum())
        return total / count

    def sample(self) -> str:
        """Return a text generated by the current model."""
        if not self.config.sample_length:
            return ""

        def step(ids: NDArray[np.int32], state: Any) -> tuple[NDArray[np.float32], Any]:
            logits, state = self._forward(tf.constant(ids[:, None], tf.int32), state)
            return logits.numpy()[0], state

        options = GenerationOptions(
            length=self.config.sample_length, temperature=SAMPLE_TEMPERATURE, seed=self.run.config.seed
        )
        state = self.model.backbone.initial_state(1)
        pieces = generate(step, state, self.tokenizer, self.start_id, self.config.prompt, options, self.never_drawn)
        return "".join(piece for _, piece in pieces)
