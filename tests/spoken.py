"""Sounds for tests of microphones: utterances of letters, each a tone, with pauses between them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from golden_recordings import samples_of
from numpy.typing import NDArray

RATE = 16_000


def speech(utterances: list[str], pause: float, noise: float = 3e-4) -> NDArray[np.float64]:
    """Return utterances of letters, each after a pause in seconds, and a pause at the end, over a quiet background."""
    silence = np.zeros(round(pause * RATE))
    parts = [part for text in utterances for part in (silence, samples_of(text, RATE, 1, noise=0)[:, 0])]
    whole = np.concatenate([*parts, silence])
    return whole + np.random.default_rng(1).normal(0, noise, len(whole))


def write_wav(path: Path, samples: NDArray[np.float64], rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((32767 * samples).astype("<i2").tobytes())
    return path
