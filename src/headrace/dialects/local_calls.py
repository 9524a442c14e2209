"""Turns calls to the functions that `local_tools` substituted for a caller's tools back into the caller's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.dialects.fields import OWN
from headrace.dialects.local_tools import BARE, ITEMS, Form
from headrace.dialects.traces import BLOCKS
from headrace.types import ChatResponse, Choice, Finished, Noted, Other, Part, StreamEvent, ToolCall, ToolCallDelta


def called_back(answer: ChatResponse, forms: Mapping[str, Form]) -> ChatResponse:
    """`answer` with its calls in the caller's format."""
    return replace(answer, choices=tuple([_choice(choice, forms) for choice in answer.choices])) if forms else answer


def _choice(choice: Choice, forms: Mapping[str, Form]) -> Choice:
    content = tuple([_part(part, forms) for part in choice.message.content])
    return replace(choice, message=replace(choice.message, content=content))


def _part(part: Part, forms: Mapping[str, Form]) -> Part:
    form = forms.get(part.name) if isinstance(part, ToolCall) else None
    if form is None or not isinstance(part, ToolCall):
        return part
    if form.kind == "item":
        item = _item(form, part.id, part.arguments)
        return Other(type=item["type"], extra=item)
    extra = {**part.extra, **_where(form)}
    if form.kind == "function":
        return replace(part, name=form.name, extra=extra)
    return replace(part, name=form.name, kind="custom", arguments=_bare(part.arguments), extra=extra)


def _where(form: Form) -> dict[str, Any]:
    return {OWN: {"namespace": form.namespace}} if form.namespace else {}


def _bare(arguments: str) -> str:
    """The text input for a custom tool, from the function's arguments; the arguments themselves if they are not such an object."""
    value = _object(arguments).get(BARE)
    return value if isinstance(value, str) else arguments


def _object(arguments: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _item(form: Form, call_id: str, arguments: str) -> dict[str, Any]:
    item = ITEMS[form.name]
    said: dict[str, Any] = {**item.beside, **_object(arguments)}
    client = {"execution": "client"} if form.name == "tool_search" else {}
    return {"type": item.call, "id": f"{item.call}_{call_id}", "call_id": call_id, "status": "completed", item.field: said, **client}


class _Held(Struct):
    """A call whose arguments are still incomplete."""

    form: Form
    id: str
    arguments: str = ""


class CalledBack:
    """`called_back` for the events of a stream. A custom tool's input is sent once it is complete."""

    __slots__ = ("_done", "_forms", "_held")

    def __init__(self, forms: Mapping[str, Form]) -> None:
        self._forms = forms
        self._done: set[tuple[int, int]] = set()
        self._held: dict[tuple[int, int], _Held] = {}

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        if type(event) is ToolCallDelta:
            return self._call(event)
        if type(event) is Finished and self._held:
            return [*(one for key in list(self._held) if key[0] == event.choice for one in self._told(key)), event]
        return (event,)

    def _call(self, event: ToolCallDelta) -> Sequence[StreamEvent]:
        key = event.choice, event.index
        form = self._forms.get(event.name)
        if form is not None and form.kind == "function":
            return (replace(event, name=form.name, extra={**event.extra, **_where(form)}),)
        if form is not None:
            self._held[key] = _Held(form, event.id)
        held = self._held.get(key)
        if held is None:
            return () if key in self._done else (event,)
        held.arguments += event.arguments
        begun = form is not None or event.signature or event.extra
        told: list[StreamEvent] = []
        if held.form.kind == "custom" and begun:
            name, extra = (held.form.name, _where(held.form)) if form is not None else ("", {})
            told.append(replace(event, name=name, kind="custom", arguments="", extra={**event.extra, **extra}))
        if event.arguments.rstrip().endswith("}") and _object(held.arguments):
            told += self._told(key)
        return told

    def _told(self, key: tuple[int, int]) -> Sequence[StreamEvent]:
        """The events for everything held back of a call."""
        held = self._held.pop(key)
        self._done.add(key)
        if held.form.kind == "item":
            return [Noted(level="message", choice=key[0], extra={BLOCKS: [_item(held.form, held.id, held.arguments)]})]
        return [ToolCallDelta(index=key[1], choice=key[0], arguments=_bare(held.arguments), kind="custom")]
