"""Tables of pairs of texts: whether their first line names the columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from textrnn.data.pairs.reading import PairOptions, pair_notes, read_pairs
from textrnn.platforms import quoted

HANZI = [("ni hao", "你好"), ("wo", "我"), ("ta", "他"), ("zhong guo", "中国"), ("da", "大")]
WORDS = [("cat", "cats"), ("box", "boxes"), ("city", "cities"), ("dog", "dogs"), ("day", "days")]
NUMBERS = [("1", "one"), ("2", "two"), ("30", "thirty"), ("4", "four"), ("5", "five")]


def read(tmp_path: Path, pairs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], str]:
    """The pairs that are read of a table, and the note about it."""
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{source},{target}\n" for source, target in pairs), encoding="utf-8")
    options = PairOptions(label="target")
    (note,) = pair_notes([str(path)], options)
    return list(read_pairs([str(path)], options, Counter())), note


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("pinyin", "hanzi"), HANZI),
        (("拼音", "汉字"), HANZI),
        (("number", "words"), NUMBERS),
        (("单数", "复数"), WORDS),
    ],
)
def test_names_in_another_script_are_no_pair(
    tmp_path: Path, names: tuple[str, str], pairs: list[tuple[str, str]]
) -> None:
    found, note = read(tmp_path, [names, *pairs])
    assert found == pairs
    assert f"the first line, {names[0]} and {names[1]}, is read as names" in note


@pytest.mark.parametrize(
    "pairs",
    [
        HANZI,
        NUMBERS,
        [("singular", "plural"), *WORDS],
        [("A", "B"), *HANZI[:4]],
        [("éa", "ab"), *WORDS],
        [("1", "猫"), *HANZI],
    ],
)
def test_a_first_line_that_can_be_a_pair_is_one_and_a_note_says_how_to_name_columns(
    tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    found, note = read(tmp_path, pairs)
    assert found == pairs
    assert "every line is a pair, the first one too" in note
    assert f"if it has names: --text {quoted(pairs[0][0])} --target {quoted(pairs[0][1])}" in note
