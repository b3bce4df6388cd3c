"""The server process: it listens, loads the models, answers, and ends after the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from textrnn.errors import UserError
from textrnn.serve.app import Application
from textrnn.serve.served import Models
from textrnn.serve.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MOST_HEADER_BYTES = 1 << 16


class _Connection(H11Protocol):
    """A connection that is closed if no whole request head arrives in time. `abort` closes it without waiting."""

    seconds = 10.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Small events must not wait for the client's acknowledgement of earlier ones.
        if (connection := transport.get_extra_info("socket")) and connection.family in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._head_timer = self.loop.call_later(self.seconds, self._close_without_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.timeout_keep_alive_task is None and self.cycle is not None and self.cycle.response_complete:
            # The head of another request has begun; uvicorn has stopped its own clock.
            self._head_timer.cancel()
            self._head_timer = self.loop.call_later(self.seconds, self._close_without_head)

    def _close_without_head(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None:
            self.transport.abort()


class _Server(uvicorn.Server):
    """A server that ends without a signal of its own after it was asked to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit and number == signal.SIGINT
            self.should_exit = True

        try:
            before = {number: signal.signal(number, stop) for number in SIGNALS}
        except ValueError:  # not the main thread, which alone may listen to signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"--host and --port must be a free address of this computer, {host} port {port} is not: {reason}; "
            "choose another port, or stop what uses it"
        ) from error


def serve(places: Sequence[str], settings: Settings, say: Callable[[str], object] | None = None) -> None:
    """Serve models until SIGTERM or Ctrl-C, and then finish the answers that have begun.

    Args:
        places: what `textrnn.load` takes.
        settings: settings of the server.
        say: called with a line when it listens, and another when the models are loaded.

    Raises:
        UserError: a model cannot be loaded, or the address cannot be used.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    models = Models(places, settings)
    listening = listen(settings.host, settings.port)
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    application = Application(models, settings, failed)
    config = uvicorn.Config(
        application.asgi(),
        http=_Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    server = _Server(config)
    _Connection.seconds = settings.read_seconds
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(f"listening at http://{shown}:{port}; loading {', '.join(places)}")

    async def run() -> None:
        async def loaded() -> None:
            while not models.is_loaded:
                await asyncio.sleep(0.01)
            gc.collect()
            gc.freeze()  # what lives as long as the server is not looked at again
            say(f"ready: {', '.join(served.name for served in models.all())}")

        waiting = asyncio.ensure_future(loaded())
        try:
            await server.serve([listening])
        finally:
            waiting.cancel()

    try:
        asyncio.run(run())
    finally:
        listening.close()
    if failures:
        raise failures[0]
