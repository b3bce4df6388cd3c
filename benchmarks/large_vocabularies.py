"""Words of large vocabularies: training with the full and with the adaptive softmax, and what an update costs.

    python benchmarks/large_vocabularies.py [--vocabularies N ...] [--units N] [--batch N] [--steps N] [--json FILE]
    python benchmarks/large_vocabularies.py --perplexity FOLDER [--train-steps N] [--json FILE]

First training steps by the size of the vocabulary, in turn in one process, on words drawn by Zipf's law (no real text
is at hand with as many words as the largest); a full softmax above `--full-up-to` words is left out, for its logits
take gigabytes. Then what alone grows with the vocabulary beside the softmax: the embedding looked up and its gradient,
and the update of it and of the output layer.

With `--perplexity`, a real text (train.txt and valid.txt, or ptb.train.txt and so on, in FOLDER) is learned with each
softmax, from the same start over the same batches, and the loss on held-out text compared.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import alternate, has_bfloat16, median_rows, print_table, write_json
from numpy.typing import NDArray

from textrnn.training.tensorflow_setup import import_tensorflow

FULL, ADAPTIVE, TIED = "full", "adaptive", "adaptive, tied"
HELD_OUT = 100_000  # words of held-out text that are read


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[10_000, 33_000, 250_000])
    parser.add_argument("--full-up-to", type=int, default=33_000, help="words of a full softmax (%(default)s)")
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--embedding", type=int, default=320)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0, help="of timing steps, and updates (%(default)s)")
    parser.add_argument("--perplexity", type=Path, metavar="FOLDER")
    parser.add_argument("--train-steps", type=int, default=500, help="with --perplexity (%(default)s)")
    parser.add_argument("--softmaxes", nargs="+", default=[FULL, ADAPTIVE, TIED], help="with --perplexity")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    import_tensorflow()
    if arguments.perplexity:
        rows = [held_out(arguments, softmax) for softmax in arguments.softmaxes]
        for row in rows:
            row["of_the_first"] = row["held_out_nats"] / rows[0]["held_out_nats"]
    else:
        rows = speeds(arguments)
    print_table(rows)
    if arguments.json:
        names = ("units", "embedding", "layers", "batch", "steps")
        facts = {name: getattr(arguments, name) for name in names}
        write_json(arguments.json, "large_vocabularies", rows, **facts)
    return 0


def training(arguments: argparse.Namespace, vocabulary: int, softmax: str, total_steps: int) -> tuple[Any, Any]:
    """A model and the step that trains it, as the trainer makes them."""
    from textrnn.config import ModelConfig, TrainConfig
    from textrnn.training.loop.training_step import TrainingStep, optimizer_of
    from textrnn.training.network.language_model import LanguageModel

    config = ModelConfig(
        hidden_dim=arguments.units,
        embedding_dim=arguments.embedding,
        layers=arguments.layers,
        tied=softmax != ADAPTIVE,
        softmax=FULL if softmax == FULL else "adaptive",
        cutoffs=() if softmax == FULL or vocabulary > 2500 else (vocabulary // 2,),
        dropout=0.25,
        embedding_dropout=0.1,
    )
    precision = "bfloat16" if has_bfloat16() else "float32"
    model = LanguageModel(config, vocabulary, 1, precision)
    return model, TrainingStep(
        model,
        optimizer_of(TrainConfig(batch_size=arguments.batch, sequence_length=arguments.steps), total_steps, model),
    )


# Speed


def zipf(vocabulary: int, count: int) -> NDArray[np.int32]:
    """Word ids, the more frequent the lower, by the law of Zipf and Mandelbrot."""
    probs = 1 / (np.arange(vocabulary) + 2.7)
    places = np.searchsorted(np.cumsum(probs / probs.sum()), np.random.default_rng(0).random(count))
    return np.minimum(places, vocabulary - 1).astype(np.int32)


def speeds(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    steps: dict[str, Callable[[], object]] = {}
    for vocabulary in arguments.vocabularies:
        for softmax in (FULL, ADAPTIVE, TIED):
            if softmax != FULL or vocabulary <= arguments.full_up_to:
                steps[f"{softmax}, {vocabulary:,} words"] = training_step(arguments, vocabulary, softmax)
    times = alternate(steps, arguments.seconds)
    against = f"{FULL}, {max(v for v in arguments.vocabularies if v <= arguments.full_up_to):,} words"
    rows = [{"what": "step", **row} for row in median_rows(times, against)]
    for row in rows:
        row["words_a_second"] = arguments.batch * arguments.steps / row["milliseconds"] * 1e3
        row["times_as_fast"] = 1 / row.pop("ratio")
    updates = {
        f"{softmax}, {vocabulary:,} words": update_alone(arguments, vocabulary, softmax)
        for vocabulary in (min(arguments.vocabularies), max(arguments.vocabularies))
        for softmax in (ADAPTIVE, TIED)
    }
    times = alternate(updates, arguments.seconds)
    for softmax in (ADAPTIVE, TIED):
        of_one = {name: seconds for name, seconds in times.items() if name.rpartition(", ")[0] == softmax}
        rows += [{"what": "update", **row} for row in median_rows(of_one, next(iter(of_one)))]
    return rows


def update_alone(arguments: argparse.Namespace, vocabulary: int, softmax: str) -> Callable[[], object]:
    """What a step does with the embedding and with the gradients: rows looked up, their gradient, and the update.

    The gradients at all else are given; those of a tail's rows are products of the softmax, whose time is the step's.
    """
    import tensorflow as tf

    model, step = training(arguments, vocabulary, softmax, 1_000_000)
    backbone, read = model.backbone, batches(arguments, vocabulary)
    variables = model.trainable_variables
    of_embedding = [backbone.embedding, *(part for tail in backbone.tail_embeddings for part in tail)]
    is_of_embedding = [any(variable is other for other in of_embedding) for variable in variables]
    given = [0.001 * tf.ones(variable.shape) for variable in variables]
    from_above = 0.001 * tf.ones((arguments.steps, arguments.batch, backbone.embedding_dim))

    @tf.function(autograph=False)
    def run(ids: Any, seed: Any) -> Any:
        if step.rows is not None:
            step.rows.sync_rows(ids)
        masks = backbone.draw_masks(arguments.batch, arguments.steps, seed, last_layer=False)
        with tf.GradientTape() as tape:
            embedded = backbone.embed(ids, masks)
        found = iter(tape.gradient(embedded, of_embedding, from_above))
        gradients = []
        for variable, gradient, embeds in zip(variables, given, is_of_embedding, strict=True):
            gradient = next(found) if embeds else gradient
            is_table = step.rows is not None and variable is step.rows.table
            gradients.append(gradient if is_table else tf.convert_to_tensor(gradient))
        step.update(gradients)

    def once() -> object:
        run(next(read)[0], tf.constant([1, int(step.optimizer.iterations)]))
        return float(step.optimizer.iterations)

    return once


def batches(arguments: argparse.Namespace, vocabulary: int) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets, over and over."""
    import tensorflow as tf

    size = arguments.batch * arguments.steps
    ids = zipf(vocabulary, 20 * size + 1)
    for number in itertools.cycle(range(20)):
        part = ids[number * size : (number + 1) * size + 1]
        shape = (arguments.batch, arguments.steps)
        yield tf.constant(part[:-1].reshape(shape)), tf.constant(part[1:].reshape(shape))


