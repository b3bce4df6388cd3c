"""The figures of a classifier against plain loops; the report that a user opens, in every file of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.metrics.calibration import expected_calibration_error, reliability
from textrnn.metrics.classification_report import ClassificationMetrics, confident_mistakes, measure, write_report

# Six texts of three classes: the third is never predicted, and the first text is the only one of it.
LABELS = ("bad", "good", "mixed")
PROBS = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.1, 0.9, 0.0],
        [0.2, 0.5, 0.3],
        [0.7, 0.3, 0.0],
    ]
)
TARGETS = np.array([2, 0, 0, 1, 1, 1])


@st.composite
def classified(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (texts, classes), ties among them, and the true classes."""
    texts, classes = draw(st.integers(1, 15)), draw(st.integers(2, 5))
    weights = st.lists(st.integers(1, 4), min_size=texts * classes, max_size=texts * classes)
    targets = st.lists(st.integers(0, classes - 1), min_size=texts, max_size=texts)
    probs = np.array(draw(weights), np.float64).reshape(texts, classes)
    return probs / probs.sum(axis=1, keepdims=True), np.array(draw(targets))


def mistakes_of(
    probs: NDArray[np.float64], targets: NDArray[np.int64], labels: Any, texts: Any
) -> list[dict[str, Any]]:
    return [
        {
            "text": texts[index],
            "label": labels[targets[index]],
            "predicted": labels[probs[index].argmax()],
            "probability": float(probs[index].max()),
        }
        for index in confident_mistakes(probs, targets)
    ]


