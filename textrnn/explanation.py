"""Why a classifier decided as it did: what each token of a text adds, as JSON, in a terminal and as a picture.

It knows nothing of how probabilities are computed: any predict(texts) -> probabilities will do.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers.base import REPLACEMENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Predict = Callable[[Sequence[NDArray[np.int32]]], NDArray[np.float64]]
"""Texts as ids, each (tokens,) and possibly empty -> probabilities (texts, classes).

The softmax should be taken in float64: one in float32 leaves little of the log-odds of a label that is nearly certain.
"""

BATCH_TOKENS = 1 << 16  # of all texts of a call of `Predict`: bounds memory whatever the length of the text
CLIP = 1e-12  # keeps the log-odds of a certain label finite, within 27.6 nats

STRONGEST = 5  # tokens listed for the label, and as many against it

# Of the strength of the strongest token: below the first step a token stays plain, at each step its colour deepens.
STEPS = (0.15, 0.4, 0.7)
MARKED = 2  # steps that a token must have reached to be marked where there is no colour
# Of the 256 colours, which more terminals know than 24 bits; black on them reads well in light and in dark ones.
GREENS, REDS, BLACK = (194, 157, 114), (224, 217, 210), 16
MIN_WIDTH = 40  # a terminal that does not know its width says 0
BLOCKS = "▁▂▃▄▅▆▇█"
# Unicode categories of what does not begin a line (，。）) or end one (（, and the signs of a mark).
NEVER_FIRST, NEVER_LAST = {"Po", "Pe", "Pf"}, {"Ps", "Pi", "Sm", "Pd"}

PICTURE_TOKENS = 400
PICTURE_TOKEN_LENGTH = 40  # characters
PICTURE_NAME_WIDTH = 24  # cells of a label
PICTURE_WIDTH = 100  # characters of Latin text a line
FONT_SIZE = 10.0  # points
# Every character takes one cell, or two if it is as wide as a Chinese one: text is laid out without measuring it.
CELL = 0.602 * FONT_SIZE / 72  # inches: the advance of DejaVu Sans Mono
LINE = 1.8 * FONT_SIZE / 72  # inches
MARGIN = 0.6  # inches
CURVE = 2.0  # inches
GREEN, RED = (0.30, 0.75, 0.35), (0.95, 0.40, 0.35)
# matplotlib brings the first and the last; of a collection of Noto fonts, older ones see only the Japanese face.
FONTS = (
    "DejaVu Sans Mono",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "SimHei",
    "PingFang SC",
    "Microsoft YaHei",
    "DejaVu Sans",
)
NO_GLYPH = "□"


@dataclass(frozen=True)
class Explanation:
    """What a text, and each token of it, says for one label.

    Attributes:
        labels: all labels.
        probs: their probabilities for the whole text.
        label: the one that is explained.
        pieces: the tokens as they are written, with the white space before them; joined they are the text.
        after: probability of `label` after each token, that is for the text that ends there.
        contributions: log-odds of `label` for the whole text less those for the text without the token, in nats.
            Positive speaks for the label (occlusion: Zeiler & Fergus 2014; on text: Li, Monroe & Jurafsky 2016).
    """

    labels: tuple[str, ...]
    probs: tuple[float, ...]
    label: str
    pieces: tuple[str, ...]
    after: tuple[float, ...]
    contributions: tuple[float, ...]

    @property
    def probability(self) -> float:
        """Of `label`, for the whole text."""
        return self.probs[self.labels.index(self.label)]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "label": self.label,
            "probability": self.probability,
            "probs": dict(zip(self.labels, self.probs, strict=True)),
            "method": "occlusion: log-odds of the label less those without the token, nats",
            "tokens": [
                {"text": text, "after": after, "contribution": contribution}
                for text, after, contribution in zip(self.pieces, self.after, self.contributions, strict=True)
            ],
        }


def explain(
    predict: Predict,
    ids: NDArray[np.int32],
    pieces: Sequence[str],
    labels: Sequence[str],
    label: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Explanation:
    """What each token says for a label. Costs the probabilities of 2 * tokens texts, tokens ** 2 * 1.5 tokens in all.

    Args:
        ids: (tokens,).
        pieces: the text of each token, as `Explanation.pieces`.
        labels: what the classes that `predict` tells apart are called, in its order.
        label: the one to explain; None is the most probable one.
        progress: called with how many more of the 2 * tokens texts are finished, as `tqdm.update` is.

    Raises:
        UserError: a label that there is not, or a text without tokens.
    """
    if label is not None and label not in labels:
        nearest = difflib.get_close_matches(label, labels, 1, 0.0)[0]
        raise UserError(f"label must be one of {', '.join(labels)}, was: {label!r}; did you mean {nearest!r}?")
    count = len(ids)
    if not count:
        raise UserError("a text to explain must have at least one token, had: none; give some text")
    prefixes = (ids[:end] for end in range(1, count + 1))
    erased = (np.delete(ids, position) for position in range(count))
    probs = np.concatenate(
        [_predict(predict, texts, progress) for part in (prefixes, erased) for texts in _batches(part)]
    )
    whole = probs[count - 1]
    column = int(whole.argmax()) if label is None else labels.index(label)
    contributions = _log_odds(whole[column]) - _log_odds(probs[count:, column])
    return Explanation(
        labels=tuple(labels),
        probs=tuple(whole.tolist()),
        label=labels[column],
        pieces=tuple(pieces),
        after=tuple(probs[:count, column].tolist()),
        contributions=tuple(contributions.tolist()),
    )


def _batches(texts: Iterable[NDArray[np.int32]]) -> Iterator[list[NDArray[np.int32]]]:
    """Neighbours together, at most `BATCH_TOKENS` tokens or one longer text."""
    batch: list[NDArray[np.int32]] = []
    tokens = 0
    for text in texts:
        if batch and tokens + len(text) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += len(text)
    yield batch


def _predict(
    predict: Predict, texts: list[NDArray[np.int32]], progress: Callable[[int], object] | None
) -> NDArray[np.float64]:
    probs = predict(texts)
    if progress is not None:
        progress(len(texts))
    return probs


def _log_odds(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probs, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


# The text as it is shown


def _printable(text: str) -> str:
    """A text that can do nothing to a terminal: what is no character and no white space is U+FFFD, as are escapes.

    Newlines stay, and so do the joiners without a width that Persian words and emoji need.
    """
    return "".join(
        character
        if character.isprintable() or character in "\n\u200c\u200d"
        else " "
        if character.isspace()
        else REPLACEMENT
        for character in text
    )


def _name(piece: str) -> str:
    """A token by itself on one line; white space, which would not be seen, as Python spells it."""
    return _printable(piece).strip().replace("\n", " ") or repr(piece)


def _cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(
        0
        if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def _strengths(explanation: Explanation) -> NDArray[np.float64]:
    """Contributions (tokens,) relative to the largest, -1 to 1."""
    contributions = np.array(explanation.contributions)
    return contributions / (np.abs(contributions).max() or 1.0)


def _level(strength: float) -> int:
    """The step that a strength has reached, below 0 where it speaks against the label."""
    return int(np.sign(strength)) * sum(abs(strength) >= step for step in STEPS)


def _segments(pieces: Iterable[str], strengths: Iterable[float]) -> list[tuple[str, float]]:
    """Texts and their strengths: the white space before a token is none of it, unless it is all there is."""
    segments = []
    for piece, strength in zip(pieces, strengths, strict=True):
        token = piece.lstrip(" \n") or piece.rpartition("\n")[2]
        segments += [(piece[: len(piece) - len(token)], 0.0), (token, float(strength))]
    return segments


def _wrap(texts: Sequence[str], width: int) -> list[list[tuple[int, str]]]:
    """The lines of texts written one after the other, each as (index of the text, the part of it that is there)."""
    whole = "".join(texts)
    owners = [index for index, text in enumerate(texts) for _ in text]
    return [
        [
            (index, "".join(whole[position] for position in positions))
            for index, positions in groupby(range(begin, end), owners.__getitem__)
        ]
        for begin, end in _line_spans(whole, width)
    ]


def _line_spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where the lines of a text begin and end, each at most `width` cells, at least 2, wide.

    A line ends at a newline, else at the last space or beside the last wide character, else where it is full. The
    newline or the space at which it ends is no part of a line.
    """
    begin = used = 0
    end = following = 0  # of this line and the beginning of the next, if it becomes too long
    for position, character in enumerate(text):
        if character == "\n":
            yield begin, position
            begin, used = position + 1, 0
            continue
        if character == " ":
            end, following = position, position + 1
        elif position > begin and _may_part(text[position - 1], character):
            end = following = position
        used += _cells(character)
        if used > width:
            if end <= begin:
                end = following = position
            yield begin, end
            begin = following
            used = _cells(text[begin : position + 1])
    yield begin, len(text)


