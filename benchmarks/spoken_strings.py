"""Strings of spoken digits for the task recognition, joined from the recordings of the Free Spoken Digit Dataset.

    python benchmarks/spoken_strings.py FSDD WORK

FSDD is the folder of its recordings, ``7_jackson_32.wav``. In WORK two folders are made, each with ``train.csv`` and
``test.csv`` (columns path, text, speaker) and their recordings:

* ``known``: every speaker is trained on and tested. Recordings 0 to 4 of each digit and speaker are those of the test,
  as in the official split, the others those of the training;
* ``new``: the strings of one speaker (``--speaker``) are the test, of all recordings; the others are trained on,
  without recordings 0 to 4.

A string is 3 to 8 digits of one speaker, with silences of 20 to 250 ms before, between and after them. Its text is
words: ``seven three one``.
"""

from __future__ import annotations

import argparse
import csv
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
FEWEST, MOST = 3, 8  # digits of a string
SILENCE = (0.02, 0.25)  # seconds
OF_THE_TEST = 5  # recordings of each digit and speaker

Samples = NDArray[np.int16]


def read_digits(folder: Path) -> dict[tuple[str, int], list[Samples]]:
    """Return the samples of all recordings by speaker and digit, in the order of their numbers."""
    found: dict[tuple[str, int], list[tuple[int, Samples]]] = {}
    for path in sorted(folder.glob("*_*_*.wav")):
        digit, speaker, number = path.stem.split("_")
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        found.setdefault((speaker, int(digit)), []).append((int(number), samples))
    return {key: [samples for _, samples in sorted(some, key=lambda each: each[0])] for key, some in found.items()}


def write_strings(
    folder: Path,
    name: str,
    digits: dict[tuple[str, int], list[Samples]],
    speakers: Sequence[str],
    numbers: slice,
    count: int,
    draw: np.random.Generator,
) -> None:
    """Write strings of some speakers and the table of them.

    Args:
        folder: where they go.
        name: name of the table and of the folder of recordings.
        digits: recordings by speaker and digit.
        speakers: the speakers; all have the same number of strings.
        numbers: which recordings of each digit are used.
        count: number of strings.
        draw: source of random numbers.
    """
    (folder / name).mkdir(parents=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "text", "speaker"))
        for number in range(count):
            speaker = speakers[number % len(speakers)]
            string = draw.integers(0, 10, draw.integers(FEWEST, MOST + 1)).tolist()
            recordings = [digits[speaker, digit][numbers] for digit in string]
            parts = [some[draw.integers(len(some))] for some in recordings]
            quiet = np.quantile(np.abs(np.concatenate(parts)), 0.05)  # the noise of the microphone

            def silence(level: float = max(1.0, quiet)) -> Samples:
                return draw.normal(0, level, round(RATE * draw.uniform(*SILENCE))).astype(np.int16)

            samples = [silence(), *(each for part in parts for each in (part, silence()))]
            path = folder / name / f"{number:04}_{speaker}.wav"
            with wave.open(str(path), "wb") as recording:
                recording.setparams((1, 2, RATE, 0, "NONE", ""))
                recording.writeframes(np.concatenate(samples).astype("<i2").tobytes())
            table.writerow((f"{name}/{path.name}", " ".join(WORDS[digit] for digit in string), speaker))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fsdd", type=Path, help="folder of the recordings")
    parser.add_argument("work", type=Path, help="folder to make")
    parser.add_argument("--strings", type=int, default=1000, help="strings to train on (default: 1000)")
    parser.add_argument("--test", type=int, default=300, help="strings of each test (default: 300)")
    parser.add_argument("--speaker", default="yweweler", help="the new speaker (default: yweweler)")
    arguments = parser.parse_args(argv)
    digits = read_digits(arguments.fsdd)
    speakers = sorted({speaker for speaker, _ in digits})
    others = [speaker for speaker in speakers if speaker != arguments.speaker]
    training, test = slice(OF_THE_TEST, None), slice(OF_THE_TEST)
    for number, (folder, name, some, numbers, count) in enumerate(
        (
            ("known", "train", speakers, training, arguments.strings),
            ("known", "test", speakers, test, arguments.test),
            ("new", "train", others, training, arguments.strings),
            ("new", "test", [arguments.speaker], slice(None), arguments.test),
        )
    ):
        draw = np.random.default_rng([1, number])
        write_strings(arguments.work / folder, name, digits, some, numbers, count, draw)
        print(arguments.work / folder / f"{name}.csv")


if __name__ == "__main__":
    main()