def made_up(classes: int, texts: int = 300) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Predictions that are mostly right."""
    random = np.random.default_rng(0)
    targets = random.integers(0, classes, texts)
    weights = np.exp(random.normal(size=(texts, classes)) + 4 * np.eye(classes)[targets])
    return weights / weights.sum(axis=1, keepdims=True), targets


# Figures


def test_figures_by_hand() -> None:
    metrics = measure(PROBS, TARGETS, LABELS)
    assert metrics.labels == LABELS
    assert metrics.confusion.dtype == np.int64
    assert metrics.confusion.tolist() == [[2, 0, 0], [1, 2, 0], [1, 0, 0]]
    assert metrics.texts == 6
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.classes == {
        "bad": {"precision": 2 / 4, "recall": 1.0, "f1": pytest.approx(2 / 3), "texts": 2},
        "good": {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(4 / 5), "texts": 3},
        "mixed": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "texts": 1},
    }
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert metrics.nats == pytest.approx(-math.log(0.1 * 0.8 * 0.6 * 0.9 * 0.5 * 0.3) / 6)
    assert metrics.calibration_error == expected_calibration_error(PROBS, TARGETS)


def test_a_class_that_is_neither_there_nor_predicted_has_figures_of_zero_and_does_not_count() -> None:
    metrics = measure(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ("a", "b", "c"))
    assert metrics.classes["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "texts": 0}
    assert metrics.accuracy == 1.0
    assert metrics.macro_f1 == 1.0


@given(classified())
def test_macro_f1_is_that_of_scikit_learn(case: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    probs, targets = case
    expected = metrics.f1_score(targets, probs.argmax(axis=1), average="macro", zero_division=0)
    assert measure(probs, targets, "abcde"[: probs.shape[1]]).macro_f1 == pytest.approx(expected)


def test_a_probability_of_zero_leaves_the_loss_finite() -> None:
    assert 700 < measure(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b")).nats < 710


def test_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="at least one labelled text, received none"):
        measure(np.empty((0, 2)), np.empty(0, np.int64), ("a", "b"))


@given(classified())
def test_figures_are_those_of_plain_loops(example: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    probs, targets = example
    labels = [f"class {number}" for number in range(probs.shape[1])]
    metrics = measure(probs, targets, labels)
    predicted = [row.index(max(row)) for row in probs.tolist()]
    pairs = list(zip(targets.tolist(), predicted, strict=True))
    assert metrics.texts == metrics.confusion.sum() == len(pairs)
    assert metrics.accuracy == pytest.approx(sum(true == guess for true, guess in pairs) / len(pairs))
    assert metrics.nats == pytest.approx(
        -sum(math.log(row[true]) for row, true in zip(probs, targets, strict=True)) / len(pairs)
    )
    for number, label in enumerate(labels):
        right = pairs.count((number, number))
        of_class = [true for true, _ in pairs].count(number)
        as_class = predicted.count(number)
        precision, recall = right / as_class if as_class else 0, right / of_class if of_class else 0
        f1 = 2 * precision * recall / (precision + recall) if right else 0
        assert metrics.classes[label] == pytest.approx(
            {"precision": precision, "recall": recall, "f1": f1, "texts": of_class}
        )
        assert metrics.confusion[number].tolist() == [pairs.count((number, other)) for other in range(len(labels))]


# Mistakes


def test_mistakes_are_in_order_of_confidence_then_of_texts() -> None:
    probs = np.array([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.8, 0.2]])
    targets = np.array([1, 1, 1, 0, 0])
    assert confident_mistakes(probs, targets).tolist() == [1, 0, 3]
    assert confident_mistakes(probs, targets, count=2).tolist() == [1, 0]
    assert confident_mistakes(probs, probs.argmax(axis=1)).tolist() == []


@given(classified(), st.integers(1, 20))
def test_mistakes_are_all_wrong_and_none_is_forgotten(
    example: tuple[NDArray[np.float64], NDArray[np.int64]], count: int
) -> None:
    probs, targets = example
    wrong = [row for row, true in enumerate(targets) if probs[row].argmax() != true]
    expected = sorted(wrong, key=lambda row: (-probs[row].max(), row))
    assert confident_mistakes(probs, targets, count).tolist() == expected[:count]


# The report

TEXTS = ["neither\nhere nor there", "awful", "boring", "great", "fine", "not bad  at all\r\n\r\nreally"]
FACTS = {"model": "runs/reviews/bundle", "source": "影评.csv", "temperature": 1.2345678901, "seed": 7}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    metrics = measure(PROBS, TARGETS, LABELS)
    write_report(folder, metrics, reliability(PROBS, TARGETS), mistakes_of(PROBS, TARGETS, LABELS, TEXTS), FACTS)
    return folder


def test_the_report_is_three_files(reviews: Path) -> None:
    assert sorted(path.name for path in reviews.iterdir()) == ["report.json", "report.png", "report.txt"]
    assert (reviews / "report.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_json_holds_every_figure(reviews: Path) -> None:
    document = json.loads((reviews / "report.json").read_text(encoding="utf-8"))
    metrics = measure(PROBS, TARGETS, LABELS)
    assert document == {
        **FACTS,
        **metrics.to_dict(),
        "reliability": [asdict(part) for part in reliability(PROBS, TARGETS)],
        "mistakes": mistakes_of(PROBS, TARGETS, LABELS, TEXTS),
    }
    assert set(metrics.to_dict()) == {
        *("texts", "accuracy", "macro_f1", "nats", "calibration_error", "classes", "confusion")
    }
    assert document["mistakes"][0]["text"] == "neither\nhere nor there"  # whole and as it was


def test_the_text_is_for_reading(reviews: Path) -> None:
    text = (reviews / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(
        """\
model              runs/reviews/bundle
source             影评.csv
temperature        1.23457
seed               7
texts              6
accuracy           0.6667
macro F1           0.4889
"""
    )
    assert (
        """
class    precision  recall      F1  texts
1 bad       0.5000  1.0000  0.6667      2
2 good      1.0000  0.6667  0.8000      3
3 mixed     0.0000  0.0000  0.0000      1

Texts by true class (rows) and predicted class (columns)

true class  1  2  3
1 bad       2  0  0
2 good      1  2  0
3 mixed     1  0  0

Accuracy by the probability of the predicted class

probability   texts    mean  accuracy
"""
        in text
    )
    assert text.endswith(
        """
Mistakes, the most confident first

1. true mixed, predicted bad, probability 0.7000
neither here nor there

