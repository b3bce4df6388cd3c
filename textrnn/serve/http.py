"""The server process: it listens, loads the models, answers, and ends after the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
import socket
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
KEEP_ALIVE_SECONDS = 30
SEND_BUFFER_BYTES = 1 << 17


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
            # A client that does not read must not fill the memory of the system.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(self.seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head_timer()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            # The head of another request has begun, for which uvicorn has no clock.
            self._head_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


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


class Service:
    """A server and its models.

    Args:
        places: what `textrnn.load` takes.
        settings: settings of the server.

    Attributes:
        url: address of the server, which listens already; it answers when it runs.

    Raises:
        UserError: two models have one name, or the address cannot be used.
    """

    def __init__(self, places: Sequence[str], settings: Settings) -> None:
        self.models = Models(places, settings)
        self._listening = listen(settings.host, settings.port)
        self._failures: list[Exception] = []
        config = uvicorn.Config(
            Application(self.models, settings, self._fail).asgi(),
            http=type("_Connection", (_Connection,), {"seconds": settings.read_seconds}),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        self._server = _Server(config)
        host, port = self._listening.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, loaded: Callable[[], object] = lambda: None) -> None:
        """Answer until SIGTERM, Ctrl-C or `stop`, and then finish the answers that have begun.

        Args:
            loaded: called when the models are loaded.

        Raises:
            UserError: a model cannot be loaded.
        """
        try:
            asyncio.run(self._run(loaded))
        finally:
            self._listening.close()
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """Make `run` return; for other threads."""
        self._server.should_exit = True

    async def _run(self, loaded: Callable[[], object]) -> None:
        async def wait() -> None:
            await self.models.loaded.wait()
            gc.collect()
            gc.freeze()  # what lives as long as the server is not looked at again
            loaded()

        waiting = asyncio.ensure_future(wait())
        try:
            await self._server.serve([self._listening])
        finally:
            waiting.cancel()
            gc.unfreeze()

    def _fail(self, error: Exception) -> None:
        self._failures.append(error)
        self.stop()
