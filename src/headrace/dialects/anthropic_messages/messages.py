"""Messages between Anthropic's Messages and the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects.anthropic_messages.blocks import as_list, kept, own_block, read_content, write_blocks, write_content
from headrace.dialects.fields import bad, items, merged, obj, rest
from headrace.types import Extra, Json, Message, Part, Text, Thinking, ToolCall, ToolResult

_TURN: Final = frozenset({"role", "content"})
_USUAL: Final[Mapping[str, Json]] = {"content": []}

_JOINED: Final[Extra] = {"turn": UNSET}
"""Marks a message that was part of the previous message's turn: their blocks came in one list."""

_SYSTEM: Final = ("system", "developer")


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_messages(body: Mapping[str, Json], extra: dict[str, Json]) -> tuple[Message, ...]:
    """The system prompt and the turns; tool results become messages of their own. Adds to `extra` what the hub cannot express."""
    turns = items(body.get("messages"), "messages")
    if not turns:
        raise bad("messages", "a non-empty list of messages", body.get("messages"))
    messages = [message for index, turn in enumerate(turns) for message in _read_turn(turn, f"messages[{index}]")]
    system = body.get("system")
    if system is not None and system != []:
        messages.insert(0, Message(role="system", content=as_list(read_content(system, "system"), system)))
    elif messages[0].role == "system" and "system" not in body:
        extra["system"] = UNSET  # the newest models accept system messages among the turns
    return tuple(messages)


def _read_turn(value: Json, at: str) -> list[Message]:
    source = obj(value, at)
    role: Any = source.get("role")
    if role not in ("user", "assistant", "system"):
        raise bad(f"{at}.role", "user, assistant or system", role)
    content = source.get("content", [] if role == "system" else None)  # a system turn may only add tools
    if not isinstance(content, str | list):
        raise bad(f"{at}.content", "a string or a list of blocks", content)
    parts = read_content(content, f"{at}.content")
    extra = rest(source, _TURN, _USUAL, exact=_TURN)
    if role != "user" or not any(isinstance(part, ToolResult) for part in parts):
        return [Message(role=role, content=as_list(parts, content), extra=extra)]
    return [
        msgspec.structs.replace(message, extra=_JOINED if index else extra) for index, message in enumerate(_with_results(parts))
    ]  # fmt: skip


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


def write_messages(messages: Sequence[Message], extra: Extra, *, foreign: bool) -> tuple[Json, list[dict[str, Json]]]:
    """The system prompt and the turns.

    foreign: the messages were read from another dialect. System messages are then merged into the system prompt, ids
    are made valid, and what Anthropic rejects (empty texts, unsigned thinking) is dropped.
    """
    if not foreign:
        inline = not messages or messages[0].role not in _SYSTEM or extra.get("system") is UNSET
        system = None if inline else write_content(messages[0].content, "system", foreign=False)
        return system, _turns(list(enumerate(messages))[0 if inline else 1 :], foreign=False)
    numbered = list(enumerate(_paired(messages)))
    system = _gathered([(index, message) for index, message in numbered if message.role in _SYSTEM])
    turns = _turns([(index, message) for index, message in numbered if message.role not in _SYSTEM], foreign=True)
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = _trimmed(turns[-1]["content"])
    return system, turns


def _gathered(messages: Sequence[tuple[int, Message]]) -> Json:
    """System messages as one prompt: a string if it is a single plain text."""
    blocks: list[dict[str, Json]] = []
    for index, message in messages:
        blocks += _marked(write_blocks(_filled(message.content), f"messages[{index}].content", foreign=True), message.extra)
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        return blocks[0]["text"]
    return blocks or None


def _turns(messages: Sequence[tuple[int, Message]], *, foreign: bool) -> list[dict[str, Json]]:
    turns: list[dict[str, Json]] = []
    before = ""
    for index, message in messages:
        at = f"messages[{index}].content"
        written = _foreign_turn(message, at) if foreign else _own_turn(message, at)
        if written is None:
            continue
        if turns and turns[-1]["role"] == written["role"] == "user" and _joins(message, before, foreign=foreign):
            turns[-1]["content"] = _blocks(turns[-1]["content"]) + _blocks(written["content"])
        else:
            turns.append(written)
        before = message.role
    return turns


