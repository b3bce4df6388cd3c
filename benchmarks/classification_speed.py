"""Texts classified a second on one core: a bundle beside the same network in Keras, and fastText.

    python benchmarks/classification_speed.py [BUNDLE] [--int8 BUNDLE] [--data FILE --text COLUMN --label COLUMN]
                                              [--json FILE]

From text to label: tokenising is counted for every candidate, loading is not. The texts are some of FILE drawn at
random (default: the built-in reviews), the shortest first, one at a time and in batches of 64, so that whoever pads a
batch pads little. Without BUNDLE one is trained for a step, as what a text costs does not depend on the weights.

    textrnn      `load(BUNDLE).classify(texts)`, with the float32 and the int8 bundle
    Keras        an Embedding, SimpleRNN layers in one direction or both and pooling of the bundle's sizes, untrained,
                 fed with what the bundle's tokenizer makes of a text, padded as textrnn pads; `predict`, which is how
                 most use it, and `predict_on_batch`, which does less around the network; and that with the text in the
                 bundle's segments. No masks, which would add to its work.
    fastText     words and pairs of words, trained on the texts of FILE
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

# One thread for every candidate, said before any of them is loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import numpy as np
from classification_peers import fasttext_labels, fasttext_line, train_fasttext
from measure import alternate, median_rows, peer, print_table, write_json
from numpy.typing import NDArray

from textrnn import cli
from textrnn.classification import head_and_tail, padded_length
from textrnn.data.records import SourceOptions
from textrnn.data.sources import read_labelled
from textrnn.errors import UserError
from textrnn.runtime.load import load_classifier
from textrnn.runtime.text_classifier import Classifier
from textrnn.training.tasks.configuration import from_dict

KERAS = "Keras predict"
FASTTEXT_TEXTS = 5_000  # trained on: enough for a vocabulary as large as one would have

Classify = Callable[[Sequence[str]], object]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="a float32 bundle or a run")
    parser.add_argument("--int8", type=Path, metavar="BUNDLE", help="the same model in 8 bits")
    parser.add_argument("--data", default="builtin", metavar="FILE", help="labelled text (default: built-in reviews)")
    parser.add_argument("--text", default="text", metavar="COLUMN")
    parser.add_argument("--label", default="label", metavar="COLUMN")
    parser.add_argument("--texts", type=int, default=128, metavar="N", help="that are classified (%(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each size of batches (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    try:
        return _measure(arguments)
    except UserError as error:
        print(f"classification_speed: {error}", file=sys.stderr)
        return 1


def _measure(arguments: argparse.Namespace) -> int:
    options = SourceOptions(text=arguments.text, label=arguments.label)
    records = list(read_labelled([arguments.data], options, Counter()))
    drawn = np.random.default_rng(0).permutation(len(records))
    with tempfile.TemporaryDirectory() as name:
        models = _models(arguments, Path(name))
        candidates: dict[str, Classify] = {name: model.classify for name, model in models.items()}
        ours = models["textrnn float32"]
        candidates |= keras_candidates(ours)
        if peer("fasttext"):
            candidates["fastText"] = fasttext_candidate([records[place] for place in drawn[:FASTTEXT_TEXTS]])
        encode = ours.tokenizer.encode
        texts = sorted((records[place][0] for place in drawn[: arguments.texts]), key=lambda text: len(encode(text)))
        tokens = sum(min(len(encode(text)), ours.max_length) for text in texts)
        rows: list[dict[str, Any]] = []
        for batch in arguments.batches:
            found = cost(candidates, texts, batch, arguments.seconds)
            print(f"\n{len(texts)} texts of {tokens / len(texts):.0f} tokens on average, {batch} at a time, one core")
            print_table(found)
            rows += [{"batch": batch, **row} for row in found]
    if arguments.json:
        facts = {"texts": len(texts), "tokens_a_text": tokens / len(texts), "model": ours.manifest.config["model"]}
        write_json(arguments.json, "classification speed", rows, **facts)
    return 0


def _models(arguments: argparse.Namespace, folder: Path) -> dict[str, Classifier]:
    """The bundles that are given, or two of a network that has seen one batch."""
    bundle, small = arguments.bundle, arguments.int8
    if bundle is None:
        bundle, small = folder / "run", folder / "run" / "bundle-int8"
        settings = [f"data.text={arguments.text}", f"data.label={arguments.label}", "train.epochs=0.0001"]
        options = [word for setting in settings for word in ("--set", setting)]
        train = ["train", arguments.data, "--task", "sentiment", "--out", str(bundle), "--quiet", *options]
        for command in (train, ["export", str(bundle), "--quantize", "int8"]):
            with redirect_stdout(sys.stderr):
                failed = cli.main(command)
            if failed:
                raise UserError("no bundle was made; name one")
    models = {"textrnn float32": load_classifier(bundle)}
    return models | ({"textrnn int8": load_classifier(small)} if small else {})


def cost(candidates: Mapping[str, Classify], texts: Sequence[str], batch: int, seconds: float) -> list[dict[str, Any]]:
    """Texts a second and how many times Keras's predict that is."""
    batches = [texts[begin : begin + batch] for begin in range(0, len(texts), batch)]

    def all_of_them(classify: Classify) -> None:
        for part in batches:
            classify(part)

    times = alternate({name: partial(all_of_them, each) for name, each in candidates.items()}, seconds, 3, warm_up=1)
    return [
        {
            "candidate": row["candidate"],
            "texts_a_second": 1e3 * len(texts) / row["milliseconds"],
            "milliseconds_a_text": row["milliseconds"] / len(texts),
            "times_keras_predict": 1 / row["ratio"],
            "runs": row["runs"],
        }
        for row in median_rows(times, against=KERAS)
    ]


