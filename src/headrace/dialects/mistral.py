"""Where Mistral's Chat Completions differ from OpenAI's.

It rejects unknown fields, has ids of nine characters, reasoning inside the content, and its own format for file and
audio parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.types import Json

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
"""The fields of Mistral's messages, from the models of its client, mistralai 3.7.

It rejects any other field with 422 (github.com/Gage-Technologies/mistral-go/issues/3,
github.com/BerriAI/litellm/issues/30835; read 2026-11).
"""

ID: Final = re.compile("[a-zA-Z0-9]{9}")


def messages(given: Json) -> Json:
    """A conversation as Mistral accepts it, possibly already encoded; the same object if nothing has to change."""
    encoded = isinstance(given, msgspec.Raw)
    if encoded and not any(word in bytes(given) for word in _TELLING):
        return given
    known = msgspec.json.decode(given if encoded else msgspec.json.encode(given))
    written = [_message(message) for message in known] if isinstance(known, list) else known
    if written == known:
        return given
    return msgspec.Raw(msgspec.json.encode(written)) if encoded else written


_TELLING: Final = (b'"assistant"', b'"tool"', b'"developer"', b'"name"', b'"file"', b'"input_audio"')
"""A conversation without any of these stays unchanged."""


def _message(message: Json) -> Json:
    role = message.get("role") if isinstance(message, dict) else None
    role = "system" if role == "developer" else role
    if not isinstance(role, str) or role not in FIELDS:
        return message
    kept = {name: value for name, value in message.items() if name in FIELDS[role] and (value is not None or name == "content")}
    kept["role"] = role
    if isinstance(content := kept.get("content"), list):
        kept["content"] = [_part(part) for part in content]
    if role == "assistant":
        kept |= _thought(message)
    if isinstance(calls := kept.get("tool_calls"), list):
        kept["tool_calls"] = [_with_id(call, "id") for call in calls]
    return _with_id(kept, "tool_call_id")


def _part(part: Json) -> Json:
    """File and audio parts, which Chat Completions nests and Mistral has flat; inline files become `document_url`."""
    match part:
        case {"type": "file", "file": {"file_data": str(data), **beside}}:
            name = beside.get("filename")
            return {"type": "document_url", "document_url": data, **({"document_name": name} if name else {})}
        case {"type": "file", "file": {"file_id": str(id_)}}:
            return {"type": "file", "file_id": id_}
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return {"type": "input_audio", "input_audio": data}
    return part


def _thought(message: Mapping[str, Json]) -> dict[str, Json]:
    """Reasoning moves into the content, before the text."""
    thought, content = message.get("reasoning_content"), message.get("content")
    if not isinstance(thought, str) or not thought or isinstance(content, list):
        return {}
    said = [{"type": "text", "text": content}] if content else []
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}, *said]}


def _with_id(place: Json, name: str) -> Json:
    id_ = place.get(name) if isinstance(place, dict) else None
    return {**place, name: _short(id_)} if isinstance(id_, str) and not ID.fullmatch(id_) else place


def _short(id_: str) -> str:
    """Nine letters and digits, always the same for the same id."""
    import hashlib  # late: only conversations from other providers need it

    number = int.from_bytes(hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return "".join("0123456789abcdefghijklmnopqrstuvwxyz"[number // 36**place % 36] for place in range(9))


# ---- responses ---------------------------------------------------------------------------------------------------------------------


def in_one_text(body: dict[str, Any], field: str) -> dict[str, Any]:
    """A response (field: `message`) or a chunk (`delta`) with its text where OpenAI's clients expect it.

    Changes `body` in place.

    Thinking goes into `reasoning_content`; anything else that is not text, such as a reference, stays in
    `content_blocks`.
    """
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        said = choice.get(field) if isinstance(choice, dict) else None
        if isinstance(said, dict) and isinstance(said.get("content"), list):
            _in_one_text(said)
    return body


def _in_one_text(said: dict[str, Any]) -> None:
    texts: list[str] = []
    thoughts: list[str] = []
    others: list[Json] = []
    for part in said["content"]:
        match part:
            case {"type": "text", "text": str(text)} | str(text):
                texts.append(text)
            case {"type": "thinking", "thinking": [*pieces]} if all(isinstance(piece, dict) for piece in pieces):
                thoughts += [str(piece.get("text", "")) for piece in pieces]
            case _:
                others.append(part)
    said["content"] = "".join(texts) if texts or not thoughts else None
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if others:
        said["content_blocks"] = others
