"""Makes the golden bundles: tiny trained models of every kind and precision, and what they said when they were made.

Run it from the repository with ``python tests/golden/make.py``, only to add a kind: bundles of a released version must
load in every later one, with the same results. It writes ``expected.json`` and a folder for each bundle. It leaves
folders that are there as they are.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np

import textrnn

HERE = Path(__file__).parent
PROMPT = "the cat"
SCORED = "the cat sat on the map. a dog slept."
TEXTS = ["the film was good and the story", "bad", "", "的 电影 好 film " * 12]

NETWORK = {
    "model.hidden_dim": 6,
    "model.layers": 1,
    "model.embedding_dim": 6,
    "model.activation": "tanh",
    "model.recurrence": "dense",
    "model.max_excitation": 0.0,
    "model.dropout": 0.0,
    "train.learning_rate": 0.01,
    "train.warmup_steps": 5,
    "train.evaluations": 1,
    "train.batch_size": 8,
}
LANGUAGE_MODEL = {"train.sequence_length": 16, "train.sample_length": 0, "train.epochs": 4}
# With 24 units the matrices are large enough to be quantised; smaller ones stay in float32.
WHOLE = {"model.hidden_dim": 24, "data.held_out": 0.2, "train.epochs": 8, "train.learning_rate": 0.03}
RUNS: dict[str, tuple[str, dict[str, object]]] = {
    "language-model-char": ("animals.txt", {**LANGUAGE_MODEL, "tokenizer.kind": "char"}),
    "language-model-word": (
        "animals.txt",
        {**LANGUAGE_MODEL, "tokenizer.kind": "word", "data.separate_documents": True, "data.document": "line"},
    ),
    "language-model-sentencepiece": (
        "animals.txt",
        {**LANGUAGE_MODEL, "tokenizer.kind": "sentencepiece", "tokenizer.vocabulary_size": 0},
    ),
    "classifier": (
        "opinions.jsonl",
        {
            **WHOLE,
            "task": "classification",
            "tokenizer.min_count": 1,
            "model.segment_length": 8,
            "model.bidirectional": True,
            "model.embedding_dropout": 0.0,
            "data.max_length": 20,
        },
    ),
    "multilabel-classifier": (
        "tagged.jsonl",
        {
            **WHOLE,
            "task": "multilabel",
            "tokenizer.min_count": 1,
            "model.segment_length": 0,
            "model.embedding_dropout": 0.0,
        },
    ),
    "vector-classifier": (
        "lines.npz",
        {
            **WHOLE,
            "task": "classification",
            "data.reads": "vectors",
            "model.embedding_dim": 0,
            "data.steps": "values",
            "model.layers": 2,
            "model.stride": 2,
        },
    ),
    "regressor": (
        "values.npz",
        {**WHOLE, "task": "regression", "data.reads": "vectors", "model.embedding_dim": 0, "data.steps": "values"},
    ),
    "forecaster": (
        "wave.csv",
        {
            "task": "forecast",
            "model.embedding_dim": 0,
            "model.recurrence": "rotation",
            "model.activation": "linear",
            "model.mixing": "relu",
            "model.horizon": 3,
            "train.sequence_length": 32,
            "train.epochs": 20,
        },
    ),
    "text-to-text": (
        "numbers.tsv",
        {
            **WHOLE,
            "task": "text_to_text",
            "model.layers": 2,
            "model.bidirectional": True,
            "tokenizer.source_kind": "char",
            "tokenizer.target_kind": "word",
            "train.epochs": 60,
            "train.label_smoothing": 0.0,
        },
    ),
    "recognizer": (
        "spelled.csv",
        {
            **WHOLE,
            "task": "recognition",
            "model.embedding_dim": 0,
            "model.frame_stack": 2,
            "model.bidirectional": True,
            "data.mel_bins": 20,
            "train.augment": False,
            "train.epochs": 40,
        },
    ),
}
RUNS["audio-classifier"] = (
    "tones.csv",
    {
        **WHOLE,
        "task": "classification",
        "data.reads": "audio",
        "model.embedding_dim": 0,
        "data.mel_bins": 20,
        "train.augment": False,
    },
)
PITCHES = {"a": 300, "b": 700, "c": 1500}  # Hz, of the letters of `spelled.csv`


def write_sources(folder: Path) -> None:
    choose = random.Random(0)
    animals, verbs, places = ["the cat", "a dog", "one bird"], ["sat", "slept", "sang"], ["mat", "hat", "map"]
    sentences = [[choose.choice(words) for words in (animals, verbs, places)] for _ in range(200)]
    text = "".join(f"{animal} {verb} on the {place}.\n" for animal, verb, place in sentences)
    (folder / "animals.txt").write_text(text, encoding="utf-8")
    records = []
    for _ in range(120):
        good = choose.random() < 0.5
        words = choose.choices(["the", "film", "was", "and", "story", "电影", "的"], k=choose.randint(1, 9))
        words.append(choose.choice(["good", "好"] if good else ["bad", "差"]))
        record = {"text": " ".join(words), "label": "positive" if good else "negative"}
        records.append(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / "opinions.jsonl").write_text("".join(records), encoding="utf-8")
    tagged = [
        {
            "text": f"{animal} {verb}",
            "label": [tag for tag, word in (("cat", "cat"), ("sleep", "slept")) if word in text],
        }
        for animal, verb, _ in sentences[:120]
        if (text := f"{animal} {verb}")
    ]
    (folder / "tagged.jsonl").write_text("".join(json.dumps(record) + "\n" for record in tagged), encoding="utf-8")
    slope = np.random.default_rng(0).uniform(-3, 3, 120)
    x = (slope[:, None] * np.arange(-4, 4)).astype(np.float32)
    np.savez(folder / "lines.npz", x=x, y=np.where(slope > 0, "up", "down"))
    np.savez(folder / "values.npz", x=x, y=slope)
    write_spelled(folder)
    wave_values = 100 + 10 * np.sin(2 * np.pi * np.arange(300) / 24)
    numbers = "".join(f"{number}\t{in_words(number)}\n" for number in range(100))
    (folder / "numbers.tsv").write_text(numbers, encoding="utf-8")
    (folder / "wave.csv").write_text("level\n" + "".join(f"{value:.4f}\n" for value in wave_values), encoding="utf-8")


def write_spelled(folder: Path) -> None:
    """Write recordings of half a second, of letters, each a tone of 80 ms after 40 ms of silence; and their tables."""
    choose = random.Random(0)
    rows = []
    for number in range(60):
        text = "".join(choose.choices(list(PITCHES), k=choose.randint(1, 4)))
        time = np.arange(640) / 8000
        parts = [part for letter in text for part in (np.zeros(320), np.sin(2 * np.pi * PITCHES[letter] * time))]
        samples = np.concatenate([*parts, np.zeros(4160)])[:4160]
        samples += np.random.default_rng(number).normal(0, 0.01, len(samples))
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((8000 * samples).astype("<i2").tobytes())
        rows.append((f"{number}.wav", text))
    spelled = "".join(f"{path},{text}\n" for path, text in rows)
    (folder / "spelled.csv").write_text("path,text\n" + spelled, encoding="utf-8")
    tones = "".join(f"{path},{text[0]}\n" for path, text in rows)  # whose first letter is the class
    (folder / "tones.csv").write_text("path,label\n" + tones, encoding="utf-8")


def frames() -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Log-mel frames as of the letters a, c, b, and of none."""
    found = np.full((40, 20), -10, np.float32)
    for begin, mel in ((4, 3), (16, 13), (28, 7)):
        found[begin : begin + 8, mel - 1 : mel + 2] = 0
    return [found, found[:5], found[:1]]


