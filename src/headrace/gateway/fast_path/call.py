"""One request on the fast path: what is sent to the provider, how its response is read, and what is reported about the call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from headrace.errors import HeadraceError
from headrace.gateway.answers import LEFT, STOPPING, Before
from headrace.gateway.callers import Caller
from headrace.gateway.fast_path.bodies import Body
from headrace.gateway.fast_path.heads import Head
from headrace.gateway.fast_path.prepared import PreparedRequest, Route
from headrace.gateway.logs import access
from headrace.gateway.page.recent_calls import Seen
from headrace.gateway.records import Outcome, Record, new_id, of_answer
from headrace.layers.observing import Outcome as Observed
from headrace.layers.observing import Plain
from headrace.models.cost import NANO
from headrace.routing.events import Event
from headrace.routing.plain_answers import Plain as Used
from headrace.routing.trail import Attempt
from headrace.runtime.http_async import Begun, Data
from headrace.wire import Fault, Headers, HttpResponse, TransportError

if TYPE_CHECKING:
    from headrace.gateway.fast_path.pipeline import Pipeline

log: Final = logging.getLogger("headrace.gateway")

IDS: Final = b"x-request-id: %b\r\nrequest-id: %b\r\nx-litellm-call-id: %b\r\n"
_HEAD: Final = b"content-type: %b\r\ncontent-length: %d\r\n%b%b%b" + IDS + b"\r\n"
_COST: Final = b"x-headrace-cost: %b\r\nx-litellm-response-cost: %b\r\n"


class ClientConnection(Protocol):
    """A client's connection, as far as responses are concerned."""

    def answer(self, data: bytes) -> None:
        """Send a complete response."""
        ...

    def opened(self, data: bytes) -> None:
        """Send the head of a stream and its first chunk."""
        ...

    def piece(self, data: bytes) -> None:
        """Send another chunk."""
        ...

    def answered(self) -> None:
        """The stream is complete."""
        ...

    def admitted(self, call: FastCall) -> None:
        """The request was admitted to the fast path."""
        ...

    def slow_path(self, before: Before | None) -> None:
        """Hand the request over to the slow path. before: what was tried."""
        ...

    def fault(self) -> None:
        """An internal error: there will be no response."""
        ...

    def end(self) -> None:
        """The server is stopping."""
        ...


