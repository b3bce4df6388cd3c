"""Classifiers of small, clean sets such as people bring, with default settings: they export, and their labels stay."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from commands import call

import textrnn
from textrnn.classification import read_texts

pytestmark = pytest.mark.long

THINGS = ["soup", "room", "film", "song", "train", "book", "phone", "coat", "hotel", "lamp", "game", "cake"]
GOOD = ["great", "lovely", "bright", "warm", "tasty", "quick", "friendly", "superb", "clean", "charming"]
BAD = ["awful", "cold", "slow", "bland", "rude", "broken", "dull", "nasty", "dirty", "noisy"]
NEUTRAL = [
    "we",
    "went",
    "there",
    "on",
    "a",
    "rainy",
    "day",
    "with",
    "two",
    "old",
    "friends",
    "and",
    "stayed",
    "for",
    "some",
    "hours",
    "before",
    "the",
    "last",
    "bus",
]
REQUESTS = {
    "music": ("start my {music} playlist", "turn the {music} song up", "play some {music} please"),
    "weather": ("is it {sky} in {city} this week", "will {city} be {sky} tomorrow", "how {sky} is {city} today"),
    "alarm": ("wake me at {number} in the morning", "set an alarm for {number}", "cancel the {number} alarm"),
    "travel": ("book a train to {city}", "when does the bus to {city} leave", "find a cheap flight from {city}"),
    "food": ("order a {dish} for {number} people", "how long does {dish} cook", "find a recipe for {dish}"),
}
WORDS = {
    "music": ["folk", "rock", "jazz", "soul", "pop"],
    "sky": ["sunny", "cold", "wet", "windy", "warm"],
    "city": ["paris", "rome", "oslo", "madrid", "cairo"],
    "number": ["seven", "eight", "nine", "ten", "six"],
    "dish": ["pizza", "soup", "curry", "salad", "rice"],
}
THINGS_ZH = ["房间", "早餐", "服务", "位置", "电影", "手机", "衣服", "餐厅"]
GOOD_ZH = ["很好", "干净", "舒服", "满意", "漂亮", "好吃", "方便", "热情"]
BAD_ZH = ["很差", "太脏", "难受", "失望", "吵闹", "难吃", "不便", "冷淡"]
REQUESTS_ZH = {
    "音乐": ("播放一首{music}歌曲", "我想听{music}音乐", "把{music}音乐关小一点"),
    "天气": ("{city}明天会{sky}吗", "今天{city}的天气{sky}不{sky}", "{city}这周会不会{sky}"),
    "闹钟": ("明天早上{number}点叫我", "取消{number}点的闹钟", "设一个{number}点的闹钟"),
    "订票": ("订一张去{city}的火车票", "去{city}的飞机几点起飞", "帮我买{number}张去{city}的票"),
}
WORDS_ZH = {
    "music": ["民谣", "摇滚", "爵士", "古典"],
    "sky": ["下雨", "刮风", "下雪", "热"],
    "city": ["北京", "上海", "广州", "成都"],
    "number": ["七", "八", "九", "十"],
}

Writer = Callable[[random.Random, str], str]


def remark(chance: random.Random, label: str) -> str:
    words = GOOD if label == "good" else BAD
    return f"The {chance.choice(THINGS)} was {chance.choice(words)} and {chance.choice(words)}."


def mixed_remark(chance: random.Random, label: str) -> str:
    if label != "mixed":
        return remark(chance, label)
    return f"{remark(chance, 'good')[:-1]}, but {remark(chance, 'bad').lower()}"


def remark_zh(chance: random.Random, label: str) -> str:
    words = GOOD_ZH if label == "好评" else BAD_ZH
    return "，".join(f"{chance.choice(THINGS_ZH)}{chance.choice(words)}" for _ in range(2)) + "。"


def request(chance: random.Random, label: str) -> str:
    return chance.choice(REQUESTS[label]).format(**{name: chance.choice(words) for name, words in WORDS.items()})


def request_zh(chance: random.Random, label: str) -> str:
    return chance.choice(REQUESTS_ZH[label]).format(**{name: chance.choice(words) for name, words in WORDS_ZH.items()})


def review(chance: random.Random, label: str) -> str:
    def neutral() -> str:
        return " ".join(chance.choice(NEUTRAL) for _ in range(chance.randint(6, 14))).capitalize() + "."

    return " ".join(remark(chance, label) if chance.random() < 0.4 else neutral() for _ in range(chance.randint(8, 16)))


def review_zh(chance: random.Random, label: str) -> str:
    neutral = [f"我们{when}和{who}一起去的。" for when in ("周末", "昨天") for who in ("朋友", "家人", "同事")]
    sentences = chance.randint(6, 14)
    return "".join(
        remark_zh(chance, label) if chance.random() < 0.5 else chance.choice(neutral) for _ in range(sentences)
    )


SETS: dict[str, tuple[int, Sequence[str], Writer, str]] = {
    "remarks": (80, ("good", "bad"), remark, " "),
    "mixed remarks": (40, ("good", "bad", "mixed"), mixed_remark, " "),
    "five kinds of requests": (300, tuple(REQUESTS), request, " "),
    "reviews": (100, ("good", "bad"), review, " "),
    "Chinese remarks": (120, ("好评", "差评"), remark_zh, ""),
    "Chinese requests": (240, tuple(REQUESTS_ZH), request_zh, ""),
    "Chinese reviews": (150, ("好评", "差评"), review_zh, ""),
}


@pytest.mark.parametrize("name", SETS)
def test_a_small_set_gives_a_model_whose_labels_stay_when_a_text_is_repeated(name: str, tmp_path: Path) -> None:
    rows, labels, write, blank = SETS[name]
    chance = random.Random(name)
    records = [(write(chance, labels[row % len(labels)]), labels[row % len(labels)]) for row in range(rows)]
    with (tmp_path / "set.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *records])
    result = call("train", tmp_path / "set.csv", "--task", "classification", "--out", tmp_path / "run", "--quiet")
    assert result.code == 0, result.err
    model = textrnn.load(tmp_path / "run")
    texts = [text for text, _ in records]
    found = [prediction.label for prediction in model.classify(texts)]
    assert np.mean([label == expected for label, (_, expected) in zip(found, records, strict=True)]) > 0.9
    for times in (2, 3, 20):
        repeated = [prediction.label for prediction in model.classify([blank.join([text] * times) for text in texts])]
        assert repeated == found, f"{times} times"
    once, often = (
        read_texts(model._read, [model.tokenizer.encode(blank.join([text] * times)) for text in texts], *shape)
        for shape in [(len(labels), model.max_length, model._segment_length)]
        for times in (1, 20)
    )
    assert np.abs(often).max() < 5 * np.abs(once).max(), "nor do logits grow with the length"
