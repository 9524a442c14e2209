"""What the official clients' own types say to bodies and streams, by dialect. Each function returns what they refuse.

Types that ignore what they do not know are asked strictly: whatever does not come out of them again was not known.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from conformance.checks import differences
from headrace.framing import EventStreamReader, SseReader
from headrace.wire import Frame

Body: TypeAlias = dict[str, Any]


def plain(value: Any) -> Any:
    """What pydantic made, as JSON has it: the SDKs' types say Iterable for lists, which are checked only while they are walked."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, str | bytes | int | float | bool) or value is None:
        return value
    return [plain(inner) for inner in value]


def refused(adapter: TypeAdapter[Any], value: Any, *, strictly: bool) -> list[str]:
    """What the type refuses; strictly: and what it does not know."""
    try:
        known = plain(adapter.validate_python(value))
    except ValidationError as error:
        return [f"{_at(found['loc'])}: {found['msg']}" for found in error.errors()[:3]]
    return [wrong for wrong in differences(value, known) if strictly and "only in the original" in wrong and not UNTYPED.search(wrong)]


UNTYPED = re.compile(r"schema\b.*\.|^\.(temperature|top_p|top_k) is")
"""JSON Schema is not for the client to know; Anthropic's newest does not type what only older models take."""


def _at(place: tuple[Any, ...]) -> str:
    return ".".join("[]" if isinstance(step, int) else str(step) for step in place)


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def fewest(found: Iterable[list[str]]) -> list[str]:
    """Of what several types refuse the least: Anthropic's SDK has two for each of its bodies, of which one may do."""
    return min(found, key=len)


@cache
def _params(dialect: str) -> tuple[TypeAdapter[Any], ...]:
    match dialect:
        case "openai_chat":
            from openai.types.chat import completion_create_params as chat

            return (TypeAdapter(chat.CompletionCreateParamsNonStreaming | chat.CompletionCreateParamsStreaming),)
        case "openai_responses":
            from openai.types.responses import response_create_params as made

            return (TypeAdapter(made.ResponseCreateParamsNonStreaming | made.ResponseCreateParamsStreaming),)
        case "anthropic_messages":
            from anthropic.types import message_create_params as messages
            from anthropic.types.beta import message_create_params as beta

            return (
                TypeAdapter(messages.MessageCreateParamsNonStreaming | messages.MessageCreateParamsStreaming),
                TypeAdapter(beta.MessageCreateParamsNonStreaming | beta.MessageCreateParamsStreaming),
            )
    raise KeyError(dialect)


def by_params(dialect: str) -> Callable[[Body], list[str]]:
    return lambda body: fewest(refused(adapter, body, strictly=True) for adapter in _params(dialect))


@cache
def _gemini_request() -> type[BaseModel]:
    from google.genai import types

    fields: dict[str, Any] = {
        "contents": (list[types.Content], ...),
        "systemInstruction": (types.Content | None, None),
        "tools": (list[types.Tool] | None, None),
        "toolConfig": (types.ToolConfig | None, None),
        "safetySettings": (list[types.SafetySetting] | None, None),
        "generationConfig": (types.GenerateContentConfig | None, None),  # the SDK spreads its fields over the body
        "cachedContent": (str | None, None),
        "serviceTier": (str | None, None),
        "labels": (dict[str, str] | None, None),
    }
    return create_model("GenerateContent", __config__=ConfigDict(extra="forbid"), **fields)


def gemini_request(body: Body) -> list[str]:
    return by_model(_gemini_request(), body)


def by_model(model: type[BaseModel], body: Any) -> list[str]:
    """Models that forbid what they do not know."""
    try:
        model.model_validate_json(json.dumps(body))
    except AttributeError as error:  # Google's, for an enum's value that is no text
        return [str(error)]
    except ValidationError as error:
        return [f"{_at(found['loc'])}: {found['msg']}" for found in error.errors()[:3]]
    return []


@cache
def _converse(operation: str) -> Any:
    from botocore.session import Session

    return Session().get_service_model("bedrock-runtime").operation_model(operation)


def converse_request(body: Body) -> list[str]:
    from botocore.validate import ParamValidator

    shape = _converse("Converse").input_shape
    report = ParamValidator().validate(decoded({"modelId": "m", **body}, shape), shape)
    return [report.generate_report()] if report.has_errors() else []


def decoded(value: Any, shape: Any) -> Any:
    """JSON as the parameters botocore takes: bytes for base64."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if shape.type_name == "structure" and isinstance(value, dict) and not getattr(shape, "is_document_type", False):
        return {name: decoded(inner, shape.members[name]) if name in shape.members else inner for name, inner in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [decoded(inner, shape.member) for inner in value]
    return value


@cache
def _cohere_request() -> type[BaseModel]:
    """The body as the client's own method makes it of its arguments: their types, and no others."""
    from cohere.v2.raw_client import RawV2Client

    taken = get_type_hints(RawV2Client.chat, include_extras=True)
    fields: dict[str, Any] = {
        name: (of, ... if name in ("model", "messages") else None) for name, of in taken.items() if name not in _NO_BODY
    }
    return create_model("V2Chat", __config__=ConfigDict(extra="forbid"), stream=(bool, False), **fields)


_NO_BODY = ("request_options", "return")


def cohere_request(body: Body) -> list[str]:
    return by_model(_cohere_request(), body) or list(strangers(_cohere_request().model_validate(body)))


