"""Responses for callers of another dialect: drops the fields that only the provider's dialect defines.

Callers of `openai_chat` are not handled here: their clients keep unknown fields, and `translate` passes those through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import structs

from headrace.dialects.base import only_calls, only_thinks
from headrace.dialects.citation_words import CITATIONS, WORDS
from headrace.dialects.citations import ANNOTATIONS, CHAT, Citing, in_words_of
from headrace.dialects.traces import Traces, with_searches, with_traces
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
    "anthropic_messages": frozenset({"stop_sequence", CITATIONS}),
    "bedrock_converse": frozenset({CITATIONS}),
    "gemini": frozenset({ANNOTATIONS}),
}
"""Fields from other dialects that a dialect can read: Chat Completions citations, reasoning ids, the stop sequence."""


TRACED: Final = "openai_responses"
"""The dialect that has items for what any provider's built-in tools did. Callers of other dialects do not get them."""


def answer_in_common(answer: ChatResponse, own: str) -> ChatResponse:
    """`answer` as a caller who speaks `own` can receive it."""
    if own == CHAT:
        return answer
    return structs.replace(
        answer,
        choices=tuple([_choice(choice, own, answer.extra) for choice in answer.choices]),
        usage=None if answer.usage is None else _usage(answer.usage, own),
        extra=_kept(answer.extra, own),
    )


Dated = TypeVar("Dated", ChatResponse, Started)


def dated(told: Dated, moment: int) -> Dated:
    """`told` with a creation time if the provider sent none: clients of OpenAI's dialects show it."""
    return told if told.created else structs.replace(told, created=moment)


class InCommon:
    """`answer_in_common` for the events of a stream."""

    __slots__ = ("_citing", "_own", "_traces")

    def __init__(self, own: str) -> None:
        self._own = own
        self._citing = Citing(own)
        self._traces = Traces() if own == TRACED else None

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """The events to send instead of `event`; may be empty."""
        cited = self._citing.feed(event)
        if len(cited) == 1 and ((type(event) is TextDelta and not event.extra) or only_thinks(event) or only_calls(event)):
            return cited  # nearly every event
        if self._own == CHAT:
            return cited
        seen = cited if self._traces is None else self._traces.events(cited)
        return [told for one in seen if (told := _event(one, self._own)) is not None]


def _event(event: StreamEvent, own: str) -> StreamEvent | None:
    """`event` without the foreign fields; None if nothing is left."""
    if isinstance(event, UsageReported):
        return UsageReported(usage=_usage(event.usage, own))
    if type(event) is TextDelta and not event.extra:
        return event  # nearly every event
    extra = _kept(event.extra, own) if not isinstance(event, Started) else {}
    if isinstance(event, Noted) and not extra:
        return None
    if isinstance(event, ThinkingDelta) and not (event.text or event.signature or event.data):
        return None
    return structs.replace(event, extra=extra) if event.extra else event


def _choice(choice: Choice, own: str, beside: Extra) -> Choice:
    message = in_words_of(own, choice.message, beside)
    content: Sequence[Part] = message.content
    if own == TRACED:
        content = (*with_searches(choice.extra), *with_traces(content))
    parts = tuple([_part(part, own, index) for index, part in enumerate(content) if own == TRACED or not isinstance(part, Other)])
    told = Message(role="assistant", content=parts, name=message.name, extra=_kept(message.extra, own))
    return structs.replace(choice, message=told, extra=_kept(choice.extra, own))


def _part(part: Part, own: str, index: int) -> Part:
    if isinstance(part, Other):
        return part  # an item of the caller's dialect
    if isinstance(part, Thinking) and own in WORDS and part.text:
        part = structs.replace(part, data=None)  # these dialects send one or the other, never both
    if isinstance(part, Thinking) and own == "anthropic_messages" and part.data is None and part.signature is None:
        part = structs.replace(part, signature="")  # their clients require one
    if isinstance(part, ToolCall) and not part.id:
        part = structs.replace(part, id=f"call_{index}")  # OpenAI's legacy `function_call` has no id
    return structs.replace(part, extra=_kept(part.extra, own)) if part.extra else part


def _usage(usage: Usage, own: str) -> Usage:
    """Cohere's clients read billed units; other providers bill every token."""
    if own == "cohere":
        return structs.replace(usage, extra={"billed_units": {"input_tokens": usage.input, "output_tokens": usage.output}})
    return structs.replace(usage, extra={}) if usage.extra else usage


def _kept(extra: Extra, own: str) -> dict[str, Any]:
    words = _READ.get(own, frozenset())
    return {name: value for name, value in extra.items() if name in words}
