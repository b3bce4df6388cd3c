"""The direct path, beside dictionaries of tuples of tokens: n-grams, their table, the logits, the fit and the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import in_onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from textrnn.errors import UserError
from textrnn.metrics.calibration import fit_temperature, mean_nats
from textrnn.tokenizers import CharTokenizer, WordTokenizer
from textrnn.training.direct.fitting import (
    Examples,
    Sample,
    as_columns,
    choose_ngrams,
    fit_direct_path,
    importance_of,
    judge_of,
    log_count_ratios,
    naive_bayes,
)
from textrnn.training.direct.model import DirectPath, Ngrams, chunks, joined
from textrnn.training.direct.ngrams import PRIME, NgramTable, hashes, identities
from textrnn.training.direct.subwords import features_of, spellings, subwords
from textrnn.training.export.cell_graphs import Nodes, graph_model, value
from textrnn.training.export.direct_graph import add_direct_path, direct_constants
from textrnn.training.export.layer_graphs import tensors

Ids = list[int]
texts_of_ids = st.lists(st.lists(st.integers(1, 6), max_size=7), min_size=1, max_size=5)


def ngrams_of(text: Sequence[int], order: int) -> list[tuple[int, ...]]:
    """All n-grams of up to `order` tokens, each as often as it occurs."""
    return [tuple(text[end - n : end]) for n in range(1, order + 1) for end in range(n, len(text) + 1)]


def arrays(texts: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    return [np.array(text, np.int64) for text in texts]


def table_of(texts: Sequence[Sequence[int]], order: int) -> NgramTable:
    """A table of all n-grams of some texts."""
    hashed, _ = hashes(*joined(arrays(texts)), order)
    _, first = np.unique(identities(hashed), return_index=True)
    return NgramTable.build(order, hashed[np.sort(first)])


def path_of(texts: Sequence[Sequence[int]], order: int, classes: int, seed: int = 0) -> DirectPath:
    """A path with random weights for all n-grams of some texts."""
    table = table_of(texts, order)
    generator = np.random.default_rng(seed)
    columns = classes if classes > 2 else 1
    weights = generator.normal(size=(table.numbers.max() + 1, columns)).astype(np.float32)
    squares = generator.uniform(0.1, 4, len(weights)).astype(np.float32)
    weights[0] = squares[0] = 0
    bias = generator.normal(size=columns).astype(np.float32)
    return DirectPath(table, weights, squares, bias, tuple("abcdefgh"[:classes]))


def scale(logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[float, float]:
    temperature = fit_temperature(logits, targets)
    return 1 / temperature, mean_nats(logits / temperature, targets)


# N-grams and their table


@given(texts_of_ids, st.integers(1, 5))
def test_two_ngrams_have_one_identity_exactly_if_they_are_the_same(texts: list[Ids], order: int) -> None:
    hashed, owners = hashes(*joined(arrays(texts)), order)
    expected = [(text, ngram) for text, ids in enumerate(texts) for ngram in ngrams_of(ids, order)]
    assert np.bincount(owners, minlength=len(texts)).tolist() == [len(ngrams_of(ids, order)) for ids in texts]
    assert len(set(identities(hashed).tolist())) == len({ngram for _, ngram in expected})
    assert hashed.size == 0 or (hashed.min() >= 0 and hashed.max() < PRIME)


def test_the_hash_stays_what_it_is() -> None:
    # Bundles and run folders hold tables of these hashes.
    hashed, _ = hashes(np.array([5, 70_000, 9]), np.zeros(3, np.int64), 3)
    assert hashed.tolist() == [
        [101111579, 1106143516, 874426546],
        [1277517544, 189904867, 1452581147],
        [101178807, 1106336600, 874705030],
        [1899233476, 851748181, 15152969],
        [696010565, 1438064000, 852757352],
        [220253387, 1162457675, 551010661],
    ]


def test_nearly_all_of_many_ngrams_have_a_place_and_nearly_no_others_are_found() -> None:
    generator = np.random.default_rng(0)
    known, unknown = generator.integers(0, PRIME, (2, 100_000, 3))
    table = NgramTable.build(3, known)
    assert np.mean(table.look_up(known) == np.arange(1, 100_001)) > 0.9999
    assert np.mean(table.look_up(unknown) > 0) < 0.0002
    assert len(table.numbers) < 2.3 * 100_000


def test_a_table_of_no_ngrams_knows_none() -> None:
    table = NgramTable.build(2, np.zeros((0, 3), np.int64))
    numbers, owners = table.rows(np.array([4, 5, 6]), np.zeros(3, np.int64))
    assert (numbers.tolist(), owners.tolist()) == ([], [])


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_chunks_hold_all_items_in_order(sizes: list[int], room: int) -> None:
    found = list(chunks(sizes, room))
    assert [item for begin, end in found for item in range(begin, end)] == list(range(len(sizes)))
    assert all(end - begin == 1 or sum(sizes[begin:end]) <= room for begin, end in found)


# Logits


def expected_logits(path: DirectPath, known: Sequence[Ids], texts: Sequence[Ids]) -> NDArray[np.float64]:
    """What the path shall compute, from a dictionary of the n-grams of `known`."""
    numbers = {
        ngram: int(path.table.look_up(hashes(*joined(arrays([ngram])), len(ngram))[0][-1:])[0])
        for text in known
        for ngram in ngrams_of(text, path.table.order)
    }
    logits = []
    for text in texts:
        once = {numbers[ngram] for ngram in ngrams_of(text, path.table.order) if ngram in numbers} - {0}
        summed = sum((path.weights[number] for number in once), np.zeros(len(path.bias)))
        length = math.sqrt(sum(float(path.squares[number]) for number in once))
        scores = summed / (length or 1) + path.bias
        logits.append([-scores[0] / 2, scores[0] / 2] if len(scores) == 1 else scores)
    return np.array(logits)


@settings(max_examples=40)
@given(texts_of_ids, texts_of_ids, st.integers(1, 4), st.integers(2, 4))
def test_logits_are_sums_over_different_ngrams(known: list[Ids], texts: list[Ids], order: int, classes: int) -> None:
    path = path_of(known, order, classes)
    logits = path.logits(arrays(texts))
    np.testing.assert_allclose(logits, expected_logits(path, known, texts), rtol=1e-5, atol=1e-6)


def test_the_graph_computes_the_same_whatever_the_padding(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for trial, (order, classes) in enumerate([(1, 2), (3, 2), (3, 5), (5, 3)]):
        known = [generator.integers(1, 30, generator.integers(0, 40)).tolist() for _ in range(20)]
        path = path_of(known, order, classes)
        nodes = Nodes()
        nodes.add("Identity", add_direct_path(nodes, path), output="logits")
        ids = value("ids", TensorProto.INT32, "batch", "time")
        logits = value("logits", TensorProto.FLOAT, "batch", classes)
        graph = graph_model(nodes, [ids], [logits], tensors(path.arrays()), direct_constants(path))
        (tmp_path / str(trial)).mkdir()
        run = in_onnxruntime({"classify": graph}, tmp_path / str(trial))["classify"]
        texts = [*known, [31, 32, 33], *(generator.integers(1, 40, n).tolist() for n in range(30))]
        for padding in (0, 1, 9):
            batch = np.zeros((len(texts), max(map(len, texts)) + padding), np.int32)
            for row, text in zip(batch, texts, strict=True):
                row[: len(text)] = text
            np.testing.assert_allclose(run(batch)[0], path.logits(arrays(texts)), rtol=1e-4, atol=1e-5)


# Files


def test_a_path_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = path_of([[1, 2, 3], [4, 5]], 2, 3)
    path.save(tmp_path / "direct.npz", "of this run")
    again = DirectPath.load(tmp_path / "direct.npz", "of this run")
    assert again and again.labels == path.labels and again.table.order == 2
    for name, array in path.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert DirectPath.load(tmp_path / "direct.npz", "of another") is None
    assert DirectPath.load(tmp_path / "none.npz") is None


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path_of([[1, 2]], 2, 2).save(tmp_path / "direct.npz", "")
    content = (tmp_path / "direct.npz").read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:300] + b"\0" * 50 + content[350:]):
        (tmp_path / "direct.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"must be as it was written: .*; remove it and train again"):
            DirectPath.load(tmp_path / "direct.npz")


# The fit


def test_log_count_ratios_are_those_of_the_formula() -> None:
    ratios = log_count_ratios(np.array([[3.0], [0.0]]), np.array([4.0, 2.0]))
    # Counts of the class 3 and 0, of the rest 1 and 2, each with 1 added, as shares of their sums.
    expected = [math.log((4 / 5) / (2 / 5)), math.log((1 / 5) / (3 / 5))]
    np.testing.assert_allclose(ratios[:, 0], expected)


def test_naive_bayes_counts_each_ngram_once_a_text() -> None:
    texts, columns = [[1, 1, 2], [1], [2, 2]], np.array([[1], [1], [0]], np.float32)
    table = table_of(texts, 1)
    read = Ngrams(*_numbers(table, texts))
    sample = Sample(read, features_of(table, 2, ()), columns, np.ones(3, np.float32))
    importance = importance_of(sample)
    weights = naive_bayes(sample, importance)
    one, two = (int(table.look_up(hashes(np.array([token]), np.zeros(1, np.int64), 1)[0])[0]) for token in (1, 2))
    expected = log_count_ratios(np.array([[2.0], [1.0]]), np.array([2.0, 2.0]))[:, 0]
    np.testing.assert_allclose(importance[[0, one, two]], [0, *np.abs(expected)], rtol=1e-6)
    assert weights.features[0] == 0
    np.testing.assert_allclose((weights.features[:, 0] * importance)[[one, two]], expected, rtol=1e-6)
    assert expected[0] > 0 > expected[1]


def _numbers(table: NgramTable, texts: list[Ids]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    numbers, owners = table.rows(*joined(arrays(texts)))
    return numbers, np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(texts)))])


def test_of_too_many_ngrams_the_telling_ones_are_kept() -> None:
    generator = np.random.default_rng(0)
    targets = np.arange(60) % 2
    # Token 1 is in texts of class 0 alone, 2 in those of class 1; the others are noise.
    texts = [np.append(generator.integers(3, 50, 12), 1 + target) for target in targets]
    table, hashed = choose_ngrams(texts, as_columns(targets, 2), 1, most=2)
    assert len(hashed) == 2
    numbers, owners = table.rows(np.array([1, 2, 3]), np.arange(3))
    assert sorted(owners.tolist()) == [0, 1] and sorted(numbers.tolist()) == [1, 2]


def labelled(count: int, classes: int, seed: int) -> Examples:
    """Texts of random tokens and one pair that decides the class; the reversed pair is that of another class."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, count)
    pairs = [[10, 11], [11, 10], [10, 12], [12, 10]]
    texts = []
    for target in targets:
        noise = generator.integers(20, 60, 8)
        place = int(generator.integers(0, 8))
        texts.append(np.concatenate([noise[:place], pairs[target], noise[place:]]))
    return Examples(texts, targets)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("held_out", [20, 250])
