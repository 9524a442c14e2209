"""One call of any operation without a Router, sync or async: prepares it and runs it through the global layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.bridge import complete
from headrace.calls import Operation, prepare
from headrace.core import direct
from headrace.layers.around import around
from headrace.ports import Worlds
from headrace.streams import AsyncStream, Stream


async def suspending(
    worlds: Worlds, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str]
) -> Any:
    answer = await around(direct)(worlds.suspending(), prepare(operation, model, prompt, stream, options, place))
    return AsyncStream(answer) if stream else answer


def blocking(
    worlds: Worlds, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str]
) -> Any:
    answer = complete(around(direct)(worlds.blocking(), prepare(operation, model, prompt, stream, options, place)))
    return Stream(answer) if stream else answer
