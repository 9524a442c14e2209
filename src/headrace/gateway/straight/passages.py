"""Requests on the straight way: from a caller's connection to a provider's, and the answer back, in the event loop's own callbacks.

Everything that a request on the long way leaves behind is left here too: limits, ledger, metrics, headers.

What comes in one turn of the loop goes on together, step by step: all bodies are read, then room is taken for each, then all are sent. A
step finds its code and data in the processor's caches that way, where one request after the other finds those of the last step, which takes
half as long again. Answers are written down together too, before the last byte of any of them goes out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import Struct

from headrace.errors import HeadraceError
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
from headrace.gateway.records import Record, hear
from headrace.gateway.requests import Asked
from headrace.gateway.routes import plain_call
from headrace.gateway.straight.bodies import Body, read_body
from headrace.gateway.straight.courses import Course, start_of
from headrace.gateway.straight.heads import MOST, Head, read_head
from headrace.gateway.straight.passage import Asking, Passage
from headrace.gateway.straight.streams import Stream
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

NOWHERE: Final = Course(None)
"""To a model that is not there, or not for this caller: of such names there is no end, and nothing is kept of them."""
LARGEST: Final = 4 << 20
"""Bytes of a body that is gathered here."""
TOGETHER: Final = 32
"""How many requests, or answers, take a step together: the first of them waits for the last."""
ANSWERING: Final = (Passage.read, Passage.settle, Passage.end)
"""The steps of a whole answer."""


class Request(Struct, eq=False):
    """One that is there whole."""

    head: Head
    data: bytes
    begin: int
    """Where in `data` its body begins."""
    caller: Asking
    body: Body | None = None
    passage: Passage | None = None

    def fault(self) -> None:
        if self.passage is not None:
            self.passage.fault()
        else:
            log.exception("a fault of the gateway's own")
            self.caller.fault()


class Passages:
    """All of one process, for one event loop."""

    def __init__(self, app: Gateway) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self.straight = app.router.straight()
        transport = self.straight.transport
        self.transport = transport if type(transport) is AsyncTransport and transport.direct else None
        """None where the straight way is closed."""
        self._settings = app.settings
        self._heads: dict[bytes, Head | None] = {}
        self._hooks: tuple[events.Hook, ...] = ()
        self._layers: tuple[around.Layer, ...] = ()
        self._counts: tuple[around.Tell, ...] | None = ()
        self._together: tuple[around.TellTogether, ...] | None = ()
        self.singly = False
        """Whether somebody wants to hear of each plain answer by itself."""
        self._came: list[Request] = []
        self._answered: list[Passage] = []
        """Requests and answers of this turn of the loop."""
        self._turning = False
        self._done: list[tuple[Seen, Observed | Plain, Passage, bytes]] = []
        self._standing: tuple[Any, bytes] = None, b""
        self.connections: set[Asking] = set()
        """Those that are open."""

    async def end(self) -> None:
        """The server waits for no answer any longer. What has come by now goes out first."""
        await asyncio.sleep(0)
        self._turn()
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
        operation = None if self.transport is None else plain_call(asked.method, asked.path)
        self._heads[key] = read_head(asked, operation, self._settings.key)

    def may_come(self, head: Head, client: Any) -> bool:
        """Whether a head is taken from there. On one connection it is asked for once, until the settings are others."""
        settings = self._settings
        return not settings.networks or may_come(caller_of(client, head.asked.headers, settings), settings.networks)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def come(self, head: Head, data: bytes, begin: int, caller: Asking) -> None:
        """A request is there: in this turn of the loop it goes on its way, straight or long. begin: where in `data` its body begins."""
        self._came.append(Request(head, data, begin, caller))
        self._call_soon()

    def answered(self, passage: Passage) -> None:
        """A whole answer is there."""
        self._answered.append(passage)
        self._call_soon()

    def _call_soon(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take what has come on to its next wait: answers first, whose room and connections the requests may need."""
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

    # Steps that a request takes, together with others. False: it was the last.

    def read(self, request: Request) -> bool:
        """See what its body asks for. One that has to be read whole goes the long way."""
        small = len(request.data) - request.begin <= self._settings.max_body
        request.body = read_body(request.data, request.head.words, request.begin) if small else None
        if request.body is None:
            request.caller.long_way(None)
        return request.body is not None

    def begin(self, request: Request) -> bool:
        """Take room for it. Where it has to wait, or something is out of the ordinary, it goes the long way."""
        assert request.body is not None
        request.passage = passage = self._open(request.head, request.body, request.caller)
        if passage is None:
            request.caller.long_way(None)
            return False
        request.caller.goes(passage)
        return True

    def _open(self, head: Head, body: Body, caller: Asking) -> Passage | None:
        who = head.who(self._app.keys)
        if events.hooks() is not self._hooks or around.standing() is not self._layers:
            self._look_around()
        if who is None or (head.master and self._app.failures) or self._counts is None or self.transport is None:
            return None
        if self._app.keys.may_be_held(body.user) if body.user else self._settings.wants_user:
            return None
        course = head.courses.get((body.model, body.stream))
        if course is None or course.stamp is not self.straight.stamp:
            course = self._course(head, who, body)
        lane = course.lane
        if lane is None or not body.fields.keys().isdisjoint(lane.particular) or 0 < lane.most_texts < body.texts:
            return None
        attempt = self.straight.begin(lane, body.prompt, body.most)
        if attempt is None:
            return None
        start = course.starts[attempt.reservation.deployment]
        kind = Stream if body.stream else Passage
        return kind(self, head, who, body, course, start, attempt, caller)

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

    def over(self, seen: Seen, observed: Observed | Plain, passage: Passage, answer: bytes) -> None:
        """A call has ended: into the ledger with it, and then out with its answer, together with others. What only counts calls hears of
        it then: nobody has to wait for that."""
        self._done.append((seen, observed, passage, answer))

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


class Stepping(Protocol):
    """What takes steps together with others."""

    def fault(self) -> None:
        """It failed for a reason of our own, which is being handled."""
        ...


S = TypeVar("S", bound=Stepping)


def _take(step: Callable[[S], bool], those: Sequence[S]) -> list[S]:
    """Take a step with each of them. Those that have another before them."""
    going = []
    for one in those:
        try:
            if step(one):
                going.append(one)
        except Exception:
            one.fault()
    return going


def _send(request: Request) -> bool:
    assert request.passage is not None
    request.passage.send()
    return False


def _tell(tell: Callable[[Any], None], what: Any) -> None:
    try:
        tell(what)
    except Exception as error:  # whoever measures must not break what he measures
        events.warn(f"{tell!r} failed ({type(error).__name__}: {error})")
