"""Real servers on the loopback, in a thread, and a small client."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from textrnn.serve.http import Service
from textrnn.serve.settings import Settings

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SECONDS = 60  # after which a test fails: far more than anything here takes


class Answer(NamedTuple):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON document."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The server-sent events, without the end mark of OpenAI."""
        parts = self.body.decode().split("\n\n")
        assert parts.pop() == ""
        documents = [part.removeprefix("data: ") for part in parts]
        return [json.loads(document) for document in documents if document != "[DONE]"]

    @property
    def message(self) -> str:
        """The one line of an error."""
        message = self.document["error"]["message"]
        assert isinstance(message, str)
        assert "\n" not in message
        return message


class Running:
    """A running server."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.address = (urlsplit(service.url).hostname or "", urlsplit(service.url).port or 0)

    def get(self, path: str, **headers: str) -> Answer:
        """Answer of a GET request."""
        return self.request("GET", path, None, headers)

    def post(self, path: str, document: Any = None, **headers: str) -> Answer:
        """Answer of a POST request with a JSON document, or with bytes."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Answer of any request."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def admitted(self) -> int:
        """Texts that hold a place in the server."""
        return sum(served.scheduler.admitted for served in self.service.models.all() if served.scheduler)


@contextmanager
def running(*models: str | Path, until_loaded: bool = True, **settings: Any) -> Iterator[Running]:
    """Run a server of golden bundles, or of other places, until the end of the block."""
    places = [str(GOLDEN / model if (GOLDEN / model).is_dir() else model) for model in models]
    service = Service(places, Settings(port=0, **settings))
    loaded = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            service.run(loaded.set)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if until_loaded:
            assert loaded.wait(SECONDS)
        yield Running(service)
    finally:
        service.stop()
        thread.join(SECONDS)
    assert not thread.is_alive()
    assert not failures


def eventually(is_true: Callable[[], bool]) -> None:
    """Wait until something is true; fail if it never is."""
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.002)
