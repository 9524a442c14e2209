"""OpenAI's Responses API over a WebSocket.

Each `response.create` is a call of its own, to any provider, and continues the latest response of its stream without
resending the history. A response that is not stored is continued from what this connection remembers. A `stream_id`
names a stream: responses of one stream are made in order, streams run concurrently.

developers.openai.com/api/docs/guides/websocket-mode, types of openai 3.57; read 2026-11.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects import load
from headrace.errors import BadRequestError, Failure
from headrace.framing import SseReader
from headrace.gateway.answers import Answer
from headrace.gateway.client_apis import RESPONDING
from headrace.gateway.context import RequestContext
from headrace.gateway.forms import ReadForm
from headrace.gateway.kept import holds_responses, not_held
from headrace.gateway.logs import REQUEST
from headrace.gateway.owned import home_of
from headrace.gateway.records import new_id
from headrace.gateway.requests import Left, Send, read_object
from headrace.gateway.routes import respond
from headrace.gateway.sessions import PendingSession
from headrace.gateway.stored_objects import references
from headrace.served import read_id
from headrace.types import ChatRequest, Finished, Started, StreamEvent, Usage, UsageReported

MOST_LINES: Final = 32
"""Streams per connection."""
MOST_WAITING: Final = 128
"""Calls in progress or waiting per connection."""

_NOT_SENT: Final = ("type", "stream", "stream_id", "generate")
"""Fields that only exist in a WebSocket event."""


async def serve(visit: PendingSession) -> None:
    """Serve a WebSocket session of Responses."""
    await visit.accept()
    await Turns(visit).last()


class Known(Struct, frozen=True, eq=False):
    """The latest response of a stream."""

    id: str
    items: list[Any]
    """The conversation up to and including it."""
    keeper: str
    """The deployment that stores it; "" if none does."""


DRAINS: Final = "headrace.drains"
"""Key in a connection's scope that says it takes the `DRAIN` message on shutdown, and ends by itself."""
DRAIN: Final = "headrace.drain"
"""Type of the message that announces the server's shutdown."""
_RESTART: Final = 1012
"""The WebSocket close code for a service restart."""


