"""Trains the words network of configs/ptb.toml on a GPU under JAX, several variants of its settings side by side.

    python benchmarks/experiments/gpu_words.py --train FILE --validation FILE --test FILE [--config FILE.toml]
        [--variant KEY=VALUE,... ...] [--epochs N] [--seconds F] [--json FILE]

The layers are ours, under Keras's JAX backend; the output is a full softmax, tied, where the CPU has an adaptive one.
Variants differ in dropout, input_dropout, embedding_dropout, weight_decay and learning_rate; each is a row of the same
batched products, so eight cost little more than one. Perplexity of a static model, the state carried, every word and
end of line once. Variants are to be compared by their validation perplexity.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
from measure import print_table, write_json

VARIED = ("dropout", "input_dropout", "embedding_dropout", "weight_decay", "learning_rate")
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
END = "<end of line>"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("train", "validation", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE")
    parser.add_argument("--config", type=Path, default=Path("configs/ptb.toml"), metavar="FILE.toml")
    parser.add_argument("--variant", nargs="+", default=[""], metavar="KEY=VALUE,...", help=", ".join(VARIED))
    parser.add_argument("--epochs", type=int, metavar="N", help="(those of the config)")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="F", help="stop before an epoch that ends later")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, after each epoch")
    arguments = parser.parse_args(argv)
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    from textrnn.training.tasks.configuration import load_config

    jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    config = load_config(arguments.config)
    texts = words_of([arguments.train, arguments.validation, arguments.test])
    variants = [dict(part.split("=") for part in text.split(",") if part) for text in arguments.variant]
    settings = {
        name: np.array(
            [
                float(each.get(name, getattr(config.model, name, None) or getattr(config.train, name, 0)))
                for each in variants
            ],
            np.float32,
        )
        for name in VARIED
    }
    rows = train(jax, config, texts, settings, arguments.epochs or int(config.train.epochs), arguments.seconds)
    facts = [{"variant": text or "as the config", **row} for text, row in zip(arguments.variant, rows, strict=True)]
    print_table([{name: value for name, value in row.items() if name != "curve"} for row in facts])
    if arguments.json:
        write_json(arguments.json, "words on a GPU", facts, device=jax.devices()[0].device_kind)
    return 0


def words_of(paths: Sequence[Path]) -> list[Any]:
    """Return the words of texts as ids by falling frequency in the first one; words that it lacks are left out."""
    texts = [
        [word for line in path.read_text(encoding="utf-8").splitlines() for word in (*line.split(), END)]
        for path in paths
    ]
    ids = {word: number for number, (word, _) in enumerate(Counter(texts[0]).most_common())}
    return [np.array([ids[word] for word in text if word in ids], np.int32) for text in texts]


def streams(ids: Any, batch: int, length: int) -> Any:
    """Return a text as inputs and targets ``(steps, 2, batch, length)``; the end that fills no step is left out."""
    steps = (len(ids) - 1) // (batch * length)
    size = batch * steps * length
    pairs = np.stack([ids[:size], ids[1 : size + 1]]).reshape(2, batch, steps, length)
    return np.ascontiguousarray(pairs.transpose(2, 0, 1, 3))


def train(jax: Any, config: Any, texts: Sequence[Any], settings: Any, epochs: int, seconds: float) -> list[Any]:
    """Train all variants, and return a row for each."""
    numpy = jax.numpy
    network = Network(config, int(texts[0].max()) + 1)
    data = numpy.asarray(streams(texts[0], config.train.batch_size, config.train.sequence_length))
    validation, test = (numpy.asarray(streams(ids, 10, 64)) for ids in texts[1:])
    steps, variants = len(data), len(settings["dropout"])
    total, warmup = epochs * steps, min(config.train.warmup_steps, epochs * steps // 2)
    decays = [float(weight.ndim > 1) for weight in network.weights]

    def update(carried: Any, batch: Any, of: Any) -> Any:
        count, weights, means, squares, state = carried
        masks = network.masks(jax, jax.random.fold_in(jax.random.PRNGKey(1), count), batch.shape[1], of)

        def loss(weights: Any) -> Any:
            nats, after = network.read(jax, weights, batch, state, masks)
            return nats.mean(), after

        (value, state), slopes = jax.value_and_grad(loss, has_aux=True)(weights)
        norm = numpy.sqrt(sum((slope**2).sum() for slope in slopes))
        slopes = [slope * numpy.minimum(1, config.train.gradient_clip / norm) for slope in slopes]
        done = numpy.clip((count - warmup) / (total - warmup), 0, 1)
        rate = of["learning_rate"] * numpy.where(
            count < warmup, count / max(1, warmup), 0.5 * (1 + numpy.cos(math.pi * done))
        )
        count = count + 1
        means = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(means, slopes, strict=True)]
        squares = [BETA_2 * s + (1 - BETA_2) * g * g for s, g in zip(squares, slopes, strict=True)]
        scaled = rate * numpy.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
        weights = [
            w * (1 - rate * of["weight_decay"] * decay) - scaled * m / (numpy.sqrt(s) + EPSILON)
            for w, m, s, decay in zip(weights, means, squares, decays, strict=True)
        ]
        return (count, weights, means, squares, state), value

    def epoch(carried: Any, of: Any, data: Any) -> Any:
        state = network.start(numpy, data.shape[2])
        *kept, _ = carried
        carried, losses = jax.lax.scan(lambda c, batch: update(c, batch, of), (*kept, state), data)
        return carried, losses.mean()

    def measure(weights: Any, data: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            nats, state = network.read(jax, weights, batch, state, None)
            return state, nats.mean()

        return jax.lax.scan(step, network.start(numpy, data.shape[2]), data)[1].mean()

    one = [numpy.asarray(weight) for weight in network.weights]
    weights = [numpy.stack([weight] * variants) for weight in one]
    zeros = [numpy.zeros_like(weight) for weight in weights]
    state = numpy.stack([network.start(numpy, config.train.batch_size)] * variants)
    carried = (numpy.zeros(variants), weights, zeros, [zero.copy() for zero in zeros], state)
    one_epoch = jax.jit(jax.vmap(epoch, in_axes=(0, 0, None)), donate_argnums=0)
    measured = jax.jit(jax.vmap(measure, in_axes=(0, None)))
    rows: list[dict[str, Any]] = [{"curve": [], "best": math.inf} for _ in range(variants)]
    begin = last = time.perf_counter()
    for number in range(1, epochs + 1):
        carried, losses = one_epoch(carried, settings, data)
        found = np.exp(np.asarray(measured(carried[1], validation)))
        on_test = np.exp(np.asarray(measured(carried[1], test)))
        now = time.perf_counter()
        for row, loss, of_validation, of_test in zip(rows, np.asarray(losses), found, on_test, strict=True):
            row["curve"].append(round(float(of_validation), 1))
            if of_validation < row["best"]:
                row |= {"best": float(of_validation), "test": float(of_test), "at": number}
            row |= {"training": float(np.exp(loss)), "seconds": round(now - begin, 1)}
        print(number, f"{now - begin:.1f} s", *(f"{value:.1f}" for value in found), flush=True)
        if now - begin + (now - last) > seconds:
            break
        last = now
    return rows


class Network:
    """The network of a config: rotations, GLU, layer normalisation, residual connections, tied output.

    Attributes:
        weights: initial weights.
    """

    def __init__(self, config: Any, vocabulary_size: int) -> None:
        from textrnn.training.network.layers import InitScale, recurrent_layer

        model, start = config.model, InitScale(embedding=0.05)
        self.model, self.vocabulary_size, random = model, vocabulary_size, np.random.default_rng(config.seed)
        hidden, width = model.hidden_dim, model.embedding_dim
        self.layers = [
            recurrent_layer(
                model,
                hidden if index else width,
                start,
                start.projected / (1 if index else start.embedding),
                100 * index,
                f"layer_{index}",
            )
            for index in range(model.layers)
        ]
        self.of_layers = [variable for layer in self.layers for variable in layer.trainable_variables]

        def drawn(rows: int, columns: int, scale: float) -> Any:
            return random.normal(0, scale, (rows, columns)).astype(np.float32)

        own = [drawn(vocabulary_size, width, start.embedding), drawn(hidden, width, 0.5 * hidden**-0.5)]
        own.append(np.zeros(vocabulary_size, np.float32))
        for _ in range(model.layers):
            own += [drawn(hidden, 2 * hidden, hidden**-0.5), np.zeros(2 * hidden, np.float32)]
            own += [np.ones(hidden, np.float32), np.zeros(hidden, np.float32)]
        self.weights = [*own, *(np.asarray(variable.value) for variable in self.of_layers)]

    def start(self, numpy: Any, batch: int) -> Any:
        """Return the zero state ``(layers, batch, hidden)``."""
        return numpy.zeros((self.model.layers, batch, self.model.hidden_dim))

    def masks(self, jax: Any, key: Any, batch: int, of: Any) -> list[Any]:
        """Draw the masks of words, of inputs, and of each layer's output."""
        hidden = (1, batch, self.model.hidden_dim)
        wanted = [
            ("embedding_dropout", (self.vocabulary_size, 1)),
            ("input_dropout", (1, batch, self.model.embedding_dim)),
        ]
        wanted += [("dropout", hidden)] * self.model.layers
        return [
            jax.random.bernoulli(each, 1 - of[name], shape) / (1 - of[name])
            for each, (name, shape) in zip(jax.random.split(key, len(wanted)), wanted, strict=True)
        ]

    def read(self, jax: Any, weights: Any, batch: Any, state: Any, masks: Any) -> Any:
        """Return the nats of each target ``(time, batch)``, and the last state."""
        import keras

        from textrnn.training.network.products import dense

        numpy = jax.numpy
        table, adapter, output_bias, *rest = weights
        own, of_layers = rest[: 4 * self.model.layers], rest[4 * self.model.layers :]
        ids, targets = batch
        x = table[ids.T]
        if masks:
            x = x * masks[0][ids.T] * masks[1]
        residual, after, precision = None, [], "bfloat16" if masks else "float32"
        with keras.StatelessScope(state_mapping=list(zip(self.of_layers, of_layers, strict=True))):
            for index, layer in enumerate(self.layers):
                mixing, mixing_bias, gain, shift = own[4 * index : 4 * index + 4]
                kernel, bias = layer.input_weights()
                states, last = layer.call(dense(x, kernel, bias, precision), state[index])
                after.append(last)
                values, gates = numpy.split(dense(states, mixing, mixing_bias, precision).astype("float32"), 2, axis=-1)
                mixed = values * jax.nn.sigmoid(gates)
                residual = mixed if residual is None else residual + mixed
                centred = residual - residual.mean(axis=-1, keepdims=True)
                x = centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gain + shift
                if masks:
                    x = x * masks[2 + index]
        narrow = dense(x, adapter, None, precision)
        logits = (narrow.astype(precision) @ table.T.astype(precision)).astype("float32") + output_bias
        right = numpy.take_along_axis(logits, targets.T[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(logits, axis=-1) - right, numpy.stack(after)


if __name__ == "__main__":
    raise SystemExit(main())
