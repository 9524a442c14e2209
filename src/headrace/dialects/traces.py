"""Actions of built-in tools as items of OpenAI's Responses: web searches, opened pages, code runs, MCP calls.

Anthropic sends a call and its result as two blocks, Gemini as two parts; Responses has one item for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from headrace.dialects.fields import json_text
from headrace.types import Finished, Json, Noted, Other, Part, StreamEvent

BLOCKS: Final = "content_blocks"
"""The key in a message's `extra` that holds, unchanged, the blocks unknown to the hub."""

Block: TypeAlias = Mapping[str, Json]
Item: TypeAlias = dict[str, Json]


class Traces:
    """Turns blocks into items, each emitted once it is complete: a call waits for its result."""

    __slots__ = ("_calls", "_count", "_searched")

    def __init__(self) -> None:
        self._calls: dict[str, Block] = {}
        self._count = 0
        self._searched = False

    def feed(self, block: Block) -> list[Item]:
        """The items completed by `block`."""
        if (code := block.get("executableCode")) is not None:
            return [*self.rest(), *self._held("code", {"name": "code_execution", "input": code})]
        if (ran := block.get("codeExecutionResult")) is not None:
            call = self._calls.pop("code", {"name": "code_execution", "input": {}})
            return self._made(call, ran if isinstance(ran, Mapping) else {})
        match block.get("type"):
            case "server_tool_use" | "mcp_tool_use":
                return self._held(str(block.get("id")), block)
            case str(kind) if kind.endswith("_tool_result"):
                asked = self._calls.pop(str(block.get("tool_use_id")), None)
                return [] if asked is None else self._made(asked, block)
        return []

    def rest(self) -> list[Item]:
        """Items for the calls that got no result."""
        calls, self._calls = list(self._calls.values()), {}
        return [item for call in calls for item in self._made(call, None)]

    def events(self, told: Sequence[StreamEvent]) -> Iterator[StreamEvent]:
        """The events with items in place of blocks. Calls without a result come before the end."""
        for event in told:
            if type(event) is Noted and event.level == "message" and isinstance(blocks := event.extra.get(BLOCKS), list):
                items = [item for block in blocks if isinstance(block, Mapping) for item in self.feed(block)]
                yield replace(event, extra={**event.extra, BLOCKS: items})
                continue
            if isinstance(event, Finished | Noted) and (items := self._beside(event)):
                yield Noted(level="message", choice=event.choice, extra={BLOCKS: items})
            yield event

    def _beside(self, event: Finished | Noted) -> list[Item]:
        if isinstance(event, Finished):
            return self.rest()
        return self._new(_searches(event.extra)) if event.level == "choice" else []

    def _new(self, items: list[Item]) -> list[Item]:
        """Searches are repeated with every chunk that adds a source; only the first is kept."""
        new = [item for item in items if not self._searched]
        self._searched = self._searched or bool(items)
        return new

    def _held(self, key: str, call: Block) -> list[Item]:
        self._calls[key] = call
        return []

    def _made(self, call: Block, result: Block | None) -> list[Item]:
        write = _mcp if call.get("type") == "mcp_tool_use" else _ITEMS.get(str(call.get("name")))
        if write is None:
            return []
        given, self._count = call.get("input"), self._count + 1
        item = write(given if isinstance(given, Mapping) else {}, call, result or {})
        failed = result is not None and _failed(result)
        return [{"id": str(call.get("id") or f"trace_{self._count}"), "status": "failed" if failed else "completed", **item}]


def with_traces(parts: Sequence[Part]) -> Iterator[Part]:
    """The message parts with Responses items in place of the traces of built-in tools."""
    traces = Traces()
    for part in parts:
        if isinstance(part, Other):
            yield from map(_part, traces.feed(part.extra))
        else:
            yield part
    yield from map(_part, traces.rest())


def with_searches(choice: Mapping[str, Json]) -> list[Part]:
    """Gemini's search queries, which it reports only on the candidate, as items that precede the text."""
    return [_part(item) for item in _searches(choice)]


def _searches(choice: Mapping[str, Json]) -> list[Item]:
    grounding = choice.get("groundingMetadata")
    queries = grounding.get("webSearchQueries") if isinstance(grounding, Mapping) else None
    texts = [query for query in queries if isinstance(query, str)] if isinstance(queries, list) else []
    action = {"type": "search", "query": texts[0], "queries": texts} if texts else {}
    return [{"id": "search_1", "status": "completed", "type": "web_search_call", "action": action}] if texts else []


def _part(item: Item) -> Other:
    return Other(type=str(item["type"]), extra=item)


def _failed(result: Block) -> bool:
    content = result.get("content")
    kind = content.get("type") if isinstance(content, Mapping) else None
    return (
        result.get("is_error") is True
        or (isinstance(kind, str) and kind.endswith("_error"))
        or result.get("outcome", "OUTCOME_OK") != "OUTCOME_OK"
    )


def _search(given: Block, call: Block, result: Block) -> Item:
    query = _text(given, "query")
    found = [one["url"] for one in _objects(result.get("content")) if isinstance(one.get("url"), str)]
    action: Item = {"type": "search", "query": query, "queries": [query]}
    return {
        "type": "web_search_call",
        "action": {**action, **({"sources": [{"type": "url", "url": url} for url in found]} if found else {})},
    }


def _page(given: Block, call: Block, result: Block) -> Item:
    return {"type": "web_search_call", "action": {"type": "open_page", "url": _text(given, "url")}}


def _program(given: Block, call: Block, result: Block) -> Item:
    inner = result.get("content")
    said = inner if isinstance(inner, Mapping) else result
    logs = [text for name in ("stdout", "stderr", "output") if (text := _text(said, name))]
    outputs = [{"type": "logs", "logs": "\n".join(logs)}] if logs else []
    code = _text(given, "code") or _text(given, "command")
    return {"type": "code_interpreter_call", "code": code, "container_id": "", "outputs": outputs}


def _mcp(given: Block, call: Block, result: Block) -> Item:
    told = "".join(_text(one, "text") for one in _objects(result.get("content"))) or _text(result, "content")
    failed = bool(result) and _failed(result)
    return {
        "type": "mcp_call",
        "name": _text(call, "name"),
        "server_label": _text(call, "server_name"),
        "arguments": json_text(given),
        "output": None if failed else told,
        "error": told if failed else None,
    }


_ITEMS: Final[Mapping[str, Callable[[Block, Block, Block], Item]]] = {
    "web_search": _search,
    "web_fetch": _page,
    "code_execution": _program,
    "bash_code_execution": _program,
}
"""By the names of Anthropic's tools; other tools have no item."""


def _text(source: Block, name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _objects(value: Any) -> list[Block]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
