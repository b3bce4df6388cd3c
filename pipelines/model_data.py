"""Training tables of the finished models whose data are several files: one table, and one for each test.

Held-out sentences are in no training table: SST-2 repeats most of rt-polarity, so they are compared by their letters.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from short_opinions import CHINESE, CHINESE_WORDS, ENGLISH, ENGLISH_WORDS, composed

REVIEWS = Path(__file__).resolve().parent.parent / "textrnn" / "data" / "reviews"
FOLDS = 10
TEST_FOLD, VALIDATION_FOLD = 0, 1
CONTRACTION = re.compile(r" (?=n't\b|'(?:s|re|ve|ll|m|d)\b)")
FAMILIAR = 3  # copies of the built-in reviews, nearly the only ones of goods
COPIES = {"english": 25, "chinese": 20}  # of each pattern of short opinions


class Labelled(NamedTuple):
    """A text and its label."""

    label: str
    text: str


Tables = Mapping[str, list[Labelled]]
"""Tables by name: ``train``, ``validation``, and the tests."""


def write_tables(name: str, data: Path, folder: Path) -> None:
    """Write the tables of a model as JSON lines; a model whose sources are read as they are has none.

    Args:
        name: name of the model.
        data: folder of the public data.
        folder: folder to write to.
    """
    if name in TABLES:
        folder.mkdir(parents=True, exist_ok=True)
        for table, records in TABLES[name](data).items():
            lines = (json.dumps(record._asdict(), ensure_ascii=False) + "\n" for record in records)
            (folder / f"{table}.jsonl").write_text("".join(lines), encoding="utf-8")


def english_reviews(data: Path) -> Tables:
    """Return reviews of films, and built-in ones of goods, in English."""
    polarity = {label: _lines(data / "rt-polarity" / f"rt-polarity.{label[:3]}") for label in ("negative", "positive")}
    folds = [
        [Labelled(label, text) for label, texts in polarity.items() for text in texts[fold::FOLDS]]
        for fold in range(FOLDS)
    ]
    treebank = {part: _treebank(data / "sst2" / f"{part}.tsv") for part in ("train", "dev")}
    films = _films(data / "imdb" / "train.tsv")
    tests = {"test-rt-polarity": folds[TEST_FOLD], "test-sst2-dev": treebank["dev"]}
    validation = [*_without(folds[VALIDATION_FOLD], tests.values()), *films[::40]]
    of_training = [films[number] for number in range(len(films)) if number % 40]
    sentences = [record for fold in folds[2:] for record in fold] + treebank["train"]
    held_out = [*tests.values(), validation]
    train = [*of_training, *_without(sentences, held_out), *_everyday("english")]
    return {"train": train, "validation": validation, **tests}


def chinese_reviews(data: Path) -> Tables:
    """Return reviews of hotels, and built-in ones of goods, in Chinese."""
    path = data / "chnsenticorp-hotel" / "ChnSentiCorp_htl_all.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [Labelled(("negative", "positive")[int(row["label"])], row["review"]) for row in csv.DictReader(file)]
    rows = [row for row in rows if row.text.strip()]
    folds = [rows[fold::FOLDS] for fold in range(FOLDS)]
    test = folds[TEST_FOLD]
    validation = _without(folds[VALIDATION_FOLD], [test])
    hotels = _without([row for fold in folds[2:] for row in fold], [test, validation])
    return {"train": hotels + _everyday("chinese"), "validation": validation, "test-hotels": test}


TABLES: Mapping[str, Callable[[Path], Tables]] = {"reviews-en": english_reviews, "reviews-zh": chinese_reviews}


def _treebank(path: Path) -> list[Labelled]:
    rows = (line.rpartition("\t") for line in _lines(path))
    return [Labelled(("negative", "positive")[int(label)], CONTRACTION.sub("", text)) for text, _, label in rows]


def _films(path: Path) -> list[Labelled]:
    rows = (line.split("\t") for line in _lines(path)[1:])
    return [Labelled(("negative", "positive")[int(row[1])], row[3].replace("<br />", " ")) for row in rows]


def _everyday(language: str) -> list[Labelled]:
    """Return the built-in reviews and short opinions of a language."""
    built_in = [Labelled(**json.loads(line)) for line in _lines(REVIEWS / f"{language}.jsonl")]
    patterns, words = {"english": (ENGLISH, ENGLISH_WORDS), "chinese": (CHINESE, CHINESE_WORDS)}[language]
    return built_in * FAMILIAR + [Labelled(*pair) for pair in composed(patterns, words, COPIES[language])]


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; only a line feed ends one."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _without(records: list[Labelled], others: Iterable[list[Labelled]]) -> list[Labelled]:
    """Return the records whose letters and digits are not those of a record in `others`."""
    known = {_letters(record.text) for part in others for record in part}
    return [record for record in records if _letters(record.text) not in known]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())
