"""Every command as a user calls it: what it prints and writes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call, files_of, told
from conftest import POEMS, TrainedRun, tiny_settings, write_small_text

import textrnn
from textrnn.bundle import read_bundle
from textrnn.cli import main

# train


def test_train_writes_a_whole_run_and_prints_its_bundle(trained: TrainedRun) -> None:
    names = {name for name in files_of(trained.folder) if not name.startswith("data/")}
    assert names == {
        *("config.json", "tokenizer.json", "data", "checkpoint.npz", "best.npz", "history.jsonl", "curves.png"),
        *("bundle", "bundle/README.md", "bundle/manifest.json", "bundle/model.onnx", "bundle/sequence.onnx"),
        *("bundle/generate.onnx", "bundle/filtered.onnx", "bundle/tokenizer.json", "bundle/weights.bin"),
    }
    assert trained.result.out == f"{trained.folder / 'bundle'}\n"


def test_train_resolves_every_setting(trained: TrainedRun) -> None:
    config = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))
    assert config["data"]["source"] == [str(trained.source)]
    assert config["model"]["hidden_dim"] == 32
    assert config["model"]["layers"] == 2


@pytest.fixture
def copied(trained: TrainedRun, tmp_path: Path) -> TrainedRun:
    """A copy of the run, for commands that lock it: other processes of the tests read the run itself."""
    shutil.copytree(trained.folder, tmp_path / "copied")
    return trained._replace(folder=tmp_path / "copied")


def test_a_run_that_has_ended_is_not_trained_again(copied: TrainedRun) -> None:
    before, nothing_else = files_of(copied.folder), (0, f"{copied.folder / 'bundle'}\n", "")
    assert call("train", "--resume", "--out", copied.folder, "--quiet") == nothing_else
    same = call("train", copied.source, *tiny_settings(train__epochs=2), "--resume", "--out", copied.folder, "--quiet")
    assert same == nothing_else
    assert files_of(copied.folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "model.layers=3"], "model.layers, which was 2 and is 3 now;"),
        (["builtin"], "data.source) has other content;"),
        (["--errors", "replace"], "data.errors, which was 'strict' and is 'replace' now;"),
    ],
)
def test_a_run_of_another_configuration_is_not_resumed(copied: TrainedRun, change: list[str], message: str) -> None:
    before = files_of(copied.folder)
    result = call("train", *change, copied.source, *tiny_settings(train__epochs=2), "--resume", "--out", copied.folder)
    assert message in told(result)
    assert files_of(copied.folder) == before


def test_the_config_file_counts_and_set_wins_over_it(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text('[data]\nsource = ["none.txt"]\n[train]\nepochs = 3\n', encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(
        json.dumps({"data": {"source": ["none.txt"]}, "train": {"epochs": 4}}), encoding="utf-8"
    )
    arguments = ["train", "--config", tmp_path / "small.toml", "--resume", "--out", tmp_path / "run"]
    assert "train.epochs, which was 4.0 and is 3.0 now" in told(call(*arguments))
    assert "none.txt" in told(call(*arguments, "--set", "train.epochs=4"))
    assert "some.txt" in told(call(*arguments, "--set", "train.epochs=4", "some.txt"))


@pytest.mark.parametrize("name", ["a b.txt", "诗.txt", "😀.txt", 'quote".txt', "back\\slash.txt", "[x].txt", "a=b.txt"])
def test_a_source_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("ab", encoding="utf-8")
    result = call("train", tmp_path / name, "--out", tmp_path / "run", "--quiet")
    assert "training text must have at least 2 tokens, has 1" in told(result)  # so it was found and read
    assert set(files_of(tmp_path)) == {name}


def test_runs_are_named_after_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text('data.source = "none.txt"\n', encoding="utf-8")
    (tmp_path / "texts" / "here").mkdir(parents=True)
    for arguments, name in [
        (["texts/poems.de.txt"], "poems"),
        (["--config", "small.toml"], "small"),
        (["owner/name"], "name"),
        (["texts/here/.."], "texts"),
        ([], "builtin"),
    ]:
        (tmp_path / "runs" / name).mkdir(parents=True)
        assert f"found: runs/{name};" in told(call("train", *arguments))


# generate


def test_generate_is_repeatable_by_its_seed(trained: TrainedRun) -> None:
    first, same, other = (
        call("generate", trained.folder, "--prompt", "the cat", "--length", 60, "--seed", seed) for seed in (1, 1, 2)
    )
    assert first == same
    assert first.code == 0
    assert first.err == ""
    assert first.out.startswith("the cat")
    assert len(first.out) == len("the cat") + 60 + 1
    assert first.out != other.out
    text = textrnn.load(trained.folder).generate("the cat", length=60, seed=1)
    assert first.out == f"the cat{text}\n"


def test_a_bundle_does_as_well_as_its_run(trained: TrainedRun) -> None:
    arguments = ["--length", 30, "--temperature", 0]
    assert call("generate", trained.folder / "bundle", *arguments) == call("generate", trained.folder, *arguments)


def test_generate_prints_one_json_document(trained: TrainedRun) -> None:
    result = call("generate", trained.folder, "--prompt", "春", "--count", 3, "--length", 20, "--seed", 1, "--json")
    document = json.loads(result.out)
    assert "春" in result.out
    assert document["prompt"] == "春"
    assert len(document["texts"]) == 3
    assert (document["length"], document["seed"], document["temperature"]) == (20, 1, 1.0)
    assert result.err == ""


def test_several_texts_are_told_apart_on_standard_error(trained: TrainedRun) -> None:
    result = call("generate", trained.folder, "--count", 2, "--length", 20, "--seed", 1, "--stop", "\n")
    assert result.err == "--- 1\n--- 2\n"
    assert len(result.out.splitlines()) == 2


def test_generate_ends_before_a_stop_text(trained: TrainedRun) -> None:
    result = call("generate", trained.folder, "--length", 200, "--seed", 1, "--stop", ".", "--stop", "xyz")
    assert "." not in result.out
    assert 5 < len(result.out) < 100


def test_beams_find_a_text_at_least_as_probable_as_the_greedy_one(trained: TrainedRun) -> None:
    model = textrnn.load(trained.folder)
    found = call("generate", trained.folder, "--beams", 4, "--length", 12, "--prompt", "a ")
    greedy = call("generate", trained.folder, "--temperature", 0, "--length", 12, "--prompt", "a ")
    assert found.code == greedy.code == 0
    assert model.score(found.out[:-1]).nats <= model.score(greedy.out[:-1]).nats + 1e-4


def test_a_prompt_with_characters_never_seen_is_no_error(trained: TrainedRun) -> None:
    result = call("generate", trained.folder, "--prompt", "Ωmega 猫\n", "--length", 10, "--seed", 1)
    assert result.code == 0
    assert result.out.startswith("Ωmega 猫\n")


def test_poems_come_from_an_empty_prompt(trained_poems: TrainedRun) -> None:
    result = call("generate", trained_poems.folder, "--seed", 2, "--temperature", 0.5, "--length", 100)
    assert 2 < len(result.out) < 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-p", "2"], "top_p"),
        (["--length", "-5"], "length must be a whole number, 0 or above, was: -5"),
        (["--count", "0"], "count must be"),
        (["--beams", "0"], "beams must be"),
        (["--beams", "2", "--count", "2"], "use beams or count, not both"),
        (["--seed", "-1"], "seed must be"),
        (["--stop", ""], "stop must be"),
        (["--prompt", "\udcff"], "lone surrogates"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_written(
    trained: TrainedRun, arguments: list[str], message: str
) -> None:
    for more in ([], ["--json"]):
        assert message in told(call("generate", trained.folder, "--prompt", "the", *arguments, *more))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["write"],
        ["generate"],
        ["generate", "model", "--length", "many"],
        ["evaluate", "model", "--window", "1.5"],
        ["train", "--errors", "ignore"],
        ["export", "run", "--quantize", "int4"],
        ["info", "model", "--colour"],
    ],
)
def test_a_wrong_call_is_shown_the_right_one(arguments: list[str]) -> None:
    result = call(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "usage: textrnn" in result.err
    assert "Traceback" not in result.err


# evaluate


def test_evaluate_prints_every_figure(trained: TrainedRun) -> None:
    result = call("evaluate", trained.folder)
    assert result.err == ""
    lines = dict(line.rsplit(maxsplit=1) for line in result.out.splitlines())
    assert list(lines) == [
        *("nats", "tokens", "characters", "bytes"),
        *("nats per token", "perplexity", "bits per character", "bits per byte"),
        *("words", "word perplexity"),
    ]
    metrics = read_bundle(trained.folder / "bundle").manifest.metrics["held_out"]
    assert float(lines["nats per token"]) == pytest.approx(metrics["nats_per_token"], abs=1e-4)
    assert int(lines["tokens"].replace(",", "")) == metrics["tokens"]


def test_the_held_out_text_is_the_end_of_the_source(trained: TrainedRun, tmp_path: Path) -> None:
    document = json.loads(call("evaluate", trained.folder, "--json").out)
    text = trained.source.read_text(encoding="utf-8")
    held_out = text[int(len(text) * 0.9) :]
    assert document["characters"] == len(held_out)
    score = textrnn.load(trained.folder).score(held_out)
    assert document["nats"] == pytest.approx(score.nats, rel=1e-5)
    assert document["source"] == "held out"


def test_evaluate_reads_text_files(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat.\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("one bird sang on the 帽子.\n", encoding="utf-8")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    result = call("evaluate", trained.folder / "bundle", *files, "--json")
    document = json.loads(result.out)
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert document["nats"] == pytest.approx(textrnn.load(trained.folder).score(text).nats, rel=1e-5)
    assert (document["characters"], document["bytes"]) == (len(text), len(text.encode()))
    assert document["source"] == [str(file) for file in files]


def test_documents_apart_are_evaluated_apart(trained_poems: TrainedRun, tmp_path: Path) -> None:
    model = textrnn.load(trained_poems.folder)
    sums = []
    for poem in POEMS[:2]:
        (tmp_path / "poem.txt").write_text(f"{poem}\n", encoding="utf-8")
        sums.append(json.loads(call("evaluate", trained_poems.folder, tmp_path / "poem.txt", "--json").out)["nats"])
        assert sums[-1] > model.score(poem).nats  # the end of the poem is predicted too
    (tmp_path / "both.txt").write_text(f"{POEMS[0]}\n{POEMS[1]}\n", encoding="utf-8")
    both = json.loads(call("evaluate", trained_poems.folder, tmp_path / "both.txt", "--json").out)
    assert both["nats"] == pytest.approx(sum(sums), rel=1e-5)
    assert both["tokens"] == len(POEMS[0]) + len(POEMS[1]) + 2


def test_windows_forget_what_came_before(trained: TrainedRun) -> None:
    whole = json.loads(call("evaluate", trained.folder, "--json").out)
    losses = []
    for window in (1, 8, 64):
        document = json.loads(call("evaluate", trained.folder, "--window", window, "--json").out)
        assert document["window"] == window
        assert whole["tokens"] - window <= document["tokens"] < whole["tokens"]
        losses.append(document["nats_per_token"])
    assert losses[0] > losses[1] > losses[2] > whole["nats_per_token"]


@pytest.mark.parametrize("window", [0, -3, 1_000_000])
def test_a_window_must_fit_the_text(trained: TrainedRun, window: int) -> None:
    assert f"was: {window}" in told(call("evaluate", trained.folder, "--window", window))


def test_a_bundle_alone_has_no_held_out_text(trained: TrainedRun) -> None:
    assert "give a SOURCE or the run folder" in told(call("evaluate", trained.folder / "bundle"))


def test_adapted_figures_stand_apart_from_the_static_ones(trained: TrainedRun) -> None:
    before = files_of(trained.folder)
    static = call("evaluate", trained.folder).out
    result = call("evaluate", trained.folder, "--dynamic", "--cache", 50)
    assert result.code == 0, result.err
    assert "searched on the text that is measured here" in result.err
    assert result.out.startswith(static)
    apart = result.out[len(static) :]
    assert apart.startswith("\nThe figures below are adaptive, not static")
    blocks = [block.splitlines() for block in apart.split("\n\n")[1:]]
    assert [block[0] for block in blocks[:3]] == [
        "continuous cache",
        "dynamic evaluation",
        "dynamic evaluation and continuous cache",
    ]
    losses = [float(line.split()[-1]) for block in blocks for line in block if line.startswith("nats per token")]
    assert len(losses) == 3
    (usual,) = (float(line.split()[-1]) for line in static.splitlines() if line.startswith("nats per token"))
    # Settings were chosen on the same text, among which there are all but none of either.
    assert all(0.5 * usual < loss < 1.02 * usual for loss in losses)
    assert "searched on the run's held-out text: cache.theta, cache.weight, dynamic.decay" in blocks[-1][0]
    assert files_of(trained.folder) == before


def test_settings_that_are_given_are_used(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a bat sat on a bat.\n" * 20, encoding="utf-8")
    arguments = ["evaluate", trained.folder, tmp_path / "other.txt", "--json", "--cache", 40]
    settings = ["--set", "cache.theta=0.2", "--set", "cache.weight=0.3"]
    document = json.loads(call(*arguments, *settings).out)
    adapted = document.pop("adapted")
    assert document == json.loads(call(*arguments[:4]).out)
    assert adapted["searched_on_held_out"] == []
    assert adapted["cache"]["settings"] == {"cache.size": 40, "cache.theta": 0.2, "cache.weight": 0.3}
    assert adapted["cache"]["tokens"] == document["tokens"]
    assert adapted["cache"]["perplexity"] < document["perplexity"], "the text says one line again and again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cache", "0"], "--cache must be between 1 and 100,000 positions, was: 0"),
        (["--cache", "1000000"], "was: 1,000,000"),
        (["--dynamic", "--window", "64"], "--window forgets what --dynamic and --cache live on"),
        (["--set", "cache.theta=1"], "cache.theta is a setting of --cache, which was not given"),
        (["--dynamic", "--set", "dynamic.rate=1"], "must be one of dynamic.learning_rate"),
        (["--dynamic", "--set", "dynamic.segment=0"], "1 to 1000 tokens, was: 0"),
        (["--dynamic", "--set", "dynamic.decay=much"], "dynamic.decay must be a number, was: 'much'"),
        (["--cache", "5", "--set", "cache.weight=1"], "from 0 to below 1, was: 1.0"),
    ],
)
def test_what_a_model_cannot_adapt_with(trained: TrainedRun, arguments: list[str], message: str) -> None:
    assert message in told(call("evaluate", trained.folder, *arguments))


def test_only_a_run_of_a_language_model_adapts(trained: TrainedRun, trained_classifier: TrainedRun) -> None:
    message = told(call("evaluate", trained.folder / "bundle", trained.source, "--dynamic"))
    assert "a bundle holds graphs alone: give the run folder" in message
    message = told(call("evaluate", trained_classifier.folder, "--cache", "5"))
    assert "--cache is for language models, this is a classifier" in message


# export, info, and the rest


def test_export_writes_the_same_bundle_again(trained: TrainedRun, tmp_path: Path) -> None:
    result = call("export", trained.folder, "--out", tmp_path / "deep" / "copy")
    assert result == (0, f"{tmp_path / 'deep' / 'copy'}\n", "")
    original = files_of(trained.folder / "bundle")
    assert files_of(tmp_path / "deep" / "copy") == original


def test_export_refuses_a_folder_that_exists_and_copies_a_bundle(trained: TrainedRun, tmp_path: Path) -> None:
    before = files_of(trained.folder)
    assert "must not exist yet" in told(call("export", trained.folder))
    assert "must not exist yet" in told(call("export", trained.folder, "--out", tmp_path))
    assert "must not exist yet" in told(call("export", trained.folder / "bundle", "--out", tmp_path))
    assert "give --out FOLDER" in told(call("export", trained.folder / "bundle"))
    assert "--quantize needs the weights of a run" in told(
        call("export", trained.folder / "bundle", "--quantize", "int8")
    )
    assert files_of(tmp_path) == {}
    assert call("export", trained.folder / "bundle", "--out", tmp_path / "new").code == 0
    assert files_of(tmp_path / "new") == files_of(trained.folder / "bundle")
    assert files_of(trained.folder) == before


def test_info_describes_a_model(trained: TrainedRun) -> None:
    result = call("info", trained.folder)
    assert result.err == ""
    for text in (
        f"bundle     {trained.folder / 'bundle'}",
        "language_model, float32",
        "in 6 files",
        "char, ",
        "step       in  ids: int32 (batch)",
        "step       in  state: float32 (3, batch, 32)",
        "sequence   out logits: float32 (batch, time, ",
        "nats per token 0.",
        "onnxruntime ",
    ):
        assert text in result.out
    manifest = (trained.folder / "bundle" / "manifest.json").read_text(encoding="utf-8")
    assert call("info", trained.folder / "bundle", "--json") == (0, manifest, "")


def test_version() -> None:
    assert call("--version") == (0, f"textrnn {textrnn.__version__}\n", "")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(textrnn.UserError):
        main(["info", str(tmp_path / "none"), "--debug"])


def run_alone(*argv: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """`python -m textrnn` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(textrnn.__file__).resolve().parents[1]), **options}
    command = [sys.executable, "-m", "textrnn", *map(str, argv)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120)


