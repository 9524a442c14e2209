"""Message parts between Gemini and the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects.call_ids import Turn, made_up
from headrace.dialects.fields import json_text, merged, obj, rest
from headrace.dialects.gemini import media
from headrace.dialects.gemini.names import camel
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

OWN: Final = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "toolCall",
    "toolResponse",
)  # fmt: skip
"""The fields that hold a part's content, one in each part."""

SHARED: Final = frozenset({"mimeType", "videoMetadata", "mediaResolution", "thoughtSignature"})
"""Fields on a part from another dialect that are meant for Gemini and sent unchanged."""

SIGNED_HERE: Final = "google-gemini-v1"
"""OpenRouter's `format` for reasoning signed by Google; Gemini rejects other providers' signatures."""

ROLE: Final = "contentRole"
"""The key in a message's `extra` for a role other than the usual one. Not `role`, which every dialect uses."""

BROKEN: Final = "INVALID_JSON"
"""Wraps call arguments that are not a JSON object, since Gemini accepts nothing else."""

_TEXT: Final = frozenset({"text", "thoughtSignature"})
_THOUGHT: Final = frozenset({"text", "thoughtSignature", "thought"})
_CALL: Final = frozenset({"id", "name", "args"})
_RESULT: Final = frozenset({"id", "name", "response", "parts"})

_SAID: Final = ("output", "error", "result", "content", "return_value")
"""Keys under which a text-only result is nested. The first two are Google's, the others are used by known clients."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_parts(value: Json, at: str, calls: Turn) -> tuple[Part, ...]:
    """A list of parts. A single part counts as a list, and nested lists are flattened."""
    return tuple([read_part(part, f"{at}[{index}]", calls) for index, part in enumerate(flat(value))])


def flat(value: Json) -> list[Json]:
    """A part or a nested list of parts as a flat list."""
    if value is None:
        return []
    if type(value) is not list:
        return [value]
    return value if all(type(item) is dict for item in value) else [inner for item in value for inner in flat(item)]


def read_part(value: Json, at: str, calls: Turn) -> Part:
    """One part. Parts unknown to the hub become `Other`, unchanged."""
    if isinstance(value, str):
        return Text(text=value)
    source = camel(obj(value, at))
    for name, reader in _READERS.items():
        if name in source:
            part = reader(source, calls)
            return _other(source) if part is None else part
    return _other(source)


def _other(source: Mapping[str, Json]) -> Other:
    return Other(type=kind_of(source), extra=dict(source))


def kind_of(source: Mapping[str, Json]) -> str:
    """The name of the field that holds a part's content."""
    return next((name for name in OWN if name in source), next((name for name in source if name not in ("thought", *SHARED)), ""))


def is_part(block: Mapping[str, Json]) -> bool:
    """Whether a block that accompanies a message is one of Gemini's parts: blocks of other dialects have a `type`."""
    return "type" not in block and kind_of(camel(block)) in OWN


def _signature(source: Mapping[str, Json]) -> str | None:
    signature = source.get("thoughtSignature")
    return signature if isinstance(signature, str) and signature else None


def _read_text(source: Mapping[str, Json], calls: Turn) -> Part | None:
    text, signature = source["text"], _signature(source)
    if not isinstance(text, str) or not isinstance(source.get("thoughtSignature") or "", str):
        return None
    if source.get("thought") is not True:
        return Text(text=text, signature=signature, extra=rest(source, _TEXT, exact=frozenset({"text"})))
    extra = rest(source, _THOUGHT, exact=frozenset({"text"}))
    return Thinking(text=text, signature=signature, extra={**extra, "format": SIGNED_HERE} if signature else extra)


def _read_inline(source: Mapping[str, Json], calls: Turn) -> Part | None:
    if not isinstance(source["inlineData"], Mapping):
        return None
    inner = camel(source["inlineData"])
    kind, data = inner.get("mimeType"), inner.get("data")
    if not isinstance(kind, str) or not isinstance(data, str) or not kind or "," in kind or kind == "image/jpg":
        return None
    known = frozenset({"mimeType", "data"})
    extra = _nested(source, "inlineData", rest(inner, known, exact=known))
    if kind.startswith("audio/") and data:
        form = media.sound_format(kind)
        return Audio(data=data, format=form, extra=extra if media.sound_type(form) == kind else {**extra, "mimeType": kind})
    url = media.data_url(kind, data)
    return Image(url=url, extra=extra) if kind.startswith("image/") else File(url=url, extra=extra)


