"""Text to tokens on disk, and tokens to batches."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of, files_of
from full_disk import files_limited_to
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from textrnn.data import sources, text_files
from textrnn.data.records import SourceOptions
from textrnn.data.tokens import chunks
from textrnn.data.tokens.chunks import Corpus
from textrnn.data.tokens.datasets import Batches, TokenDataset, evaluation_batches, prepare
from textrnn.data.tokens.shards import ShardedIds
from textrnn.files import sha256
from textrnn.tokenizers import Tokenizer, WordTokenizer, train_tokenizer
from textrnn.tokenizers.base import END_ID
from textrnn.tokenizers.char import CharTokenizer
from textrnn.training.tasks import table
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.runs import create_run, open_run

LINES = SourceOptions(documents="line")
TEXT = "第一回　甄士隱夢幻識通靈\r\nIt is a truth é universally acknowledged,\n" * 40


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def prepared(
    folder: Path, *names: Path, options: SourceOptions | None = None, apart: bool = False, held_out: float | None = 0.1
) -> tuple[CharTokenizer, TokenDataset, TokenDataset]:
    """A tokenizer and datasets made the way a training run makes them; without held-out text the last two are one."""
    options, given = options or SourceOptions(), [str(name) for name in names]
    tokenizer = CharTokenizer.train(Corpus(given, options, apart, held_out, quiet=True).training_texts())
    train, other = prepare(tokenizer, given, options, folder, separate_documents=apart, held_out=held_out, quiet=True)
    return tokenizer, train, other or train


def files(folder: Path) -> list[str]:
    """Names of all files below, without what the name of the folder of a dataset stands for."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# Splits


