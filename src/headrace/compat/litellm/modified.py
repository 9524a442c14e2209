"""`litellm.modify_params`: adapts chats that a provider would otherwise reject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import Call, encode
from headrace.errors import HeadraceError
from headrace.models.info import find
from headrace.providers.catalog import resolve
from headrace.providers.rows import Provider


def provider_of(call: Call) -> Provider | None:
    """The provider of a call's model; None for a Router's group or an unknown model."""
    try:
        return resolve(call.model, custom_llm_provider=call.control.get("custom_llm_provider")).provider
    except HeadraceError:
        return None


_PARTICULAR: Final = frozenset({"anthropic_messages", "bedrock_converse"})
"""Dialects that reject conversations which others accept."""


def modified(call: Call) -> Call:
    """The chat made acceptable: output capped to the model's maximum, a tool declared if the conversation has tool
    calls, a user message first.
    """
    body: dict[str, Any] = {**call.body, **_fitting_output(call)}
    provider = provider_of(call)
    prompt = call.prompt
    if provider is None or provider.dialect in _PARTICULAR:
        if not body.get("tools") and any(_field(message, "tool_calls") or _field(message, "role") == "tool" for message in prompt):
            body["tools"] = [_NO_TOOL]
        prompt = _begun(prompt)
    if prompt is not call.prompt:
        body["messages"] = encoded = msgspec.Raw(encode(prompt))
        return msgspec.structs.replace(call, body=body, prompt=prompt, encoded=encoded)
    return msgspec.structs.replace(call, body=body)


_NO_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "no_tool",
        "description": "Stands for tools of earlier turns. Not to be called.",
        "parameters": {"type": "object"},
    },
}


def _fitting_output(call: Call) -> dict[str, int]:
    most = (find(call.model) or {}).get("max_output_tokens")
    names = ("max_tokens", "max_completion_tokens")
    return {name: most for name in names if isinstance(most, int) and isinstance(asked := call.body.get(name), int) and asked > most}


def _begun(messages: Any) -> Any:
    """The messages with a user message before the assistant's first."""
    at = next((at for at, message in enumerate(messages) if _field(message, "role") not in ("system", "developer")), None)
    if at is not None and _field(messages[at], "role") == "user":
        return messages
    at = len(messages) if at is None else at
    return [*messages[:at], {"role": "user", "content": "Continue."}, *messages[at:]]


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)
