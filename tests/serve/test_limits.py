"""What keeps a server alive: places, limits, clients that go or stall, keys, loading, and the end of the process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from commands import call, told

import textrnn
from textrnn.errors import UserError

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from serve.running import GOLDEN, SECONDS, Running, eventually, running

from textrnn.serve import app, served
from textrnn.serve.settings import Settings, from_environment

CHARACTERS = "language-model-char-float32"
LONG = {"length": 1_000_000, "seed": 1}  # a text that never ends by itself, as long as a test takes
UNLIMITED = {"max_tokens": 10_000_000}


@contextmanager
def opened(
    server: Running, document: Any, path: str = "/generate_stream", buffer: int | None = None
) -> Iterator[socket.socket]:
    """A connection that has sent a request; `buffer` is what it accepts before it is read."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as connection:
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(SECONDS)
        connection.connect(server.address)
        connection.sendall(head.encode() + body)
        yield connection


def read_until(connection: socket.socket, part: bytes) -> bytes:
    """What arrives until `part` does."""
    found = b""
    while part not in found:
        received = connection.recv(1 << 16)
        assert received, found
        found += received
    return found


def test_a_full_server_refuses_before_it_works_and_has_room_once_a_client_goes() -> None:
    with running(CHARACTERS, streams=2, queue=1, **UNLIMITED) as server, ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        for _ in range(2):
            connection = first.enter_context(opened(server, LONG))
            assert b"200 OK" in read_until(connection, b"data: ")
        stack.enter_context(opened(server, LONG))
        eventually(lambda: server.admitted() == 3)
        for path in ("/generate_stream", "/v1/completions"):
            refused = server.post(path, {"prompt": "the"})
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) >= 1
        assert server.post("/score", {"texts": ["the"]}).status == 200  # another queue
        first.close()
        eventually(lambda: server.admitted() == 1)
        assert server.post("/generate_stream", {"prompt": "the", "length": 5}).events[-1]["generated_tokens"] == 5


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [("classifier-float32", "/classify", "good bad " * 200), ("text-to-text-float32", "/transform", "42" * 450)],
)
def test_requests_for_labels_and_outputs_wait_in_a_bounded_queue(name: str, path: str, text: str) -> None:
    with running(name, streams=1, queue=1) as server, ExitStack() as stack:
        request = {"texts": [text] * 20, "explain": True}  # takes long
        for _ in range(2):
            stack.enter_context(opened(server, request, path))
        (model,) = server.service.models.all()
        eventually(lambda: model.waiting == 2)
        refused = server.post(path, {"texts": ["good"]})
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        stack.close()
        eventually(lambda: server.post(path, {"texts": ["good"]}).status == 200)


@pytest.mark.parametrize("path", ["/generate_stream", "/v1/completions"])
def test_a_client_that_goes_frees_its_places(path: str) -> None:
    request = LONG if path == "/generate_stream" else {"max_tokens": 1_000_000, "n": 3}
    with running(CHARACTERS, **UNLIMITED) as server:
        with opened(server, request, path):
            eventually(lambda: server.admitted() > 0)
        eventually(lambda: server.admitted() == 0)


def test_a_client_that_does_not_read_keeps_no_other_waiting_and_is_dropped() -> None:
    with (
        running(CHARACTERS, streams=1, queue=3, stall_seconds=0.5, **UNLIMITED) as server,
        opened(server, LONG | {"length": 10_000_000}, buffer=4096) as stalled,
    ):
        eventually(lambda: server.admitted() == 1)
        assert server.post("/generate_stream", {"prompt": "the", "length": 50}).events[-1]["done"]
        eventually(lambda: server.admitted() == 0)
        received = b"".join(iter(lambda: stalled.recv(1 << 20), b""))
        assert b'"text":' in received
        assert b'"done"' not in received


def test_a_large_request_is_refused_by_its_bytes() -> None:
    with running(CHARACTERS, max_body=1000, read_seconds=2) as server:
        text = "é" * 480  # 960 bytes, with the rest of the request less than 1,000
        body = json.dumps({"prompt": text, "max_tokens": 1}, ensure_ascii=False).encode()
        assert server.post("/v1/completions", body).status == 200
        refused = server.post("/v1/completions", json.dumps({"prompt": text * 2}, ensure_ascii=False).encode())
        assert refused.status == 413
        assert "at most 1,000 bytes" in refused.message
        with socket.create_connection(server.address, SECONDS) as connection:
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999\r\n\r\n")
            assert b"413" in read_until(connection, b"\r\n\r\n")
        with socket.create_connection(server.address, SECONDS) as connection:  # its length is not known before
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall((b"%x\r\n" % 800 + b" " * 800 + b"\r\n") * 2)
            assert b"413" in read_until(connection, b"\r\n\r\n")
        # More than the buffers of a connection hold: the answer is seen by a client that sends all before it reads.
        assert server.post("/classify", b" " * (12 << 20)).status == 413


