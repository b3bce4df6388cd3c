"""How well a classifier does on held-out texts: figures, pictures, and the mistakes it was most certain of."""

from __future__ import annotations

import json
import math
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.fonts import installed_fonts
from textrnn.metrics.calibration import Bin, expected_calibration_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

NUMBERED_CLASSES = 20  # from this number on, figures in the picture would be too small to read
CUT = " ... "
LABELLED_CLASSES = 60  # maximum number of labels along an axis


class Metrics(Protocol):
    """What a report needs of the figures of a classifier."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def calibration_error(self) -> float: ...
    @property
    def texts(self) -> int: ...
    @property
    def macro_f1(self) -> float: ...
    @property
    def classes(self) -> dict[str, dict[str, float]]: ...
    @property
    def confusion_matrix(self) -> NDArray[np.int64] | None: ...
    def figures(self) -> list[tuple[str, str]]: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class ClassificationMetrics:
    """Predicted classes of labelled texts, and their probabilities."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    """Texts by true class (rows) and predicted class (columns), ``(classes, classes)``."""
    nats: float
    """Mean negative log-likelihood of the true class."""
    calibration_error: float
    """Expected calibration error, between 0 and 1."""

    @property
    def texts(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return int(np.trace(self.confusion)) / max(self.texts, 1)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that are true or predicted of some text, each with the same weight."""
        is_there = self.confusion.any(axis=0) | self.confusion.any(axis=1)
        f1 = [figures["f1"] for figures in self.classes.values()]
        return float(np.mean(f1, where=is_there))

    @property
    def classes(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and true texts of every class; a share of nothing is 0.0."""
        table = {}
        columns = (self.confusion.diagonal(), self.confusion.sum(axis=0), self.confusion.sum(axis=1))
        for label, right, predicted, texts in zip(self.labels, *(column.tolist() for column in columns), strict=True):
            table[label] = {
                "precision": right / max(predicted, 1),
                "recall": right / max(texts, 1),
                "f1": 2 * right / max(predicted + texts, 1),
                "texts": texts,
            }
        return table

    @property
    def confusion_matrix(self) -> NDArray[np.int64] | None:
        """`confusion`, which metrics of other kinds have not."""
        return self.confusion

    def figures(self) -> list[tuple[str, str]]:
        """Return the figures of all texts together, for people."""
        return [
            ("texts", f"{self.texts:,}"),
            ("accuracy", f"{self.accuracy:.4f}"),
            ("macro F1", f"{self.macro_f1:.4f}"),
            ("nats a text", f"{self.nats:.4f}"),
            ("calibration error", f"{self.calibration_error:.4f}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        names = ("texts", "accuracy", "macro_f1", "nats", "calibration_error", "classes")
        return {**{name: getattr(self, name) for name in names}, "confusion": self.confusion.tolist()}


def measure(probs: NDArray[np.float64], targets: NDArray[Any], labels: Sequence[str]) -> ClassificationMetrics:
    """Compare predictions with the truth.

    Args:
        probs: of the classes, ``(texts, classes)``; the highest is the prediction, the first of equals.
        targets: the true classes, int ``(texts,)``.
        labels: the names of the classes, in order.

    Raises:
        UserError: there is no text.
    """
    if not len(targets):
        raise UserError("a classifier is measured on at least one labelled text, received none; give a fuller source")
    targets = np.asarray(targets, np.int64)
    count = len(labels)
    confusion = np.bincount(targets * count + probs.argmax(axis=1), minlength=count**2).reshape(count, count)
    of_targets = probs[np.arange(len(targets)), targets]
    # A probability that was rounded to 0 counts as the smallest number: one text must not make the mean infinite.
    nats = np.mean(0.0 - np.log(np.maximum(of_targets, np.finfo(np.float64).tiny)))  # not -log: -0.0 of a certain text
    return ClassificationMetrics(tuple(labels), confusion, float(nats), expected_calibration_error(probs, targets))


def confident_mistakes(probs: NDArray[Any], targets: NDArray[Any], count: int = 20) -> NDArray[np.int64]:
    """Return indices of at most `count` wrongly classified texts, the most confident first.

    Probs float ``(texts, classes)``, targets int ``(texts,)``.
    """
    wrong = np.flatnonzero(probs.argmax(axis=1) != targets)
    return wrong[np.argsort(-probs[wrong].max(axis=1), kind="stable")][:count]


def write_report(
    folder: Path,
    metrics: Metrics,
    bins: Sequence[Bin],
    mistakes: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write ``report.json``, ``report.txt`` and ``report.png``.

    Args:
        folder: where to, a folder that exists.
        metrics: of the classifier.
        bins: its reliability.
        mistakes: each a "text", its true "label", the "predicted" one and the "probability" of that, ready for JSON.
        facts: what was measured, ready for JSON: model, source and the like.

    Raises:
        UserError: the disk refuses.
    """
    document = {
        **facts,
        **metrics.to_dict(),
        "reliability": [asdict(part) for part in bins],
        "mistakes": [dict(mistake) for mistake in mistakes],
    }
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    with write_atomically(folder / "report.txt") as temporary:
        temporary.write_text(_as_text(metrics, bins, mistakes, facts), encoding="utf-8")
    draw_report(metrics, bins, folder / "report.png")


def _as_text(
    metrics: Metrics,
    bins: Sequence[Bin],
    mistakes: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> str:
    figures = [(name, f"{value:.6g}" if isinstance(value, float) else str(value)) for name, value in facts.items()]
    figures += metrics.figures()
    width = max(_columns(name) for name, _ in figures)
    lines = [f"{_pad(name, width)}  {_one_line(value, 200, 100)}" for name, value in figures]

    names = [f"{number} {_one_line(label, 30, 20)}" for number, label in enumerate(metrics.labels, 1)]
    rows = [["class", "precision", "recall", "F1", "texts"]]
    for name, of_class in zip(names, metrics.classes.values(), strict=True):
        shares = [f"{of_class[key]:.4f}" for key in ("precision", "recall", "f1")]
        rows.append([name, *shares, f"{of_class['texts']:,}"])
    lines += ["", *_table(rows)]

    confusion = metrics.confusion_matrix
    if confusion is not None:
        rows = [["true class", *(str(number) for number, _ in enumerate(names, 1))]]
        rows += [[name, *map(str, counts)] for name, counts in zip(names, confusion.tolist(), strict=True)]
        lines += ["", "Texts by true class (rows) and predicted class (columns)", "", *_table(rows)]

    rows = [["probability", "texts", "mean", "accuracy"]]
    for part in bins:
        shares = [f"{part.confidence:.4f}", f"{part.accuracy:.4f}"]
        rows.append([f"{part.low:.2f} to {part.high:.2f}", f"{part.count:,}", *shares])
    lines += ["", "Accuracy by the probability of the predicted class", "", *_table(rows)]

    lines += ["", "Mistakes, the most confident first" if mistakes else "No mistakes"]
    for number, mistake in enumerate(mistakes, 1):
        label, predicted = (_one_line(mistake[key], 30, 20) for key in ("label", "predicted"))
        lines += ["", f"{number}. true {label}, predicted {predicted}, probability {mistake['probability']:.4f}"]
        lines += [_one_line(mistake["text"], 200, 100)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns, the first to the left, the others to the right."""
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([_pad(first, widths[0]), *map(str.rjust, others, widths[1:])]) for first, *others in rows]


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _columns(text: str) -> int:
    """Return the columns that a text takes in a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _one_line(text: str, head: int, tail: int) -> str:
    """Return a text on one line; a long one is cut in the middle."""
    text = " ".join(text.split())
    return text if len(text) <= head + tail + len(CUT) else text[:head].rstrip() + CUT + text[-tail:].lstrip()


def draw_report(metrics: Metrics, bins: Sequence[Bin], picture: Path) -> None:
    """Draw confusion matrix, F1 of the classes and reliability side by side, as a PNG.

    A label in a script that no installed font has is drawn as the number of its class.
    """
    import matplotlib
    from matplotlib.figure import Figure

    fonts, known = installed_fonts()
    names = _drawable(metrics.labels, known)
    cell = 0.4 if len(names) < NUMBERED_CLASSES else 0.17  # inches
    size = min(max(4.0, cell * len(names)), 12.0)
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": fonts, "text.parse_math": False}):
        # A picture is a by-product: what matplotlib finds amiss in it must not disturb a run.
        warnings.simplefilter("ignore")
        confusion = metrics.confusion_matrix
        widths = [3.5, 4] if confusion is None else [size + 1, 3.5, 4]
        figure = Figure(figsize=(sum(widths), size + 1.0), layout="constrained")
        *matrix, bars, diagram = figure.subplots(1, len(widths), width_ratios=widths)
        if confusion is not None:
            _draw_confusion(matrix[0], metrics, confusion, names)
        _draw_f1(bars, metrics, names)
        _draw_reliability(diagram, metrics, bins)
        with write_atomically(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=120)


def _drawable(labels: Sequence[str], known: frozenset[int]) -> list[str]:
    """Return labels short enough for a picture; one with a character that no font has becomes its number."""
    names = (_one_line(label, 12, 6) for label in labels)
    return [name if known.issuperset(map(ord, name)) else str(number) for number, name in enumerate(names, 1)]


def _draw_confusion(axes: Axes, metrics: Metrics, confusion: NDArray[np.int64], names: Sequence[str]) -> None:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # Coloured by the share of the true class, so that a rare class is as visible as a frequent one.
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(names) < NUMBERED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            count = f"{confusion[row, column]:,}"
            shade = "white" if share > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=shade, fontsize=_font_size(names))
    axes.set(xlabel="predicted class", ylabel="true class")
    accuracy = np.trace(confusion) / max(metrics.texts, 1)
    axes.set_title(f"{metrics.texts:,} texts, accuracy {accuracy:.3f}")
    _label_classes(axes.yaxis, names)
    _label_classes(axes.xaxis, names, rotation=90 if len(names) * max(map(_columns, names)) > 40 else 0)


def _draw_f1(axes: Axes, metrics: Metrics, names: Sequence[str]) -> None:
    values = [of_class["f1"] for of_class in metrics.classes.values()]
    drawn = axes.barh(range(len(names)), values, height=0.6, color="tab:blue")
    if len(names) < NUMBERED_CLASSES:
        axes.bar_label(drawn, fmt="%.3f", padding=3, fontsize=_font_size(names))
    # The classes stand beside the rows of the matrix; the room on the right is for the figures.
    axes.set(xlabel="F1", xlim=(0, 1.2), xticks=[0, 0.25, 0.5, 0.75, 1], ylim=(len(names) - 0.5, -0.5))
    axes.set_title(f"macro F1 {metrics.macro_f1:.3f}")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    _label_classes(axes.yaxis, names)


def _draw_reliability(axes: Axes, metrics: Metrics, bins: Sequence[Bin]) -> None:
    axes.bar(
        [part.low for part in bins],
        [part.accuracy for part in bins],
        width=[part.high - part.low for part in bins],
        align="edge",
        color="tab:blue",
        alpha=0.5,
        edgecolor="white",
    )
    axes.plot([part.confidence for part in bins], [part.accuracy for part in bins], "o", color="tab:blue", markersize=4)
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfectly calibrated")
    axes.set(xlabel="probability of the predicted class", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_aspect("equal", anchor="N")
    axes.set_title(f"expected calibration error {metrics.calibration_error:.3f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)


def _label_classes(axis: Axis, names: Sequence[str], rotation: float = 0) -> None:
    every = math.ceil(len(names) / LABELLED_CLASSES)
    axis.set_ticks(range(0, len(names), every), names[::every], rotation=rotation, fontsize=_font_size(names))


def _font_size(names: Sequence[str]) -> float:
    return 10 if len(names) <= 10 else 7
