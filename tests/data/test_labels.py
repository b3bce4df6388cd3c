"""What the cells of a label column mean, where a record may have several labels."""

from __future__ import annotations

import numpy as np
import pytest
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.labels import LIST_SEPARATOR, MultiLabels


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("sports", ("sports",)),
        ("sports|politics", ("sports", "politics")),
        ("sports; politics ;sports", ("sports", "politics")),
        ("a,b , c", ("a", "b", "c")),
        ("new york, usa|paris, france", ("new york, usa", "paris, france")),
        (LIST_SEPARATOR.join(["a|b", "c"]), ("a|b", "c")),
        ("体育|音乐", ("体育", "音乐")),
        (" | ", ()),
        ("", ()),
    ],
)
def test_the_separator_is_found_in_the_label(label: str, parts: tuple[str, ...]) -> None:
    assert MultiLabels().parts(label) == parts


def test_a_stated_separator_is_the_only_one() -> None:
    assert MultiLabels(" ").parts("python pandas a|b") == ("python", "pandas", "a|b")
    assert MultiLabels("::").parts("a,b::c") == ("a,b", "c")
    assert MultiLabels(" ").parts(LIST_SEPARATOR.join(["New York", "Paris"])) == ("New York", "Paris")


def test_targets_have_a_one_for_each_label() -> None:
    labels = MultiLabels(names=["0=bad", "1=good"])
    classes = labels.classes(["0|1", "1", "", "10|9"], "texts")
    assert classes == ("9", "10", "bad", "good")
    places = {name: place for place, name in enumerate(classes)}
    assert labels.target("1|9", places).tolist() == [1, 0, 0, 1]
    assert labels.target("", places).tolist() == [0, 0, 0, 0]
    assert labels.target("0|unknown", places).tolist() == [0, 0, 1, 0]
    assert labels.target("unknown", places) is None


def test_texts_without_any_label_cannot_be_learned_from() -> None:
    assert "a label at least is needed, all 2 texts have none" in error_of(
        lambda: MultiLabels().classes(["", ""], "texts")
    )


@given(
    sets=st.lists(st.sets(st.sampled_from("abcd")), min_size=2, max_size=60),
    share=st.floats(0.05, 0.5),
)
def test_records_with_the_same_labels_are_held_out_in_the_same_share(sets: list[set[str]], share: float) -> None:
    labels = ["|".join(sorted(each)) for each in sets]
    counts = {label: labels.count(label) for label in labels}
    if all(count == 1 for count in counts.values()) and len(labels) < 2:
        return
    held_out = MultiLabels().split(labels, share, "texts")
    assert 0 < held_out.sum() < len(labels)
    for label, count in counts.items():
        if count > 1 and label:
            taken = int(held_out[np.array(labels) == label].sum())
            assert 1 <= taken < count
            assert abs(taken - share * count) <= 1