class FastCall:
    """One request in flight on the fast path."""

    __slots__ = (
        "_answer",
        "_attempt",
        "_began",
        "_begun",
        "_body",
        "_caller",
        "_came",
        "_ended",
        "_head",
        "_id",
        "_opening",
        "_over",
        "_pipeline",
        "_prepared",
        "_route",
        "_used",
        "_who",
    )

    streaming = False

    def __init__(
        self,
        pipeline: Pipeline,
        head: Head,
        who: Caller,
        body: Body,
        route: Route,
        prepared: PreparedRequest,
        attempt: Attempt,
        caller: ClientConnection,
    ) -> None:
        self._pipeline = pipeline
        self._head = head
        self._who = who
        self._body = body
        self._route = route
        self._prepared = prepared
        self._attempt = attempt
        self._caller = caller
        self._id = new_id()
        self._came = time.time()
        self._began = attempt.began
        self._begun: Begun | None = None
        self._opening: asyncio.Task[None] | None = None
        """Opens a connection where the pool had none."""
        self._answer = b""
        self._used: Used | None = None
        """Usage of a plain response."""
        self._ended = 0.0
        self._over = False

    def unsent(self) -> None:
        """Undo the attempt: the request was not sent."""
        self._over = True
        self._stop()
        self._pipeline.fast_path.unsent(self._attempt)

    def _stop(self) -> None:
        """Cancel the timers, of which a plain request has none."""

    def hold(self) -> None:
        """The write buffer to the client is full. Nothing to pause, as a plain response is sent whole."""

    def go_on(self) -> None:
        """The client reads again."""

    def send(self) -> None:
        """Send the request on a pooled connection, else on a new one."""
        transport = self._pipeline.transport
        assert transport is not None
        prepared, pieces = self._prepared, self._body.named(self._prepared.opening)
        timeouts, patience = prepared.sending.timeouts, self._head.patience
        if self.streaming:
            patience = None
        total = timeouts.total if patience is None or (timeouts.total is not None and timeouts.total <= patience) else patience
        if self._body.long:
            data: Data = [b"%b%d\r\n\r\n" % (prepared.head, sum(map(len, pieces))), *pieces]
        else:
            content = b"".join(pieces)
            data = b"%b%d\r\n\r\n%b" % (prepared.head, len(content), content)
        self._begun = transport.begin(prepared.origin, data, timeouts, total, self.heard, streaming=self.streaming)
        if self._begun is None:
            self._opening = transport.begin_anew(prepared.origin, data, timeouts, total, self.heard, self._sent, streaming=self.streaming)
            self._opening.add_done_callback(self._opened_at_last)

    def _sent(self, begun: Begun) -> None:
        self._begun = begun
        self._pipeline.fast_path.leaves(self._attempt)

    def _opened_at_last(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled() and (error := opening.exception()) is not None:
            self.fault(error)

    def fault(self, error: BaseException | None = None) -> None:
        """The request failed through an internal error. error: the exception, if it is not being handled."""
        log.error("%s: internal error in the gateway", self._id, exc_info=error or True)
        self.unsent()
        self._caller.fault()

    # ---- the response ------------------------------------------------------------------------------------------------

    def heard(self, error: TransportError | None) -> None:
        """The provider has responded, or the connection failed."""
        try:
            self._heard(error)
        except Exception:
            self.fault()

    def _heard(self, error: TransportError | None) -> None:
        if error is not None:
            self._broke(error)
        else:
            self._pipeline.answered(self)

    # Steps of a complete response, each taken for a batch of them. They return False when there is no next step.

    def read(self) -> bool:
        """Read the usage. A response that does not state it plainly is parsed in full."""
        assert self._begun is not None
        exchange = self._begun.exchange
        self._answer = body = exchange.take()
        self._used = self._pipeline.fast_path.plain(self._attempt, self._prepared.sending, exchange.status, body)
        if self._used is None:
            self._look_closely(exchange.status, exchange.headers, body)
        return self._used is not None

    def _look_closely(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        fast_path, attempt, prepared = self._pipeline.fast_path, self._attempt, self._prepared
        try:
            hidden, body = fast_path.read(attempt, prepared.sending, HttpResponse(status, Headers(headers), body))
        except HeadraceError as failure:
            self._failed(failure)
            return
        now = fast_path.answered(attempt, hidden, headers)
        record = self._record(Outcome.ANSWERED, **of_answer(hidden))
        cost = None if hidden.usage is None else record.cost
        observed = Observed(attempt.call, self._began, None, now, None, hidden, hidden.usage, None, prepared.where)
        self._over_with(record, now, observed, cost, body, _kind(headers))

    def settle(self) -> bool:
        """Return the unused part of its reservation."""
        assert self._begun is not None
        assert self._used is not None
        self._ended = self._pipeline.fast_path.answered(self._attempt, self._used, self._begun.exchange.headers)
        return True

    def end(self) -> bool:
        """Report the call to the ledger, to metrics and to the client."""
        assert self._begun is not None
        assert self._used is not None
        used, now, prepared, headers = self._used, self._ended, self._prepared, self._begun.exchange.headers
        input, output, cost = used.input, used.output, used.cost
        record = replace(
            prepared.record, id=self._id, began=self._came, ended=time.time(), customer=self._body.user,
            usage={"input": input, "output": output} if output else {"input": input}, cost=cost,
        )  # fmt: skip
        told: Plain = (prepared.where, now - self._began, 0.0, input, output, cost)
        observed = self._observed(told, now, headers) if self._pipeline.singly else told
        self._over_with(record, now, observed, cost, self._answer, _kind(headers))
        return False

    def _observed(self, plain: Plain, now: float, headers: Sequence[tuple[bytes, bytes]]) -> Observed:
        """A plain response for subscribers that take each call on its own."""
        attempt, (where, _, _, input, output, cost) = self._attempt, plain
        dollars, usage = None if cost is None else cost / NANO, {"prompt_tokens": input, "completion_tokens": output}
        told = {"additional_headers": Headers(headers), "headrace": attempt.record, "response_cost": dollars}
        return Observed(attempt.call, self._began, None, now, None, {**self._prepared.sending.known, **told}, usage, None, where)

    def _broke(self, error: TransportError) -> None:
        if error.fault is Fault.CLOSED and not error.received and self._opening is None:  # the provider had closed the idle connection
            self.unsent()
            self._caller.slow_path(None)
        else:
            self._failed(self._pipeline.fast_path.explained(self._attempt, error))

    def _failed(self, error: HeadraceError) -> None:
        failed = self._pipeline.fast_path.failed(self._attempt, error)
        member, ask = self._attempt.member, self._attempt.ask
        event = Event(
            kind="sent", group=ask.group, call=ask.call, at=self._began, tenant=ask.tenant, deployment=member.deployment.id,
            provider=member.to.provider.name, model=member.to.model,
        )  # fmt: skip
        self._caller.slow_path(Before(failed, event, self._came, self._began))

    def _over_with(self, record: Record, now: float, observed: Observed | Plain, cost: int | None, body: bytes, kind: bytes) -> None:
        """Record the call and respond. now: when the response arrived. cost: as told to the client. kind: the content type."""
        pipeline, attempt, prepared, look = self._pipeline, self._attempt, self._prepared, self._route.left
        price = b"" if cost is None else _COST % (dollars := b"%.9f" % (cost / NANO), dollars)
        left, id = b"" if look is None else pipeline.fast_path.limiter.look(look, now), self._id.encode()
        answer = _HEAD % (kind, len(body), prepared.told, price, left, id, id, id) + body
        pipeline.over(Seen(record, attempt.record), observed, self, answer)

    def stopped(self) -> bytes:
        """A 503 response instead of its own, for a server that stops without waiting for it."""
        written = self._head.front.error(STOPPING)
        head = b"HTTP/1.1 %d Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n%b"
        return head % (written.status, len(written.body), b"connection: close\r\n\r\n") + written.body

    def left(self) -> None:
        """The client has disconnected."""
        begun, opening, attempt, pipeline = self._begun, self._opening, self._attempt, self._pipeline
        if not attempt.reservation.open or (begun is not None and begun.exchange.complete):
            return
        if begun is not None:
            begun.leave()
        elif opening is not None:
            opening.cancel()
        error = asyncio.CancelledError()
        pipeline.fast_path.left(attempt, error)
        pipeline.count(Observed(attempt.call, self._began, None, pipeline.fast_path.now(), error=error))
        pipeline.remember(Seen(self._record(Outcome.LEFT, status=LEFT), attempt.record))
        if access.isEnabledFor(logging.INFO):
            self._log(LEFT)

    def _record(self, outcome: Outcome, **told: Any) -> Record:
        known = self._prepared.record
        return replace(known, id=self._id, began=self._came, ended=time.time(), customer=self._body.user, outcome=outcome, **told)

    def _log(self, status: int) -> None:
        path, who = self._head.asked.path, self._who
        told = {"path": path, "status": status, "seconds": round(time.time() - self._came, 6), "model": self._body.model}
        told |= {name: value for name, value in (("key", who.key), ("team", who.team), ("user", who.user)) if value}
        access.info("%s %s", path, status, extra={"fields": told})


def _kind(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The content type of a response."""
    for name, value in headers:
        if len(name) == len(_KIND) and name.lower() == _KIND:
            return value
    return b"application/octet-stream"


_KIND: Final = b"content-type"
