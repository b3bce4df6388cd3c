"""The scripts of benchmarks/ at toy sizes: every candidate is in the table, the figures are in the file."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import call
from conftest import write_opinions, xla
from spoken import write_wav

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
SCRIPTS = {path.stem: path for path in sorted(FOLDER.rglob("*.py")) if "def main(" in path.read_text(encoding="utf-8")}

TOYS = {
    "tokenizing": ["--megabytes", "0.02", "--pieces", "400", "--seconds", "0"],
    "training_step": ["--units", "8", "--batch", "2", "--steps", "4", "--vocabulary", "11", "--seconds", "0"],
    "training_sizes": ["--only", "units=64", "batch=1", "steps=32", "--seconds", "0"],
    "memory": ["--units", "8", "--batch", "2", "--steps", "8", "--recompute", "3", "--seconds", "0"],
    "generation": ["--units", "8", "--layers", "1", "--count", "2", "--tokens", "4", "--seconds", "0"],
    "scoring": ["--units", "8", "--layers", "1", "--lengths", "4", "--batches", "1", "2", "--seconds", "0"],
    "classification_speed": ["--texts", "4", "--batches", "1", "2", "--seconds", "0"],
    "length_bucketing": [
        *("--set-value", "model.hidden_dim=8", "model.layers=1", "model.segment_length=8", "model.direct_ngrams=0"),
        *("data.max_length=24", "train.batch_size=4", "--seconds", "0"),
    ],
    "sentiment": [
        *("--set", "rt-polarity", "--folds", "3", "--only-folds", "1", "--seeds", "2", "--int8", "--target", "0"),
        *("--set-value", "train.epochs=1", "train.batch_size=4", "model.hidden_dim=8", "model.layers=1"),
    ],
    "diagonal_step": ["--units", "8", "--steps", "8", "--batch", "2", "--inputs", "4", "--seconds", "0"],
    "long_distance": [
        *("run", "--task", "adding", "--members", "diagonal", "--lengths", "4", "--records", "200"),
        *("--set-value", "model.hidden_dim=4", "model.embedding_dim=4", "train.epochs=1"),
    ],
    "large_corpus": [
        *("--gigabytes", "0.0005", "--rate-megabytes", "0.02", "--units", "8", "--batch", "2", "--steps", "4"),
        *("--seconds", "0"),
    ],
    "comparable_figures": [
        *("--tokenizers", "word", "--epochs", "0.2"),
        *("--set-value", "model.hidden_dim=8", "train.batch_size=4", "train.evaluations=1"),
    ],
    "large_vocabularies": [
        *("--vocabularies", "20", "--units", "8", "--embedding", "8", "--layers", "1"),
        *("--batch", "2", "--steps", "4", "--seconds", "0"),
    ],
    "ablation": [
        *("--only", "all", "--also", "narrow: model.hidden_dim=4", "--set", "model.dropout=0.5"),
        *("model.hidden_dim=8", "model.layers=1", "model.ngram_rows=64", "train.sequence_length=16"),
        *("train.batch_size=4", "train.epochs=0.1", "train.evaluations=1", "train.sample_length=0"),
    ],
    "gpu": ["--device", "cpu", "--what", "step", "--units", "8", "--batch", "2", "--steps", "4", "--seconds", "0"],
    "gpu_words": ["--epochs", "2", "--variant", "", "dropout=0.2"],
    "workers": ["--workers", "1", "--units", "8", "--batch", "2", "--length", "8", "--steps", "4"],
}
UNDER_JAX = ("gpu", "gpu_words")
# They run in this process, which has TensorFlow already; the others set the threads or the packages of their own.
HERE = (
    "training_step",
    "length_bucketing",
    "diagonal_step",
    "long_distance",
    "copying",
    "gradients",
    "comparable_figures",
    "large_vocabularies",
    "ablation",
)
LONG_DISTANCE = {
    "copying": [
        *("run", "--task", "copy", "--members", "rotation", "--lengths", "3", "--records", "80"),
        *("--set-value", "model.hidden_dim=8", "train.epochs=1"),
    ],
    "gradients": ["gradients", "--length", "12", "--units", "4", "--batch", "2"],
}
# TensorFlow imports these where they are installed, which takes as long as the rest of it. No toy needs them.
NOT_NEEDED = ("jax", "pandas", "scipy", "sklearn")
# A package out of which a process cannot import anything, whether it is installed or not.
HIDE = """
import sys

class Hidden:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Hidden)
"""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str
    document: dict[str, Any]
    folder: Path

    def candidates(self, **wanted: object) -> set[str]:
        rows = [row for row in self.document["rows"] if all(row.get(name) == value for name, value in wanted.items())]
        return {row["candidate"] for row in rows}


def run_script(script: str, folder: Path, *arguments: str, hidden: tuple[str, ...] = ()) -> Outcome:
    """Run a script in a process of its own, in which the packages `hidden` are not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE.format(names=hidden), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "JAX_PLATFORMS": "cpu"}
    file = folder / "results" / "figures.json"
    command = [sys.executable, str(SCRIPTS[script]), *arguments, "--json", str(file)]
    process = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    document = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Outcome(process.returncode, process.stdout, process.stderr, document, folder)


