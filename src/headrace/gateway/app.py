"""The ASGI application.

It authenticates, parses, calls the Router and responds in the caller's dialect. When a client disconnects, its call is
cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from headrace import __version__
from headrace.api import Router
from headrace.errors import HeadraceError, Kind
from headrace.gateway import background, bedrock, caching, cohere_chat, guard, ollama
from headrace.gateway.answers import Answer, told_of
from headrace.gateway.arrays import ArraySend, wants_array
from headrace.gateway.callers import Caller, Keys, NoKeys
from headrace.gateway.client_apis import BEDROCK, EVENTS, OLLAMA, front_of
from headrace.gateway.config import Settings
from headrace.gateway.contents import Content, read
from headrace.gateway.context import AggregatedResponse, ConvertedCall, Listed, Reply, RequestContext, RouterCall, Sent, encode, written
from headrace.gateway.forms import ReadForm, read_form
from headrace.gateway.headers import customer_of, is_private, notes_of, options_of
from headrace.gateway.kept import keeper_of
from headrace.gateway.keys.failures import Failures
from headrace.gateway.logs import REQUEST
from headrace.gateway.origins import allowed, answer_first, with_leave
from headrace.gateway.owned import bound, home_of
from headrace.gateway.page.dashboard_data import DashboardData
from headrace.gateway.page.recent_calls import RecentCalls
from headrace.gateway.page.serving import Page
from headrace.gateway.passing import Passing, maker_of, passed_error, passing, provider_of
from headrace.gateway.passing_kept import Streamed, looked_at
from headrace.gateway.permissions import check_path
from headrace.gateway.records import Entry, Ledger, NoLedger, Outcome, hear, new_id
from headrace.gateway.requests import (
    IncomingRequest,
    Left,
    Receive,
    Scope,
    Send,
    check_options,
    must_be_json,
    read_body,
    read_object,
    refusal,
)
from headrace.gateway.routes import route, route_or_none
from headrace.gateway.services import Hearing, Service, run_lifespan
from headrace.gateway.state import State
from headrace.gateway.stored_objects import NoStoredObjects, StoredObjects
from headrace.through import PASSED

if TYPE_CHECKING:
    from headrace.gateway.fast_path.pipeline import Pipeline


def gateway(
    router: Router,
    settings: Settings | None = None,
    *,
    keys: Keys | None = None,
    ledger: Ledger | None = None,
    state: State | None = None,
) -> Gateway:
    """An ASGI application over `router`, for uvicorn and other servers; `headrace serve` runs this behind a socket.

    keys: who may call besides the master key. ledger: where every call is recorded. state: both, and their
    administration, opened and closed with the lifespan.
    """
    if state is not None:
        keys, ledger = state.keys, state.ledger
    watch = RecentCalls(ledger or NoLedger())
    page = Page(DashboardData(router, watch, __version__), time.time)
    return Gateway(router, settings or Settings(), keys or NoKeys(), watch, page, state)


class Gateway(Struct, eq=False):
    """The application. Its settings may be replaced while it runs."""

    router: Router
    settings: Settings
    keys: Keys
    watch: RecentCalls
    """Records every call in the ledger and shows it on the dashboard page."""
    page: Page
    state: State | None = None
    failures: Failures = msgspec.field(default_factory=Failures)
    services: list[Service] = []
    """Background services, started in order and stopped in reverse order."""
    metrics: Callable[[], bytes] | None = None
    """Renders the response body of `/metrics`."""
    _pipeline: Pipeline | None = None

    @property
    def stored_objects(self) -> StoredObjects:
        return NoStoredObjects() if self.state is None else self.state.stored_objects

    @property
    def pipeline(self) -> Pipeline:
        """The fast path of this event loop, for a server that can bypass ASGI."""
        if self._pipeline is None:
            from headrace.gateway.fast_path.pipeline import Pipeline  # late: not every server uses it

            self._pipeline = Pipeline(self)
        return self._pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            first = [self.state] if self.state is not None else []
            await run_lifespan([*first, Hearing(hear, self.watch.hear), _Ending(self), *self.services], receive, send)
            return
        if scope["type"] == "websocket":
            from headrace.gateway import sessions  # late: few gateways serve WebSockets

            await sessions.serve(self, asked_in({"method": "GET", **scope}), scope, receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway speaks HTTP, not {scope['type']}")
        asked = asked_in(scope)
        if wants_array(asked):
            send = ArraySend(send)
        elif asked.path == ollama.GENERATE:
            send = ollama.GenerateSend(send)
        elif asked.path == cohere_chat.PATH:
            send = cohere_chat.ChatSend(send)
        elif asked.path.endswith(bedrock.INVOKED_STREAM):
            send = bedrock.InvokeSend(send)
        if allowed(asked, self.settings.origins):
            send = with_leave(send, asked)
            if asked.method == "OPTIONS":
                await answer_first(send, asked)
                return
        answer = Answer(send, front_of(asked), new_id(), asked.path, scope.get("state", {}).get(BEFORE))
        if BEGUN in scope.get("state", ()):
            answer.go_on()
        REQUEST.set(answer.id)
        try:
            await answer.guarded(self._serve(asked, scope, receive, answer))
        except Left:
            pass  # the client disconnected: there is nobody to respond to
        except asyncio.CancelledError:  # cancelled by the server
            await answer.stopped()

    async def _serve(self, asked: IncomingRequest, scope: Scope, receive: Receive, answer: Answer) -> None:
        if asked.path in OPEN or (self.state is None and asked.path.startswith("/health/")):
            await self._health(asked, answer)
            return
        if self.page.serves(asked):
            await answer.shown(await self.page.answer(asked, lambda asked: self.admit(asked, scope)))
            return
        if asked.path.startswith(UPLOADS):
            from headrace.gateway import uploads  # late: few callers upload files

            if uploads.resumes(asked):
                here, sent = await uploads.read(self, asked, scope, receive)
                await _attended(receive, self._pass(here, asked, sent, answer), answer)
                return
        caller = await self.admit(asked, scope)
        if asked.path == "/metrics" and self.metrics is not None:
            caller.check_sight()
            await answer.whole(200, self.metrics(), kind=METRICS)
            return
        if asked.path == "/openapi.json":
            from headrace.gateway import openapi  # late: rarely requested, and it loads the description of every operation

            await answer.whole(200, openapi.encoded(None if self.state is None else self.state.admin))
            return
        if self.state is not None and answer.front is not BEDROCK and self.state.admin.serves(asked.path):
            content = await read_body(receive, asked.headers, self.settings.max_body)
            await answer.whole(200, encode(await self.state.admin.answer(asked, caller, content)))
            return
        here = RequestContext(self.router, caller, ReadForm(), self.stored_objects)
        found = route_or_none(asked.method, asked.path)
        provider = provider_of(asked, here) if found is None else None
        provider = provider or maker_of(asked, here, answer.front.dialect, known=found is not None)
        if provider is not None:
            sent = await passing(asked, here, provider, await read_body(receive, asked.headers, self.settings.max_body))
            await _attended(receive, self._pass(here, asked, sent, answer), answer)
            return
        found = found or route(asked.method, asked.path)
        with here.form as form:
            body = await self._read(found.takes, asked, receive, form)
            home = await home_of(here, body) if found.takes == "json" else ""
            # Inspecting a form's files reads from disk and may take long: do it off the event loop.
            reply = await asyncio.to_thread(found.make, here, asked, body) if found.takes == "form" else found.make(here, asked, body)
            await _attended(receive, self.answer(here, asked, reply, answer, home), answer)

    def _entry(self, id: str, asked: IncomingRequest, caller: Caller, began: float | None = None) -> Entry:
        content = Content(self.settings.content_max) if self.keeps_content(caller) and not is_private(asked.headers) else None
        return Entry(self.watch, id, asked.path, caller, began, content)

    def keeps_content(self, caller: Caller) -> bool:
        """Whether the content of a caller's calls is recorded."""
        return self.settings.content if caller.content is None else caller.content

    async def admit(self, asked: IncomingRequest, scope: Scope, known: Caller | None = None) -> Caller:
        """The caller, once authenticated and allowed on this path.

        known: the caller, where it is known without a key. Raises a refusal otherwise.
        """
        client = guard.caller_of(scope.get("client"), asked.headers, self.settings)
        guard.check_network(client, self.settings.networks)
        caller = known or await guard.admit(asked, self.settings.key, self.keys, client, self.failures)
        check_path(asked.path, caller, self.settings.routes, self.settings.admin_routes)
        return caller

    async def _read(self, takes: str, asked: IncomingRequest, receive: Receive, form: ReadForm) -> dict[str, Any]:
        if takes == "form":
            await read_form(receive, asked.headers, self.settings.max_upload, form)
            return form.fields
        content = await read_body(receive, asked.headers, self.settings.max_body)
        if takes == "nothing":
            return {}
        if front_of(asked) is not OLLAMA:  # Ollama accepts any body as JSON: the curl calls in its documentation set no content type
            must_be_json(asked.headers)
        return read_object(content)

    async def _health(self, asked: IncomingRequest, answer: Answer) -> None:
        """Liveness, and readiness: at least one deployment exists. Open to everybody, as probes have no key."""
        match asked.path:
            case "/health/liveliness" | "/health/liveness":
                await answer.whole(200, b'{"status": "alive"}')
            case "/health/readiness":
                ready = bool(self.router.get_model_ids())
                await answer.whole(200 if ready else 503, encode({"status": "ready" if ready else "no deployments"}))
            case _:
                raise refusal(404, Kind.NOT_FOUND, f"there is no {asked.path} here")

    async def answer(self, here: RequestContext, asked: IncomingRequest, reply: Reply, answer: Answer, home: str) -> None:
        """Make the requested call and respond. home: the deployment that stores what the call refers to, or ""."""
        if isinstance(reply, Listed):
            await answer.whole(200, encode(reply.body))
            return
        if isinstance(reply, AggregatedResponse):
            await answer.whole(200, encode(await reply.gather()))
            return
        if isinstance(reply, Sent):
            await self._pass(here, asked, await reply.prepare(home), answer)
            return
        before = answer.before
        answer.entry = self._entry(answer.id, asked, here.caller, None if before is None else before.came)
        call = ConvertedCall(reply) if isinstance(reply, RouterCall) else reply
        await self._called(here, asked.headers, bound(here, home, call) if home else call, answer)

    async def _called(self, here: RequestContext, headers: Mapping[str, str], reply: ConvertedCall, answer: Answer) -> None:
        call = reply.wanted
        answer.entered.asked(call.operation.name, call.model, stream=call.stream, options=call.options)
        if call.options.get("no-log"):
            answer.entered.content = None
        if answer.entered.content is not None:
            answer.entered.content.ask({"model": call.model, call.operation.prompt: call.prompt, **call.options})
        answer.entered.asked_for(customer_of(headers))
        if not reply.place:
            self.check_customer(answer.entered)
        by_headers = options_of(headers, stream=call.stream)
        answer.entered.asked_by_headers(by_headers, call.options)
        answer.entered.noted(notes_of(headers))
        model = self._meant(here, reply)
        scopes = await self.scopes(here, model, answer.entered)
        if scopes:
            answer.left = lambda: answer.front.left(self.router.left(scopes))
        options = {**by_headers, **call.options}
        if not caching.WORDS.isdisjoint(options):
            caching.follow(options, here)
        check_options(options)
        options |= here.options(model)
        if scopes:
            options["scopes"] = scopes
        make: Any = self.router.araw if reply.finish is None else self.router.acall
        mine = reply.once is None or await reply.once()
        if not mine:
            options["charged"] = True
        if (before := answer.before) is not None:
            answer.entered.sent(before.event)
            make = partial(make, before=before.failed)
        making: Any = make(
            call.operation, model, call.prompt, stream=call.stream, options=options, place=reply.place, deployment=reply.deployment
        )
        if call.stream and call.operation.reads == "bytes":
            await answer.downloaded(making)
            return
        if call.stream:
            await self._streamed(here, reply, making, answer)
            return
        made = await making if reply.unpaid is None or not mine else await _paid(making, reply.unpaid)
        answer.entered.answered(made._hidden_params)
        if reply.noted is not None:
            await reply.noted(made)
        if call.options.get("background") is True:
            await background.note(here, answer.entered, made)
        content, kind = written(made if reply.finish is None else reply.finish(made))
        used = answer.front.used(made._hidden_params.bill()) if answer.front.counted else ()
        await answer.whole(200, content, [*told_of(made._hidden_params), *used], kind=kind)

    async def _streamed(self, here: RequestContext, reply: ConvertedCall, making: Any, answer: Answer) -> None:
        call, every = reply.wanted, self.settings.keep_alive
        if call.options.get("background") is not True:
            told = bytes if reply.told is None else reply.told()
            await answer.streamed(making, every, counted_last=bool(call.operation.last), told=told)
            return
        made, whole = background.Streamed(here), False
        try:
            await answer.streamed(making, every, counted_last=bool(call.operation.last), told=made.see)
            whole = True
        finally:
            await made.over(whole)

    async def _pass(self, here: RequestContext, asked: IncomingRequest, sent: Passing, answer: Answer) -> None:
        """Forward a request in the provider's own format, and its response."""
        answer.entry = self._entry(answer.id, asked, here.caller)
        answer.entry.asked(PASSED.name, sent.model, stream=False, options=sent.said)
        answer.entry.asked_for(customer_of(asked.headers))
        answer.entry.noted(notes_of(asked.headers))
        if asked.method == "POST":
            self.check_customer(answer.entry)
        if answer.entry.content is not None:
            answer.entry.content.ask(read(sent.request.body))
        options = {"request": sent.request, **here.options(sent.deployment.group), **({"num_retries": 0} if sent.once else {})}
        if scopes := await self.scopes(here, sent.deployment.group, answer.entry):
            options["scopes"] = scopes
        try:
            stream: Any = await self.router.araw(PASSED, sent.model, None, stream=True, options=options, deployment=sent.deployment.id)
        except HeadraceError as error:
            own = passed_error(error.failure)
            if own is None:
                raise
            answer.entry.close(Outcome.FAILED, error.failure, own[0])
            await answer.whole(own[0], own[1], sent.heads and sent.heads(error.failure.headers))
            return
        heads = sent.heads(stream.response_headers) if sent.heads is not None else []
        if sent.looking is None and sent.told is None:
            await answer.passed(stream, heads)
            return
        if sent.looking is not None and sent.looking.how == "made" and stream.response_headers.get("content-type", "").startswith(EVENTS):
            await answer.passed(stream, heads, Streamed(here, answer.entered, sent.deployment.id, sent.looking).see)
            return
        answer.entered.answered(stream._hidden_params)
        content = await looked_at(here, answer.entered, sent.deployment.id, sent.looking, stream)
        if sent.made is not None:
            await sent.made(content)
        await answer.whole(200, content if sent.told is None else sent.told(content), [*told_of(stream._hidden_params), *heads])

    def check_customer(self, entry: Entry) -> None:
        """Raises a refusal for a call that must name its end user and does not."""
        if self.settings.wants_user and not entry.told("customer"):
            raise refusal(
                400, Kind.BAD_REQUEST, "`user` is required: every call must name its end user (general_settings.enforce_user_param)", "user"
            )

    async def scopes(self, here: RequestContext, model: str, entry: Entry) -> tuple[str, ...]:
        """The limits that apply to a call: those of the caller, of its end user and of its tags.

        Raises a refusal for a blocked end user, and for a tag that is not allowed on that model.
        """
        customer, scopes = entry.told("customer"), here.scopes(model)
        tags = [tag for tag in entry.told("tags") if tag not in here.caller.tags]  # those of its key are in here.scopes
        if not customer and not tags:
            return scopes
        found = self.router.get_deployment_by_model_group_name(model)
        group = None if found is None else found.group
        if customer:
            scopes += await self.keys.customer(customer, model, group)
        if tags:
            if self.settings.own_tags:
                why = "tags are not accepted from callers (general_settings.reject_clientside_metadata_tags)"
                raise refusal(400, Kind.BAD_REQUEST, why, "metadata.tags")
            scopes += await self.keys.tagged(tags, model, group)
        return scopes

    def _meant(self, here: RequestContext, reply: ConvertedCall) -> str:
        """The model as the Router knows it. Raises a refusal if it does not exist or this caller may not use it."""
        keeper = reply.deployment or (keeper_of(reply.place) if reply.place else "")
        if not keeper:
            return here.meant(reply.wanted.model)
        if not here.may_use(keeper):
            raise refusal(404, Kind.NOT_FOUND, "this does not exist, or this key may not access it")
        return reply.wanted.model


