"""What each token says for a label: known exactly for a model whose log-odds are a sum over tokens."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.explanation import Explanation, draw, explain, occlusion, to_terminal

LABELS = ("negative", "positive")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class BagOfWords:
    """Log-odds of the second label: the sum of the weights of the tokens, here the ids themselves."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        self.calls.append([len(text) for text in texts])
        positive = np.array([1 / (1 + math.exp(-float(text.sum()))) for text in texts])
        return np.stack([1 - positive, positive], axis=1)


def explained(pieces: Sequence[str], weights: Sequence[int], label: str | None = None) -> Explanation:
    return explain(BagOfWords(), np.array(weights, np.int32), pieces, LABELS, label)


def sentence(label: str | None = None) -> Explanation:
    return explained(["not", " bad", ",", " great", "\n", "fun"], [-1, -2, 0, 4, 0, 1], label)


def plain(text: str) -> str:
    return ESCAPE.sub("", text)


def body(terminal: str) -> str:
    """The text as it is shown, between the label and the probabilities."""
    return terminal.partition("\n")[2].rpartition("\nafter each token ")[0]


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


# The numbers


def test_a_contribution_is_what_the_token_adds_to_the_log_odds() -> None:
    explanation = sentence("positive")
    assert explanation.contributions == pytest.approx((-1, -2, 0, 4, 0, 1))
    assert explanation.after == pytest.approx([1 / (1 + math.exp(-odds)) for odds in (-1, -3, -3, 1, 1, 2)])
    assert explanation.probability == explanation.after[-1] == explanation.probs[1]


def test_the_other_label_is_explained_by_the_opposite() -> None:
    explanation = sentence("negative")
    assert explanation.contributions == pytest.approx((1, 2, 0, -4, 0, -1))
    assert explanation.probability == pytest.approx(1 / (1 + math.exp(2)))


@pytest.mark.parametrize(("weight", "label"), [(3, "positive"), (-3, "negative")])
def test_without_a_label_the_most_probable_one_is_explained(weight: int, label: str) -> None:
    explanation = explained(["word"], [weight])
    assert explanation.label == label
    assert explanation.contributions == pytest.approx((3,))  # against the empty text, whose log-odds are 0


