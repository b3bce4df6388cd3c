"""Recordings, from files to a finished classifier and its use, on tones that the tests make."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, error_of, told
from conftest import TrainedRun, vector_settings
from numpy.typing import NDArray

import textrnn
from textrnn.data.audio.augmentation import AugmentedBatches
from textrnn.data.audio.recordings import AudioFormat
from textrnn.data.audio.sources import AudioSources, Columns, find_recordings
from textrnn.data.labelled_vectors import VectorBatches, VectorDataset, prepare_vectors
from textrnn.data.labels import Labels
from textrnn.data.vector_sources import VectorOptions, read_vectors, vectors_fingerprint
from textrnn.errors import UserError

soundfile = pytest.importorskip("soundfile", reason="comes with the extra audio")
pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
pytest.importorskip("soxr", reason="comes with the extra audio")

PITCHES = {"high": 1200.0, "low": 300.0}
FORMAT = AudioFormat(8000, 20)


def tone(pitch: float, seconds: float = 0.3, rate: int = 8000, seed: int = 0) -> NDArray[np.float32]:
    """A tone that begins and ends softly, with a little noise: samples from -1 to 1."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.003, len(time))
    return np.float32(0.3 * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds) + noise)


def write(path: Path, samples: NDArray[np.float32], rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    """Write a .wav with the standard library: 1 to 4 bytes a sample; all channels hold the same."""
    scaled = np.int64(samples.astype(np.float64) * (2 ** (8 * width - 1) - 1))
    whole = np.repeat(scaled[:, None], channels, axis=1)
    data = (whole + 128).astype("u1") if width == 1 else whole.astype("<i4").view("u1").reshape(-1, 4)[:, :width]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data.tobytes())
    return path


def write_classes(folder: Path, count: int = 32) -> Path:
    """A folder for each class of tones, of several rates, widths and lengths, mono and stereo."""
    draw = np.random.default_rng(1)
    for number in range(count):
        for label, pitch in PITCHES.items():
            rate = (8000, 16000, 22050)[number % 3]
            samples = tone(pitch * draw.uniform(0.9, 1.1), 0.12, rate, number)
            write(folder / label / f"{number}.wav", samples, rate, width=1 + number % 4, channels=1 + number % 2)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("trained_on_tones")
    source = write_classes(folder / "tones")
    write(source / "low" / "silent.wav", np.zeros(800, np.float32))
    (source / "read me.txt").write_text("no recording")
    settings = vector_settings(data__reads="audio", data__mel_bins=20, train__epochs=12)
    result = call("train", source, "--task", "classification", *settings, "--out", folder / "run")
    assert result.code == 0, result.err
    return TrainedRun(folder / "run", source, result)


def test_a_folder_of_recordings_becomes_a_classifier(trained: TrainedRun, tmp_path: Path) -> None:
    run, source, result = trained
    assert "recordings are read at 8,000 samples a second, those to train on have 8,000, 16,000, 22,050" in result.err
    assert result.err.splitlines()[-1] == f"try: textrnn classify {run} RECORDING.wav"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["accuracy"] >= 0.9
    assert report["skipped"] == "1 silent recordings, 1 files that are no recordings"

    measured = json.loads(call("evaluate", run / "bundle", source, "--json").out)
    assert measured["accuracy"] >= 0.95
    held_out = json.loads(call("evaluate", run, "--json").out)
    assert held_out["source"] == "held out"

    files = [write(tmp_path / f"{label}.wav", tone(pitch, rate=44100), 44100) for label, pitch in PITCHES.items()]
    found = [json.loads(line) for line in call("classify", run, *files).out.splitlines()]
    assert [(line["record"], line["path"], line["label"]) for line in found] == [
        (1, str(files[0]), "high"),
        (2, str(files[1]), "low"),
    ]
    assert call("classify", run, "--input", tmp_path).out.splitlines() == call("classify", run, *files).out.splitlines()
    (tmp_path / "new.csv").write_text("file,note\nlow.wav,a\n", encoding="utf-8")
    (line,) = call("classify", run, "--input", tmp_path / "new.csv").out.splitlines()
    assert json.loads(line)["label"] == "low"

    small = call("export", run, "--quantize", "int8", "--out", tmp_path / "int8")
    assert small.code == 0, small.err
    assert json.loads(call("evaluate", tmp_path / "int8", source, "--json").out)["accuracy"] >= 0.9


