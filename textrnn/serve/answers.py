"""Generated texts as answers: whole, or as server-sent events while the client is there."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from textrnn.errors import UserError
from textrnn.generation import GenerationOptions
from textrnn.runtime.streams import Piece, Stream
from textrnn.serve.scheduler import MOST_UNSENT, Scheduler, Ticket

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

GENERATION_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop")


class ClientGone(Exception):
    """The client has closed the connection, or accepts nothing."""


class Texts:
    """The texts of one request while they are generated.

    Args:
        scheduler: scheduler of the model.
        prompts: texts or token ids to continue.
        fields: fields of the request.
        length: maximum number of tokens of each text.
        count: number of texts for each prompt.
        echo: whether the tokens of the prompts are wanted too.

    Raises:
        UserError: a field is wrong.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        prompts: Sequence[str | Sequence[int]],
        fields: dict[str, Any],
        length: int,
        count: int = 1,
        echo: bool = False,
    ) -> None:
        scheduler.require_room(len(prompts) * count)
        self.seed: int = secrets.randbits(53) if fields["seed"] is None else fields["seed"]
        self._scheduler = scheduler
        self._arrived: list[tuple[int, Piece]] = []
        self._error: UserError | None = None
        self._event = asyncio.Event()
        options = GenerationOptions(length=length, **{name: fields[name] for name in GENERATION_FIELDS})
        self.streams = [
            Stream(scheduler.model, prompt, options, self.seed, number, fields["logprobs"], echo)
            for prompt in prompts
            for number in range(count)
        ]
        self.prompt_tokens = sum(len(stream.prompt_ids) for stream in self.streams[::count])
        self.generated = 0
        self._left = len(self.streams)
        self._tickets = [Ticket(stream, self._receiver(index)) for index, stream in enumerate(self.streams)]

    def _receiver(self, index: int) -> Callable[[list[Piece] | UserError], None]:
        def receive(found: list[Piece] | UserError) -> None:
            if isinstance(found, UserError):
                self._error = found
            else:
                self._arrived += [(index, piece) for piece in found]
            self._event.set()

        return receive

    def start(self) -> None:
        """Admit the texts.

        Raises:
            Full: there is no room.
        """
        self._scheduler.submit(self._tickets)

    async def pieces(self) -> AsyncIterator[list[tuple[int, Piece]]]:
        """Yield what has arrived, with the index of the text, until all texts have ended.

        Raises:
            UserError: a text cannot go on.
        """
        while self._left:
            await self._event.wait()
            self._event.clear()
            if self._error:
                raise self._error
            arrived, self._arrived = self._arrived, []
            for _, piece in arrived:
                self.generated += piece.generated
                self._left -= piece.finish_reason is not None
            yield arrived
            self._accepted(arrived)

    @property
    def have_ended(self) -> bool:
        """Whether all pieces have been given."""
        return not self._left

    def _accepted(self, arrived: Iterable[tuple[int, Piece]]) -> None:
        """Note that the client has accepted pieces."""
        was_paused = False
        for index, piece in arrived:
            ticket = self._tickets[index]
            was_paused |= ticket.unsent >= MOST_UNSENT
            ticket.unsent -= len(piece.text)
        if was_paused:
            self._scheduler.wake()

    def cancel(self) -> None:
        """Free the places of texts that have not ended."""
        self._scheduler.cancel(self._tickets)


