"""Call options in request headers, under LiteLLM's and headrace's names, and the client's timeout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.errors import BadRequestError


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _list(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


_OPTIONS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "timeout": ("timeout", _number),
    "stream-timeout": ("stream_timeout", _number),
    "num-retries": ("num_retries", _whole),
    "priority": ("priority", _whole),
    "max-wait": ("max_wait", _number),
    "tags": ("tags", _list),
    "session-id": ("session_id", str),
}
"""By the header's name after `x-headrace-` or `x-litellm-`: the call's option, and its parser."""

_HEADERS: Final = {f"x-{whose}-{name}": said for whose in ("headrace", "litellm") for name, said in _OPTIONS.items()}

_TRACE: Final = "x-litellm-trace-id"
"""LiteLLM's other header for the session; it takes precedence."""
_NOTES: Final = ("x-headrace-spend-logs-metadata", "x-litellm-spend-logs-metadata")
"""Metadata to record with the call: a JSON object."""

_CUSTOMERS: Final = ("x-headrace-customer", "x-litellm-customer-id", "x-litellm-end-user-id")
"""The end user of the call. The latter two are LiteLLM's (docs.litellm.ai/docs/proxy/customers, read 2026-11)."""

_SESSIONS: Final = ("x-claude-code-session-id",)
_PATIENCE: Final = ("x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout")
"""Seconds for which OpenAI's, Anthropic's and Google's clients wait for a response that is not streamed."""


def options_of(headers: Mapping[str, str], *, stream: bool) -> dict[str, Any]:
    """Options of the call, which options in its body override. Raises BadRequestError naming the header."""
    found: dict[str, Any] = {}
    for name in _HEADERS.keys() & headers.keys():
        option, read = _HEADERS[name]
        value = read(headers[name])
        if value is None:
            raise BadRequestError(
                f"the header {name} must be a number of at least 0, got {len(headers[name])} characters that are not a number"
            )
        found[option] = value
    for name in _SESSIONS:
        if name in headers:
            found.setdefault("session_id", headers[name])
    if trace := headers.get(_TRACE):
        found["session_id"] = trace
    if not stream and (patience := patience_of(headers)):
        found["total_timeout"] = patience
    return found


def said_in(headers: Mapping[str, str]) -> bool:
    """Whether headers set anything besides the client's timeout and its session."""
    return not _SAYING.isdisjoint(headers) or bool(customer_of(headers))


_SAYING: Final = frozenset({*_HEADERS, _TRACE, *_NOTES})


def notes_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Metadata to record with the call. Raises BadRequestError naming the header."""
    name = next((name for name in _NOTES if headers.get(name)), None)
    if name is None:
        return {}
    try:
        return msgspec.json.decode(headers[name], type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError(f"the header {name} must be a JSON object") from None


def customer_of(headers: Mapping[str, str]) -> str:
    """The end user named in a header, which overrides the body's; "" for none."""
    return next((headers[name] for name in _CUSTOMERS if headers.get(name)), "")


def is_private(headers: Mapping[str, str]) -> bool:
    """Whether the caller wants the content of the call not to be recorded, by LiteLLM's header."""
    return headers.get("x-litellm-enable-message-redaction", "").lower() == "true"


def patience_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the client waits for a response that is not streamed, if it says so."""
    return next((value for name in _PATIENCE if name in headers and (value := _number(headers[name]))), None)
