"""An answer on its way to a caller who speaks another dialect: what only the provider's dialect means is left out of it.

Callers of OpenAI's dialect are no matter of this module: their clients keep what they do not know, and `translate` says it to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import structs

from headrace.types import (
    ChatResponse,
    Choice,
    Extra,
    Message,
    Noted,
    Other,
    Part,
    Started,
    StreamEvent,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
    UsageReported,
)  # fmt: skip

_READ: Final[Mapping[str, frozenset[str]]] = {
    "openai_responses": frozenset({"annotations", "format", "id", "item", "content_blocks"}),
    "anthropic_messages": frozenset({"stop_sequence"}),
}
"""Words of others that a dialect reads: citations of Chat Completions, whose reasoning a part holds, what stopped the model."""


def answer_in_common(answer: ChatResponse, own: str) -> ChatResponse:
    """`answer` as a caller who speaks `own` can be told it. What the provider's own tools did is not said."""
    if own == "openai_chat":
        return answer
    return structs.replace(
        answer,
        choices=tuple([_choice(choice, own) for choice in answer.choices]),
        usage=None if answer.usage is None else _usage(answer.usage),
        extra=_kept(answer.extra, own),
    )


def event_in_common(event: StreamEvent, own: str) -> StreamEvent | None:
    """The same of one event of a stream; None for one that says nothing any more."""
    if own == "openai_chat":
        return event
    if isinstance(event, UsageReported):
        return UsageReported(usage=_usage(event.usage))
    if type(event) is TextDelta and not event.extra:
        return event  # what nearly every event is
    extra = _kept(event.extra, own) if not isinstance(event, Started) else {}
    if isinstance(event, Noted) and not extra:
        return None
    if isinstance(event, ThinkingDelta) and not (event.text or event.signature or event.data):
        return None
    return structs.replace(event, extra=extra) if event.extra else event


def _choice(choice: Choice, own: str) -> Choice:
    message = choice.message
    parts = tuple([_part(part, own, index) for index, part in enumerate(message.content) if not isinstance(part, Other)])
    told = Message(role="assistant", content=parts, name=message.name, extra=_kept(message.extra, own))
    return structs.replace(choice, message=told, extra=_kept(choice.extra, own))


def _part(part: Part, own: str, index: int) -> Part:
    if isinstance(part, Thinking) and own == "anthropic_messages" and part.data is None and part.signature is None:
        part = structs.replace(part, signature="")  # its clients insist on one
    if isinstance(part, ToolCall) and not part.id:
        part = structs.replace(part, id=f"call_{index}")  # OpenAI's older calls have none
    return structs.replace(part, extra=_kept(part.extra, own)) if part.extra else part


def _usage(usage: Usage) -> Usage:
    return structs.replace(usage, extra={}) if usage.extra else usage


def _kept(extra: Extra, own: str) -> dict[str, Any]:
    words = _READ.get(own, frozenset())
    return {name: value for name, value in extra.items() if name in words}