def test_order_of_words_is_learned_and_chosen_by_few_or_many_texts(classes: int, held_out: int) -> None:
    labels = tuple("abcd"[:classes])
    path = fit_direct_path(labelled(300, classes, 1), labelled(held_out, classes, 2), labels, 3, scale)
    test = labelled(400, classes, 3)
    logits = path.logits(test.texts)
    assert path.table.order in (2, 3)
    assert np.mean(logits.argmax(axis=1) == test.targets) > 0.97
    assert mean_nats(logits, test.targets) < 0.2


def test_subwords_of_a_word_with_its_blanks() -> None:
    assert subwords("ab") == {" a", "ab", "b ", " ab", "ab "}
    assert subwords("好") == {" 好", "好 "}
    assert subwords("a" * 65) == set()
    assert spellings(WordTokenizer(["so", "好"])) == ["", "", "", "", "", "so", "好"]
    assert spellings(CharTokenizer.train(["a"])) == spellings(None) == []


def test_features_of_an_ngram_are_itself_and_subwords_of_several_words() -> None:
    table = table_of([[5, 6, 7]], 2)
    numbers = table.look_up(hashes(np.array([5, 6, 7]), np.zeros(3, np.int64), 2)[0])
    features = features_of(table, 5, ["", "", "", "", "", "ab", "abc", "x"])
    of = [features.some(np.array([number])).numbers.tolist() for number in range(6)]
    shared = [6, 7, 8]  # " a", " ab" and "ab"
    assert of[0] == []
    assert of[numbers[0]] == [numbers[0], *shared]
    assert of[numbers[1]] == [numbers[1], *shared]
    assert all(of[number] == [number] for number in numbers[2:])


