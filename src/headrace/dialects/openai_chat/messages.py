"""Messages and their parts between OpenAI's Chat Completions and the hub, for requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import UNSET

from headrace.dialects.fields import bad, common, items, json_text, merged, obj, optional, rest, string
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Message, Other, Part, Refusal, Role, Text, Thinking, ToolCall, ToolResult

ROLES: Final = get_args(Role)

_MESSAGE: Final = frozenset({"role", "content", "name"})
_ASSISTANT: Final = _MESSAGE | {
    "tool_calls", "function_call", "refusal", "audio", "reasoning", "reasoning_content", "reasoning_details", "extra_content",
}  # fmt: skip
_TOOL: Final = _MESSAGE | {"tool_call_id"}

# Defaults to write for fields the hub does not set.
_TURN: Final[Mapping[str, Json]] = {"content": None}
_FUNCTION_RESULT: Final[Mapping[str, Json]] = {"content": ""}
_RESULT: Final[Mapping[str, Json]] = {"tool_call_id": "", "content": ""}
_CALL: Final[Mapping[str, Mapping[str, Json]]] = {kind: {"id": "", "type": kind} for kind in ("function", "custom")}
_CALLED: Final[Mapping[str, Mapping[str, Json]]] = {"function": {"name": "", "arguments": ""}, "custom": {"name": "", "input": ""}}

_EXACT: Final = frozenset({"content", "name"})
_SUMMARY: Final = "reasoning.summary"
_DETAIL: Final = frozenset({"text", "summary", "signature", "data"})


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_message(value: Json, at: str) -> Message:
    """One message. Raises BadRequestError that names the field below `at`."""
    source = obj(value, at)
    role = source.get("role")
    if role == "assistant":
        return read_assistant(source, at)
    if role in ("tool", "function"):
        return _read_result(source, at)
    if role not in ROLES:
        raise bad(f"{at}.role", f"one of {', '.join(ROLES)}", role)
    content = read_content(source.get("content"), f"{at}.content")
    extra = rest(source, _MESSAGE, _TURN, exact=_EXACT)
    return Message(role=cast("Any", role), content=content, name=optional(source.get("name"), f"{at}.name"), extra=extra)


def _read_result(source: Mapping[str, Json], at: str) -> Message:
    """A tool's result. The legacy `function` role has a name instead of an id."""
    call_id = source.get("tool_call_id")
    name = optional(source.get("name"), f"{at}.name")
    content = read_content(source.get("content"), f"{at}.content")
    result = ToolResult(call_id=string(call_id, f"{at}.tool_call_id") if call_id is not None else "", content=content, name=name)
    if source.get("content") == "":
        result = msgspec.structs.replace(result, content=())
    extra = rest(source, _TOOL, _FUNCTION_RESULT if source["role"] == "function" else _RESULT, exact=_EXACT)
    return Message(role="tool", content=(result,), extra=extra)


def read_assistant(source: Mapping[str, Json], at: str) -> Message:
    """An assistant message: reasoning, then content, then tool calls."""
    thinking, echo = _read_thinking(source, at)
    content = read_content(source.get("content"), f"{at}.content")
    content = _signed(content, source.get("extra_content"))
    refusal = source.get("refusal")
    audio = source.get("audio")
    parts: list[Part] = [*thinking, *content]
    if refusal:
        parts.append(Refusal(text=string(refusal, f"{at}.refusal")))
    if isinstance(audio, Mapping) and any(audio.values()):
        parts.append(_read_spoken(audio))
    calls = list(enumerate(items(source.get("tool_calls"), f"{at}.tool_calls")))
    parts += [read_call(call, f"{at}.tool_calls[{i}]") for i, call in calls if not is_strange(call)]
    legacy = source.get("function_call")
    if isinstance(legacy, Mapping) and legacy.get("name"):
        parts.append(_read_legacy(legacy, f"{at}.function_call"))
    extra = {**rest(source, _ASSISTANT, _TURN, exact=_EXACT), **echo, **_hollow(source)}
    if source.get("extra_content") and not any(isinstance(part, Text) and part.signature for part in content):
        extra["extra_content"] = source["extra_content"]
    if strange := [call for _, call in calls if is_strange(call)]:
        extra["tool_calls"] = strange
    return Message(role="assistant", content=tuple(parts), name=optional(source.get("name"), f"{at}.name"), extra=extra)