def test_python_reads_files_bytes_and_samples(trained: TrainedRun, tmp_path: Path) -> None:
    model = textrnn.load(trained.folder, textrnn.AudioClassifier)
    samples = tone(1150, rate=16000)
    path = write(tmp_path / "a.wav", samples, 16000, width=3)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    both = np.stack([samples, samples], axis=1)
    recordings = [path, str(path), path.read_bytes(), (samples, 16000), (both, 16000), tmp_path / "a.flac"]
    probs = model.predict(recordings)
    assert [found.label for found in model.classify(recordings)] == ["high"] * 6
    np.testing.assert_allclose(probs, np.repeat(probs[:1], 6, axis=0), atol=0.01)
    assert model.predict([]).shape == (0, 2)
    assert "is text" in error_of(lambda: model.classify([str(path)], arranged=True))  # as the server calls it


def test_frames_do_not_depend_on_rate_width_channels_and_level(tmp_path: Path) -> None:
    plain = FORMAT.frames(write(tmp_path / "plain.wav", tone(500)), "plain")
    assert plain.shape == (30, 20)
    assert plain.dtype == np.float32
    assert int(plain.max(axis=0).argmax()) == int(plain[15].argmax())
    others = {
        "rate": write(tmp_path / "rate.wav", tone(500, rate=32000), 32000),
        "width": write(tmp_path / "width.wav", tone(500), width=4),
        "channels": write(tmp_path / "channels.wav", tone(500), channels=2),
        "level": write(tmp_path / "level.wav", tone(500) / 3),
    }
    for name, path in others.items():
        found = FORMAT.frames(path, name)
        assert found.shape == plain.shape, name
        assert int(found[15].argmax()) == int(plain[15].argmax()), name
        if name != "rate":  # whose noise is another
            np.testing.assert_allclose(found, plain, atol=0.2, err_msg=name)
    assert FORMAT.frames((tone(500)[:30] + np.float32(0.1), 8000), "short").shape == (1, 20)


def write_table(folder: Path, speakers: int = 5) -> Path:
    rows = []
    for speaker in range(speakers):
        for number in range(6):
            for label, pitch in PITCHES.items():
                name = f"clips/{speaker}-{number}-{label}.wav"
                write(folder / name, tone(pitch, seed=number))
                rows.append((name, label, f"s{speaker}"))
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    return folder / "table.csv"


