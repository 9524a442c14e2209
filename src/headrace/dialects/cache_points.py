"""`cache_control_injection_points`: marks prompt cache breakpoints from outside the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.errors import BadRequestError

_EPHEMERAL: Final = {"type": "ephemeral"}


def pointed(body: dict[str, Any], points: Any) -> dict[str, Any]:
    """A chat request body with the cache points marked in its messages, in LiteLLM's format.

    points: `[{"location": "message", "role": "system"}]`, `[{"location": "message", "index": -1}]`, each with an
    optional `control` instead of the default `{"type": "ephemeral"}`. Points to messages that do not exist are ignored.
    Raises BadRequestError for anything that is not such a list.
    """
    if not isinstance(points, Sequence) or isinstance(points, str):
        raise BadRequestError("cache_control_injection_points must be a list such as [{'location': 'message', 'role': 'system'}]")
    messages = list(body.get("messages") or ())
    for number, point in enumerate(points):
        if not isinstance(point, Mapping) or point.get("location") != "message" or not ("role" in point or "index" in point):
            raise BadRequestError(f"cache_control_injection_points[{number}] must be {{'location': 'message'}} with a 'role' or an 'index'")
        for at in _meant(messages, point):
            messages[at] = _marked(messages[at], point.get("control") or _EPHEMERAL)
    return {**body, "messages": messages}


def _meant(messages: Sequence[Mapping[str, Any]], point: Mapping[str, Any]) -> list[int]:
    if (index := point.get("index")) is not None:
        at = int(index) + (len(messages) if int(index) < 0 else 0)
        return [at] if 0 <= at < len(messages) else []
    return [at for at, message in enumerate(messages) if message.get("role") == point["role"]]


def _marked(message: Mapping[str, Any], control: Any) -> dict[str, Any]:
    """`message` with its last part marked."""
    content = message.get("content")
    if isinstance(content, str) and content:
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        return dict(message)
    return {**message, "content": [*content[:-1], {**content[-1], "cache_control": control}]}