def _read_file(source: Mapping[str, Json], calls: Turn) -> Part | None:
    if not isinstance(source["fileData"], Mapping):
        return None
    inner = camel(source["fileData"])
    kind, url = inner.get("mimeType"), inner.get("fileUri")
    if not isinstance(url, str) or ":" not in url or url[:5].lower() == "data:":
        return None
    if kind and (not isinstance(kind, str) or "/" not in kind):
        return None
    known = frozenset({"mimeType", "fileUri"})
    extra = _nested(source, "fileData", rest(inner, known))
    if kind:
        extra["mimeType"] = kind
    return Image(url=url, extra=extra) if str(kind).startswith("image/") else File(url=url, extra=extra)


def _nested(source: Mapping[str, Json], name: str, inner: dict[str, Json], *known: str) -> dict[str, Json]:
    """Unknown fields of a part, with those of its nested object under `name`."""
    extra = rest(source, frozenset({name, *known}))
    return {**extra, name: inner} if inner else extra


def _read_call(source: Mapping[str, Json], calls: Turn) -> Part | None:
    if not isinstance(source["functionCall"], Mapping):
        return None
    inner = camel(source["functionCall"])
    name, id_, given = inner.get("name"), inner.get("id"), inner.get("args")
    if not isinstance(name, str) or not isinstance(id_ or "", str) or not isinstance(given or {}, Mapping):
        return None
    left = rest({key: value for key, value in inner.items() if key != "args"}, _CALL, exact=frozenset({"name"}))
    extra = _nested(source, "functionCall", left, "thoughtSignature")
    if given is None:
        extra["args"] = None if "args" in inner else UNSET
    arguments = json_text(given or {})
    return ToolCall(
        id=calls.called(name, id_ or "", arguments), name=name, arguments=arguments, signature=_signature(source), extra=extra
    )  # fmt: skip


def _read_result(source: Mapping[str, Json], calls: Turn) -> Part | None:
    if not isinstance(source["functionResponse"], Mapping):
        return None
    inner = camel(source["functionResponse"])
    name, id_, said, beside = inner.get("name"), inner.get("id"), inner.get("response"), inner.get("parts")
    if not isinstance(name, str) or not isinstance(id_ or "", str) or not isinstance(said, Mapping) or not isinstance(beside or [], list):
        return None
    text, key = _said(said)
    extra = _nested(source, "functionResponse", rest(inner, _RESULT, exact=frozenset({"name"})))
    if key != ("error" if key == "error" else "output") or text.lstrip()[:1] == "{":
        extra["response"] = key
    call_id = calls.answered(name, id_ or "")
    if not id_ and call_id and not made_up(call_id):
        extra["id"] = UNSET
    content = (Text(text=text), *read_parts(beside, "parts", calls))
    return ToolResult(call_id=call_id, content=content, name=name, is_error=key == "error", extra=extra)


def _said(response: Mapping[str, Json]) -> tuple[str, str]:
    """A result as text, and the key it was nested under; "" for any other object, whose text is its JSON."""
    if len(response) == 1:
        [(key, text)] = response.items()
        if key in _SAID and isinstance(text, str):
            return text, key
    return json_text(response), ""


_READERS: Final[Mapping[str, Callable[[Mapping[str, Json], Turn], Part | None]]] = {
    "functionCall": _read_call,
    "functionResponse": _read_result,
    "inlineData": _read_inline,
    "fileData": _read_file,
    "text": _read_text,
}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_parts(parts: Sequence[Part], at: str, *, foreign: bool) -> list[dict[str, Json]]:
    return [write_part(part, f"{at}[{index}]", foreign=foreign) for index, part in enumerate(parts)]


