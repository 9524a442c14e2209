"""Keys and helpers shared by reading and writing OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.dialects.fields import OWN
from headrace.types import Extra, Json

ITEM: Final = "item"
"""The key for the item fields kept on a message's first part; for reasoning in another dialect, the key for the item itself."""

INSIDE: Final = "inside"
"""Marks a part unknown to the hub that belongs to an assistant's message item."""

INSTRUCTIONS: Final = "instructions"
"""Marks the system message that came in the `instructions` field."""

PIECE: Final = "piece"
"""The key for which part of its item a reasoning delta belongs to: (`summary` or `content`, index)."""

GAP: Final = "\n\n"
"""Separator between parts of reasoning that are joined into one text."""

FORMAT: Final = "openai-responses-v1"
"""OpenRouter's `format` for OpenAI's reasoning (openrouter.ai/docs, read 2026-11)."""

_SUFFIXES: Final = ("_call", "_call_output")
_ITEMS: Final = frozenset({
    "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_output", "compaction", "program", "item_reference",
    "input_image", "input_file", "message", "configuration_update", "additional_tools",
})  # fmt: skip


def own(extra: Extra) -> Mapping[str, Json]:
    """What this dialect keeps in `extra`."""
    kept = extra.get(OWN)
    return kept if kept is not None and isinstance(kept, Mapping) else {}  # isinstance with an ABC costs as much as ten fields


def is_item(block: Mapping[str, Json]) -> bool:
    """Whether a block that accompanies a message is an item of this dialect."""
    kind = block.get("type")
    return isinstance(kind, str) and (kind in _ITEMS or kind.endswith(_SUFFIXES))


def annotations_for_chat(annotations: Json) -> list[Json]:
    """Annotations in Chat Completions' format, which nests the content under the type's name."""
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
