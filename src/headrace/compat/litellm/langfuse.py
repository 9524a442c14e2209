"""Langfuse: reports every call as an observation in OpenTelemetry's JSON, without any further package.

URLs, headers and attribute names: langfuse.com/integrations/native/opentelemetry, and OTLP 1.9's JSON (read 2026-11).
"""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from headrace.calls import encode
from headrace.compat.litellm.services import ServiceLogger, nanoseconds, plain
from headrace.errors import ConfigurationError

EU: Final = "https://cloud.langfuse.com"
US: Final = "https://us.cloud.langfuse.com"
"""Langfuse's default regions: litellm's `langfuse` uses the first, its `langfuse_otel` the second."""

_METADATA: Final[Mapping[str, str]] = {
    "trace_user_id": "user.id", "session_id": "session.id", "tags": "langfuse.trace.tags", "trace_name": "langfuse.trace.name",
    "trace_release": "langfuse.release", "version": "langfuse.version", "trace_version": "langfuse.version",
    "generation_id": "langfuse.generation.id", "trace_public": "langfuse.trace.public",
}  # fmt: skip
"""Keys of a call's `metadata`, as litellm spells them, with a meaning to Langfuse. Others become trace metadata."""

_PLACED: Final = ("trace_id", "existing_trace_id", "parent_observation_id", "generation_name", "hidden_params", "model_info")
"""Keys that are not trace metadata: they place the observation in a trace, or are litellm's own."""

_CLIENT: Final = 3
_ERROR: Final = 2
"""OTLP's codes for a client span, and for the status of a failed one."""


class LangfuseOtelLogger(ServiceLogger):
    """`callbacks = ["langfuse_otel"]`, or `"langfuse"`: needs LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, passed with
    the call (`langfuse_public_key=…, langfuse_secret_key=…, langfuse_host=…`) or in the environment;
    LANGFUSE_OTEL_HOST or LANGFUSE_HOST.
    """

    def __init__(self, *_: Any, cloud: str = US, **__: Any) -> None:
        super().__init__()
        self._cloud = cloud

    def write(self, kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> list[tuple[str, Mapping[str, str], Any]]:
        """One span. Raises ConfigurationError without keys."""
        given = kwargs["standard_callback_dynamic_params"]
        host = given.get("langfuse_host") or os.environ.get("LANGFUSE_OTEL_HOST") or os.environ.get("LANGFUSE_HOST") or self._cloud
        host = host if "://" in host else f"https://{host}"
        return [(f"{host.rstrip('/')}/api/public/otel/v1/traces", _headers(given), _traces(_span(kwargs, answer, start, end)))]


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    public = given.get("langfuse_public_key") or os.environ.get("LANGFUSE_PUBLIC_KEY")
    secret = given.get("langfuse_secret_key") or given.get("langfuse_secret") or os.environ.get("LANGFUSE_SECRET_KEY")
    if not public or not secret:
        raise ConfigurationError("Langfuse needs LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY in the environment, or with the call")
    opened = base64.b64encode(f"{public}:{secret}".encode()).decode()
    return {"authorization": f"Basic {opened}", "x-langfuse-ingestion-version": "4"}


def _traces(span: Mapping[str, Any]) -> dict[str, Any]:
    resource = {"attributes": _attributes({"service.name": os.environ.get("OTEL_SERVICE_NAME", "litellm")})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "headrace"}, "spans": [span]}]}]}


def _span(kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> dict[str, Any]:
    metadata, error = kwargs["metadata"], kwargs.get("exception")
    span = {
        "traceId": _trace_id(metadata),
        "spanId": secrets.token_hex(8),
        "name": str(metadata.get("generation_name") or f"litellm-{kwargs['call_type']}"),
        "kind": _CLIENT,
        "startTimeUnixNano": str(nanoseconds(start)),
        "endTimeUnixNano": str(nanoseconds(end)),
        "attributes": _attributes({**_observed(kwargs, answer), **_belonging(kwargs, metadata)}),
    }
    if (parent := str(metadata.get("parent_observation_id") or "")) and re.fullmatch("[0-9a-f]{16}", parent):
        span["parentSpanId"] = parent
    if error is not None:
        span["status"] = {"code": _ERROR, "message": str(error)}
    return span


def _trace_id(metadata: Mapping[str, Any]) -> str:
    """The caller's trace id if it is valid, as a UUID is; else a new one."""
    said = str(metadata.get("existing_trace_id") or metadata.get("trace_id") or "").replace("-", "").lower()
    return said if re.fullmatch("[0-9a-f]{32}", said) else secrets.token_hex(16)


def _observed(kwargs: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """The observation's model, input, output, usage and cost."""
    usage, cost, error = getattr(answer, "usage", None), kwargs.get("response_cost"), kwargs.get("exception")
    options = {name: value for name, value in kwargs["optional_params"].items() if name not in ("messages", "input", "prompt")}
    return {
        "langfuse.observation.type": "embedding" if "embedding" in kwargs["call_type"] else "generation",
        "langfuse.observation.model.name": kwargs["model"],
        "langfuse.observation.model.parameters": options,
        "langfuse.observation.input": _messages(kwargs, options),
        "langfuse.observation.output": _said(answer),
        "langfuse.observation.usage_details": None if usage is None else _counted(plain(usage)),
        "langfuse.observation.cost_details": {"total": cost} if cost and error is None else None,
        "langfuse.observation.level": None if error is None else "ERROR",
        "langfuse.observation.status_message": None if error is None else str(error),
        "gen_ai.system": kwargs["custom_llm_provider"] or None,
        "gen_ai.request.model": kwargs["model"],
        "gen_ai.response.id": getattr(answer, "id", None) or None,
    }


def _messages(kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The input, with its tools if there are any, as Langfuse displays them."""
    return {"messages": kwargs["messages"], "tools": options["tools"]} if options.get("tools") else kwargs["messages"]


def _said(answer: Any) -> Any:
    choices = getattr(answer, "choices", None)
    if choices:
        first = choices[0]
        return plain(getattr(first, "message", None) or getattr(first, "text", None))
    return None if hasattr(answer, "data") else plain(getattr(answer, "output", answer))


def _counted(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts, Langfuse's three standard ones first."""
    known = {"input": ("prompt_tokens", "input_tokens"), "output": ("completion_tokens", "output_tokens"), "total": ("total_tokens",)}
    found = {name: next((usage[word] for word in words if usage.get(word) is not None), None) for name, words in known.items()}
    details = usage.get("prompt_tokens_details") or {}
    found |= {"input_cached_tokens": details.get("cached_tokens") or None}
    return {name: count for name, count in found.items() if count is not None}


def _belonging(kwargs: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """User, environment, trace attributes and the caller's metadata."""
    known = {attribute: metadata[word] for word, attribute in _METADATA.items() if metadata.get(word) is not None}
    notes = {f"langfuse.trace.metadata.{word}": value for word, value in metadata.items() if word not in _METADATA and word not in _PLACED}
    notes |= {
        f"langfuse.trace.metadata.{word}": value
        for word, value in (notes.pop("langfuse.trace.metadata.trace_metadata", None) or {}).items()
    }
    return {"user.id": kwargs.get("user"), "langfuse.environment": os.environ.get("LANGFUSE_TRACING_ENVIRONMENT"), **notes, **known}


def _attributes(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes in OTLP's JSON; None values are omitted."""
    return [{"key": name, "value": _value(value)} for name, value in said.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    try:
        return {"stringValue": encode(value).decode()}
    except (ValueError, msgspec.MsgspecError):  # a metadata value that JSON cannot represent
        return {"stringValue": repr(value)}
