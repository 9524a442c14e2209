"""litellm's guardrails: subclasses of `CustomGuardrail` in `litellm.callbacks`, run around every call as its proxy does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import msgspec

from headrace.calls import Call, encode
from headrace.compat.litellm.caching import DualCache
from headrace.compat.litellm.listening import CustomGuardrail
from headrace.compat.litellm.logs import executor
from headrace.compat.litellm.stand_in import setting
from headrace.compat.litellm.values import UserAPIKeyAuth
from headrace.dialects.failures import read_error
from headrace.errors import HeadraceError, error_of
from headrace.layers.guardrails import Guardrails, Rule, refused
from headrace.ports import Ports
from headrace.wire import Headers, HttpResponse

T = TypeVar("T")
_CALL_TYPES: Final[Mapping[str, str]] = {
    "chat": "completion", "completions": "text_completion", "embeddings": "embeddings", "images": "image_generation",
    "moderations": "moderation", "transcriptions": "audio_transcription", "messages": "anthropic_messages",
}  # fmt: skip
_cache: Final = DualCache()


def guards() -> Guardrails | None:
    """The guardrails in `litellm.callbacks`; None if there are none."""
    found = [callback for callback in setting("callbacks") or () if isinstance(callback, CustomGuardrail)]
    rules: list[Rule] = [_Theirs(guard, number) for number, guard in enumerate(found)]
    return Guardrails(rules) if rules else None


class _Theirs:
    """Adapts one of litellm's guardrails to headrace's `Rule`."""

    def __init__(self, guard: CustomGuardrail, number: int) -> None:
        self._guard = guard
        self.name = guard.guardrail_name or f"{type(guard).__name__}-{number}"
        self.default_on = guard.default_on
        hooks = guard.event_hook if isinstance(guard.event_hook, list | tuple) else [guard.event_hook]
        self._modes = {str(getattr(hook, "value", hook)) for hook in hooks if hook is not None}
        self.judges = self._runs("during_call", "async_moderation_hook")

    def _runs(self, mode: str, hook: str) -> bool:
        return (not self._modes or mode in self._modes) and getattr(type(self._guard), hook) is not getattr(CustomGuardrail, hook)

    async def before(self, ports: Ports, call: Call) -> Call:
        if not self._runs("pre_call", "async_pre_call_hook"):
            return call
        data = _data(call)
        asked: dict[str, Any] = {"user_api_key_dict": UserAPIKeyAuth(), "cache": _cache, "data": data, "call_type": _call_type(call)}
        said = await self._ask(ports, self._guard.async_pre_call_hook(**asked))
        if isinstance(said, str | Exception):
            raise said if isinstance(said, Exception) else refused(self.name, "input", [said])
        return _with(call, data if said is None else said)

    async def during(self, ports: Ports, call: Call) -> None:
        hook = self._guard.async_moderation_hook
        await self._ask(ports, hook(data=_data(call), user_api_key_dict=UserAPIKeyAuth(), call_type=_call_type(call)))

    async def after(self, ports: Ports, call: Call, answer: Any) -> Any:
        if not self._runs("post_call", "async_post_call_success_hook"):
            return answer
        hook = self._guard.async_post_call_success_hook
        said = await self._ask(ports, hook(data=_data(call), user_api_key_dict=UserAPIKeyAuth(), response=answer))
        return answer if said is None else said

    def streamed(self, ports: Ports, call: Call, chunks: Any) -> Any:
        if not self._runs("post_call", "async_post_call_streaming_iterator_hook"):
            return chunks
        hook = self._guard.async_post_call_streaming_iterator_hook
        given = hook(user_api_key_dict=UserAPIKeyAuth(), response=_each(chunks), request_data=_data(call))
        return _Rewritten(chunks, given, lambda step: self._ask(ports, step), blocking=ports.blocking)

    async def _ask(self, ports: Ports, hook: Coroutine[Any, Any, T]) -> T:
        """The result of a hook. It is the program's own coroutine: in a thread without an event loop, it gets one."""
        try:
            return executor.submit(asyncio.run, hook).result() if ports.blocking else await hook
        except (HeadraceError, StopAsyncIteration):
            raise
        except Exception as error:
            raise _ours(error, self.name) from error


def _ours(error: Exception, name: str) -> Exception:
    """litellm's GuardrailRaisedException, FastAPI's HTTPException and the like as HeadraceErrors; other exceptions unchanged."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return error_of(read_error(HttpResponse(status, Headers(), str(getattr(error, "detail", error)).encode()), provider="", model=""))
    if type(error).__name__ in ("GuardrailRaisedException", "BlockedPiiEntityError", "ValueError"):
        return refused(name, "input", [str(error)])
    return error


async def _each(chunks: Any) -> AsyncIterator[Any]:
    while chunks.ready or await chunks.fill():
        yield chunks.ready.popleft()


class _Rewritten:
    """A stream rewritten by a guardrail's generator. In the blocking world it is read to the end first, since a
    generator is bound to one loop."""

    def __init__(self, chunks: Any, given: AsyncIterator[Any], ask: Callable[[Any], Awaitable[Any]], *, blocking: bool) -> None:
        self._chunks, self._given, self._ask, self._blocking = chunks, given, ask, blocking
        self._over = False
        self.ready: deque[Any] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)

    @property
    def over(self) -> bool:
        return self._over

    def close(self) -> None:
        self._over = True
        self._chunks.close()

    async def fill(self) -> bool:
        if self._over:
            return False
        try:
            if self._blocking:
                self.ready.extend(await self._ask(_all(self._given)))
                self._over = True
            else:
                self.ready.append(await self._ask(_next(self._given)))
        except StopAsyncIteration:
            self._over = True
        except BaseException:
            self.close()
            raise
        return bool(self.ready)


async def _all(given: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in given]


async def _next(given: AsyncIterator[Any]) -> Any:
    return await given.__anext__()


def _call_type(call: Call) -> str:
    return _CALL_TYPES.get(call.operation.name, call.operation.name)


def _data(call: Call) -> dict[str, Any]:
    """The request in the form of litellm's proxy."""
    body = {name: value for name, value in call.body.items() if name != call.operation.prompt}
    prompt = {call.operation.prompt: call.prompt} if call.operation.prompt else {}
    metadata = dict(call.control.get("metadata") or {})
    return {"model": call.model, **prompt, **body, "metadata": metadata, "litellm_call_id": call.control.get("litellm_call_id")}


_NOT_BODY: Final = frozenset({"model", "metadata", "litellm_call_id", "litellm_metadata", "guardrails", "proxy_server_request"})


def _with(call: Call, data: Mapping[str, Any]) -> Call:
    """The call as changed by a hook."""
    name = call.operation.prompt
    body = {field: value for field, value in data.items() if field not in _NOT_BODY and field != name}
    call = msgspec.structs.replace(call, model=data.get("model") or call.model, body=body)
    if not name or call.operation.files:
        return call
    encoded = msgspec.Raw(encode(data[name]))
    return msgspec.structs.replace(call, prompt=data[name], encoded=encoded, body={**body, name: encoded})


def add_guardrail_to_applied_guardrails_header(request_data: dict[str, Any], guardrail_name: str | None) -> None:
    """Record in a request's metadata that a guardrail was applied."""
    if guardrail_name is not None:
        applied = request_data.setdefault("metadata", {}).setdefault("applied_guardrails", [])
        applied += [] if guardrail_name in applied else [guardrail_name]
