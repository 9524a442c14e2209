"""Finds the texts that users and models wrote in requests and responses of any dialect, and replaces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from headrace.calls import Call, encode
from headrace.objects import JsonObject

Change: TypeAlias = Callable[[str], str]

_SAID: Final = frozenset({
    "content", "text", "input_text", "output_text", "parts", "summary", "system", "instructions", "system_instruction",
    "systemInstruction", "refusal", "reasoning_content", "thinking", "query", "documents",
})  # fmt: skip
"""Fields that hold texts, or lists of them. Other fields (roles, ids, addresses, base64) are not changed."""

_FREE: Final = frozenset({"input", "args", "arguments", "response", "output"})
"""Fields of tool calls and their results: every text inside counts, whatever its field."""

_BESIDE: Final = ("system", "instructions", "system_instruction", "systemInstruction", "query", "documents", "suffix")
"""Fields of a request, besides its prompt, that the model reads."""


def in_request(call: Call, change: Change) -> Call:
    """The call with `change` applied to every text that the model would read; the same object if nothing changed."""
    name = call.operation.prompt
    body = {field: changed(call.body[field], change) for field in _BESIDE if field in call.body and field != name}
    prompt = call.prompt if call.operation.files else changed(call.prompt, change)
    if prompt == call.prompt and all(value == call.body[field] for field, value in body.items()):
        return call
    if not name or call.operation.files:
        return msgspec.structs.replace(call, body={**call.body, **body})
    encoded = msgspec.Raw(encode(prompt))
    return msgspec.structs.replace(call, prompt=prompt, encoded=encoded, body={**call.body, **body, name: encoded})


def changed_body(body: Any, change: Change) -> Any:
    """A body in a provider's own format with `change` applied to every text that a model would read. Returns a copy."""
    if isinstance(body, Mapping):
        return {name: changed(value, change) if name in _PROMPTS else _field(name, value, change, False) for name, value in body.items()}
    return [changed_body(item, change) for item in body] if isinstance(body, list) else body


_PROMPTS: Final = frozenset({"prompt", "input", "inputs", "messages", "contents", "suffix"})
"""Fields of a body that hold the prompt."""


def in_answer(answer: Any, change: Change) -> Any:
    """Apply `change` in place to every text of a response that the model wrote."""
    if isinstance(answer, JsonObject):
        _walk_object(answer, change, free=False)
    return answer


def changed(value: Any, change: Change) -> Any:
    """A prompt with `change` applied to its texts: a text, a list of texts, messages, contents. Returns a copy."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [changed(item, change) for item in value]
    return _walk(value, change, free=False)


def _walk(value: Any, change: Change, *, free: bool) -> Any:
    if free and isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_walk(item, change, free=free) for item in value]
    if not isinstance(value, Mapping):
        return _walk(value.model_dump(), change, free=free) if hasattr(value, "model_dump") else value
    return {name: _field(name, inner, change, free) for name, inner in value.items()}


def _field(name: Any, value: Any, change: Change, free: bool) -> Any:
    if name in _SAID and isinstance(value, str | list | tuple):
        return changed(value, change)
    return _walk(value, change, free=free or name in _FREE)


def _walk_object(answer: JsonObject, change: Change, *, free: bool) -> None:
    for name, value in list(answer.__dict__.items()):
        inner = free or name in _FREE
        if isinstance(value, JsonObject):
            _walk_object(value, change, free=inner)
        elif isinstance(value, list) and any(isinstance(item, JsonObject) for item in value):
            for item in value:
                if isinstance(item, JsonObject):
                    _walk_object(item, change, free=inner)
        elif isinstance(value, str | list | Mapping) and not name.startswith("_"):
            setattr(answer, name, _field(name, value, change, inner) if name in _SAID or inner else _walk(value, change, free=False))
