"""Recognition as a user has it: recordings and transcripts, training, resuming, and the model that comes of it.

The letters of these recordings are tones.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Result, call, error_of, told
from killed_run import trained_arrays

import textrnn
from textrnn.data.audio.sources import Columns
from textrnn.data.audio.transcripts import (
    AugmentedTranscribedBatches,
    TranscribedBatches,
    TranscribedDataset,
    find_transcripts,
    steps_needed,
)
from textrnn.runtime.recognizer import Recognizer
from textrnn.training.tasks.configuration import load_config
from textrnn.training.tasks.runs import create_run, open_run
from textrnn.training.tensorflow_setup import import_tensorflow

pytest.importorskip("soundfile", reason="comes with the extra audio")
pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")

import_tensorflow()

import tensorflow as tf  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = [
    "model.hidden_dim=24",
    "model.layers=1",
    "data.mel_bins=20",
    "train.batch_size=8",
    "train.learning_rate=0.02",
    "train.warmup_steps=10",
]


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without compilation, which takes longer than a short training."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 recordings, each of one to four letters, and of others that cannot be used."""
    folder = tmp_path_factory.mktemp("spelled")
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_spelled(folder)
    write(folder / "silent.wav", np.zeros(800))
    with (folder / "spelled.csv").open("a", encoding="utf-8") as file:
        file.write("silent.wav,abc\n0.wav,\n1.wav,abcabcabcabcabcabcabcabcabcabcabcabcabc\n")
    return folder / "spelled.csv"


def write(path: Path, samples: Any) -> Path:
    """Write samples from -1 to 1 as a .wav of 8 kHz."""
    import soundfile

    soundfile.write(path, samples, 8000)
    return path


@pytest.fixture(scope="module")
def trained(spelled: Path) -> tuple[Path, Result]:
    """A run that has learned to spell."""
    run = spelled.parent / "run"
    settings = [*SMALL, "train.augment=false", "train.epochs=25", "train.evaluations=2", "model.dropout=0"]
    given = [part for setting in settings for part in ("--set", setting)]
    result = call("train", spelled, "--task", "recognition", *given, "--out", run)
    assert result.code == 0, result
    return run, result


def texts_of(table: Path) -> dict[str, str]:
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:61]]
    return {row[0]: row[1] for row in rows}


def test_letters_are_learned_and_recognised(trained: tuple[Path, Result], spelled: Path) -> None:
    run, result = trained
    assert result.err.splitlines()[-1] == f"try: textrnn transcribe {run} RECORDING.wav"
    left_out = "1 recordings without a transcript, 1 silent recordings, 1 recordings too short for their transcript"
    assert f"left out: {left_out}\n" in result.err
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (report["left_out"], report["too_short"], report["recordings"]) == (left_out, 1, 6)
    assert report["word_error_rate"] <= 0.2
    assert report["character_error_rate"] <= report["word_error_rate"]
    held_out = json.loads(call("evaluate", run, "--json").out)
    assert held_out["word_error_rate"] == pytest.approx(report["word_error_rate"])

    expected = texts_of(spelled)
    files = [spelled.parent / name for name in expected]
    lines = [line.split("\t") for line in call("transcribe", run, *files).out.splitlines()]
    assert [path for path, _ in lines] == list(map(str, files))
    right = sum(text == expected[Path(path).name] for path, text in lines)
    assert right >= 57
    measured = json.loads(call("evaluate", run / "bundle", spelled, "--json").out)
    assert measured["recordings"] == 61
    assert measured["left_out"] == {"recordings without a transcript": 1, "silent recordings": 1}
    # What was recognised is a table of transcripts.
    (spelled.parent / "recognised.txt").write_text("".join(f"{Path(p).name}\t{t}\n" for p, t in lines))
    again = json.loads(call("evaluate", run, spelled.parent / "recognised.txt", "--json").out)
    assert (again["recordings"], again["word_error_rate"]) == (60, 0.0)


def test_scores_and_candidates(trained: tuple[Path, Result], spelled: Path) -> None:
    run, _ = trained
    path = spelled.parent / "0.wav"
    found = json.loads(call("transcribe", run, path, "--json", "--beams", "4").out)
    assert found["text"] == texts_of(spelled)["0.wav"]
    assert len(found["candidates"]) == 4
    probabilities = [each["probability"] for each in found["candidates"]]
    assert 0.5 < probabilities[0] <= 1
    assert probabilities == sorted(probabilities, reverse=True)
    assert found["seconds"] == pytest.approx(len(textrnn.load(run).format.frames(path, "")) / 100)
    (greedy,) = textrnn.load(run, Recognizer).transcribe([path.read_bytes()])
    assert (greedy.text, len(greedy.candidates)) == (found["text"], 1)
    assert greedy.log_prob == pytest.approx(found["log_prob"], abs=1e-3)


