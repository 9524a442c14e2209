"""Mock responses (`mock_response`), served in the provider's place and subject to the same limits, streams and failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from headrace import errors
from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, Call, encode, shape
from headrace.dialects.failures import read_error
from headrace.errors import BadRequestError
from headrace.handlers import in_chat
from headrace.models.counting import token_counter
from headrace.ports import Clock
from headrace.providers.hybrids import PLAIN
from headrace.providers.rows import Provider
from headrace.wire import DEFAULT_MAX_BODY, Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError


class MockTransport:
    """Answers every request with the caller's mock response, in OpenAI's format."""

    def __init__(self, call: Call, model: str, said: Any) -> None:
        _refuse(said, model)
        self._call, self._model, self._said = call, model, said

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        return HttpResponse(200, Headers.of({"content-type": "application/json"}), encode(self._body(in_chat(self._call, request))))

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> MockStream:
        call = in_chat(self._call, request)
        return MockStream(_chunks(call, self._body(call)))

    def _body(self, call: Call) -> dict[str, Any]:
        return _body(call, self._model, self._said)


class SilentTransport:
    """Accepts every request and never responds (`mock_timeout`), so that the call's timeout ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        limit = timeouts.total or timeouts.first_byte or 0.0
        await self._clock.sleep(limit)
        raise TransportError(Fault.TOTAL_TIMEOUT, f"no response within {limit:g} s (mock_timeout)", sent=True)

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> NoReturn:
        await self.fetch(request, timeouts)
        raise AssertionError("unreachable")


class MockStream:
    """A mock response as a stream, one chunk per read."""

    status = 200

    def __init__(self, chunks: Iterator[Mapping[str, Any]]) -> None:
        self.headers = Headers.of({"content-type": "text/event-stream"})
        self._pieces = (b"data: %s\n\n" % encode(chunk) for chunk in chunks)
        self._over = False

    async def read(self, quiet: bool = False) -> bytes:
        if (piece := next(self._pieces, None)) is not None:
            return piece
        was, self._over = self._over, True
        return b"" if was else b"data: [DONE]\n\n"

    def close(self) -> None:
        self._over = True


def _refuse(said: Any, model: str) -> None:
    """Raise a mock response that is an exception, an exception class, or a class name (`litellm.RateLimitError`).

    A foreign exception is raised as the failure that its status and text indicate, so that retries and fallbacks apply.
    """
    if isinstance(said, Exception) and not isinstance(said, errors.HeadraceError):
        raise errors.error_of(_failure(said, model)) from said
    if isinstance(said, BaseException):
        raise said
    name = said.removeprefix("litellm.") if isinstance(said, str) and said.startswith("litellm.") else ""
    cls = said if isinstance(said, type) else getattr(errors, name, None) if name else None
    if isinstance(cls, type) and issubclass(cls, errors.HeadraceError):
        raise cls(message="this is a mock error", model=model, llm_provider="")


def _failure(said: Exception, model: str) -> errors.Failure:
    """Classified by its status, if it has one; else by its text, if that indicates more than a bad request; else a server error."""
    status = getattr(said, "status_code", None)
    for code in (status,) if isinstance(status, int) else (400, 500):
        failure = read_error(HttpResponse(code, Headers(), str(said).encode()), provider="", model=model)
        if failure.kind is not errors.Kind.BAD_REQUEST:
            break
    return failure


def _body(call: Call, model: str, said: Any) -> dict[str, Any]:
    if hasattr(said, "model_dump"):
        said = said.model_dump()
    if isinstance(said, Mapping):
        return dict(said)
    write = {CHAT: _chat, COMPLETIONS: _text, EMBEDDINGS: _vectors}.get(call.operation)
    if write is None or not isinstance(said, str | list | bool):
        raise BadRequestError(f"mock_response of a {call.operation.name} must be a mapping in OpenAI's format, got {shape(said)}", model)
    return {"id": "chatcmpl-mock", "created": 0, "model": model, **write(call, model, said)}


def _usage(call: Call, model: str, text: str) -> dict[str, int]:
    asked = token_counter(model, messages=call.prompt) if call.operation is CHAT else token_counter(model, text=str(call.prompt))
    said = token_counter(model, text=text)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _chat(call: Call, model: str, said: Any) -> dict[str, Any]:
    text = said if isinstance(said, str) else "This is a mock request"
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls := call.control.get("mock_tool_calls"):
        message["tool_calls"] = list(calls)
    finish = "tool_calls" if calls else "stop"
    choices = [{"index": at, "message": dict(message), "finish_reason": finish} for at in range(call.body.get("n") or 1)]
    return {"object": "chat.completion", "choices": choices, "usage": _usage(call, model, text)}


def _text(call: Call, model: str, said: Any) -> dict[str, Any]:
    choices = [{"index": 0, "text": str(said), "finish_reason": "stop", "logprobs": None}]
    return {"object": "text_completion", "choices": choices, "usage": _usage(call, model, str(said))}


def _vectors(call: Call, model: str, said: Any) -> dict[str, Any]:
    texts = [call.prompt] if isinstance(call.prompt, str) else list(call.prompt)
    vector = said if isinstance(said, list) else [0.0] * 8
    data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(texts))]
    return {"object": "list", "data": data, "usage": {**_usage(call, model, ""), "completion_tokens": 0}}


def _chunks(call: Call, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A complete response as stream chunks."""
    if call.operation.last:
        from headrace.dialects.openai_events import events_of  # late: few calls stream images or transcriptions

        yield from events_of(call.operation.last, body)
        return
    base = {name: body[name] for name in ("id", "created", "model") if name in body}
    if call.operation is COMPLETIONS:
        yield {**base, "object": "text_completion", "choices": body["choices"]}
        return
    base["object"] = "chat.completion.chunk"
    for choice in body["choices"]:
        index, message = choice.get("index", 0), dict(choice["message"])
        text = message.pop("content", None) or ""
        calls = [{"index": at, **made} for at, made in enumerate(message.pop("tool_calls", None) or ())]
        yield {**base, "choices": [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        for piece in _pieces(text):
            yield {**base, "choices": [{"index": index, "delta": {"content": piece}, "finish_reason": None}]}
        if calls:
            yield {**base, "choices": [{"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}]}
        yield {**base, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason", "stop")}]}
    if (call.body.get("stream_options") or {}).get("include_usage") and body.get("usage"):
        yield {**base, "choices": [], "usage": body["usage"]}


def _pieces(text: str) -> Sequence[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:] if text else []


def plain_provider(provider: Provider) -> Provider:
    """A provider's row without its peculiarities: mock responses are in OpenAI's format."""
    return msgspec.structs.replace(
        provider, dialect="openai_chat", embedder="", speaks=(), forms={}, quirks=(), framing="", paths={}, envelope=PLAIN
    )