def run_here(script: str, folder: Path, *arguments: str) -> Outcome:
    """Run a script in this process, as `run_script` does in its own."""
    folder.mkdir()
    file = folder / "results" / "figures.json"
    with pytest.MonkeyPatch.context() as patch, importable() as load, xla(False):
        patch.chdir(folder)
        code, out, err = call(*arguments, "--json", file, main=load(SCRIPTS[script].stem).main)
    return Outcome(code or 0, out, err, json.loads(file.read_text(encoding="utf-8")), folder)


@contextmanager
def importable() -> Iterator[Callable[[str], ModuleType]]:
    """Let the scripts be imported by their names, which may shadow packages and are forgotten at the end."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER / "experiments"))
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").is_relative_to(FOLDER):
            del sys.modules[name]


def hidden_from(script: str) -> tuple[str, ...]:
    if script in UNDER_JAX:
        return ()
    return (*NOT_NEEDED, "fasttext") if script == "sentiment" else NOT_NEEDED


def installed(name: str) -> bool:
    """By what pip knows: a folder of these tests is importable as `tokenizers` too."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def sentences(folder: Path) -> list[str]:
    """Write sentences of two kinds and a configuration; the arguments that name them to `sentiment`."""
    data = folder / "sentences" / "rt-polarity"
    data.mkdir(parents=True)
    for kind, word in {"pos": "good", "neg": "bad"}.items():
        lines = [f"film {number} is {word} from the first to the last\n" for number in range(30)]
        (data / f"rt-polarity.{kind}").write_text("".join(lines), encoding="utf-8")
    config = folder / "classifier.toml"
    config.write_text('task = "classification"\n', encoding="utf-8")
    return ["--data", str(data.parent), "--config", str(config), "--work", str(folder / "work")]


def words(folder: Path) -> list[str]:
    """Write lines of words and a configuration; the arguments that name them to `gpu_words`."""
    text, config = folder / "words.txt", folder / "words.toml"
    text.write_text("the cat sat on the mat and the dog saw it\n" * 120, encoding="utf-8")
    model = (
        'hidden_dim = 4\nembedding_dim = 4\nlayers = 1\nrecurrence = "rotation"\nactivation = "linear"\nmixing = "glu"'
    )
    others = 'normalization = "layer"\ntied = true\nvariational = true\ndropout = 0.1'
    training = "batch_size = 4\nsequence_length = 8\nlearning_rate = 2e-2"
    config.write_text(f"[model]\n{model}\n{others}\n[train]\n{training}\n", encoding="utf-8")
    files = itertools.chain(*((f"--{name}", str(text)) for name in ("train", "validation", "test")))
    return [*files, "--config", str(config)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Outcome]]:
    """Each script once at toy size, those of other processes two at a time: they do nothing but wait for compilers."""
    folder = tmp_path_factory.mktemp("benchmarks")
    source = folder / "manual.txt"
    source.write_text("\n".join(topics.values())[:20_000], encoding="utf-8")
    toys = TOYS | {"tokenizing": ["--source", str(source), *TOYS["tokenizing"]]}
    opinions = str(write_opinions(folder / "opinions.jsonl", 60))
    for name in ("classification_speed", "length_bucketing"):
        toys[name] = ["--data", opinions, *TOYS[name]]
    toys["comparable_figures"] = ["--text", str(source), *TOYS["comparable_figures"]]
    toys["ablation"] = ["--out", str(folder / "runs"), *TOYS["ablation"], f'data.source=["{source.as_posix()}"]']
    toys["gpu_words"] = [*words(folder), *TOYS["gpu_words"]]
    toys["sentiment"] = [*sentences(folder), *TOYS["sentiment"]]
    layer = [argument.replace("step", "layer") if argument == "step" else argument for argument in toys["gpu"]]
    with ThreadPoolExecutor(2) as pool:
        futures = {
            name: pool.submit(run_script, name, folder / name, *arguments, hidden=hidden_from(name))
            for name, arguments in toys.items()
            if name not in HERE
        }
        futures["gpu without torch"] = pool.submit(run_script, "gpu", folder / "g", *layer, hidden=("torch",))
        futures["gpu without a GPU"] = pool.submit(run_script, "gpu", folder / "n")

        @cache
        def outcome_of(name: str) -> Outcome:
            if name not in HERE:
                return futures[name].result()
            if name in LONG_DISTANCE:
                return run_here("long_distance", folder / name, *LONG_DISTANCE[name])
            return run_here(name, folder / name, *toys[name])

        yield outcome_of


@pytest.fixture
def outcome(outcomes: Callable[[str], Outcome]) -> Callable[[str], Outcome]:
    def get(name: str) -> Outcome:
        result = outcomes(name)
        assert result.code == 0, result.err
        return result

    return get


