"""The ASGI application: admit, read, call the Router, answer in the caller's dialect; whoever leaves is noticed at once."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from headrace.api import Router
from headrace.errors import POLICY, Failure, HeadraceError, Kind
from headrace.gateway import guard
from headrace.gateway.callers import Caller, Keys, NoKeys
from headrace.gateway.config import Settings
from headrace.gateway.fronts import Front, Wanted, encode
from headrace.gateway.records import Entry, Ledger, NoLedger, Outcome
from headrace.gateway.requests import Asked, Left, Receive, Scope, Send, read_body, read_object, refusal
from headrace.gateway.routes import Listed, Reply, front_of, route
from headrace.streams import AsyncStream

log: Final = logging.getLogger("headrace.gateway")

JSON: Final = "application/json"
LEFT: Final = 499
"""The status that a call is recorded with whose caller went away, as nginx logs it."""
Pairs = list[tuple[str, str]]


def gateway(
    router: Router, settings: Settings | None = None, *, keys: Keys | None = None, ledger: Ledger | None = None
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application over `router`, for uvicorn and its like; `headrace serve` is this behind a socket.

    keys: who may call besides the master key. ledger: where every call is recorded.
    """
    return Gateway(router, settings or Settings(), keys or NoKeys(), ledger or NoLedger())


