"""Opik: reports every call as a span, in a trace of its own or in the caller's, over Opik's REST API.

URLs and fields: comet.com/docs/opik/reference/rest-api (read 2026-11).
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from headrace.compat.litellm.services import ServiceLogger, nanoseconds, plain

CLOUD: Final = "https://www.comet.com/opik/api"
FILE: Final = Path("~/.opik.config")

_PROVIDERS: Final[Mapping[str, str]] = {
    "vertex_ai": "google_vertexai", "gemini": "google_ai", "bedrock_converse": "bedrock",
}  # fmt: skip
"""Opik's names of providers, where they differ."""


class OpikLogger(ServiceLogger):
    """`callbacks = ["opik"]`. Each argument may come from the environment (OPIK_URL_OVERRIDE, OPIK_API_KEY,
    OPIK_WORKSPACE, OPIK_PROJECT_NAME) or from `~/.opik.config`.

    A call's `metadata={"opik": {"current_span_data": …, "tags": […], "thread_id": …, "project_name": …}}` places its span.
    """

    def __init__(
        self, project_name: str | None = None, url: str | None = None, api_key: str | None = None, workspace: str | None = None, **_: Any
    ) -> None:
        super().__init__()
        self.opik_project_name = _configured("project_name", project_name) or "Default Project"
        self._url = (_configured("url_override", url) or CLOUD).rstrip("/")
        key, place = _configured("api_key", api_key), _configured("workspace", workspace)
        self._headers = {name: value for name, value in (("authorization", key), ("Comet-Workspace", place)) if value}

    def write(self, kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> list[tuple[str, Mapping[str, str], Any]]:
        trace, span = _described(kwargs, answer, start, end, self.opik_project_name)
        sent = [("traces", trace)] if trace is not None else []
        return [(f"{self._url}/v1/private/{name}/batch", self._headers, {name: [what]}) for name, what in [*sent, ("spans", span)]]


def _configured(name: str, given: str | None) -> str | None:
    """The argument, else the environment's value, else the file's."""
    found = given or os.environ.get(f"OPIK_{name.upper()}")
    if found is None and (file := FILE.expanduser()).is_file():
        import configparser  # late: few machines have the file

        config = configparser.ConfigParser()
        config.read(file)
        found = config.get("opik", name, fallback=None)
    return found


def _described(
    kwargs: Mapping[str, Any], answer: Any, start: datetime, end: datetime, project: str
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The trace, if the call starts one, and its span."""
    metadata = dict(kwargs["metadata"])
    said = dict(metadata.pop("opik", None) or {})
    trace_id, parent = _place(said.pop("current_span_data", None))
    both = {
        "project_name": said.get("project_name", project),
        "start_time": _moment(start),
        "end_time": _moment(end),
        "input": {"messages": kwargs["messages"]},
        "output": _said(kwargs, answer),
        "metadata": _noted(kwargs, {**metadata, **said}),
        "tags": [*(said.get("tags") or ()), *([kwargs["custom_llm_provider"]] if kwargs["custom_llm_provider"] else [])],
    }
    if (error := kwargs.get("exception")) is not None:
        both["error_info"] = {"exception_type": type(error).__name__, "message": str(error), "traceback": kwargs["traceback_exception"]}
    trace = None
    if trace_id is None:
        trace_id = uuid7(start)
        trace = _known({"id": trace_id, "name": getattr(answer, "object", None) or kwargs["call_type"], "thread_id": said.get("thread_id")})
        trace |= both
    span = {
        "id": uuid7(start), "trace_id": trace_id, "parent_span_id": parent, "type": "llm", "model": kwargs["model"],
        "name": f"{kwargs['model']}_{getattr(answer, 'object', None) or kwargs['call_type']}",
        "provider": _PROVIDERS.get(kwargs["custom_llm_provider"], kwargs["custom_llm_provider"]) or None,
        "usage": _counted(getattr(answer, "usage", None)), "total_estimated_cost": kwargs.get("response_cost"),
    }  # fmt: skip
    return trace, _known(span) | both


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _place(current: Any) -> tuple[str | None, str | None]:
    """Ids of the caller's trace and parent span, from a mapping or an object of Opik's."""
    if isinstance(current, Mapping):
        return current.get("trace_id"), current.get("id")
    return getattr(current, "trace_id", None), getattr(current, "id", None)


def _said(kwargs: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    said = plain(answer)
    if isinstance(said, Mapping) and "embedding" not in kwargs["call_type"]:  # embeddings are not worth displaying
        return {"choices": said["choices"]} if "choices" in said else dict(said)
    return {}


def _noted(kwargs: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    payload = kwargs["standard_logging_object"]
    about = {name: payload[name] for name in ("status", "model", "model_group", "model_parameters", "cache_hit", "error_str")}
    notes = {name: value for name, value in metadata.items() if name not in ("model_info", "hidden_params")}
    return {**notes, **_known(about), "type": kwargs["call_type"], "created_from": "litellm"}


def _counted(usage: Any) -> dict[str, int] | None:
    counts = {} if usage is None else plain(usage)
    found = {name: counts[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens") if isinstance(counts.get(name), int)}
    return found or None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def uuid7(moment: datetime) -> str:
    """A version 7 UUID (RFC 9562), whose first 48 bits are `moment` in milliseconds: Opik rejects ids of another time."""
    bits = (nanoseconds(moment) // 1_000_000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=bits))
