"""A server under an hour of mixed load: every answer is compared, and the memory of the server is watched.

    python benchmarks/serving_soak.py [--requests N] [--seconds F] [--json FILE]

The server has the finished models `shakespeare` and `reviews-en`. Clients ask for whole and streamed texts, labels with
and without reasons, and scores; one request in eight is wrong (no JSON, unknown fields and paths, wrong values, too
long), and one in sixteen goes away in the middle of its text. Beside them 100 clients stall: half of them never end
their request, the others never read their answer; each comes again when the server has closed it. A right answer is the
one that the model gives in this process, without a server: the same text, the same probabilities to 1e-5; of a wrong
request, its status. A request that finds the server full (429) waits and asks again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import print_table, write_json
from serving import events, processor_seconds, running

import textrnn

CLIENTS = 12
STALLED = 100
SAMPLES = 12  # of the memory
PROMPTS = ("ROMEO:", "The ", "Once more", "")
SEEDS = range(25)
REVIEWS = (
    "A wonderful film.",
    "The battery died after two days.",
    "Not bad at all",
    "I want my money back",
    "The staff were kind, but the room was cold and the food was worse. " * 8,
)
NO_JSON = b'{"prompt": '
LONGEST = 1 << 20  # bytes of a request, the default of the server


@dataclass(frozen=True)
class Ask:
    """A request, and the check of its answer."""

    kind: str
    path: str
    body: bytes
    status: int = 200
    is_right: Callable[[bytes], bool] = lambda body: True
    method: str = "POST"
    goes: bool = False


@dataclass
class Tally:
    """What became of the requests."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    full: int = 0
    seconds: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=3600.0, metavar="F", help="they are spread over (%(default)s)")
    parser.add_argument("--core", type=int, default=1, help="of the server; clients run on the others")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    asks = wanted()
    with running(_serve, "shakespeare", arguments.core) as (process, port):
        tally, memory = asyncio.run(_load(port, process, asks, arguments.requests, arguments.seconds))
        used = processor_seconds(process)
    seconds = sorted(tally.seconds)
    row = {
        "requests": arguments.requests,
        "right": sum(tally.right.values()),
        "wrong_or_lost": len(tally.wrong),
        "full_asked_again": tally.full,
        "p50_ms": round(1e3 * seconds[len(seconds) // 2], 1),
        "p99_ms": round(1e3 * seconds[len(seconds) * 99 // 100], 1),
        "processor_seconds": round(used),
    }
    print_table([row])
    print_table([{"kind": kind, "right": count} for kind, count in sorted(tally.right.items())])
    print("memory of the server in MB, evenly over the time:", *memory)
    for line in tally.wrong[:10]:
        print("wrong:", line)
    if arguments.json:
        write_json(arguments.json, "soak of the server", [row], right=dict(tally.right), memory_mb=memory)
    return 1 if tally.wrong else 0


def _serve(model: str, port: int) -> list[str]:
    return ["-m", "textrnn", "serve", model, "reviews-en", "--port", str(port), "--queue", "400"]


def wanted() -> list[Ask]:
    """Return the requests of which each client draws one after another."""
    writer, reviews = textrnn.load("shakespeare"), textrnn.load("reviews-en")
    asks = list[Ask]()
    for number, seed in enumerate(SEEDS):
        prompt = PROMPTS[number % len(PROMPTS)]
        options = {"temperature": 0.8, "seed": seed}
        text = writer.generate(prompt, length=80, **options)
        asks += 3 * [_completion(prompt, options, text), _stream(prompt, options, text)]
    for text, right in zip(REVIEWS, reviews.classify(list(REVIEWS)), strict=True):
        asks += [*(9 * [_label(text, right.probs, False)]), _label(text, right.probs, True)]
        asks += 4 * [_score(text, writer.score(text).nats_per_token)]
    count = len(asks)
    wrong = _wrong()
    asks += [wrong[number % len(wrong)] for number in range(count // 7)]
    body = json.dumps({"prompt": "The ", "length": 10_000, "seed": 1}).encode()
    return asks + (count // 14) * [Ask("goes in the middle", "/generate_stream", body, goes=True)]


def _completion(prompt: str, options: dict[str, Any], text: str) -> Ask:
    body = json.dumps({"prompt": prompt, "max_tokens": 80, **options}).encode()
    return Ask("text", "/v1/completions", body, is_right=lambda found: json.loads(found)["choices"][0]["text"] == text)


def _stream(prompt: str, options: dict[str, Any], text: str) -> Ask:
    body = json.dumps({"prompt": prompt, "length": 80, **options}).encode()

    def is_right(found: bytes) -> bool:
        parts = [json.loads(line[5:]) for line in events(found)]
        return parts[-1].get("done") is True and "".join(part.get("text", "") for part in parts) == text

    return Ask("streamed text", "/generate_stream", body, is_right=is_right)


def _label(text: str, probs: dict[str, float], explain: bool) -> Ask:
    def is_right(found: bytes) -> bool:
        (prediction,) = json.loads(found)["predictions"]
        near = all(abs(prediction["probs"][label] - prob) < 1e-5 for label, prob in probs.items())
        return near and (not explain or "tokens" in str(prediction))

    body = json.dumps({"texts": [text], "explain": explain}).encode()
    return Ask("reasons" if explain else "label", "/classify", body, is_right=is_right)


def _score(text: str, nats: float) -> Ask:
    def is_right(found: bytes) -> bool:
        return abs(json.loads(found)["scores"][0]["nats_per_token"] - nats) < 1e-5

    return Ask("score", "/score", json.dumps({"texts": [text]}).encode(), is_right=is_right)


def _wrong() -> list[Ask]:
    def says(found: bytes) -> bool:
        return "message" in json.loads(found)["error"]

    return [
        Ask("no JSON", "/classify", NO_JSON, 400, says),
        Ask("unknown field", "/generate_stream", b'{"promt": "a"}', 422, says),
        Ask("wrong value", "/v1/completions", b'{"temperature": -1}', 422, says),
        Ask("wrong type", "/classify", b'{"texts": 7}', 422, says),
        Ask("too much asked for", "/generate_stream", b'{"length": 10000000}', 422, says),
        Ask("too long", "/score", b'{"texts": ["' + b"a" * LONGEST + b'"]}', 413, says),
        Ask("unknown model", "/score", b'{"texts": ["a"], "model": "none"}', 404, says),
        Ask("unknown path", "/nothing", b"{}", 404, says),
        Ask("wrong method", "/classify", b"", 405, says, method="GET"),
    ]


async def _load(
    port: int, process: int, asks: Sequence[Ask], requests: int, seconds: float
) -> tuple[Tally, list[float]]:
    tally, memory, begin = Tally(), list[float](), time.perf_counter()
    stalled = [asyncio.ensure_future(_stall(port, number % 2 == 0)) for number in range(STALLED)]
    numbers = iter(range(requests))

    async def client(draw: random.Random) -> None:
        for number in numbers:
            await asyncio.sleep(begin + seconds * number / requests - time.perf_counter())
            if number * SAMPLES // requests >= len(memory):
                memory.append(_memory(process))
            await _ask(port, draw.choice(asks), tally)

    try:
        await asyncio.gather(*(client(random.Random(number)) for number in range(CLIENTS)))
    finally:
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
    return tally, [*memory, _memory(process)]


async def _ask(port: int, ask: Ask, tally: Tally) -> None:
    begin = time.perf_counter()
    try:
        status, body = await asyncio.wait_for(_answer(port, ask), 120)
        while status == 429:
            tally.full += 1
            await asyncio.sleep(1)
            status, body = await asyncio.wait_for(_answer(port, ask), 120)
        right = status == ask.status and (ask.goes or ask.is_right(body))
    except (OSError, ValueError, KeyError, IndexError, TimeoutError, asyncio.IncompleteReadError) as error:
        tally.wrong.append(f"{ask.kind}: {type(error).__name__}: {error}")
        return
    tally.seconds.append(time.perf_counter() - begin)
    if right:
        tally.right[ask.kind] += 1
    else:
        tally.wrong.append(f"{ask.kind}: {status} {body[:200]!r}")


async def _answer(port: int, ask: Ask) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"{ask.method} {ask.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(ask.body)}\r\n\r\n"
    )
    try:
        with suppress(ConnectionError):  # the server may answer before it has read all of a request that is too long
            writer.write(head.encode() + ask.body)
            await writer.drain()
        if ask.goes:
            begin = await reader.readuntil(b"data:")
            writer.transport.abort()
            return int(begin.split(b" ", 2)[1]), b""
        answer = await reader.read(-1)
        top, _, body = answer.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in top.lower():
            body = _joined(body)
        return int(top.split(b" ", 2)[1]), body
    finally:
        writer.close()


def _joined(body: bytes) -> bytes:
    """Return what HTTP has sent in chunks."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + rest[:length], rest[length + 2 :]
    return whole


async def _stall(port: int, never_ends: bool) -> None:
    """Be a client that stalls, again and again."""
    body = json.dumps({"prompt": "The ", "length": 10_000, "seed": 2}).encode()
    head = b"POST /generate_stream HTTP/1.1\r\nHost: x\r\n"
    whole = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(head if never_ends else whole)
            if not never_ends:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(90)  # past the server's patience, which is 60 s
                writer.transport.abort()
            else:
                await reader.read(-1)
                writer.close()
        await asyncio.sleep(1)


def _memory(process: int) -> float:
    """Return the resident memory of a process in MB; 0 where it is not known."""
    path = Path(f"/proc/{process}/status")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    raise SystemExit(main())
