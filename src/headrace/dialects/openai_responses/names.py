"""Words of OpenAI's Responses that reading and writing share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.dialects.fields import OWN
from headrace.types import Extra, Json

ITEM: Final = "item"
"""What a message's first part keeps of its item; in reasoning that went through another dialect, the item itself."""

INSIDE: Final = "inside"
"""Marks a part only this dialect knows that stood in a model's message."""

INSTRUCTIONS: Final = "instructions"
"""Marks the system message that stood in the field of that name."""

PIECE: Final = "piece"
"""Says of a piece of reasoning which part of its item it belongs to: `summary` or `content`, and its place there."""

GAP: Final = "\n\n"
"""What stands between the parts of reasoning where they are told as one text."""

FORMAT: Final = "openai-responses-v1"
"""OpenRouter's word for whose reasoning a detail holds (openrouter.ai/docs, read 2026-11)."""

_SUFFIXES: Final = ("_call", "_call_output")
_ITEMS: Final = frozenset({
    "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_output", "compaction", "program", "item_reference",
    "input_image", "input_file", "message", "configuration_update", "additional_tools",
})  # fmt: skip


def own(extra: Extra) -> Mapping[str, Json]:
    """What this dialect keeps in `extra`."""
    kept = extra.get(OWN)
    return kept if kept is not None and isinstance(kept, Mapping) else {}  # to ask a class of Mapping's kind takes as long as ten fields


def is_item(block: Mapping[str, Json]) -> bool:
    """Whether a block that came beside a message is an item of this dialect."""
    kind = block.get("type")
    return isinstance(kind, str) and (kind in _ITEMS or kind.endswith(_SUFFIXES))


def annotations_for_chat(annotations: Json) -> list[Json]:
    """Chat Completions has what is said of a citation under its type's name."""
    told: list[Json] = []
    for one in annotations if isinstance(annotations, list) else ():
        if isinstance(one, Mapping) and isinstance(kind := one.get("type"), str):
            told.append({"type": kind, kind: {name: value for name, value in one.items() if name != "type"}})
    return told


def annotations_from_chat(annotations: Json) -> list[Json]:
    told: list[Json] = []
    for one in annotations if isinstance(annotations, list) else ():
        if isinstance(one, Mapping) and isinstance(inner := one.get(str(one.get("type"))), Mapping):
            told.append({"type": one["type"], **inner})
    return told
