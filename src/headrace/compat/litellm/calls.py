"""The layer around every call that applies litellm's settings and notifies callbacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from headrace.calls import CHAT, COMPLETIONS, Call, altered
from headrace.compat.litellm import caching, callbacks
from headrace.compat.litellm.filled import Filled
from headrace.compat.litellm.guards import guards
from headrace.compat.litellm.headers import tell_headers
from headrace.compat.litellm.logs import told_of
from headrace.compat.litellm.network import by_their_client
from headrace.compat.litellm.schemas import checked
from headrace.compat.litellm.settings import applied
from headrace.compat.litellm.spending import within_budget
from headrace.compat.litellm.stand_in import setting
from headrace.compat.litellm.thinking import is_claudes, stream_chunk_builder, with_blocks, with_cache_counts
from headrace.errors import HeadraceError
from headrace.layers.around import Handler, Watched, in_objects
from headrace.ports import Ports


async def stand_around(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    """The layer itself (`headrace.layers.around`)."""
    call = applied(call, routed)
    told_of(call)
    ports, call = by_their_client(ports, call)
    if setting("max_budget"):
        handler = partial(within_budget, handler)
    if (guarding := guards()) is not None:
        return await guarding.answer(ports, call, partial(_heard, handler, routed))
    return await _heard(handler, routed, ports, call)


async def _heard(handler: Handler, routed: bool, ports: Ports, call: Call) -> Any:
    """The response, reported to callbacks."""
    if not callbacks.wanted(call):
        return await _answered(ports, call, handler, routed)
    return await _told(ports, msgspec.structs.replace(call, raw=False), handler, routed)


async def _told(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    record = callbacks.Record(call, ports.blocking)
    record.begin()
    try:
        answer = await _answered(ports, in_objects(call), handler, routed)
    except Exception as error:
        record.answered({}, str(error))
        record.failed(error)
        raise
    hidden = answer.hidden if call.stream else getattr(answer, "_hidden_params", None) or {}
    record.answered(hidden, None if call.stream else answer)
    if not call.stream:
        record.succeeded(answer, hidden)
        record.wait() if ports.blocking else await record.await_()
        return answer
    return Watched(answer, lambda chunks, error: _over(record, call, answer, chunks, error))


def _over(record: callbacks.Record, call: Call, stream: Any, chunks: list[Any], error: BaseException | None) -> None:
    if error is not None and not isinstance(error, GeneratorExit):
        record.failed(error)
        return
    asked = call.prompt if call.operation is CHAT else None
    whole = stream_chunk_builder(chunks, asked) if call.operation in (CHAT, COMPLETIONS) else _last_response(chunks)
    if whole is not None:
        whole._hidden_params = stream.hidden
    record.succeeded(whole, stream.hidden, streamed=True)
    if record.blocking:
        record.wait()


def _last_response(chunks: list[Any]) -> Any:
    """The complete response carried by the last event of a Responses stream."""
    return next((found for chunk in reversed(chunks) if (found := getattr(chunk, "response", None)) is not None), None)


async def _answered(ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
    """From the cache, else from the model, else from its fallbacks."""
    answer = await caching.answered(ports, call, partial(_asked, handler, routed))
    if not call.raw:
        tell_headers(answer.hidden if call.stream else getattr(answer, "_hidden_params", None))
    if call.operation is not CHAT or call.raw:
        return answer
    if call.stream:
        return Filled(answer, claudes=is_claudes(answer.hidden))
    for choice in answer.choices:
        with_blocks(choice.message)
    if is_claudes(answer._hidden_params):
        with_cache_counts(answer.usage)
    checked(call, answer)
    return answer


async def _asked(handler: Handler, routed: bool, ports: Ports, call: Call) -> Any:
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
    """The call with another model: a name, or a mapping with the name and its own options."""
    if isinstance(other, str):
        return msgspec.structs.replace(call, model=other)
    options = {name: value for name, value in other.items() if name != "model"}
    return altered(msgspec.structs.replace(call, model=other.get("model", call.model)), options)
