"""What `long_distance.py` trains: tasks that ask for what was read long ago, and the members of the family.

``adding``  (Hochreiter & Schmidhuber 1997) A step is a value in [0, 1] and a mark; two steps are marked, one in each
            half. What is told at the end is the sum of the two values. Always to answer 1 has an error of 1/6.
``copy``    (Hochreiter & Schmidhuber 1997, as Arjovsky et al. 2016 have it) Ten of eight symbols, a stretch of blanks,
            a go sign, the ten again. A line of text, so that a character language model is what learns it.
``recall``  A name in capitals, as in a play, English, a question mark and the name again: what is to be kept is written
            among what is to be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import textrnn
from textrnn.errors import UserError
from textrnn.files import write_atomically
from textrnn.tokenizers import END_ID

SYMBOLS = "abcdefgh"
BLANK, GO = ".", ">"
COPIED = 10
# fmt: off
NAMES = [
    "ADA", "AISHA", "ALMA", "ANTON", "BASIL", "BELA", "BRUNO", "CARLA", "CLARA", "DARIO", "DIANA", "EDGAR", "ELSA",
    "EMIL", "FATMA", "FELIX", "FIONA", "GRETA", "HANNA", "HUGO", "INES", "IVAN", "JONAS", "JULIA", "KARIM", "KLARA",
    "LARS", "LIVIA", "MARCO", "MARIA", "NADIA", "NILS", "OLGA", "OSCAR", "PAULA", "PEDRO", "ROSA", "SVEN", "TARA",
    "VIKTOR",
]
# fmt: on
TEST_SEED, TEST_LINES = 10_000, 200
READ_AT_ONCE = 1 << 17  # characters

Maker = Callable[[int, int, int], Any]


def adding_records(length: int, records: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """``x (records, length, 2)``, value and mark of each step, and ``y (records, 1)``, the sum of the two marked.

    In bytes, which a model reads as 255ths: a mark so rare would be some hundred deviations from the mean, and its
    weight would be learned as many times too fast.
    """
    random, rows = np.random.default_rng(seed), np.arange(records)
    x = np.zeros((records, length, 2), np.uint8)
    x[..., 0] = random.integers(0, 256, (records, length))
    marked = [random.integers(0, length // 2, records), random.integers(length // 2, length, records)]
    for steps in marked:
        x[rows, steps, 1] = 255
    return x, np.sum([x[rows, steps, :1] / np.float32(255) for steps in marked], axis=0)


def copy_lines(length: int, records: int, seed: int) -> list[str]:
    """Lines of ``length + 20`` characters: from a symbol to its copy there are ``length + 10``."""
    drawn = np.random.default_rng(seed).integers(0, len(SYMBOLS), (records, COPIED))
    texts = ["".join(SYMBOLS[index] for index in row) for row in drawn]
    return [text + BLANK * (length - 1) + GO + text for text in texts]


def recall_lines(length: int, records: int, seed: int) -> list[str]:
    """Lines of a name, `length` characters of Python's manual, a question mark, and the name again.

    Passages of the lines that are tested on come from the last tenth of the manual, others from the rest of it.
    """
    english = manual()
    border = int(0.9 * len(english))
    english = english[border:] if seed >= TEST_SEED else english[:border]
    if len(english) <= length:
        raise UserError(f"a passage must be shorter than {len(english)} characters, was to be {length} long")
    random = np.random.default_rng(seed)
    begins = random.integers(0, len(english) - length, records)
    names = [NAMES[index] for index in random.integers(0, len(NAMES), records)]
    return [f"{name} {english[at : at + length]}?{name}" for name, at in zip(names, begins.tolist(), strict=True)]


def manual() -> str:
    """The built-in English on one line, without question marks of its own."""
    from pydoc_data.topics import topics

    return " ".join(" ".join(topics.values()).split()).replace("?", ".")


def _write_records(path: Path, made: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, x=made[0], y=made[1])


def _write_lines(path: Path, made: Any) -> None:
    path.write_text("".join(f"{line}\n" for line in made), encoding="utf-8")


# How often they are right


def _adding_error(run: Path, length: int) -> float:
    """Mean squared error of the best weights on held-out records."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return min(float(line["mean_squared_error"]) for line in lines if "mean_squared_error" in line)


def _copy_accuracy(run: Path, length: int) -> float:
    """Share of symbols that are told right, each after the right ones before it."""
    model = textrnn.load(run)
    return float(np.mean(told_right(model, copy_lines(length, TEST_LINES, TEST_SEED), [COPIED] * TEST_LINES)))


def _recall_accuracy(run: Path, length: int) -> float:
    """Share of names of which every letter is told right, each after the right ones before it."""
    lines = recall_lines(length, TEST_LINES, TEST_SEED)
    right = told_right(textrnn.load(run), lines, [len(line.rpartition("?")[2]) for line in lines])
    return float(np.mean([row.all() for row in right]))