def test_a_reader_that_leaves_is_no_error(trained: TrainedRun) -> None:
    command = f'"{sys.executable}" -m textrnn generate "{trained.folder}" --length 20000 | head -c 10'
    environment = {**os.environ, "PYTHONPATH": str(Path(textrnn.__file__).resolve().parents[1])}
    run = subprocess.run(command, shell=True, capture_output=True, env=environment, timeout=120)
    assert len(run.stdout) == 10
    assert run.stderr == b""


def test_an_output_that_lacks_the_characters_is_told(trained: TrainedRun) -> None:
    run = run_alone(
        "generate", trained.folder, "--prompt", "猫", "--length", 5, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert run.returncode == 1
    assert run.stderr.startswith(b"textrnn: text must be what ascii can spell, was: '\\u732b'")
    assert run.stderr.count(b"\n") == 1


# Bad input


def write_bad_text(folder: Path, kind: str) -> tuple[Path, str]:
    """A file of `BAD_TEXT`, and what must be said of it."""
    content, message = BAD_TEXT[kind]
    path = folder / ("table.csv" if "table" in kind else "text.txt")
    if content is not None:
        path.write_bytes(content)
    return path, message


BAD_TEXT: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "text.txt"),
    "empty": (b"", "text.txt"),
    "empty table": (b"", "table.csv"),
    "binary": (bytes(range(256)) * 40, "text.txt is binary"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(5000), "text.txt is a PNG image"),
    "invalid UTF-8": (b"a" * 1234 + b"\xff" + b"b" * 9000, "has the byte 0xff at offset 1234"),
    "UTF-32": (("hello " * 2000).encode("utf-32"), "UTF-32"),
    "too short": (b"ab", "must have at least 2 tokens"),
    "one character": (b"x", "text"),
}


