"""The page of the server: its files, and every control in a headless Chromium against a server with real models.

The tests with a browser need the extra ``serve``, a Chromium on the path and playwright (``pip install playwright``:
40 MB, which are not among the packages of development). They skip where one is missing.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from browser import chromium
from spoken import RATE, speech, write_wav

import textrnn

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "textrnn" / "serve" / "page"
GOLDEN = PROJECT / "tests" / "golden"
FORECASTER = GOLDEN / "forecaster-float32"
LISTENER, RECOGNIZER = "audio-classifier-float32", "recognizer-float32"
TRANSLATOR = "text-to-text-float32"
PIECES, WORDS = "language-model-sentencepiece-float32", "language-model-word-float32"
KEY = "open-sesame"
SPOKEN = ["aa", "cc"]
ENGLISH, CHINESE = (json.loads((PAGE / "words" / f"{language}.json").read_text("utf-8")) for language in ("en", "zh"))
SERIES = "day,units,price\n" + "".join(f"2024-01-{day:02d},{day % 7 * 10},{day / 4}\n" for day in range(1, 29))


def sources() -> dict[str, str]:
    return {path.relative_to(PAGE).as_posix(): path.read_text("utf-8") for path in PAGE.rglob("*") if path.is_file()}


def test_both_languages_have_the_same_words_with_the_same_values() -> None:
    assert list(ENGLISH) == list(CHINESE)
    for key, english in ENGLISH.items():
        assert english.strip() and CHINESE[key].strip(), key
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", CHINESE[key])), key


def test_every_word_is_used_and_every_used_word_exists() -> None:
    text = "\n".join(source for name, source in sources().items() if not name.startswith("words/"))
    used = set(re.findall(r'data-t(?:-label|-placeholder)?="([^"]+)"', text))
    used |= set(re.findall(r'\bt\("([^"]+)"', text)) | set(re.findall(r'SeriesError\("([^"]+)"', text))
    assert used <= set(ENGLISH)
    # These are put together: `error.${kind}`.
    families = ("error.", "theme.", "write.end.", "label.", "examples.", "about.", "copy.")
    others = {key for key in set(ENGLISH) - used if not key.startswith(families)}
    assert {key for key in others if f'"{key}"' not in text} == set()


def test_the_files_name_no_address_outside() -> None:
    for name, source in sources().items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", source))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name  # the name of SVG, which nothing opens


def test_the_files_are_in_the_wheel() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    packed = {file.distribution_path for file in wheel.WheelBuilder(str(PROJECT)).recurse_included_files()}
    assert {f"textrnn/serve/page/{name}" for name in sources()} <= packed


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server with a key, and a model of each kind that the page has a tab for."""
    for package in ("uvicorn", "starlette", "prometheus_client"):
        pytest.importorskip(package, reason="the extra serve is not installed")
    from serve.running import running

    models = (
        "shakespeare",
        "tang",
        "reviews-en",
        "reviews-zh",
        "digits",
        "forecaster-float32",
        LISTENER,
        TRANSLATOR,
        PIECES,
        WORDS,
        RECOGNIZER,
    )
    with running(*models, api_key=KEY) as server:
        yield server.service.url.rstrip("/") + "/"


def test_the_page_learns_what_the_models_are_for(address: str) -> None:
    with urlopen(Request(address + "info", headers={"Authorization": f"Bearer {KEY}"}), timeout=60) as answer:
        models = {model["name"]: model for model in json.load(answer)["models"]}
    assert models["shakespeare"]["language"] == ["en"] and models["tang"]["language"] == ["zh"]
    assert models["shakespeare"]["tokenizer"] == "char" and models[PIECES]["tokenizer"] == "sentencepiece"
    assert models["reviews-en"]["summary"] == "Labels an English opinion as positive or negative."
    assert models["reviews-zh"]["example"] == "房间很干净，下次还会来。"


