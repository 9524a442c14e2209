"""Requests on the fast path: from a client's connection to a provider's and back, in callbacks of the event loop.

They leave the same traces as requests on the slow path: limits, ledger, metrics, headers.

Requests that arrive in one turn of the event loop advance together, step by step: all bodies are read, then limits are
reserved for each, then all are sent. Each step then finds its code and data in the CPU caches; requests handled one
after the other take 50 % longer. Responses are recorded together too, before the last byte of any of them is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import Struct

from headrace.errors import HeadraceError
from headrace.gateway.callers import Caller
from headrace.gateway.client_apis import ClientApi
from headrace.gateway.context import RequestContext
from headrace.gateway.fast_path.bodies import Body, read_body
from headrace.gateway.fast_path.call import ClientConnection, FastCall
from headrace.gateway.fast_path.heads import MOST, Head, read_head
from headrace.gateway.fast_path.prepared import Route, prepare
from headrace.gateway.fast_path.streams import Stream
from headrace.gateway.forms import ReadForm
from headrace.gateway.general import Settings
from headrace.gateway.guard import caller_of, may_come
from headrace.gateway.logs import access
from headrace.gateway.page.recent_calls import RecentCalls, Seen
from headrace.gateway.permissions import check_path
from headrace.gateway.quotas import OpenaiLines, openai_headers
from headrace.gateway.records import Record, hear
from headrace.gateway.requests import IncomingRequest
from headrace.gateway.routes import plain_call
from headrace.layers import around
from headrace.layers.observing import Outcome as Observed
from headrace.layers.observing import Plain
from headrace.limits.account import Account
from headrace.limits.left import left_of
from headrace.routing import events
from headrace.runtime.http_async import AsyncTransport
from headrace.wire import TransportError

if TYPE_CHECKING:
    from headrace.gateway.app import Gateway

log: Final = logging.getLogger("headrace.gateway")

NOWHERE: Final = Route(None)
"""For a model that does not exist or that this caller may not use. Not cached, as there is no end of such names."""
LARGEST: Final = 4 << 20
"""Bytes of a body that is collected here."""
TOGETHER: Final = 32
"""Most requests or responses that take a step together: the first of them waits for the last."""
ANSWERING: Final = (FastCall.read, FastCall.settle, FastCall.end)
"""The steps of a complete response."""


class Request(Struct, eq=False):
    """A request that has arrived in full."""

    head: Head
    data: bytes
    begin: int
    """The offset of the body in `data`."""
    caller: ClientConnection
    body: Body | None = None
    call: FastCall | None = None

    def fault(self) -> None:
        if self.call is not None:
            self.call.fault()
        else:
            log.exception("internal error in the gateway")
            self.caller.fault()


class Pipeline:
    """All fast-path requests of one event loop."""

    def __init__(self, app: Gateway) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self.fast_path = app.router.fast_path()
        transport = self.fast_path.transport
        self.transport = transport if type(transport) is AsyncTransport and transport.direct else None
        """None if the fast path is not available."""
        self._settings = app.settings
        self._heads: dict[bytes, Head | None] = {}
        self._hooks: tuple[events.Hook, ...] = ()
        self._layers: tuple[around.Layer, ...] = ()
        self._counts: tuple[around.Tell, ...] | None = ()
        self._together: tuple[around.TellTogether, ...] | None = ()
        self.singly = False
        """Whether some subscriber takes each plain response on its own."""
        self._came: list[Request] = []
        self._answered: list[FastCall] = []
        """Requests and responses of this turn of the event loop."""
        self._turning = False
        self.under_way = 0
        """Requests that have arrived and have no response yet. Connections count it down."""
        self._done: list[tuple[Seen, Observed | Plain, FastCall, bytes]] = []
        self._standing: tuple[Any, bytes] = None, b""
        self.connections: set[ClientConnection] = set()
        """The open ones."""

    async def end(self) -> None:
        """The server no longer waits for responses. Those that have arrived by now are sent first."""
        await asyncio.sleep(0)
        self._turn()
        for connection in tuple(self.connections):
            connection.end()

    # ---- request heads -----------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force; heads parsed under others are parsed again."""
        return self._app.settings

    def knows(self, key: bytes) -> bool:
        """Whether a head was parsed before, even if it is not for the fast path."""
        return key in self._heads

    def head(self, key: bytes) -> Head | None:
        """The cached head; None if it is new or not for the fast path."""
        if self._app.settings is not self._settings:
            self._settings = self._app.settings
            self._heads.clear()
        return self._heads.get(key)

    def learn(self, key: bytes, asked: IncomingRequest) -> None:
        """Cache a head that was parsed on the slow path, without its `content-length` value."""
        if len(self._heads) >= MOST:
            self._heads.clear()
        operation = None if self.transport is None else plain_call(asked.method, asked.path)
        self._heads[key] = read_head(asked, operation, self._settings.key)

    def may_come(self, head: Head, client: Any) -> bool:
        """Whether a head is accepted from this network address. Asked once per connection, until the settings change."""
        settings = self._settings
        return not settings.networks or may_come(caller_of(client, head.asked.headers, settings), settings.networks)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def submit(self, head: Head, data: bytes, begin: int, caller: ClientConnection) -> None:
        """Take a complete request: it starts on the fast or the slow path in this turn of the event loop.

        begin: the body's offset in `data`.
        """
        self._came.append(Request(head, data, begin, caller))
        self.under_way += 1
        self._soon()

    def answered(self, call: FastCall) -> None:
        """Take a complete response."""
        self._answered.append(call)
        self._soon()

    def _soon(self) -> None:
        """Run a turn: at the end of this turn of the event loop, or at once if no other request is in flight."""
        if self.under_way == 1:
            self._turn()
        elif not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Advance what has arrived to its next wait: responses first, as requests may need the room and connections they free."""
        self._turning = False
        while self._answered:
            answered, self._answered = self._answered[:TOGETHER], self._answered[TOGETHER:]
            for step in ANSWERING:
                answered = _take(step, answered)
            self._flush()
        while self._came:
            came, self._came = self._came[:TOGETHER], self._came[TOGETHER:]
            for stage in (self.read, self.begin, _send):
                came = _take(stage, came)

    # Steps of a request, each taken for a batch of them. They return False when there is no next step.

    def read(self, request: Request) -> bool:
        """Read what the gateway needs of the body. A body that must be read in full takes the slow path."""
        small = len(request.data) - request.begin <= self._settings.max_body
        request.body = read_body(request.data, request.head.words, request.begin) if small else None
        if request.body is None:
            request.caller.slow_path(None)
        return request.body is not None

    def begin(self, request: Request) -> bool:
        """Reserve its limits. A request that would have to wait, or that is unusual, takes the slow path."""
        assert request.body is not None
        request.call = call = self._open(request.head, request.body, request.caller)
        if call is None:
            request.caller.slow_path(None)
            return False
        request.caller.admitted(call)
        return True

    def _open(self, head: Head, body: Body, caller: ClientConnection) -> FastCall | None:
        who = head.who(self._app.keys)
        if events.hooks() is not self._hooks or around.standing() is not self._layers:
            self._look_around()
        if who is None or (head.master and self._app.failures) or self._counts is None or self.transport is None:
            return None
        if self._app.keys.may_be_held(body.user) if body.user else self._settings.wants_user:
            return None
        route = head.routes.get((body.model, body.stream))
        if route is None or route.stamp is not self.fast_path.stamp:
            route = self._route(head, who, body)
        lane = route.lane
        if lane is None or not body.fields.keys().isdisjoint(lane.particular) or 0 < lane.most_texts < body.texts:
            return None
        attempt = self.fast_path.begin(lane, body.prompt, body.most)
        if attempt is None:
            return None
        prepared = route.prepared[attempt.reservation.deployment]
        kind = Stream if body.stream else FastCall
        return kind(self, head, who, body, route, prepared, attempt, caller)

    def _look_around(self) -> None:
        """Check who subscribes to calls.

        The fast path needs that only gateways hook into calls and that every layer only counts. What another gateway's
        hook receives makes no difference here: it shows the queue, and a call that must queue takes the slow path.
        """
        self._hooks, self._layers = events.hooks(), around.standing()
        own = all(hook is hear or getattr(hook, "__func__", None) is RecentCalls.hear for hook in self._hooks)
        self._counts = around.counting() if own else None
        self._together = around.counting_together()
        self.singly = self._together is None

    def _route(self, head: Head, who: Caller, body: Body) -> Route:
        """The route, built and cached."""
        if len(head.routes) >= MOST:
            head.routes.clear()
        found = self._new_route(head, who, body)
        if found is not NOWHERE:
            head.routes[body.model, body.stream] = found
        return found

    def _new_route(self, head: Head, who: Caller, body: Body) -> Route:
        stamp = self.fast_path.stamp
        if self._app.keeps_content(who):
            return Route(stamp)
        here = RequestContext(self._app.router, who, ReadForm())
        try:
            check_path(head.asked.path, who, self._settings.routes, self._settings.admin_routes)
            model = here.meant(body.model)
        except HeadraceError:
            return NOWHERE
        options = {"betas": head.betas, "seal": who.seal if head.operation.stored else ""}
        lane = self.fast_path.lane(head.operation, model, body.stream, who.tenant, here.scopes(model), options)
        if lane is None:
            return Route(stamp)
        try:
            record = _unbegun(head, who, body)
            prepared = {id: prepare(sending, record) for id, sending in lane.sendings.items()}
        except (TransportError, ValueError):
            return Route(stamp)
        return Route(stamp, lane, prepared, _left_under(lane.seat.scopes, head.front))

    def later(self, beat: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `beat` after the keep-alive interval of streams."""
        return self._loop.call_later(self._settings.keep_alive, beat)

    # ---- reporting ---------------------------------------------------------------------------------------------------

    def count(self, *observed: Observed) -> None:
        """Report calls to the metrics, one by one."""
        for tell in self._counts or ():
            for one in observed:
                _tell(tell, one)

    def _count_plain(self, answers: Sequence[Plain]) -> None:
        for tell in self._together or ():
            _tell(tell, answers)

    def left_of(self, route: Route) -> bytes:
        """Rate limit headers for the caller's own limits, as header lines."""
        return b"" if route.left is None else self.fast_path.limiter.look(route.left, self.fast_path.now())

    def first_lines(self, standing: list[tuple[bytes, bytes]]) -> bytes:
        """The status line and the headers common to all responses.

        standing: those headers; the server renews the list each second.
        """
        if self._standing[0] is not standing:
            self._standing = standing, b"HTTP/1.1 200 OK\r\n" + b"".join([b"%b: %b\r\n" % pair for pair in standing])
        return self._standing[1]

    def remember(self, seen: Seen) -> None:
        """Record a call at once, outside a batch."""
        self._app.watch.append(seen.record, seen.decision)

    def over(self, seen: Seen, observed: Observed | Plain, call: FastCall, answer: bytes) -> None:
        """Queue a finished call for the next batch, which is written to the ledger and then responded to.

        Metrics count it afterwards, so no client waits for them.
        """
        self._done.append((seen, observed, call, answer))

    def _flush(self) -> None:
        done, self._done = self._done, []
        if not done:
            return
        watch, logged = self._app.watch, access.isEnabledFor(logging.INFO)
        seen = [seen for seen, _, _, _ in done]
        watch.keep([one.record for one in seen])
        for _, _, call, answer in done:
            if logged:
                call._log(200)
            call._caller.answer(answer)
        watch.see(seen)
        if plain := [observed for _, observed, _, _ in done if type(observed) is tuple]:
            self._count_plain(plain)
        if len(plain) < len(done):
            self.count(*[observed for _, observed, _, _ in done if isinstance(observed, Observed)])