class EventStream:
    """An answer of server-sent events, each a JSON document. It ends when the client has gone.

    Args:
        texts: texts of the request, started.
        events: makes events of what has arrived.
        last: makes the last events, when all texts have ended.
        stall_seconds: time that a client may take to accept a part.
        first: called when the first text is sent.
    """

    def __init__(
        self,
        texts: Texts,
        events: Callable[[list[tuple[int, Piece]]], Iterable[Any]],
        last: Callable[[], Iterable[Any]],
        stall_seconds: float,
        first: Callable[[], None],
    ) -> None:
        self._texts = texts
        self._events = events
        self._last = last
        self._stall_seconds = stall_seconds
        self._first = first
        self._put_since = 0.0  # when the part was given that the client has not accepted; 0 if there is none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        sending = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            while not (sending.done() or gone.done()):
                seconds = self._stall_seconds / 4
                await asyncio.wait((sending, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if self._put_since and time.monotonic() - self._put_since > self._stall_seconds:
                    scope["state"]["abort"]()
                    await asyncio.sleep(0)  # in which uvicorn learns of it
                    return
            if sending.done():
                sending.result()
        finally:
            self._texts.cancel()
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        async def put(body: bytes, more: bool = True) -> None:
            self._put_since = time.monotonic()
            await send({"type": "http.response.body", "body": body, "more_body": more})
            self._put_since = 0.0

        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        is_first = True
        try:
            async for arrived in self._texts.pieces():
                body = _events(self._events(arrived))
                if body and is_first:
                    self._first()
                    is_first = False
                if self._texts.have_ended:  # one part for the last text and the end
                    await put(body + _events(self._last()), more=False)
                elif body:
                    await put(body)
        except UserError as error:
            await put(_events([{"error": {"message": str(error), "type": "server_error"}}]), more=False)


async def whole(
    texts: Texts, receive: Receive, collect: Callable[[list[tuple[int, Piece]]], None], first: Callable[[], None]
) -> None:
    """Wait for all texts, and stop if the client goes.

    Raises:
        ClientGone: the client has closed the connection.
        UserError: a text cannot go on.
    """

    async def read() -> None:
        is_first = True
        async for arrived in texts.pieces():
            if is_first:
                first()
                is_first = False
            collect(arrived)

    await unless_gone(read(), receive, texts.cancel)


async def unless_gone(work: Any, receive: Receive, cancel: Callable[[], None] = lambda: None) -> Any:
    """Wait for some work and return its result, unless the client goes before.

    Raises:
        ClientGone: the client has closed the connection.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone()
        return working.result()
    finally:
        cancel()
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def to_json(document: Any) -> bytes:
    """Return a JSON document in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _events(documents: Iterable[Any]) -> bytes:
    return b"".join(
        b"data: " + (document if isinstance(document, bytes) else to_json(document)) + b"\n\n" for document in documents
    )


class CompletionForm:
    """The form of OpenAI's completions for the texts of one request."""

    def __init__(self, model: str, texts: Texts, fields: dict[str, Any]) -> None:
        self._texts = texts
        self._fields = fields
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._whole = [[stream.prompt] if fields["echo"] else [] for stream in texts.streams]
        self._tokens: list[list[Any]] = [[] for _ in texts.streams]
        self._reasons: list[str | None] = [None for _ in texts.streams]
        self._offsets = [0 if fields["echo"] else len(stream.prompt) for stream in texts.streams]
        self._started = [not fields["echo"] for _ in texts.streams]
        self._echoes_start = [fields["echo"] and stream.has_start for stream in texts.streams]

    def collect(self, arrived: list[tuple[int, Piece]]) -> None:
        """Take pieces for `document`."""
        for index, piece in arrived:
            self._whole[index].append(piece.text)
            self._tokens[index] += piece.tokens
            self._reasons[index] = piece.finish_reason

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        choices = [
            self._choice(index, "".join(self._whole[index]), self._tokens[index], self._reasons[index])
            for index in range(len(self._whole))
        ]
        return {**self._head, "choices": choices, "usage": self._usage()}

    def events(self, arrived: list[tuple[int, Piece]]) -> Iterable[Any]:
        """Yield a document for each new piece."""
        for index, piece in arrived:
            text = piece.text
            if not self._started[index] and (text or piece.finish_reason or piece.tokens):
                self._started[index] = True
                text = self._texts.streams[index].prompt + text
            if text or piece.tokens or piece.finish_reason:
                yield {**self._head, "choices": [self._choice(index, text, piece.tokens, piece.finish_reason)]}

    def last(self) -> Iterable[Any]:
        """Yield the end of a stream."""
        if (self._fields["stream_options"] or {}).get("include_usage"):
            yield {**self._head, "choices": [], "usage": self._usage()}
        yield b"[DONE]"

    def _choice(self, index: int, text: str, tokens: Sequence[Any], reason: str | None) -> dict[str, Any]:
        logprobs: dict[str, list[Any]] | None = None
        if self._fields["logprobs"] is not None:
            offsets = []
            for token in tokens:
                offsets.append(self._offsets[index])
                self._offsets[index] += len(token.text)
            logprobs = {
                "tokens": [token.text for token in tokens],
                "token_logprobs": [token.log_prob for token in tokens],
                # Two tokens may read alike; the more probable one counts.
                "top_logprobs": [dict(reversed(token.alternatives)) for token in tokens],
                "text_offset": offsets,
            }
            if tokens and self._echoes_start[index]:  # a token of the prompt that has no probability
                self._echoes_start[index] = False
                absent = {"tokens": "", "token_logprobs": None, "top_logprobs": None, "text_offset": 0}
                for name, entry in absent.items():
                    logprobs[name].insert(0, entry)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _usage(self) -> dict[str, int]:
        prompt, generated = self._texts.prompt_tokens, self._texts.generated
        return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