def test_the_files_need_no_key_and_have_types_that_browsers_accept(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_, **__: ("text/plain", None))  # as on some Windows
    types = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".html": "text/html"}
    for name in ("", *sorted(set(sources()) - {"index.html"})):
        if name == "icon.svg":
            continue
        with urlopen(address + name, timeout=60) as answer:
            assert answer.headers.get_content_type() == types[Path(name or "index.html").suffix], name
            assert answer.headers["cache-control"] == "no-cache"
            assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sound = tmp_path_factory.mktemp("sound") / "microphone.wav"
    with chromium(write_wav(sound, speech(SPOKEN, 0.6))) as started:
        yield started


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Open]:
    """A function that opens the page at a tab with a state. Errors in the page and requests elsewhere fail the test."""
    contexts, problems = [], list[str]()

    def open_it(
        tab: str = "", *, link: str = "", key: bool = True, script: str = "", before: Any = None, **options: Any
    ) -> Any:
        state = options.pop("state", {})
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(60_000)  # a busy machine
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        if key:
            context.add_init_script(f"sessionStorage.setItem('textrnn.key', '{KEY}')")
        context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: "Content Security Policy" in said.text and problems.append(said.text))
        page.on("request", lambda request: request.url.startswith(address) or problems.append(request.url))
        if before:
            before(page)
        page.goto(link or (f"{address}#{tab}?{urlencode(state)}" if tab else address))
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


def wait_for(page: Any, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => [...document.querySelectorAll(selector)].some("
        "(each) => each.checkVisibility() && each.textContent.includes(text))",
        arg=[selector, text],
    )


def slide(page: Any, name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))


def written(page: Any) -> str:
    """Wait for the end of the text and return it."""
    wait_for(page, "#write-status", ENGLISH["write.end.whole"])
    tokens: str = page.evaluate(
        "[...document.querySelectorAll('#text [data-index]')].map((span) => span.textContent).join('')"
    )
    return tokens


# Hands over the first part of a stream, and then nothing until the page stops it, or ends it too early.
STALL = """
const whole = window.fetch;
window.fetch = async (address, options) => {
  const response = await whole(address, options);
  if (!String(address).endsWith("generate_stream")) return response;
  const reader = response.body.getReader();
  return new Response(new ReadableStream({
    async start(controller) {
      options.signal.addEventListener("abort", () => controller.error(new DOMException("stopped", "AbortError")));
      controller.enqueue((await reader.read()).value);
      if (ENDS) controller.close();
    },
  }));
};
"""


def test_a_text_is_that_of_the_model_with_the_options_of_the_sliders(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#write-go")
    assert page.input_value("#prompt") == "ROMEO:"
    page.fill("#prompt", "JULIET:")
    for name, value in {"temperature": 0.5, "length": 120, "seed": 11, "top_p": 0.9}.items():
        slide(page, name, value)
    assert page.is_checked("#same-seed")  # who sets a seed wants it
    page.click("#write-go")
    expected = textrnn.load("shakespeare").generate("JULIET:", length=120, temperature=0.5, top_p=0.9, seed=11)
    assert written(page) == expected
    assert page.inner_text("#text").startswith("JULIET:")
    assert "120 characters" in page.inner_text("#write-status")
    colours = page.evaluate(
        "[...new Set([...document.querySelectorAll('#text [data-index] > span')]"
        ".map((span) => getComputedStyle(span).backgroundColor))].length"
    )
    assert colours >= 4
    page.keyboard.press("Control+Enter")
    assert written(page) == expected
    page.uncheck("#same-seed")
    slide(page, "temperature", 0)
    assert page.inner_text("output[for=temperature]") == "0.00"
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#seed').value !== '11'")
    assert written(page) == textrnn.load("shakespeare").generate("JULIET:", length=120, temperature=0, top_p=0.9)


def test_a_text_can_be_stopped_and_what_came_stays(open_page: Open) -> None:
    page = open_page(script=STALL.replace("ENDS", "false"))
    for stop in (lambda: page.click("#write-stop"), lambda: page.keyboard.press("Escape")):
        page.click("#write-go")
        page.wait_for_selector("#text [data-index]")
        assert page.inner_text("#write-status") == ENGLISH["write.writing"]
        stop()
        wait_for(page, "#write-status", ENGLISH["write.end.stopped"])
        assert page.locator("#text [data-index]").count() > 0
        assert page.is_disabled("#write-stop") and page.is_hidden("#banner")


def test_alternatives_are_shown_by_mouse_and_keyboard_and_can_be_taken(open_page: Open) -> None:
    state = {"prompt": "ROMEO:", "seed": 5, "length": 400, "go": 1}
    page = open_page("write", state=state, viewport={"width": 1200, "height": 420})
    text = written(page)
    page.locator("#text [data-index='9']").hover()
    page.wait_for_selector("#tip:not([hidden])")
    best = textrnn.load("shakespeare").next_probs("ROMEO:" + text[:9], top=5)
    assert page.locator("#tip .choice").count() >= 4
    assert f"{max(best.values()):.0%}" in page.inner_text("#tip")
    page.mouse.move(5, 5)
    page.wait_for_selector("#tip", state="hidden")
    page.focus("#text")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "End", "ArrowLeft", "Home", "ArrowRight"):
        page.keyboard.press(key)  # End scrolls
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.is_visible("#tip")
        box = page.locator("#tip").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 420
        assert "%" in page.inner_text("#spoken")  # for a screen reader
    assert page.locator("#text .now").get_attribute("data-index") == "1"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip") and page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    probable = textrnn.load("shakespeare").next_probs("ROMEO:" + text[:1], top=5)
    taken = next(token for token in probable if token != text[1])
    page.wait_for_function("document.querySelector('#prompt').value.length === 8")
    assert page.input_value("#prompt") == "ROMEO:" + text[0] + taken
    assert written(page) != text