def _may_part(before: str, after: str) -> bool:
    """Whether a line may end between two characters: beside a wide one, but no comma begins and no bracket ends it."""
    return (
        2 in {_cells(before), _cells(after)}
        and unicodedata.category(before) not in NEVER_LAST
        and unicodedata.category(after) not in NEVER_FIRST
    )


def to_terminal(explanation: Explanation, colour: bool = True, width: int = 80) -> str:
    """The label, the text, the probability after each token as blocks, and the strongest tokens, for a terminal.

    With `colour` a token has a green background where it speaks for the label, a red one where it speaks against;
    without, strong tokens are ``[+marked]``. Nothing in the text or the labels can command the terminal.

    Args:
        width: cells of a line.
    """
    width = max(width, MIN_WIDTH)
    segments = _segments(map(_printable, explanation.pieces), _strengths(explanation))
    levels = [_level(strength) for _, strength in segments]
    texts = [text for text, _ in segments]
    if not colour:
        texts = [_marked(text, level) for text, level in zip(texts, levels, strict=True)]
        levels = [0] * len(levels)
    text_lines = ["".join(_painted(part, levels[index]) for index, part in line) for line in _wrap(texts, width)]
    return "\n".join(
        [
            f"{_name(explanation.label)} {explanation.probability:.3f}",
            *text_lines,
            _sparkline(explanation.after, width),
            *_strongest(explanation, width),
        ]
    )


