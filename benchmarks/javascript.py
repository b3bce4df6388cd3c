"""What a written character costs in Node and in a browser page, beside Python, and what the page costs to load.

    python benchmarks/javascript.py MODEL --node-modules DIR [--chromium PROGRAM] [--characters N] [--repeat N]

MODEL is a language model of characters; DIR is a node_modules with onnxruntime-node and onnxruntime-web. Text is
written with temperature 0.8, one thread everywhere. The first character is counted from the start of the navigation of
an empty browser to the first text on the page, the click that starts the writing included; the server is on the same
machine. Over the wire: all that the page fetches until then, scripts counted with gzip, as servers send them. The
browser needs the package playwright. Printed is the best of `repeat` runs, and the median in brackets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import textrnn
from textrnn.web.onnxruntime_web import find_onnxruntime_web
from textrnn.web.site import write_single_file, write_site

ROOT = Path(__file__).resolve().parent.parent
NODE = """
const [, , index, folder, length, repeat] = process.argv;
const { load } = await import(index);
const model = await load(folder);
await model.generate("", { length: 1000, seed: 0 });
const times = [];
for (let seed = 0; seed < Number(repeat); seed++) {
  const begin = performance.now();
  const text = await model.generate("", { length: Number(length), temperature: 0.8, seed });
  times.push(((performance.now() - begin) * 1000) / text.length);
}
console.log(JSON.stringify(times));
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--node-modules", type=Path, required=True, metavar="DIR")
    parser.add_argument("--chromium", default="chromium", metavar="PROGRAM")
    parser.add_argument("--characters", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args(argv)
    model = textrnn.load(arguments.model)
    show("Python, a character", python_times(model, arguments.characters, arguments.repeat), "us")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = node_times(folder, arguments.node_modules, model.folder, arguments.characters, arguments.repeat)
        show("Node, a character", times, "us")
        onnxruntime_web = find_onnxruntime_web(arguments.node_modules / "onnxruntime-web")
        write_site(model.bundle, "model", onnxruntime_web, folder / "site")
        write_single_file(model.bundle, "model", onnxruntime_web, folder / "one.html")
        print(f"one file: {(folder / 'one.html').stat().st_size / 1e6:.2f} MB")
        with served(folder / "site") as address:
            for place, url in (("folder", address), ("one file", (folder / "one.html").as_uri())):
                browse(place, url, folder / "site", arguments.chromium, arguments.characters, arguments.repeat)
    return 0


def show(what: str, values: list[float], unit: str, best: Callable[[list[float]], float] = min) -> None:
    print(f"{what}: {best(values):,.1f} {unit} ({statistics.median(values):,.1f})", flush=True)


def python_times(model: textrnn.LanguageModel, characters: int, repeat: int) -> list[float]:
    """Microseconds a character."""
    times = []
    for seed in range(repeat):
        begin = time.perf_counter()
        text = model.generate("", length=characters, temperature=0.8, seed=seed)
        times.append((time.perf_counter() - begin) * 1e6 / len(text))
    return times


def node_times(folder: Path, node_modules: Path, bundle: Path, characters: int, repeat: int) -> list[float]:
    """Microseconds a character, of the modules of the checkout beside these npm packages."""
    (folder / "node_modules").symlink_to(node_modules.resolve(), target_is_directory=True)
    package = folder / "export" / "node"
    package.mkdir(parents=True)
    for file in ("index.js", "package.json"):
        (package / file).write_bytes((ROOT / "export" / "node" / file).read_bytes())
    (folder / "textrnn").symlink_to(ROOT / "textrnn", target_is_directory=True)
    (folder / "time.mjs").write_text(NODE, encoding="utf-8")
    command = ["node", "time.mjs", "./export/node/index.js", bundle, characters, repeat]
    run = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, check=True)
    times: list[float] = json.loads(run.stdout)
    return times


class served:
    """The address of a folder that is served while the block runs."""

    def __init__(self, folder: Path) -> None:
        handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def browse(place: str, url: str, site: Path, program: str, characters: int, repeat: int) -> None:
    """Print what a page costs; the browser starts again for each run, so that nothing is in its caches."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print(f"{place}: playwright is needed, pip install playwright")
        return
    first, rates, fetched = [], [], 0
    with sync_playwright() as started:
        for seed in range(repeat):
            browser = started.chromium.launch(executable_path=shutil.which(program) or program, args=["--no-sandbox"])
            page = browser.new_page()
            paths: set[str] = set()
            page.on("request", partial(lambda paths, request: paths.add(request.url.removeprefix(url)), paths))
            page.goto("about:blank")
            # In the page itself: the way from here to the browser takes longer than a character.
            page.add_init_script(FIRST_CHARACTER)
            page.goto(url)
            page.wait_for_selector("html[data-first]", state="attached", timeout=300_000)
            first.append(float(page.get_attribute("html", "data-first")))
            if url.startswith("http"):
                fetched = sum(wire_size(site / (path or "index.html")) for path in paths if ":" not in path)
            page.fill("#length", str(characters))
            page.fill("#seed", str(seed))
            page.wait_for_selector("#write .main:not([disabled])", timeout=300_000)
            page.click("#write .main")
            page.wait_for_selector("#stop:not([disabled])")
            page.wait_for_selector("#copy:not([disabled])", timeout=300_000)
            rates.append(float(page.inner_text("#status").split("characters, ")[1].split()[0].replace(",", "")))
            browser.close()
    if fetched:
        print(f"{place}, over the wire: {fetched / 1e6:.2f} MB")
    show(f"{place}, first character", first, "ms")
    show(f"{place}, characters a second", rates, "", max)


FIRST_CHARACTER = """
const watch = setInterval(() => {
  const button = document.querySelector("#write:not([hidden]) .main");
  if (!button) return;
  clearInterval(watch);
  new MutationObserver((_, observer) => {
    observer.disconnect();
    document.documentElement.dataset.first = performance.now();
  }).observe(document.querySelector("#written .new"), { childList: true });
  button.click();
}, 1);
"""


def wire_size(path: Path) -> int:
    """Bytes that a server sends of a file: text with gzip."""
    content = path.read_bytes()
    return len(gzip.compress(content)) if path.suffix in {".html", ".js", ".css"} else len(content)


if __name__ == "__main__":
    sys.exit(main())
