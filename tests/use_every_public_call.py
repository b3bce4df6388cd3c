"""A program that uses the library, and prints what of its process's global state that changed."""

from __future__ import annotations

import contextlib
import csv
import decimal
import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

# What other libraries change while they are imported is theirs.
import datasets
import keras
import matplotlib
import numpy as np
import onnx  # noqa: F401
import onnxruntime.quantization  # type: ignore[import-untyped]  # noqa: F401
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import sentencepiece  # noqa: F401
import tensorflow as tf

import textrnn
from textrnn.data.hugging_face import HubDataset
from textrnn.data.records import SourceOptions
from textrnn.data.sources import read_labelled
from textrnn.explanation import draw
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.table import trainer_of


def global_state() -> dict[str, Any]:
    """Everything that a library call could change for its caller, as text by name."""
    state: dict[str, Any] = {
        "csv": (csv.field_size_limit(), csv.list_dialects()),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "numpy errors": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "numpy random": tuple(map(str, np.random.get_state())),
        "random": random.getstate(),
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": str(decimal.getcontext()),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.gettrace(), sys.getprofile()),
        "python": (sys.path[:], sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()),
        "folders": (Path.cwd(), tempfile.tempdir),
        "datasets": (datasets.config.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()),
        "keras": (keras.config.floatx(), str(keras.config.dtype_policy().get_config())),
        "matplotlib": str(dict(matplotlib.rcParams.copy())),
        "pyplot": "matplotlib.pyplot" in sys.modules,
    }
    state |= {f"signal {number!r}": signal.getsignal(number) for number in signal.valid_signals()}
    loggers: dict[str, Any] = {"root": logging.getLogger(), **logging.root.manager.loggerDict}
    for name, logger in loggers.items():
        if isinstance(logger, logging.Logger):
            known = (logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled)
            state[f"logger {name}"] = known
    state["logging"] = (logging.root.manager.disable, logging.getLoggerClass(), logging.lastResort)
    return {name: repr(value) for name, value in state.items()}


def main(folder: Path) -> None:
    (folder / "animals.txt").write_text("the cat sat on the mat. a dog slept on the hat.\n" * 60)
    rows = [f'"{"good" if n % 2 else "bad"} film{" very" * (n % 5)}",{n % 2}' for n in range(60)]
    rows.append(f'"good {"long " * 40_000}",1')  # a field longer than the limit of `csv`
    (folder / "opinions.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "wave.csv").write_text("level\n" + "".join(f"{np.sin(n / 4):.4f}\n" for n in range(300)))
    table = pyarrow.table({"text": ["one", "two"], "label": ["a", "b"]})
    pyarrow.parquet.write_table(table, folder / "table.parquet")
    before = global_state()
    use(folder)
    after = global_state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    added = [name for name in after if name not in before and ("textrnn" in name or "signal" in name)]
    print(json.dumps({"changed": changed, "added": added}))


def use(folder: Path) -> None:
    # A few steps each, of one length, eagerly: their compilation would take most of the time, and is TensorFlow's.
    tf.config.run_functions_eagerly(True)
    small = ["model.hidden_dim=4", "model.layers=1", "train.batch_size=16", "train.epochs=1", "train.evaluations=2"]
    of_texts = ["train.sequence_length=8", "train.sample_length=5", "train.epochs=0.1"]
    runs = {
        "lm": ("animals.txt", of_texts),
        "words": ("animals.txt", [*of_texts, "tokenizer.kind=word"]),
        "classifier": (
            "opinions.csv",
            [
                *("task=classification", "model.embedding_dim=4", "model.activation=tanh", "tokenizer.min_count=1"),
                "data.max_length=16",
            ],
        ),
        "forecaster": ("wave.csv", ["task=forecast", "train.sequence_length=16"]),
    }
    for name, (source, settings) in runs.items():
        config = load_config(None, [*small, *settings])
        config = replace(config, data=replace(config.data, source=(str(folder / source),)))
        trainer = trainer_of(create_run(folder / name, config, quiet=True))
        trainer.fit()
        trainer.finish()
    for name in ("lm", "classifier"):
        trainer_of(open_run(folder / name, quiet=True)).export(folder / f"{name}-int8", "int8")
    tiny: dict[str, Any] = {"hidden_dim": 4, "layers": 1, "sequence_length": 16, "epochs": 0.1, "evaluations": 1}
    called = textrnn.train(folder / "animals.txt", **tiny)
    called.evaluate()
    called.save(folder / "called")
    for name in ("lm", "words", "lm-int8", "called"):
        model = textrnn.load(folder / name)
        model.generate("the cat", length=20)
        model.generate("the cat", length=20, seed=1, top_k=3, stop="z")
        model.generate("the cat", length=5, beams=2)
        model.samples("a", count=2, length=5, temperature=1e-30)
        list(model.stream("a", length=5))
        model.score("the cat sat")
        model.next_probs("the")
    for name in ("classifier", "classifier-int8"):
        model = textrnn.load(folder / name)
        model.classify(["good film", ""])
        draw(model.explain("good film"), folder / f"{name}.png")
    textrnn.load(folder / "forecaster").forecast([1e-40, 0.5, 1e30], 3)
    for action in (lambda: textrnn.load(folder / "nothing"), lambda: model.classify("text")):
        with contextlib.suppress(textrnn.UserError):
            action()
    options = SourceOptions(label="label")
    list(read_labelled([str(folder / "table.parquet"), str(folder / "opinions.csv")], options, {}))  # type: ignore[arg-type]
    next(iter(read_labelled([str(folder / "table.parquet")], options, {})))  # type: ignore[arg-type]
    datasets.config.HF_ENDPOINT = "http://127.0.0.1:9"  # where nobody answers
    with contextlib.suppress(textrnn.UserError):
        HubDataset("nobody/nothing", None, "train").load()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