def test_a_group_is_held_out_as_a_whole(tmp_path: Path) -> None:
    source = write_table(tmp_path)
    options = VectorOptions(audio=AudioSources(FORMAT, "path", "speaker"))
    parts = prepare_vectors([str(source)], options, tmp_path / "data", labels=Labels(()), held_out=0.2, quiet=True)
    train, held_out = ({record // 12 for record in part.records.tolist()} for part in parts)
    assert len(held_out) == 1
    assert train | held_out == {0, 1, 2, 3, 4}
    assert not train & held_out

    one = write_table(tmp_path / "one", speakers=1)
    settings = [*vector_settings(data__reads="audio", data__group="speaker"), "--out", str(tmp_path / "other")]
    assert "all records are of one: 's0'" in told(call("train", one, "--task", "classification", *settings, "--quiet"))
    folder = write_classes(tmp_path / "folder", 2)
    assert "has no table" in told(call("train", folder, "--task", "classification", *settings, "--quiet"))
    assert not (tmp_path / "other").exists()


def test_another_recording_of_the_same_name_is_other_data(tmp_path: Path) -> None:
    source = write_table(tmp_path, speakers=2)
    options = VectorOptions(audio=AudioSources(FORMAT, "path"))
    before = vectors_fingerprint([str(source)], options)
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    assert vectors_fingerprint([str(tmp_path / "copy" / "table.csv")], options) == before
    write(tmp_path / "clips" / "0-0-low.wav", tone(100))
    assert vectors_fingerprint([str(source)], options) != before
    assert vectors_fingerprint([str(tmp_path / "clips" / "0-0-low.wav")], options) != before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can be decoded, "),
        (b"RIFF\x10\0\0\0WAVEfmt ", "can be decoded, "),
        (b"no sound at all" * 100, "can be decoded, "),
        (None, "a file that exists, was: "),
        (np.zeros(0, np.float32), "is empty"),
        (np.zeros(4000, np.float32), "is silent: its loudest sample is below -80 dB"),
        (np.full(4000, 0.5, np.float32), "is silent"),
    ],
)
def test_a_recording_that_cannot_be_used(trained: TrainedRun, tmp_path: Path, content: Any, says: str) -> None:
    path = tmp_path / "a.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)
    message = told(call("classify", trained.folder, path))
    assert says in message
    assert str(path) in message


@pytest.mark.parametrize(
    ("recordings", "says"),
    [
        ("a.wav", "reads several"),
        (b"RIFF", "reads several"),
        (5, "reads several"),
        ([5], "a file, its bytes, or (samples, rate)"),
        ([(np.ones(100, np.int16), 8000)], "divide whole numbers"),
        ([(np.full(100, np.nan), 8000)], "must be finite numbers"),
        ([(np.ones((2, 3, 4)), 8000)], "(time,) or (time, channels)"),
        ([(np.ones(100), 0)], "samples need their rate"),
        ([(np.ones(100),)], "samples need their rate"),
        ([(tone(300, 601, 1000), 1000)], "must take 600 seconds at most, recording 1 takes 601"),
    ],
)
def test_wrong_recordings_in_python(trained: TrainedRun, recordings: Any, says: str) -> None:
    assert says in error_of(lambda: textrnn.load(trained.folder).classify(recordings))


def test_wrong_calls(trained: TrainedRun, tmp_path: Path) -> None:
    run = trained.folder
    path = write(tmp_path / "a.wav", tone(300))
    assert "was given none" in told(call("classify", run))
    assert "was given both" in told(call("classify", run, path, "--input", path))
    assert "--why is for classifiers of texts" in told(call("classify", run, path, "--why"))
    assert "--values is for vectors" in told(call("classify", run, path, "--values", "x"))
    train = ["--task", "classification", "--set", "data.reads=audio", "--out", tmp_path / "run"]
    assert "recordings are read from files, was: 'builtin'" in told(call("train", *train))
    (tmp_path / "a.csv").write_text("path,label\na.wav,x\nb.wav,y\n", encoding="utf-8")
    assert "b.wav" in told(call("train", tmp_path / "a.csv", *train))
    (tmp_path / "b.csv").write_text("clip,kind\na,x\n", encoding="utf-8")
    assert "the recording column must be one of 'clip, kind'" in told(call("train", tmp_path / "b.csv", *train))
    only_text = tmp_path / "texts"
    only_text.mkdir()
    (only_text / "a.txt").write_text("a")
    assert "must hold some recordings (.wav, .flac, .ogg, .mp3), found none" in told(call("train", only_text, *train))
    write(only_text / "a.wav", tone(300))  # in no folder of a class
    message = told(call("train", only_text, *train, "--quiet"))
    assert "must hold some labelled recordings, found none" in message
    tones = write_table(tmp_path, speakers=1)
    for setting in ("data.sample_rate=5", "data.mel_bins=200"):
        name, _, value = setting.partition("=")
        message = told(call("train", tones, *train, "--set", setting, "--quiet"))
        assert message.startswith(f"textrnn: {name} must be")
        assert f"was: {value}" in message
    assert "train.augment applies to" in told(call("train", "--set", "train.augment=false", "--out", tmp_path / "run"))


