"""Every setting, in every task: a value other than the default is refused, or changes what can be observed."""

from __future__ import annotations

import json
import random
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textrnn.config import Config, settings
from textrnn.errors import UserError
from textrnn.training.tasks.configuration import load_config, validate
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import prepare
from textrnn.training.tensorflow_setup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from textrnn.training.distributed.distribution import of_this_process  # noqa: E402
from textrnn.training.loop import trainer as training  # noqa: E402
from textrnn.training.loop import training_step  # noqa: E402
from textrnn.training.tasks.table import trainer_of  # noqa: E402

TINY = [
    "model.hidden_dim=4",
    "train.batch_size=2",
    "train.epochs=0.5",
    "train.evaluations=2",
    "train.warmup_steps=1",
    "train.weight_decay=0",
    "train.learning_rate=0.01",
]
KINDS = {
    "language model": ["task=language_model", "train.sequence_length=8", "train.sample_length=4"],
    "classifier of text": ["task=classification", "model.embedding_dim=4", "model.segment_length=4"],
    "multi-label classifier": ["task=multilabel", "model.embedding_dim=4", "model.segment_length=4"],
    "classifier of vectors": ["task=classification", "data.reads=vectors"],
    "classifier of recordings": ["task=classification", "data.reads=audio", "data.sample_rate=8000"],
    "regressor": ["task=regression"],
    "forecaster": ["task=forecast", "train.sequence_length=8"],
    "translator": ["task=text_to_text", "model.embedding_dim=4", "model.layers=1"],
    "recognizer": ["task=recognition", "data.sample_rate=8000", "model.layers=1", "model.bidirectional=false"],
}
GIVEN = {"task", "data.reads", "data.source"}  # which make the kind, and what it reads

# A value of each setting, another where a task has it as its default, and what else it needs to have an effect.
VALUES: dict[str, tuple[str, ...]] = {
    "seed": ("2",),
    "data.values": ('["b"]',),
    "data.steps": ("values",),
    "data.recording": ("other_path",),
    "data.group": ("speaker",),
    "data.sample_rate": ("4000",),
    "data.mel_bins": ("8",),
    "model.cepstra": ("5",),
    "data.mix": ('["{other}"]',),
    "data.validation": ('["{other}"]',),
    "data.held_out": ("0.4",),
    "data.text": ("note",),
    "data.label": ("kind",),
    "data.target": ("kind",),
    "data.label_names": ('["0=bad","1=good"]',),
    "data.label_separator": (",",),
    "data.max_length": ("2", "model.segment_length=0"),
    "data.document": ("line", "data.separate_documents=true"),
    "data.separate_documents": ("true",),
    "data.season": ("7",),
    "data.errors": ("replace",),
    "data.processes": ("1",),
    "tokenizer.kind": ("sentencepiece",),
    "tokenizer.source_kind": ("word",),
    "tokenizer.target_kind": ("word",),
    "tokenizer.shared": ("true",),
    "tokenizer.vocabulary_size": ("20",),
    "tokenizer.min_count": ("20",),
    "tokenizer.lowercase": ("true|false", "tokenizer.kind=word"),
    "tokenizer.split": ("space|punctuation", "tokenizer.kind=word"),
    "tokenizer.model_type": ("bpe", "tokenizer.kind=sentencepiece"),
    "model.hidden_dim": ("6",),
    "model.layers": ("4",),
    "model.embedding_dim": ("6",),
    "model.activation": ("tanh|relu",),
    "model.residual": ("false", "model.layers=2"),
    "model.normalization": ("layer|none",),
    "model.tied": ("true",),
    "model.softmax": ("adaptive model.cutoffs=[4]", "tokenizer.kind=word"),
    "model.cutoffs": ("[4]", "model.softmax=adaptive", "tokenizer.kind=word", "model.cutoffs=[5]"),
    "model.dropout": ("0.9",),
    "model.input_dropout": ("0.9",),
    "model.variational": ("true", "model.dropout=0.5", "model.layers=2"),
    "model.embedding_dropout": ("0.9",),
    "model.init_from": ("{other}",),
    "model.bidirectional": ("true|false",),
    "model.segment_length": ("3",),
    "model.recurrence": ("diagonal",),
    "model.recurrent_start": ("identity", "model.recurrence=dense"),
    "model.recurrent_scale": ("0.3", "model.recurrence=dense"),
    "model.max_excitation": ("0.01", "model.recurrence=dense", "model.activation=relu"),
    "model.memory": ("9", "model.recurrence=rotation"),
    "model.mixing": ("relu|glu",),
    "model.stride": ("2", "model.layers=2"),
    "model.frame_stack": ("4",),
    "model.input_ngrams": ("2|3",),
    "model.ngram_rows": ("40", "model.input_ngrams=2"),
    "model.ngram_dropout": ("0.9", "model.input_ngrams=2"),
    "model.min_count": ("20",),
    "model.direct_ngrams": ("1|2",),
    "model.direct_rows": ("3", "model.direct_ngrams=1"),
    "model.pooling": ("last", "model.segment_length=0"),
    "model.horizon": ("3",),
    "model.weight_drop": ("0.9", "model.recurrence=dense"),
    "train.epochs": ("2",),
    "train.batch_size": ("3",),
    "train.sequence_length": ("4",),
    "train.state_reset": ("0.5",),
    "train.learning_rate": ("0.02",),
    "train.optimizer": ("rmsprop",),
    "train.schedule": ("constant",),
    "train.warmup_steps": ("9", "train.epochs=3"),
    "train.weight_decay": ("5",),
    "train.beta_2": ("0.1",),
    "train.gradient_clip": ("0.001",),
    "train.precision": ("bfloat16",),
    "train.recompute": ("4",),
    "train.evaluations": ("1",),
    "train.patience": ("1",),
    "train.checkpoint_seconds": ("0",),
    "train.label_smoothing": ("0.5",),
    "train.augment": ("false",),
    "train.class_weights": ("balanced",),
    "train.sample_length": ("6",),
    "train.prompt": ("dog",),
}
ELSEWHERE = {
    "data.processes": "test_shards.py: the pieces of a long text, and the same tokens for every number",
    "train.recompute": "test_memory.py: the memory that is needed; the same loss",
    "data.label_names": "test_labelled.py: the names of classes in a bundle",
    "data.errors": "test_sources.py: bytes that are not UTF-8",
    "train.evaluations": "test_trainer.py: the loop that all tasks share",
    "train.patience": "test_trainer.py: the loop that all tasks share",
    "train.checkpoint_seconds": "test_trainer.py: the loop that all tasks share",
    "model.init_from": "test_pretrained.py: weights of another model",
}


