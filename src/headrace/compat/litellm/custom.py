"""Custom providers: `litellm.custom_provider_map`, served by subclasses of `CustomLLM`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from headrace import handlers
from headrace.calls import CHAT, EMBEDDINGS, IMAGE_EDITS, IMAGES, Call, shape
from headrace.compat.litellm.logs import print_verbose
from headrace.compat.litellm.stand_in import setting
from headrace.compat.litellm.texts import encoding
from headrace.dialects.failures import read_error
from headrace.errors import BadRequestError, ConfigurationError, HeadraceError
from headrace.objects import EmbeddingResponse, ImageResponse, ModelResponse
from headrace.wire import Headers, HttpResponse, Timeouts


class CustomLLMError(HeadraceError):
    """Raised by a handler to fail with a status of its choice, which is retried like a provider's."""

    def __init__(self, status_code: int, message: str, *_: Any, **__: Any) -> None:
        failure = read_error(HttpResponse(status_code, Headers(), message.encode()), provider="", model="")
        super().__init__(message, failure=failure)
        self.status_code = status_code


class CustomLLM:
    """Base class for custom providers. Each method receives litellm's keyword arguments."""

    def completion(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("completion")

    def streaming(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("streaming")

    async def acompletion(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("acompletion")

    def astreaming(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("astreaming")

    def embedding(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("embedding")

    async def aembedding(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("aembedding")

    def image_generation(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("image_generation")

    async def aimage_generation(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("aimage_generation")

    def image_edit(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("image_edit")

    async def aimage_edit(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without("aimage_edit")

    def _without(self, method: str) -> CustomLLMError:
        return CustomLLMError(500, f"{type(self).__name__} has no {method}")


_registered: Final[dict[str, Any]] = {}


def register(entries: Any) -> None:
    """Make every provider of a `custom_provider_map` callable. Raises ConfigurationError that names the entry."""
    for number, entry in enumerate(entries or ()):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("provider"), str) or entry.get("custom_handler") is None:
            raise ConfigurationError(
                f"custom_provider_map[{number}] must be {{'provider': 'a-name', 'custom_handler': a CustomLLM object}}, got {shape(entry)}"
            )
        name, handler = entry["provider"], entry["custom_handler"]
        if _registered.get(name) is not handler:
            handlers.register(name, _Answers(handler))
            _registered[name] = handler


def custom_llm_setup() -> None:
    """Register the providers of `litellm.custom_provider_map` now; calls do so automatically."""
    register(setting("custom_provider_map"))


_METHODS: Final = {CHAT: "completion", EMBEDDINGS: "embedding", IMAGES: "image_generation", IMAGE_EDITS: "image_edit"}


class _Answers:
    """A CustomLLM's responses in OpenAI's format (`headrace.handlers.Answerer`)."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def whole(self, call: Call, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        return _dumped(_ask(self._method(call), _asked(call, model, timeouts)))

    async def awhole(self, call: Call, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        return _dumped(await _ask(self._method(call, "a"), _asked(call, model, timeouts, awaited=True)))

    def chunks(self, call: Call, model: str, timeouts: Timeouts) -> Iterator[Mapping[str, Any]]:
        for chunk in _ask(self._handler.streaming, _asked(call, model, timeouts)):
            yield from _as_chunks(chunk, model, _counted(call))

    async def achunks(self, call: Call, model: str, timeouts: Timeouts) -> AsyncIterator[Mapping[str, Any]]:
        stream = _ask(self._handler.astreaming, _asked(call, model, timeouts, awaited=True))
        async for chunk in (await stream) if hasattr(stream, "__await__") else stream:
            for made in _as_chunks(chunk, model, _counted(call)):
                yield made

    def _method(self, call: Call, colour: str = "") -> Callable[..., Any]:
        if call.operation not in _METHODS:
            said = f"a custom provider supports {', '.join(_METHODS.values())}, not {call.operation.name}"
            raise BadRequestError(said, call.model)
        return getattr(self._handler, colour + _METHODS[call.operation])  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{type(self._handler).__name__} in a provider's place>"


def _ask(method: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call a method with those of the arguments that it accepts: litellm's vary by method and release."""
    return method(**{name: value for name, value in given.items() if name in (taken := _taken(method)) or "**" in taken})


@lru_cache(maxsize=64)
def _taken(method: Callable[..., Any]) -> frozenset[str]:
    """Names of a method's parameters, and `**` if it accepts any."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return frozenset({"**"})
    return frozenset("**" if parameter.kind is parameter.VAR_KEYWORD else parameter.name for parameter in parameters)


def _asked(call: Call, model: str, timeouts: Timeouts, *, awaited: bool = False) -> dict[str, Any]:
    """The keyword arguments that litellm passes to a handler for the call."""
    control, operation = call.control, call.operation
    options = {name: value for name, value in call.body.items() if name not in (operation.prompt, "stream")}
    common = {
        "model": model, "model_response": _empty(call), "optional_params": options, "logging_obj": None, "timeout": timeouts.total,
        "client": None, "api_key": control.get("api_key"), "api_base": control.get("base_url") or control.get("api_base") or "",
    }  # fmt: skip
    if operation in (IMAGES, IMAGE_EDITS):
        image = {"image": call.prompt, "prompt": options.pop("prompt", "")} if operation is IMAGE_EDITS else {"prompt": call.prompt}
        return common | image
    params = {"metadata": control.get("metadata") or {}, "api_base": common["api_base"], "api_key": common["api_key"]}
    common |= {"print_verbose": print_verbose, "litellm_params": params}
    if operation is EMBEDDINGS:
        return common | {"input": call.prompt}
    headers = {**(control.get("headers") or {}), **(control.get("extra_headers") or {})}
    rest = {"custom_prompt_dict": {}, "encoding": encoding, "logger_fn": None, "headers": headers}
    return common | rest | {"messages": call.prompt, "acompletion": awaited}


def _empty(call: Call) -> Any:
    """The empty response that a handler may fill in."""
    if call.operation is EMBEDDINGS:
        return EmbeddingResponse(object="list", data=[], usage=dict(_NOTHING_USED))
    if call.operation in (IMAGES, IMAGE_EDITS):
        return ImageResponse(created=0, data=[])
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None}}]
    return ModelResponse(object="chat.completion", choices=choices, model=call.model, usage=dict(_NOTHING_USED))


_NOTHING_USED: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _dumped(answer: Any) -> Mapping[str, Any]:
    if hasattr(answer, "model_dump"):
        return answer.model_dump()  # type: ignore[no-any-return]
    if isinstance(answer, Mapping):
        return answer
    raise TypeError(f"a handler must return a ModelResponse or a mapping, not {shape(answer)}")


def _counted(call: Call) -> bool:
    """Whether the caller wants a final chunk with usage."""
    return bool((call.body.get("stream_options") or {}).get("include_usage"))


def _as_chunks(chunk: Any, model: str, counted: bool) -> Iterator[Mapping[str, Any]]:
    """Chunks from litellm's GenericStreamingChunk (`text`, `tool_use`, `is_finished`, `finish_reason`, `usage`,
    `index`), or a chunk unchanged.

    Usage that was not requested is put on a chunk with a choice, because programs read `choices[0]` of every chunk.
    """
    said = _dumped(chunk)
    if "choices" in said:
        yield said
        return
    base = {"id": "chatcmpl-custom", "object": "chat.completion.chunk", "created": 0, "model": model}
    delta: dict[str, Any] = {"role": "assistant", "content": said.get("text") or ""}
    if said.get("tool_use"):
        delta["tool_calls"] = [_dumped(said["tool_use"])]
    if extra := said.get("provider_specific_fields"):
        delta["provider_specific_fields"] = extra
    index = said.get("index") or 0
    used = {"usage": _dumped(said["usage"])} if said.get("usage") else {}
    if delta["content"] or len(delta) > 2:
        yield {**base, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
    beside = {} if counted else used
    if (over := said.get("is_finished")) or beside:
        reason = (said.get("finish_reason") or "stop") if over else None
        yield {**base, "choices": [{"index": index, "delta": {}, "finish_reason": reason}], **beside}
    if counted and used:
        yield {**base, "choices": [], **used}