def test_what_forms_of_a_word_share_is_learned_at_no_cost_of_the_model() -> None:
    forms = [stem + end for stem in ("grand", "petit") for end in "abcdefghijklmnopqrst"]
    words = ["", *forms, *(f"{number:03}" for number in range(100))]
    generator = np.random.default_rng(0)
    targets = np.repeat([0, 1], 20)

    def texts() -> list[NDArray[np.int64]]:
        return [np.append(form, generator.integers(41, 141, 3)) for form in range(1, 41)]

    labels = np.where(np.arange(40) % 4 == 0, 1 - targets, targets)  # one of four is wrong
    train, held_out, test = Examples(texts(), labels), Examples(texts(), targets), texts()
    without, path = (fit_direct_path(train, held_out, ("a", "b"), 1, scale, words=each) for each in ((), words))
    right = [np.mean(each.logits(test).argmax(axis=1) == targets) for each in (without, path)]
    assert right[0] < 0.85
    assert right[1] > 0.95
    assert {name: array.shape for name, array in path.arrays().items()} == {
        name: array.shape for name, array in without.arrays().items()
    }


def test_each_fold_leaves_out_its_share_of_each_class() -> None:
    # Else the rest holds less of the class that the fold holds more of, and the path would seem useless.
    few = labelled(60, 2, 0)
    table = table_of([text.tolist() for text in few.texts], 1)
    read = Ngrams(*_numbers(table, [text.tolist() for text in few.texts]))
    features = features_of(table, int(table.numbers.max()), ())
    sample = Sample(read, features, as_columns(few.targets, 2), np.ones(60, np.float32))
    judge = judge_of(sample, few.targets, table, Examples([], few.targets[:0]), scale, 0)
    counts = [int(part.sample.columns.sum()) for part in judge.parts]
    assert len(counts) == 5
    assert max(counts) - min(counts) <= 1


