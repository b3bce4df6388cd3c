"""Accuracy of a classifier of spoken digits, of speakers that it does not know; the Free Spoken Digit Dataset.

    python benchmarks/spoken_digits.py FSDD WORK
    python benchmarks/spoken_digits.py FSDD WORK --augment on off --set model.dropout=0.5
    python benchmarks/spoken_digits.py FSDD WORK --split choice      # to choose settings
    python benchmarks/spoken_digits.py FSDD WORK --split official

FSDD is the folder of its recordings, ``7_jackson_32.wav``. The splits:

* ``speakers``: each speaker in turn is the test, all recordings; the others are trained on;
* ``choice``: the same with two speakers left out together, each paired with the next. For a test of speaker s, settings
  may be chosen by the accuracy on the speakers that were left out together with s: no recording of s was used, neither
  to train nor to measure. The accuracy is printed for both of a pair;
* ``official``: recordings 0 to 4 of each digit and speaker are the test, the others are trained on.

Settings are the defaults, and those of ``--set``. The best epoch is chosen on the tenth of the training recordings that
`data.held_out` holds out, never on the test. A training whose result is in WORK is not repeated, so that the benchmark
can be stopped; give a new WORK for other recordings or another version of textrnn.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import textrnn
from textrnn.files import write_atomically

OF_THE_TEST = 5  # recordings of each digit and speaker, in the official split


class Spoken(NamedTuple):
    """A recording of a digit; its number counts those of the same digit and speaker."""

    path: Path
    digit: str
    speaker: str
    number: int


class Fold(NamedTuple):
    """The recordings that a model is trained on, and those of each test, by its name."""

    name: str
    train: list[Spoken]
    tests: dict[str, list[Spoken]]


def recordings(folder: Path) -> list[Spoken]:
    """Return the recordings of a folder, by their names.

    Raises:
        SystemExit: there are none.
    """
    found = []
    for path in sorted(folder.rglob("*_*_*.wav")):
        digit, speaker, number = path.stem.split("_")
        found.append(Spoken(path.absolute(), digit, speaker, int(number)))
    if not found:
        raise SystemExit(f"FSDD must hold recordings as 7_jackson_32.wav, found none in: {folder}; give their folder")
    return found


def folds(found: Sequence[Spoken], split: str) -> list[Fold]:
    """Return what is trained on and tested.

    Args:
        found: all recordings.
        split: ``speakers``, ``choice`` or ``official``.
    """
    if split == "official":
        test = [each for each in found if each.number < OF_THE_TEST]
        return [Fold("official", [each for each in found if each.number >= OF_THE_TEST], {"official": test})]
    names = sorted({each.speaker for each in found})
    together = 1 if split == "speakers" else 2
    made = []
    for place in range(len(names)):
        out = [names[(place + further) % len(names)] for further in range(together)]
        tests = {name: [each for each in found if each.speaker == name] for name in out}
        made.append(Fold("+".join(out), [each for each in found if each.speaker not in out], tests))
    return made


def write_table(path: Path, found: Sequence[Spoken]) -> None:
    """Write a table with the columns path, label and speaker."""
    with write_atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "speaker"))
        table.writerows((each.path, each.digit, each.speaker) for each in found)


def accuracies(fold: Fold, work: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train on a fold and return the accuracy of each test, the processor time and the bytes of the model.

    Args:
        fold: the recordings.
        work: folder of the results.
        settings: settings of the training, by key, beside the defaults.
    """
    decides = [fold.name, sorted(settings.items())]
    name = f"{fold.name}-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:8]}"
    known = work / f"{name}.json"
    if known.exists():
        found: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        return found
    run = work / name
    shutil.rmtree(run, ignore_errors=True)  # of a run that was stopped
    write_table(work / f"{name}.train.csv", fold.train)
    began = time.process_time()
    chosen = {"data.reads": "audio", **settings}
    model = textrnn.train(work / f"{name}.train.csv", out=run, task="classification", **chosen)
    found = {"accuracy": {}, "processor_seconds": time.process_time() - began}
    for test, spoken in fold.tests.items():
        labels = [each.label for each in model.classify([each.path for each in spoken])]
        right = [label == each.digit for label, each in zip(labels, spoken, strict=True)]
        found["accuracy"][test] = sum(right) / len(right)
    with write_atomically(known) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def measure(found: Sequence[Spoken], split: str, work: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and test all folds of a split, print each accuracy and the mean, and return them."""
    results = []
    for fold in folds(found, split):
        result = accuracies(fold, work, settings)
        results.append({"fold": fold.name, **result})
        each = ", ".join(f"{test} {accuracy:.1%}" for test, accuracy in result["accuracy"].items())
        print(f"  {each}  ({result['processor_seconds']:.0f} s of processor time)", flush=True)
    mean = statistics.fmean(itertools.chain.from_iterable(each["accuracy"].values() for each in results))
    print(f"  mean {mean:.1%}", flush=True)
    return {"settings": dict(settings), "folds": results, "mean": mean}


def value_of(text: str) -> Any:
    """Return the value of a setting: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fsdd", type=Path, metavar="FSDD", help="folder of the recordings")
    parser.add_argument("work", type=Path, metavar="WORK", help="folder for runs and results")
    parser.add_argument("--split", choices=("speakers", "choice", "official"), default="speakers")
    parser.add_argument("--augment", nargs="+", choices=("on", "off"), default=["on"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of textrnn train")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args(argv)
    if wrong := [each for each in arguments.set if "=" not in each]:
        parser.error(f"--set must be KEY=VALUE, was: {wrong[0]}; give for example model.dropout=0.5")
    found = recordings(arguments.fsdd)
    arguments.work.mkdir(parents=True, exist_ok=True)
    stated = {key: value_of(value) for key, value in (each.split("=", 1) for each in arguments.set)}
    measured = []
    for augment in arguments.augment:
        settings = stated if augment == "on" else {**stated, "train.augment": False}
        print(f"{arguments.split}, augmentation {augment}, {stated or 'defaults'}", flush=True)
        measured.append(measure(found, arguments.split, arguments.work, settings))
    if arguments.json:
        with write_atomically(arguments.json) as temporary:
            temporary.write_text(json.dumps({arguments.split: measured}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
