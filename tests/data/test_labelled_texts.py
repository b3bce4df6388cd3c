"""Labelled text to texts on disk, and those to batches: nothing is lost, mixed up or seen too early."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of
from full_disk import files_limited_to
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.classification import head_and_tail
from textrnn.data import labelled_texts as labelled
from textrnn.data.labelled import Batch
from textrnn.data.labelled_texts import LabelledCorpus, TextBatches, TextDataset, prepare_labelled, texts_of_records
from textrnn.data.labels import Labels, class_names, describe, stratified_split
from textrnn.data.records import SourceOptions
from textrnn.data.sources import read_labelled
from textrnn.tokenizers import PAD_ID, UNKNOWN_ID
from textrnn.tokenizers.char import CharTokenizer
from textrnn.training.loop.run import Run
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import prepare

OPTIONS = SourceOptions(label="label")
CLASSES = ("差", "好")
# Every text is another one, so that each can be told from all others wherever it goes.
REVIEWS = [
    (f"第{number}个：{'好' if number % 3 else '差'}" * (1 + number % 7), CLASSES[number % 3 > 0])
    for number in range(60)
]
TOKENIZER = CharTokenizer.train(text for text, _ in REVIEWS)


def write_reviews(path: Path, records: Sequence[tuple[str | None, object]] = REVIEWS) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def corpus_of(
    folder: Path,
    *sources: Path,
    held_out: float | None = None,
    names: Sequence[str] = (),
    classes: Sequence[str] | None = None,
) -> LabelledCorpus:
    paths = [str(path) for path in sources]
    return LabelledCorpus(paths, OPTIONS, Labels(names), folder, held_out, classes, quiet=True)


def prepared(
    folder: Path,
    *sources: Path,
    held_out: float | None = None,
    names: Sequence[str] = (),
    classes: Sequence[str] | None = CLASSES,
) -> list[TextDataset]:
    with corpus_of(folder, *sources, held_out=held_out, names=names, classes=classes) as corpus:
        return prepare_labelled(TOKENIZER, corpus)


def split_of(records: Sequence[tuple[str, str]] = REVIEWS, share: float = 0.1) -> NDArray[np.bool_]:
    """Which of the texts are held out."""
    return stratified_split([label for _, label in records], share, "texts")


def texts_of(dataset: TextDataset) -> list[tuple[str, str]]:
    """Texts and labels, as a dataset of `TOKENIZER` keeps them."""
    texts = [TOKENIZER.decode(dataset.text(index, 10**9)) for index in range(len(dataset))]
    return list(zip(texts, [dataset.labels[target] for target in dataset.targets], strict=True))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# Labels


def test_classes_have_their_better_names_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    records = [("bad", 0), ("good", 1), ("", 1), ("so so", None), ("fine", 1), ("odd", "0=1")]
    path = write_reviews(tmp_path / "a.jsonl", records)
    with corpus_of(tmp_path / "data", path, names=["0=negative", "1=very = good"]) as corpus:
        assert corpus.classes == ("0=1", "negative", "very = good")
        assert corpus.skipped == {"empty texts": 1, "texts without a label": 1}
        assert describe(corpus.skipped) == "1 empty texts, 1 texts without a label"
    assert files(tmp_path / "data") == []
    assert describe({}) == ""


@pytest.mark.parametrize("name", ["negative", "=negative", "0=", "=", ""])
def test_a_malformed_name_of_a_label_is_quoted(name: str) -> None:
    assert f"data.label_names must be LABEL=NAME, was: {name!r}" in error_of(lambda: Labels(["1=positive", name]))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["pos", "neg", "pos"], ("neg", "pos")),
        (["10", "9", "2", "0"], ("0", "2", "9", "10")),
        (["none", "10", "-1", "9", "1.5"], ("9", "10", "-1", "1.5", "none")),
        (["好", "差", "é", "Z", "a"], ("Z", "a", "é", "好", "差")),
    ],
)
def test_classes_are_in_the_order_of_numbers_or_of_the_alphabet(labels: list[str], classes: tuple[str, ...]) -> None:
    assert class_names(labels, "texts") == class_names(labels[::-1] * 3, "texts") == classes


def test_one_class_is_none() -> None:
    message = error_of(lambda: class_names(["good"] * 40, "texts"))
    assert "two labels or more, all 40 texts have: 'good'" in message


# What is held out


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1),
    share=st.floats(0.0001, 0.5),
    shuffled=st.randoms(use_true_random=False),
)
def test_of_every_class_the_same_share_is_held_out(counts: list[int], share: float, shuffled: Any) -> None:
    labels = [f"class {number}" for number, count in enumerate(counts) for _ in range(count)]
    shuffled.shuffle(labels)
    held_out = stratified_split(labels, share, "texts")
    assert held_out.shape == (len(labels),)
    assert np.array_equal(held_out, stratified_split(list(labels), share, "texts"))
    for number, count in enumerate(counts):
        taken = sum(out for out, label in zip(held_out, labels, strict=True) if label == f"class {number}")
        if count == 1:
            assert taken == 0, "the only text of a class is needed for training"
        else:
            assert 1 <= taken < count
            assert abs(taken - share * count) <= 1


def test_what_is_held_out_stands_all_over_the_source() -> None:
    places = np.flatnonzero(stratified_split(["a"] * 500 + ["b"] * 500, 0.1, "texts"))
    assert len(places) == 100
    for begin in range(0, 1000, 250):
        assert np.any((places >= begin) & (places < begin + 250))
    assert len(set(np.diff(places))) > 5, "every tenth is no draw"


def test_another_share_holds_out_more_of_the_same() -> None:
    labels = [label for _, label in REVIEWS]
    small, large = (stratified_split(labels, share, "texts") for share in (0.1, 0.3))
    assert small.sum() < large.sum()
    assert np.all(large[small])


def test_a_label_as_long_as_a_text_costs_no_more_than_itself() -> None:
    # A table of all labels, each as wide as the longest, would take hundreds of gigabytes.
    held_out = stratified_split(["x" * 2_000_000, *["a", "b"] * 50_000], 0.1, "texts")
    assert held_out.sum() == 10_000
    assert not held_out[0]


def test_labels_that_differ_at_their_end_only_are_two() -> None:
    held_out = stratified_split(["a", "a\0"] * 10, 0.1, "texts")
    assert (held_out[::2].sum(), held_out[1::2].sum()) == (1, 1)


def test_where_every_text_has_its_own_label_none_can_be_held_out() -> None:
    message = error_of(lambda: stratified_split([f"label {number}" for number in range(5000)], 0.1, "texts"))
    assert "each of the 5000 labels has one" in message
    assert "another label column" in message


# Files


def test_every_text_is_kept_exactly_and_in_its_place(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.jsonl")
    (dataset,) = prepared(tmp_path / "data", path)
    assert texts_of(dataset) == REVIEWS
    assert dataset.records.tolist() == list(range(len(REVIEWS)))
    assert dataset.lengths.tolist() == [len(TOKENIZER.encode(text)) for text, _ in REVIEWS]
    assert dataset.labels == CLASSES
    assert len(files(tmp_path / "data")) == 3


def test_held_out_texts_and_the_others_are_all_texts_and_none_twice(tmp_path: Path) -> None:
    path, split = write_reviews(tmp_path / "a.jsonl"), split_of()
    train, held_out = prepared(tmp_path / "data", path, held_out=0.1)
    assert texts_of(train) == [record for record, out in zip(REVIEWS, split, strict=True) if not out]
    assert texts_of(held_out) == [record for record, out in zip(REVIEWS, split, strict=True) if out]
    assert sorted([*train.records, *held_out.records]) == list(range(len(REVIEWS)))
    assert set(train.targets) == set(held_out.targets) == {0, 1}


def test_a_record_is_found_again_by_its_number(tmp_path: Path) -> None:
    records = [("", "好"), *REVIEWS[:5], ("no label", None), *REVIEWS[5:]]
    path = write_reviews(tmp_path / "a.jsonl", records)
    _, held_out = prepared(tmp_path / "data", path, held_out=0.1)
    numbers = held_out.records.tolist()[::-1]
    found = texts_of_records([str(path)], OPTIONS, numbers)
    assert [found[number] for number in numbers] == [text for text, _ in texts_of(held_out)][::-1]


def test_texts_of_another_class_are_left_out_and_counted(tmp_path: Path) -> None:
    records = [*REVIEWS[:2], ("neither", "neutral"), ("", "好"), *REVIEWS[2:4], ("nor", "neutral")]
    path = write_reviews(tmp_path / "a.jsonl", records)
    (dataset,) = prepared(tmp_path / "data", path)
    assert texts_of(dataset) == REVIEWS[:4]
    assert dataset.skipped == {"texts with a label never seen in training": 2, "empty texts": 1}
    # Records count what has text and label, whatever the label.
    assert dataset.records.tolist() == [0, 1, 3, 4]
    assert "2 texts with a label never seen in training" in dataset.summary


def test_labels_are_renamed_before_they_are_looked_up(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.jsonl", [("a", 1), ("b", 0), ("c", "好")])
    (dataset,) = prepared(tmp_path / "data", path, names=["0=差", "1=好"])
    assert [label for _, label in texts_of(dataset)] == ["好", "差", "好"]


def test_a_source_without_any_of_the_classes(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.jsonl", [("neither", "neutral"), ("nor", "unclear")])
    message = error_of(lambda: prepared(tmp_path / "data", path))
    assert "labels must be '差, 好'" in message
    assert str(path) in message
    assert "2 texts with a label never seen in training" in message
    assert files(tmp_path / "data") == []
    many = [f"class number {number}" for number in range(10_000)]
    assert "class number 3" in error_of(lambda: prepared(tmp_path / "data", path, classes=many))


@pytest.mark.parametrize(("characters", "dtype"), [(230, "uint8"), (300, "uint16"), (70_000, "uint32")])
def test_the_smallest_sufficient_type(tmp_path: Path, characters: int, dtype: str) -> None:
    alphabet = "".join(chr(0x10000 + number) for number in range(characters))
    path = write_reviews(tmp_path / "a.jsonl", [(alphabet[-3:], "好"), (alphabet[:2], "差")])
    tokenizer = CharTokenizer(alphabet)
    with corpus_of(tmp_path / "data", path, classes=CLASSES) as corpus:
        (dataset,) = prepare_labelled(tokenizer, corpus)
    assert dataset.values.dtype == dtype
    assert [tokenizer.decode(dataset.text(index, 9)) for index in (0, 1)] == [alphabet[-3:], alphabet[:2]]


def test_a_summary_tells_texts_tokens_and_classes(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.jsonl", [("第个", "差"), ("第", "好"), ("好", "好")])
    assert prepared(tmp_path / "data", path)[0].summary == "3 texts of 4 tokens (差 1, 好 2)"


def test_what_is_prepared_is_opened_without_reading_the_source_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = write_reviews(tmp_path / "a.jsonl"), tmp_path / "data"
    first = prepared(folder, path, held_out=0.1)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}

    def refuse(*_: object) -> Iterator[tuple[str, str]]:
        raise AssertionError("the source is read again")

    with monkeypatch.context() as patch:
        patch.setattr(labelled, "read_labelled", refuse)
        again = prepared(folder, path, held_out=0.1)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    for one, other in zip(first, again, strict=True):
        assert texts_of(one) == texts_of(other)
        assert (one.summary, one.skipped, one.records.tolist()) == (
            other.summary,
            other.skipped,
            other.records.tolist(),
        )


@pytest.mark.parametrize(
    "change",
    [
        {"held_out": 0.3},
        {"classes": CLASSES[::-1]},
        {"names": ["差=坏"], "classes": ("坏", "好")},
        {"held_out": None},
    ],
)
def test_what_is_prepared_otherwise_lies_beside_it(tmp_path: Path, change: dict[str, Any]) -> None:
    path, folder = write_reviews(tmp_path / "a.jsonl"), tmp_path / "data"
    prepared(folder, path, held_out=0.1)
    before = files(folder)
    datasets = prepared(folder, path, **{"held_out": 0.1, **change})
    assert set(before) < set(files(folder))
    records = [(text, "坏" if "names" in change and label == "差" else label) for text, label in REVIEWS]
    assert sorted(record for dataset in datasets for record in texts_of(dataset)) == sorted(records)


def test_another_source_of_the_same_name_is_read(tmp_path: Path) -> None:
    path, folder = write_reviews(tmp_path / "a.jsonl"), tmp_path / "data"
    prepared(folder, path)
    write_reviews(path, REVIEWS[::-1])
    assert texts_of(prepared(folder, path)[0]) == REVIEWS[::-1]


@pytest.mark.parametrize("suffix", [".json", ".bin", ".npz"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "other"])
@pytest.mark.parametrize("part", ["train", "held_out"])
def test_a_damaged_dataset_is_refused_by_name_and_prepared_anew(
    tmp_path: Path, part: str, damage: str, suffix: str
) -> None:
    path = write_reviews(tmp_path / "a.jsonl")
    datasets = prepared(tmp_path / "data", path, held_out=0.1)
    dataset = datasets[part == "held_out"]
    expected = texts_of(dataset)
    file = dataset.path.with_suffix(suffix)
    content = file.read_bytes()
    changed = {"missing": b"", "truncated": content[:-1], "empty": b"", "other": b"[" + content}[damage]
    del dataset, datasets  # nothing is mapped when the file changes
    file.unlink() if damage == "missing" else file.write_bytes(changed)
    if damage == "truncated" and suffix == ".json":
        file.write_bytes(content[:-10])
    record = file.with_suffix(".json")
    assert str(record) in error_of(lambda: TextDataset.open(record))
    again = prepared(tmp_path / "data", path, held_out=0.1)[part == "held_out"]
    assert again.path == record
    assert texts_of(again) == texts_of(TextDataset.open(record)) == expected


@pytest.mark.parametrize("version", [0, 1, None, "2"])
def test_another_format_version_is_prepared_anew(tmp_path: Path, version: object) -> None:
    path = write_reviews(tmp_path / "a.jsonl")
    record = prepared(tmp_path / "data", path)[0].path
    facts = json.loads(record.read_text(encoding="utf-8"))
    assert facts["format_version"] == 2
    record.write_text(json.dumps({**facts, "format_version": version}), encoding="utf-8")
    message = error_of(lambda: TextDataset.open(record))
    assert f"{record} must be as it was prepared" in message
    assert "delete it and prepare the source again" in message
    assert texts_of(prepared(tmp_path / "data", path)[0]) == REVIEWS


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    path, folder = write_reviews(tmp_path / "a.jsonl", REVIEWS * 20), tmp_path / "data"
    split = split_of(REVIEWS * 20)
    with files_limited_to(room):
        message = error_of(lambda: prepared(folder, path, held_out=0.1))
    assert "could not be written" in message
    assert str(folder) in message
    assert [name for name in files(folder) if name.startswith(".") or name.endswith(".json")] == []
    assert len(prepared(folder, path, held_out=0.1)[0]) == sum(~split)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.jsonl")
    assert f"{path / 'data'} could not be made" in error_of(lambda: prepared(path / "data", path))


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    good, bad = write_reviews(tmp_path / "a.jsonl"), tmp_path / "b.csv"
    bad.write_bytes(b"text,label\ngood,1\ncaf\xe9,1\n")
    assert str(bad) in error_of(lambda: prepared(tmp_path / "data", good, bad))
    assert files(tmp_path / "data") == []


# A run


def run_of(folder: Path, source: Path, **data: Any) -> Run:
    settings = {"task": "classification", "data": {"source": str(source), **data}, "tokenizer": {"min_count": 1}}
    return create_run(folder, from_dict(settings), quiet=True)


def words_of(run: Run, dataset: TextDataset) -> list[list[str]]:
    tokenizer = prepare(run).tokenizer
    return [[tokenizer.token_text(int(id)) for id in dataset.text(index, 99)] for index in range(len(dataset))]


def test_a_word_that_stands_in_held_out_texts_only_is_unknown(tmp_path: Path) -> None:
    records = [(f"shared word{number}", ("good", "bad")[number % 2]) for number in range(40)]
    source = write_reviews(tmp_path / "a.jsonl", records)
    run = run_of(tmp_path / "run", source)
    train, held_out = prepare(run).parts
    assert train.labels == held_out.labels == ("bad", "good")
    assert words_of(run, held_out) == [["shared", "<unk>"]] * len(held_out)
    assert words_of(run, train) == [records[record][0].split() for record in train.records]
    assert {len(train), len(held_out)} == {36, 4}


def test_two_runs_hold_out_the_same_texts_whatever_their_seed(tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.jsonl")
    one, other = run_of(tmp_path / "one", source), run_of(tmp_path / "other", source)
    other = replace(other, config=replace(other.config, seed=7))
    records = [prepare(run).parts[1].records.tolist() for run in (one, other)]
    assert records[0] == records[1]


def test_training_texts_are_those_not_held_out(tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.jsonl")
    kept = [text for (text, _), out in zip(REVIEWS, split_of(), strict=True) if not out]
    for share, expected in ((0.1, kept), (None, [text for text, _ in REVIEWS])):
        with corpus_of(tmp_path / "data", source, held_out=share) as corpus:
            assert list(corpus.training_texts()) == expected


def test_sources_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(*arguments: Any) -> Iterator[tuple[str, str]]:
        read.append(arguments)
        return read_labelled(*arguments)

    monkeypatch.setattr(labelled, "read_labelled", counted)
    run = run_of(tmp_path / "run", write_reviews(tmp_path / "a.jsonl"))
    assert sum(map(len, prepare(run).parts)) == len(REVIEWS)
    assert len(read) == 1
    prepare(run)
    assert len(read) == 1


def test_a_validation_source_is_held_out_whole(tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "train.jsonl", [("好 one", "a"), ("差 two", "b")])
    other = write_reviews(tmp_path / "other.jsonl", [("好 three", "b"), ("odd", "c"), ("four", "a"), ("", "a")])
    run = run_of(tmp_path / "run", source, validation=str(other))
    train, held_out = prepare(run).parts
    assert words_of(run, train) == [["好", "one"], ["差", "two"]]
    assert words_of(run, held_out) == [["好", "<unk>"], ["<unk>"]]
    assert held_out.labels == train.labels == ("a", "b")
    assert held_out.targets.tolist() == [1, 0]
    assert held_out.skipped == {"texts with a label never seen in training": 1, "empty texts": 1}


def test_a_name_for_a_label_that_does_not_occur_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n')
    with corpus_of(tmp_path / "data", path, names=["1=positive", "5=x"]) as corpus:
        message = error_of(lambda: corpus.classes)
    assert message.startswith("data.label_names must rename labels that occur, which are '0, 1', was: '5=x'; correct")


def test_a_validation_source_of_other_labels_is_refused(tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "train.jsonl", [("one", 0), ("two", 1)])
    other = write_reviews(tmp_path / "other.jsonl", [("three", "positive"), ("four", "negative")])
    run = run_of(tmp_path / "run", source, validation=str(other))
    message = error_of(lambda: prepare(run).parts)
    assert f"labels must be '0, 1', too few texts of {other} have one" in message
    assert "data.label_names" in message
    named = run_of(tmp_path / "named", source, validation=str(other), label_names=["positive=1", "negative=0"])
    assert prepare(named).parts[1].targets.tolist() == [1, 0]


def test_the_built_in_reviews_are_enough_to_know_most_words_of_those_held_out(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", from_dict({"task": "classification"}), quiet=True)
    train, held_out = prepare(run).parts
    assert train.labels == ("negative", "positive")
    assert len(held_out) * 8 < len(train) < len(held_out) * 10
    assert 0 < np.mean(held_out.values == UNKNOWN_ID) < 0.4
    assert not train.skipped


# Batches


def dataset_of(lengths: Sequence[int]) -> TextDataset:
    """A dataset of texts whose tokens count on from 4, no two texts having one in common."""
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(4, 4 + offsets[-1], dtype=np.uint32)
    numbers = np.arange(len(lengths))
    targets = np.asarray(numbers % 3, np.int32)
    return TextDataset(Path("texts.json"), ids, offsets, targets, numbers, ("a", "b", "c"), {}, "")


def batches_of(lengths: Sequence[int], batch_size: int, **changes: Any) -> TextBatches:
    options: dict[str, Any] = {"max_length": 10_000, "segment_length": 0, "seed": 0} | changes
    return TextBatches(dataset_of(lengths), batch_size, **options)


def epoch_of(batches: TextBatches, epoch: int = 0) -> list[Batch]:
    return [batches.batch(epoch * batches.steps_per_epoch + step) for step in range(batches.steps_per_epoch)]


def assert_holds_its_texts(batch: Batch, dataset: TextDataset, batch_size: int, max_length: int) -> None:
    """Each row is a text, or its head and tail, and then padding alone; rows beyond the texts are padding."""
    assert batch.inputs[0].dtype == batch.targets.dtype == np.int32
    assert batch.inputs[0].shape[0] == len(batch.targets) == batch_size
    for row, index in enumerate(batch.indices):
        text = dataset.values[dataset.offsets[index] : dataset.offsets[index + 1]]
        read = head_and_tail(text, max_length)
        assert batch.inputs[0][row, : len(read)].tolist() == read.tolist()
        assert np.all(batch.inputs[0][row, len(read) :] == PAD_ID)
        assert batch.targets[row] == dataset.targets[index]
    assert np.all(batch.inputs[0][len(batch.indices) :] == PAD_ID)


shapes = st.tuples(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 40)).filter(
    lambda shape: len(shape[0]) >= shape[1]
)
every_order = pytest.mark.parametrize("by_length", [True, False])


@given(shape=shapes, max_length=st.integers(2, 400), segment_length=st.sampled_from([0, 16, 40, 64]))
def test_all_reads_every_text_once_the_shortest_first(
    shape: tuple[list[int], int], max_length: int, segment_length: int
) -> None:
    lengths, batch_size = shape
    batches = batches_of(lengths, batch_size, max_length=max_length, segment_length=segment_length)
    read = list(batches.all())
    for batch in read:
        assert_holds_its_texts(batch, batches.dataset, batch_size, max_length)
    order = [index for batch in read for index in batch.indices]
    assert sorted(order) == list(range(len(lengths)))
    sizes = [min(lengths[index], max_length) for index in order]
    assert sizes == sorted(sizes)


@every_order
@given(shape=shapes, seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_reads_no_text_twice_and_leaves_out_less_than_a_batch(
    by_length: bool, shape: tuple[list[int], int], seed: int, epoch: int
) -> None:
    lengths, batch_size = shape
    batches = batches_of(lengths, batch_size, max_length=200, seed=seed, by_length=by_length)
    read = epoch_of(batches, epoch)
    for batch in read:
        assert len(batch.indices) == batch_size
        assert_holds_its_texts(batch, batches.dataset, batch_size, 200)
    order = [index for batch in read for index in batch.indices]
    assert len(set(order)) == len(order)
    assert 0 <= len(lengths) - len(order) < batch_size


@every_order
@given(seed=st.integers(0, 5), steps=st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_a_batch_depends_on_seed_and_step_alone(by_length: bool, seed: int, steps: list[int]) -> None:
    lengths = list(range(1, 50))
    batches = batches_of(lengths, 4, seed=seed, by_length=by_length)
    for step in steps:
        one, other = batches.batch(step), batches_of(lengths, 4, seed=seed, by_length=by_length).batch(step)
        for left, right in zip(one, other, strict=True):
            assert np.array_equal(left, right)


@every_order
def test_every_epoch_and_seed_has_an_order_of_its_own(by_length: bool) -> None:
    lengths = [1 + number % 30 for number in range(200)]
    orders = {
        tuple(np.concatenate([batch.indices for batch in epoch_of(batches, epoch)]))
        for batches in (batches_of(lengths, 8, seed=seed, by_length=by_length) for seed in (1, 2))
        for epoch in range(5)
    }
    assert len(orders) == 10


@every_order
def test_what_one_epoch_leaves_out_another_reads(by_length: bool) -> None:
    batches = batches_of([1 + number for number in range(11)], 4, by_length=by_length)
    seen = {index for epoch in range(20) for batch in epoch_of(batches, epoch) for index in batch.indices}
    assert seen == set(range(11))


def test_short_and_long_batches_take_turns() -> None:
    batches = batches_of([1 + number % 400 for number in range(4000)], 8)
    times = [batch.inputs[0].shape[1] for batch in epoch_of(batches)]
    half = len(times) // 2
    assert times != sorted(times)
    assert abs(np.mean(times[:half]) - np.mean(times[half:])) < 0.2 * np.mean(times)


def test_texts_of_about_the_same_length_read_together_need_less_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 2000, 1000).tolist()
    padded = [
        sum(batch.inputs[0].size for batch in epoch_of(batches_of(lengths, 8, by_length=by_length)))
        for by_length in (True, False)
    ]
    tokens = sum(lengths)
    assert tokens < padded[0] < 1.25 * tokens
    assert padded[1] > 1.5 * tokens


@pytest.mark.parametrize("segment_length", [0, 16, 50, 64])
def test_shapes_are_few_and_whole_segments(segment_length: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 3000, 2000).tolist()
    batches = batches_of(lengths, 8, max_length=2048, segment_length=segment_length)
    read = [*epoch_of(batches), *batches.all()]
    times = {batch.inputs[0].shape[1] for batch in read}
    assert len(times) <= 30
    assert max(times) < 2048 * 1.25
    if segment_length:
        assert all(time <= segment_length or time % segment_length == 0 for time in times)


def test_of_a_long_text_head_and_tail_stand_in_the_batch() -> None:
    batches = batches_of([9, 3], 2, max_length=4)
    (batch,) = batches.all()
    rows = dict(zip(batch.indices.tolist(), batch.inputs[0].tolist(), strict=True))
    assert rows[0] == [4, 5, 11, 12, *[PAD_ID] * 12]
    assert rows[1] == [13, 14, 15, *[PAD_ID] * 13]
    assert batches.lengths.tolist() == [4, 3]


def test_fewer_texts_than_a_batch() -> None:
    assert batches_of([5] * 4, 4).steps_per_epoch == 1
    message = error_of(lambda: batches_of([5] * 3, 4))
    assert "batch size 4 is larger than the training set (3 texts); lower train.batch_size" in message