@pytest.mark.parametrize("kind", BAD_TEXT)
def test_text_that_cannot_be_trained_on_leaves_no_folder(tmp_path: Path, kind: str) -> None:
    path, message = write_bad_text(tmp_path, kind)
    before = files_of(tmp_path)
    assert message in told(call("train", path, "--out", tmp_path / "run", "--quiet"))
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("kind", [kind for kind in BAD_TEXT if kind not in ("too short", "one character")])
def test_text_that_cannot_be_evaluated(trained: TrainedRun, tmp_path: Path, kind: str) -> None:
    path, message = write_bad_text(tmp_path, kind)
    for more in ([], ["--window", "8"], ["--json"]):
        assert message in told(call("evaluate", trained.folder, path, *more))


def test_errors_replace_goes_on(trained: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"the cat sat on the mat.\n\xff the dog\n")
    result = call("evaluate", trained.folder, path, "--errors", "replace", "--json")
    assert result.code == 0
    assert json.loads(result.out)["characters"] == 34
    # Training goes on too.
    arguments = ["train", path, *tiny_settings(), "--out", tmp_path / "run", "--quiet"]
    assert "has the byte 0xff" in told(call(*arguments))
    assert call(*arguments, "--errors", "replace").code == 0


def test_held_out_text_of_one_token_is_too_little(tmp_path: Path) -> None:
    source = write_small_text(tmp_path / "text.txt")
    (tmp_path / "one.txt").write_text("t", encoding="utf-8")
    before = files_of(tmp_path)
    settings = tiny_settings(data__validation=json.dumps(str(tmp_path / "one.txt")))
    result = call("train", source, *settings, "--out", tmp_path / "run", "--quiet")
    assert "held-out text must have at least 2 tokens" in told(result)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "model.hiden_dim=5"], "unknown config key: model.hiden_dim; did you mean model.hidden_dim?"),
        (["--set", "model.layers=0"], "model.layers must be between 1 and 64, was: 0"),
        (["--set", "train.epochs=soon"], "train.epochs must be of type float, was: 'soon'"),
        (["--set", "epochs"], "--set takes key.path=value, was: epochs"),
        (["--config", "none.toml"], "none.toml: No such file or directory"),
        (["--config", "wrong.toml"], "must be valid TOML, wrong.toml: "),
        (["--config", "unknown.toml"], "unknown config key: train.batchsize; did you mean train.batch_size?"),
        (["--config", "."], "must be a readable TOML file"),
    ],
)
def test_wrong_settings_are_told_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.toml").write_text("[train\nepochs = 1\n", encoding="utf-8")
    (tmp_path / "unknown.toml").write_text("[train]\nbatchsize = 1\n", encoding="utf-8")
    before = files_of(tmp_path)
    assert message in told(call("train", *arguments, "--out", "run"))
    assert files_of(tmp_path) == before


def test_a_run_folder_that_exists_is_not_touched(copied: TrainedRun, tmp_path: Path) -> None:
    before = files_of(copied.folder)
    assert "add --resume, or give another --out" in told(call("train", copied.source, "--out", copied.folder))
    assert files_of(copied.folder) == before
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    told(call("train", copied.source, "--out", tmp_path / "file"))
    told(call("train", copied.source, "--out", tmp_path / "file" / "below"))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_resuming_nothing_makes_nothing(tmp_path: Path) -> None:
    message = f"a run folder holds config.json, found none in: {tmp_path / 'run'}"
    assert message in told(call("train", "--resume", "--out", tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    assert "found none in" in told(call("train", "--resume", "--out", tmp_path / "empty"))
    assert set(files_of(tmp_path)) == {"empty"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"modle": {}}', b'{"model": {"layers": 0}}', b"7"])
def test_a_damaged_run_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    for arguments in (["train", "--resume", "--out", tmp_path], ["export", tmp_path]):
        assert str(tmp_path / "config.json") in told(call(*arguments))
    assert (tmp_path / "config.json").read_bytes() == content


def test_a_run_that_was_never_evaluated_has_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "has no evaluated weights yet" in told(call("export", tmp_path))
    assert "let it end or use: textrnn export" in told(call("generate", tmp_path))
    assert set(files_of(tmp_path)) == {"config.json"}


def test_a_name_that_is_no_utf_8_is_told(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    with open(folder + b"/caf\xe9.txt", "wb") as file:  # noqa: PTH123  a Path hides what this is about
        file.write(b"hello " * 100)
    before = os.listdir(folder)  # noqa: PTH208
    result = call("train", os.fsdecode(folder + b"/caf\xe9.txt"), "--out", tmp_path / "run", "--quiet")
    assert "text must be what utf-8 can spell, was: '\\udce9'" in told(result)
    assert os.listdir(folder) == before  # noqa: PTH208


def missing(bundle: Path) -> None:
    (bundle / "weights.bin").unlink()


def truncated(bundle: Path) -> None:
    path = bundle / "weights.bin"
    path.write_bytes(path.read_bytes()[:-1])


def swapped(bundle: Path) -> None:
    one, other = bundle / "model.onnx", bundle / "sequence.onnx"
    one.rename(bundle / "x")
    other.rename(one)
    (bundle / "x").rename(other)


def edited(bundle: Path) -> None:
    path = bundle / "tokenizer.json"
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def newer(bundle: Path) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "format_version": 2}), encoding="utf-8")


def no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def broken_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "weights.bin is missing"),
        (truncated, "weights.bin must have"),
        (swapped, ".onnx must have"),
        (edited, "tokenizer.json must have the SHA-256"),
        (newer, "newer textrnn (format 2, this one reads 1)"),
        (no_manifest, "manifest.json"),
        (broken_manifest, "manifest.json must be JSON"),
    ],
)
def test_a_damaged_bundle_is_refused_by_every_command(
    trained: TrainedRun, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(trained.folder / "bundle", bundle)
    damage(bundle)
    before = files_of(tmp_path)
    for arguments in (["generate", bundle, "--prompt", "the"], ["evaluate", bundle, trained.source], ["info", bundle]):
        assert message in told(call(*arguments))
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("command", ["generate", "evaluate", "info", "export"])
def test_a_model_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    assert str(tmp_path / "none") in told(call(command, tmp_path / "none"))
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in told(call(command, tmp_path / "file"))
