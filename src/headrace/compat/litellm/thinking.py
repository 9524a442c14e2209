"""litellm's `thinking_blocks`: a model's thoughts with what signs them, beside the `reasoning_details` in which they come here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace import rebuild
from headrace.objects import JsonObject


def with_blocks(said: JsonObject) -> None:
    """Put them on a message, or on a piece of one."""
    details = vars(said).get("reasoning_details")
    blocks = [_block(detail) for detail in details if _is_claudes(detail)] if isinstance(details, list) else []
    if blocks:
        vars(said)["thinking_blocks"] = blocks


def _is_claudes(detail: Any) -> bool:
    """Whether it may be given back to Anthropic's models; others' thoughts say whose they are."""
    return isinstance(detail, Mapping) and str(detail.get("format") or "anthropic").startswith("anthropic")


def _block(detail: Mapping[str, Any]) -> dict[str, Any]:
    if detail.get("type") == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": detail.get("data")}
    return {"type": "thinking", "thinking": detail.get("text") or "", "signature": detail.get("signature") or ""}


def stream_chunk_builder(chunks: Iterable[Any] | None, messages: Sequence[Any] | None = None, **options: Any) -> Any:
    """`headrace.stream_chunk_builder`, the pieces of thoughts put together as well."""
    answer = rebuild.stream_chunk_builder(map(_without_blocks, chunks or ()), messages, **options)
    for choice in getattr(answer, "choices", ()):
        if hasattr(choice, "message"):
            with_blocks(choice.message)
    return answer


def _without_blocks(chunk: Any) -> Any:
    """Pieces of blocks are put together from the details that they were made of."""
    if not isinstance(chunk, JsonObject) or not any("thinking_blocks" in choice.get("delta", ()) for choice in chunk.get("choices", ())):
        return chunk
    copied: Any = chunk.model_copy(deep=True)
    for choice in copied.choices:
        vars(choice.delta).pop("thinking_blocks", None)
    return copied
