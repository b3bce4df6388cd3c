"""Whatever is sent to a server, it answers with service or an error of the client's, and lives on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from serve.running import SECONDS, Running, eventually, running

from textrnn.serve import openapi

MODELS = (
    "language-model-char-float32",
    "language-model-word-float32",
    "language-model-sentencepiece-float32",
    "classifier-float32",
    "multilabel-classifier-float32",
    "vector-classifier-float32",
    "regressor-float32",
    "forecaster-float32",
    "text-to-text-float32",
)
FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(["the cat", "good", "\ud800", "\x00", "é" * 500, ""]))
NUMBERS = st.one_of(
    st.integers(-3, 30), st.integers(), st.floats(), st.sampled_from([0, 1, 0.5, 1e308, 10**400, -0.0, 2**63])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(MODELS),
    "prompt": st.one_of(TEXTS, st.lists(TEXTS, max_size=4), st.lists(st.integers(0, 40), max_size=9)),
    "texts": st.lists(TEXTS, max_size=5),
    "values": st.lists(st.one_of(st.floats(-9, 9), st.lists(st.floats(-9, 9), min_size=1, max_size=2)), max_size=9),
    "vectors": st.lists(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=3), max_size=4), max_size=3),
    "max_tokens": st.integers(0, 50),
    "length": st.integers(0, 50),
    "n": st.integers(1, 4),
    "steps": st.integers(1, 9),
    "tokens": st.lists(st.integers(0, 40), max_size=9),
    "beams": st.integers(1, 9),
    "n_best": st.integers(1, 9),
    "length_penalty": st.floats(0, 2),
    "explain": st.booleans(),
    "temperature": st.floats(0, 3),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(0, 9),
    "logprobs": st.integers(0, 5),
    "stop": st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(*MODELS, max_tokens=300, read_seconds=2.0) as server:
        yield server
        eventually(lambda: server.admitted() == 0)


def require_service(server: Running, status: int, body: bytes) -> None:
    assert status == 200 or 400 <= status < 500, (status, body)
    assert b"Traceback" not in body
    if status != 200:
        message = json.loads(body)["error"]["message"]
        assert message
        assert "\n" not in message


@pytest.mark.parametrize("path", list(openapi.POSTS))
@FEW
@given(data=st.data())
def test_fields_of_any_value(server: Running, path: str, data: st.DataObject) -> None:
    names = list(openapi.POSTS[path][1])
    request: dict[str, Any] = {}
    for name in data.draw(st.lists(st.sampled_from(names), unique=True, max_size=6)):
        likely = LIKELY.get(name, SCALARS)
        request[name] = data.draw(st.one_of(likely, likely, likely, DOCUMENTS), label=name)
    answer = server.post(path, json.dumps(request).encode())
    require_service(server, answer.status, answer.body)


@pytest.mark.parametrize("path", list(openapi.POSTS))
@FEW
@given(body=st.one_of(st.binary(max_size=200), DOCUMENTS.map(lambda value: json.dumps(value).encode())))
def test_any_body(server: Running, path: str, body: bytes) -> None:
    answer = server.post(path, body)
    require_service(server, answer.status, answer.body)


@pytest.mark.parametrize("path", list(openapi.POSTS))
@pytest.mark.parametrize("opening", ["[", '{"texts":', '{"values":[', '{"prompt":[', '{"vectors":['])
def test_deep_nesting(server: Running, path: str, opening: str) -> None:
    for depth in (20, 200, 900, 990, 5000, 200_000):
        closing = "]" * (depth + opening.count("[")) + "}" * opening.count("{")
        for body in (opening + "[" * depth, opening + "[" * depth + closing):
            answer = server.post(path, body.encode())
            require_service(server, answer.status, answer.body)
            assert answer.status != 200


HEADS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" * 20,
        b"\x16\x03\x01\x02\x00",
        b"A" * 70_000,
        b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ]
)


@FEW
@given(start=HEADS, rest=st.binary(max_size=30), half_closed=st.booleans())
def test_any_bytes(server: Running, start: bytes, rest: bytes, half_closed: bool) -> None:
    with socket.create_connection(server.address, SECONDS) as connection:
        try:
            connection.sendall(start + rest)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.02)
            received = connection.recv(1 << 16)
        except (TimeoutError, ConnectionError):
            received = b""
    assert b"Traceback" not in received
    assert b" 500 " not in received[:20]
    assert server.get("/health").status == 200
