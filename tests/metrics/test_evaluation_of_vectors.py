"""Vectors that a model is measured on or that it tells of: what counts, what is left out, and what the figures say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of
from numpy.typing import NDArray

from textrnn.data.labelled_vectors import prepare_vectors
from textrnn.data.labels import Labels
from textrnn.data.vector_sources import VectorOptions, read_unlabelled, vectors_fingerprint
from textrnn.metrics import evaluation
from textrnn.metrics.evaluation import evaluate_regressor, in_batches, labelled_vectors, prepared_records


def write_records(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def means(sequences: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """A regressor that tells mean and length."""
    return np.array([[sequence.mean(), len(sequence)] for sequence in sequences], np.float32)


# With labels


def test_labels_go_by_the_names_of_training_and_others_are_counted(tmp_path: Path) -> None:
    path = write_records(
        tmp_path / "a.jsonl", {"x": [1, 2], "label": 0}, {"x": [3], "label": "up"}, {"x": [4], "label": 7}
    )
    skipped: Counter[str] = Counter()
    found = list(labelled_vectors([path], VectorOptions(), 1, ("down", "up"), Labels(["0=down"]), skipped))
    assert [(sequence.tolist(), target) for sequence, target in found] == [([[1], [2]], 0), ([[3]], 1)]
    assert skipped == {"sequences with a label never seen in training": 1}
    message = error_of(lambda: list(labelled_vectors([path], VectorOptions(), 1, ("left",), Labels(), skipped)))
    assert "labels must be 'left', found none of these but '7'" in message
    message = error_of(lambda: list(labelled_vectors([path], VectorOptions(), 2, ("up",), Labels(), skipped)))
    assert "has 1 values a step, those trained on had 2" in message


@pytest.mark.parametrize(("labels", "targets"), [(Labels(), [0, 1]), (None, [[0.5], [1.5]])])
def test_vectors_that_were_prepared_are_those_of_the_source(
    tmp_path: Path, labels: Labels | None, targets: list[Any]
) -> None:
    records = [{"x": [[1, 2], [3, 4]], "label": 0.5}, {"x": [[5, 6]], "label": 1.5}]
    path = write_records(tmp_path / "a.jsonl", *records)
    (dataset,) = prepare_vectors([path], VectorOptions(), tmp_path / "data", labels=labels, quiet=True)
    found = list(prepared_records(dataset))
    assert [sequence.tolist() for sequence, _ in found] == [[[1, 2], [3, 4]], [[5, 6]]]
    assert [target.tolist() for _, target in found] == targets


@pytest.mark.parametrize("at_once", [1, 2, 2048])
def test_errors_are_those_of_all_records(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(evaluation, "TEXTS_AT_ONCE", at_once)
    sequences = [np.full((length, 1), length / 2, np.float32) for length in (1, 2, 4)]
    metrics = evaluate_regressor(means, zip(sequences, [(0.5, 1.0), (1.0, 2.0), (2.0, 7.0)], strict=True))
    assert metrics["records"] == 3
    assert metrics["mean_squared_error"] == pytest.approx(9 / 6)
    assert metrics["largest_error"] == pytest.approx(3)
    assert "as the model predicts, 2, those of the source have 1" in error_of(
        lambda: evaluate_regressor(means, [(sequences[0], (1.0,))])
    )


def test_batches_hold_so_many_records_or_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "VALUES_AT_ONCE", 10)
    records = [(np.zeros((size, 1)), number) for number, size in enumerate([1, 1, 1, 1, 9, 2, 30, 1])]
    batches = list(in_batches(iter(records), 3))
    assert [[number for _, number in batch] for batch in batches] == [[0, 1, 2], [3, 4], [5, 6], [7]]
    assert list(in_batches(iter([]), 3)) == []


# Without


def test_records_without_labels_keep_their_numbers(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", {"x": [1, 2]}, {"x": []}, {"x": [3], "label": [[]]})
    skipped: Counter[str] = Counter()
    found = list(read_unlabelled(path, VectorOptions(), skipped, 1))
    assert [(sequence.tolist(), number) for sequence, number in found] == [([[1], [2]], 1), ([[3]], 3)]
    assert skipped == {"records without values": 1}
    assert "has 1 values a step, those trained on had 2" in error_of(
        lambda: list(read_unlabelled(path, VectorOptions(), skipped, 2))
    )


@pytest.mark.parametrize("label", [True, False])
def test_a_label_column_is_not_among_the_values(tmp_path: Path, label: bool) -> None:
    text = "label,a,b\n5,1,2\n6,3,\n" if label else "a,b\n1,2\n3,\n"
    (tmp_path / "a.csv").write_text(text)
    found = list(read_unlabelled(str(tmp_path / "a.csv"), VectorOptions(), Counter(), 1))
    assert [sequence.tolist() for sequence, _ in found] == [[[1], [2]], [[3]]]


def test_columns_by_number_count_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("5\t1\t2\n6\t3\t4\n")
    found = list(read_unlabelled(str(tmp_path / "a.tsv"), VectorOptions(label="1"), Counter(), 1))
    assert [sequence.tolist() for sequence, _ in found] == [[[1], [2]], [[3], [4]]]


def test_an_empty_source_is_told(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", {"x": []})
    assert "a source must hold some vectors, found none in: " in error_of(
        lambda: list(read_unlabelled(path, VectorOptions(), Counter(), 1))
    )


def test_what_was_prepared_does_not_depend_on_whether_labels_are_needed(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", {"x": [1], "label": 1})
    options = VectorOptions()
    assert vectors_fingerprint([path], options) == vectors_fingerprint([path], replace(options, needs_label=False))
