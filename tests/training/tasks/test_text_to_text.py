"""Text to text as a user has it: pairs, training, resuming, and the model that comes of it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Result, call, error_of, told
from killed_run import trained_arrays

import textrnn
from textrnn.data.pairs.dataset import PADDED_TO, is_held_out, padded_length
from textrnn.data.pairs.reading import Pair, PairOptions, read_pairs
from textrnn.runtime.translator import Translator
from textrnn.tokenizers.base import UNKNOWN_ID
from textrnn.tokenizers.char import CharTokenizer
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tasks.text_to_text.tokenizers import suitable_kind
from textrnn.training.tensorflow_setup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden"
OPTIONS = PairOptions(label="target")
SMALL = ["model.hidden_dim=24", "model.embedding_dim=12", "model.layers=1", "train.evaluations=2"]
SMALL += ["tokenizer.target_kind=word"]  # all texts are padded to one length, so that one program is compiled


def in_words(number: int) -> str:
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.in_words(number))


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without compilation, which takes longer than a short training."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of numbers below 100 and their words."""
    path = tmp_path_factory.mktemp("pairs") / "numbers.tsv"
    words = [f"{number}\t{in_words(number)}\n" for number in range(100)]
    path.write_text("".join(words), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(numbers: Path) -> tuple[Path, Result]:
    """A run that has learned to write numbers in words."""
    run = numbers.parent / "run"
    settings = ["model.hidden_dim=48", "model.embedding_dim=24", "model.layers=1", "model.dropout=0"]
    settings += ["train.batch_size=10", "train.epochs=60", "train.learning_rate=0.005", "train.evaluations=2"]
    settings += ["data.validation=" + json.dumps([str(numbers)]), "tokenizer.target_kind=word"]
    given = [part for setting in settings for part in ("--set", setting)]
    result = call("train", numbers, "--task", "text_to_text", *given, "--out", run)
    assert result.code == 0, result
    return run, result


def test_a_toy_task_is_learned_and_used(trained: tuple[Path, Result]) -> None:
    run, result = trained
    assert "every line is a pair" in result.err
    assert "sources are read by char, targets by word" in result.err
    assert call("predict", run, "42", "7").out == "forty two\nseven\n"
    found = json.loads(call("predict", run, "42", "--json", "--beams", "2").out)
    assert (found["source"], found["text"], found["is_whole"]) == ("42", "forty two", True)
    assert found["candidates"][0]["text"] == "forty two"
    assert len(found["candidates"]) == 2
    figures = json.loads(call("evaluate", run, "--json").out)
    assert figures["pairs"] == 100
    assert figures["exact_match"] > 0.95
    assert figures["error_rate"] == pytest.approx(1 - figures["exact_match"])
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["exact_match"] == pytest.approx(figures["exact_match"])
    assert len(report["errors"]) == round(100 * report["error_rate"])
    assert textrnn.load(run).evaluate(([" 42 "], ["forty two"]))["exact_match"] == 1.0


def test_an_alignment_names_the_digit_of_each_word(trained: tuple[Path, Result], tmp_path: Path) -> None:
    run, _ = trained
    picture = tmp_path / "42.png"
    shown = call("predict", run, "42", "--why", "--png", picture).out.splitlines()
    assert [line.split()[0] for line in shown] == ["forty", "two"]
    assert picture.read_bytes()[:4] == b"\x89PNG"
    alignment = textrnn.load(run, Translator).align("42")
    assert alignment.source == ("4", "2")
    assert np.array(alignment.weights).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_table_of_sources_becomes_a_table_of_outputs(trained: tuple[Path, Result], tmp_path: Path) -> None:
    run, _ = trained
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text("id,text\na,42\nb,\nc,7\n", encoding="utf-8")
    result = call("predict", run, "--input", table, "--output", out)
    rows = [line.split(",")[:3] for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows == [["id", "text", "output"], ["a", "42", "forty two"], ["b", "", ""], ["c", "7", "seven"]]
    assert "1 empty texts" in result.err


def test_a_source_longer_than_any_in_training_gets_a_bounded_output_and_a_note(trained: tuple[Path, Result]) -> None:
    run, _ = trained
    result = call("predict", run, "7" * 500)
    assert "1 texts are longer than any in training" in result.err
    assert len(result.out.split()) <= 3 * 250 + 1  # two digits have two words at most


def test_outputs_are_the_same_alone_and_among_others() -> None:
    model = textrnn.load(GOLDEN / "text-to-text-float32", Translator)
    texts = [str(number) for number in range(0, 100, 7)] + ["123456789"]
    for text, output in zip(texts, model.transform(texts), strict=True):
        (alone,) = model.transform([text])
        assert alone.text == output.text
        assert alone.score == pytest.approx(output.score, abs=1e-4)


def test_beams_of_other_numbers_and_penalties_are_taken() -> None:
    model = textrnn.load(GOLDEN / "text-to-text-float32", Translator)
    (greedy,), (wide,) = model.transform(["42"], beams=1), model.transform(["42"], beams=6, length_penalty=0.0)
    assert len(greedy.candidates) == 1
    assert [each.score for each in wide.candidates] == sorted((each.log_prob for each in wide.candidates), reverse=True)
    assert wide.candidates[0].log_prob >= greedy.log_prob - 1e-6


def test_an_unknown_token_is_copied_from_the_source_by_the_attention(tmp_path: Path) -> None:
    source = tmp_path / "copy.tsv"
    draw = np.random.default_rng(0)
    names = [f"n{number}" for number in range(300)]  # each occurs once, so that none is known
    lines = [f"call {name} now\tring {name} at once" for name in names] + ["stop\tend"] * 20
    source.write_text("\n".join(draw.permutation(lines)) + "\n", encoding="utf-8")
    kinds = {"source_kind": "word", "target_kind": "word"}
    model = textrnn.train(
        source, task="text_to_text", hidden_dim=24, embedding_dim=12, layers=1, epochs=12, dropout=0,
        learning_rate=0.01, batch_size=16, warmup_steps=10, tokenizer={"min_count": 5, **kinds}, evaluations=1,
    )  # fmt: skip
    assert [str(each) for each in model.transform(["call Zoe now", "stop"])] == ["ring Zoe at once", "end"]
    assert model.align("call Zoe now").output[1] == "Zoe"


@pytest.mark.usefixtures("eagerly")
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(numbers: Path, tmp_path: Path) -> None:
    settings = ["task=text_to_text", f'data.source=["{numbers}"]', *SMALL, "train.epochs=3", "model.dropout=0.3"]
    config = load_config(None, [*settings, "train.checkpoint_seconds=0", "model.input_dropout=0.1"])
    whole = trained_arrays(create_run(tmp_path / "whole", config, quiet=True))
    assert trained_arrays(create_run(tmp_path / "killed", config, quiet=True), stop_after=11) == {}
    resumed = trained_arrays(open_run(tmp_path / "killed", quiet=True))
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


@pytest.mark.usefixtures("eagerly")
def test_pairs_in_memory_are_trained_on(tmp_path: Path) -> None:
    pairs = [str(number) for number in range(40)], [in_words(number) for number in range(40)]
    model = textrnn.train(
        pairs, task="text_to_text", target_kind="word", hidden_dim=8, layers=1, epochs=1, out=tmp_path / "run"
    )
    assert isinstance(model, Translator)
    assert model.evaluate(pairs)["pairs"] == 40


@pytest.mark.usefixtures("eagerly")
def test_one_tokenizer_may_serve_both_sides(numbers: Path, tmp_path: Path) -> None:
    settings = (*SMALL[:-1], "train.epochs=1", "tokenizer.shared=true", "tokenizer.source_kind=word")
    given = [part for setting in settings for part in ("--set", setting)]
    run = tmp_path / "run"
    assert call("train", numbers, "--task", "text_to_text", *given, "--out", run, "--quiet").code == 0
    model = textrnn.load(run, Translator)
    assert model.tokenizer is model.target_tokenizer
    assert not list((run / "bundle").glob("target_*"))


@pytest.mark.parametrize(
    ("texts", "is_source", "kind"),
    [
        (["aardvark", "banana", "cherry"] * 50, True, "char"),
        (["a b ɑ̃ d", "k æ t", "d ɔ g"] * 50, False, "word"),
        (["twenty one", "one hundred", "two hundred one"] * 50, False, "word"),
        (["twenty one", "one hundred", "two hundred one"] * 50, True, "char"),
        (["2020-03-01", "1999-12-31"] * 50, False, "char"),
        (["3 march 2020", "31 december 1999"] * 50, False, "char"),
        (["二零二零年三月一日", "一九九九年"] * 50, False, "char"),
        ([f"the {n} quick brown foxes jump over {n * 7} lazy dogs" for n in range(90)], False, "sentencepiece"),
    ],
)  # fmt: skip
def test_the_kind_of_tokenizer_suits_the_texts(texts: list[str], is_source: bool, kind: str) -> None:
    assert suitable_kind(texts, is_source) == kind


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_pairs_are_read_from_tables_and_lines(tmp_path: Path) -> None:
    wanted = [Pair("one", "1"), Pair("two, or 2", "2")]
    sources = [
        write(tmp_path / "a.txt", "one\t1\n\ntwo, or 2\t2\n"),
        write(tmp_path / "a.tsv", "one\t1\ntwo, or 2\t2\n"),
        write(tmp_path / "a.csv", 'target,text\n1,one\n2,"two, or 2"\n'),
        write(tmp_path / "a.jsonl", '{"text": "one", "target": "1"}\n{"text": "two, or 2", "target": 2}\n'),
    ]
    for source in sources:
        assert list(read_pairs([source], OPTIONS, Counter())) == wanted
    named = write(tmp_path / "b.csv", "word,sound,more\none,1,x\n")
    options = PairOptions(text="word", label="sound")
    assert list(read_pairs([named], options, Counter())) == wanted[:1]
    numbered = write(tmp_path / "c.tsv", "x\tone\t1\n")
    assert list(read_pairs([numbered], PairOptions(text="2", label="3"), Counter())) == wanted[:1]


def test_pairs_with_an_empty_side_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tsv", "one\t1\n \t2\nthree\t\nfour\t4\n")
    skipped = Counter[str]()
    assert list(read_pairs([source], OPTIONS, skipped)) == [Pair("one", "1"), Pair("four", "4")]
    assert skipped == {"pairs with an empty source": 1, "pairs with an empty target": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "one\t1\ntwo\n", r"a line must be a source, a tab and its target, .*a.txt line 2 has 0 tabs: 'two'"),
        ("a.txt", "one\t1\t2\n", "line 1 has 2 tabs"),
        ("a.tsv", "one\t1\ntwo\n", "every record must have 2 fields as the first line has, .* line 2 has 1"),
        ("a.tsv", "one\t\n\t2\n", "a source must hold pairs of texts, found none in"),
        ("a.csv", "word,sound,kind\na,b,c\n", "the text column must be one of 'word, sound, kind' .* --text NAME"),
        ("a.csv", "text,sound\na,b\n", "the target column must be one of 'text, sound' .* --target NAME"),
    ],
)
def test_bad_pairs_are_told_in_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    source = write(tmp_path / name, text)
    line = told(call("train", source, "--task", "text_to_text", "--out", tmp_path / "run", "--quiet"))
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_a_call_is_told_in_one_line(tmp_path: Path) -> None:
    model = GOLDEN / "text-to-text-float32"
    assert "--beams is for text to text" in told(call("predict", GOLDEN / "classifier-float32", "a", "--beams", "2"))
    assert "--label is for classifiers" in told(call("predict", model, "4", "--why", "--label", "a"))
    assert "beams must be" in told(call("predict", model, "4", "--beams", "0"))
    assert "model.init_from" in told(call("train", "--from", model, "--out", tmp_path / "run"))
    assert "text_to_text needs pairs" in told(call("train", "--task", "text_to_text", "--out", tmp_path / "run"))
    loaded = textrnn.load(model, Translator)
    assert "texts must be several strings" in error_of(lambda: loaded.transform("42"))
    assert "a source must have text, was: ' '" in error_of(lambda: loaded.transform([" "]))


def test_all_pairs_of_a_source_are_on_one_side_of_the_split() -> None:
    pairs = [Pair(f"s{number % 20}", str(number)) for number in range(100)]
    held_out = is_held_out(pairs, 0.2)
    assert held_out.sum() == 20
    assert len({pair.source for pair, is_out in zip(pairs, held_out, strict=True) if is_out}) == 4


def test_unknown_characters_are_one_unknown_token_each() -> None:
    ids, pieces = CharTokenizer("ab").encode_whole("aéb漢")
    assert [id == UNKNOWN_ID for id in ids.tolist()] == [False, True, False, True]
    assert pieces == ["a", "é", "b", "漢"]


def test_padded_lengths_are_few_and_never_shorter() -> None:
    lengths = [padded_length(length) for length in range(1, 300)]
    assert all(padded >= length for length, padded in enumerate(lengths, 1))
    assert all(padded < 1.5 * length + PADDED_TO for length, padded in enumerate(lengths, 1))
    assert len(set(lengths)) < 20
