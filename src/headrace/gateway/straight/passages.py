"""Requests on the straight way: from a caller's connection to a provider's, and the answer back, in the event loop's own callbacks.

Everything that a request on the long way leaves behind is left here too: limits, ledger, metrics, headers. Answers that are there in one
turn of the loop are written down together, before the last byte of any of them goes out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from headrace.errors import HeadraceError
from headrace.gateway.answers import LEFT, STOPPING, Before
from headrace.gateway.asking import Here
from headrace.gateway.callers import Caller
from headrace.gateway.forms import ReadForm
from headrace.gateway.fronts import Front
from headrace.gateway.general import Settings
from headrace.gateway.guard import caller_of, may_come
from headrace.gateway.logs import access
from headrace.gateway.page.watching import Seen, Watch
from headrace.gateway.permissions import check_path
from headrace.gateway.quotas import OpenaiLines, openai_headers
from headrace.gateway.records import Outcome, Record, hear, new_id, of_answer
from headrace.gateway.requests import Asked
from headrace.gateway.routes import plain_call
from headrace.gateway.straight.bodies import Body, read_body
from headrace.gateway.straight.courses import Course, Start, start_of
from headrace.gateway.straight.heads import MOST, Head, read_head
from headrace.layers import around
from headrace.layers.observing import Outcome as Observed
from headrace.layers.observing import Plain
from headrace.limits.account import Account
from headrace.limits.left import left_of
from headrace.models.cost import NANO
from headrace.routing import events
from headrace.routing.events import Event
from headrace.routing.trail import Attempt
from headrace.runtime.http_async import AsyncTransport, Begun, Data
from headrace.wire import Fault, Headers, HttpResponse, TransportError

if TYPE_CHECKING:
    from headrace.gateway.app import Gateway

log: Final = logging.getLogger("headrace.gateway")

IDS: Final = b"x-request-id: %b\r\nrequest-id: %b\r\nx-litellm-call-id: %b\r\n"
_HEAD: Final = b"content-type: %b\r\ncontent-length: %d\r\n%b%b%b" + IDS + b"\r\n"
_COST: Final = b"x-headrace-cost: %b\r\nx-litellm-response-cost: %b\r\n"

NOWHERE: Final = Course(None)
"""To a model that is not there, or not for this caller: of such names there is no end, and nothing is kept of them."""
LARGEST: Final = 4 << 20
"""Bytes of a body that is gathered here."""


class Asking(Protocol):
    """A caller's connection, as far as its answer is concerned."""

    def answer(self, data: bytes) -> None:
        """All of an answer."""
        ...

    def opened(self, data: bytes) -> None:
        """The head of a stream, and its first part."""
        ...

    def piece(self, data: bytes) -> None:
        """Another."""
        ...

    def answered(self) -> None:
        """There was the last of them."""
        ...

    def long_way(self, before: Before | None) -> None:
        """The request has to go the long way after all. before: what was tried."""
        ...

    def fault(self) -> None:
        """There will be no answer."""
        ...

    def end(self) -> None:
        """The server stops."""
        ...