def test_a_folder_and_tables_of_recordings(trained: tuple[Path, Result], spelled: Path, tmp_path: Path) -> None:
    run, _ = trained
    for name in ("3.wav", "4.wav"):
        shutil.copy(spelled.parent / name, tmp_path / name)
    texts = [texts_of(spelled)[name] for name in ("3.wav", "4.wav")]
    (tmp_path / "notes.txt").write_text("x")
    result = call("transcribe", run, "--input", tmp_path)
    assert [line.split("\t")[1] for line in result.out.splitlines()] == texts
    assert "1 files that are no recordings" in result.err
    for name, content in {"a.csv": "clip,note\n3.wav,x\n4.wav,y\n", "b.txt": "3.wav\n4.wav\n"}.items():
        (tmp_path / name).write_text(content)
        lines = call("transcribe", run, "--input", tmp_path / name).out.splitlines()
        assert [line.split("\t")[1] for line in lines] == texts


def test_8_bits_card_and_info(trained: tuple[Path, Result], spelled: Path, tmp_path: Path) -> None:
    run, _ = trained
    exported = call("export", run, "--quantize", "int8", "--out", tmp_path / "int8")
    assert "points of word error rate on held-out recordings" in exported.err
    assert json.loads(call("evaluate", tmp_path / "int8", spelled, "--json").out)["word_error_rate"] < 0.2
    card = call("card", run).out
    assert "automatic-speech-recognition" in card
    assert "pip install 'textrnn[audio]'" in card
    assert "| held-out part | word error rate |" in card
    assert "kind       recognizer, float32" in call("info", run).out


def test_a_language_model_chooses_among_texts(trained: tuple[Path, Result], spelled: Path) -> None:
    run, _ = trained
    lm = textrnn.load(GOLDEN / "language-model-char-float32")
    model = textrnn.load(run, Recognizer)
    path = spelled.parent / "5.wav"
    (plain,) = model.transcribe([path], 8)
    (weak,) = model.transcribe([path], lm=lm, alpha=0.0, beta=0.0)
    assert [each.text for each in weak.candidates] == [each.text for each in plain.candidates]
    (strong,) = model.transcribe([path], lm=lm, alpha=30.0, beta=0.0)
    of_lm = {text: -lm.score(f"{text}\n").nats for text in {strong.text, plain.text}}
    assert of_lm[strong.text] == max(of_lm.values()) > of_lm[plain.text]
    for each in strong.candidates:
        expected = each.log_prob - 30 * lm.score(f"{each.text}\n").nats
        assert each.score == pytest.approx(expected, rel=1e-3)
    result = call("transcribe", run, path, "--lm", lm.folder, "--alpha", "0", "--beta", "0")
    assert result.out == f"{path}\t{plain.text}\n"
    assert "word error rate" in call("evaluate", run, spelled, "--lm", lm.folder, "--beams", "2").out


@pytest.mark.usefixtures("eagerly")
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(spelled: Path, tmp_path: Path) -> None:
    settings = ["task=recognition", f'data.source=["{spelled}"]', "data.sample_rate=8000", *SMALL]
    config = load_config(None, [*settings, "train.epochs=0.7", "train.checkpoint_seconds=0", "train.evaluations=1"])
    whole = trained_arrays(create_run(tmp_path / "whole", config, quiet=True))
    assert trained_arrays(create_run(tmp_path / "killed", config, quiet=True), stop_after=2) == {}
    resumed = trained_arrays(open_run(tmp_path / "killed", quiet=True))
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