def _joins(message: Message, before: str, *, foreign: bool) -> bool:
    """Whether a message joins the previous turn: all results of a turn's calls must be in one turn."""
    return message.extra.get("turn") is UNSET or (before == "tool" and (foreign or message.role == "tool"))


def _blocks(content: Json) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _role(message: Message) -> str:
    return "user" if message.role == "tool" else "system" if message.role == "developer" else message.role


def _own_turn(message: Message, at: str) -> dict[str, Json]:
    content = (
        write_blocks(message.content, at, foreign=False) if message.role == "tool" else write_content(message.content, at, foreign=False)
    )
    return merged({"role": _role(message), **_USUAL}, message.extra, {"content": content})


def _foreign_turn(message: Message, at: str) -> dict[str, Json] | None:
    """None for an assistant turn with nothing left in it."""
    if message.role == "assistant":
        blocks = _marked(_spoken(message, at), message.extra)
        plain = len(blocks) == 1 and set(blocks[0]) == {"type", "text"}
        return {"role": "assistant", "content": blocks[0]["text"] if plain else blocks} if blocks else None
    content: Json = write_content(_filled(message.content), at, foreign=True)
    if message.role == "tool" or kept(message.extra):
        content = _marked(_blocks(content or []), message.extra)
    return {"role": _role(message), "content": [] if content is None else content}


def _spoken(message: Message, at: str) -> list[dict[str, Json]]:
    """Blocks of an assistant message from another dialect, including Anthropic's own blocks that the caller got with it.

    `thinking_blocks` come from programs written for LiteLLM; `content_blocks` hold server tools and their results.
    """
    thinking = _replayed(message.extra.get("thinking_blocks"))
    parts = [part for part in _filled(message.content) if not isinstance(part, Thinking) or (not thinking and _ours(part))]
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    others = [part for part in parts if not isinstance(part, Thinking)]
    served = _replayed(message.extra.get("content_blocks"))
    return thinking + write_blocks(thoughts, at, foreign=True) + served + write_blocks(others, at, foreign=True)


def _replayed(blocks: Json) -> list[dict[str, Json]]:
    given = blocks if isinstance(blocks, list) else []
    return [dict(block) for block in given if isinstance(block, Mapping) and own_block(str(block.get("type")))]


def _ours(part: Thinking) -> bool:
    """Whether Anthropic signed the block. In OpenRouter's reasoning details, `format` says whose signature it is."""
    whose = part.extra.get("format")
    return bool(part.signature or part.data) and (not isinstance(whose, str) or whose.startswith("anthropic"))


def _filled(parts: Sequence[Part]) -> list[Part]:
    """`parts` without empty texts, which Anthropic rejects."""
    return [part for part in parts if not isinstance(part, Text) or part.text.strip()]


def _marked(blocks: list[Any], extra: Extra) -> list[Any]:
    """`blocks` with a message-level `cache_control` moved to the last one."""
    mark = extra.get("cache_control")
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}] if mark and blocks else blocks


def _trimmed(content: Json) -> Json:
    """The content without trailing white space, which Anthropic rejects in a prefill."""
    if isinstance(content, str):
        return content.rstrip()
    last = content[-1]
    return [*content[:-1], {**last, "text": last["text"].rstrip()}] if last.get("type") == "text" else content


_NO_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def _paired(messages: Sequence[Message]) -> list[Message]:
    """`messages` with ids that Anthropic accepts (`^[a-zA-Z0-9_-]+$`) on every call and its result."""
    unnamed: list[tuple[str, str]] = []
    count = 0

    def fitted(part: Part) -> Part:
        nonlocal count
        if isinstance(part, ToolCall):
            count += 1
            made = _NO_ID.sub("_", part.id) or f"call_{count}"
            if not part.id:
                unnamed.append((part.name, made))
            return msgspec.structs.replace(part, id=made)
        if isinstance(part, ToolResult):
            return msgspec.structs.replace(part, call_id=_NO_ID.sub("_", part.call_id) or _answered(unnamed, part.name))
        return part

    return [msgspec.structs.replace(message, content=tuple([fitted(part) for part in message.content])) for message in messages]


def _answered(unnamed: list[tuple[str, str]], name: str | None) -> str:
    """The id generated for the oldest unanswered call with that name; "" if there is none."""
    for place, (called, made) in enumerate(unnamed):
        if name is None or called == name:
            del unnamed[place]
            return made
    return ""
