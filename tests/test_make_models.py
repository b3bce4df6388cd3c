"""Finished models at toy size: made by the script, reproducible bit for bit, small, and with a card."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

import make_models
import model_data
import numpy as np
import pytest
from commands import call, files_of

import textrnn
from textrnn.bundle import CARD, Manifest

NAMES = sorted(path.stem for path in make_models.CONFIGS.glob("*.toml"))
TINY = ["model.hidden_dim=8", "train.epochs=1", "train.evaluations=1", "train.batch_size=4"]
SMALLER = {
    "shakespeare": ["model.ngram_rows=64", "model.embedding_dim=8", "train.sequence_length=16"],
    "tang": ["train.sequence_length=16"],
}


def words(draw: random.Random, kind: int) -> str:
    return " ".join(draw.choice(("good fine fun", "bad dull poor")[kind].split()) for _ in range(draw.randint(3, 9)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public data at toy size, in the layout and the formats of the true ones."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)

    def write(name: str, text: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    write("tinyshakespeare/input.txt", "".join(f"ROMEO:\nI am {words(draw, 0)}.\n\n" for _ in range(80)))
    poem = "。".join("".join(draw.choice("山水花月人天風雨") for _ in range(7)) for _ in range(4))
    write("tang-quatrains/tang_quatrain_7.txt", "".join(f"{poem[i:] + poem[:i]}\n" for i in range(40)))
    for kind, end in enumerate(("pos", "neg")):
        write(f"rt-polarity/rt-polarity.{end}", "".join(f"{number} {words(draw, kind)}\n" for number in range(40)))
    for part in ("train", "dev"):
        write(f"sst2/{part}.tsv", "\n".join(f"{part} {n} it 's {words(draw, n % 2)}\t{1 - n % 2}" for n in range(20)))
    rows = [f"{n}\t{1 - n % 2}\t9\t{words(draw, n % 2)}<br />{n}\n" for n in range(80)]
    write("imdb/train.tsv", "id\tlabel\trating\ttext\n" + "".join(rows))
    (folder / "chnsenticorp-hotel").mkdir()
    with (folder / "chnsenticorp-hotel/ChnSentiCorp_htl_all.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", "review"])
        table.writerows([n % 2, f"房间{n}" + "差好"[n % 2] * 3] for n in range(60))
    (folder / "mnist").mkdir()
    for name, count in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        for what, array in (("images-idx3", images), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            with gzip.open(folder / "mnist" / f"{name}-{what}-ubyte.gz", "wb") as packed:
                packed.write(head + array.tobytes())
    return folder


MADE_TWICE = ("digits", "shakespeare")  # with the same files


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_made(data: Path, tmp_path: Path, name: str) -> None:
    times = ("first", "second") if name in MADE_TWICE else ("first",)
    for time in times:
        options = [option for setting in (*TINY, *SMALLER.get(name, [])) for option in ("--set", setting)]
        folders = ["--data", data, "--runs", tmp_path / time / "runs", "--out", tmp_path / time / "models"]
        made = call(name, *folders, *options, main=make_models.main)
        assert made.code == 0, made.err
    model = tmp_path / "first" / "models" / name
    assert files_of(model) == files_of(tmp_path / times[-1] / "models" / name)
    card = (model / CARD).read_text(encoding="utf-8")
    assert f'textrnn.load("{name}")' in card and "## Held-out figures" in card
    assert str(tmp_path) not in card and str(data) not in card
    assert str(tmp_path) not in (model / "manifest.json").read_text(encoding="utf-8")
    assert textrnn.load(model).manifest.card["title"].startswith(name)


def test_no_test_sentence_is_trained_on(data: Path) -> None:
    for tables in (model_data.english_reviews(data), model_data.chinese_reviews(data)):
        letters = {
            name: {"".join(filter(str.isalnum, text.lower())) for _, text in records}
            for name, records in tables.items()
        }
        assert len(letters.pop("train")) > 50
        train = {"".join(filter(str.isalnum, text.lower())) for _, text in tables["train"]}
        for name, others in letters.items():
            assert others and not others & train, name
        assert not letters.pop("validation") & set().union(*letters.values())
    english = [text for _, text in model_data.english_reviews(data)["train"]]
    assert any("it's" in text for text in english) and not any(" 's" in text or "<br" in text for text in english)


@pytest.mark.parametrize(
    ("metrics", "is_worthwhile"),
    [
        ({"int8": {"loss": 0.009}}, True),
        ({"int8": {"loss": 0.011}}, False),
        ({"float32": {"accuracy": 0.9}, "int8": {"accuracy": 0.898}}, True),
        ({"float32": {"accuracy": 0.9}, "int8": {"accuracy": 0.895}}, False),
    ],
)
def test_eight_bits_are_taken_where_they_cost_little(metrics: dict[str, dict[str, float]], is_worthwhile: bool) -> None:
    manifest = Manifest("", "int8", None, None, {}, metrics=metrics)
    assert make_models.is_worthwhile(manifest) is is_worthwhile