def test_several_labels_of_a_text_have_a_column_each() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (300, 2)).astype(np.uint8)
    texts = [np.append(generator.integers(20, 40, 6), [1 + a, 3 + b]) for a, b in targets]

    def of_decisions(logits: NDArray[np.float64], targets: NDArray[Any]) -> tuple[float, float]:
        flat = np.stack([np.zeros(logits.size), logits.ravel()], axis=1)
        return scale(flat, targets.ravel().astype(np.int64))

    path = fit_direct_path(Examples(texts, targets), Examples(texts[:50], targets[:50]), ("a", "b"), 2, of_decisions)
    assert path.weights.shape[1] == 2
    assert np.mean((path.logits(texts) > 0) == targets) > 0.99


def test_the_fit_is_the_same_again_and_starts_from_another_path_where_that_helps() -> None:
    known = fit_direct_path(labelled(2000, 4, 1), labelled(250, 4, 2), tuple("abcd"), 2, scale)
    few, held_out, test = labelled(12, 4, 4), labelled(250, 4, 5), labelled(400, 4, 6)
    alone = fit_direct_path(few, held_out, tuple("abcd"), 2, scale)
    again = fit_direct_path(few, held_out, tuple("abcd"), 2, scale)
    np.testing.assert_array_equal(alone.weights, again.weights)
    started = fit_direct_path(few, held_out, tuple("abcd"), 2, scale, pretrained=known)
    right = [np.mean(path.logits(test.texts).argmax(axis=1) == test.targets) for path in (alone, started)]
    assert right[1] > right[0]
    assert right[1] > 0.9