def test_alternatives_that_are_no_text_are_named_and_cannot_be_taken(open_page: Open) -> None:
    names, choices = set[str](), set[str]()
    for model in (PIECES, WORDS):
        page = open_page("write", state={"model": model, "prompt": "the cat", "seed": 2, "length": 40, "go": 1})
        written(page)
        page.focus("#text")
        for _ in range(page.locator("#text [data-index]").count()):
            page.keyboard.press("ArrowRight")
            names |= set(page.locator("#tip p.choice > span").all_inner_texts())
            choices |= set(page.locator("#tip button.choice > span").all_inner_texts())
    assert ENGLISH["token.line"] in choices  # a byte for one model, a new line for a person
    assert {ENGLISH["token.end"], ENGLISH["token.unknown"]} <= names
    assert not choices & names and not [name for name in choices | names if name.startswith("<")]


def test_a_text_and_a_link_that_writes_it_again_are_copied(open_page: Open) -> None:
    page = open_page("write", state={"model": "tang", "prompt": "春風", "seed": 3, "go": 1})
    text = written(page)
    assert text
    page.click("#write-copy")
    wait_for(page, "#write-copy", ENGLISH["copy.done"])
    assert page.evaluate("navigator.clipboard.readText()") == "春風" + text
    page.click("#write-link")
    wait_for(page, "#write-link", ENGLISH["copy.done"])
    link = page.evaluate("navigator.clipboard.readText()")
    other = open_page(link=link)
    assert written(other) == text
    assert other.input_value("#write-model") == "tang"


