"""Training of classifiers: what a text counts, how often it is read, what is kept and what is told of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from commands import call, files_of
from conftest import TrainedRun, classifier_settings, write_opinions
from numpy.typing import NDArray

import textrnn
from textrnn.classification import probabilities
from textrnn.data.labelled_texts import TextDataset
from textrnn.errors import UserError
from textrnn.training.direct.model import DirectPath
from textrnn.training.loop.checkpoints import load_checkpoint
from textrnn.training.loop.small_data import enough_epochs
from textrnn.training.tasks.classification.trainer import ClassifierTrainer, class_weights
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.supervised_trainer import ENOUGH_STEPS, FEWEST_EPOCHS
from textrnn.training.tasks.table import prepare, task_of


def trainer_of(folder: Path, **changes: object) -> ClassifierTrainer:
    """The trainer of a run on opinions, which is opened if it is there."""
    source = folder.with_name("opinions.jsonl")
    if not source.exists():
        write_opinions(source)
    if folder.exists():
        run = open_run(folder, quiet=True)
    else:
        settings = classifier_settings(data__source=json.dumps([str(source)]), **changes)
        run = create_run(folder, load_config(None, settings[1::2]), quiet=True)
    tokenizer, parts, _ = prepare(run)
    return ClassifierTrainer(run, tokenizer, *parts)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def nats_of(logits: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(-np.log(probabilities(logits)[np.arange(len(targets)), targets]))


# What is trained on


@pytest.mark.parametrize(("kind", "expected"), [("none", [1, 1, 1]), ("balanced", [4 / 9, 4 / 3, 4])])
def test_classes_count_alike_or_by_their_texts(kind: str, expected: list[float]) -> None:
    targets = np.repeat(np.arange(3, dtype=np.int32), [9, 3, 1])
    none = np.zeros(0, np.int64)
    dataset = TextDataset(Path("x"), none, none, targets, none, ("a", "b", "c"), {}, "")
    weights = class_weights(dataset, kind)
    np.testing.assert_allclose(weights, np.array(expected) * (13 / 12 if kind == "balanced" else 1), rtol=1e-6)
    assert weights[targets].mean() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_the_loss_of_a_step_is_weighted_by_class(tmp_path: Path, kind: str) -> None:
    trainer = trainer_of(tmp_path / "run", train__class_weights=kind)
    trainer.model.output_bias.assign([0.5, -0.5])
    counts = np.bincount(trainer.batches.dataset.targets)
    assert counts[0] > counts[1] + 20
    batch = trainer.batches.batch(0)
    nats = nats_of(trainer.model(tf.constant(batch.inputs[0])).numpy(), batch.targets)
    weights = counts.sum() / (2 * counts) if kind == "balanced" else np.ones(2)
    loss, _ = trainer._step._find_gradients((tf.constant(batch.inputs[0]),), tf.constant(batch.targets), {})
    assert float(loss) == pytest.approx((nats * weights[batch.targets]).mean(), rel=1e-5)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 40), (30, 40), (100, 15), (375, 4), (5000, 4)])
def test_the_fewer_texts_the_more_often_they_are_read(steps: int, epochs: float) -> None:
    assert enough_epochs(steps, ENOUGH_STEPS, FEWEST_EPOCHS) == epochs


def test_where_nothing_is_said_of_epochs_there_are_enough(tmp_path: Path) -> None:
    for number, changes in enumerate(({}, {"train__epochs": 0}, {"train__epochs": 2.5})):
        trainer = trainer_of(tmp_path / f"run{number}", **changes)
        assert trainer.steps_per_epoch == 10
        assert trainer.total_steps == (100, 400, 25)[number]


@pytest.mark.parametrize(
    ("records", "tokenizer", "notes"),
    [
        ([("one two", "a"), ("two one", "a"), ("two", "b"), ("one", "b")], "word", []),
        (
            [("one", "a"), ("two", "a"), ("three", "b"), ("one two", "c"), ("two three", "c")],
            "word",
            ["1 class has a single text, which is learned but cannot be measured: b"],
        ),
        (
            [("one", "12.5"), ("two", "12.5"), *((f"two {n}", f"{n}.9") for n in range(30))],
            "word",
            ["30 classes have a single text each, .*: 0.9, 1.9, 10.9, ...; if labels are amounts, make classes of"],
        ),
        (
            [("สินค้าดีมาก", "a"), ("อร่อยมาก", "a"), ("ส่งช้า", "b"), ("สินค้าแย่", "b")],
            "word",
            ["a token is a whole phrase; subwords are read with --set tokenizer.kind=sentencepiece"],
        ),
        ([("สินค้าดีมาก", "a"), ("อร่อยมาก", "a"), ("ส่งช้า", "b"), ("ไม่ดี", "b")], "sentencepiece", []),
        ([("味道很好", "a"), ("很好", "a"), ("味道不好", "b"), ("不好", "b")], "word", []),
    ],
)
def test_what_a_table_lacks_is_said(
    tmp_path: Path, records: list[tuple[str, str]], tokenizer: str, notes: list[str]
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *records]), encoding="utf-8")
    settings = classifier_settings(data__source=json.dumps([str(path)]), tokenizer__kind=tokenizer)
    if tokenizer != "word":
        settings += ["--set", "model.min_count=1"]
    run = create_run(tmp_path / "run", load_config(None, settings[1::2]), quiet=True)
    found = task_of(run.config).notes(prepare(run))
    assert len(found) == len(notes)
    assert all(re.search(note, each) for note, each in zip(notes, found, strict=True)), found


def test_a_batch_is_no_larger_than_the_texts_to_train_on(tmp_path: Path) -> None:
    source = write_opinions(tmp_path / "few.jsonl", 20)
    result = call("train", source, *classifier_settings(train__batch_size=50), "--out", tmp_path / "run")
    assert result.code == 0
    assert "16 training texts are few, so some settings are smaller: train.batch_size 50 -> 16" in result.err
    assert open_run(tmp_path / "run").config.train.batch_size == 16


def test_the_seed_decides_where_training_starts_and_what_it_reads(tmp_path: Path) -> None:
    # That the same seed gives the same result to the last bit, in another process too, is in test_resume.
    first, same, other = (trainer_of(tmp_path / f"run{n}", seed=seed) for n, seed in enumerate((1, 1, 2)))
    for name in ("embedding", "kernel_0", "backward_recurrent_kernel_0", "output_kernel"):
        arrays = [trainer.model.arrays()[name].tobytes() for trainer in (first, same, other)]
        assert arrays[0] == arrays[1] != arrays[2], name
    for step in (0, 25):
        indices = [trainer.batches.batch(step).indices.tolist() for trainer in (first, same, other)]
        assert indices[0] == indices[1] != indices[2]
    held_out = [trainer.held_out.dataset.records.tolist() for trainer in (first, other)]
    assert held_out[0] == held_out[1]  # so that runs can be compared


# The loop, with a step that costs nothing


def test_training_stops_early_and_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {3: 0.6, 6: 0.5, 9: 0.7, 12: 0.5, 15: 0.4}  # the third and the fourth are no better
    trainer = trainer_of(
        tmp_path / "run", train__patience=2, train__evaluations=10, train__epochs=3, model__direct_ngrams=0
    )

    def step() -> float:
        trainer.model.output_bias.assign_add([0.0, 1.0])
        return 1.0

    monkeypatch.setattr(trainer, "train_one", step)
    monkeypatch.setattr(
        trainer, "measure", lambda: {"held_out_loss": losses[trainer.progress.step], "held_out_accuracy": 0.5}
    )
    trainer.fit()
    progress, _ = load_checkpoint(trainer.run.checkpoint)
    assert (progress.step, progress.finished) == (12, True)
    progress, arrays = load_checkpoint(trainer.run.best)
    assert (progress.step, progress.best_loss) == (6, 0.5)
    np.testing.assert_array_equal(arrays["output_bias"], [0, 6])

    trainer.finish()
    assert trainer.model.arrays()["output_bias"].tolist() == [0, 6]
    report = report_of(trainer.run.folder)
    assert report["classes"]["0"]["recall"] == 0  # such a bias says 1 of every text
    assert textrnn.load(trainer.run.bundle).classify(["bad"])[0].label == "1"


# A run that trained to its end


def test_a_run_writes_its_report_and_its_bundle(trained_classifier: TrainedRun) -> None:
    names = {name for name in files_of(trained_classifier.folder) if not name.startswith("data/")}
    assert names == {
        *("config.json", "tokenizer.json", "data", "checkpoint.npz", "best.npz", "history.jsonl", "curves.png"),
        *("direct.npz", "report.json", "report.txt", "report.png"),
        *("bundle", "bundle/README.md", "bundle/manifest.json", "bundle/model.onnx", "bundle/tokenizer.json"),
        "bundle/weights.bin",
    }
    assert trained_classifier.result.out == f"{trained_classifier.folder / 'bundle'}\n"
    for name in ("report.png", "curves.png"):
        assert (trained_classifier.folder / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_progress_tells_loss_accuracy_and_what_comes_next(trained_classifier: TrainedRun) -> None:
    shown = trained_classifier.result.err
    assert "epoch 10.00  training 0." in shown
    assert " nats a text, accuracy " in shown
    assert "text/s, loss=" in shown
    assert shown.endswith(f"try: textrnn predict {trained_classifier.folder}\n")


def test_the_history_tells_held_out_loss_and_accuracy(trained_classifier: TrainedRun) -> None:
    text = (trained_classifier.folder / "history.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 101))
    evaluated = [line for line in lines if "held_out_loss" in line]
    assert [line["step"] for line in evaluated] == [20, 40, 60, 80, 100]
    assert all(0 <= line["held_out_accuracy"] <= 1 for line in evaluated)
    best = min(evaluated, key=lambda line: line["held_out_loss"])
    progress, _ = load_checkpoint(trained_classifier.folder / "best.npz")
    assert (progress.step, progress.best_loss) == (best["step"], best["held_out_loss"])
    report = report_of(trained_classifier.folder)  # is of these weights
    assert report["nats"] == pytest.approx(best["held_out_loss"], rel=1e-5)
    assert report["accuracy"] == best["held_out_accuracy"]


def test_the_report_is_of_the_held_out_texts(trained_classifier: TrainedRun) -> None:
    report = report_of(trained_classifier.folder)
    assert (report["texts"], report["trained_on"], report["skipped"]) == (40, 160, "nothing")
    assert list(report["classes"]) == ["negative", "positive"]
    assert 0.8 < report["accuracy"] < 1  # every tenth label is wrong, and nobody can know which
    assert sum(map(sum, report["confusion"])) == 40
    assert report["longer_than_max_length"] > 0
    wrong = 40 - round(40 * report["accuracy"])
    assert len(report["mistakes"]) == wrong > 0
    certain = [mistake["probability"] for mistake in report["mistakes"]]
    assert certain == sorted(certain, reverse=True)


def test_mistakes_are_told_as_the_source_has_them(trained_classifier: TrainedRun) -> None:
    source = [json.loads(line) for line in trained_classifier.source.read_text(encoding="utf-8").splitlines()]
    labels = {record["text"]: ("negative", "positive")[record["label"]] for record in source}
    repeated = {text for text, count in Counter(record["text"] for record in source).items() if count > 1}
    model = textrnn.load(trained_classifier.folder)
    plain = (trained_classifier.folder / "report.txt").read_text(encoding="utf-8")
    for mistake in report_of(trained_classifier.folder)["mistakes"]:
        assert mistake["text"] in repeated or mistake["label"] == labels[mistake["text"]]
        (prediction,) = model.classify([mistake["text"]])
        assert prediction.label == mistake["predicted"] != mistake["label"]
        assert prediction.probability == pytest.approx(mistake["probability"], abs=1e-4)
        assert mistake["text"] in plain


def test_the_scales_are_the_best_ones_and_are_in_the_bundle(trained_classifier: TrainedRun) -> None:
    run = open_run(trained_classifier.folder, quiet=True)
    tokenizer, parts, _ = prepare(run)
    trainer = ClassifierTrainer(run, tokenizer, *parts)
    trainer.best_weights()
    held_out = trainer.held_out.dataset
    texts = [held_out.text(index, run.config.data.max_length) for index in range(len(held_out))]
    direct = DirectPath.load(run.folder / "direct.npz")
    assert direct
    network, directly, targets = trainer.held_out_outputs(), direct.logits(texts), held_out.targets

    model = textrnn.load(trained_classifier.folder)
    stored = model.manifest.metrics["calibration"]
    report = report_of(run.folder)
    assert stored["calibration_error"] == pytest.approx(report["calibration_error"], abs=1e-6)
    scales = np.array([1 / stored["temperature"], stored["direct_scale"]])
    assert scales == pytest.approx([1 / report["temperature"], report["direct_scale"]])

    def loss(scales: NDArray[np.float64]) -> float:
        """The summed loss, with the normal prior of the scales."""
        nats = nats_of(scales[0] * network + scales[1] * directly, targets)
        return float(nats.sum() + ((scales - 0.5) ** 2).sum() / 2)

    for other in ([0.9, 1], [1.1, 1], [1, 0.9], [1, 1.1]):
        assert loss(scales * other) > loss(scales)

    # They are in the weights of the graph, so that whoever runs it has them.
    graph = onnx.load(run.bundle / "model.onnx").graph
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _, arrays = load_checkpoint(run.best)
    for name in ("output_kernel", "output_bias"):
        np.testing.assert_allclose(weights[name], arrays[name] * scales[0], rtol=1e-5)
    np.testing.assert_allclose(weights["direct_weights"], direct.weights * scales[1], rtol=1e-5)
    logits = scales[0] * network + scales[1] * directly
    assert model.manifest.metrics["held_out"]["nats"] == pytest.approx(nats_of(logits, targets).mean(), abs=1e-5)
    np.testing.assert_allclose(model.predict(texts), probabilities(logits), atol=1e-4)


# Settings of another task


@pytest.mark.parametrize("setting", ["model.bidirectional=true", "model.segment_length=64"])
def test_a_language_model_refuses_what_is_for_classification(tmp_path: Path, setting: str) -> None:
    config = load_config(None, [setting])
    name = setting.partition("=")[0]
    with pytest.raises(
        UserError, match=f"^{name} applies to classifiers.*, was: .* for a language model; leave it out"
    ):
        create_run(tmp_path / "run", config)
    assert files_of(tmp_path) == {}