def _hollow(source: Mapping[str, Json]) -> dict[str, Json]:
    """Empty objects, kept for `extra`: Snowflake sends an empty call and empty audio with every message."""
    hollow: dict[str, Json] = {}
    for name, said in (("function_call", "name"), ("audio", None)):
        value = source.get(name)
        if isinstance(value, Mapping) and value and not (value.get(said) if said else any(value.values())):
            hollow[name] = value
    return hollow


def _signed(content: tuple[Part, ...], extra_content: Json) -> tuple[Part, ...]:
    """Google's OpenAI-compatible endpoint signs the message; the signature belongs to its last text."""
    signature = google_signature(extra_content)
    if signature is None or not content or not isinstance(content[-1], Text):
        return content
    return (*content[:-1], msgspec.structs.replace(content[-1], signature=signature))


def google_signature(extra_content: Json) -> str | None:
    """The signature in `{"google": {"thought_signature": …}}`, if the object holds nothing else."""
    match extra_content:
        case {"google": {"thought_signature": str(signature), **google}, **others} if not google and not others:
            return signature
    return None


def read_content(value: Json, at: str) -> tuple[Part, ...]:
    """A string, a list of parts, or null. Cloudflare sends structured output as an object, whose JSON becomes the text."""
    if isinstance(value, str):
        return (Text(text=value),)
    if isinstance(value, Mapping):
        return (Text(text=json_text(value)),)
    parts = tuple(_read_part(part, f"{at}[{index}]") for index, part in enumerate(items(value, at)))
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].extra:
        return (msgspec.structs.replace(parts[0], extra={"type": "text"}),)  # a list of one text stays a list
    return parts


def _read_part(value: Json, at: str) -> Part:
    if isinstance(value, str):
        return Text(text=value)
    source = obj(value, at)
    kind = string(source.get("type", "text" if "text" in source else None), f"{at}.type")
    reader = _PARTS.get(kind)
    part = None if reader is None else reader(source)
    return Other(type=kind, extra=dict(source)) if part is None else part


def _read_text(source: Mapping[str, Json]) -> Part | None:
    text = source.get("text")
    return Text(text=text, extra=rest(source, frozenset({"type", "text"}), exact=frozenset({"text"}))) if isinstance(text, str) else None


def _read_image(source: Mapping[str, Json]) -> Part | None:
    match source.get("image_url"):
        case str(url):  # Mistral's format
            return Image(url=url, extra={**rest(source, frozenset({"type", "image_url"})), "image_url": UNSET})
        case {"url": str(url), **inner}:
            detail = inner.get("detail")
            extra = _nested(source, "image_url", frozenset({"url", "detail"}))
            return Image(url=url, detail=detail if isinstance(detail, str) else None, extra=extra)
    return None


def _read_heard(source: Mapping[str, Json]) -> Part | None:
    match source.get("input_audio"):
        case {"data": str(data), "format": str(kind)}:
            return Audio(data=data, format=kind, extra=_nested(source, "input_audio", frozenset({"data", "format"})))
    return None


def _read_spoken(audio: Mapping[str, Json]) -> Audio:
    known = frozenset({"data", "format", "id", "transcript"})
    said = {name: audio[name] for name in known if isinstance(audio.get(name), str)}
    return Audio(**said, extra=rest(audio, known))


def _read_file(source: Mapping[str, Json]) -> Part | None:
    inner = source.get("file")
    if not isinstance(inner, Mapping):
        return None
    names = {"file_data": "url", "file_id": "id", "filename": "name"}
    said = {names[name]: value for name, value in inner.items() if name in names and isinstance(value, str)}
    return File(**said, extra=_nested(source, "file", frozenset(names))) if said.get("url") or said.get("id") else None