def told_right(model: Any, lines: Sequence[str], counts: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Whether the most probable character is the right one, at each of the last `counts` places of every line."""
    right: list[NDArray[np.bool_]] = []
    rows = max(1, READ_AT_ONCE // max(map(len, lines)))
    for begin in range(0, len(lines), rows):
        ids = [model.tokenizer.encode(line) for line in lines[begin : begin + rows]]
        inputs = np.full((len(ids), max(map(len, ids))), END_ID, np.int32)
        for row, own in zip(inputs, ids, strict=True):
            row[1 : len(own)] = own[:-1]  # the end of the line before stands first, as in training
        told = model.read(inputs)[0].argmax(-1)
        for row, own, count in zip(told, ids, counts[begin : begin + rows], strict=True):
            right.append(row[len(own) - count : len(own)] == own[-count:])
    return right


# The tasks


@dataclass(frozen=True)
class Task:
    """A task: how its data are made, what trains on them, and how well.

    Attributes:
        records: that a training has.
        suffix: of the file of them.
        make: length, records and seed to records.
        write: what was made into a file.
        settings: of a length, over those of ``configs/NAME.toml``.
        own: settings of some members, over those: at the learning rate of the others they learn nothing, or less.
        figure: what is measured.
        chance: that figure without any memory.
        measure: a run and its length to the figure.
        needs_bundle: whether it is measured with the finished model.
        learnt: whether a line of the history, and the length, say that there is little left to learn.
    """

    config: str
    records: int
    suffix: str
    make: Maker
    write: Callable[[Path, Any], None]
    settings: Callable[[int], list[str]]
    own: Mapping[str, list[str]]
    figure: str
    chance: float
    measure: Callable[[Path, int], float]
    needs_bundle: bool
    learnt: Callable[[Mapping[str, Any], int], bool]


def _copy_nats_left(line: Mapping[str, Any], length: int) -> float:
    """Nats a line beyond those of ten symbols that nothing can foretell; without memory they are 20.8."""
    return float(line["held_out_loss"]) * (length + 2 * COPIED + 1) - COPIED * math.log(len(SYMBOLS))


SLOWER = ["train.learning_rate=1e-3"]

TASKS = {
    "adding": Task(
        config="adding.toml",
        records=4000,
        suffix=".npz",
        make=adding_records,
        write=_write_records,
        settings=lambda length: [f"model.memory={40 * length}"],
        own={"tanh": SLOWER},
        figure="mean_squared_error",
        chance=1 / 6,
        measure=_adding_error,
        needs_bundle=False,
        learnt=lambda line, length: line["mean_squared_error"] < 0.001,
    ),
    "copy": Task(
        config="copy_memory.toml",
        records=2000,
        suffix=".txt",
        make=copy_lines,
        write=_write_lines,
        # Every window holds a whole line, wherever it begins.
        settings=lambda length: [f"train.sequence_length={2 * (length + 2 * COPIED + 1)}"],
        own=dict.fromkeys(["tanh", "irnn", "orthogonal"], SLOWER),
        figure="accuracy",
        chance=1 / len(SYMBOLS),
        measure=_copy_accuracy,
        needs_bundle=True,
        learnt=lambda line, length: _copy_nats_left(line, length) < 0.2,
    ),
    "recall": Task(
        config="recall.toml",
        records=10_000,
        suffix=".txt",
        make=recall_lines,
        write=_write_lines,
        settings=lambda length: [f"train.sequence_length={2 * (length + 16)}", f"model.memory={10 * length}"],
        own=dict.fromkeys(["tanh", "irnn", "orthogonal"], SLOWER),
        figure="accuracy",
        chance=1 / len(NAMES),
        measure=_recall_accuracy,
        needs_bundle=True,
        learnt=lambda line, length: False,
    ),
}

DENSE = ["model.recurrence=dense"]
MEMBERS = {
    "tanh": [*DENSE, "model.activation=tanh", "model.recurrent_start=orthogonal"],
    "irnn": [*DENSE, "model.activation=relu", "model.recurrent_start=identity", "model.recurrent_scale=1"],
    "orthogonal": [*DENSE, "model.activation=linear", "model.recurrent_start=orthogonal"],
    "indrnn": ["model.recurrence=diagonal", "model.activation=relu"],
    "diagonal": ["model.recurrence=diagonal", "model.activation=linear"],
    "rotation": ["model.recurrence=rotation", "model.activation=linear"],
}
"""Settings of each, over those of the task: tanh and linear from an orthogonal U, ReLU from the identity (Le et al.
2015) or with a diagonal U (Li et al. 2018), and linear with a diagonal U, of real or of complex numbers."""


def settings_of(task: Task, member: str, length: int) -> list[str]:
    """Of one training, over those of ``configs/NAME.toml``; a later one wins."""
    return [*task.settings(length), *MEMBERS[member], *task.own.get(member, [])]


def make_file(task: Task, length: int, records: int, path: Path, seed: int = 1) -> None:
    """Write records of a task.

    Raises:
        UserError: the length is too short to mean anything.
    """
    if length < 2 or records < 1:
        raise UserError(f"--length must be 2 or more and --records 1 or more, were: {length} and {records}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        task.write(temporary, task.make(length, records, seed))
