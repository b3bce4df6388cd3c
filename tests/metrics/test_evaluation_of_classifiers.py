"""Labelled text that a classifier is measured on: what counts, what is left out, and what the figures say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of
from numpy.typing import NDArray

from textrnn.data.labelled_texts import LabelledCorpus, prepare_labelled
from textrnn.data.labels import Labels
from textrnn.data.records import SourceOptions
from textrnn.metrics import evaluation
from textrnn.metrics.classification_report import ClassificationMetrics, measure
from textrnn.metrics.evaluation import encode_labelled, evaluate_classifier, prepared_records
from textrnn.tokenizers import WordTokenizer

OPTIONS = SourceOptions(label="label")
TOKENIZER = WordTokenizer.train(["bad good 好"])
BAD, GOOD, FINE = (int(TOKENIZER.encode(word)[0]) for word in ("bad", "good", "好"))
LABELS = ("negative", "positive")


def write_records(path: Path, *records: tuple[str, object]) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def encoded(*sources: Path, names: Sequence[str] = ()) -> tuple[list[tuple[list[int], int]], dict[str, int]]:
    """Ids and targets of sources, and what was left out."""
    skipped: Counter[str] = Counter()
    texts = encode_labelled(TOKENIZER, [str(path) for path in sources], OPTIONS, LABELS, Labels(names), skipped)
    return [(ids.tolist(), target) for ids, target in texts], dict(skipped)


def count_good(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    """A classifier that finds a text the better, the more of its words are good."""
    good = np.array([np.isin(ids, [GOOD, FINE]).mean() for ids in texts])
    return np.stack([1 - good, good], axis=1)


def measured(probs: NDArray[np.float64], targets: NDArray[Any]) -> ClassificationMetrics:
    return measure(probs, targets, LABELS)


# Texts


def test_labelled_text_as_ids_and_the_places_of_its_labels(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", ("good 好", "positive"), ("bad", "negative"), ("好 bad", "positive"))
    assert encoded(path) == ([([GOOD, FINE], 1), ([BAD], 0), ([FINE, BAD], 1)], {})
    assert encoded(path, path)[0] == 2 * encoded(path)[0]


def test_a_label_never_seen_in_training_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_records(
        tmp_path / "a.jsonl", ("so so", "neutral"), ("good", "positive"), ("", "positive"), ("?", "odd"), ("bad", None)
    )
    assert encoded(path) == (
        [([GOOD], 1)],
        {"texts with a label never seen in training": 2, "empty texts": 1, "texts without a label": 1},
    )


def test_labels_of_another_source_go_by_the_names_of_training(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", ("bad", 0), ("good", 1), ("bad", "negative"))
    assert encoded(path, names=["0=negative", "1=positive"]) == ([([BAD], 0), ([GOOD], 1), ([BAD], 0)], {})


def test_where_no_label_is_known_the_message_shows_both(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", ("bad", 0), ("good", 1))
    message = error_of(lambda: encoded(path))
    assert "labels must be 'negative, positive'" in message
    assert f"found none of these but '1' in {path}" in message
    assert "data.label_names" in message


def test_a_wrong_source_is_told_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,label\ngood,positive\n", encoding="utf-8")
    assert "the text column must be one of 'review, label'" in error_of(lambda: encoded(path))
    assert "LABEL=NAME" in error_of(lambda: encoded(path, names=["positive"]))


def test_texts_that_were_prepared_are_those_of_the_source(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", ("good 好", "positive"), ("bad", "negative"), ("bad good", "positive"))
    with LabelledCorpus([str(path)], OPTIONS, Labels(), tmp_path / "data", quiet=True) as corpus:
        (dataset,) = prepare_labelled(TOKENIZER, corpus)
    assert [(ids.tolist(), target) for ids, target in prepared_records(dataset)] == encoded(path)[0]


# Figures


@pytest.mark.parametrize("at_once", [1, 2, 3, 2048])
def test_figures_are_those_of_all_texts_however_many_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(evaluation, "TEXTS_AT_ONCE", at_once)
    calls = []

    def predict(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        calls.append(len(texts))
        return count_good(texts)

    words = [([GOOD, FINE, GOOD, BAD], 1), ([GOOD, BAD, BAD, BAD], 1), ([BAD, BAD, BAD, GOOD], 0), ([BAD], 0)]
    texts = [(np.array(ids, np.int32), target) for ids, target in words]
    metrics = evaluate_classifier(predict, iter(texts), measured)
    assert max(calls) == min(at_once, 4)
    assert sum(calls) == 4
    assert metrics.confusion.tolist() == [[2, 0], [1, 1]]
    assert (metrics.texts, metrics.accuracy) == (4, 0.75)
    assert metrics.nats == pytest.approx(-np.log([0.75, 0.25, 0.75, 1.0]).mean())


def test_a_classifier_that_is_always_right_and_one_that_never_is(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", ("good", "positive"), ("bad", "negative"), ("好 好 bad", "positive"))
    texts = list(encode_labelled(TOKENIZER, [str(path)], OPTIONS, LABELS, Labels(), Counter()))
    assert evaluate_classifier(count_good, texts, measured).accuracy == 1
    assert evaluate_classifier(lambda ids: count_good(ids)[:, ::-1], texts, measured).accuracy == 0