def test_order_matters_to_a_model_that_reads_it() -> None:
    def last_token(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        return np.array([[1 - text[-1] / 10, text[-1] / 10] if len(text) else [0.5, 0.5] for text in texts])

    explanation = explain(last_token, np.array([2, 9, 8], np.int32), ["a", "b", "c"], LABELS)
    assert explanation.after == pytest.approx((0.2, 0.9, 0.8))
    assert explanation.contributions == pytest.approx((0, 0, math.log(0.8 / 0.2) - math.log(0.9 / 0.1)))


def test_certainty_stays_finite() -> None:
    def certain(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        return np.array([[0.0, 1.0] if len(text) else [1.0, 0.0] for text in texts])

    explanation = explain(certain, np.array([5], np.int32), ["sure"], LABELS)
    assert explanation.contributions == pytest.approx((4 * math.log(10) * 6,), rel=1e-4)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.integers(1, 50))
def test_batches_are_bounded_and_change_nothing(weights: list[int], bound: int) -> None:
    ids, pieces = np.array(weights, np.int32), [str(weight) for weight in weights]
    whole, parts = BagOfWords(), BagOfWords()
    finished: list[int] = []
    expected = explain(whole, ids, pieces, LABELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(occlusion, "BATCH_TOKENS", bound)
        actual = explain(parts, ids, pieces, LABELS, progress=finished.append)
    assert actual == expected
    assert all(len(call) == 1 or sum(call) <= bound for call in parts.calls)
    assert finished == [len(call) for call in parts.calls]
    assert sum(finished) == 2 * len(weights)
    texts = [length for call in parts.calls for length in call]
    assert texts == [*range(1, len(ids) + 1), *[len(ids) - 1] * len(ids)]


def test_a_long_text_is_read_in_batches_of_bounded_size() -> None:
    predict = BagOfWords()
    explanation = explain(predict, np.tile(np.array([1, -1], np.int32), 500), ["a"] * 1000, LABELS, "positive")
    assert explanation.contributions == pytest.approx((1, -1) * 500)
    assert max(map(sum, predict.calls)) <= occlusion.BATCH_TOKENS < 1.5 * 1000**2


def test_a_text_without_tokens_has_no_explanation() -> None:
    with pytest.raises(UserError, match="must have at least one token, had: none"):
        explained([], [])


def test_an_unknown_label_is_told_with_the_nearest() -> None:
    predict = BagOfWords()
    with pytest.raises(UserError) as raised:
        explain(predict, np.array([1], np.int32), ["a"], LABELS, "postive")
    assert str(raised.value) == ("label must be one of negative, positive, was: 'postive'; did you mean 'positive'?")
    assert not predict.calls


def test_json_tells_everything() -> None:
    document = json.loads(json.dumps(explained(["不", "好"], [-1, 2]).to_dict()))
    assert document == {
        "label": "positive",
        "probability": pytest.approx(0.7310586),
        "probs": {"negative": pytest.approx(0.2689414), "positive": pytest.approx(0.7310586)},
        "method": "occlusion: log-odds of the label less those without the token, nats",
        "tokens": [
            {"text": "不", "after": pytest.approx(0.2689414), "contribution": pytest.approx(-1)},
            {"text": "好", "after": pytest.approx(0.7310586), "contribution": pytest.approx(2)},
        ],
    }


# The terminal


def test_terminal_without_colour() -> None:
    assert to_terminal(sentence(), colour=False).splitlines() == [
        "positive 0.881",
        "not [-bad], [+great]",
        "fun",
        "after each token ▃▁▁▆▆█",
        "for, nats                               against, nats",
        "+4.00 great                             -2.00 bad",
        "+1.00 fun                               -1.00 not",
    ]


def test_terminal_with_colour_shows_the_same_without_the_marks() -> None:
    shown = to_terminal(sentence())
    assert plain(shown) == re.sub(r"\[[+-](.*?)\]", r"\1", to_terminal(sentence(), colour=False))
    # Black on green, deep for the strongest token; black on red; what says little or nothing stays as it was.
    assert " \x1b[38;5;16;48;5;114mgreat\x1b[0m\n" in shown
    assert "\x1b[38;5;16;48;5;217mbad\x1b[0m, " in shown
    assert "\x1b[38;5;16;48;5;194mfun\x1b[0m\n" in shown


def test_nothing_is_coloured_where_nothing_speaks() -> None:
    assert "\x1b" not in to_terminal(explained(["a", " b"], [0, 0]))


def test_a_colour_ends_with_its_line() -> None:
    shown = body(to_terminal(explained([" very long" * 12 + "\n" * 2 + "word"], [3]), width=40))
    lines = shown.split("\n")
    assert len(lines) > 4
    assert all(line.count("\x1b[38;") == line.count("\x1b[0m") <= 1 for line in lines)
    assert all(line.endswith("\x1b[0m") for line in lines if line)


def test_lines_end_between_words() -> None:
    words = ["it", "rains", "and", "pours"]
    pieces = [f" {word}" for word in words * 6]
    lines = body(to_terminal(explained(pieces, [0] * len(pieces)), width=40)).split("\n")
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).split() == words * 6


def test_lines_of_chinese_are_counted_in_cells() -> None:
    text = "酒店的位置很好，房间干净，服务热情，早餐也很丰富，下次还会住这里。"
    lines = body(to_terminal(explained(list(text), [0] * len(text)), width=41)).split("\n")
    assert lines == ["酒店的位置很好，房间干净，服务热情，早餐", "也很丰富，下次还会住这里。"]
    lines = body(to_terminal(explained(list(text[2:]), [0] * (len(text) - 2)), width=45)).split("\n")
    assert lines == ["的位置很好，房间干净，服务热情，早餐也很丰", "富，下次还会住这里。"]  # no comma begins a line


def test_the_curve_of_a_long_text_fits_and_ends_with_the_whole() -> None:
    explanation = explained(["a"] * 1000, [0] * 999 + [9])
    (line,) = [line for line in to_terminal(explanation, width=60).split("\n") if line.startswith("after")]
    assert line == "after each token " + "▅" * 42 + "█"


def test_the_five_strongest_are_listed() -> None:
    weights = [3, -7, 1, 5, -2, 4, 2, 6]
    rows = to_terminal(explained([f" w{weight}" for weight in weights], weights)).splitlines()[-5:]
    assert [row.split()[1] for row in rows] == ["w6", "w5", "w4", "w3", "w2"]
    assert [row.split()[2:] for row in rows] == [["-7.00", "w-7"], ["-2.00", "w-2"], [], [], []]


def test_white_space_is_listed_by_its_name_and_a_long_token_is_cut() -> None:
    shown = to_terminal(explained(["\n", " ", "长" * 50], [2, 1, -3], "positive"), colour=False, width=40)
    assert shown.splitlines()[-2:] == [r"+2.00 '\n'          -3.00 长长长长长…", "+1.00 ' '"]


HOSTILE = [
    "\x1b]0;owned\x07",
    " \x1b[2J\x1b[31mred",
    "\x9b31m",
    " a\rb",
    "\u202eback",
    "\ud800",
    "\u200b",
    "\t\x00",
    "end\n\n",
]


@pytest.mark.parametrize("colour", [True, False])
def test_a_text_cannot_command_the_terminal(colour: bool) -> None:
    explanation = explain(BagOfWords(), np.arange(9, dtype=np.int32), HOSTILE, ("no\x1b[1m\n", "yes\x1b[1m\n"))
    shown = to_terminal(explanation, colour)
    assert shown.startswith("yes\ufffd[1m 1.000\n")
    shown.encode()
    assert not set(plain(shown)) & set("\x1b\x07\x9b\r\u202e\ud800\u200b\t\x00")
    assert "\ufffd]0;owned\ufffd" in plain(shown)
    assert "\ufffd[2J\ufffd[31mred" in plain(shown)
    assert colour or shown == plain(shown)


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(-5, 5)), min_size=1, max_size=12), st.integers(0, 100))
def test_the_text_is_all_there(tokens: list[tuple[str, int]], width: int) -> None:
    pieces, weights = zip(*tokens, strict=True)
    explanation = explained(pieces, weights)
    shown = to_terminal(explanation, width=width)
    letters = "".join(letter for letter in "".join(pieces) if letter.isprintable() and not letter.isspace())
    assert re.sub("[\\s\ufffd\u200c\u200d]", "", plain(body(shown))) == letters.replace("\ufffd", "")
    assert all(letter.isprintable() or letter in "\n\u200c\u200d" for letter in plain(shown))
    assert "\x1b" not in to_terminal(explanation, colour=False, width=width)