def test_labels_and_reasons_follow_what_is_typed(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-classify")
    assert page.input_value("#classify-model") == "reviews-en"
    page.locator("#opinion").press_sequentially("Arrived broken, and nobody answers.")
    expected = textrnn.load("reviews-en").explain("Arrived broken, and nobody answers.")
    wait_for(page, "#classify-status", f"negative {expected.probability:.0%}")
    assert page.inner_text("#reasons").strip() == "Arrived broken, and nobody answers."
    assert page.locator("#labels .row.chosen").inner_text().split() == ["negative", f"{expected.probability:.0%}"]
    assert page.locator("#reasons .c3").count() >= 1
    page.locator("#reasons [data-index='1']").hover()
    page.wait_for_selector("#tip:not([hidden])")
    assert f"{expected.contributions[1]:+.2f}" in page.inner_text("#tip")
    page.locator("#labels .row", has_text="positive").click()
    wait_for(page, "#reason-title", "positive")
    assert page.locator("#labels .row", has_text="positive").get_attribute("aria-pressed") == "true"
    page.fill("#opinion", "What a wonderful film!")
    wait_for(page, "#classify-status", "positive")
    page.click("#classify-link")
    wait_for(page, "#classify-link", ENGLISH["copy.done"])
    link = page.evaluate("navigator.clipboard.readText()")
    page.select_option("#classify-model", "reviews-zh")
    page.click("#classify-example")
    wait_for(page, "#reasons", "房间很干净")
    wait_for(page, "#classify-status", "positive")
    page.fill("#opinion", "")
    page.wait_for_selector("#reasons-empty:not([hidden])")
    assert page.locator("#labels .row").all_inner_texts() == ["negative", "positive"]
    other = open_page(link=link)
    wait_for(other, "#classify-status", "positive")
    assert other.input_value("#opinion") == "What a wonderful film!"


def test_outputs_and_their_alignment_follow_what_is_typed(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-transform")
    assert page.is_visible("#outcome-empty") and page.is_hidden("#alignment")
    page.locator("#source").press_sequentially("42")
    wait_for(page, "#outcome", "forty two")
    model = textrnn.load(PROJECT / "tests" / "golden" / TRANSLATOR)
    (expected,) = model.transform(["42"], align=True)
    shown = page.locator("#candidates .row > span:first-child")
    assert shown.all_inner_texts() == [candidate.text for candidate in expected.candidates]
    assert page.locator("#alignment thead th").all_inner_texts() == ["4", "2"]
    assert page.locator("#alignment tbody th").all_inner_texts() == ["forty", "two"]
    colours = page.eval_on_selector_all("#alignment td", "(all) => all.map((e) => getComputedStyle(e).backgroundColor)")
    assert colours[1] == colours[4] != colours[2] == colours[3]  # after an empty corner: forty from 4, two from 2
    page.focus("#alignment")
    for key, said in (
        ("ArrowDown", "forty ← 4"),
        ("ArrowDown", "two ← 2 (100%)"),
        ("Home", "forty ← 4"),
        ("End", "two ← 2"),
    ):
        page.keyboard.press(key)
        wait_for(page, "#alignment-line", said)
    page.locator("#alignment tbody th").first.hover()
    wait_for(page, "#alignment-line", "forty ← 4")
    other = expected.candidates[1].text
    page.locator("#candidates .row").nth(1).click()
    wait_for(page, "#outcome", other)
    assert page.locator("#candidates .row").nth(1).get_attribute("aria-pressed") == "true"
    page.click("#transform-copy")
    wait_for(page, "#transform-copy", ENGLISH["copy.done"])
    assert page.evaluate("navigator.clipboard.readText()") == other
    slide(page, "beams", 7)
    page.locator("#candidates .row").nth(6).wait_for()
    page.fill("#source", "7777")
    wait_for(page, "#transform-status", ENGLISH["transform.longer"])
    page.fill("#source", "99")
    wait_for(page, "#outcome", model.transform(["99"])[0].text)
    page.click("#transform-link")
    wait_for(page, "#transform-link", ENGLISH["copy.done"])
    link = page.evaluate("navigator.clipboard.readText()")
    page.fill("#source", " ")
    page.wait_for_selector("#outcome-empty:not([hidden])")
    assert page.locator("#candidates .row").count() == 0
    restored = open_page(link=link)
    wait_for(restored, "#outcome", model.transform(["99"])[0].text)
    assert restored.input_value("#beams") == "7"


def test_what_a_microphone_hears_is_sent_and_labelled(open_page: Open, tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="comes with the extra audio")
    uploaded = write_wav(tmp_path / "file.wav", speech(["acb"], 0.1))
    model = textrnn.load(GOLDEN / LISTENER)
    labels = [model.classify([(speech([text], 0.15), RATE)])[0].label for text in SPOKEN]
    page = open_page("listen", state={"model": LISTENER}, locale="zh-CN")
    page.get_by_role("button", name=CHINESE["listen.start"]).focus()
    page.keyboard.press("Enter")
    heard = page.get_by_role("log", name=CHINESE["listen.heard"]).locator("li")
    heard.nth(1).wait_for()
    assert [each[0] for each in heard.all_inner_texts()] == labels
    assert page.get_attribute("#microphone", "aria-pressed") == "true"
    page.keyboard.press("Escape")
    wait_for(page, "#hearing", CHINESE["listen.idle"])
    page.set_input_files("#recording", uploaded)
    heard.nth(2).wait_for()
    (expected,) = model.classify([str(uploaded)])
    assert heard.last.inner_text().startswith(f"file.wav: {expected.label} (")
    page.select_option("#listen-model", RECOGNIZER)
    page.set_input_files("#recording", uploaded)
    wait_for(page, "#heard li", "file.wav: acb")
    page.set_input_files("#recording", PAGE / "icon.svg")
    wait_for(page, "#banner", "a recording must be .wav")


def test_an_answer_to_an_older_text_is_not_shown(open_page: Open) -> None:
    late: list[Any] = []

    def hold_first(route: Any) -> None:
        if late:
            route.continue_()
        else:
            late.append(route)

    page = open_page("transform", before=lambda page: page.route("**/transform", hold_first), state={"text": "42"})
    page.wait_for_selector("#outcome[aria-busy=true]", state="attached")
    page.fill("#source", "7")
    wait_for(page, "#outcome", "seven")
    late[0].abort()
    assert page.inner_text("#outcome") == "seven" and page.is_hidden("#banner")


def test_a_series_is_drawn_with_what_was_held_out_and_its_forecast(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.click("#tab-forecast")
    page.fill("#series", SERIES)
    page.wait_for_selector("#charts svg")
    assert page.locator("#column option").all_inner_texts() == ["units", "price"]
    for path in ("history", "past", "future"):
        assert page.get_attribute(f"#charts .{path}", "d").startswith("M")
    units = [float(line.split(",")[1]) for line in SERIES.splitlines()[1:]]
    model = textrnn.load(FORECASTER)
    slide(page, "held", 4)
    slide(page, "steps", 5)
    wait_for(page, "#score", "On the 4 rows")
    past = model.forecast(units[:-4], 4)[:, 0]
    error = sum(abs(value - given) for value, given in zip(past, units[-4:], strict=True)) / 4
    assert f"off by {float(f'{error:.3g}'):g} on average" in page.inner_text("#score")
    page.wait_for_function("document.querySelector('#charts svg').getAttribute('aria-label').includes('5 more rows')")
    page.click("#forecast-copy")
    wait_for(page, "#forecast-copy", ENGLISH["copy.done"])
    head, *rows = page.evaluate("navigator.clipboard.readText()").strip().split("\n")
    assert head == "step,units"
    assert [float(row.split(",")[1]) for row in rows] == pytest.approx(model.forecast(units, 5)[:, 0], rel=1e-5)
    page.focus("#charts svg")
    page.keyboard.press("Home")
    wait_for_spoken = "document.querySelector('#spoken').textContent.startsWith('2024-01-01, 10')"
    page.wait_for_function(wait_for_spoken)
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('#spoken').textContent.startsWith('2024-02-02, forecast')")
    page.locator("#charts svg").hover(position={"x": 200, "y": 100})
    assert page.locator("#charts .pointer").get_attribute("visibility") == "visible"
    page.click("#figures summary")
    assert page.locator("#table tbody tr").count() == 10 + 4 + 5
    slide(page, "held", 0)
    page.wait_for_selector("#charts .past", state="detached")
    assert page.is_hidden("#score")
    page.click("#forecast-link")
    wait_for(page, "#forecast-link", ENGLISH["copy.done"])
    link = page.evaluate("navigator.clipboard.readText()")
    page.select_option("#column", "price")
    wait_for(page, "#charts .chart-name", "price")
    file = tmp_path / "other.csv"
    file.write_text("".join(f"{row}\n" for row in range(5, 45)), encoding="utf-8")
    page.set_input_files("#series-file", file)
    wait_for(page, "#forecast-status", "40 rows")
    page.evaluate(
        "(text) => { const data = new DataTransfer(); data.items.add(new File([text], 'new.csv'));"
        "document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true})) }",
        "1\n2\n3\n\n4\nNaN\n5\n",
    )
    wait_for(page, "#forecast-status", "6 rows read · 1 gaps")
    page.click("#series-example")
    wait_for(page, "#forecast-status", "144 rows")
    other = open_page(link=link)
    other.wait_for_selector("#charts svg")
    assert other.input_value("#held") == "0" and other.input_value("#steps") == "5"


def test_a_series_that_cannot_be_read_says_why(open_page: Open) -> None:
    page = open_page("forecast", state={"series": SERIES})
    page.wait_for_selector("#charts svg")
    for series, said in (
        ("a,b\nx,y\nu,v", "no column of numbers"),
        ("1,2\n3,4\n5", "line 3 has 1"),
        ("day,units\n1,4\n2,oops\n3,6", "Line 3 has “oops”"),
        ("7", "two rows or more"),
    ):
        page.fill("#series", series)
        wait_for(page, "#forecast-status", said)
        assert page.get_attribute("#series", "aria-invalid") == "true"
        assert page.locator("#charts svg").count() == 0
    page.fill("#series", SERIES)
    page.wait_for_selector("#charts svg")
    assert page.get_attribute("#series", "aria-invalid") == "false"


def test_tabs_are_those_of_the_models_and_move_by_keyboard(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-write")
    for key, tab in (
        ("ArrowRight", "classify"),
        ("End", "listen"),
        ("ArrowRight", "write"),
        ("ArrowLeft", "listen"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert page.get_attribute(f"#tab-{tab}", "aria-selected") == "true"
        assert page.is_visible(f"#panel-{tab}")
        assert page.locator("[role=tabpanel]:visible").count() == 1
    assert "digits" in page.inner_text("footer")

    def only(*names: str) -> Callable[[Any], None]:
        def keep(route: Any) -> None:
            answer = route.fetch()
            info = answer.json()
            info["models"] = [model for model in info["models"] if model["name"] in names]
            route.fulfill(response=answer, json=info)

        return lambda page: page.route("**/info", keep)

    page = open_page(before=only("reviews-en"))
    page.wait_for_selector("#panel-classify")
    assert page.locator("[role=tab]:visible").count() == 1
    assert page.is_disabled("#classify-model")  # nothing to choose
    page = open_page(before=only("digits"))
    wait_for(page, "#nothing", "textrnn serve")
    assert page.locator("[role=tab]:visible").count() == 0


def test_the_language_is_that_of_the_browser_until_it_is_switched(open_page: Open) -> None:
    page = open_page()
    wait_for(page, "#tab-write", "Write")
    page.click("#language")
    wait_for(page, "#tab-write", "写作")
    page.reload()
    wait_for(page, "#tab-write", "写作")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    page = open_page("write", locale="zh-CN", state={"model": "tang", "seed": 3, "go": 1})
    wait_for(page, "#write-status", CHINESE["write.end.whole"])
    for tab in ("write", "classify", "transform", "forecast", "listen"):
        page.click(f"#tab-{tab}")
        for text in page.locator("label:visible, button:visible, .about:visible, .help:visible").all_inner_texts():
            bare = text.replace("English", "").replace("Top-p", "")
            assert not bare.strip() or re.search("[\u4e00-\u9fff]", bare), text
    page.click("#language")
    wait_for(page, "#tab-write", "Write")


def test_the_theme_is_that_of_the_system_until_it_is_switched(open_page: Open) -> None:
    def is_dark(page: Any) -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) < 300

    assert is_dark(open_page(color_scheme="dark"))
    page = open_page(color_scheme="light")
    wait_for(page, "#theme", "Auto")
    assert not is_dark(page)
    page.click("#theme")
    page.click("#theme")
    wait_for(page, "#theme", "Dark")
    assert is_dark(page)
    page.reload()
    assert is_dark(page)
    wait_for(page, "#theme", "Dark")
    page.click("#theme")
    assert not is_dark(page)


def test_a_key_is_asked_for_and_a_wrong_one_is_refused(open_page: Open) -> None:
    page = open_page(key=False)
    wait_for(page, "#banner-text", ENGLISH["error.key"])
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type("sesame")
    page.keyboard.press("Enter")
    wait_for(page, "#banner-text", ENGLISH["error.key.wrong"])
    page.fill("#key", KEY)
    page.click("#key-form button")
    page.wait_for_selector("#panel-write")
    assert page.is_hidden("#banner")
    slide(page, "length", 20)
    page.click("#write-go")
    assert len(written(page)) == 20


def test_errors_of_the_server_are_said_in_plain_words(open_page: Open) -> None:
    page = open_page()
    slide(page, "length", 20)
    error = {"error": {"message": "length must be at most 10, was: 20; ask for less"}}
    answers: list[tuple[dict[str, Any] | None, str]] = [
        ({"status": 429, "headers": {"retry-after": "3"}, "json": error}, "The server is busy. Try again in 3 s."),
        ({"status": 429, "json": error}, ENGLISH["error.busy"]),
        ({"status": 422, "json": error}, error["error"]["message"]),
        ({"status": 413, "json": error}, ENGLISH["error.large"]),
        ({"status": 500, "body": "<h1>no</h1>"}, ENGLISH["error.failed"]),
        (None, ENGLISH["error.lost"]),
    ]
    for answer, said in answers:
        page.route(
            "**/generate_stream", lambda route, _, given=answer: route.fulfill(**given) if given else route.abort()
        )
        page.click("#write-go")
        wait_for(page, "#banner", said)
        page.unroute("**/generate_stream")
        page.click("#banner-again")
        assert len(written(page)) == 20
        assert page.is_hidden("#banner")


def test_a_stream_that_breaks_off_keeps_its_text_and_says_so(open_page: Open) -> None:
    page = open_page(script=STALL.replace("ENDS", "true"))
    page.click("#write-go")
    wait_for(page, "#banner", ENGLISH["error.lost"])
    wait_for(page, "#write-status", ENGLISH["write.end.broken"])
    assert page.locator("#text [data-index]").count() > 0
    page.click("#banner-close")
    assert page.is_hidden("#banner")


def test_the_page_waits_for_models_that_are_being_loaded(open_page: Open) -> None:
    asked = []

    def answer(route: Any) -> None:
        asked.append(1)
        if len(asked) == 1:
            route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": {"message": "loading"}})
        else:
            route.continue_()

    page = open_page(before=lambda page: page.route("**/info", answer))
    page.wait_for_selector("#panel-write")
    assert len(asked) == 2 and page.is_hidden("#banner")


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_nothing_is_wider_than_a_phone(open_page: Open, locale: str) -> None:
    page = open_page(
        "write", state={"seed": 1, "go": 1}, locale=locale, viewport={"width": 360, "height": 740}, has_touch=True
    )
    page.wait_for_selector("#text [data-index='30']")
    page.locator("#text [data-index='12']").tap()
    page.wait_for_selector("#tip:not([hidden])")
    for tab in ("write", "classify", "transform", "forecast", "listen"):
        page.click(f"#tab-{tab}")
        if tab == "classify":
            page.click("#classify-example")
            page.wait_for_selector("#reasons [data-index]")
        if tab == "transform":
            page.fill("#source", "1234567890" * 8)
            page.wait_for_selector("#alignment table")
        if tab == "forecast":
            page.click("#series-example")
            page.wait_for_selector("#charts svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        box = page.locator("#language").bounding_box()
        assert box["x"] + box["width"] <= 360


def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page("forecast", state={"series": SERIES})
    page.wait_for_selector("#charts svg")
    for tab in ("write", "classify", "transform", "forecast", "listen"):
        page.click(f"#tab-{tab}")
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, textarea, [tabindex=\"0\"]')]"
            ".filter((each) => each.checkVisibility() && !each.ariaLabel && !each.labels?.length"
            " && !each.textContent.trim()).map((each) => each.id || each.outerHTML)"
        )
        assert nameless == []
