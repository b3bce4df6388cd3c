"""Batches of columns in, the same with columns added out; the same by workers of Ray Data, where that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import score_dataset
from commands import error_of
from tiny_bundle import write_tiny_bundle, write_tiny_classifier

import textrnn
from textrnn.runtime.bulk import Classify, Score

TEXTS = ["a good film", "", "bad bad film", "电影"]


def test_classes_and_probabilities_are_added(tmp_path: Path) -> None:
    bundle = write_tiny_classifier(tmp_path / "bundle").folder
    batch = {"id": np.arange(4), "review": np.array(TEXTS, object)}
    told = Classify(bundle, column="review")(batch)
    labels = textrnn.load(bundle).labels
    assert list(told) == ["id", "review", "predicted_label", "probability", *(f"prob_{label}" for label in labels)]
    assert list(batch) == ["id", "review"]
    np.testing.assert_array_equal(told["id"], [0, 1, 2, 3])
    for number, prediction in enumerate(textrnn.load(bundle).classify(TEXTS)):
        assert told["predicted_label"][number] == prediction.label
        assert told["probability"][number] == prediction.probability
        assert {label: told[f"prob_{label}"][number] for label in labels} == prediction.probs


def test_nats_are_added_to_a_data_frame_too(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    bundle = write_tiny_bundle(tmp_path / "bundle").folder
    told = Score(bundle)(pandas.DataFrame({"text": ["hello", "", "world hello"]}))
    assert list(told) == ["text", "nats", "tokens", "characters", "bits_per_character"]
    assert told["tokens"].tolist() == told["characters"].tolist() == [5, 0, 11]
    scores = [textrnn.load(bundle).score(text) for text in ("hello", "", "world hello")]
    assert told["nats"].tolist() == [score.nats for score in scores]
    assert told["bits_per_character"].tolist() == [score.bits_per_character for score in scores]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    classify = Classify(write_tiny_classifier(tmp_path / "bundle").folder)
    line = error_of(lambda: classify({"review": np.array(["x"])}))
    assert line == "records must have the column of texts 'text', have: review; name another"
    line = error_of(lambda: classify({"text": np.array(["x", None], object)}))
    assert line == "a text must be a string, was None in record 1 of a batch; drop or fill such records first"
    line = error_of(lambda: classify({"text": np.array(["x"]), "probability": np.ones(1)}))
    assert line == "records must not have a column 'probability' yet, it is added; rename it first"


def test_without_ray_the_pipeline_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    bundle = write_tiny_classifier(tmp_path / "bundle").folder
    source = tmp_path / "texts.txt"
    source.write_text("a good film\n", encoding="utf-8")
    assert score_dataset.main([str(bundle), str(source), "--out", str(tmp_path / "told")]) == 1
    line = "score_dataset: this needs Ray Data, ray is missing; run: pip install 'textrnn[ray]'\n"
    assert capsys.readouterr().err == line
    assert score_dataset.main([str(bundle), str(tmp_path / "texts.doc"), "--out", str(tmp_path / "told")]) == 1
    assert "score_dataset: a source must be a file or folder of one of .txt, .csv" in capsys.readouterr().err


def test_two_workers_of_ray_tell_what_one_process_does(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    bundle = write_tiny_classifier(tmp_path / "bundle").folder
    texts = [f"a {word} film {number}" for number, word in enumerate(["good", "bad"] * 50)]
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    command = [sys.executable, score_dataset.__file__, bundle, source, "--out", tmp_path / "told", "--format", "jsonl"]
    process = subprocess.run([*command, "--batch-size", "16", "--quiet"], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    lines = [line for path in sorted((tmp_path / "told").iterdir()) for line in path.read_text("utf-8").splitlines()]
    records = [json.loads(line) for line in lines]
    assert [record["text"] for record in records] == texts
    expected = textrnn.load(bundle).classify(texts)
    assert [record["predicted_label"] for record in records] == [prediction.label for prediction in expected]
    np.testing.assert_allclose(
        [record["probability"] for record in records], [prediction.probability for prediction in expected], rtol=1e-6
    )
