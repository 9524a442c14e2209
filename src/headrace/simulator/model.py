"""The simulated model: seeded, plausible and fast."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from typing import Final

from headrace.simulator.asks import Answer, Call, Chat, Choice, Finish, Tool
from headrace.simulator.instances import instance_tokens
from headrace.simulator.text import River, river

WORDS: Final = re.compile(r"[A-Za-z][a-z]+|[A-Z]+(?![a-z])")


def count_tokens(characters: int) -> int:
    """Prompt tokens of a text: a quarter of its characters, rounded up, at least one."""
    return max(1, -(-characters // 4))


class Model:
    """Answers chats. The same seed and the same seeded request give the same response, streamed or not."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.river: River = river(seed)

    def rng(self, chat: Chat, other: random.Random) -> random.Random:
        """The random generator for a request: its own if it is seeded, else `other`."""
        if chat.seed is None:
            return other
        return random.Random(zlib.crc32(f"{self.seed}/{chat.model}/{chat.seed}/{chat.text}".encode("utf-8", "replace")))

    def answer(self, chat: Chat, rng: random.Random, length: int, *, exact: bool = False, reasoning: int = 0) -> Answer:
        """A response to `chat`. `length`: output tokens per choice, approximate unless `exact`. `reasoning`: reasoning
        tokens before them."""
        choices = [self._choice(chat, rng, length, exact, reasoning) for _ in range(chat.n)]
        return Answer(choices, chat.prompt_tokens, chat.cached_tokens)

    def _choice(self, chat: Chat, rng: random.Random, length: int, exact: bool, reasoning: int) -> Choice:
        limit = chat.max_tokens
        thoughts: Sequence[str] = (
            self.river.natural(rng, reasoning)[: reasoning if limit is None else min(reasoning, limit)] if reasoning else ()
        )
        left = None if limit is None else limit - len(thoughts)
        tools = wanted_tools(chat)
        if tools:
            return _calling(tools, rng, left, thoughts)
        pieces = self._pieces(chat, rng, length, exact)
        finish: Finish = "stop"
        if chat.stop:
            pieces = _before_stop(pieces, chat.stop)
        if left is not None and len(pieces) > left:
            pieces, finish = pieces[:left], "length"
        return Choice(pieces, (), finish, thoughts, "".join(pieces))

    def _pieces(self, chat: Chat, rng: random.Random, length: int, exact: bool) -> list[str]:
        if chat.schema is not None:
            return instance_tokens(chat.schema or {"const": {"answer": "".join(self.river.natural(rng, length))}}, rng)
        return self.river.exactly(rng, length) if exact else self.river.natural(rng, length)


def wanted_tools(chat: Chat) -> list[Tool]:
    """The tools this response calls.

    The one the caller requires; with "required", those mentioned in the last message, or else the first; with "auto",
    those
    mentioned: by name, or by a word of it with at least four letters. After a tool result, the model responds with text.
    """
    if not chat.tools or chat.tool_choice == "none":
        return []
    if chat.tool_choice.startswith("="):
        return [tool for tool in chat.tools if tool.name == chat.tool_choice[1:]][:1]
    found = [tool for tool in chat.tools if chat.last and _spoken_of(tool.name, chat.last)]
    if not found and chat.tool_choice == "required":
        found = [chat.tools[0]]
    return found if chat.parallel_tools else found[:1]


def _spoken_of(name: str, text: str) -> bool:
    if name in text:
        return True
    said = {word.lower() for word in WORDS.findall(text)}
    return any(len(word) >= 4 and word.lower() in said for word in WORDS.findall(name))


def _calling(tools: Sequence[Tool], rng: random.Random, limit: int | None, thoughts: Sequence[str]) -> Choice:
    calls: list[Call] = []
    for tool in tools:
        pieces = instance_tokens(tool.schema or {"const": {}}, rng)
        room = None if limit is None else limit - 1 - sum(1 + len(call.pieces) for call in calls)
        if room is not None and len(pieces) > room:
            if room >= 0:
                calls.append(Call(f"call_{rng.getrandbits(96):024x}", tool.name, pieces[:room]))
            return Choice((), calls, "length", thoughts)
        calls.append(Call(f"call_{rng.getrandbits(96):024x}", tool.name, pieces))
    return Choice((), calls, "tool_calls", thoughts)


def _before_stop(pieces: list[str], stops: Sequence[str]) -> list[str]:
    """The pieces before the first of `stops`; a token that straddles it is cut."""
    text = "".join(pieces)
    cut = min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=None)
    if cut is None:
        return pieces
    kept: list[str] = []
    for piece in pieces:
        if len(piece) >= cut:
            return [*kept, piece[:cut]] if cut else kept
        kept.append(piece)
        cut -= len(piece)
    return kept
