"""Listening in a page: what a microphone hears is cut into utterances, which a model in the browser reads."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, serving
from commands import call
from golden_recordings import GOLDEN, samples_of
from node import ROOT, npm_package, run_node
from numpy.typing import NDArray
from spoken import RATE, speech, write_wav

import textrnn

pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
CUTTER = ROOT / "textrnn" / "serve" / "page" / "js" / "audio" / "speech_cutter.js"
CLASSIFIER, RECOGNIZER = GOLDEN / "audio-classifier-float32", GOLDEN / "recognizer-float32"


def cut(tmp_path: Path, samples: NDArray[np.float64], pause: float = 0.3, longest: float = 5) -> list[NDArray[Any]]:
    """Return the utterances that the page finds, in blocks of 20 ms."""
    shutil.copy(CUTTER, tmp_path / "cutter.mjs")
    (tmp_path / "samples.json").write_text(json.dumps(samples.tolist()), encoding="utf-8")
    (tmp_path / "cut.mjs").write_text(
        f"""
        import {{ readFileSync }} from "node:fs";
        import {{ SpeechCutter }} from "./cutter.mjs";
        const samples = Float32Array.from(JSON.parse(readFileSync("samples.json", "utf8")));
        const cutter = new SpeechCutter({RATE}, {pause}, {longest});
        const found = [];
        for (let begin = 0; begin < samples.length; begin += 320) {{
          found.push(...cutter.push(samples.subarray(begin, begin + 320)));
        }}
        const last = cutter.finish();
        console.log(JSON.stringify([...found, ...(last ? [last] : [])].map((each) => Array.from(each))));
        """,
        encoding="utf-8",
    )
    return [np.array(each) for each in json.loads(run_node(tmp_path, "cut.mjs"))]


def test_speech_is_cut_at_its_pauses(tmp_path: Path) -> None:
    words = ["aa", "c", "bab"]
    for noise in (0.0, 1e-4, 3e-3):
        found = cut(tmp_path, speech(words, 0.6, noise))
        assert len(found) == len(words)
        for utterance, word in zip(found, words, strict=True):
            spoken = len(samples_of(word, RATE, 1)) / RATE
            assert spoken <= len(utterance) / RATE <= spoken + 0.4
            assert np.abs(utterance).max() == pytest.approx(0.7, abs=0.02)  # nothing is cut off, nothing is changed


def test_a_click_is_no_speech_and_a_long_sound_is_cut(tmp_path: Path) -> None:
    silence = np.random.default_rng(0).normal(0, 1e-4, 2 * RATE)
    click = silence.copy()
    click[RATE : RATE + 200] = 0.5
    assert cut(tmp_path, click) == []
    assert cut(tmp_path, silence) == []
    tone = np.concatenate([silence, 0.3 * np.sin(np.arange(3 * RATE) / 5)])
    found = cut(tmp_path, tone, longest=1)
    assert [len(each) / RATE for each in found[:3]] == [1.0, 1.0, 1.0]
    np.testing.assert_allclose(np.concatenate(found), tone[-sum(map(len, found)) :], atol=1e-6)  # nothing twice


def test_speech_that_goes_on_at_the_end_is_not_lost(tmp_path: Path) -> None:
    (found,) = cut(tmp_path, speech(["abc"], 0.6)[: -round(0.65 * RATE)])
    assert 0.3 < len(found) / RATE < 0.6


@pytest.mark.parametrize(
    ("bundle", "utterances", "pause"), [(CLASSIFIER, ["aa", "cc", "b"], 0.6), (RECOGNIZER, ["acb", "ba"], 1.2)]
)
def test_a_page_hears_what_is_said(tmp_path: Path, bundle: Path, utterances: list[str], pause: float) -> None:
    package = npm_package("onnxruntime-web")
    exported = call("export", bundle, "--runtime", package, "--web", tmp_path / "site")
    assert exported.code == 0, exported.err
    sound = write_wav(tmp_path / "microphone.wav", speech(utterances, pause))
    uploaded = write_wav(tmp_path / "file.wav", speech(["bb"], 0.1))
    model = textrnn.load(bundle)
    with chromium(sound) as browser, serving({"": tmp_path / "site"}) as address:
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.set_default_timeout(60_000)
        page.goto(f"{address}/index.html")
        button = page.get_by_role("button", name="Listen")
        button.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Stop listening").wait_for()
        heard = page.get_by_role("log", name="Heard so far").locator("li")
        heard.nth(len(utterances) - 1).wait_for()
        page.keyboard.press("Escape")
        button.wait_for()
        assert [re.sub(r" \(.*", "", each) for each in heard.all_inner_texts()] == utterances_of(model, utterances)
        page.get_by_label("Recordings (.wav)").set_input_files(uploaded)
        heard.nth(len(utterances)).wait_for()
        if bundle == RECOGNIZER:
            assert heard.last.inner_text() == "file.wav: bb"
        else:
            (expected,) = model.classify([str(uploaded)])
            assert heard.last.inner_text() == f"file.wav: {expected.label} ({100 * expected.probability:.1f} %)"
            for label, probability in expected.probs.items():
                row = page.locator(".bar", has=page.get_by_text(label, exact=True)).locator(".number")
                assert row.inner_text() == f"{100 * probability:.1f} %"
        page.click("#language")
        assert page.get_by_role("button", name="开始听").is_visible()
        page.close()
    assert wrong == []


def utterances_of(model: Any, utterances: list[str]) -> list[str]:
    """Return the labels of the utterances, or their texts."""
    if model.manifest.kind == "recognizer":
        return utterances
    return [model.classify([(speech([text], 0.15), RATE)])[0].label for text in utterances]