def test_without_the_extra(trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", tone(300, rate=16000), 16000)
    for name in ("kaldi_native_fbank", "soundfile", "soxr"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            message = told(call("classify", trained.folder, path))
        assert f"recordings need the extra audio, {name} cannot be imported" in message
        assert message.endswith("run: pip install 'textrnn[audio]'")


def test_a_bundle_says_how_recordings_are_read(trained: TrainedRun, tmp_path: Path) -> None:
    manifest = json.loads((trained.folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["runtime"]["audio"] == {"sample_rate": 8000, "mel_bins": 20, "recording": "path"}
    for name, value in {"sample_rate": 0, "mel_bins": 21, "recording": None}.items():
        folder = tmp_path / name
        shutil.copytree(trained.folder / "bundle", folder)
        audio = {**manifest["runtime"]["audio"], name: value}
        changed = {**manifest, "runtime": {**manifest["runtime"], "audio": audio}}
        (folder / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")
        assert name in error_of(lambda folder=folder: textrnn.load(folder))  # type: ignore[misc]


def test_a_model_that_learns_on_reads_recordings_as_before(trained: TrainedRun) -> None:
    from textrnn.training.tasks.pretrained import stated_from  # which loads TensorFlow

    for model in (trained.folder, trained.folder / "bundle"):
        stated = stated_from({"data": {"mel_bins": 30}}, str(model))
        assert stated["task"] == "classification"
        assert stated["data"] == {"reads": "audio", "sample_rate": 8000, "mel_bins": 30, "recording": "path"}


def test_training_changes_recordings_anew_in_each_epoch(trained: TrainedRun) -> None:
    dataset = VectorDataset.open(next((trained.folder / "data").glob("*.train.json")))
    changed, plain = AugmentedBatches(dataset, 8, seed=1), VectorBatches(dataset, 8, seed=1)
    first = changed.batch(3)
    np.testing.assert_array_equal(first.indices, plain.batch(3).indices)
    again = AugmentedBatches(dataset, 8, seed=1).batch(3)
    for ours, theirs in zip(first.inputs, again.inputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    values, lengths = first.inputs
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert lengths.tolist() != plain.batch(3).inputs[1].tolist()
    later = changed.batch(3 + changed.steps_per_epoch)
    assert not np.array_equal(values, later.inputs[0])
    for ours, theirs in zip(changed.all(), plain.all(), strict=True):
        np.testing.assert_array_equal(ours.inputs[0], theirs.inputs[0])


def test_tables_name_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(300))
    (tmp_path / "a.jsonl").write_text('{"audio": "a.wav", "digit": 7}\n', encoding="utf-8")
    skipped = Counter[str]()
    (found,) = find_recordings(str(tmp_path / "a.jsonl"), Columns("path", "digit"), skipped)
    assert (found.path, found.label) == (tmp_path / "a.wav", "7")
    options = VectorOptions(label="digit", audio=AudioSources(FORMAT, "audio"))
    ((frames, label),) = read_vectors([str(tmp_path)], options, skipped)
    assert (frames.shape, label) == ((30, 20), "7")
    with pytest.raises(UserError, match="the label column must be one of 'audio, digit'"):
        list(find_recordings(str(tmp_path / "a.jsonl"), Columns("path", "label"), skipped))


@pytest.mark.long
def test_spoken_digits(tmp_path: Path, data_folder: Path) -> None:
    files = [path for path in sorted((data_folder / "fsdd").glob("*.wav")) if path.name[0] in "07"]
    with (tmp_path / "digits.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(path, path.name[0], path.name.split("_")[1]) for path in files]
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    settings = vector_settings(data__reads="audio", model__hidden_dim=16, train__epochs=6)
    source = tmp_path / "digits.csv"
    result = call("train", source, "--task", "classification", *settings, "--out", tmp_path / "run", "--quiet")
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["accuracy"] > 0.9