def _marked(text: str, level: int) -> str:
    return f"[{'+' if level > 0 else '-'}{text}]" if text and abs(level) >= MARKED else text


def _painted(text: str, level: int) -> str:
    if not level:
        return text
    background = (GREENS if level > 0 else REDS)[abs(level) - 1]
    return f"\x1b[38;5;{BLACK};48;5;{background}m{text}\x1b[0m"


def _sparkline(after: Sequence[float], width: int) -> str:
    """Probabilities as blocks, evenly spaced ones where there are more than fit; the last is always the last."""
    title = "after each token "
    shown = np.array(after)
    if len(after) > width - len(title):
        shown = shown[np.linspace(0, len(after) - 1, width - len(title)).round().astype(int)]
    return title + "".join(BLOCKS[min(int(prob * len(BLOCKS)), len(BLOCKS) - 1)] for prob in shown)


def _strongest(explanation: Explanation, width: int) -> list[str]:
    """Two columns: tokens for the label, tokens against it."""
    contributions = np.array(explanation.contributions)
    order = np.argsort(-contributions, kind="stable")
    columns = [
        [f"{contributions[index]:+.2f} {_name(explanation.pieces[index])}" for index in indices]
        for indices in (
            [index for index in order[:STRONGEST] if contributions[index] > 0],
            [index for index in order[::-1][:STRONGEST] if contributions[index] < 0],
        )
    ]
    cells = width // 2 - 2
    rows = [("for, nats", "against, nats"), *zip_longest(*columns, fillvalue="")]
    cut = [(_cut(left, cells), _cut(right, cells)) for left, right in rows]
    return [(left + " " * (cells + 2 - _cells(left)) + right).rstrip() for left, right in cut]


def _cut(text: str, cells: int) -> str:
    """A text that takes at most a number of cells."""
    ends = list(accumulate(map(_cells, text)))
    return text if not ends or ends[-1] <= cells else text[: bisect_right(ends, cells - 1)] + "…"


# The picture


