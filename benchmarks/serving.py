"""Throughput and latency of a server under load, and the time until a slot is free after a client disconnects.

    python benchmarks/serving.py MODEL [--streams N ...] [--length N] [--seconds F] [--core N] [--json FILE]

The server has one core of its own (`--core`), the clients another, over the loopback. Each of N clients asks for one
text after another, each with a new seed, at temperature 0.8. The first character is timed from the moment the client
sends its request. On a machine with other work, characters per second of the server's processor time (Linux) say more
than those per second. `textrnn serve` and the peer (`serving_peer.py`: FastAPI, a thread a stream) run in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import peer, print_table, write_json

HERE = Path(__file__).resolve().parent
PEER = "FastAPI, a thread a stream"
SERVERS: dict[str, Callable[[str, int], list[str]]] = {
    "textrnn serve": lambda model, port: ["-m", "textrnn", "serve", model, "--port", str(port), "--queue", "0"],
    PEER: lambda model, port: [str(HERE / "serving_peer.py"), model, "--port", str(port)],
}
GONE = 40  # times that a client goes, for the time until its place is free


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--length", type=int, default=1000, help="characters of each text")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--core", type=int, default=1, help="of the server; clients run on the others")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity") and (others := os.sched_getaffinity(0) - {arguments.core}):
        os.sched_setaffinity(0, others)
    rows = []
    for name, command in SERVERS.items():
        if name == PEER and peer("fastapi") is None:
            continue
        for streams in arguments.streams:
            with running(command, arguments.model, arguments.core) as (process, port):
                asyncio.run(load(port, streams, arguments.length, arguments.seconds / 8))
                row: dict[str, Any] = {"server": name, "streams": streams}
                begin = processor_seconds(process)
                found = asyncio.run(load(port, streams, arguments.length, arguments.seconds))
                used = processor_seconds(process) - begin
                row |= found
                row["characters_a_processor_second"] = round(found["characters"] / used) if used else None
                if name != PEER:
                    row["slot_free_ms"] = asyncio.run(free_after_going(port))
                rows.append(row)
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, "serving", rows, length=arguments.length)
    return 0


@contextmanager
def running(command: Callable[[str, int], list[str]], model: str, core: int) -> Iterator[tuple[int, int]]:
    """Run a server on a core of its own and give its process number and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, *command(model, port)], stderr=subprocess.DEVNULL)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {core})
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("the server ended; run its command to see why") from None
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, 0 where it is not known."""
    path = Path(f"/proc/{process}/stat")
    if not path.is_file():
        return 0.0
    fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(port: int, streams: int, length: int, seconds: float) -> dict[str, Any]:
    """Load a server for some seconds; return what it did."""
    first: list[float] = []
    characters = [0]
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        seed = number * 1_000_000
        while (begin := time.perf_counter()) < end:
            seed += 1
            reader, writer = await request(port, {"prompt": "The ", "length": length, "temperature": 0.8, "seed": seed})
            is_first, body = True, b""
            while received := await reader.read(1 << 16):
                if is_first and b'"text"' in received:
                    first.append(time.perf_counter() - begin)
                    is_first = False
                body += received
                if b'"done"' in received:
                    break
            now = time.perf_counter()
            # Of a text that ends after the time, the part is counted that fell into it.
            share = 1.0 if now <= end else (end - begin) / (now - begin)
            characters[0] += share * sum(len(json.loads(line[5:]).get("text", "")) for line in events(body))
            writer.close()

    await asyncio.gather(*(client(number) for number in range(streams)))
    cuts = statistics.quantiles(first * 2 if len(first) < 2 else first, n=100, method="inclusive")
    return {
        "characters": round(characters[0]),
        "characters_a_second": round(characters[0] / seconds),
        "first_p50_ms": round(1e3 * cuts[49], 1),
        "first_p99_ms": round(1e3 * cuts[98], 1),
        "texts": len(first),
    }


def events(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.startswith(b"data:")]


async def request(port: int, document: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(document).encode()
    head = (
        "POST /generate_stream HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    return reader, writer


async def free_after_going(port: int) -> float:
    """Return the milliseconds until a full server has room again after a client has gone, the median of some.

    All places are taken by long texts, and no request may wait. When one client goes, another asks until it is served.
    """
    places = 16
    held = []
    for number in range(places):
        held.append(await request(port, {"length": 10_000, "seed": number}))
        await held[-1][0].read(1 << 12)
    times = []
    for number in range(GONE):
        _, gone = held.pop(0)
        begin = time.perf_counter()
        gone.transport.abort()
        while True:
            reader, writer = await request(port, {"length": 10_000, "seed": 100 + number})
            head = await reader.read(1 << 12)
            if b" 200 " in head[:20]:
                break
            writer.close()
        times.append(time.perf_counter() - begin)
        held.append((reader, writer))
        drained = [asyncio.ensure_future(other.read(1 << 22)) for other, _ in held[:-1]]
        await asyncio.wait(drained, timeout=0.05)
        for task in drained:
            task.cancel()
        await asyncio.gather(*drained, return_exceptions=True)
    for _, writer in held:
        writer.close()
    return round(1e3 * statistics.median(times), 1)


if __name__ == "__main__":
    raise SystemExit(main())
