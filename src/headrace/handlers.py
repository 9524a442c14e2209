"""Custom providers written in Python: a program's own object answers in place of a provider.

Limits, retries, fallbacks, streams and layers treat its response, in OpenAI's format, like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from headrace.calls import CHAT, Call, encode
from headrace.destinations import PYTHON
from headrace.errors import APIConnectionError, HeadraceError
from headrace.ports import HttpStream
from headrace.providers.catalog import register_provider
from headrace.wire import DEFAULT_MAX_BODY, Headers, HttpRequest, HttpResponse, Timeouts

T = TypeVar("T")


class Answerer(Protocol):
    """Produces responses and stream chunks as mappings in OpenAI's format. The async pair serves callers on an event loop."""

    def whole(self, call: Call, model: str, timeouts: Timeouts) -> Mapping[str, Any]: ...
    async def awhole(self, call: Call, model: str, timeouts: Timeouts) -> Mapping[str, Any]: ...
    def chunks(self, call: Call, model: str, timeouts: Timeouts) -> Iterator[Mapping[str, Any]]: ...
    def achunks(self, call: Call, model: str, timeouts: Timeouts) -> AsyncIterator[Mapping[str, Any]]: ...


_answerers: Final[dict[str, Answerer]] = {}


def register(name: str, answerer: Answerer) -> None:
    """Make `name/model` callable, answered by `answerer`. Raises ConfigurationError for an invalid provider name."""
    register_provider(name, base_url=PYTHON)
    _answerers[name] = answerer


def answerer_of(provider: str) -> Answerer | None:
    return _answerers.get(provider) if _answerers else None


class OwnTransport:
    """The transport of one call that an answerer serves. Exceptions of the answerer become HeadraceErrors."""

    def __init__(self, answerer: Answerer, call: Call, provider: str, model: str, *, blocking: bool) -> None:
        self._answerer, self._call, self._model = answerer, call, model
        self._provider, self._blocking = provider, blocking

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        asked = (in_chat(self._call, request), self._model, timeouts)
        if self._blocking:
            body = await self._ours(_at_once(lambda: self._answerer.whole(*asked)))
        else:
            body = await self._ours(self._answerer.awhole(*asked))
        return HttpResponse(200, Headers.of({"content-type": "application/json"}), encode(body))

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> HttpStream:
        asked = (in_chat(self._call, request), self._model, timeouts)
        chunks = _in_line(self._answerer.chunks(*asked)) if self._blocking else self._answerer.achunks(*asked)
        return OwnStream(chunks, self._ours)

    async def _ours(self, answering: Awaitable[T]) -> T:
        try:
            return await answering
        except (HeadraceError, StopAsyncIteration):
            raise
        except Exception as error:
            said = f"the handler of {self._provider} raised {type(error).__name__}: {error}"
            raise APIConnectionError(said, self._provider, self._model) from error


def in_chat(call: Call, request: HttpRequest) -> Call:
    """The call as an OpenAI chat; a request in another dialect has already been translated in `request`."""
    if call.operation.dialect == CHAT.dialect:
        return call
    body = msgspec.json.decode(request.body, type=dict[str, Any])
    prompt = body["messages"]
    body = {name: value for name, value in body.items() if name not in ("model", "messages")}
    encoded = msgspec.Raw(msgspec.json.encode(prompt))
    return msgspec.structs.replace(call, operation=CHAT, prompt=prompt, encoded=encoded, body={**body, "messages": encoded})


async def _at_once(answer: Callable[[], T]) -> T:
    return answer()


async def _in_line(chunks: Iterator[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for chunk in chunks:
        yield chunk


class OwnStream:
    """An answerer's chunks as a provider's stream."""

    status = 200

    def __init__(self, chunks: AsyncIterator[Mapping[str, Any]], ours: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
        self.headers = Headers.of({"content-type": "text/event-stream"})
        self._chunks = chunks
        self._ours = ours
        self._over = False

    async def read(self, quiet: bool = False) -> bytes:
        if self._over:
            return b""
        try:
            return b"data: %s\n\n" % encode(await self._ours(self._chunks.__anext__()))
        except StopAsyncIteration:
            self._over = True
            return b"data: [DONE]\n\n"

    def close(self) -> None:
        self._over = True