class Passages:
    """All of one process, for one event loop."""

    def __init__(self, app: Gateway) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self.straight = app.router.straight()
        transport = self.straight.transport
        self._transport = transport if type(transport) is AsyncTransport and transport.direct else None
        self._settings = app.settings
        self._heads: dict[bytes, Head | None] = {}
        self._hooks: tuple[events.Hook, ...] = ()
        self._layers: tuple[around.Layer, ...] = ()
        self._counts: tuple[around.Tell, ...] | None = ()
        self._together: tuple[around.TellTogether, ...] | None = ()
        self.singly = False
        """Whether somebody wants to hear of each plain answer by itself."""
        self._done: list[tuple[Seen, Observed | Plain, Passage, bytes]] = []
        self._standing: tuple[Any, bytes] = None, b""
        self.connections: set[Asking] = set()
        """Those that are open."""

    async def end(self) -> None:
        """The server waits for no answer any longer. What has come by now goes out first."""
        await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.end()

    # ---- heads -------------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """Those in force: heads that were found by others are to be found anew."""
        return self._app.settings

    def knows(self, key: bytes) -> bool:
        return key in self._heads

    def head(self, key: bytes) -> Head | None:
        """What is known of a head: None for one that is new, or not for here."""
        if self._app.settings is not self._settings:
            self._settings = self._app.settings
            self._heads.clear()
        return self._heads.get(key)

    def learn(self, key: bytes, asked: Asked) -> None:
        """A head that was parsed on the long way, its length left out."""
        if len(self._heads) >= MOST:
            self._heads.clear()
        operation = None if self._transport is None else plain_call(asked.method, asked.path)
        self._heads[key] = read_head(asked, operation, self._settings.key)

    def may_come(self, head: Head, client: Any) -> bool:
        """Whether a head is taken from there. On one connection it is asked for once, until the settings are others."""
        settings = self._settings
        return not settings.networks or may_come(caller_of(client, head.asked.headers, settings), settings.networks)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def open(self, head: Head, data: bytes, begin: int, caller: Asking) -> Passage | None:
        """The request on its way; None where it has to be the long one. begin: where in `data` its body begins."""
        who = head.who(self._app.keys)
        if events.hooks() is not self._hooks or around.standing() is not self._layers:
            self._look_around()
        calm = self._counts is not None
        if who is None or (head.master and self._app.failures) or not calm or len(data) - begin > self._settings.max_body:
            return None
        body = read_body(data, head.words, begin)
        if body is None or (self._app.keys.may_be_held(body.user) if body.user else self._settings.wants_user):
            return None
        course = head.courses.get((body.model, body.stream))
        if course is None or course.stamp is not self.straight.stamp:
            course = self._course(head, who, body)
        lane = course.lane
        if lane is None or not body.fields.keys().isdisjoint(lane.particular) or 0 < lane.most_texts < body.texts:
            return None
        transport = self._transport
        if transport is None:
            return None
        attempt = self.straight.begin(lane, body.prompt, body.most)
        if attempt is None:
            return None
        start = course.starts[attempt.reservation.deployment]
        kind: type[Passage] = Passage
        if body.stream:
            from headrace.gateway.straight.streams import Stream  # late: a stream is a passage

            kind = Stream
        passage = kind(self, head, who, body, course, start, attempt, caller)
        passage.send(transport)
        return passage

    def _look_around(self) -> None:
        """Whether nobody but gateways hears of calls, and whoever stands around them only counts. What another gateway hears of them
        changes nothing there: it shows who waits in line, and whoever has to wait goes the long way."""
        self._hooks, self._layers = events.hooks(), around.standing()
        own = all(hook is hear or getattr(hook, "__func__", None) is Watch.hear for hook in self._hooks)
        self._counts = around.counting() if own else None
        self._together = around.counting_together()
        self.singly = self._together is None

    def _course(self, head: Head, who: Caller, body: Body) -> Course:
        """Found anew."""
        if len(head.courses) >= MOST:
            head.courses.clear()
        found = self._new_course(head, who, body)
        if found is not NOWHERE:
            head.courses[body.model, body.stream] = found
        return found

    def _new_course(self, head: Head, who: Caller, body: Body) -> Course:
        stamp = self.straight.stamp
        if self._app.keeps_content(who):
            return Course(stamp)
        here = Here(self._app.router, who, ReadForm())
        try:
            check_path(head.asked.path, who, self._settings.routes, self._settings.admin_routes)
            model = here.meant(body.model)
        except HeadraceError:
            return NOWHERE
        options = {"betas": head.betas, "seal": who.seal if head.operation.stored else ""}
        lane = self.straight.lane(head.operation, model, body.stream, who.tenant, here.scopes(model), options)
        if lane is None:
            return Course(stamp)
        try:
            record = _unbegun(head, who, body)
            starts = {id: start_of(sending, record) for id, sending in lane.sendings.items()}
        except (TransportError, ValueError):
            return Course(stamp)
        return Course(stamp, lane, starts, _left_under(lane.seat.scopes, head.front))

    def later(self, beat: Callable[[], None]) -> asyncio.TimerHandle:
        """Look in on a stream after the seconds that its caller may hear nothing."""
        return self._loop.call_later(self._settings.keep_alive, beat)

    # ---- what is left behind -----------------------------------------------------------------------------------------

    def count(self, *observed: Observed) -> None:
        for tell in self._counts or ():
            for one in observed:
                _tell(tell, one)

    def _count_plain(self, answers: Sequence[Plain]) -> None:
        for tell in self._together or ():
            _tell(tell, answers)

    def left_of(self, course: Course) -> bytes:
        """What is left under the caller's own limits, as lines of an answer's head."""
        return b"" if course.left is None else self.straight.limiter.look(course.left, self.straight.now())

    def first_lines(self, standing: list[tuple[bytes, bytes]]) -> bytes:
        """How every answer begins. standing: headers of all of them; the server makes others each second."""
        if self._standing[0] is not standing:
            self._standing = standing, b"HTTP/1.1 200 OK\r\n" + b"".join([b"%b: %b\r\n" % pair for pair in standing])
        return self._standing[1]

    def remember(self, seen: Seen) -> None:
        self._app.watch.append(seen.record, seen.decision)

    def over(self, seen: Seen, observed: Observed | Plain, passage: Passage, answer: bytes, *, alone: bool) -> None:
        """A call has ended: into the ledger with it, and then out with its answer, together with all of this turn. What only counts calls
        hears of it then: nobody has to wait for that. alone: no other call is under way there, which could end in this turn as well."""
        if not self._done and not alone:
            self._loop.call_soon(self._flush)
        self._done.append((seen, observed, passage, answer))
        if alone:
            self._flush()

    def _flush(self) -> None:
        done, self._done = self._done, []
        if not done:
            return
        watch, logged = self._app.watch, access.isEnabledFor(logging.INFO)
        seen = [seen for seen, _, _, _ in done]
        watch.keep([one.record for one in seen])
        for _, _, passage, answer in done:
            if logged:
                passage._log(200)
            passage._caller.answer(answer)
        watch.see(seen)
        if plain := [observed for _, observed, _, _ in done if type(observed) is tuple]:
            self._count_plain(plain)
        if len(plain) < len(done):
            self.count(*[observed for _, observed, _, _ in done if isinstance(observed, Observed)])