def keras_candidates(model: Classifier) -> dict[str, Classify]:
    """The model's network in Keras's own layers."""
    from textrnn.training.tensorflow_setup import import_tensorflow

    import_tensorflow()
    segment = from_dict(model.manifest.config).model.segment_length

    def padded(texts: Sequence[str]) -> NDArray[np.int32]:
        read = [head_and_tail(model.tokenizer.encode(text), model.max_length) for text in texts]
        ids = np.zeros((len(read), padded_length(max(map(len, read)), segment)), np.int32)
        for row, text in zip(ids, read, strict=True):
            row[: len(text)] = text
        return ids

    whole = keras_network(model)

    def predict(texts: Sequence[str]) -> object:
        return whole.predict(padded(texts), verbose=0)

    candidates: dict[str, Classify] = {
        KERAS: predict,
        "Keras predict_on_batch": lambda texts: whole.predict_on_batch(padded(texts)),
    }
    if segment:
        parts = keras_network(model, segment)
        candidates["Keras predict_on_batch, segments"] = lambda texts: parts.predict_on_batch(padded(texts))
    return candidates


def keras_network(model: Classifier, segment: int = 0) -> Any:
    """Untrained; with `segment` the text is read in pieces of so many tokens, side by side."""
    import keras
    from keras import layers, ops

    config = from_dict(model.manifest.config).model

    class Network(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(
                model.tokenizer.vocabulary_size, config.embedding_dim or config.hidden_dim
            )
            self.recurrent = [self.layer() for _ in range(config.layers)]
            self.output_layer = layers.Dense(len(model.labels), activation="softmax")

        def layer(self) -> Any:
            recurrent = layers.SimpleRNN(config.hidden_dim, config.activation, return_sequences=True)
            return layers.Bidirectional(recurrent) if config.bidirectional else recurrent

        def call(self, ids: Any) -> Any:
            batch, time = ops.shape(ids)
            steps = ops.minimum(time, segment) if segment else time
            vectors = states = self.embedding(ops.reshape(ids, (-1, steps)))
            for layer in self.recurrent:
                states = layer(states)
            pooled = [ops.max(states, axis=1), ops.mean(states, axis=1), ops.mean(vectors, axis=1)]
            parts = [ops.reshape(part, (batch, -1, part.shape[-1])) for part in pooled]
            over_text = [ops.max(parts[0], axis=1), *(ops.mean(part, axis=1) for part in parts[1:])]
            return self.output_layer(ops.concatenate(over_text, axis=-1))

    return Network()


def fasttext_candidate(records: Sequence[tuple[str, str]]) -> Classify:
    """A model of the records, which come in random order."""
    lines = [fasttext_line(text, characters=False) for text, _ in records]
    labels = [label.replace(" ", "-") for _, label in records]
    model = train_fasttext(lines, labels, epoch=5)
    return lambda texts: fasttext_labels(model, [fasttext_line(text, characters=False) for text in texts])


if __name__ == "__main__":
    raise SystemExit(main())