def training_step(arguments: argparse.Namespace, vocabulary: int, softmax: str) -> Callable[[], object]:
    import tensorflow as tf

    model, step = training(arguments, vocabulary, softmax, 1_000_000)
    read, state, number = batches(arguments, vocabulary), model.backbone.initial_state(arguments.batch), 0

    def run() -> object:
        nonlocal state, number
        number += 1
        loss, state = step(*next(read), state, tf.constant([1, 1000 * number]))
        return float(loss)

    return run


# Held-out text


def held_out(arguments: argparse.Namespace, softmax: str) -> dict[str, Any]:
    """Train on a real text and measure the loss on held-out text."""
    import tensorflow as tf

    from textrnn.data.tokens.datasets import Batches, evaluation_batches
    from textrnn.tokenizers import train_tokenizer

    texts = {}
    for part in ("train", "valid"):
        (path,) = arguments.perplexity.glob(f"*{part}.txt")
        texts[part] = path.read_text(encoding="utf-8")
    tokenizer = train_tokenizer("word", [texts["train"]])
    train, valid = (tokenizer.encode(texts[part]) for part in ("train", "valid"))
    valid = valid[:HELD_OUT]
    model, step = training(arguments, tokenizer.vocabulary_size, softmax, arguments.train_steps)
    read = Batches(train, arguments.batch, arguments.steps, seed=1)
    state, began = model.backbone.initial_state(arguments.batch), time.perf_counter()
    for number in range(arguments.train_steps):
        inputs, targets, _ = read.batch(number)
        loss, state = step(tf.constant(inputs), tf.constant(targets), state, tf.constant([1, 1000 * number]))
        if number % 100 == 0:
            print(f"{softmax}: step {number}, {float(loss):.3f} nats", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began

    @tf.function(autograph=False)
    def measure(inputs: Any, targets: Any, weights: Any, state: Any) -> Any:
        hidden, state = model.read(inputs, state)
        return tf.reduce_sum(model.token_loss(hidden, targets) * tf.transpose(weights)), state

    state, total, count = model.backbone.initial_state(16), 0.0, 0.0
    for inputs, targets, weights in evaluation_batches(valid, 16, arguments.steps):
        loss, state = measure(inputs, targets, weights, state)
        total, count = total + float(loss), count + float(weights.sum())
    nats = total / count
    return {
        "softmax": softmax,
        "vocabulary": tokenizer.vocabulary_size,
        "train_steps": arguments.train_steps,
        "held_out_nats": nats,
        "perplexity": math.exp(nats),
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
