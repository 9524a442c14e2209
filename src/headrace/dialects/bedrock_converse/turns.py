"""Messages between Bedrock's Converse and the hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from headrace.dialects.bedrock_converse.blocks import CACHE, BlockWriter, cache_point, read_blocks
from headrace.dialects.fields import bad, merged, obj, rest
from headrace.types import Json, Message, ToolResult

Numbered: TypeAlias = list[tuple[int, Message]]
"""Messages with their index in the request."""

_SYSTEM: Final = ("system", "developer")


def read_message(value: Json, at: str) -> list[Message]:
    """One turn. Each tool result becomes a message of its own, and the other blocks of a user's turn user messages."""
    source = obj(value, at)
    role = source.get("role")
    if role not in ("user", "assistant", "system"):
        raise bad(f"{at}.role", "user, assistant or system", role)
    extra = rest(source, frozenset({"role", "content"}), {"content": []})
    parts = read_blocks(source.get("content"), f"{at}.content", answer=role == "assistant")
    if role != "user":
        return [Message(role=role, content=tuple(parts), extra=extra)]
    turns: list[Message] = []
    for part in parts:
        if isinstance(part, ToolResult):
            turns.append(Message(role="tool", content=(part,)))
        elif turns and turns[-1].role == "user":
            turns[-1] = msgspec.structs.replace(turns[-1], content=(*turns[-1].content, part))
        else:
            turns.append(Message(role="user", content=(part,)))
    turns = turns or [Message(role="user")]
    return [msgspec.structs.replace(turns[0], extra=extra), *turns[1:]]


def placed(messages: Iterable[Message], *, foreign: bool, inline: bool) -> tuple[Numbered, Numbered]:
    """The messages for `system`, and the turns.

    The newest models accept system messages among the turns (botocore 1.44.5). foreign: the messages were read from
    another dialect; all system and developer messages then go to `system`, which every model reads.
    """
    numbered = list(enumerate(messages))
    if foreign:
        prompts = [(index, message) for index, message in numbered if message.role in _SYSTEM]
        return prompts, [(index, message) for index, message in numbered if message.role not in _SYSTEM]
    first = 1 if numbered and numbered[0][1].role in _SYSTEM and not inline else 0
    return numbered[:first], numbered[first:]


def write_system(prompts: Numbered, writer: BlockWriter) -> list[dict[str, Json]]:
    return [
        block
        for index, message in prompts
        for block in (*writer.blocks(message.content, f"messages[{index}].content"), *cache_point(message.extra))
    ]


def write_messages(turns: Numbered, writer: BlockWriter) -> list[dict[str, Json]]:
    """The turns.

    Consecutive messages of one role are merged: Converse rejects them, and requires all results of a turn's calls
    together.
    """
    written: list[dict[str, Json]] = []
    for index, message in turns:
        role = message.role if message.role == "assistant" else "system" if message.role in _SYSTEM else "user"
        blocks = [*writer.blocks(message.content, f"messages[{index}].content"), *cache_point(message.extra)]
        kept = {} if writer.foreign else {name: value for name, value in message.extra.items() if name != CACHE}
        if written and written[-1]["role"] == role:
            written[-1] |= {**kept, "content": [*(written[-1].get("content") or []), *blocks]}
        elif blocks or not writer.foreign:
            written.append(merged({"role": role, "content": []}, kept, {"content": blocks or None}))
    return written