def mistral_request(body: Body) -> list[str]:
    from mistralai.client import models

    return refused(TypeAdapter(models.ChatCompletionRequest), body, strictly=True)


def strangers(value: Any, at: str = "") -> Iterator[str]:
    """Fields that models which keep whatever they are given do not know."""
    if isinstance(value, BaseModel):
        yield from (f"{at}.{name}: Extra inputs are not permitted" for name in value.model_extra or ())
        for name in value.model_fields_set - set(value.model_extra or ()):
            yield from strangers(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strangers(inner, f"{at}[]")


# ---- answers -----------------------------------------------------------------------------------------------------------------------


@cache
def _answer(dialect: str) -> tuple[type[BaseModel], ...]:
    match dialect:
        case "openai_chat":
            from openai.types.chat import ChatCompletion

            return (ChatCompletion,)
        case "openai_responses":
            from openai.types.responses import Response

            return (Response,)
        case "anthropic_messages":
            from anthropic.types import Message
            from anthropic.types.beta import BetaMessage

            return (Message, BetaMessage)
        case "gemini":
            from google.genai.types import GenerateContentResponse

            return (GenerateContentResponse,)
    raise KeyError(dialect)


def by_answer(dialect: str) -> Callable[[Body], list[str]]:
    return lambda body: fewest(by_model(model, body) for model in _answer(dialect))


def converse_answer(body: Body) -> list[str]:
    from botocore.validate import ParamValidator

    shape = _converse("Converse").output_shape
    report = ParamValidator().validate(decoded(body, shape), shape)
    return [report.generate_report()] if report.has_errors() else []


# ---- streams -----------------------------------------------------------------------------------------------------------------------


@cache
def _events(dialect: str) -> tuple[TypeAdapter[Any], ...]:
    match dialect:
        case "openai_chat":
            from openai.types.chat import ChatCompletionChunk

            return (TypeAdapter(ChatCompletionChunk),)
        case "openai_responses":
            from openai.types.responses import ResponseStreamEvent

            return (TypeAdapter(ResponseStreamEvent),)
        case "anthropic_messages":
            from anthropic.types import RawMessageStreamEvent
            from anthropic.types.beta import BetaRawMessageStreamEvent

            return (TypeAdapter(RawMessageStreamEvent), TypeAdapter(BetaRawMessageStreamEvent))
        case "gemini":
            from google.genai.types import GenerateContentResponse

            return (TypeAdapter(GenerateContentResponse),)
    raise KeyError(dialect)


def by_event(dialect: str) -> Callable[[bytes], list[str]]:
    """Every event of the stream is one of the SDK's, and named as the SDK looks for it. Pings are read over there."""

    def check(data: bytes) -> list[str]:
        frames = [frame for frame in sse(data) if frame.data != b"[DONE]" and frame.event != "ping"]
        named = dialect in ("anthropic_messages", "openai_responses")
        wrong = [f"an event is named {frame.event}" for frame in frames if named and frame.event != json.loads(frame.data)["type"]]
        return wrong + [problem for frame in frames for problem in fewest(_refused(adapter, frame.data) for adapter in _events(dialect))]

    return check


def _refused(adapter: TypeAdapter[Any], data: bytes) -> list[str]:
    try:
        adapter.validate_json(data)
    except AttributeError as error:
        return [str(error)]
    except ValidationError as error:
        return [f"{_at(found['loc'])}: {found['msg']}" for found in error.errors()[:2]]
    return []


def sse(data: bytes) -> list[Frame]:
    reader = SseReader()
    return [*reader.feed(data), *reader.close()]


def converse_stream(data: bytes) -> list[str]:
    from botocore.validate import ParamValidator

    events = _converse("ConverseStream").output_shape.members["stream"].members
    wrong: list[str] = []
    for frame in EventStreamReader().feed(data):
        if frame.event not in events:
            wrong.append(f"there is no event {frame.event}")
            continue
        shape = events[frame.event]
        body = {name: value for name, value in json.loads(frame.data).items() if name != "p"}  # padding against eavesdroppers
        report = ParamValidator().validate(decoded(body, shape), shape)
        wrong += [f"{frame.event}: {report.generate_report()}"] if report.has_errors() else []
    return wrong


REQUESTS: Mapping[str, Callable[[Body], list[str]]] = {
    "openai_chat": by_params("openai_chat"),
    "openai_responses": by_params("openai_responses"),
    "anthropic_messages": by_params("anthropic_messages"),
    "gemini": gemini_request,
    "bedrock_converse": converse_request,
    "cohere": cohere_request,
    "mistral": mistral_request,
}
"""By who is called; those who are called only have no answers and streams to write."""

ANSWERS: Mapping[str, Callable[[Body], list[str]]] = {
    "openai_chat": by_answer("openai_chat"),
    "openai_responses": by_answer("openai_responses"),
    "anthropic_messages": by_answer("anthropic_messages"),
    "gemini": by_answer("gemini"),
    "bedrock_converse": converse_answer,
}
STREAMS: Mapping[str, Callable[[bytes], list[str]]] = {
    "openai_chat": by_event("openai_chat"),
    "openai_responses": by_event("openai_responses"),
    "anthropic_messages": by_event("anthropic_messages"),
    "gemini": by_event("gemini"),
    "bedrock_converse": converse_stream,
}