def _read_refusal(source: Mapping[str, Json]) -> Part | None:
    refusal = source.get("refusal")
    return (
        Refusal(text=refusal, extra=rest(source, frozenset({"refusal"}), exact=frozenset({"refusal"})))
        if isinstance(refusal, str)
        else None
    )


def _read_thinking_part(source: Mapping[str, Json]) -> Part | None:
    """Mistral's `{"type": "thinking", "thinking": [{"type": "text", "text": …}]}`. A list with anything but texts is kept in `extra`."""
    thinking = source.get("thinking")
    if not isinstance(thinking, list) or not all(isinstance(item, Mapping) for item in thinking):
        return None
    kept = {} if all(map(_is_plain, thinking)) else {"thinking": thinking}
    return Thinking(text=_thought(thinking), extra={**rest(source, frozenset({"thinking"})), **kept})


def _thought(items: Sequence[Any]) -> str:
    texts = (item.get("text") for item in items if item.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _is_plain(item: Json) -> bool:
    return isinstance(item, Mapping) and set(item) == {"type", "text"} and item["type"] == "text" and isinstance(item["text"], str)


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Json]], Part | None]]] = {
    "text": _read_text,
    "image_url": _read_image,
    "input_audio": _read_heard,
    "file": _read_file,
    "refusal": _read_refusal,
    "thinking": _read_thinking_part,
}


def _nested(source: Mapping[str, Json], name: str, known: frozenset[str]) -> Extra:
    """Unknown fields of a part, with those of its nested object under `name`."""
    extra = rest(source, frozenset({"type", name}))
    inner = rest(source[name], known, exact=known)
    return {**extra, name: inner} if inner else extra


def _read_thinking(source: Mapping[str, Json], at: str) -> tuple[list[Thinking], dict[str, Json]]:
    """Reasoning from whichever field holds it, and what to keep of fields that repeat it or hold other types."""
    parts, kept = _read_thoughts(source, at)
    strange = {name: value for name in ("reasoning", "reasoning_content") if not isinstance(value := source.get(name), str) and value}
    return parts, {**kept, **strange}


def _read_thoughts(source: Mapping[str, Json], at: str) -> tuple[list[Thinking], dict[str, Json]]:
    details = source.get("reasoning_details")
    if isinstance(details, list) and details:
        parts = [read_detail(obj(detail, f"{at}.reasoning_details[{i}]"), i) for i, detail in enumerate(details)]
        text = "".join(part.text for part in parts)
        kept = {"reasoning": source["reasoning"]} if source.get("reasoning") else {}
        if text and source.get("reasoning_content") != text:
            kept["reasoning_content"] = source.get("reasoning_content", UNSET)
        return parts, kept
    for field in ("reasoning_content", "reasoning"):
        if isinstance(thought := source.get(field), str) and thought:
            also = "reasoning" if field == "reasoning_content" else ""
            kept = {also: source[also]} if source.get(also) else {}  # vLLM sent both while it renamed the field
            return [Thinking(text=thought, extra={"field": field})], kept
    return [], {}


def read_detail(detail: Mapping[str, Json], position: int) -> Thinking:
    """One of OpenRouter's `reasoning_details`, the only format with signatures."""
    told = {name: value for name in _DETAIL if isinstance(value := detail.get(name), str) and value}
    usual = {"type": _detail_type(told.get("data")), "index": position}
    extra = rest(detail, frozenset(told), usual)
    if "summary" in told and "text" not in told and detail.get("type") != _SUMMARY:
        extra["summary"] = told["summary"]  # an unknown type of detail
    return Thinking(text=told.get("text") or told.get("summary", ""), signature=told.get("signature"), data=told.get("data"), extra=extra)


def _detail_type(data: str | None) -> str:
    return "reasoning.text" if data is None else "reasoning.encrypted"