def in_words(number: int) -> str:
    """Return a number below 100 in words."""
    ones = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    ones += " seventeen eighteen nineteen"
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if number < 20:
        return ones.split()[number]
    return tens[number // 10 - 2] + (f" {in_words(number % 10)}" if number % 10 else "")


def records() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Three lines of 8 points: falling, rising, rising slowly."""
    return (np.array([[-2.0], [2.5], [0.5]]) * np.arange(-4, 4)).astype(np.float32)


def history() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Two and a half days of a wave, an hour a value."""
    return 100 + 10 * np.sin(2 * np.pi * np.arange(60) / 24)


def said_by(model: Any) -> dict[str, Any]:
    """What a model says of fixed inputs, as JSON has it."""
    kind = model.manifest.kind
    if kind == "language_model":
        return {
            "text": model.generate(PROMPT, length=30, seed=1, temperature=0.7),
            "beams": model.generate(PROMPT, length=10, beams=3),
            "nats": model.score(SCORED).nats,
            "tokens": model.score(SCORED).tokens,
            "next": model.next_probs(PROMPT, 3),
        }
    if kind == "multilabel_classifier":
        return {"predictions": [found.to_dict() for found in model.classify(["the cat slept", "a dog sang", ""])]}
    if kind == "classifier":
        explained = model.explain(TEXTS[0])
        return {
            "predictions": [prediction.to_dict() for prediction in model.classify(TEXTS)],
            "contributions": dict(zip(explained.pieces, explained.contributions, strict=True)),
        }
    if kind == "vector_classifier" and "audio" in model.manifest.runtime:
        return {"predictions": [found.to_dict() for found in model.classify(frames(), arranged=True)]}
    if kind == "vector_classifier":
        return {"predictions": [prediction.to_dict() for prediction in model.classify(records())]}
    if kind == "regressor":
        return {"values": model.predict(records()).tolist()}
    if kind == "text_to_text":
        aligned = model.align("42")
        return {
            "outputs": [output.to_dict() for output in model.transform(["42", "7", "7x", "123456"], beams=3)],
            "aligned": {"source": list(aligned.source), "output": list(aligned.output)},
        }
    if kind == "recognizer":
        found = model.transcribe(frames(), beams=3, arranged=True)
        return {
            "transcripts": [each.to_dict() for each in found],
            "greedy": [each.text for each in model.transcribe(frames(), arranged=True)],
        }
    return {"forecast": model.forecast(history(), 8).tolist()}


def main() -> None:
    expected = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_sources(work)
        for run, (source, settings) in RUNS.items():
            precisions = ["float32"] if run == "forecaster" else ["float32", "int8"]
            missing = [precision for precision in precisions if not (HERE / f"{run}-{precision}").exists()]
            if missing:
                given = [f"--set={key}={json.dumps(value)}" for key, value in (NETWORK | settings).items()]
                textrnn_command(work, "train", source, *given, "--out", run, "--quiet")
            for precision in missing:
                options = ["--quantize", "int8"] if precision == "int8" else []
                textrnn_command(work, "export", run, *options, "--out", str(HERE / f"{run}-{precision}"))
                (HERE / f"{run}-{precision}" / "README.md").unlink()  # the first bundles had no card
            for precision in precisions:
                bundle = HERE / f"{run}-{precision}"
                expected[bundle.name] = said_by(textrnn.load(bundle))
    text = json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
    (HERE / "expected.json").write_text(text, encoding="utf-8")


def textrnn_command(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "textrnn", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
