"""An answer on its way to a caller who speaks another dialect: what only the provider's dialect means is left out of it.

Callers of OpenAI's dialect are no matter of this module: their clients keep what they do not know, and `translate` says it to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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
"""Words of others that a dialect reads: citations of Chat Completions, whose reasoning a part holds, what stopped the model."""


TRACED: Final = "openai_responses"
"""The dialect with items for what a provider's own tools did, whoever it was. To callers of others that is not said."""


def answer_in_common(answer: ChatResponse, own: str) -> ChatResponse:
    """`answer` as a caller who speaks `own` can be told it."""
    if own == CHAT:
        return answer
    return structs.replace(
        answer,
        choices=tuple([_choice(choice, own, answer.extra) for choice in answer.choices]),
        usage=None if answer.usage is None else _usage(answer.usage, own),
        extra=_kept(answer.extra, own),
    )


class InCommon:
    """The same for the events of a stream."""

    __slots__ = ("_citing", "_own", "_traces")

    def __init__(self, own: str) -> None:
        self._own = own
        self._citing = Citing(own)
        self._traces = Traces() if own == TRACED else None

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """None of them says nothing."""
        cited = self._citing.feed(event)
        if len(cited) == 1 and ((type(event) is TextDelta and not event.extra) or only_thinks(event) or only_calls(event)):
            return cited  # what nearly every event is
        if self._own == CHAT:
            return cited
        seen = cited if self._traces is None else self._traces.events(cited)
        return [told for one in seen if (told := _event(one, self._own)) is not None]


def _event(event: StreamEvent, own: str) -> StreamEvent | None:
    """None for one that says nothing any more."""
    if isinstance(event, UsageReported):
        return UsageReported(usage=_usage(event.usage, own))
    if type(event) is TextDelta and not event.extra:
        return event  # what nearly every event is
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
        part = structs.replace(part, data=None)  # either is said there, not both
    if isinstance(part, Thinking) and own == "anthropic_messages" and part.data is None and part.signature is None:
        part = structs.replace(part, signature="")  # its clients insist on one
    if isinstance(part, ToolCall) and not part.id:
        part = structs.replace(part, id=f"call_{index}")  # OpenAI's older calls have none
    return structs.replace(part, extra=_kept(part.extra, own)) if part.extra else part


def _usage(usage: Usage, own: str) -> Usage:
    """Cohere's clients read what is billed, and elsewhere that is every token."""
    if own == "cohere":
        return structs.replace(usage, extra={"billed_units": {"input_tokens": usage.input, "output_tokens": usage.output}})
    return structs.replace(usage, extra={}) if usage.extra else usage


def _kept(extra: Extra, own: str) -> dict[str, Any]:
    words = _READ.get(own, frozenset())
    return {name: value for name, value in extra.items() if name in words}
