"""Messages between Gemini's `contents` and the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects.call_ids import History
from headrace.dialects.fields import bad, merged, obj, rest
from headrace.dialects.gemini.models import version
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.parts import ROLE, SIGNED_HERE, is_part, read_parts, write_part, write_parts
from headrace.types import Extra, Json, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult

_TURN: Final = frozenset({"role", "parts"})
_USUAL: Final[Mapping[str, Json]] = {"parts": []}
_ROLES: Final[Mapping[str | None, str]] = {
    "model": "assistant",
    "user": "user",
    "function": "user",
    "tool": "user",
    "": "user",
    None: "user",
}

_JOINED: Final[Extra] = {"turn": UNSET}
"""Marks a message that was part of the previous message's turn: their parts came in one list."""

_APART: Final = "apart"
"""UNSET under this key marks a result that came in a turn of its own, although the turn before it held results too."""

_SYSTEM: Final = ("system", "developer")

UNSIGNED: Final = "skip_thought_signature_validator"
"""Placeholder signature for a call that Gemini did not make (ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11)."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_messages(body: Mapping[str, Json]) -> tuple[Message, ...]:
    """The system instruction and the turns; tool results become messages of their own."""
    given = body.get("contents")
    turns = given if isinstance(given, list) else [given]
    if not given:
        raise bad("contents", "a non-empty list of contents", given)
    calls = History()
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        read = _read_turn(turn, f"contents[{index}]", calls)
        if messages and messages[-1].role == read[0].role == "tool":
            read[0] = msgspec.structs.replace(read[0], extra={**read[0].extra, _APART: UNSET})
        messages += read
    system = body.get("systemInstruction")
    if system is not None:
        messages.insert(0, _read_system(system, calls))
    return tuple(messages)


def _read_system(value: Json, calls: History) -> Message:
    source = {"parts": value} if isinstance(value, str | list) else obj(value, "systemInstruction")
    parts = read_parts(source.get("parts"), "systemInstruction.parts", calls)
    extra = rest(source, _TURN, _USUAL)
    if "role" in source:
        extra[ROLE] = extra.pop("role", source["role"])
    return Message(role="system", content=parts, extra=extra)


def _read_turn(value: Json, at: str, calls: History) -> list[Message]:
    source: Mapping[str, Json] = {"role": "user", "parts": value} if isinstance(value, str) else obj(value, at)
    role = source.get("role")
    if not isinstance(role, str | None) or role not in _ROLES:
        raise bad(f"{at}.role", "user or model", role)
    parts = read_parts(source.get("parts"), f"{at}.parts", calls)
    extra = rest(source, _TURN, _USUAL)
    if role not in ("user", "model"):
        extra.pop("role", None)
        extra[ROLE] = role if "role" in source else UNSET
    meant: Any = _ROLES[role]
    if meant == "assistant" or not any(isinstance(part, ToolResult) for part in parts):
        return [Message(role=meant, content=parts, extra=extra)]
    return [msgspec.structs.replace(message, extra=_JOINED if index else extra) for index, message in enumerate(_with_results(parts))]


def _with_results(parts: Sequence[Part]) -> list[Message]:
    """One message for each tool result, and one for each run of other parts between them."""
    messages: list[Message] = []
    for are_results, group in groupby(parts, lambda part: isinstance(part, ToolResult)):
        if are_results:
            messages += [Message(role="tool", content=(result,)) for result in group]
        else:
            messages.append(Message(role="user", content=tuple(group)))
    return messages


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_messages(messages: Sequence[Message], model: str, *, foreign: bool) -> tuple[Json, list[dict[str, Json]]]:
    """The system instruction and the turns.

    foreign: the messages were read from another dialect; what Gemini rejects (empty texts, thinking it did not sign) is
    then dropped.
    """
    numbered = list(enumerate(_named(messages)))
    system = _gathered([(index, message) for index, message in numbered if message.role in _SYSTEM], foreign=foreign)
    turns = _turns([(index, message) for index, message in numbered if message.role not in _SYSTEM], model, foreign=foreign)
    if foreign and not turns:
        return (None, [{"role": "user", **system}]) if system else (None, [{"role": "user", "parts": [{"text": " "}]}])
    return system, turns


def _named(messages: Sequence[Message]) -> list[Message]:
    """`messages` with the function's name on every tool result, looked up by call id."""
    names: dict[str, str] = {}

    def named(part: Part) -> Part:
        if isinstance(part, ToolCall):
            names[part.id] = part.name
        elif isinstance(part, ToolResult) and not part.name and part.call_id in names:
            return msgspec.structs.replace(part, name=names[part.call_id])
        return part

    return [msgspec.structs.replace(message, content=tuple([named(part) for part in message.content])) for message in messages]


