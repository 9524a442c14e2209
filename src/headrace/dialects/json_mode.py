"""JSON mode (`json_object`) for providers without it: the system prompt asks for JSON, and a code fence around the response is removed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from headrace.types import ChatRequest, Choice, Finished, Message, ResponseFormat, StreamEvent, Text, TextDelta

_WITHOUT: Final = frozenset({"anthropic_messages", "bedrock_converse"})
_TOLD: Final = "Answer with one JSON object and nothing else: no words and no code fence around it."
_WHOLE: Final = re.compile(r"\s*```\w*[ \t]*\n(.*?)\s*```\s*", re.DOTALL)
_OPENING: Final = re.compile(r"\s*```\w*[ \t]*\n")
_BEGINNING: Final = re.compile(r"\s*(?:`{1,2}|```\w*[ \t]*)?")
_CLOSING: Final = re.compile(r"\s*`{0,3}\s*\Z")


def with_schema(request: ChatRequest) -> ChatRequest:
    """`request` with a schema given beside `json_object` as a JSON schema: Together and Fireworks use `schema`, Hugging Face `value`."""
    format_ = request.response_format
    if format_ is None or format_.type != "json_object":
        return request
    schema = format_.extra.get("schema") or format_.extra.get("value")
    if not isinstance(schema, Mapping):
        return request
    return replace(request, response_format=ResponseFormat(type="json_schema", name="answer", schema=schema))


def is_missing(request: ChatRequest, dialect: str) -> bool:
    """Whether the request wants JSON mode and the provider's dialect has none."""
    return dialect in _WITHOUT and request.response_format is not None and request.response_format.type == "json_object"


def in_words(request: ChatRequest) -> ChatRequest:
    """`request` with JSON mode as an instruction after the system prompt."""
    first = next((at for at, message in enumerate(request.messages) if message.role not in ("system", "developer")), len(request.messages))
    told = Message(role="system", content=(Text(text=_TOLD),))
    return replace(request, messages=(*request.messages[:first], told, *request.messages[first:]), response_format=None)


def unfenced(choice: Choice) -> Choice:
    """`choice` without a code fence around its whole text."""
    texts = [part for part in choice.message.content if isinstance(part, Text)]
    if len(texts) != 1 or (found := _WHOLE.fullmatch(texts[0].text)) is None:
        return choice
    content = tuple([replace(part, text=found[1]) if part is texts[0] else part for part in choice.message.content])
    return replace(choice, message=replace(choice.message, content=content))


class Unfenced:
    """`unfenced` for a stream's events. Text that may be part of a fence is held back until more arrives."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        if type(event) is TextDelta:
            text = self._choices.setdefault(event.choice, _Choice()).more(event.text)
            return (replace(event, text=text),) if text or event.extra or event.signature else ()
        if type(event) is Finished and event.choice in self._choices and (rest := self._choices.pop(event.choice).rest()):
            return (TextDelta(text=rest, choice=event.choice), event)
        return (event,)


class _Choice:
    """The text of one choice. `_fenced` is None until it is known whether the text starts with a fence."""

    __slots__ = ("_fenced", "_held")

    def __init__(self) -> None:
        self._fenced: bool | None = None
        self._held = ""

    def more(self, text: str) -> str:
        """The part of the text so far that can be sent on."""
        text, self._held = self._held + text, ""
        if self._fenced is None:
            if (opening := _OPENING.match(text)) is not None:
                self._fenced, text = True, text[opening.end() :]
            elif _BEGINNING.fullmatch(text):
                self._held = text
                return ""
            else:
                self._fenced = False
        if not self._fenced:
            return text
        closing = _CLOSING.search(text)
        at = len(text) if closing is None else closing.start()
        self._held = text[at:]
        return text[:at]

    def rest(self) -> str:
        """Held text that turned out not to be a fence."""
        return "" if self._fenced and self._held.strip() == "```" else self._held