def _unbegun(head: Head, who: Caller, body: Body) -> Record:
    """The fields that the records of one caller's calls to one model have in common."""
    return Record(
        id="", began=0.0, ended=0.0, key=who.key, name=who.name, team=who.team, user=who.user, tags=who.tags, path=head.asked.path,
        operation=head.operation.name, model=body.model, stream=body.stream,
    )  # fmt: skip


def _left_under(scopes: Sequence[Account], front: ClientApi) -> Callable[[float], bytes] | None:
    """The renderer for `Route.left`."""
    meters = [meter for account in scopes for meter in account.meters]
    if not meters:
        return None
    if front.left is openai_headers:
        return OpenaiLines(scopes).at

    def at(now: float) -> bytes:
        told = front.left([left_of(meter, now) for meter in meters])
        return b"".join([b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in told])

    return at


class Stepping(Protocol):
    """A request or response that takes steps in a batch."""

    def fault(self) -> None:
        """It failed through an internal error, which is being handled."""
        ...


S = TypeVar("S", bound=Stepping)


def _take(step: Callable[[S], bool], those: Sequence[S]) -> list[S]:
    """Take a step with each. Returns those that have another step to take."""
    going = []
    for one in those:
        try:
            if step(one):
                going.append(one)
        except Exception:
            one.fault()
    return going


def _send(request: Request) -> bool:
    assert request.call is not None
    request.call.send()
    return False


def _tell(tell: Callable[[Any], None], what: Any) -> None:
    try:
        tell(what)
    except Exception as error:  # a failing metrics subscriber must not break the calls it counts
        events.warn(f"{tell!r} failed ({type(error).__name__}: {error})")