class _Ending:
    """Ends the calls in flight on the fast path when the server stops; uvicorn ends the rest."""

    def __init__(self, app: Gateway) -> None:
        self._app = app

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        if self._app._pipeline is not None:
            await self._app._pipeline.end()


BEFORE: Final = "headrace.before"
"""Key in the request's state for what was tried on the fast path: `headrace.gateway.answers.Before`."""

BEGUN: Final = "headrace.begun"
"""Key in the request's state that says its response, a stream, has already begun."""

OPEN: Final = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness"})
"""Open without a key, for probes."""

UPLOADS: Final = ("/upload/", "/gemini/upload/")

METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format."""


def asked_in(scope: Scope) -> IncomingRequest:
    """The request of an ASGI scope. HEAD becomes GET: the server sends only the headers of the response."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"]
    said = query.decode("latin-1")
    target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1") + (f"?{said}" if said else "")
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return IncomingRequest(method, scope["path"], headers, dict(parse_qsl(said)) if said else {}, target)


PATIENCE: Final = 0.02
"""Seconds before the client's connection is watched for a disconnect: most responses are complete by then."""


async def _attended(receive: Receive, work: Coroutine[Any, Any, None], answer: Answer) -> None:
    """Run `work` while its client is connected. A disconnect cancels it wherever it is: queued, upstream or streaming."""
    watch = _Watch(receive, answer)
    try:
        await work
    except asyncio.CancelledError:
        if not watch.left:
            raise
        watch.task.uncancel()
        raise Left from None
    finally:
        watch.stop()


async def _paid(making: Awaitable[Any], unpaid: Callable[[], Awaitable[None]]) -> Any:
    """The response of a call that pays for it. If it failed or reports no usage yet, the next call pays."""
    paid = False
    try:
        made = await making
        paid = bool(made._hidden_params.usage)
        return made
    finally:
        if not paid:
            await unpaid()


class _Watch:
    """Watches for the client's disconnect, and cancels the task it was created in."""

    __slots__ = ("_answer", "_receive", "_timer", "_watching", "left", "task")

    def __init__(self, receive: Receive, answer: Answer) -> None:
        self._receive = receive
        self._answer = answer
        self._watching: asyncio.Task[None] | None = None
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.left = False
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._begin)

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answer.over:
            self.left = True
            self.task.cancel()

    def stop(self) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
