"""Cache keys: a digest of everything that affects a call's response, without credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import Call, encode
from headrace.routing.filters import team_of

REPEATABLE: Final = frozenset({
    "chat", "completions", "embeddings", "moderations", "rerank", "responses", "messages", "generate_content",
})  # fmt: skip
"""Operations whose response is JSON and may be repeated. Images and speech are generated anew each time; files are not
compared."""

_TELLING: Final = (
    "base_url", "api_base", "custom_llm_provider", "extra_body", "extra_query", "api_version", "organization", "drop_params",
    "additional_drop_params", "allowed_openai_params", "fetch_media", "allowed_model_region", "tags", "vertex_project", "vertex_location",
    "aws_region_name",
)  # fmt: skip
"""Options that affect which deployment responds, or what it is sent."""

_OPENING: Final = ("authorization", "key", "token", "secret", "cookie")
"""Parts of the names of headers that hold credentials."""


def call_key(call: Call, name: str) -> str | None:
    """64 hexadecimal digits, the same in every process; None for a call that cannot be compared.

    name: the model's canonical name, with aliases resolved.
    """
    if call.operation.name not in REPEATABLE or call.body.get("background"):
        return None
    control = call.control
    said = {option: control[option] for option in _TELLING if option in control}
    return digest([call.operation.name, name, call.body, call.stream, call.place, said, _headers(control), _belonging(control)])


def digest(parts: Any) -> str:
    """The digest of any JSON value, regardless of key order. Raises BadRequestError for what JSON cannot represent."""
    import hashlib  # late: it loads OpenSSL

    return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(encode(parts)), order="sorted")).hexdigest()


def _headers(control: Mapping[str, Any]) -> dict[str, str]:
    given = [control.get(option) for option in ("headers", "extra_headers")]
    pairs = [(str(name).lower(), str(value)) for headers in given if isinstance(headers, Mapping) for name, value in headers.items()]
    return {name: value for name, value in pairs if not any(word in name for word in _OPENING)}


def _belonging(control: Mapping[str, Any]) -> list[Any]:
    """What the metadata say about who may serve the call, as LiteLLM's proxy fills them in."""
    metadata = control.get("metadata")
    beside = metadata if isinstance(metadata, Mapping) else {}
    return [beside.get("tags"), team_of(control)]