def write_part(part: Part, at: str, *, foreign: bool) -> dict[str, Json]:
    """One part. foreign: it was read from another dialect, whose extra fields are not sent.

    Raises BadRequestError for content that no part can express.
    """
    extra = {name: value for name, value in part.extra.items() if name in SHARED} if foreign else part.extra
    match part:
        case Text():
            return merged({}, extra, {"text": part.text, "thoughtSignature": part.signature or None})
        case Refusal():
            return {"text": part.text}
        case Thinking():
            said = {"text": part.text, "thought": True, "thoughtSignature": part.signature or None}
            return merged({}, {name: value for name, value in extra.items() if name != "format"}, said)
        case Image():
            return _write_file(part.url, part, extra, at, "image/jpeg")
        case File():
            return _write_file(part.url or part.id, part, extra, at)
        case Audio() if part.data:
            return _inlined({"mimeType": extra.get("mimeType") or media.sound_type(part.format), "data": part.data}, extra)
        case Audio() if part.transcript:
            return {"text": part.transcript}
        case ToolCall():
            return _write_call(part, extra)
        case ToolResult():
            return _write_result(part, extra, at, foreign=foreign)
        case Other():
            return _write_other(part, at, foreign=foreign)
    raise BadRequestError(f"{at}: Gemini cannot accept {type(part).__name__.lower()}: remove it, or use a model that supports it")


def _write_file(url: str, part: Image | File, extra: Extra, at: str, fallback: str = "") -> dict[str, Json]:
    if url[:5].lower() == "data:":
        return _inlined(media.inline(url, at), extra)
    guess = extra is not part.extra  # from another dialect: the file extension may tell the type
    said = media.address(url, {**part.extra, **extra}, at, fallback, guess=guess)
    return merged({}, _without(extra, "fileData", "mimeType"), {"fileData": {**_inner(extra, "fileData"), **said}})


def _inlined(said: dict[str, Json], extra: Extra) -> dict[str, Json]:
    return merged({}, _without(extra, "inlineData", "mimeType"), {"inlineData": {**_inner(extra, "inlineData"), **said}})


def _without(extra: Extra, *names: str) -> dict[str, Json]:
    return {name: value for name, value in extra.items() if name not in names}


def _inner(extra: Extra, name: str) -> dict[str, Json]:
    inner = extra.get(name)
    return dict(inner) if isinstance(inner, Mapping) else {}


def _write_call(call: ToolCall, extra: Extra) -> dict[str, Json]:
    said: dict[str, Json] = {"id": _id(call.id), "name": call.name, "args": arguments(call)}
    if said["args"] == {} and "args" in extra:
        said["args"] = None  # it came without arguments
    usual = {} if extra.get("args") is UNSET else {"args": extra.get("args", {})}
    inner = merged(usual, _inner(extra, "functionCall"), said)
    return merged({}, _without(extra, "functionCall", "args"), {"functionCall": inner, "thoughtSignature": call.signature or None})


def _id(id_: str) -> str | None:
    return id_ if id_ and not made_up(id_) else None


def arguments(call: ToolCall) -> dict[str, Json]:
    """The arguments as the object Gemini requires."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    made = _object(call.arguments)
    return {BROKEN: call.arguments} if made is None else made


def _object(text: str) -> dict[str, Any] | None:
    try:
        made = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    return made if isinstance(made, dict) else None


def _write_result(result: ToolResult, extra: Extra, at: str, *, foreign: bool) -> dict[str, Json]:
    """A tool result. Text that is a JSON object is sent as that object."""
    if not result.name:
        raise BadRequestError(f"{at}: no earlier call has this result's id, and Gemini requires the function's name: set the result's name")
    texts = [part for part in result.content if isinstance(part, Text | Refusal)]
    others = [part for part in result.content if not isinstance(part, Text | Refusal)]
    said: dict[str, Json] = {
        "id": None if extra.get("id") is UNSET else _id(result.call_id),
        "name": result.name,
        "response": _response("".join(part.text for part in texts), extra.get("response"), error=result.is_error),
        "parts": write_parts(others, f"{at}.content", foreign=foreign) or None,
    }
    inner = merged({}, _inner(extra, "functionResponse"), said)
    return merged({}, _without(extra, "functionResponse", "response", "id"), {"functionResponse": inner})


def _response(text: str, key: Json, *, error: bool) -> dict[str, Json]:
    if isinstance(key, str) and key:
        return {key: text}
    made = None if error else _object(text)
    return {"error" if error else "output": text} if made is None else made


def _write_other(part: Other, at: str, *, foreign: bool) -> dict[str, Json]:
    if not foreign or part.type in OWN:
        return dict(part.extra)
    address = part.extra.get(part.type)
    url = address.get("url") if isinstance(address, Mapping) else address
    if part.type in ("video_url", "input_video", "audio_url", "file_url") and isinstance(url, str):
        return _write_file(url, File(url=url, extra=part.extra), {}, at)
    raise BadRequestError(f"{at}: Gemini cannot accept {part.type}: remove it, or use a model that supports it")