def read_call(value: Json, at: str) -> ToolCall:
    """A tool call. Arguments sent as an object are converted to JSON text."""
    source = obj(value, at)
    kind = "function" if isinstance(source.get("function"), Mapping) or "custom" not in source else "custom"
    inner = obj(source.get(kind), f"{at}.{kind}")
    body = "input" if kind == "custom" else "arguments"
    extra = rest(source, frozenset({"id", "function", "custom", "extra_content"}), _CALL[kind])
    unknown = rest(inner, frozenset({"name", body}), _CALLED[kind])
    if unknown:
        extra[kind] = unknown
    if kind == "function" and source.get("custom"):
        extra["custom"] = source["custom"]  # Snowflake sends an empty one next to the function
    signature = google_signature(source.get("extra_content"))
    if signature is None and source.get("extra_content"):
        extra["extra_content"] = source["extra_content"]
    return ToolCall(
        id=optional(source.get("id"), f"{at}.id") or "",
        name=optional(inner.get("name"), f"{at}.{kind}.name") or "",
        arguments=arguments_text(inner.get(body)),
        kind=cast("Any", kind),
        signature=signature,
        extra=extra,
    )


def is_strange(call: Json) -> bool:
    """Whether the call is of a type OpenAI does not have, such as one that the provider executes itself."""
    kind = call.get("type") if isinstance(call, Mapping) else None
    return isinstance(kind, str) and kind not in _CALL and not _CALL.keys() & call.keys()


def _read_legacy(call: Mapping[str, Json], at: str) -> ToolCall:
    name = optional(call.get("name"), f"{at}.name") or ""
    extra = rest(call, frozenset({"name", "arguments"}), _CALLED["function"])
    return ToolCall(id="", name=name, arguments=arguments_text(call.get("arguments")), kind="legacy", extra=extra)


def arguments_text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text(value)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_message(message: Message) -> list[dict[str, Json]]:
    """A message in OpenAI's format; a tool message gives one for each result."""
    if message.role == "tool":
        return [_write_result(part, message) for part in message.content]
    if message.role == "assistant":
        return [write_assistant(message)]
    return [merged({"role": message.role, **_TURN}, message.extra, {"content": write_content(message.content), "name": message.name})]


def _write_result(result: Part, message: Message) -> dict[str, Json]:
    if not isinstance(result, ToolResult):
        raise BadRequestError(f"a tool message must contain tool results, got a {type(result).__name__}")
    said = {"name": result.name, "content": write_content(result.content)}
    if not result.call_id and result.name is not None and "tool_call_id" not in message.extra:
        return merged({"role": "function", **_FUNCTION_RESULT}, message.extra, said)
    return merged({"role": "tool", **_RESULT}, message.extra, {"tool_call_id": result.call_id or None, **said})


def write_assistant(message: Message) -> dict[str, Json]:
    said: dict[str, Json] = {"name": message.name}
    parts = message.content
    said |= _write_thinking([part for part in parts if isinstance(part, Thinking) and not _in_content(part)])
    if "reasoning_details" in said and "reasoning_content" in message.extra:
        del said["reasoning_content"]  # the details came without this duplicate
    said["content"] = write_content([part for part in parts if _in_content(part)])
    said["refusal"] = "".join(part.text for part in parts if isinstance(part, Refusal) and not _in_content(part)) or None
    for part in parts:
        if isinstance(part, Audio):
            said["audio"] = merged({}, part.extra, _audio_fields(part))
        elif isinstance(part, Text) and part.signature:
            said["extra_content"] = google_extra(part.signature)
    calls = [write_call(part) for part in parts if isinstance(part, ToolCall) and part.kind != "legacy"]
    said["tool_calls"] = [*calls, *(message.extra.get("tool_calls") or ())] or None
    for part in parts:
        if isinstance(part, ToolCall) and part.kind == "legacy":
            said["function_call"] = merged(
                _CALLED["function"], part.extra, {"name": part.name or None, "arguments": part.arguments or None}
            )
    return merged({"role": "assistant", **_TURN}, message.extra, said)