class Passage:
    """One request under way."""

    __slots__ = (
        "_attempt",
        "_began",
        "_begun",
        "_body",
        "_caller",
        "_came",
        "_course",
        "_head",
        "_id",
        "_opening",
        "_over",
        "_passages",
        "_start",
        "_who",
    )

    streaming = False

    def __init__(
        self, passages: Passages, head: Head, who: Caller, body: Body, course: Course, start: Start, attempt: Attempt, caller: Asking
    ) -> None:
        self._passages = passages
        self._head = head
        self._who = who
        self._body = body
        self._course = course
        self._start = start
        self._attempt = attempt
        self._caller = caller
        self._id = new_id()
        self._came = time.time()
        self._began = attempt.began
        self._begun: Begun | None = None
        self._opening: asyncio.Task[None] | None = None
        """Makes a connection where none was kept."""
        self._over = False

    def unsent(self) -> None:
        """It was not sent after all."""
        self._over = True
        self._stop()
        self._passages.straight.unsent(self._attempt)

    def _stop(self) -> None:
        """Whatever looks in on it does so no more."""

    def hold(self) -> None:
        """The caller takes no more for now."""

    def go_on(self) -> None:
        """The caller takes more."""

    def send(self, transport: AsyncTransport) -> None:
        """On a connection that is kept, else on another."""
        start, pieces = self._start, self._body.named(self._start.opening)
        timeouts, patience = start.sending.timeouts, self._head.patience
        if self.streaming:
            patience = None
        total = timeouts.total if patience is None or (timeouts.total is not None and timeouts.total <= patience) else patience
        if self._body.long:
            data: Data = [b"%b%d\r\n\r\n" % (start.head, sum(map(len, pieces))), *pieces]
        else:
            content = b"".join(pieces)
            data = b"%b%d\r\n\r\n%b" % (start.head, len(content), content)
        self._begun = transport.begin(start.origin, data, timeouts, total, self.heard, streaming=self.streaming)
        if self._begun is None:
            self._opening = transport.begin_anew(start.origin, data, timeouts, total, self.heard, self._sent, streaming=self.streaming)
            self._opening.add_done_callback(self._opened_at_last)

    def _sent(self, begun: Begun) -> None:
        self._begun = begun
        self._passages.straight.leaves(self._attempt)

    def _opened_at_last(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled() and (error := opening.exception()) is not None:
            log.error("%s: a fault of the gateway's own", self._id, exc_info=error)
            self.unsent()
            self._caller.fault()

    # ---- what comes of it --------------------------------------------------------------------------------------------

    def heard(self, error: TransportError | None) -> None:
        """The provider has answered, or its connection broke."""
        try:
            self._heard(error)
        except Exception:
            log.exception("%s: a fault of the gateway's own", self._id)
            self.unsent()
            self._caller.fault()

    def _heard(self, error: TransportError | None) -> None:
        straight, attempt, begun = self._passages.straight, self._attempt, self._begun
        if error is not None:
            self._broke(error)
            return
        assert begun is not None
        exchange = begun.exchange
        status, headers, body, start = exchange.status, exchange.headers, exchange.take(), self._start
        sending = start.sending
        plain = straight.plain(attempt, sending, status, body)
        if plain is not None:
            now = straight.answered(attempt, plain, headers)
            input, output, cost = plain.input, plain.output, plain.cost
            record = replace(
                start.record, id=self._id, began=self._came, ended=time.time(), customer=self._body.user,
                usage={"input": input, "output": output} if output else {"input": input}, cost=cost,
            )  # fmt: skip
            told: Plain = (start.where, now - self._began, 0.0, input, output, cost)
            self._answer(record, now, self._observed(told, now, headers) if self._passages.singly else told, cost, body, _kind(headers))
            return
        try:
            hidden, body = straight.read(attempt, sending, HttpResponse(status, Headers(headers), body))
        except HeadraceError as failure:
            self._failed(failure)
            return
        now = straight.answered(attempt, hidden, headers)
        record = self._record(Outcome.ANSWERED, **of_answer(hidden))
        cost = None if hidden.usage is None else record.cost
        observed = Observed(attempt.call, self._began, None, now, None, hidden, hidden.usage, None, start.where)
        self._answer(record, now, observed, cost, body, _kind(headers))

    def _observed(self, plain: Plain, now: float, headers: Sequence[tuple[bytes, bytes]]) -> Observed:
        """A plain answer, for who hears of each by itself."""
        attempt, (where, _, _, input, output, cost) = self._attempt, plain
        dollars, usage = None if cost is None else cost / NANO, {"prompt_tokens": input, "completion_tokens": output}
        told = {"additional_headers": Headers(headers), "headrace": attempt.record, "response_cost": dollars}
        return Observed(attempt.call, self._began, None, now, None, {**self._start.sending.known, **told}, usage, None, where)

    def _broke(self, error: TransportError) -> None:
        if error.fault is Fault.CLOSED and not error.received and self._opening is None:  # it had been closed while nobody used it
            self.unsent()
            self._caller.long_way(None)
        else:
            self._failed(self._passages.straight.explained(self._attempt, error))

    def _failed(self, error: HeadraceError) -> None:
        failed = self._passages.straight.failed(self._attempt, error)
        member, ask = self._attempt.member, self._attempt.ask
        event = Event(
            kind="sent", group=ask.group, call=ask.call, at=self._began, tenant=ask.tenant, deployment=member.deployment.id,
            provider=member.to.provider.name, model=member.to.model,
        )  # fmt: skip
        self._caller.long_way(Before(failed, event, self._came, self._began))

    def _answer(self, record: Record, now: float, observed: Observed | Plain, cost: int | None, body: bytes, kind: bytes) -> None:
        """Into the books with it, and out. now: when it was there. cost: as the caller is told it. kind: of content."""
        passages, attempt, start, look = self._passages, self._attempt, self._start, self._course.left
        price = b"" if cost is None else _COST % (dollars := b"%.9f" % (cost / NANO), dollars)
        left, id = b"" if look is None else passages.straight.limiter.look(look, now), self._id.encode()
        answer = _HEAD % (kind, len(body), start.told, price, left, id, id, id) + body
        passages.over(Seen(record, attempt.record), observed, self, answer, alone=not attempt.member.load.running)

    def stopped(self) -> bytes:
        """An answer in the place of its own, where that may not be waited for."""
        written = self._head.front.error(STOPPING)
        head = b"HTTP/1.1 %d Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n%b"
        return head % (written.status, len(written.body), b"connection: close\r\n\r\n") + written.body

    def left(self) -> None:
        """The caller has gone."""
        begun, opening, attempt, passages = self._begun, self._opening, self._attempt, self._passages
        if not attempt.reservation.open or (begun is not None and begun.exchange.complete):
            return
        if begun is not None:
            begun.leave()
        elif opening is not None:
            opening.cancel()
        error = asyncio.CancelledError()
        passages.straight.left(attempt, error)
        passages.count(Observed(attempt.call, self._began, None, passages.straight.now(), error=error))
        passages.remember(Seen(self._record(Outcome.LEFT, status=LEFT), attempt.record))
        if access.isEnabledFor(logging.INFO):
            self._log(LEFT)

    def _record(self, outcome: Outcome, **told: Any) -> Record:
        known = self._start.record
        return replace(known, id=self._id, began=self._came, ended=time.time(), customer=self._body.user, outcome=outcome, **told)

    def _log(self, status: int) -> None:
        path, who = self._head.asked.path, self._who
        told = {"path": path, "status": status, "seconds": round(time.time() - self._came, 6), "model": self._body.model}
        told |= {name: value for name, value in (("key", who.key), ("team", who.team), ("user", who.user)) if value}
        access.info("%s %s", path, status, extra={"fields": told})


def _unbegun(head: Head, who: Caller, body: Body) -> Record:
    """What the records of all calls by one caller to one model have in common."""
    return Record(
        id="", began=0.0, ended=0.0, key=who.key, name=who.name, team=who.team, user=who.user, tags=who.tags, path=head.asked.path,
        operation=head.operation.name, model=body.model, stream=body.stream,
    )  # fmt: skip


def _left_under(scopes: Sequence[Account], front: Front) -> Callable[[float], bytes] | None:
    """As `Course.left` has it."""
    meters = [meter for account in scopes for meter in account.meters]
    if not meters:
        return None
    if front.left is openai_headers:
        return OpenaiLines(scopes).at

    def at(now: float) -> bytes:
        told = front.left([left_of(meter, now) for meter in meters])
        return b"".join([b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in told])

    return at


def _kind(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The content type of an answer."""
    for name, value in headers:
        if len(name) == len(_KIND) and name.lower() == _KIND:
            return value
    return b"application/octet-stream"


_KIND: Final = b"content-type"


def _tell(tell: Callable[[Any], None], what: Any) -> None:
    try:
        tell(what)
    except Exception as error:  # whoever measures must not break what he measures
        events.warn(f"{tell!r} failed ({type(error).__name__}: {error})")