def test_a_slow_request_is_ended() -> None:
    with running(CHARACTERS, read_seconds=0.3) as server:
        with socket.create_connection(server.address, SECONDS) as connection:
            connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert b"408" in read_until(connection, b"\r\n\r\n")
        for head in (b"", b"POST /score HT"):
            with socket.create_connection(server.address, SECONDS) as connection:
                connection.sendall(head)
                with suppress(ConnectionResetError):
                    assert connection.recv(100) == b""
        assert server.get("/health").status == 200


def test_a_key_guards_all_but_health(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>a page</title>", encoding="utf-8")
    monkeypatch.setattr(app, "PAGE", tmp_path)
    with running(CHARACTERS, api_key="secret") as server:
        assert server.get("/health").status == 200
        assert b"a page" in server.get("/").body
        request = {"max_tokens": 1}
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}):
            refused = server.post("/v1/completions", request, **headers)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert server.get("/info", **headers).status == 401
        assert server.post("/v1/completions", request, Authorization="Bearer secret").status == 200


def test_other_origins_may_call_only_if_they_are_named() -> None:
    with running(CHARACTERS, cors_origins="https://a.example, https://b.example") as server:
        for origin, allowed in (("https://b.example", True), ("https://c.example", False)):
            answer = server.post("/v1/completions", {"n": 0}, Origin=origin)
            assert answer.status == 422
            assert ("access-control-allow-origin" in answer.headers) is allowed
    with running(CHARACTERS) as server:
        assert "access-control-allow-origin" not in server.get("/health", Origin="https://a.example").headers


def test_requests_get_503_until_the_models_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def load_late(place: str) -> Any:
        assert go_on.wait(SECONDS)
        return textrnn.load(place)

    monkeypatch.setattr(served, "load", load_late)
    with running(CHARACTERS, until_loaded=False) as server:
        for answer in (server.get("/health"), server.get("/info"), server.post("/v1/completions", {})):
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        go_on.set()
        eventually(lambda: server.get("/health").status == 200)
        assert server.post("/v1/completions", {}).status == 200


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Running]]:
    """A server process that has loaded its models."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TEXTRNN_PORT": "0"}
    command = [sys.executable, "-m", "textrnn", "serve", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as started:
        try:
            assert started.stderr
            url = ""
            for line in started.stderr:
                url = re.findall(r"http://\S+", line)[0]
                if "ready" in line:
                    break
            server = Running.__new__(Running)
            server.address = (url.split("/")[2].split(":")[0], int(url.rsplit(":", 1)[1]))
            yield started, server
        finally:
            started.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for other processes")
def test_sigterm_ends_the_process_after_the_answers_that_have_begun() -> None:
    with process(str(GOLDEN / CHARACTERS), "--max-tokens", "200000") as (started, server):
        with opened(server, {"length": 100_000, "seed": 1}) as connection:
            received = read_until(connection, b"data: ")
            started.send_signal(signal.SIGTERM)
            received += read_until(connection, b'"done":true')
        assert b'"generated_tokens":100000' in received
        assert started.wait(SECONDS) == 0


def test_what_cannot_be_served_is_one_line(tmp_path: Path) -> None:
    assert "did you mean shakespeare?" in told(call("serve", "shakespear", "--port", "0"))
    assert "was given none" in told(call("serve"))
    assert "--streams must be between 1 and" in told(call("serve", "shakespeare", "--streams", "0"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is not: " in told(call("serve", "shakespeare", "--port", port))


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("textrnn.serve", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'textrnn[serve]'" in told(call("serve", "shakespeare"))


def test_settings_come_from_the_environment_too() -> None:
    found = from_environment({"TEXTRNN_PORT": "1", "TEXTRNN_API_KEY": "k", "TEXTRNN_STALL_SECONDS": "2.5", "PORT": "9"})
    assert found == {"port": 1, "api_key": "k", "stall_seconds": 2.5}
    assert Settings(**found).port == 1
    with pytest.raises(UserError, match="TEXTRNN_PORT must be a whole number, was: 'x'"):
        from_environment({"TEXTRNN_PORT": "x"})


def test_connections_in_great_number_leave_the_server_well() -> None:
    with running(CHARACTERS) as server, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(server.address, SECONDS))
        begin = time.monotonic()
        assert server.post("/v1/completions", {"max_tokens": 5}).status == 200
        assert time.monotonic() - begin < SECONDS
