"""The page that `textrnn export --web` and `--single-file` write, in Chromium where it is, and its files."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, serving
from commands import call
from golden_runtimes import GOLDEN, write_cases
from node import ROOT, node, npm_package

import textrnn
from textrnn.models.places import FINISHED
from textrnn.web import onnxruntime_web
from textrnn.web.site import RUNTIME, joined_modules, write_site

PAGE = ROOT / "textrnn" / "web" / "page"
CHARACTERS = GOLDEN / "language-model-char-float32"


@pytest.fixture(scope="module")
def package() -> Path:
    return npm_package("onnxruntime-web")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def false_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two small files that pass for onnxruntime-web."""
    folder = tmp_path / "false_runtime"
    folder.mkdir()
    (folder / onnxruntime_web.MODULE).write_text("export {};\n", encoding="utf-8")
    (folder / onnxruntime_web.WASM).write_bytes(b"\0asm" + bytes(1000))
    names = (onnxruntime_web.MODULE, onnxruntime_web.WASM)
    hashes = {name: onnxruntime_web.sha256(folder / name) for name in names}
    monkeypatch.setattr(onnxruntime_web, "HASHES", {"0.0.1": hashes})
    return folder


class Page:
    """A page in the browser; an error on it, or a request to elsewhere, fails the test."""

    def __init__(self, browser: Any, address: str, form: str, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(120_000)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("request", lambda request: self._look_at(request.url, address))
        self.page.goto(address)
        self.page.wait_for_selector(f"#{form}:not([hidden])")

    def _look_at(self, url: str, address: str) -> None:
        if not url.startswith((address.removesuffix("index.html"), "blob:", "data:")):
            self.wrong.append(f"a request to {url}")

    def close(self) -> None:
        self.page.close()
        assert self.wrong == []

    def write(self, prompt: str, **values: object) -> str:
        for name, value in {"prompt": prompt, **values}.items():
            self.page.fill(f"#{name}", str(value))
        self.page.click("#write .main")
        self.page.wait_for_selector("#copy:not([disabled])")
        return str(self.page.text_content("#written .new"))


def export(model: object, package: Path, *arguments: object) -> None:
    result = call("export", model, "--runtime", package, *arguments)
    assert result.code == 0, result.err


def test_a_browser_computes_what_python_computes(browser: Any, package: Path, tmp_path: Path) -> None:
    path = write_cases(tmp_path)
    text = path.read_text(encoding="utf-8")
    served = {"tokenizers": tmp_path / "tokenizers", "recordings": tmp_path / "recordings"}
    for name, folder in {**served, "golden": GOLDEN, "models": FINISHED}.items():
        text = text.replace(folder.as_posix(), f"/{name}")
    path.write_text(text, encoding="utf-8")
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">', encoding="utf-8")
    folders = {"golden": GOLDEN, "models": FINISHED, "tests": ROOT / "tests", "web": ROOT / "textrnn" / "web"}
    with serving({"": tmp_path, "onnxruntime": package / "dist", **folders}) as address:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        found = page.evaluate((ROOT / "tests" / "golden_in_browser.js").read_text(encoding="utf-8"))
        page.close()
    assert found["differences"] == []
    assert found["compared"] > 3000


def test_text_is_written_as_python_writes_it(browser: Any, package: Path, tmp_path: Path) -> None:
    export(CHARACTERS, package, "--web", tmp_path / "site", "--single-file", tmp_path / "one.html")
    expected = textrnn.load(CHARACTERS).generate("the cat", length=300, temperature=0.5, seed=7)
    with serving({"": tmp_path / "site"}) as address:
        for place in (f"{address}/index.html", (tmp_path / "one.html").as_uri()):
            page = Page(browser, place, "write")
            assert page.write("the cat", length=300, temperature=0.5, seed=7) == expected
            page.page.click("summary")
            assert page.write("the cat", length=300, temperature=0.5, seed=7, topK=1) != expected
            page.close()


def test_the_page_of_a_language_model_works_by_keyboard_in_both_languages(
    browser: Any, package: Path, tmp_path: Path
) -> None:
    export(CHARACTERS, package, "--single-file", tmp_path / "one.html")
    dark = {"locale": "zh-CN", "color_scheme": "dark", "viewport": {"width": 360, "height": 700}}
    page = Page(browser, (tmp_path / "one.html").as_uri(), "write", **dark)
    inner = page.page
    assert inner.get_by_role("button", name="生成").is_enabled()
    assert inner.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert inner.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    inner.focus("#language")
    inner.keyboard.press("Enter")
    assert inner.get_by_role("button", name="Write").is_enabled()
    for label in ("Text to continue", "Temperature", "Tokens", "Seed"):
        assert inner.get_by_label(label).is_visible()
    inner.fill("#length", "100000")
    inner.focus("#prompt")
    inner.keyboard.press("Control+Enter")
    inner.wait_for_selector("#stop:not([disabled])")
    inner.keyboard.press("Escape")
    inner.wait_for_selector("#copy:not([disabled])")
    written = inner.text_content("#written .new")
    assert len(written) < 100_000
    seed = re.search(r"seed (\d+)", inner.text_content("#status"))
    assert seed
    again = textrnn.load(CHARACTERS).generate(
        inner.input_value("#prompt"), length=32, temperature=0.8, seed=int(seed[1])
    )
    assert written[:32] == again[: len(written)]
    inner.click("#clear")
    assert inner.text_content("#written") == ""
    page.close()


@pytest.mark.parametrize("name", ["classifier-int8", "multilabel-classifier-float32"])
def test_text_is_classified_as_it_is_typed(browser: Any, package: Path, tmp_path: Path, name: str) -> None:
    export(GOLDEN / name, package, "--single-file", tmp_path / "one.html")
    page = Page(browser, (tmp_path / "one.html").as_uri(), "classify")
    text = "the cat slept, and the film was good"
    page.page.locator("#text").press_sequentially(text)
    (prediction,) = textrnn.load(GOLDEN / name).classify([text])
    page.page.wait_for_selector("#result:not([hidden])")
    for label, probability in prediction.probs.items():
        row = page.page.locator(".bar", has=page.page.get_by_text(label, exact=True)).locator(".number")
        row.get_by_text(f"{100 * probability:.1f} %").wait_for()
    labels = getattr(prediction, "labels", None) or [getattr(prediction, "label", "no label")]
    assert page.page.text_content("#result h2") == ", ".join(labels)
    page.page.fill("#text", " ")
    page.page.wait_for_selector("#result", state="hidden")
    page.close()


@pytest.mark.parametrize("name", ["vector-classifier-float32", "regressor-int8"])
def test_numbers_are_read(browser: Any, package: Path, tmp_path: Path, name: str) -> None:
    export(GOLDEN / name, package, "--single-file", tmp_path / "one.html")
    page = Page(browser, (tmp_path / "one.html").as_uri(), "predict")
    record = [4.0, 3, 2, 1, 0, -1, -2, -3]
    page.page.fill("#record", "four")
    page.page.get_by_role("button", name="Predict").click()
    page.page.get_by_role("alert").get_by_text("Give numbers").wait_for()
    page.page.fill("#record", json.dumps(record))
    page.page.keyboard.press("Control+Enter")
    page.page.wait_for_selector("#result:not([hidden])")
    model = textrnn.load(GOLDEN / name)
    if name.startswith("vector"):
        assert page.page.text_content("#result h2") == model.classify([record])[0].label
    else:
        shown = float(page.page.text_content("#result"))
        assert shown == pytest.approx(float(model.predict([record])[0, 0]), rel=1e-4)
    assert page.page.get_by_role("alert").is_hidden()
    page.close()


def test_a_series_is_forecast(browser: Any, package: Path, tmp_path: Path) -> None:
    export(GOLDEN / "forecaster-float32", package, "--single-file", tmp_path / "one.html")
    page = Page(browser, (tmp_path / "one.html").as_uri(), "forecast")
    history = 100 + 10 * np.sin(2 * np.pi * np.arange(60) / 24)
    page.page.fill("#history", "level\n" + "\n".join(map(str, history.tolist())))
    page.page.fill("#steps", "7")
    page.page.get_by_role("button", name="Forecast").click()
    page.page.wait_for_selector("#result:not([hidden])")
    shown = [float(line) for line in page.page.text_content("#result").split()]
    expected = textrnn.load(GOLDEN / "forecaster-float32").forecast(history, 7)[:, 0]
    assert shown == pytest.approx(expected.tolist(), rel=1e-4)
    assert page.page.get_by_role("img", name="Values so far and forecast").is_visible()
    page.close()


def test_a_text_is_transformed_as_it_is_typed(browser: Any, package: Path, tmp_path: Path) -> None:
    name = GOLDEN / "text-to-text-int8"
    export(name, package, "--single-file", tmp_path / "one.html")
    options = {"locale": "zh-CN", "color_scheme": "dark", "viewport": {"width": 360, "height": 700}}
    page = Page(browser, (tmp_path / "one.html").as_uri(), "transform", **options)
    inner = page.page
    inner.get_by_label("源文本").press_sequentially("42")
    inner.locator("#result h2", has_text="forty two").wait_for()
    (expected,) = textrnn.load(name).transform(["42"])
    assert inner.locator(".bar .name").all_inner_texts() == [each.text for each in expected.candidates]
    assert inner.locator(".bar .number").first.inner_text() == f"{100 * math.exp(expected.log_prob):.1f} %"
    inner.focus("#alignment")
    for key, said in {"ArrowDown": "forty ← 4 (100 %)", "End": "two ← 2 (100 %)"}.items():
        inner.keyboard.press(key)
        inner.get_by_role("status").get_by_text(said).wait_for()
    inner.fill("#beams", "7")
    inner.locator(".bar").nth(6).wait_for()
    inner.fill("#source", "1234567890" * 8)
    inner.get_by_role("status").get_by_text("文本比训练时的都长").wait_for()
    assert inner.evaluate("() => document.documentElement.scrollWidth") <= 360
    inner.fill("#source", " ")
    inner.wait_for_selector("#alignment-figure", state="hidden")
    page.close()


def test_the_folder_holds_the_bundle_and_nothing_from_elsewhere(tmp_path: Path, false_runtime: Path) -> None:
    export("tang", false_runtime, "--web", tmp_path / "site")
    bundle = FINISHED / "tang"
    packed = {path.name.removesuffix(".gz"): path for path in (tmp_path / "site" / "model").iterdir()}
    assert set(packed) == {path.name for path in bundle.iterdir()} - {"README.md"}
    for name, path in packed.items():
        assert gzip.decompress(path.read_bytes()) == (bundle / name).read_bytes()
    assert gzip.decompress((tmp_path / "site" / f"{RUNTIME['wasm']}.gz").read_bytes()).startswith(b"\0asm")
    for name in ("index.html", "page.js", "worker.js", "recorder.js", "style.css"):
        assert not re.search(r"https?://", (tmp_path / "site" / name).read_text(encoding="utf-8"))
    assert "<h1" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_the_one_file_holds_the_bundle(tmp_path: Path, false_runtime: Path) -> None:
    export("tang", false_runtime, "--single-file", tmp_path / "new" / "tang.html")
    page = (tmp_path / "new" / "tang.html").read_text(encoding="utf-8")
    inside = dict(re.findall(r'data-file="([^"]+)">([^<]+)<', page))
    for name in ("manifest.json", "weights.bin", "generate.onnx"):
        content = gzip.decompress(base64.b64decode(inside[f"model/{name}"]))
        assert content == (FINISHED / "tang" / name).read_bytes()
    assert {"worker.js", "recorder.js"} < set(inside)
    assert 'src="' not in page


def test_a_page_has_the_name_of_its_run(tmp_path: Path, false_runtime: Path) -> None:
    model = textrnn.load(CHARACTERS)
    model.save(tmp_path / "我的 run" / "bundle")
    export(tmp_path / "我的 run", false_runtime, "--web", tmp_path / "site")
    assert name_of(tmp_path / "site") == "我的 run"
    export(tmp_path / "我的 run" / "bundle", false_runtime, "--web", tmp_path / "site_of_bundle")
    assert name_of(tmp_path / "site_of_bundle") == "我的 run"
    files = onnxruntime_web.find_onnxruntime_web(false_runtime)
    write_site(model.bundle, "</script><b>", files, tmp_path / "site_of_odd_name")
    assert name_of(tmp_path / "site_of_odd_name") == "</script><b>"


def name_of(site: Path) -> str:
    (document,) = re.findall(r'id="site">(.*?)</script>', (site / "index.html").read_text(encoding="utf-8"))
    return str(json.loads(document)["name"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--web", "OUT"], "a page needs ort.wasm.bundle.min.mjs"),
        (["--web", "OUT"], "run: npm install onnxruntime-web@"),
        (["--web", "OUT", "--runtime", "EMPTY"], "has not both"),
        (["--web", "OUT", "--runtime", "CHANGED"], "must be of a version that textrnn knows"),
        (["--web", "EMPTY", "--runtime", "FALSE"], "must not exist yet"),
        (["--single-file", "EMPTY", "--web", "OUT", "--runtime", "FALSE"], "must not exist yet"),
        (["--web", "OUT", "--quantize", "int8"], "a page is made from a bundle"),
        (["--runtime", "FALSE"], "--runtime is for a page"),
    ],
)
def test_bad_calls_get_one_line(
    tmp_path: Path, false_runtime: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    changed, empty = tmp_path / "changed", tmp_path / "empty"
    empty.mkdir()
    changed.mkdir()
    for path in false_runtime.iterdir():
        (changed / path.name).write_bytes(path.read_bytes() + b" ")
    places = {"OUT": tmp_path / "out", "EMPTY": empty, "CHANGED": changed, "FALSE": false_runtime}
    monkeypatch.chdir(empty)
    result = call("export", CHARACTERS, *(places.get(argument, argument) for argument in arguments))
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["page.js", "worker.js"])
def test_a_joined_script_is_valid(script: str, tmp_path: Path) -> None:
    text = joined_modules(PAGE / script)
    assert not re.search(r"^(import|export) ", text, flags=re.MULTILINE)
    suffix = ".mjs" if script == "page.js" else ".cjs"  # the page is a module, its worker a classic script
    path = tmp_path / f"script{suffix}"
    path.write_text(text, encoding="utf-8")
    subprocess.run([node(), "--check", path], check=True, timeout=60)


def test_every_word_of_the_page_is_in_both_languages(tmp_path: Path) -> None:
    words = (PAGE / "words.js").read_text(encoding="utf-8")
    (tmp_path / "words.mjs").write_text(words + "console.log(JSON.stringify(WORDS));", encoding="utf-8")
    run = subprocess.run([node(), tmp_path / "words.mjs"], capture_output=True, check=True, timeout=60)
    english, chinese = json.loads(run.stdout).values()
    assert english.keys() == chinese.keys()
    assert english["kinds"].keys() == chinese["kinds"].keys()
    for name, text in english.items():
        if isinstance(text, str):
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[name]))
    used = re.findall(r'data-word="(\w+)"', (PAGE / "index.html").read_text(encoding="utf-8"))
    for script in ("page.js", "listen.js"):
        used += re.findall(r'(?:word|say)\("(\w+)"', (PAGE / script).read_text(encoding="utf-8"))
    assert set(used) <= english.keys()
    assert english.keys() - {"kinds"} <= set(used)
