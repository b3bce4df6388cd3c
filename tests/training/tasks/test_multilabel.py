"""Multi-label classification from a table to predictions."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import check_parity
import numpy as np
import pytest
from commands import call, error_of, told

import textrnn
from textrnn.bundle import read_bundle
from textrnn.runtime.bulk import Classify

TOPICS = {"sport": ["match", "goal", "team"], "law": ["court", "judge", "vote"], "音乐": ["歌曲", "吉他", "band"]}
OTHERS = ["the", "a", "new", "about", "with", "people", "said", "today", "and", "in", "on", "for"]
SETTINGS = (
    *("--set", "model.hidden_dim=16", "--set", "train.batch_size=16", "--set", "train.epochs=12"),
    *("--set", "train.learning_rate=0.01", "--set", "train.evaluations=3", "--set", "tokenizer.min_count=1"),
)


def articles(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Texts with their labels: none, one, two or three."""
    choose = random.Random(seed)
    found = []
    for _ in range(count):
        labels = choose.sample(sorted(TOPICS), choose.choices([0, 1, 2, 3], [1, 4, 3, 1])[0])
        words = [choose.choice(TOPICS[label]) for label in labels for _ in range(2)]
        words += choose.choices(OTHERS, k=6)
        choose.shuffle(words)
        found.append((" ".join(words), labels))
    return found


def write_csv(path: Path, records: list[tuple[str, list[str]]], separator: str = "|") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *((text, separator.join(labels)) for text, labels in records)])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multilabel")
    source = write_csv(folder / "news.csv", articles(300, seed=1))
    result = call("train", source, "--task", "multilabel", "--out", folder / "run", *SETTINGS)
    assert result.code == 0, result.err
    assert "micro F1" in result.err
    assert f"try: textrnn predict {folder / 'run'}" in result.err
    return folder / "run"


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_predictions_have_any_number_of_labels(trained: Path) -> None:
    result = call("predict", trained, "the judge said vote", "a 歌曲 about the goal 吉他 team", "people said today", "")
    one, two, none, empty = lines(result.out)
    assert one["labels"] == ["law"]
    assert sorted(two["labels"]) == ["sport", "音乐"]
    assert none["labels"] == []
    assert (empty["labels"], empty["reason"]) == (None, "empty text")
    assert set(one["probs"]) == set(TOPICS)
    model = textrnn.load(trained)
    for line in (one, two, none):
        chosen = {
            label
            for label, threshold in zip(model.labels, model.thresholds, strict=True)
            if line["probs"][label] >= threshold
        }
        assert set(line["labels"]) == chosen


def test_the_report_and_evaluate_tell_micro_and_macro_f1(trained: Path, tmp_path: Path) -> None:
    report = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    assert report["micro_f1"] > 0.9
    assert (trained / "report.png").stat().st_size > 1000
    text = (trained / "report.txt").read_text(encoding="utf-8")
    assert "micro F1" in text
    assert "true class" not in text, "a confusion matrix has no place for several labels"
    held_out = lines(call("evaluate", trained, "--json").out)[0]
    for name in ("micro_f1", "macro_f1", "exact_match"):
        assert held_out[name] == pytest.approx(report[name])
    unseen = articles(80, seed=2)
    source = write_csv(tmp_path / "unseen.csv", unseen)
    measured = lines(call("evaluate", trained, source, "--json").out)[0]
    assert measured["texts"] == 80, "texts without a label count"
    assert measured["micro_f1"] > 0.9
    predicted = textrnn.load(trained).classify(text for text, _ in unseen)
    right = np.mean([set(found.labels) == set(labels) for found, (_, labels) in zip(predicted, unseen, strict=True)])
    assert measured["exact_match"] == pytest.approx(right)
    result = call("evaluate", trained, source)
    assert "micro f1" in result.out
    assert "the model was trained on most of it" not in result.err