class Gateway(Struct, frozen=True, eq=False):
    router: Router
    settings: Settings
    keys: Keys
    ledger: Ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway speaks HTTP, not {scope['type']}")
        asked = _asked(scope)
        answer = _Answer(send, front_of(asked), f"req_{secrets.token_hex(12)}")
        with suppress(Left):
            await answer.guarded(self._serve(asked, scope, receive, answer))

    async def _serve(self, asked: Asked, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if asked.path.startswith("/health/"):
            await self._health(asked, answer)
            return
        caller = await guard.admit(asked, self.settings.key, self.keys, scope.get("client"))
        found = route(asked)
        content = await read_body(receive, asked.headers, self.settings.max_body)
        reply = found(self.router, asked, read_object(content) if asked.method == "POST" and content else {})
        await _attended(receive, self._answer(caller, asked, reply, answer))

    async def _health(self, asked: Asked, answer: _Answer) -> None:
        """Alive, and ready: there is somebody to send a call to. Told to everybody, for whoever watches over processes has no key."""
        match asked.path:
            case "/health/liveliness" | "/health/liveness":
                await answer.whole(200, b'{"status": "alive"}')
            case "/health/readiness":
                ready = bool(self.router.get_model_ids())
                await answer.whole(200 if ready else 503, encode({"status": "ready" if ready else "no deployments"}))
            case _:
                raise refusal(404, Kind.NOT_FOUND, f"there is no {asked.path} here")

    async def _answer(self, caller: Caller, asked: Asked, reply: Reply, answer: _Answer) -> None:
        if isinstance(reply, Listed):
            await answer.whole(200, encode(reply.body))
            return
        call, finish, place = (reply, _itself, None) if isinstance(reply, Wanted) else (reply.wanted, reply.finish, reply.place)
        answer.entry = Entry(self.ledger, answer.id, asked.path, caller)
        await self._called(caller, call, answer, finish, place)

    async def _called(
        self, caller: Caller, call: Wanted, answer: _Answer, finish: Callable[[Any], Any], place: Mapping[str, str] | None
    ) -> None:
        model = caller.meant(call.model)
        answer.entered.asked(call.operation.name, call.model, stream=call.stream, options=call.options)
        if not place:
            self._check(caller, model)
        options = {**call.options, **caller.options()}
        making = self.router.acall(call.operation, model, call.prompt, stream=call.stream, options=options, place=place or {})
        if call.stream:
            await answer.streamed(making, self.settings.keep_alive)
            return
        made = await making
        answer.entered.answered(made._hidden_params)
        await answer.whole(200, encode(finish(made)), _told(made._hidden_params))

    def _check(self, caller: Caller, model: str) -> None:
        """Raises refusals with status 403 and 404. What a caller may not call is not told to exist."""
        deployment = self.router.get_deployment_by_model_group_name(model)
        caller.check(model, None if deployment is None else deployment.group)
        if deployment is None:
            raise refusal(404, Kind.NOT_FOUND, f"there is no model {model!r} here; /v1/models lists those there are", "model")


def _itself(made: Any) -> Any:
    return made


def _asked(scope: Scope) -> Asked:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Asked(scope["method"], scope["path"], headers, dict(parse_qsl(scope["query_string"].decode("latin-1"))))


async def _attended(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` while its caller is there. One who leaves ends it where it is: in the queue, at the provider, in the stream."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_leaving(receive))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
    finally:
        task.cancel()
        left.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Answer:
    """What goes back, once: whole, or as a stream; and every failure in the caller's dialect."""

    def __init__(self, send: Send, front: Front, id: str) -> None:
        self._send = send
        self._front = front
        self.id = id
        self.entry: Entry | None = None
        """The call that is answered, until it is in the ledger."""
        self._begun = False

    @property
    def entered(self) -> Entry:
        assert self.entry is not None
        return self.entry

    async def guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; what fails becomes an answer."""
        try:
            await work
        except HeadraceError as error:
            await self._failed(error.failure)
        except Left:
            raise
        except Exception:
            log.exception("%s: a fault of the gateway's own", self.id)
            await self._failed(Failure(Kind.SERVER, f"the gateway failed; its log tells more of {self.id}", status=500))
        finally:
            self._record(Outcome.LEFT, status=LEFT)  # unless it is in the ledger already

    def _record(self, outcome: Outcome, failure: Failure | None = None, status: int = 200) -> None:
        if self.entry is not None:
            self.entry.close(outcome, failure, status)

    async def whole(self, status: int, body: bytes, told: Pairs | None = None) -> None:
        length = ("content-length", str(len(body)))
        await self._start(status, [("content-type", JSON), length, *(told or ())])
        await self._last(body)

    async def streamed(self, making: Awaitable[AsyncStream[Any]], every: float) -> None:
        """The stream from its first chunk to its end. While it is not there, `every` so many seconds a sign of life."""
        stream = await self._awaited(making, every)
        try:
            self.entered.answered(stream._hidden_params)
            if not self._begun:
                await self._open(_told(stream._hidden_params, streaming=True))
            async for chunk in stream:
                self.entered.began_to_answer()
                await self._piece(self._front.frame(chunk))
            await self._last(self._front.end)
        finally:
            await stream.aclose()

    async def _awaited(self, making: Awaitable[AsyncStream[Any]], every: float) -> AsyncStream[Any]:
        task = asyncio.ensure_future(making)
        try:
            while not (await asyncio.wait((task,), timeout=every))[0]:
                if not self._begun:
                    await self._open([])
                await self._piece(self._front.alive)
            return await task
        finally:
            if task.cancel():
                await asyncio.gather(task, return_exceptions=True)

    async def _open(self, told: Pairs) -> None:
        await self._start(200, [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no"), *told])

    async def _piece(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _failed(self, failure: Failure) -> None:
        written = self._front.error(failure)
        self._record(Outcome.FAILED, failure, written.status)
        if self._begun:
            await self._last(self._front.broken(failure))
            return
        again = failure.retryable if failure.retryable is not None else POLICY[failure.kind].here or POLICY[failure.kind].elsewhere
        told = [*written.headers.items(), ("content-length", str(len(written.body))), ("x-should-retry", "true" if again else "false")]
        if failure.retry_after is not None and "retry-after" not in written.headers:
            told.append(("retry-after", str(max(1, round(failure.retry_after + 0.5)))))
        await self._start(written.status, told)
        await self._last(written.body)

    async def _last(self, body: bytes) -> None:
        """The end of an answer. Whoever has it finds the call in the ledger, whatever becomes of this process."""
        self._record(Outcome.ANSWERED)
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Pairs) -> None:
        self._begun = True
        every = [*headers, ("x-request-id", self.id), ("request-id", self.id)]
        pairs = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in every]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


def _told(hidden: Mapping[str, Any], *, streaming: bool = False) -> Pairs:
    """How the answer came about, in headers. A stream's cost is not known when it begins."""
    record = hidden.get("headrace")
    if record is None:
        return []
    cost = None if streaming else hidden.get("response_cost")
    return [
        ("x-headrace-deployment", str(record["deployment"])),
        ("x-headrace-queue-wait-ms", f"{record['waited'] * 1000:.0f}"),
        ("x-headrace-attempts", str(len(record["failed"]) + 1)),
        *([] if cost is None else [("x-headrace-cost", f"{cost:.9f}")]),
    ]
