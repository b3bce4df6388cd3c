"""Chromium for tests, and a server of static files for its pages."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

PROGRAMS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def chromium(microphone: Path | None = None) -> Iterator[Any]:
    """Yield a headless browser of playwright, or skip the test.

    The program is the one that the environment variable TEXTRNN_CHROMIUM names, or a Chromium on the path. Its
    microphone hears the .wav file `microphone` once, and may be used by every page.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is needed: pip install playwright")
    program = os.environ.get("TEXTRNN_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        pytest.skip("chromium is needed on the path, or TEXTRNN_CHROMIUM must name it")
    options = ["--no-sandbox"]
    if microphone:
        options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        options += [f"--use-file-for-fake-audio-capture={microphone}%noloop"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


class _Files(SimpleHTTPRequestHandler):
    """Files of several folders, each under a name; it logs nothing."""

    protocol_version = "HTTP/1.1"
    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
    }

    def __init__(self, *arguments: Any, folders: dict[str, Path], **options: Any) -> None:
        self.folders = folders
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        name, _, rest = path.split("?")[0].lstrip("/").partition("/")
        if name in self.folders:
            self.directory = str(self.folders[name])
            return super().translate_path("/" + rest)
        self.directory = str(self.folders[""])
        return super().translate_path(path)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def serving(folders: dict[str, Path]) -> Iterator[str]:
    """Serve folders, each under its name, and yield the address; "" is the folder of all other paths."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, folders=folders))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
