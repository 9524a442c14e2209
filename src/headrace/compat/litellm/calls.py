"""What stands around every call where litellm's settings count: they fill in what the call leaves open, and callbacks hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import CHAT, COMPLETIONS, Call
from headrace.compat.litellm import caching, callbacks
from headrace.compat.litellm.stand_in import setting
from headrace.errors import HeadraceError
from headrace.layers.around import Handler, Watched
from headrace.ports import Ports
from headrace.providers.catalog import resolve
from headrace.rebuild import stream_chunk_builder

_FOR_ALL: Final[Mapping[str, str]] = {"drop_params": "drop_params", "num_retries": "num_retries", "request_timeout": "timeout"}
"""Settings for every call, and the option that each stands for."""

_FOR_DIRECT: Final[Mapping[str, str]] = {
    "api_key": "api_key", "api_version": "api_version", "organization": "organization", "vertex_project": "vertex_project",
    "vertex_location": "vertex_location", "headers": "headers",
}  # fmt: skip
"""Settings for calls that name no deployment: a Router's have addresses and keys of their own."""


async def stand_around(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    """The layer (`headrace.layers.around`)."""
    _fill(call, routed)
    if callbacks.anybody():
        return await _told(ports, call, handler, routed)
    return await _answered(ports, call, handler, routed)


def _fill(call: Call, routed: bool) -> None:
    control = call.control
    for name, option in _FOR_ALL.items() if routed else (*_FOR_ALL.items(), *_FOR_DIRECT.items()):
        if value := setting(name):
            control.setdefault(option, value)
    if routed:
        return
    if (address := setting("api_base")) and not (control.get("base_url") or control.get("api_base")):
        control["base_url"] = address
    if "api_key" not in control and (key := _house_key(call)):
        control["api_key"] = key


def _house_key(call: Call) -> str | None:
    """`litellm.openai_key` and its like."""
    try:
        house = resolve(call.model, custom_llm_provider=call.control.get("custom_llm_provider")).provider.name
    except HeadraceError:
        return None
    key: str | None = setting(f"{house}_key")
    return key


async def _told(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    record = callbacks.Record(call, ports.blocking)
    record.begin()
    try:
        answer = await _answered(ports, call, handler, routed)
    except Exception as error:
        record.failed(error)
        raise
    if not call.stream:
        record.succeeded(answer)
        return answer
    return Watched(answer, lambda chunks, error: _over(record, call, answer, chunks, error))


def _over(record: callbacks.Record, call: Call, stream: Any, chunks: list[Any], error: BaseException | None) -> None:
    if error is not None and not isinstance(error, GeneratorExit):
        record.failed(error)
        return
    whole = stream_chunk_builder(chunks) if call.operation in (CHAT, COMPLETIONS) else _last_response(chunks)
    if whole is not None:
        whole._hidden_params = stream.hidden
    record.succeeded(whole, streamed=True)


def _last_response(chunks: list[Any]) -> Any:
    """The whole answer that the last event of Responses carries."""
    return next((found for chunk in reversed(chunks) if (found := getattr(chunk, "response", None)) is not None), None)


async def _answered(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    """By the cache, else by the model, else by the models named behind it."""
    key = caching.key_of(call)
    if key is not None and (kept := caching.find(key, call)) is not None:
        return kept
    answer = await _asked(ports, call, handler, routed)
    if key is not None and not call.stream:
        caching.keep(key, answer, call)
    return answer


async def _asked(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    behind = () if routed else call.control.get("fallbacks") or ()
    try:
        return await handler(ports, call)
    except HeadraceError as error:
        first = error
    for other in behind:
        try:
            return await handler(ports, _instead(call, other))
        except HeadraceError as error:
            error.__context__ = first
    raise first


def _instead(call: Call, other: Any) -> Call:
    """The call to another model: its name, or a mapping with the name and options of its own."""
    if isinstance(other, str):
        return msgspec.structs.replace(call, model=other)
    options = {name: value for name, value in other.items() if name != "model"}
    return msgspec.structs.replace(call, model=other.get("model", call.model), control={**call.control, **options})