def _in_content(part: Part) -> bool:
    """Whether a part of an assistant message goes into `content`: parts read from there, and those without a field of their own."""
    if isinstance(part, Thinking | Refusal):
        return part.extra.get("type") in ("thinking", "refusal")
    return not isinstance(part, Audio | ToolCall)


def _audio_fields(audio: Audio) -> dict[str, Json]:
    fields = {"id": audio.id, "data": audio.data, "format": audio.format, "transcript": audio.transcript}
    return {name: value for name, value in fields.items() if value}


def google_extra(signature: str) -> dict[str, Json]:
    return {"google": {"thought_signature": signature}}


def _write_thinking(parts: Sequence[Thinking]) -> dict[str, Json]:
    """Reasoning read from a plain field is written back there.

    Other reasoning goes into `reasoning_details`, its text also into `reasoning_content`, where clients look for it.
    """
    detailed = [part for part in parts if "field" not in part.extra]
    said: dict[str, Json] = {}
    if detailed:
        said["reasoning_content"] = "".join(part.text for part in detailed) or None
        said["reasoning_details"] = [write_detail(part, position) for position, part in enumerate(detailed)]
    for part in parts:
        if "field" in part.extra:
            said[part.extra["field"]] = part.text
    return said


def write_detail(part: Thinking, position: int) -> dict[str, Json]:
    text = "summary" if part.extra.get("type") == _SUMMARY or "summary" in part.extra else "text"
    said = {text: part.text or None, "signature": part.signature, "data": part.data}
    return merged({"type": _detail_type(part.data), "index": position}, part.extra, said)


def write_content(parts: Sequence[Part]) -> Json:
    """A string for one plain text, None for no parts, otherwise a list."""
    if not parts:
        return None
    if len(parts) == 1 and isinstance(parts[0], Text) and not common(parts[0].extra):
        return parts[0].text
    return [_write_part(part) for part in parts]


def _write_part(part: Part) -> dict[str, Json]:
    match part:
        case Text():
            return merged({"type": "text"}, part.extra, {"text": part.text})
        case Image():
            if part.extra.get("image_url") is UNSET:
                return merged({"type": "image_url"}, part.extra, {"image_url": part.url})
            return _write_nested("image_url", part.extra, {"url": part.url, "detail": part.detail})
        case Audio():
            return _write_nested("input_audio", part.extra, {"data": part.data, "format": part.format})
        case File():
            said = {"file_data": part.url or None, "file_id": part.id or None, "filename": part.name or None}
            return _write_nested("file", part.extra, said)
        case Refusal():
            return merged({"type": "refusal"}, part.extra, {"refusal": part.text})
        case Thinking():
            kept = part.extra.get("thinking")
            thinking = kept if isinstance(kept, list) and _thought(kept) == part.text else [{"type": "text", "text": part.text}]
            return merged({"type": "thinking"}, part.extra, {"thinking": thinking})
        case Other():
            return merged({"type": part.type}, part.extra, {})
    raise BadRequestError(f"content cannot contain a {type(part).__name__} here")


def _write_nested(name: str, extra: Extra, said: Mapping[str, Json]) -> dict[str, Json]:
    inner = extra.get(name)
    return merged({"type": name}, extra, {name: merged({}, inner if isinstance(inner, Mapping) else {}, said)})


def write_call(call: ToolCall) -> dict[str, Json]:
    kind, body = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
    inner = merged(_CALLED[kind], call.extra.get(kind) or {}, {"name": call.name or None, body: call.arguments or None})
    signed = None if call.signature is None else google_extra(call.signature)
    said = {"id": call.id or None, kind: inner, "extra_content": signed}
    return merged(_CALL[kind], {name: _without_unset(value) for name, value in call.extra.items()}, said)


def _without_unset(value: Json) -> Json:
    """Drops the markers of missing fields that another dialect put into a call's `extra`."""
    return {name: kept for name, kept in value.items() if kept is not UNSET} if isinstance(value, Mapping) else value
