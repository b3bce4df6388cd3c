"""Real text, English and Chinese, a few steps each: what made-up text would not show. Needs the folder TEXTRNN_DATA."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from commands import call
from conftest import TrainedRun, tiny_settings

import textrnn
from textrnn.tokenizers.base import END_ID

pytestmark = pytest.mark.long

STEPS = 150


def train(source: Path, folder: Path, **changes: object) -> TrainedRun:
    settings = tiny_settings(model__hidden_dim=64, train__evaluations=1, **changes)
    result = call("train", source, *settings, "--out", folder, "--quiet")
    assert (result.code, result.err) == (0, "")
    return TrainedRun(folder, source, result)


def evaluated(run: TrainedRun) -> dict[str, float]:
    return dict(json.loads(call("evaluate", run.folder, "--json").out))


@pytest.fixture(scope="module")
def shakespeare(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    source = data_folder / "tinyshakespeare" / "input.txt"
    tokens = 0.9 * source.stat().st_size
    return train(source, tmp_path_factory.mktemp("shakespeare") / "run", train__epochs=STEPS * 8 * 16 / tokens)


@pytest.fixture(scope="module")
def quatrains(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    source = data_folder / "tang-quatrains" / "tang_quatrain_7.txt"
    tokens = 0.9 * (len(source.read_text(encoding="utf-8")))
    return train(
        source,
        tmp_path_factory.mktemp("tang") / "诗",
        data__separate_documents="true",
        data__document="line",
        tokenizer__min_count=5,
        train__epochs=STEPS * 8 * 16 / tokens,
    )


def test_shakespeare_is_held_out_as_others_do_it(shakespeare: TrainedRun) -> None:
    metrics = evaluated(shakespeare)
    assert metrics["characters"] == metrics["bytes"] == 111_540  # the last tenth of 1,115,394
    assert metrics["nats_per_token"] < math.log(65)  # 65 characters: better than a guess
    tokenizer = textrnn.load(shakespeare.folder).tokenizer
    ids = tokenizer.encode(shakespeare.source.read_text(encoding="utf-8"))
    assert len(set(ids.tolist())) == 65


def test_shakespeare_is_generated_in_his_letters(shakespeare: TrainedRun) -> None:
    letters = set(shakespeare.source.read_text(encoding="utf-8"))
    # Even now the bytes of unseen characters are not quite improbable.
    arguments = ("generate", shakespeare.folder, "--prompt", "ROMEO:", "--length", 300, "--seed", 1, "--min-p", 0.1)
    result = call(*arguments)
    assert result.out.startswith("ROMEO:")
    assert len(result.out) == len("ROMEO:") + 300 + 1
    assert set(result.out) <= letters
    assert result == call(*arguments)


def test_shakespeare_scores_above_scrambled_shakespeare(shakespeare: TrainedRun) -> None:
    text = shakespeare.source.read_text(encoding="utf-8")[-2000:]
    model = textrnn.load(shakespeare.folder)
    assert model.score(text).nats < model.score("".join(sorted(text))[::-1]).nats
    assert model.score(text).tokens == 2000


def test_chinese_poems_are_documents_of_whole_characters(quatrains: TrainedRun) -> None:
    metrics = evaluated(quatrains)
    assert metrics["characters"] == 32 * 1034  # every tenth of 10,342 poems of 4 lines of 7 and a mark
    # One end a poem, one token a character that was seen five times, several for a rare one.
    assert metrics["tokens"] > metrics["characters"] + 1034
    assert 3 <= metrics["bytes"] / metrics["characters"] < 3.01  # the rarest take four
    model = textrnn.load(quatrains.folder)
    assert model.manifest.start_id == END_ID
    assert metrics["nats_per_token"] < math.log(model.vocabulary_size) - 0.5


def test_chinese_is_generated_in_whole_characters(quatrains: TrainedRun) -> None:
    model = textrnn.load(quatrains.folder)
    pieces = list(model.stream("春", length=60, seed=1))
    text = "".join(pieces)
    assert text == model.generate("春", length=60, seed=1)
    assert sum("\u4e00" <= character <= "\u9fff" for character in text) > len(text) / 2
    rare = "龘靐"  # in no poem five times
    assert model.tokenizer.decode(model.tokenizer.encode(rare)) == rare
    assert math.isfinite(model.score(rare).nats)
