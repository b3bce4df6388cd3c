"""The thread that generates the texts of one language model: streams that come and go share each call of its graphs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from textrnn.errors import UserError
from textrnn.runtime.language_model import LanguageModel
from textrnn.runtime.streams import TRIED_TOKENS, Piece, Stream, advance, shares_calls

log = logging.getLogger(__name__)

CALL_SECONDS = 0.004  # longest call of a graph, as far as can be foreseen: a new stream waits for one
MOST_STEPS = 128
FLUSH_SECONDS = 0.02  # text is sent at least this often, and not much more often
MOST_UNSENT = 1 << 16  # characters that a client has not accepted; its stream pauses at more


class Full(Exception):
    """No room for another request; try again after `seconds`."""

    def __init__(self, seconds: int = 1) -> None:
        super().__init__(f"the server is full; try again in {seconds} s")
        self.seconds = seconds


class Ticket:
    """One stream of a request, between the event loop and the scheduler.

    Attributes:
        stream: the stream.
        receive: function of the event loop, called with new pieces or an error; not after `cancelled` is set.
        unsent: characters that the client has not accepted.
        cancelled: whether the client has gone.
    """

    def __init__(self, stream: Stream, receive: Callable[[list[Piece] | UserError], None]) -> None:
        self.stream = stream
        self.receive = receive
        self.unsent = 0
        self.cancelled = False
        self.pieces: list[Piece] = []  # not yet handed to the event loop
        self.flushed = 0.0


class Scheduler:
    """Generates the texts of one language model in its own thread.

    A turn generates some tokens of up to `streams` texts. The streams take turns; a new one is first in line.

    Args:
        model: the model.
        streams: texts that are generated together.
        queue: texts beyond them that are admitted; where there are more than `streams`, they take turns.
        loop: event loop that receives the pieces.
    """

    def __init__(self, model: LanguageModel, streams: int, queue: int, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.room = streams + queue
        self.admitted = 0  # streams that have a place
        self.running = 0  # streams of the present turn
        self.generated = 0  # tokens so far
        self._streams = streams
        self._loop = loop
        begin = time.thread_time()
        self._together = shares_calls(model, streams)
        self._changed = threading.Condition()
        self._tickets: deque[Ticket] = deque()  # in the order of their turns
        self._closing = False
        # Seconds of a step as measured last, by number of streams. The first guess is too high rather than too low.
        self._step_seconds: dict[int, float] = {}
        self._first_guess = (time.thread_time() - begin) / (streams * TRIED_TOKENS)
        self._thread = threading.Thread(target=self._work, name="textrnn-scheduler", daemon=True)
        self._thread.start()

    def require_room(self, count: int) -> None:
        """Check that `count` streams can be admitted.

        Raises:
            Full: they cannot now.
            UserError: they never can.
        """
        if count > self.room:
            raise UserError(f"a request may ask for at most {self.room} texts, was: {count}; send several requests")
        if self.admitted + count > self.room:
            raise Full()

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Admit streams.

        Raises:
            Full, UserError: as in `require_room`.
        """
        with self._changed:
            self.require_room(len(tickets))
            self.admitted += len(tickets)
            self._tickets.extendleft(tickets)  # the first characters come soon, however many long texts there are
            self._changed.notify()

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Free the places of streams whose client has gone; those that have ended are left."""
        with self._changed:
            for ticket in tickets:
                ticket.cancelled = True
            self._changed.notify()

    def wake(self) -> None:
        """Look again at streams that were paused."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """End the thread; streams that are left get an error."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (active := self._choose()) and not self._closing:
                    self.running = 0
                    self._changed.wait()
                self.running = len(active)
                if self._closing:
                    break
            self._turn(active)
        for ticket in self._tickets:
            self._fail(ticket, UserError("the server is stopping; send the request again"))

    def _choose(self) -> list[Ticket]:
        """Drop streams that have ended or whose client has gone, and return those whose turn it is."""
        kept = [ticket for ticket in self._tickets if not (ticket.cancelled or _has_ended(ticket))]
        self.admitted -= len(self._tickets) - len(kept)
        # A stream whose client does not read misses its turn.
        active = [ticket for ticket in kept if ticket.unsent < MOST_UNSENT][: self._streams]
        chosen = set(map(id, active))
        self._tickets = deque([ticket for ticket in kept if id(ticket) not in chosen] + active)
        return active

    def _turn(self, active: list[Ticket]) -> None:
        """Read some of the prompts, generate some tokens of each text, and hand them on."""
        begin = time.perf_counter()
        unread = [ticket for ticket in active if not ticket.stream.is_ready]
        while unread and time.perf_counter() - begin < CALL_SECONDS:
            shortest = min(unread, key=lambda ticket: ticket.stream.unread)  # long prompts keep nobody waiting
            self._read(shortest)
            unread = [ticket for ticket in unread if not (ticket.stream.is_ready or _has_ended(ticket))]
        ready = {ticket.stream: ticket for ticket in active if ticket.stream.is_ready and not _has_ended(ticket)}
        if ready:
            count = len(ready)
            steps = max(1, min(MOST_STEPS, int(CALL_SECONDS / self._step_seconds.get(count, self._first_guess))))
            used = time.thread_time()  # processor time, so that other work of the machine does not shorten the calls
            try:
                found = advance(ready, steps, self._together)
            except Exception:  # a fault of one must not end the thread, which would leave all others waiting
                log.exception("generation failed")
                found = [(stream, UserError("generation failed; see the server's log")) for stream in ready]
            self._step_seconds[count] = (time.thread_time() - used) / steps
            for stream, piece in found:
                if isinstance(piece, UserError):
                    self._fail(ready[stream], piece)
                else:
                    self.generated += piece.generated
                    ready[stream].pieces.append(piece)
        self._deliver(time.perf_counter() - begin)

    def _read(self, ticket: Ticket) -> None:
        try:
            piece = ticket.stream.read_prompt()
        except Exception as error:
            if not isinstance(error, UserError):
                log.exception("a prompt could not be read")
            self._fail(ticket, error if isinstance(error, UserError) else UserError("the prompt could not be read"))
            return
        if piece:
            ticket.pieces.append(piece)

    def _fail(self, ticket: Ticket, error: UserError) -> None:
        ticket.stream.finish_reason = "error"
        self._loop.call_soon_threadsafe(_receive_error, ticket, error)

    def _deliver(self, turn_seconds: float) -> None:
        """Hand pieces to the event loop that are due before the next turn ends."""
        now = time.perf_counter()
        due = list[tuple[Ticket, list[Piece]]]()
        with self._changed:
            tickets = list(self._tickets)
        for ticket in tickets:
            ended = _has_ended(ticket)
            if ticket.pieces and (ended or now - ticket.flushed >= FLUSH_SECONDS - turn_seconds):
                ticket.flushed = now
                due.append((ticket, ticket.pieces))
                ticket.pieces = []
        if due:
            self._loop.call_soon_threadsafe(_receive_all, due)


def _has_ended(ticket: Ticket) -> bool:
    return ticket.stream.finish_reason is not None


def _receive_all(due: list[tuple[Ticket, list[Piece]]]) -> None:
    for ticket, pieces in due:
        if not ticket.cancelled:
            ticket.unsent += sum(len(piece.text) for piece in pieces)
            ticket.receive(pieces)


def _receive_error(ticket: Ticket, error: UserError) -> None:
    if not ticket.cancelled:
        ticket.receive(error)