def _recordings(folder: Path) -> Path:
    """A table of 14 recordings in two columns, if the extra audio is there."""
    folder.mkdir()
    draw = np.random.default_rng(len(folder.name))
    for number in range(28):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(draw.normal(0, 3000, 1000).astype("<i2").tobytes())
    rows = "".join(f"{n}.wav,{n + 14}.wav,{n % 3 == 0:d},{n % 2},{n // 2},a{n % 3},b\n" for n in range(14))
    (folder / "table.csv").write_text("path,other_path,label,kind,speaker,text,note\n" + rows, encoding="utf-8")
    return folder / "table.csv"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small sources of each kind; the second ones are for `data.validation`."""
    folder, draw = tmp_path_factory.mktemp("sources"), random.Random(0)
    found = {}
    for name in ("source", "other"):
        found["language model " + name] = folder / name
        found["language model " + name].mkdir()
        for number in range(12):
            sentences = [draw.choice(["The cat sat, ", "a dog ran.\n", "Two Birds sang;\n"]) for _ in range(4)]
            (folder / name / f"{number}.txt").write_text("".join(sentences), encoding="utf-8")
        rows = [
            f'"The film was w{number // 2} and v{number // 2}, it was: {"fine" if number % 3 else "Dull"}.",'
            f"the note {number % 2} is,{number % 3 == 0:d},{number % 2}\n"
            for number in range(12)
        ]
        found["classifier of text " + name] = folder / f"{name}.csv"
        found["classifier of text " + name].write_text("text,note,label,kind\n" + "".join(rows), encoding="utf-8")
        pairs = "".join(
            f"c{number},a dog {number % 4},{number % 3},x{number}\n"
            if number % 2
            else f"the cat {number},a dog {number % 4},one {number % 3} bird,x{number}\n"
            for number in range(12)
        )
        found["translator " + name] = folder / f"{name}_pairs.csv"
        found["translator " + name].write_text("text,note,target,kind\n" + pairs, encoding="utf-8")
        tagged = [
            row.rsplit(",", 2)[0] + f",{number % 2}|{number % 3},{number % 4}\n" for number, row in enumerate(rows)
        ]
        found["multi-label classifier " + name] = folder / f"{name}_tagged.csv"
        found["multi-label classifier " + name].write_text("text,note,label,kind\n" + "".join(tagged), encoding="utf-8")
        arrays = np.random.default_rng(len(name)).normal(size=(2, 14, 6, 2)).astype(np.float32)
        for kind in ("classifier of vectors", "regressor"):
            found[f"{kind} {name}"] = folder / f"{name}.npz"
        label = np.arange(14) % 3 == 0
        np.savez(folder / name, x=arrays[0], b=arrays[1], label=label.astype(int), kind=np.arange(14) % 2)
        found[f"classifier of recordings {name}"] = _recordings(folder / f"{name} recordings")
        found[f"recognizer {name}"] = found[f"classifier of recordings {name}"]
        numbers = "".join(f"{number % 7},{number * 3 % 5}\n" for number in range(80))
        found["forecaster " + name] = folder / f"{name}_series.csv"
        found["forecaster " + name].write_text("a,b\n" + numbers, encoding="utf-8")
    return found


@pytest.fixture(scope="module", autouse=True)
def _eagerly() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def configured(kind: str, sources: dict[str, Path], overrides: list[str]) -> Config:
    other = str(sources[f"{kind} other"])
    source = json.dumps([str(sources[f"{kind} source"])])
    return load_config(
        None, [*TINY, *KINDS[kind], f"data.source={source}", *(each.replace("{other}", other) for each in overrides)]
    )


def observed(config: Config, folder: Path) -> Iterator[object]:
    """What a run shows, in the order in which it does: its data, its weights, its losses, its files."""
    run = create_run(folder, config, quiet=True)
    yield [each.path.read_bytes() if hasattr(each, "path") else repr(vars(each)) for each in prepare(run).parts]
    trainer = trainer_of(run, distribution=of_this_process())
    yield {name: array.tolist() for name, array in trainer.model.arrays().items()}
    yield [float(trainer.train_one()) for _ in range(2)], trainer.total_steps
    yield {name: array.tolist() for name, array in trainer.model.arrays().items()}
    yield trainer.measure()
    saved: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "save_checkpoint", lambda path, *_: saved.append(path.name))
        patch.setattr(training, "draw_curves", lambda *_: None)  # the same figures as the history, and slow
        trainer.fit()
    history = [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]
    yield [{name: value for name, value in line.items() if "second" not in name} for line in history], saved


class Baselines:
    """What runs of default values show, each trained once and no further than it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[Config, tuple[list[object], Iterator[object]]] = {}

    def of(self, config: Config) -> Iterator[object]:
        seen, going_on = self.runs.setdefault(config, ([], observed(config, self.folder / str(len(self.runs)))))
        yield from seen
        for each in going_on:
            seen.append(each)
            yield each


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Baselines:
    return Baselines(tmp_path_factory.mktemp("baselines"))


