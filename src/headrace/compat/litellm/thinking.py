"""litellm's additions to responses of Claude models: `thinking_blocks`, which are signed reasoning (`reasoning_details`
here), and Anthropic's own counts of cached tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace import rebuild
from headrace.objects import JsonObject


def with_blocks(said: JsonObject) -> None:
    """Add `thinking_blocks` to a message or delta."""
    details = vars(said).get("reasoning_details")
    blocks = [_block(detail) for detail in details if _is_claudes(detail)] if isinstance(details, list) else []
    if blocks:
        vars(said)["thinking_blocks"] = blocks


def _is_claudes(detail: Any) -> bool:
    """Whether the reasoning may be sent back to Anthropic's models; other formats are labelled."""
    return isinstance(detail, Mapping) and str(detail.get("format") or "anthropic").startswith("anthropic")


def _block(detail: Mapping[str, Any]) -> dict[str, Any]:
    if detail.get("type") == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": detail.get("data")}
    return {"type": "thinking", "thinking": detail.get("text") or "", "signature": detail.get("signature") or ""}


def is_claudes(hidden: Mapping[str, Any]) -> bool:
    """Whether a response is from a Claude model, on whichever cloud."""
    return "claude" in str(hidden.get("model")) or hidden.get("custom_llm_provider") == "anthropic"


def with_cache_counts(usage: Any) -> None:
    """Add Anthropic's counts of tokens read from and written to a cache, where litellm's programs look for them."""
    details = getattr(usage, "prompt_tokens_details", None)
    if details is not None:
        vars(usage).setdefault("cache_read_input_tokens", details.get("cached_tokens") or 0)
        vars(usage).setdefault("cache_creation_input_tokens", details.get("cache_write_tokens") or 0)


def stream_chunk_builder(chunks: Iterable[Any] | None, messages: Sequence[Any] | None = None, **options: Any) -> Any:
    """`headrace.stream_chunk_builder`, which also joins thinking blocks."""
    answer = rebuild.stream_chunk_builder(map(_without_blocks, chunks or ()), messages, **options)
    for choice in getattr(answer, "choices", ()):
        if hasattr(choice, "message"):
            with_blocks(choice.message)
    return answer


def _without_blocks(chunk: Any) -> Any:
    """The chunk without partial blocks, which are rebuilt from `reasoning_details`."""
    if not isinstance(chunk, JsonObject) or not any("thinking_blocks" in choice.get("delta", ()) for choice in chunk.get("choices", ())):
        return chunk
    copied: Any = chunk.model_copy(deep=True)
    for choice in copied.choices:
        vars(choice.delta).pop("thinking_blocks", None)
    return copied