# The picture


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    draw(sentence(), tmp_path / "small.png")
    draw(explained([" word"] * 200, [1, -1] * 100), tmp_path / "large.png")
    (width, height), (same_width, larger) = png_size(tmp_path / "small.png"), png_size(tmp_path / "large.png")
    assert width == same_width
    assert larger > height
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.png", "small.png"]


@pytest.mark.parametrize(
    "pieces",
    [
        ["这家", "酒店", "很", "好", "！\n", "\n\n\n\n\n", "下次", "再来"],
        ["costs $5", " or $x^2$", " \\frac{", " <b>&amp;"],
        HOSTILE,
        ["\n", " ", ""],
        ["x" * 10_000],
    ],
    ids=["chinese", "formulas", "hostile", "blank", "long"],
)
def test_any_text_can_be_drawn(tmp_path: Path, pieces: list[str]) -> None:
    explanation = explain(BagOfWords(), np.arange(1, len(pieces) + 1, dtype=np.int32), pieces, ("$差$_\n", "$好^"))
    draw(explanation, tmp_path / "picture.png")
    assert png_size(tmp_path / "picture.png")[1] < 1000


def test_every_script_can_be_drawn(tmp_path: Path) -> None:
    letters = "".join(map(chr, range(0, 0x110000, 97)))
    pieces = [letters[begin : begin + 30] for begin in range(0, len(letters), 30)]
    draw(explained(pieces, [1] * len(pieces)), tmp_path / "picture.png")
    png_size(tmp_path / "picture.png")


def test_of_many_tokens_those_around_the_strongest_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: (figures.append(figure), path.touch()))
    pieces = tuple(f" w{index}" for index in range(2000))
    for strongest, first, last in [(0, 0, 399), (1000, 800, 1199), (1999, 1600, 1999)]:
        contributions = [0.1] * 2000
        contributions[strongest] = -5.0
        draw(
            Explanation(LABELS, (0.1, 0.9), "positive", pieces, (0.9,) * 2000, tuple(contributions)),
            tmp_path / "picture.png",
        )
        upper, lower = figures.pop().axes
        words = [text.get_text().strip() for text in upper.texts if text.get_text().strip()]
        assert words == [f"w{index}" for index in range(first, last + 1)]
        title = f"positive 0.900   tokens {first + 1} to {last + 1} of 2000, around the strongest"
        assert upper.get_title(loc="left") == title
        (box,) = upper.patches
        assert box.get_width() == len(f"w{strongest}")
        assert len(lower.lines[0].get_xdata()) == 2000


def test_a_missing_matplotlib_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError) as raised:
        draw(sentence(), tmp_path / "picture.png")
    assert str(raised.value) == "a picture needs matplotlib, it is missing; run: pip install matplotlib"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be written"):
        draw(sentence(), tmp_path / "nowhere" / "picture.png")