@pytest.mark.parametrize("held_out", [0.1, 0.05, 0.5])
def test_the_end_of_the_text_is_held_out_by_characters(tmp_path: Path, held_out: float) -> None:
    half = len(TEXT) // 2
    names = write(tmp_path / "1.txt", TEXT[:half]), write(tmp_path / "2.txt", TEXT[half:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK_BYTES", 256)
        tokenizer, train, other = prepared(tmp_path / "data", *names, held_out=held_out)
    cut = int(len(TEXT) * (1 - held_out))
    assert tokenizer.decode(train.ids) == TEXT[:cut]
    assert tokenizer.decode(other.ids) == TEXT[cut:]
    assert (train.characters, other.characters) == (cut, len(TEXT) - cut)
    assert (train.bytes, other.bytes) == (len(TEXT[:cut].encode()), len(TEXT[cut:].encode()))


def test_no_text_need_be_held_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", TEXT)
    tokenizer, train, _ = prepared(tmp_path / "data", tmp_path / "a.txt", held_out=None)
    assert tokenizer.decode(train.ids) == TEXT
    assert files(tmp_path / "data") == ["train-00000.bin", "train.json"]


def test_every_tenth_document_is_held_out_and_each_is_ended(tmp_path: Path) -> None:
    lines = [f"document {number}" for number in range(30)]
    write(tmp_path / "a.txt", "\n".join(lines))
    tokenizer, train, other = prepared(tmp_path / "data", tmp_path / "a.txt", options=LINES, apart=True)
    assert other.documents == 3
    assert train.documents == 27
    assert split_at_ends(tokenizer, other) == lines[9::10]
    assert split_at_ends(tokenizer, train) == [line for line in lines if line not in lines[9::10]]
    assert other.characters == sum(len(line) for line in lines[9::10])


def split_at_ends(tokenizer: CharTokenizer, dataset: TokenDataset) -> list[str]:
    *documents, rest = np.split(dataset.ids, np.flatnonzero(dataset.ids == END_ID) + 1)
    assert not rest.size
    return [tokenizer.decode(document) for document in documents]


def test_lines_that_are_joined_keep_their_newlines(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", TEXT)
    tokenizer, train, _ = prepared(tmp_path / "data", tmp_path / "a.txt", options=LINES, held_out=None)
    assert tokenizer.decode(train.ids) == TEXT


@pytest.mark.parametrize("apart", [False, True])
def test_held_out_text_never_reaches_the_tokenizer(tmp_path: Path, apart: bool) -> None:
    name = write(tmp_path / "a.txt", "見過\n" * 9 + "沒見過\n" + "見過\n" * 9)
    texts = "".join(Corpus([str(name)], LINES, apart, 0.1).training_texts())
    assert texts == ("見過" * 18 if apart else ("見過\n" * 9 + "沒見過\n" + "見過\n" * 7))
    assert "".join(Corpus([str(name)], LINES, apart, None).training_texts()).count("沒見過") == 1


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_out_of_range(tmp_path: Path, held_out: float) -> None:
    name = write(tmp_path / "a.txt", TEXT)
    assert str(held_out) in error_of(lambda: prepared(tmp_path / "data", name, held_out=held_out))


def test_one_document_cannot_be_divided(tmp_path: Path) -> None:
    name = write(tmp_path / "a.txt", TEXT)
    assert "held-out text" in error_of(lambda: prepared(tmp_path / "data", name, apart=True))
    assert files(tmp_path / "data") == []


# Files


@pytest.mark.parametrize(("characters", "dtype"), [(230, "uint8"), (300, "uint16"), (70_000, "uint32")])
def test_the_smallest_sufficient_type(tmp_path: Path, characters: int, dtype: str) -> None:
    alphabet = "".join(chr(0x10000 + number) for number in range(characters))
    write(tmp_path / "a.txt", alphabet[-3:])
    tokenizer = CharTokenizer(alphabet)
    dataset, _ = prepare(
        tokenizer, [str(tmp_path / "a.txt")], SourceOptions(), tmp_path, separate_documents=False, held_out=None
    )
    assert dataset.ids.dtype == dtype
    assert tokenizer.decode(dataset.ids) == alphabet[-3:]
    record = json.loads(dataset.path.read_text())
    digest = sha256(dataset.path.with_name("train-00000.bin"))
    assert record.pop("shards") == [
        {"name": "train-00000.bin", "tokens": 3, "characters": 3, "bytes": 12, "documents": 1, "sha256": digest}
        | {"sample": hashlib.sha256(dataset.ids.tobytes() * 8).hexdigest()}
    ]
    assert record == {
        "format_version": 2,
        "dtype": dtype,
        "tokens": 3,
        "characters": 3,
        "bytes": 12,
        "documents": 1,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "source_fingerprint": dataset.source_fingerprint,
        "separate_documents": False,
    }


def test_words_are_counted_where_models_are_measured(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "the cat sat\na bat sat\n")
    tokenizer = WordTokenizer(["the", "cat", "sat", "a"])

    def prepare_again(measured: bool) -> TokenDataset:
        return prepare(
            tokenizer, [str(tmp_path / "a.txt")], SourceOptions(documents="line"), tmp_path / "data",
            separate_documents=True, held_out=None, measured=measured,
        )[0]  # fmt: skip

    assert prepare_again(measured=False).size.words == 0
    counted = prepare_again(measured=True)
    assert counted.size.words == 6 + 2, "each end of a document is one"
    assert (counted.size.unknown, counted.size.spelling_nats > 0) == (1, True)
    assert counted.first(counted.tokens // 2).size.words == 4


def test_what_is_prepared_is_used_again_and_other_text_lies_beside_it(tmp_path: Path) -> None:
    name, folder = write(tmp_path / "a.txt", TEXT), tmp_path / "data"
    _, first, _ = prepared(folder, name)
    written = first.path.stat().st_mtime_ns
    _, again, _ = prepared(folder, name)
    assert again.path == first.path
    assert again.path.stat().st_mtime_ns == written
    assert prepared(folder, name, held_out=0.2)[1].path != first.path
    assert len(files(folder)) == 8
    tokenizer, other, _ = prepared(folder, write(name, TEXT[::-1]))
    assert len(files(folder)) == 12
    assert len(list(folder.iterdir())) == 3
    assert tokenizer.decode(other.ids) == TEXT[::-1][: len(other.ids)]
    assert TokenDataset.open(first.path).tokens == first.tokens


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "newer", "no json"])
def test_a_damaged_dataset_is_refused_by_name_and_what_is_damaged_is_prepared_anew(tmp_path: Path, damage: str) -> None:
    name = write(tmp_path / "a.txt", TEXT)
    tokenizer, dataset, other = prepared(tmp_path / "data", name)
    path, shard = dataset.path, dataset.path.with_name("train-00000.bin")
    written = other.path.with_name("held_out-00000.bin").stat().st_mtime_ns
    named = shard.name
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "changed":
        shard.write_bytes(b"\x07" + shard.read_bytes()[1:])
    elif damage == "missing":
        shard.unlink()
    elif damage == "newer":
        path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
        named = "version 3"
    else:
        path.write_text("[]")
        named = "train.json"
    message = error_of(lambda: TokenDataset.open(path))
    assert str(path) in message and named in message
    assert prepared(tmp_path / "data", name)[1].path == path
    assert TEXT.startswith(tokenizer.decode(np.asarray(TokenDataset.open(path).ids)))
    assert (other.path.with_name("held_out-00000.bin").stat().st_mtime_ns == written) == (damage == "newer")


def test_a_change_anywhere_is_found_when_all_is_read(tmp_path: Path) -> None:
    _, dataset, _ = prepared(tmp_path / "data", write(tmp_path / "a.txt", TEXT * 100))
    shard = dataset.path.with_name("train-00000.bin")
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1  # between the blocks that are looked at
    shard.write_bytes(data)
    assert TokenDataset.open(dataset.path).tokens == dataset.tokens
    assert "train-00000.bin has changed" in error_of(lambda: TokenDataset.open(dataset.path, whole=True))


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    name, folder = write(tmp_path / "a.txt", TEXT * 3), tmp_path / "data"
    with files_limited_to(room):
        message = error_of(lambda: prepared(folder, name))
    assert "could not be written" in message
    assert "GB more are needed" in message and "are left" in message and "kept" in message
    assert not list(folder.rglob(".*"))
    assert not list(folder.rglob("*.json"))
    tokenizer, train, _ = prepared(folder, name)
    assert (TEXT * 3).startswith(tokenizer.decode(train.ids))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    name = write(tmp_path / "a.txt", TEXT)
    assert "could not be made" in error_of(lambda: prepared(name / "data", name))


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    tokenizer, good, bad = CharTokenizer("a"), write(tmp_path / "a.txt", TEXT), tmp_path / "b.txt"
    bad.write_bytes(b"caf\xe9")
    given = [str(good), str(bad)]
    message = error_of(
        lambda: prepare(tokenizer, given, SourceOptions(), tmp_path / "data", separate_documents=True, held_out=None)
    )
    assert str(bad) in message
    assert files(tmp_path / "data") == []


# Several processes

PREPARE = """
import os, signal, sys
from textrnn.tokenizers import load_tokenizer
from textrnn.data import sources, text_files
from textrnn.data.tokens import chunks
from textrnn.data.tokens.datasets import Path, SourceOptions, prepare
from textrnn.data.tokens.processes import Processes
text_files.BLOCK_BYTES, chunks.CHUNK_BYTES = 256, 1024
folder = Path(sys.argv[1])
map_tasks = Processes.map
def map_until_killed(self, tasks):
    for result in map_tasks(self, tasks):
        if len(list(folder.glob("data/*/[0-9]*.json"))) >= 5:
            os.killpg(0, signal.SIGKILL)
        yield result
Processes.map = map_until_killed
prepare(load_tokenizer(folder, "char"), [str(folder / "a.txt")], SourceOptions(), folder / "data",
        separate_documents=False, held_out=0.1, processes=2, quiet=True)
"""


@pytest.fixture
def many_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of `PREPARE`."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 256)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1024)


def tokenizers() -> list[Tokenizer]:
    text = [TEXT, "it was said that 春眠不觉晓，处处闻啼鸟。\n" * 20]
    return [
        CharTokenizer.train(text),
        WordTokenizer.train(text, split="punctuation"),
        train_tokenizer("sentencepiece", text, vocabulary_size=308),
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_ids_are_the_same_for_every_number_of_processes(tmp_path: Path, many_stretches: None, apart: bool) -> None:
    names = write(tmp_path / "1.txt", TEXT + "no newline at the end, 夜来风雨声"), write(tmp_path / "2.txt", TEXT)
    given, options, cut = (
        [str(name) for name in names],
        LINES,
        int(len(TEXT * 2 + "no newline at the end, 夜来风雨声\n") * 0.7),
    )
    for number, tokenizer in enumerate(tokenizers()[:2] if apart else tokenizers()):
        # Plainly: piece by piece in a loop, the last tenths of the text or every third document or so held out.
        expected: tuple[list[int], list[int]] = [], []
        documents, place = 0, 0
        for text, ends_document in sources.read_text(given, options, apart):
            if apart:
                held_out = int((documents + 1) * 0.3) > int(documents * 0.3)
                expected[held_out].extend([*tokenizer.encode(text), *[END_ID] * ends_document])
                documents += ends_document
            else:
                left = max(0, cut - place)
                expected[0].extend(tokenizer.encode(text[:left]))
                expected[1].extend(tokenizer.encode(text[left:]))
                place += len(text)
        for processes in [1, 2] if number or apart else [1, 2, 3]:
            folder = tmp_path / f"{number}-{processes}"
            datasets = prepare(
                tokenizer,
                given,
                options,
                folder,
                separate_documents=apart,
                held_out=0.3,
                processes=processes,
                quiet=True,
            )
            for dataset, ids in zip(datasets, expected, strict=True):
                assert dataset is not None
                assert np.asarray(dataset.ids).tolist() == ids
                assert dataset.tokens == len(ids)
                assert isinstance(dataset.ids, ShardedIds)
        assert files_of(tmp_path / f"{number}-1") == files_of(tmp_path / f"{number}-2")


@pytest.mark.skipif(sys.platform == "win32", reason="has no groups of processes")
def test_a_killed_preparation_goes_on_from_what_is_finished(tmp_path: Path, many_stretches: None) -> None:
    text, tokenizer = TEXT * 30, CharTokenizer.train([TEXT])
    write(tmp_path / "a.txt", text)
    tokenizer.save(tmp_path)
    killed = subprocess.run([sys.executable, "-c", PREPARE, str(tmp_path)], start_new_session=True)
    assert killed.returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("data/*/[0-9]*.json")}
    shards = [path.with_name(f"train-{path.stem}.bin") for path in finished]
    written = {path: path.stat().st_mtime_ns for path in shards}
    assert 5 <= len(shards) < len(text.encode()) / 1024 - 10, "killed in its midst"
    train, other = prepare(
        tokenizer, [str(tmp_path / "a.txt")], SourceOptions(), tmp_path / "data",
        separate_documents=False, held_out=0.1, processes=1, quiet=True,
    )  # fmt: skip
    assert other is not None
    assert tokenizer.decode(np.concatenate([np.asarray(train.ids), np.asarray(other.ids)])) == text
    assert {path: path.stat().st_mtime_ns for path in shards} == written
    assert not list(train.path.parent.glob("[0-9]*.json"))


def test_a_disk_that_fills_keeps_the_shards_before(tmp_path: Path, many_stretches: None) -> None:
    name, folder = write(tmp_path / "a.txt", TEXT * 10), tmp_path / "data"
    tokenizer = CharTokenizer.train([TEXT])

    def make() -> tuple[TokenDataset, TokenDataset | None]:
        options: dict[str, Any] = {"separate_documents": False, "held_out": None, "processes": 2, "quiet": True}
        return prepare(tokenizer, [str(name)], SourceOptions(), folder, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "OF_EACH_SIZE", 4)  # then twice as long: more than the room there is
        with files_limited_to(1150):
            message = error_of(make)
        assert "could not be written" in message and "GB more are needed" in message and "kept" in message
        written = {path: path.stat().st_mtime_ns for path in folder.rglob("train-*.bin")}
        assert sorted(path.name for path in written) == [f"train-0000{number}.bin" for number in range(4)]
        assert not list(folder.rglob(".*")), "nor does the other process leave what it was writing"
        dataset, _ = make()
    assert tokenizer.decode(np.asarray(dataset.ids)) == TEXT * 10
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_new_run_keeps_what_is_finished_but_not_what_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(chunks, "OF_EACH_SIZE", 3)
    name = write(tmp_path / "a.txt", "abc\n" * 6000)
    config = from_dict({"data": {"source": [str(name)], "processes": 1}})
    run = create_run(tmp_path / "run", config, quiet=True)
    with files_limited_to(5000):
        assert "--resume" in error_of(lambda: table.prepare(run))
    run.remove_unless_trained()
    written = {path: path.stat().st_mtime_ns for path in run.folder.rglob("train-*.bin")}
    assert len(written) == 3
    train, _ = table.prepare(open_run(run.folder, quiet=True)).parts
    assert isinstance(train, TokenDataset) and train.tokens == 6000 * 4 * 9 // 10
    assert {path: path.stat().st_mtime_ns for path in written} == written
    name.write_bytes(b"abc\n" * 6000 + b"\xff")
    other = create_run(tmp_path / "other", config, quiet=True)
    assert "UTF-8" in error_of(lambda: table.prepare(other))
    other.remove_unless_trained()
    assert not other.folder.exists()


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "large.txt", CharTokenizer.train([TEXT])
    megabyte = TEXT.encode() * (1_000_000 // len(TEXT.encode()) + 1)
    with path.open("wb") as file:
        for _ in range(60):
            file.write(megabyte)
    tracemalloc.start()
    try:
        train, other = prepare(
            tokenizer, [str(path)], SourceOptions(), tmp_path / "data", separate_documents=False, held_out=0.1
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert other is not None
    assert train.bytes + other.bytes == path.stat().st_size > 60e6
    assert peak < 50e6, "the text alone would take 80 MB, its ids 160 MB"


# Batches

shapes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 60))


@given(shape=shapes, seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_reads_each_place_at_most_once_in_parallel_streams(
    shape: tuple[int, int, int], seed: int, epoch: int
) -> None:
    batch_size, length, more = shape
    ids = np.arange(batch_size * (length + 1) + more, dtype=np.uint16)
    batches = Batches(ids, batch_size, length, seed)
    first = epoch * batches.steps_per_epoch
    epoch_inputs = []
    for step in range(first, first + batches.steps_per_epoch):
        inputs, targets, starts_epoch = batches.batch(step)
        assert inputs.shape == targets.shape == (batch_size, length)
        assert inputs.dtype == targets.dtype == np.int32
        assert starts_epoch == (step == first)
        assert np.array_equal(targets, (inputs + 1) % len(ids))
        epoch_inputs.append(inputs)
    streams = np.concatenate(epoch_inputs, axis=1)
    assert np.array_equal(streams[:, 1:], (streams[:, :-1] + 1) % len(ids)), "a stream broke between two batches"
    assert len(np.unique(streams)) == streams.size
    assert len(ids) - streams.size < batch_size * length


@given(seed=st.integers(0, 5), steps=st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_a_batch_depends_on_seed_and_step_alone(seed: int, steps: list[int]) -> None:
    ids = np.arange(500, dtype=np.uint16)
    batches = Batches(ids, 4, 8, seed)
    for step in steps:
        inputs, targets, starts_epoch = batches.batch(step)
        other_inputs, other_targets, other_starts_epoch = Batches(ids, 4, 8, seed).batch(step)
        assert np.array_equal(inputs, other_inputs)
        assert np.array_equal(targets, other_targets)
        assert starts_epoch == other_starts_epoch


def test_epochs_and_seeds_start_at_different_places() -> None:
    ids = np.arange(10_000, dtype=np.uint16)
    one, two = Batches(ids, 4, 8, seed=1), Batches(ids, 4, 8, seed=2)
    starts = {int(batches.batch(epoch * one.steps_per_epoch)[0][0, 0]) for batches in (one, two) for epoch in range(5)}
    assert len(starts) == 10


def test_a_corpus_shorter_than_one_batch() -> None:
    Batches(np.zeros(36, np.uint8), 4, 8, seed=0)
    message = error_of(lambda: Batches(np.zeros(35, np.uint8), 4, 8, seed=0))
    assert "36" in message
    assert "35" in message
    assert "lower batch_size or sequence_length" in message


# Evaluation


@given(tokens=st.integers(2, 80), batch_size=st.integers(1, 6), length=st.integers(1, 9))
def test_every_token_but_the_first_is_predicted_once_from_the_one_before(
    tokens: int, batch_size: int, length: int
) -> None:
    ids = np.arange(tokens, dtype=np.uint8)
    batches = list(evaluation_batches(ids, batch_size, length))
    for inputs, targets, weights in batches:
        assert inputs.shape == targets.shape == weights.shape == (batch_size, length)
        assert inputs.dtype == targets.dtype == np.int32
        assert weights.dtype == np.float32
        assert inputs.max() < tokens
    inputs, targets, weights = (np.concatenate(part, axis=1) for part in zip(*batches, strict=True))
    predicted = targets[weights == 1]
    assert predicted.tolist() == list(range(1, tokens))
    assert np.array_equal(inputs[weights == 1], predicted - 1)
    assert set(np.unique(weights)) <= {0, 1}
    # Filling comes only after a stream's own tokens, so it cannot spoil the state they are read with.
    assert np.all(np.diff(weights, axis=1) <= 0)


@pytest.mark.parametrize("ids", [np.empty(0, np.uint8), np.zeros(1, np.uint8)])
def test_too_little_to_evaluate(ids: NDArray[np.uint8]) -> None:
    assert "at least 2 tokens" in error_of(lambda: next(evaluation_batches(ids, 2, 3)))