def _gathered(messages: Sequence[tuple[int, Message]], *, foreign: bool) -> dict[str, Json] | None:
    """System messages merged into one instruction."""
    parts: list[dict[str, Json]] = []
    for index, message in messages:
        content = _filled(message.content) if foreign else message.content
        parts += write_parts(content, f"messages[{index}].content", foreign=foreign)
    if not messages or (foreign and not parts):
        return None
    extra = {} if foreign else dict(messages[0][1].extra)
    return merged({"role": extra.pop(ROLE, UNSET), **_USUAL}, extra, {"parts": parts or None})


def _filled(parts: Sequence[Part]) -> list[Part]:
    """`parts` without empty texts, which Gemini rejects unless it signed them."""
    return [part for part in parts if not isinstance(part, Text | Refusal) or part.text or getattr(part, "signature", None)]


def _turns(messages: Sequence[tuple[int, Message]], model: str, *, foreign: bool) -> list[dict[str, Json]]:
    turns: list[dict[str, Json]] = []
    before = ""
    for index, message in messages:
        at = f"messages[{index}].content"
        parts = _foreign_parts(message, at, model) if foreign else write_parts(message.content, at, foreign=False)
        if foreign and not parts:
            continue
        joined = message.extra.get("turn") is UNSET or before == message.role == "tool"
        if turns and joined and (foreign or _APART not in message.extra):
            turns[-1]["parts"] = [*turns[-1].get("parts", ()), *parts]
        else:
            role = "model" if message.role == "assistant" else "user"
            extra = {} if foreign else dict(message.extra)
            turns.append(merged({"role": extra.pop(ROLE, role), **_USUAL}, extra, {"parts": parts or None}))
        before = message.role
    return turns


def _foreign_parts(message: Message, at: str, model: str) -> list[dict[str, Json]]:
    if message.role == "assistant":
        return _spoken(message, at, model)
    if message.role == "tool" and version(model) < (3, 0):
        return [written for place, part in enumerate(message.content) for written in _beside(part, f"{at}[{place}]")]
    return write_parts(_filled(message.content), at, foreign=True)


def _beside(part: Part, at: str) -> list[dict[str, Json]]:
    """A tool result, followed by the images in it: before Gemini 3 a result cannot hold them."""
    if not isinstance(part, ToolResult):
        return [write_part(part, at, foreign=True)]
    seen = [inner for inner in part.content if not isinstance(inner, Text | Refusal)]
    told = [inner for inner in part.content if isinstance(inner, Text | Refusal)]
    result = write_part(msgspec.structs.replace(part, content=tuple(told)), at, foreign=True)
    return [result, *write_parts(seen, at, foreign=True)]


def _spoken(message: Message, at: str, model: str) -> list[dict[str, Json]]:
    """Parts of an assistant message from another dialect, including Gemini's own parts that the caller got as `content_blocks`."""
    parts = [part for part in _filled(message.content) if not isinstance(part, Thinking) or _ours(part)]
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    others = [part for part in parts if not isinstance(part, Thinking)]
    written = [
        *write_parts(thoughts, at, foreign=True),
        *_replayed(message.extra.get("content_blocks")),
        *write_parts(others, at, foreign=True),
    ]
    return _signed(written) if version(model) >= (3, 0) else written


def _ours(part: Thinking) -> bool:
    """Whether Gemini signed the thinking. Gemini does not need unsigned thinking back."""
    return bool(part.signature) and str(part.extra.get("format") or "").startswith(SIGNED_HERE.partition("-")[0])


def _replayed(blocks: Json) -> list[dict[str, Json]]:
    given = blocks if isinstance(blocks, list) else []
    return [dict(camel(block)) for block in given if isinstance(block, Mapping) and is_part(block)]


def _signed(parts: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Adds a placeholder signature to the first call of a turn if it has none: Gemini 3 and later require one."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None and "thoughtSignature" not in first:
        first["thoughtSignature"] = UNSIGNED
    return parts
