"""What Python makes of recordings of several rates, widths and channels; golden_runtimes.mjs compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import textrnn

GOLDEN = Path(__file__).with_name("golden")
PITCHES = {"a": 300, "b": 700, "c": 1500, " ": 0}  # Hz, as those of `golden/make.py`

# Text, rate, kind of the samples, channels. Between rates whose ratio is 2, 3 or a quotient of them, JavaScript
# resamples with the filter of Python; frames of other rates differ in the third digit.
EXACT: dict[str, tuple[str, int, str, int]] = {
    "16_bits": ("acb", 8000, "PCM_16", 1),
    "8_bits": ("b", 8000, "PCM_U8", 1),
    "24_bits_stereo": ("cab", 16000, "PCM_24", 2),
    "float": ("ba", 24000, "FLOAT", 1),
    "double_of_3_channels": ("ccb", 12000, "DOUBLE", 3),
    "32_bits": ("abab", 16000, "PCM_32", 1),
}
NEAR: dict[str, tuple[str, int, str, int]] = {
    "48000": ("acb", 48000, "PCM_16", 1),
    "44100": ("bc", 44100, "PCM_16", 2),
    "11025": ("ca", 11025, "PCM_16", 1),  # to 8,000 alone
}
FORMATS = [(8000, 20), (16000, 40)]
SEARCHES: list[dict[str, Any]] = [{}, {"beams": 5}]
WITH_A_MODEL: list[dict[str, Any]] = [{}, {"beams": 3, "alpha": 1.3, "beta": -0.2}]


def samples_of(text: str, rate: int, channels: int, noise: float = 0.01) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return letters as tones of 80 ms after 40 ms of silence, with noise: (time, channels)."""
    time = np.arange(round(0.08 * rate)) / rate
    parts = [
        part
        for letter in text
        for part in (np.zeros(round(0.04 * rate)), np.hanning(len(time)) * np.sin(2 * np.pi * PITCHES[letter] * time))
    ]
    mono = np.concatenate([*parts, np.zeros(round(0.06 * rate))])[:, None]
    loudness = 0.7 / np.arange(1, channels + 1)
    return mono * loudness + np.random.default_rng(len(text)).normal(0, noise, (len(mono), channels))


def recording_cases(folder: Path) -> dict[str, Any]:
    """Write recordings into a new folder, and return what Python makes of them; nothing without the extra audio."""
    try:
        import soundfile

        from textrnn.data.audio.recordings import AudioFormat
    except ImportError:
        return {"frames": [], "models": []}
    folder.mkdir()
    places = {}
    for name, (text, rate, kind, channels) in (EXACT | NEAR).items():
        places[name] = folder / f"{name}.wav"
        soundfile.write(places[name], samples_of(text, rate, channels), rate, subtype=kind)
    for name, count in (("of_20_ms", 160), ("of_3_ms", 24)):
        places[name] = folder / f"{name}.wav"
        soundfile.write(places[name], samples_of("a", 8000, 1)[500 : 500 + count], 8000)
    frames = [
        {
            "recording": place.as_posix(),
            "sample_rate": rate,
            "mel_bins": bins,
            "tolerance": 0.03 if name in NEAR else 5e-4,
            "frames": AudioFormat(rate, bins).frames(str(place), name).ravel().tolist(),
        }
        for name, place in places.items()
        for rate, bins in FORMATS
        if (name, rate) != ("11025", 16000)
    ]
    return {"frames": frames, "models": [case for name in _bundles() for case in _model_cases(name, places)]}


def _bundles() -> list[str]:
    names = sorted(path.parent.name for path in GOLDEN.glob("*/manifest.json"))
    return [name for name in names if name.startswith(("audio-classifier", "recognizer"))]


def _model_cases(name: str, places: dict[str, Path]) -> list[dict[str, Any]]:
    model = textrnn.load(GOLDEN / name)
    cases: list[dict[str, Any]] = []
    for chosen, tolerance in ((EXACT, 1e-4), (NEAR, 5e-3)):
        recordings = [str(places[each]) for each in chosen]
        case = {
            "name": name,
            "folder": (GOLDEN / name).as_posix(),
            "recordings": [places[each].as_posix() for each in chosen],
            "tolerance": tolerance,
        }
        if name.startswith("audio"):
            found = [each.to_dict() for each in model.classify(recordings)]
            cases.append({**case, "classify": found, "tolerance": 1e-5 if chosen is EXACT else 1e-3})
            continue
        place = GOLDEN / "language-model-char-float32"
        for options in SEARCHES:
            found = [each.to_dict() for each in model.transcribe(recordings, **options)]
            cases.append({**case, "options": options, "transcripts": found})
        for options in WITH_A_MODEL:
            found = [each.to_dict() for each in model.transcribe(recordings, lm=place, **options)]
            cases.append({**case, "options": options, "lm": place.as_posix(), "transcripts": found})
    return cases