def pairs() -> list[Any]:
    keys = sorted(settings().keys() - GIVEN)
    of_recordings = {
        key for key, found in settings().items() if any("audio" in each.reads[:1] for each in found["scopes"])
    }
    return [
        pytest.param(kind, key, id=f"{kind}, {key}")
        for kind in KINDS
        for key in keys
        if kind != "classifier of recordings" or key in of_recordings  # the others as for vectors
    ]


@pytest.mark.parametrize(("kind", "key"), pairs())
def test_a_value_that_is_not_the_default_is_refused_or_has_an_effect(
    kind: str,
    key: str,
    sources: dict[str, Path],
    baselines: Baselines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_step, "has_bfloat16", lambda: True)  # slow without the instructions, but it works
    values, *needs = VALUES[key]
    default = configured(kind, sources, needs)
    if kind in ("classifier of recordings", "recognizer"):
        pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
    choices = [configured(kind, sources, [*needs, *f"{key}={value}".split()]) for value in values.split("|")]
    config = next(choice for choice in choices if choice != default)
    try:
        validate(config)
    except UserError as error:
        assert str(error).startswith((key, *(need.partition("=")[0] for need in needs))), error
        return
    if key in ELSEWHERE:
        return
    before = baselines.of(default)
    after = observed(config, tmp_path / "run")
    assert any(one != other for one, other in zip(before, after, strict=False)), "nothing differs"