class Turns:
    """The responses of one connection."""

    def __init__(self, visit: PendingSession) -> None:
        self._visit = visit
        self._known: dict[str | None, Known] = {}
        """By `stream_id`."""
        self._last: dict[str | None, asyncio.Task[None]] = {}
        """The latest call of each stream, which the next one waits for."""
        self._running: set[asyncio.Task[None]] = set()

    async def last(self) -> None:
        """Serve until the client disconnects, or the server shuts down and all calls in progress have ended."""
        self._visit.scope[DRAINS] = True
        try:
            while (message := await self._visit.receive())["type"] == "websocket.receive":
                text = message.get("text")
                await self._hear(message.get("bytes") or b"" if text is None else text.encode())
            if message["type"] == DRAIN:
                await self._drained()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _hear(self, content: bytes) -> None:
        """Start handling an event once those before it in its stream are done."""
        try:
            event = read_object(content)
            line = event.get("stream_id")
            if line is not None and not isinstance(line, str):
                raise BadRequestError("stream_id must be a string")
            self._check_room(line)
        except BadRequestError as error:
            with suppress(Left):
                await EventSend(self._visit.send, None).fail(error.failure)
            return
        if event.get("type") == "response.steer":
            await self._not_steered(event)
            return
        task = asyncio.create_task(self._in_turn(self._last.get(line), event, line))
        self._last[line] = task
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _drained(self) -> None:
        leaving: asyncio.Future[Any] = asyncio.create_task(self._left())
        ending: asyncio.Future[Any] = asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.wait([leaving, ending], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if ending.done():
            with suppress(Left):
                await sent(self._visit.send, {"type": "websocket.close", "code": _RESTART, "reason": "the gateway is shutting down"})

    async def _left(self) -> None:
        """Wait until the client disconnects, ignoring further events; the close tells the client."""
        while (await self._visit.receive())["type"] != "websocket.disconnect":
            pass

    def _check_room(self, line: str | None) -> None:
        if line not in self._last and len(self._last) >= MOST_LINES:
            raise BadRequestError(f"stream_id: one connection may have {MOST_LINES} streams")
        if len(self._running) >= MOST_WAITING:
            raise BadRequestError(f"{MOST_WAITING} calls are pending on this connection: wait for a response")

    async def _not_steered(self, event: Mapping[str, Any]) -> None:
        """Refuse input sent while a response is being made, as providers accept none over HTTP."""
        error = {
            "type": "invalid_request_error",
            "code": "steering_not_supported",
            "message": "the gateway cannot steer a response in progress",
        }
        steer = {name: event.get(name) for name in ("input", "previous_response_id")}
        said = {"type": "response.steer.failed", "sequence_number": 0, "error": error, "steer": steer}
        with suppress(Left):
            await sent(self._visit.send, {"type": "websocket.send", "text": msgspec.json.encode(said).decode()})

    async def _in_turn(self, before: asyncio.Task[None] | None, event: dict[str, Any], line: str | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        send, id = EventSend(self._visit.send, line), new_id()
        REQUEST.set(id)
        answer = Answer(send, RESPONDING, id, self._visit.asked.path)
        with suppress(Left):
            await answer.guarded(self._answered(event, line, send, answer))

    async def _answered(self, event: dict[str, Any], line: str | None, send: EventSend, answer: Answer) -> None:
        """Make one call. Each is authenticated anew, as its key may have been blocked meanwhile."""
        if event.get("type") != "response.create":
            raise BadRequestError(f"type must be 'response.create', got {str(event.get('type'))[:40]!r}")
        if event.get("background"):
            raise BadRequestError("background is not supported over a WebSocket, where responses are streamed: leave it out")
        gateway, asked = self._visit.gateway, self._visit.asked
        here = RequestContext(gateway.router, await gateway.admit(asked, self._visit.scope), ReadForm(), gateway.stored_objects)
        body = {"input": [], **{name: value for name, value in event.items() if name not in _NOT_SENT}}
        said = self._whole(here, body)
        if body.get("store") is False:
            body["include"] = _with_thoughts(body.get("include"))
        if _only_prepares(event):
            await answer.whole(200, _nothing_said(here.meant(str(body.get("model") or ""))), kind=RESPONDING.kind)
        else:
            if next(references(body), None) is not None:  # the provider's ids replace the gateway's, which must be remembered
                body = deepcopy(body)
            home = await home_of(here, body)
            await gateway.answer(here, asked, respond(here, asked, {**body, "stream": True}), answer, home)
        if send.response is not None:
            keeper = "" if body.get("store") is False else _keeper(here, send.response.get("id"))
            self._remember(line, send.response, said, keeper)

    def _whole(self, here: RequestContext, body: dict[str, Any]) -> list[Any]:
        """The whole conversation. What the call continues is put before its input, unless the provider stores it."""
        own = body["input"] if isinstance(body["input"], list) else [{"type": "message", "role": "user", "content": body["input"]}]
        before = body.get("previous_response_id")
        if before is None:
            return own
        known = next((one for one in self._known.values() if one.id == before), None)
        if known is None and not _keeper(here, before):
            raise not_held("previous_response_id", before)
        whole = [*(known.items if known is not None else ()), *own]
        if known is not None and not (known.keeper and _answers(here, known.keeper, body.get("model"))):
            del body["previous_response_id"]
            body["input"] = whole
        return whole

    def _remember(self, line: str | None, response: Mapping[str, Any], said: list[Any], keeper: str) -> None:
        output = response.get("output")
        items = [*said, *filter(_can_be_said_again, output if isinstance(output, list) else ())]
        self._known[line] = Known(str(response.get("id")), items, keeper)


def _keeper(here: RequestContext, response: Any) -> str:
    """The deployment whose provider stores the response with that id; "" if none does."""
    deployment, _ = read_id(str(response)) or ("", "")
    found = here.router.get_deployment(deployment)
    return deployment if found is not None and holds_responses(found) else ""


def _answers(here: RequestContext, deployment: str, model: Any) -> bool:
    """Whether a deployment belongs to the group of a model."""
    found, meant = here.router.get_deployment(deployment), here.router.get_deployment_by_model_group_name(here.meant(str(model or "")))
    return found is not None and meant is not None and found.group == meant.group


_THOUGHTS: Final = "reasoning.encrypted_content"


def _with_thoughts(include: Any) -> Any:
    """`include` with encrypted reasoning, which must be sent back as nobody stores it for the next call."""
    return [*(include or ()), _THOUGHTS] if not include or (isinstance(include, list) and _THOUGHTS not in include) else include


def _can_be_said_again(item: Any) -> bool:
    """Reasoning items that are not stored can only be sent back encrypted."""
    return isinstance(item, dict) and (item.get("type") != "reasoning" or bool(item.get("encrypted_content")))


def _only_prepares(event: Mapping[str, Any]) -> bool:
    """Whether the event only sets up the conversation that a later one continues."""
    options = event.get("prompt_cache_options")
    return event.get("generate") is False or (isinstance(options, dict) and options.get("prewarm") is True)


def _nothing_said(model: str) -> bytes:
    """The events of an empty response."""
    writer = load("openai_responses").write_stream(ChatRequest(model=model, messages=()))
    begun = Started(id=f"resp_{uuid.uuid4().hex}", model=model, created=int(time.time()))
    events: tuple[StreamEvent, ...] = (begun, Finished("stop"), UsageReported(Usage(input=0, output=0)))
    return b"".join([writer.feed(event) for event in events]) + writer.close()


async def sent(send: Send, message: MutableMapping[str, Any]) -> None:
    """Send, or raise Left if the connection is closed, for which ASGI servers raise OSError."""
    try:
        await send(message)
    except OSError:
        raise Left from None


class EventSend:
    """An ASGI `send` that sends each server-sent event of a response as one message.

    An error response becomes an `error` event.
    """

    def __init__(self, send: Send, line: str | None) -> None:
        self._send = send
        self._line = line
        self._events: SseReader | None = None
        self._status = 200
        self._headers: dict[str, str] = {}
        self.response: Mapping[str, Any] | None = None
        """The complete response, once it was sent."""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            self._events = SseReader() if self._headers["content-type"].startswith(RESPONDING.kind) else None
        elif self._events is None:
            await self._refused(message["body"])
        else:
            for frame in self._events.feed(message.get("body", b"")):
                await self._tell(frame.data)

    async def fail(self, failure: Failure) -> None:
        """Send an `error` event."""
        written = RESPONDING.error(failure)
        self._status = written.status
        await self._refused(written.body)

    async def _tell(self, data: bytes) -> None:
        if data[:1] != b"{":
            return
        if b'"response.completed"' in data or b'"response.incomplete"' in data:
            event = msgspec.json.decode(data)
            if event.get("type") in ("response.completed", "response.incomplete"):
                self.response = event.get("response")
        if self._line is not None:
            data = data.rstrip()[:-1] + b',"stream_id":' + msgspec.json.encode(self._line) + b"}"
        await sent(self._send, {"type": "websocket.send", "text": data.decode()})

    async def _refused(self, body: bytes) -> None:
        said = msgspec.json.decode(body)
        again = {name: value for name, value in self._headers.items() if name in ("retry-after", "retry-after-ms", "x-request-id")}
        event = {"type": "error", "status": self._status, "headers": again, "error": said.get("error") if isinstance(said, dict) else None}
        await self._tell(msgspec.json.encode(event))