@pytest.fixture
def scripts() -> Iterator[Callable[[str], ModuleType]]:
    """Import a script as a module for one test."""
    with importable() as load:
        yield load


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_says_what_it_measures(script: str, scripts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    module = scripts(script)
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    first_line = module.__doc__.splitlines()[0]
    assert first_line in re.sub(r"\s+", " ", capsys.readouterr().out)


def require_jax() -> None:
    """Not by importing it here: it changes the environment that later tests hand on to TensorFlow."""
    if not installed("jax"):
        pytest.skip("jax is not installed")


def in_float32_and_bfloat16(scripts: Any, name: str) -> set[str]:
    return {f"{name} float32"} | ({f"{name} bfloat16"} if scripts("measure").has_bfloat16() else set())


@pytest.mark.parametrize("name", TOYS)
def test_file_tells_the_environment_and_the_rows(name: str, outcome: Callable[[str], Outcome]) -> None:
    if name in UNDER_JAX:
        require_jax()
    document = outcome(name).document
    packages = document["environment"]["packages"]
    assert {"numpy", "tensorflow", "keras", "onnxruntime"} <= set(packages)
    assert document["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["rows"]
    assert str(ROOT) not in json.dumps(document)


def test_tokenizers_are_compared_in_groups(outcome: Callable[[str], Outcome]) -> None:
    result = outcome("tokenizing")
    hugging_face = {"Hugging Face tokenizers"} if installed("tokenizers") else set()
    expected = {
        "characters": {
            "textrnn",
            "keras TextVectorization",
            *hugging_face,
            *(f"{name}, bytes" for name in hugging_face),
        },
        "words": {"textrnn", "in plain Python", "keras TextVectorization", *hugging_face},
        "words and punctuation": {"textrnn", "in plain Python", *hugging_face},
        "unigram pieces": {"textrnn", "sentencepiece", *hugging_face},
        "BPE pieces": {"textrnn", "sentencepiece", *hugging_face},
    }
    for group, candidates in expected.items():
        assert result.candidates(group=group) == candidates
        for candidate in candidates:
            assert re.search(rf"^{group} +{candidate} ", result.out, re.MULTILINE)


def test_training_step_names_every_candidate_and_what_is_around_the_step(
    outcome: Callable[[str], Outcome], scripts: Any
) -> None:
    result = outcome("training_step")
    expected = in_float32_and_bfloat16(scripts, "textrnn") | in_float32_and_bfloat16(scripts, "keras")
    expected |= {"keras float32 unrolled", "keras float32 XLA"}
    if installed("torch"):
        expected |= in_float32_and_bfloat16(scripts, "torch") | {"torch float32 one thread"}
    assert result.candidates() == expected
    assert all(re.search(rf"^{name} ", result.out, re.MULTILINE) for name in expected)
    parts = {part["part"]: part["milliseconds"] for part in result.document["parts"]}
    around = {"optimizer", "reading a batch", "progress, history and the rest of the loop"}
    network = {"input table, both ways", "loop forward", "loop backward", "gradient of U, one product"}
    precisions = {name.split()[1] for name in in_float32_and_bfloat16(scripts, "textrnn")}
    network |= {"output and loss, both ways"}
    assert set(parts) == around | {f"{precision}: {part}" for precision in precisions for part in network}
    assert parts["optimizer"] > 0 and parts["reading a batch"] > 0
    (row,) = (row for row in result.document["rows"] if row["candidate"] == "textrnn float32")
    # 6 (8 * 8 + 8 * 11) operations a token, 8 tokens a step
    assert row["gigaflops"] == pytest.approx(6 * 152 * 8 / row["milliseconds"] / 1e6)
    assert row["share_of_peak"] == pytest.approx(row["gigaflops"] / result.document["peak_gigaflops"]["float32"])


def test_generation_is_compared_in_both_precisions(outcome: Callable[[str], Outcome]) -> None:
    ways = ("bare graph", "bare graph, bound", "textrnn", "textrnn, filters", "textrnn, filters in numpy")
    expected = {f"{way}, {precision}" for way in ways for precision in ("float32", "int8")}
    assert outcome("generation").candidates(texts=2) == expected
    peers = {"numpy loop", "Keras, sliding window"} | ({"torch loop"} if installed("torch") else set())
    assert outcome("generation").candidates(texts=1) == expected | peers


def test_scoring_compares_the_graphs_at_each_size(outcome: Callable[[str], Outcome]) -> None:
    expected = {"layer by layer, float32", "single steps, float32", "single steps, int8", "RNN operator, float32"}
    expected |= {"step after step, float32", "step after step, int8"}
    for batch in (1, 2):
        assert expected <= outcome("scoring").candidates(batch=batch, length=4)
    assert {"prompt, float32", "prompt, int8"} <= outcome("scoring").candidates()


def test_classification_is_compared_in_batches_of_each_size(outcome: Callable[[str], Outcome]) -> None:
    expected = {"textrnn float32", "textrnn int8"} | ({"fastText"} if installed("fasttext-wheel") else set())
    expected |= {"Keras predict", "Keras predict_on_batch", "Keras predict_on_batch, segments"}
    result = outcome("classification_speed")
    for batch in (1, 2):
        assert result.candidates(batch=batch) == expected
    for row in result.document["rows"]:
        assert row["texts_a_second"] == pytest.approx(1e3 / row["milliseconds_a_text"])
        assert row["candidate"] != "Keras predict" or row["times_keras_predict"] == 1


def test_batches_of_like_lengths_pad_less(outcome: Callable[[str], Outcome]) -> None:
    at_random, by_length = outcome("length_bucketing").document["rows"]
    assert (at_random["candidate"], by_length["candidate"]) == ("random order", "by length")
    assert 0 < by_length["padding"] < at_random["padding"] < 1
    assert at_random["times_random"] == 1


def test_sentiment_tells_how_often_ours_is_right_and_who_is_missing(outcome: Callable[[str], Outcome]) -> None:
    result = outcome("sentiment")
    for package in ("scikit-learn", "fasttext-wheel"):
        assert re.search(rf"its column is left out; pip install {package}==[\d.]+$", result.err, re.MULTILINE)
    (row,) = result.document["results"]
    assert (row["candidate"], row["fold"], row["seed"], row["texts"]) == ("textrnn", "fold-1-of-3", 2, 20)
    assert result.document["texts"] == {"fold-1-of-3": [40, 20]}
    assert 0 < row["seconds_to_target"] <= row["seconds"]
    assert row["epochs_trained"] == 1 and row["int8_megabytes"] > 0
    (summed,) = result.document["rows"]
    assert summed["accuracy"] == summed["lowest"] == summed["highest"] == row["accuracy"]


def test_sentiment_trains_nothing_twice(
    outcomes: Callable[[str], Outcome], scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = outcomes("sentiment")
    module = scripts("sentiment")
    trained = []

    def train(self: Any, parts: Any, fold: str, seed: int, core: int | None) -> dict[str, Any]:
        trained.append((fold, seed))
        return {"accuracy": 0.5}

    monkeypatch.setattr(module.Benchmark, "ours", train)
    file = tmp_path / "figures.json"
    arguments = [*sentences(tmp_path), *TOYS["sentiment"], "--work", str(result.folder.parent / "work"), "--ours-only"]
    assert module.main([*arguments, "--json", str(file)]) == 0
    assert not trained
    assert json.loads(file.read_text(encoding="utf-8"))["results"] == result.document["results"]
    assert module.main([*arguments, "--work", str(tmp_path / "work"), "--seeds", "2", "3", "--jobs", "2"]) == 0
    assert sorted(trained) == [("fold-1-of-3", 2), ("fold-1-of-3", 3)]
    trained.clear()
    assert module.main([*arguments, "--set-value", "train.epochs=2"]) == 0
    assert trained == [("fold-1-of-3", 2)], "another configuration has results of its own"


def test_every_text_is_tested_on_in_one_fold(scripts: Any) -> None:
    module = scripts("sentiment")
    texts = [module.Example(str(number), "rare" if number % 5 == 0 else "frequent") for number in range(50)]
    folds = module.cut(texts, 5)
    assert sorted(text for fold in folds for text in fold.test) == sorted(texts)
    for fold in folds:
        assert sorted(fold.train + fold.test) == sorted(texts)
        assert [text.label for text in fold.test].count("rare") == 2


def test_seeds_are_summed_over_the_same_folds(scripts: Any) -> None:
    figures = [(1, 0.5, 4.0), (1, 0.7, None), (2, 0.8, 4.0), (2, 0.6, 2.0), (3, 0.1, 1.0)]
    rows = [
        {
            "candidate": "a",
            "fold": f"fold-{index % 2}",
            "seed": seed,
            "accuracy": accuracy,
            "seconds_to_target": seconds,
        }
        for index, (seed, accuracy, seconds) in enumerate(figures)
    ]
    (row,) = scripts("sentiment").summary(rows)
    assert row == {
        "candidate": "a",
        "accuracy": pytest.approx(0.65),
        "lowest": pytest.approx(0.6),
        "highest": pytest.approx(0.7),
        "seeds": 2,
        "folds": 2,
        "seconds_to_target": None,
    }


def test_data_sets_are_read_as_they_are_published(scripts: Any, tmp_path: Path) -> None:
    module = scripts("sentiment")
    files = {
        "imdb/train.tsv": 'id\tlabel\trating\ttext\nneg/0\t0\t2\tIt "was\x85 bad\n',
        "imdb/test.tsv": "id\tlabel\trating\ttext\npos/0\t1\t9\tgood\n",
        "sst2/train.tsv": "a good film\t1\nbad\t0",
        "sst2/dev.tsv": "bad\t0",
        "chnsenticorp-hotel/ChnSentiCorp_htl_all.csv": '\ufefflabel,review\n1,"很好,""真""好"\n0,\n0,太差\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    read = {name: module.SETS[name].read(tmp_path) for name in ("imdb", "sst2", "hotel")}
    assert read["imdb"] == ([('It "was\x85 bad', "negative")], [("good", "positive")])
    assert read["sst2"] == ([("a good film", "positive"), ("bad", "negative")], [("bad", "negative")])
    assert read["hotel"] == [('很好,"真"好', "positive"), ("太差", "negative")]


def test_missing_data_is_told_in_a_line(scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(tmp_path), "--set", "imdb", "--work", str(tmp_path)]
    assert scripts("sentiment").main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sentiment: ") and "train.tsv" in line


def test_other_classifiers_learn(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = scripts("classification_peers")
    monkeypatch.setattr(module, "BOOK_LENGTH", 8)
    words = {"positive": "good", "negative": "bad"}
    texts = [module.Example(f"film {index} is {word}", label) for label, word in words.items() for index in range(80)]
    for candidate in module.peers(characters=False, keras=True):
        predict, setting, seconds = module.train(candidate, texts, seed=1)
        assert module.accuracy(predict, texts) > 0.9, candidate.name
        assert setting in candidate.settings and seconds > 0


def test_macro_f1_counts_every_class_alike(scripts: Any) -> None:
    macro_f1 = scripts("classification_peers").macro_f1
    assert macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert macro_f1(["a", "a", "a"], ["a", "a", "b"]) == pytest.approx(0.4)


def test_fasttext_reads_words_or_characters(scripts: Any) -> None:
    line = scripts("classification_peers").fasttext_line
    assert line("Don't stop.<br />Now", characters=False) == "don't stop . now"
    assert line("很 好吃", characters=True) == "很 好 吃"


def test_training_sizes_are_added_to_a_file(
    outcome: Callable[[str], Outcome], scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = outcome("training_sizes")
    (row,) = result.document["rows"]
    assert [row[size] for size in ("units", "batch", "steps", "layers", "vocabulary")] == [64, 1, 32, 1, 65]
    assert row["ours"].startswith("textrnn") and not row["best_peer"].startswith("textrnn")
    assert row["times_faster"] == pytest.approx(row["peer_milliseconds"] / row["milliseconds"])
    assert row["ours"] in result.out and row["best_peer"] in result.out
    module = scripts("training_sizes")
    file = tmp_path / "sizes.json"
    drawn = [row | {"steps": 128}]  # as long as those of the picture
    document = json.dumps(result.document | {"environment": scripts("measure").environment(), "rows": drawn})
    file.write_text(document, encoding="utf-8")
    assert module.main(["--only", "units=64", "batch=1", "steps=128", "--json", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == document, "what is there already is not measured again"
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert module.main(["--minutes", "-1", "--json", str(file)]) == 0
    assert "77 sizes are left" in capsys.readouterr().err
    file.write_text(json.dumps(result.document | {"environment": {}}), encoding="utf-8")
    assert module.main(["--minutes", "-1", "--json", str(file)]) == 1
    assert "must hold figures of this script and this machine" in capsys.readouterr().err


def test_long_distance_tells_error_and_accuracy(
    outcome: Callable[[str], Outcome], scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = outcome("long_distance").document["rows"]
    assert (row["task"], row["member"], row["length"], row["records"]) == ("adding", "diagonal", 4, 200)
    assert 0 < row["mean_squared_error"] < 1 and row["seconds"] > 0
    assert (row["epochs"], row["shortened"], row["ended"]) == (1, False, "epochs")
    (copied,) = outcome("copying").document["rows"]
    assert (copied["task"], copied["member"]) == ("copy", "rotation") and 0 <= copied["accuracy"] <= 1
    module = scripts("long_distance")
    file = tmp_path / "figures.json"
    scripts("measure").write_json(file, module.TABLE, module.merged([copied], row))
    assert [found["task"] for found in module.rows_of(file)] == ["adding", "copy"]
    assert module.main(["draw", "--json", str(file)]) == 0
    pictures = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [picture.name for picture in pictures] == ["figures_adding.png", "figures_copy.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert module.main(["run", "--task", "adding", "--lengths", "4", "--members", "lstm", "--json", str(file)]) == 1
    file.write_text("[]", encoding="utf-8")
    assert module.main(["draw", "--json", str(file)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert "were: lstm, 4" in told[0] and "must hold figures of this script" in told[1]


def test_a_later_figure_takes_the_place_of_an_earlier_one(scripts: Any) -> None:
    def row(task: str, member: str, length: int, figure: float) -> dict[str, Any]:
        return {"task": task, "member": member, "length": length, "accuracy": figure}

    rows = [row("copy", "tanh", 50, 0.1), row("copy", "tanh", 100, 0.2)]
    merged = scripts("long_distance").merged(rows, row("copy", "tanh", 50, 0.3))
    assert merged == [row("copy", "tanh", 50, 0.3), row("copy", "tanh", 100, 0.2)]
    assert scripts("long_distance").merged(rows, row("copy", "irnn", 50, 0.4))[1]["member"] == "irnn"


def test_gradients_are_told_for_every_start(outcome: Callable[[str], Outcome], scripts: Any) -> None:
    result = outcome("gradients")
    rows = {row["start"]: row for row in result.document["rows"]}
    assert list(rows) == list(scripts("gradient_norms").STARTS)
    orthogonal = rows["orthogonal, linear"]
    assert 0.3 < orthogonal["11 before"] < 3, "nothing shrinks on its way through an orthogonal U"
    assert rows["tanh, as small as torch's"]["11 before"] < 0.1
    assert all(row["at the last input"] > 0 for row in rows.values())
    assert (result.folder / "results" / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_sum_is_of_the_two_marked_values(scripts: Any) -> None:
    x, y = scripts("long_distance_tasks").adding_records(9, 300, seed=1)
    assert x.shape == (300, 9, 2) and y.shape == (300, 1) and x.dtype == "uint8" and y.dtype == "float32"
    values, marks = x[..., 0] / 255, x[..., 1] // 255
    assert set(marks.ravel().tolist()) == {0, 1}
    assert (marks[:, :4].sum(1) == 1).all() and (marks[:, 4:].sum(1) == 1).all(), "one in each half"
    assert marks.any(0).all(), "every step is marked somewhere"
    assert values.min() >= 0 and values.max() <= 1
    assert (values * marks).sum(1, keepdims=True) == pytest.approx(y)
    assert abs(((1 - y) ** 2).mean() - 1 / 6) < 0.03


def test_copied_lines_end_as_they_begin(scripts: Any) -> None:
    module = scripts("long_distance_tasks")
    lines = module.copy_lines(30, 100, seed=1)
    assert len(set(lines)) == 100 and "".join(sorted(set("".join(line[:10] for line in lines)))) == module.SYMBOLS
    for line in lines:
        assert len(line) == 50
        assert line[:10] == line[-10:]
        assert line[10:-10] == module.BLANK * 29 + module.GO
    assert not set(lines) & set(module.copy_lines(30, 100, seed=2))


def test_names_are_asked_for_after_a_passage(scripts: Any) -> None:
    module = scripts("long_distance_tasks")
    names, english = module.NAMES, module.manual()
    assert len(names) == len(set(names)) == 40
    assert not [name for name in names for other in names if name != other and other.startswith(name)]
    for seed in (1, module.TEST_SEED):
        lines = module.recall_lines(40, 200, seed)
        for line in lines:
            before, name = line.split("?")
            assert name in names and before.startswith(f"{name} ")
            assert len(before) == len(name) + 1 + 40
            at = english.index(before[-40:])
            assert seed == 1 or english.find(before[-40:], int(0.9 * len(english))) >= at
        assert len({line.split()[0] for line in lines}) > 30
    with pytest.raises(module.UserError, match="must be shorter than"):
        module.recall_lines(len(english), 1, seed=1)


@pytest.mark.parametrize("task", ["adding", "copy", "recall"])
def test_records_are_made_as_training_reads_them(task: str, scripts: Any, tmp_path: Path) -> None:
    module = scripts("long_distance")
    files = [tmp_path / str(seed) / f"records{module.TASKS[task].suffix}" for seed in (1, 1, 2)]
    for seed, file in zip((1, 1, 2), files, strict=True):
        arguments = ["make", task, str(file), "--length", "20", "--records", "30", "--seed", str(seed)]
        assert module.main(arguments) == 0
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    if task == "adding":
        with np.load(files[0]) as arrays:
            assert arrays["x"].shape == (30, 20, 2) and arrays["y"].shape == (30, 1)
    else:
        assert len(files[0].read_text(encoding="utf-8").splitlines()) == 30
    assert module.main(["make", task, str(files[0]), "--length", "1"]) == 1


class Parrot:
    """Reads lines of letters, and is sure that the last letter but two comes next."""

    tokenizer: Any

    def __init__(self) -> None:
        self.tokenizer = self

    def encode(self, text: str) -> Any:
        return np.array([ord(letter) - ord("a") + 4 for letter in text], np.int32)

    def read(self, ids: Any) -> tuple[Any, None]:
        assert (ids[:, 0] == 3).all(), "a line starts after the end of another"
        before = np.concatenate([np.zeros((len(ids), 2), np.int32), ids[:, :-2]], axis=1)
        return np.eye(40)[before], None


def test_what_is_told_is_looked_for_where_it_is_due(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = scripts("long_distance_tasks")
    monkeypatch.setattr(module, "READ_AT_ONCE", 12)  # two lines
    told = module.told_right(Parrot(), ["abcabc", "abcabd", "abc"], [3, 3, 1])
    assert [row.tolist() for row in told] == [[True] * 3, [True, True, False], [False]]


class Steps:
    """A trainer of a hundred steps of a second each."""

    total_steps, steps_per_epoch = 100, 10

    def __init__(self, clock: Clock, best: Path) -> None:
        self.run = SimpleNamespace(best=best)
        self.step = clock.candidate("step", 1.0)

    def train_one(self) -> float:
        self.step()
        return 0.5

    def measure(self) -> dict[str, float]:
        return {"held_out_loss": 0.1}


def test_a_training_is_cut_to_its_time(scripts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module, clock = scripts("long_distance"), Clock()
    monkeypatch.setattr(module, "time", clock)

    def watched(seconds: float, learnt: bool = False, probes: bool = True) -> Any:
        trainer = Steps(clock, tmp_path)
        module.Watch(trainer, seconds, lambda measured: learnt and measured["held_out_loss"] < 1, probes)
        return trainer

    trainer = watched(40)
    with pytest.raises(module.TooSlow) as slow:
        for _ in range(100):
            trainer.train_one()
    assert slow.value.args == (4.0,), "passes in forty seconds"
    trainer = watched(100)
    assert [trainer.train_one() for _ in range(100)] == [0.5] * 100
    trainer, before = watched(40, probes=False), clock.now
    with pytest.raises(module.Enough, match="time"):
        for _ in range(100):
            trainer.train_one()
    assert clock.now - before == 62, "half as much again, and the first step"
    trainer = watched(100, learnt=True)
    trainer.train_one()
    trainer.measure()
    with pytest.raises(module.Enough, match="learnt"):
        trainer.train_one()


def test_memory_and_time_are_told_for_every_candidate(outcome: Callable[[str], Outcome], scripts: Any) -> None:
    result = outcome("memory")
    expected = in_float32_and_bfloat16(scripts, "textrnn") | {"textrnn float32 recompute", "keras float32"}
    expected |= {"torch float32"} if installed("torch") else set()
    assert result.candidates(steps=8) == expected
    assert all(row["peak_megabytes"] > 50 and row["milliseconds"] > 0 for row in result.document["rows"])
    (row,) = (row for row in result.document["rows"] if row["candidate"] == "textrnn float32 recompute")
    assert row["recompute"] == 2, "the longest part that 8 steps can be cut into, of 3 at most"


def test_bytes_a_token_are_the_slope_between_the_two_longest(scripts: Any) -> None:
    rows: list[dict[str, object]] = [
        {"candidate": "a", "tokens": tokens, "peak_megabytes": megabytes}
        for tokens, megabytes in [(4_000, 90.0), (1_000, 80.0), (2_000, 81.0)]
    ]
    rows += [{"candidate": "b", "tokens": 1_000, "peak_megabytes": 1.0}, {"candidate": "b", "tokens": 2_000}]
    assert scripts("memory").slopes(rows) == [{"candidate": "a", "bytes_a_token": 4500.0}]


def test_preparing_and_training_are_measured_for_every_size(outcome: Callable[[str], Outcome]) -> None:
    result = outcome("large_corpus")
    rows = {row["candidate"]: row for row in result.document["rows"]}
    assert {"char, 1 processes", "char, 2 processes"} < set(rows)
    assert sum(name.startswith("training on") and row["tokens_a_second"] > 0 for name, row in rows.items()) == 4
    prepared = [row for row in result.document["rows"] if "prepared_megabytes_a_second" in row]
    for row, tokens in zip(prepared[2:], [500, 5_000, 50_000, 500_000], strict=True):
        assert 0.9 * tokens < row["tokens"] < 1.2 * tokens


OF_GPU = {"textrnn dense", "textrnn diagonal", "textrnn rotation", "keras SimpleRNN"}


def test_step_is_measured_under_jax(outcome: Callable[[str], Outcome]) -> None:
    require_jax()
    result = outcome("gpu")
    expected = OF_GPU | ({"torch nn.RNN"} if installed("torch") else set())
    for precision in ("float32", "bfloat16"):
        assert result.candidates(what="step", precision=precision, units=8, batch=2, steps=4) == expected
    assert all(name in result.out for name in expected)


def test_words_are_learned_under_jax(outcome: Callable[[str], Outcome]) -> None:
    require_jax()
    plain, dropped = outcome("gpu_words").document["rows"]
    assert plain["variant"] == "as the config" and dropped["variant"] == "dropout=0.2"
    assert plain["curve"][1] < plain["curve"][0] < 11  # of 10 different words
    assert plain["curve"] != dropped["curve"]


def test_without_a_gpu_nothing_is_run(outcome: Callable[[str], Outcome]) -> None:
    require_jax()
    result = outcome("gpu without a GPU")
    assert len(result.out.splitlines()) == 1 and "say --device cpu" in result.out
    assert result.document == {}


def test_a_missing_peer_is_told_once_and_left_out(outcome: Callable[[str], Outcome]) -> None:
    require_jax()
    result = outcome("gpu without torch")
    line = r"^torch is not installed, its column is left out; pip install torch==[\d.]+$"
    assert len(re.findall(line, result.err, re.MULTILINE)) == 1
    assert result.candidates(what="layer") == result.candidates() == OF_GPU


class Clock:
    """Time that passes only when a candidate takes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    process_time = perf_counter

    def candidate(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.order.append(name)

        return run


def test_a_slow_candidate_has_its_runs_and_no_more(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, clock = scripts("measure"), Clock()
    monkeypatch.setattr(measure, "time", clock)
    candidates = {name: clock.candidate(name, seconds) for name, seconds in [("fast", 0.5), ("slow", 8.0)]}
    times = measure.alternate(candidates, seconds=20.0, minimum=5, warm_up=1)
    assert times == {"fast": [0.5] * 20, "slow": [8.0] * 5}
    assert clock.order[:2] == ["fast", "slow"]
    # Both are spread over the whole measurement: between two runs of the slow one, four of the fast.
    assert "".join(name[0] for name in clock.order[2:]).count("ffffs") >= 4


def test_equal_candidates_run_in_turn(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, clock = scripts("measure"), Clock()
    monkeypatch.setattr(measure, "time", clock)
    measure.alternate({name: clock.candidate(name, 1.0) for name in "abc"}, seconds=9.0, minimum=2, warm_up=0)
    assert "".join(clock.order) == "abc" * 3


def test_median_rows_compare_with_one_candidate(scripts: Any) -> None:
    rows = scripts("measure").median_rows({"ours": [0.25, 0.5, 4.0], "theirs": [1.0, 1.0]}, against="ours")
    assert rows == [
        {"candidate": "ours", "milliseconds": 500.0, "fastest_milliseconds": 250.0, "runs": 3, "ratio": 1.0},
        {"candidate": "theirs", "milliseconds": 1000.0, "fastest_milliseconds": 1000.0, "runs": 2, "ratio": 2.0},
    ]


def test_table_stands_in_columns(scripts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scripts("measure").print_table([{"name": "a", "speed": 1234.5}, {"name": "long", "speed": 0.123456, "runs": 3}])
    assert capsys.readouterr().out.splitlines() == [
        "name   speed  runs",
        "a      1,234     -",
        "long  0.1235     3",
    ]


def test_a_server_is_measured_under_load(tmp_path: Path) -> None:
    if not installed("starlette"):
        pytest.skip("the extra serve is not installed")
    model = str(ROOT / "tests" / "golden" / "language-model-char-float32")
    arguments = [model, "--streams", "2", "--length", "20", "--seconds", "0.3"]
    result = run_script("serving", tmp_path / "run", *arguments, hidden=("fastapi",))
    assert result.code == 0, result.err
    (row,) = result.document["rows"]
    assert (row["server"], row["streams"]) == ("textrnn serve", 2)
    assert row["characters"] > 0
    assert 0 < row["first_p50_ms"] <= row["first_p99_ms"]
    assert row["slot_free_ms"] > 0


def test_operations_of_a_step_are_counted_by_hand(scripts: Any) -> None:
    case = scripts("training_peers").Case
    assert case(units=2, batch=1, steps=1, layers=1, vocabulary=3).floating_point_operations == 6 * (4 + 6)
    assert case(units=2, batch=5, steps=7, layers=3, vocabulary=3).floating_point_operations == 35 * 6 * (
        3 * 4 + 2 * 4 + 6
    )


def test_others_learn_too(scripts: Any) -> None:
    peers = scripts("training_peers")
    case = peers.Case(units=16, batch=2, steps=4, layers=2, vocabulary=5)
    builders = peers.peer_steps(case)
    for name in {"keras float32", "torch float32"} & set(builders):
        run = builders[name]()
        losses = [run() for _ in range(60)]
        assert losses[-1] < losses[0] - 0.1, name


def test_moving_shapes_move_as_their_labels_say(scripts: Callable[[str], ModuleType], tmp_path: Path) -> None:
    module = scripts("moving_shapes")
    module.main([str(tmp_path / "shapes.npz"), "--records", "40"])
    with np.load(tmp_path / "shapes.npz") as archive:
        frames, labels = archive["x"], archive["y"]
    assert (frames.shape, frames.dtype, len(labels)) == ((40, 16, 256), np.uint8, 40)
    rows, columns = np.divmod(np.arange(256), 16)
    right_labels = 0
    for record, label in zip(frames.astype(float), labels, strict=True):
        light = np.where(record > 80, record, 0)  # without the noise; what stands still does not change the difference
        down, right = ((light[-4:] - light[:4]).mean(0) @ place for place in (rows, columns))
        moved = ("down" if down > 0 else "up") if abs(down) > abs(right) else ("right" if right > 0 else "left")
        right_labels += label.split()[1] == moved
    assert right_labels > 30  # not all: where one shape crosses the other, light is lost


def write_digits(folder: Path, speakers: Sequence[str], numbers: int = 7) -> Path:
    """Tones that are named as the Free Spoken Digit Dataset names its recordings: two digits, a pitch each."""
    folder.mkdir()
    time = np.arange(2400) / 8000
    for place, speaker in enumerate(speakers):
        for digit, number in itertools.product((0, 7), range(numbers)):
            samples = np.sin(2 * np.pi * (300 + 150 * digit + 10 * place + number) * time) * np.sin(np.pi * time / 0.3)
            write_wav(folder / f"{digit}_{speaker}_{number}.wav", 0.27 * samples, 8000)
    return folder


def test_no_speaker_of_a_test_of_spoken_digits_is_trained_on(
    scripts: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = scripts("spoken_digits")
    names = ["anna", "bert", "cleo"]
    found = module.recordings(write_digits(tmp_path / "digits", names))
    assert len(found) == 3 * 2 * 7
    for split, trained_on in (("speakers", 2), ("choice", 1)):
        folds = module.folds(found, split)
        assert [next(iter(fold.tests)) for fold in folds] == names
        for fold in folds:
            speakers = {each.speaker for each in fold.train}
            assert len(speakers) == trained_on and not speakers & {*fold.tests}
            tested = [each for test in fold.tests.values() for each in test]
            assert sorted([*fold.train, *tested]) == sorted(found)
    (official,) = module.folds(found, "official")
    assert {each.number for each in official.tests["official"]} == {0, 1, 2, 3, 4}
    assert {each.number for each in official.train} == {5, 6}


def test_accuracy_of_spoken_digits(
    scripts: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = scripts("spoken_digits")
    arguments = [str(write_digits(tmp_path / "digits", ["anna", "bert"], 24)), str(tmp_path / "work")]
    arguments += ["--split", "official", "--augment", "off", "--set", "model.hidden_dim=8", "--set", "train.epochs=20"]
    module.main([*arguments, "--json", str(tmp_path / "a.json")])
    (measured,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["official"]
    assert measured["settings"] == {"model.hidden_dim": 8, "train.epochs": 20, "train.augment": False}
    assert (
        measured["mean"] == measured["folds"][0]["accuracy"]["official"] > 0.9
    )  # the tones are far apart: 300 and 1,350 Hz
    assert f"mean {measured['mean']:.1%}" in capsys.readouterr().out
    module.main([*arguments, "--json", str(tmp_path / "b.json")])  # results in the folder are not computed again
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(SystemExit, match="FSDD must hold recordings"):
        module.recordings(tmp_path / "work")
