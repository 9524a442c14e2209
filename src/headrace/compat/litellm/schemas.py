"""`litellm.enable_json_schema_validation`: validates responses against the requested schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.calls import Call
from headrace.compat.litellm.stand_in import setting
from headrace.compat.litellm.texts import validate_schema


def checked(call: Call, answer: Any) -> None:
    """Raises JSONSchemaValidationError if the response does not match the call's `response_format`. Needs the package `jsonschema`."""
    if not call.control.get("enable_json_schema_validation", setting("enable_json_schema_validation")):
        return
    wanted = call.body.get("response_format")
    if not isinstance(wanted, Mapping):
        return
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else wanted.get("response_schema")
    if schema is not None:
        for choice in getattr(answer, "choices", ()):
            validate_schema(schema, choice.message.content or "")
