"""WebSockets: authentication, the kinds of sessions, and the relay between a client's and a provider's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from headrace.calls import Operation
from headrace.destinations import Destination
from headrace.errors import Failure, HeadraceError, Kind, error_of
from headrace.gateway.answers import LEFT
from headrace.gateway.client_apis import OPENAI, front_of
from headrace.gateway.context import RequestContext
from headrace.gateway.forms import ReadForm
from headrace.gateway.headers import customer_of
from headrace.gateway.records import Entry, Outcome, new_id
from headrace.gateway.requests import IncomingRequest, Left, Receive, Scope, Send, refusal
from headrace.models.prices import Beside
from headrace.routing.trail import Held

if TYPE_CHECKING:
    from headrace.gateway.app import Gateway

LARGEST: Final = 16 << 20
"""Bytes of one message of a provider's; audio comes in chunks of at most that size."""

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How browsers, which cannot set headers, send a key (platform.openai.com/docs/guides/realtime-websocket, from memory)."""

_REALTIME: Final = re.compile(r"(?:/openai)?(?:/v1)?/realtime")
_TURNS: Final = re.compile(r"(?:/openai)?(?:/v1)?/responses")
_LIVE: Final = re.compile(
    r"/+ws/google\.(?:ai\.generativelanguage\.v1(?:beta|alpha)?\.GenerativeService\.BidiGenerate(?:Content|Music)"
    r"|cloud\.aiplatform\.v1(?:beta1?)?\.LlmBidiService/BidiGenerateContent)"
)


class PendingSession(Struct, frozen=True, eq=False):
    """An authenticated client whose WebSocket has not been accepted yet."""

    gateway: Gateway
    asked: IncomingRequest
    scope: Scope
    protocols: list[str]
    receive: Receive
    send: Send
    here: RequestContext
    early: list[Any] = []
    """Messages that arrived while something else was awaited."""

    async def hear(self) -> Any:
        """The next message of the client."""
        return self.early.pop(0) if self.early else await self.receive()

    async def accept(self, protocol: str | None = None) -> None:
        """Accept the WebSocket."""
        await self.send({"type": "websocket.accept", "subprotocol": protocol})

    def entry(self) -> Entry:
        """A new ledger entry for a call of this session."""
        return Entry(self.gateway.watch, new_id(), self.asked.path, self.here.caller)

    async def hold(self, operation: Operation, model: str, entry: Entry) -> Held:
        """Reserve limits for a session of a model, and note it in the call's entry. Raises HeadraceError."""
        entry.asked(operation.name, model, stream=True, options={})
        entry.asked_for(customer_of(self.asked.headers) or self.asked.query.get("user", ""))
        self.gateway.check_customer(entry)
        meant = self.here.meant(model)
        options = {**self.here.options(meant), "scopes": await self.gateway.scopes(self.here, meant, entry)}
        return await self._while_there(self.gateway.router.hold(operation, meant, options))

    async def _while_there(self, waiting: Coroutine[Any, Any, Held]) -> Held:
        """Raises Left if the client disconnects while it is queued, so that its place is freed."""
        work: asyncio.Future[Held] = asyncio.ensure_future(waiting)
        heard: asyncio.Future[Any] = asyncio.ensure_future(self.receive())
        try:
            await asyncio.wait([work, heard], return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and heard.result()["type"] == "websocket.disconnect":
                raise Left
            return await work
        finally:
            for task in (work, heard):
                task.cancel()
            await asyncio.gather(work, heard, return_exceptions=True)
            if not heard.cancelled():
                self.early.append(heard.result())


async def serve(gateway: Gateway, asked: IncomingRequest, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a WebSocket from handshake to close."""
    protocols = [str(name) for name in scope.get("subprotocols") or ()]
    asked = _with_key(asked, protocols)
    await receive()
    try:
        caller = await gateway.admit(asked, scope)
        begin = _kind(asked.path)
        await begin(
            PendingSession(
                gateway, asked, scope, protocols, receive, send, RequestContext(gateway.router, caller, ReadForm(), gateway.stored_objects)
            )
        )
    except HeadraceError as error:
        written = front_of(asked).error(error.failure)
        await _refuse(send, written.status, written.body)
    except Left:
        pass  # the client disconnected: there is nobody to respond to


def _kind(path: str) -> Callable[[PendingSession], Any]:
    """The kind of session that a path is for. Raises a refusal with status 404."""
    if _REALTIME.fullmatch(path):
        from headrace.gateway import realtime  # late: most gateways serve one kind at most

        return realtime.serve
    if _TURNS.fullmatch(path):
        from headrace.gateway import responses_sessions  # late as well

        return responses_sessions.serve
    if _LIVE.fullmatch(path):
        from headrace.gateway import live  # late as well

        return live.serve
    raise refusal(404, Kind.NOT_FOUND, f"there is no {path} here")


def _with_key(asked: IncomingRequest, protocols: list[str]) -> IncomingRequest:
    """The request with the key from its subprotocols."""
    shown = next((name.removeprefix(KEY_PROTOCOL) for name in protocols if name.startswith(KEY_PROTOCOL)), None)
    return asked if shown is None else msgspec.structs.replace(asked, headers={**asked.headers, "authorization": f"Bearer {shown}"})


async def _refuse(send: Send, status: int, body: bytes) -> None:
    """Refuse the WebSocket handshake with an HTTP response."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


# ---- relayed sessions
# --------------------------------------------------------------------------------------------------------------


@contextmanager
def beginning(entry: Entry, *held: Held) -> Iterator[None]:
    """Wraps the steps before a session begins. On failure it releases the reservation and records the call."""
    try:
        yield
    except HeadraceError as error:
        for room in held:
            room.fail(error)
        entry.close(Outcome.FAILED, error.failure, OPENAI.error(error.failure).status)
        raise
    except Left:
        entry.close(Outcome.LEFT, status=LEFT)
        raise


async def opened(to: Destination, url: str, more: Mapping[str, str] | None = None, protocols: list[str] | None = None) -> ClientConnection:
    """Connect to the provider. more: headers of the caller to send along. Raises HeadraceError."""
    headers = {name: value for name, value in (dict(to.headers) | dict(more or {})).items() if name not in ("content-type", "accept")}
    offered: Any = protocols or None
    try:
        return await connect(url, additional_headers=headers, subprotocols=offered, max_size=LARGEST, user_agent_header=None)
    except InvalidStatus as error:
        raise error_of(_refused(error.response.status_code, to)) from None
    except (OSError, WebSocketException, TimeoutError) as error:
        message = f"{to.provider.name}: no session could be opened ({type(error).__name__})"
        raise error_of(Failure(Kind.CONNECTION, message, provider=to.provider.name, model=to.model)) from None


def _refused(status: int, to: Destination) -> Failure:
    kinds = {401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}
    kind = kinds.get(status, Kind.BAD_REQUEST if 400 <= status < 500 else Kind.SERVER)
    message = f"{to.provider.name} refused the session with status {status}"
    return Failure(kind, message, status=status, provider=to.provider.name, model=to.model)


_POLICY, _BROKEN = 1008, 1011
"""WebSocket close codes for a policy violation, and for an error after which a retry may help. Google uses them too."""

_LONGEST: Final = 123
"""Longest close reason in bytes (RFC 6455, section 5.5)."""


def closed_for(failure: Failure) -> dict[str, Any]:
    """The close message for a failure in an open session."""
    status = OPENAI.error(failure).status
    reason = failure.message.encode()[:_LONGEST].decode("utf-8", "ignore")
    return {"type": "websocket.close", "code": _POLICY if 400 <= status < 500 and status != 429 else _BROKEN, "reason": reason}


class Session:
    """Two open WebSockets whose messages are relayed to each other, with usage counted on the way."""

    def __init__(self, visit: PendingSession, provider: ClientConnection, used: Callable[[str | bytes], Mapping[str, int] | None]) -> None:
        """used: the tokens that a message of the provider reports, as `input`, `output`, and `cached` as part of the input."""
        self.visit = visit
        self._provider = provider
        self._tells = used
        self._used = {"input": 0, "output": 0, "cached": 0}

    async def last(self, model: str, held: Held, entry: Entry) -> None:
        """Relay until either side closes; then settle the limits and record the call. model: as requested."""
        known = Beside({"custom_llm_provider": held.to.provider.name, "model": held.to.model, "headrace": held.record})
        known["model_id"], known["model_group"] = held.to.deployment, model
        entry.answered(known)
        try:
            await self._passed()
        finally:
            known.usage = self.usage
            held.settle(self.usage)
            entry.close(Outcome.ANSWERED)

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage so far in OpenAI's format; None if none was reported."""
        input, output = self._used["input"], self._used["output"]
        if not input and not output:
            return None
        details = {"cached_tokens": self._used["cached"]}
        return {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output, "prompt_tokens_details": details}

    async def _passed(self) -> None:
        """Relay until either side closes, then close the other."""
        sides = (asyncio.create_task(self._from_caller()), asyncio.create_task(self._from_provider()))
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            for side in done:
                await side
        except HeadraceError as error:
            await self.visit.send(closed_for(error.failure))
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            await self._provider.close()

    async def _from_caller(self) -> None:
        while (message := await self.visit.hear())["type"] != "websocket.disconnect":
            text = message.get("text")
            said = message["bytes"] if text is None else text
            await self.said(said)
            await self._provider.send(said)

    async def said(self, message: str | bytes) -> None:
        """Called with each message of the client before it is forwarded. Raises HeadraceError to refuse it."""

    async def _from_provider(self) -> None:
        send = self.visit.send
        try:
            async for message in self._provider:
                for name, count in (self._tells(message) or {}).items():
                    self._used[name] += count
                await send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
        except ConnectionClosed:
            pass  # the close code and reason are forwarded below
        code = self._provider.close_code or 1011
        reason = self._provider.close_reason or ""
        await send({"type": "websocket.close", "code": _BROKEN if code in (1005, 1006) else code, "reason": reason})


def counts(found: Mapping[str, Any], **names: str) -> dict[str, int]:
    """The integers in `found`, by headrace's names for them."""
    return {ours: value for ours, theirs in names.items() if isinstance(value := found.get(theirs), int)}