2. true good, predicted bad, probability 0.7000
not bad at all really
"""
    )


def test_long_texts_are_cut_in_the_middle(tmp_path: Path) -> None:
    probs, targets = np.array([[0.9, 0.1]]), np.array([1])
    text = "开头" + "很好\n" * 400 + "结尾"
    write_report(
        tmp_path,
        measure(probs, targets, ("负面", "正面")),
        [],
        mistakes_of(probs, targets, ("负面", "正面"), [text]),
        {},
    )
    *_, heading, shown = (tmp_path / "report.txt").read_text(encoding="utf-8").splitlines()
    assert heading == "1. true 正面, predicted 负面, probability 0.9000"
    assert shown.startswith("开头很好 很好")
    assert " ... " in shown
    assert shown.endswith("很好 结尾")
    assert 290 <= len(shown) <= 310
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["mistakes"][0]["text"] == text


def test_chinese_labels_stay_in_their_columns(tmp_path: Path) -> None:
    probs, targets = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
    write_report(tmp_path, measure(probs, targets, ("负面", "ok")), reliability(probs, targets), [], {"来源": "影评"})
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "来源               影评\ntexts              2\n" in text
    assert "1 负面     1.0000  1.0000  1.0000      1\n2 ok       1.0000  1.0000  1.0000      1\n" in text
    assert text.endswith("\nNo mistakes\n")
    assert "负面" in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_a_folder_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json could not be written"):
        write_report(tmp_path / "missing", measure(PROBS, TARGETS, LABELS), [], [], {})


# The picture


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved while a test runs."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **options: Any) -> None:
        save(figure, *arguments, **options)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def draw(folder: Path, labels: tuple[str, ...]) -> ClassificationMetrics:
    probs, targets = made_up(len(labels))
    metrics = measure(probs, targets, labels)
    write_report(folder, metrics, reliability(probs, targets), [], {})
    return metrics


def tick_labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_few_classes_have_their_counts(tmp_path: Path, drawn: list[Figure]) -> None:
    metrics = draw(tmp_path, ("negative", "positive"))
    (figure,) = drawn
    matrix, bars, diagram = figure.axes
    assert [int(text.get_text()) for text in matrix.texts] == metrics.confusion.ravel().tolist()
    assert tick_labels(matrix.xaxis) == tick_labels(matrix.yaxis) == tick_labels(bars.yaxis) == list(metrics.labels)
    f1 = [of_class["f1"] for of_class in metrics.classes.values()]
    assert [
        bar.get_window_extent().transformed(bars.transData.inverted()).width for bar in bars.patches
    ] == pytest.approx(f1)
    assert f"{metrics.calibration_error:.3f}" in diagram.get_title()


def test_many_classes_stay_legible(tmp_path: Path, drawn: list[Figure]) -> None:
    metrics = draw(tmp_path, tuple(f"intent {number}" for number in range(50)))
    (figure,) = drawn
    matrix, bars, _ = figure.axes
    assert not matrix.texts
    assert tick_labels(matrix.xaxis) == tick_labels(bars.yaxis) == list(metrics.labels)
    for axis, side in ((matrix.xaxis, "x"), (matrix.yaxis, "y"), (bars.yaxis, "y")):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_hundreds_of_classes_are_labelled_in_part(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path, tuple(f"class {number}" for number in range(250)))
    labels = tick_labels(drawn[0].axes[0].yaxis)
    assert labels == [f"class {number}" for number in range(0, 250, 5)]


def test_labels_are_drawn_as_they_are(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path, ("$x^2", "$\\frac$", "two\nlines", "the longest label of them all, by far", "خوب"))
    labels = tick_labels(drawn[0].axes[0].yaxis)
    assert labels[:4] == ["$x^2", "$\\frac$", "two lines", "the longest ... by far"]


def test_a_label_that_no_font_has_is_drawn_as_its_number(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    draw(tmp_path, ("负面", "positive", "正面"))
    assert tick_labels(drawn[0].axes[0].yaxis) == ["1", "positive", "3"]