def test_lists_of_json_and_labels_of_fasttext_are_several_labels(trained: Path, tmp_path: Path) -> None:
    records = articles(60, seed=3)
    objects = [json.dumps({"text": text, "label": labels}, ensure_ascii=False) for text, labels in records]
    (tmp_path / "a.jsonl").write_text("\n".join(objects), encoding="utf-8")
    marked = ["".join(f"__label__{label} " for label in labels) + text for text, labels in records if labels]
    (tmp_path / "b.txt").write_text("\n".join(marked), encoding="utf-8")
    write_csv(tmp_path / "c.csv", records, separator=", ")
    measured = [
        lines(call("evaluate", trained, tmp_path / name, "--json").out)[0]["classes"]
        for name in ("a.jsonl", "b.txt", "c.csv")
    ]
    for label in TOPICS:
        assert len({found[label]["texts"] for found in measured}) == 1


def test_a_table_gets_the_labels_as_columns(trained: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", articles(5, seed=4))
    call("predict", trained, "--input", source, "--output", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "label", "predicted_labels", *(f"prob_{label}" for label in sorted(TOPICS))]
    assert [set(row["predicted_labels"].split("|")) for row in rows] == [set(row["label"].split("|")) for row in rows]
    batch = Classify(trained)({"text": np.array([row["text"] for row in rows], object)})
    assert list(batch["predicted_labels"]) == [row["predicted_labels"] for row in rows]


def test_in_8_bits_and_explained(trained: Path, tmp_path: Path) -> None:
    result = call("export", trained, "--quantize", "int8", "--out", tmp_path / "small")
    assert "points of micro F1 on held-out texts" in result.err
    manifest = read_bundle(tmp_path / "small").manifest
    assert (manifest.kind, manifest.precision) == ("multilabel_classifier", "int8")
    assert call(trained, main=check_parity.main).code == 0
    why = lines(call("predict", tmp_path / "small", "--why", "--label", "law", "--json", "the judge said goal").out)[0]
    assert max(why["tokens"], key=lambda token: token["contribution"])["text"] == " judge"


def test_a_finished_run_whose_bundle_is_gone_writes_it_again(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "bundle")
    result = call("train", "--resume", "--out", tmp_path / "run", "--quiet")
    assert (result.code, result.out) == (0, f"{tmp_path / 'run' / 'bundle'}\n")


def test_a_classification_whose_classes_join_others_gets_a_hint(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "news.csv", [(text, labels) for text, labels in articles(80, seed=1) if labels])
    tiny = ("--set", "train.epochs=0.1", "--set", "train.evaluations=1", "--set", "model.hidden_dim=4")
    result = call("train", source, "--task", "classification", "--out", tmp_path / "run", *tiny)
    assert "classes join others, as 'law|" in result.err
    assert "--task multilabel" in result.err
    plain = write_csv(tmp_path / "plain.csv", [(text, labels[:1]) for text, labels in articles(80, seed=1) if labels])
    assert "multilabel" not in call("train", plain, "--task", "classification", "--out", tmp_path / "two", *tiny).err


def test_wrong_settings_and_labels_are_refused_in_one_line(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "news.csv", articles(40, seed=1))
    multilabel = ("train", source, "--out", tmp_path / "run", "--task", "multilabel")
    assert "data.label_separator must be auto" in told(call(*multilabel, "--set", "data.label_separator="))
    assert "train.class_weights applies to" in told(call(*multilabel, "--set", "train.class_weights=balanced"))
    single = call(
        "train", source, "--out", tmp_path / "run", "--task", "classification", "--set", "data.label_separator=|"
    )
    assert "data.label_separator applies to classifiers of text with task=multilabel" in told(single)
    unlabelled = write_csv(tmp_path / "none.csv", [(text, []) for text, _ in articles(40, seed=1)])
    assert "a label at least is needed" in told(
        call("train", unlabelled, "--out", tmp_path / "run", "--task", "multilabel")
    )
    assert not (tmp_path / "run").exists()


def test_a_bundle_must_have_a_threshold_for_each_label(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "bundle", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    manifest["runtime"]["thresholds"] = [0.5]
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "must have a threshold for each of its 3 labels" in error_of(lambda: textrnn.load(tmp_path / "bundle"))
