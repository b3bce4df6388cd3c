"""The finished models of the package: what they are, how large, and that a person finds their answers sensible."""

from __future__ import annotations

import io
import json
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

import textrnn
from textrnn.bundle import CARD, read_bundle
from textrnn.models.card import card_of
from textrnn.models.places import find_finished, finished_models

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs" / "models"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.toml"))
MOST_BYTES = 8_000_000  # in the wheel, whose files are compressed


def test_all_models_of_the_package_are_small_and_as_the_configs_say() -> None:
    assert finished_models() == NAMES
    folders = [find_finished(name) for name in NAMES]
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as wheel:
        for path in (path for folder in folders for path in folder.iterdir()):
            wheel.write(path)
    assert packed.tell() <= MOST_BYTES
    for name, folder in zip(NAMES, folders, strict=True):
        manifest = read_bundle(folder).manifest
        assert {path.name for path in folder.iterdir()} == {CARD, "manifest.json", *manifest.files}
        assert manifest.card["title"].startswith(f"{name}: ")
        assert (folder / CARD).read_text(encoding="utf-8") == card_of(manifest, name)
        assert manifest.card["license"] and manifest.card["data"]
        for value in json.loads(manifest.to_json())["config"]["data"]["source"]:
            assert "/" not in value


def test_finished_models_work() -> None:
    play = textrnn.load("shakespeare").generate("ROMEO:", length=200, seed=1)
    assert len(play) == 200 and "\n" in play
    poem = textrnn.load("tang").generate(length=60, seed=2, temperature=0.5)
    assert [len(line) for line in poem.replace("。", "，").split("，")] == [7, 7, 7, 7, 0]
    for name, good, bad in (
        ("reviews-en", ["What a wonderful film!", "Works great, I love it."], ["Never again.", "A waste of money."]),
        ("reviews-zh", ["非常好，很满意。", "房间很干净，服务热情。"], ["太差了，不推荐。", "质量很差，浪费钱。"]),
    ):
        model = textrnn.load(name)
        assert [each.label for each in model.classify(good)] == ["positive"] * 2
        assert [each.label for each in model.classify(bad)] == ["negative"] * 2
    empty = np.zeros((1, 28, 28), np.float32)
    assert textrnn.load("digits").classify(empty)[0].label in "0123456789"