def test_changed_recordings_stay_long_enough_for_their_transcripts(trained: tuple[Path, Result]) -> None:
    dataset = TranscribedDataset.open(next((trained[0] / "data").glob("*.train.json")))
    stack = 3
    changed = AugmentedTranscribedBatches(dataset, 8, 1, stack)
    plain = TranscribedBatches(dataset, 8, 1)
    different = 0
    for step in range(2 * changed.steps_per_epoch):
        batch, expected = changed.batch(step), plain.batch(step)
        np.testing.assert_array_equal(batch.targets, expected.targets)
        different += int((batch.inputs[1] != expected.inputs[1]).sum())
        for row, index in enumerate(batch.indices.tolist()):
            ids = dataset.transcript(index)
            assert batch.targets[row, : len(ids)].tolist() == ids.tolist()
            assert not batch.targets[row, len(ids) :].any()
            needed = min(steps_needed(ids), int(dataset.lengths[index]) // stack)
            assert batch.inputs[1][row] // stack >= needed
    assert different > step


def test_whole_groups_are_held_out(spelled: Path, tmp_path: Path) -> None:
    rows = [f"{name},{text},{number % 5}\n" for number, (name, text) in enumerate(texts_of(spelled).items())]
    table = spelled.parent / "speakers.csv"
    table.write_text("file,said,speaker\n" + "".join(rows), encoding="utf-8")
    settings = [*SMALL, "data.group=speaker", "train.epochs=0.2", "train.evaluations=1"]
    given = [part for setting in settings for part in ("--set", setting)]
    tf.config.run_functions_eagerly(True)
    try:
        found = call(
            "train", table, "--task", "recognition", "--text", "said", *given, "--out", tmp_path / "run", "--quiet"
        )
    finally:
        tf.config.run_functions_eagerly(False)
    assert found.code == 0, found.err
    parts = [
        TranscribedDataset.open(path) for path in sorted((tmp_path / "run" / "data").glob("*.json")) if "-" in path.name
    ]
    held_out, train = ({record % 5 for record in part.records.tolist()} for part in parts)
    assert len(held_out) == 1
    assert held_out | train == set(range(5))
    assert not held_out & train


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "path,text\na.wav,one two\n"),
        ("b.csv", "speaker,words,clip\nx,one  two ,a.wav\n"),
        ("c.jsonl", '{"path": "a.wav", "text": "one two"}\n'),
        ("d.txt", "a.wav\tone two\n"),
        ("e.tsv", "a.wav\tone two\n"),
    ],
)
def test_transcripts_are_read_from_tables_and_lines(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    columns = Columns("path", "words" if name == "b.csv" else "text", answer="text")
    (found,) = find_transcripts([str(tmp_path / name)], columns, Counter())
    assert (found.path, found.label) == (tmp_path / "a.wav", "one two")


def test_what_is_wrong_with_a_call_is_told_in_one_line(
    trained: tuple[Path, Result], spelled: Path, tmp_path: Path
) -> None:
    run, _ = trained
    path = write(tmp_path / "a.wav", np.sin(np.arange(4000)))
    train = ("--task", "recognition", "--out", tmp_path / "run", "--quiet")

    def refused(table: str, *options: str) -> str:
        (tmp_path / "a.csv").write_text(table, encoding="utf-8")
        message = told(call("train", tmp_path / "a.csv", *train, *options))
        assert not (tmp_path / "run").exists()
        return message

    assert "the text column must be one of 'path, a, b'" in refused("path,a,b\na.wav,x,y\n")
    assert "found none in" in refused("path,text\na.wav,\n")
    assert "two sequences or more" in refused("path,text\na.wav,x\n")
    long = "a.wav," + "xy" * 60 + "\n"
    assert "long enough for their transcripts, too few are: 2 recordings too short" in refused("path,text\n" + 2 * long)
    assert "transcripts are read from a table of recordings" in told(call("train", path, *train))
    assert "recognition reads audio" in refused("path,text\na.wav,x\n", "--set", "data.reads=text")
    assert "model.frame_stack applies to recognizers" in told(call("train", "--set", "model.frame_stack=2"))
    assert "model.init_from applies to" in told(call("train", spelled, *train[2:], "--from", run))
    options = ("--task", "classification", "--set", "data.reads=audio", "--label", "text")
    assert "must not be a recognizer" in told(call("train", spelled, *options, *train[2:], "--from", run / "bundle"))
    assert "was given none" in told(call("transcribe", run))
    assert "was given both" in told(call("transcribe", run, path, "--input", path))
    assert "beams must be a whole number" in told(call("transcribe", run, path, "--beams", "0"))
    assert "--alpha is of a language model" in told(call("transcribe", run, path, "--alpha", "1"))
    assert "transcribe needs a recognizer" in told(call("transcribe", GOLDEN / "classifier-float32", path))
    assert "textrnn transcribe" in told(call("predict", run, path))
    words = GOLDEN / "language-model-word-float32"
    assert "must read characters" in told(call("transcribe", run, path, "--lm", words))
    assert "lm must be a language model" in told(call("transcribe", run, path, "--lm", run))
    assert "--lm is for recognition" in told(call("evaluate", GOLDEN / "classifier-float32", path, "--lm", words))
    model = textrnn.load(run, Recognizer)
    assert "reads several" in error_of(lambda: model.transcribe("a.wav"))
    assert "alpha must be a finite number" in error_of(lambda: model.transcribe([path], alpha=float("nan")))
    assert "values a step" in error_of(lambda: model.transcribe([np.zeros((5, 3))], arranged=True))


def test_a_recording_shorter_than_a_step_has_no_text(trained: tuple[Path, Result]) -> None:
    model = textrnn.load(trained[0], Recognizer)
    for beams in (1, 3):
        found, other = model.transcribe([np.zeros((1, 20)), np.zeros((40, 20))], beams, arranged=True)
        assert (found.text, found.log_prob) == ("", 0.0)
        assert other.seconds == pytest.approx(0.4)