def draw(explanation: Explanation, path: Path) -> None:
    """Draw the tokens on boxes coloured by their contribution, and the probability after each, as a PNG.

    Of a text of more than `PICTURE_TOKENS` those around the strongest are written. Several empty lines are drawn as
    one, the rest of a very long token as …, and a character that no installed font has as □.

    Raises:
        UserError: matplotlib is missing, or the disk refuses.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise UserError("a picture needs matplotlib, it is missing; run: pip install matplotlib") from error

    families, known = _fonts()
    strengths = _strengths(explanation)
    count = len(strengths)
    begin = max(0, min(int(np.abs(strengths).argmax()) - PICTURE_TOKENS // 2, count - PICTURE_TOKENS))
    end = min(count, begin + PICTURE_TOKENS)
    name = _cut(_drawable(_name(explanation.label), known), PICTURE_NAME_WIDTH)
    title = f"{name} {explanation.probability:.3f}"
    if end - begin < count:
        title += f"   tokens {begin + 1} to {end} of {count}, around the strongest"
    segments = _segments([_drawable(piece, known) for piece in explanation.pieces[begin:end]], strengths[begin:end])
    lines = _wrap([text for text, _ in segments], PICTURE_WIDTH)
    note = "green speaks for the label, red against"
    if NO_GLYPH in title or any(NO_GLYPH in text for text, _ in segments):
        note += f"; {NO_GLYPH} is a character that no font here has"

    text_width, text_height = CELL * PICTURE_WIDTH, LINE * len(lines)
    width, height = text_width + 2 * MARGIN, text_height + CURVE + 3 * MARGIN
    figure = Figure(figsize=(width, height))
    left, across = MARGIN / width, text_width / width
    axes = figure.add_axes((left, (CURVE + 2 * MARGIN) / height, across, text_height / height))
    _draw_text(axes, lines, [strength for _, strength in segments], families)
    axes.set_title(title, loc="left", fontfamily=families, fontsize=1.2 * FONT_SIZE, pad=FONT_SIZE, parse_math=False)

    axes = figure.add_axes((left, MARGIN / height, across, CURVE / height))
    axes.plot(range(1, count + 1), explanation.after, color="black", marker="." if count <= 100 else "", clip_on=False)
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    if end - begin < count:
        axes.axvspan(begin + 1, end, color="grey", alpha=0.15, linewidth=0)
    axes.set(xlim=(0.5, count + 0.5), ylim=(0, 1), xlabel="token", ylabel="probability after it")
    axes.set_title(note, loc="left", fontsize=0.8 * FONT_SIZE, color="grey", pad=FONT_SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _fonts() -> tuple[list[str], frozenset[int]]:
    """Names of the fonts there are of `FONTS`, and the code points that they can draw together."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    installed = set(fontManager.get_font_names())
    families = [name for name in FONTS if name in installed]
    faces = [get_font(fontManager.findfont(FontProperties(family=name))) for name in families]
    return families, frozenset().union(*(face.get_charmap() for face in faces))


def _drawable(piece: str, known: frozenset[int]) -> str:
    """A piece, as far as it needs to be drawn, in code points that are known."""
    text = re.sub(r"\n\s*\n", "\n\n", re.sub("[\u200c\u200d]", "", _printable(piece)))
    if len(text) > PICTURE_TOKEN_LENGTH:
        text = text[: PICTURE_TOKEN_LENGTH - 1] + "…"
    return "".join(
        character if character == "\n" or ord(character) in known else NO_GLYPH if _cells(character) else ""
        for character in text
    )


def _draw_text(
    axes: Axes, lines: Sequence[Sequence[tuple[int, str]]], strengths: Sequence[float], families: list[str]
) -> None:
    """Fill axes, whose units become cells and lines, with text on boxes."""
    from matplotlib.patches import Rectangle

    axes.set(xlim=(0, PICTURE_WIDTH), ylim=(len(lines), 0))
    axes.set_axis_off()
    font: dict[str, Any] = {"fontfamily": families, "fontsize": FONT_SIZE, "parse_math": False}
    for row, line in enumerate(lines):
        left = 0
        for index, part in line:
            cells, strength = _cells(part), strengths[index]
            if _level(strength):
                colour = 1 - abs(strength) * (1 - np.array(GREEN if strength > 0 else RED))
                axes.add_patch(Rectangle((left, row + 0.1), cells, 0.8, facecolor=tuple(colour), edgecolor="white"))
            axes.text(left + cells / 2, row + 0.68, part, ha="center", **font)
            left += cells
