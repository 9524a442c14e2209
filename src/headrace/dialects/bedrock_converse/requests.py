"""Requests between Bedrock's Converse and the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.bedrock_converse import structured
from headrace.dialects.bedrock_converse.blocks import CACHE, BlockWriter, cache_point, read_blocks
from headrace.dialects.bedrock_converse.reasoning import read_fields, thinks, write_fields
from headrace.dialects.bedrock_converse.turns import placed, read_message, write_messages, write_system
from headrace.dialects.fields import bad, items, json_text, merged, number, obj, optional, rest, sent, string, whole
from headrace.dialects.foreign import in_common
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Extra, Json, Message, Part, ResponseFormat, Tool, ToolCall, ToolChoice
from headrace.wire import HttpRequest

_KNOWN: Final = frozenset({
    "modelId", "messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "additionalModelRequestFields",
})  # fmt: skip

_INFERENCE: Final = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p"}

_OWN: Final = frozenset({
    "guardrailConfig", "performanceConfig", "promptVariables", "requestMetadata", "serviceTier", "additionalModelResponseFieldPaths",
    "inferenceConfig", "toolConfig", "outputConfig", "additionalModelRequestFields",
})  # fmt: skip
"""Converse's own top-level fields. Anything else the caller sends is for the model and goes into its additional fields."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value.

    The model and whether to stream come from the URL; the model may also be given as `modelId`, as in AWS's SDKs.
    """
    body = obj(body, "the body")
    extra = rest(body, _KNOWN)
    given = items(body.get("messages"), "messages")
    system = items(body.get("system"), "system")
    if not given and not system:
        raise bad("messages", "a non-empty list of messages", body.get("messages"))
    messages = [Message(role="system", content=tuple(read_blocks(system, "system")))] if system else []
    for index, message in enumerate(given):
        messages += read_message(message, f"messages[{index}]")
    if not system and messages[0].role == "system":
        extra["system"] = msgspec.UNSET  # the first message is a turn
    said: dict[str, Any] = {
        **_read_inference(body.get("inferenceConfig"), extra),
        **_read_tools(body.get("toolConfig"), extra),
        **read_fields(body.get("additionalModelRequestFields"), extra),
        "response_format": _read_format(body.get("outputConfig"), extra),
    }
    return ChatRequest(model=optional(body.get("modelId"), "modelId") or "", messages=tuple(messages), **said, extra=extra)


def _read_inference(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    if value is None:
        return {}
    config = obj(value, "inferenceConfig")
    kept = rest(config, frozenset({*_INFERENCE, "stopSequences"}))
    if kept or not config:
        extra["inferenceConfig"] = kept
    texts = items(config.get("stopSequences"), "inferenceConfig.stopSequences")
    return {
        "max_tokens": whole(config.get("maxTokens"), "inferenceConfig.maxTokens"),
        "temperature": number(config.get("temperature"), "inferenceConfig.temperature"),
        "top_p": number(config.get("topP"), "inferenceConfig.topP"),
        "stop": tuple([string(text, f"inferenceConfig.stopSequences[{index}]") for index, text in enumerate(texts)]),
    }


def _read_tools(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    if value is None:
        return {}
    config = obj(value, "toolConfig")
    kept = rest(config, frozenset({"tools", "toolChoice"}))
    choice = _read_choice(config.get("toolChoice"), kept)
    tools: list[Tool] = []
    for index, entry in enumerate(items(config.get("tools"), "toolConfig.tools")):
        tool = _read_tool(entry, f"toolConfig.tools[{index}]")
        mark = _mark(tool)
        if tools and mark is not None and CACHE not in tools[-1].extra:
            tools[-1] = msgspec.structs.replace(tools[-1], extra={**tools[-1].extra, CACHE: mark})
        else:
            tools.append(tool)
    if kept or not config:
        extra["toolConfig"] = kept
    return {"tools": tuple(tools), "tool_choice": choice}


def _read_tool(value: Json, at: str) -> Tool:
    source = obj(value, at)
    spec = source.get("toolSpec")
    if not isinstance(spec, Mapping):
        return Tool(type=next(iter(source), ""), extra=dict(source))
    schema = spec.get("inputSchema")
    parameters = schema.get("json") if isinstance(schema, Mapping) and schema.keys() == {"json"} else None
    strict = spec.get("strict")
    known = frozenset({"name", "description", "inputSchema", "strict"})
    extra = rest(source, frozenset({"toolSpec"}))
    inner = rest(spec, known if isinstance(strict, bool) else known - {"strict"}, exact=frozenset({"name", "description"}))
    if parameters is None and schema is not None:
        inner["inputSchema"] = schema
    if inner:
        extra["toolSpec"] = inner
    return Tool(
        name=string(spec.get("name"), f"{at}.toolSpec.name"),
        description=optional(spec.get("description"), f"{at}.toolSpec.description"),
        parameters=parameters,
        strict=strict if isinstance(strict, bool) else None,
        extra=extra,
    )


def _mark(tool: Tool) -> Json:
    """The cache point that was read as a tool, in Anthropic's format."""
    match tool.extra:
        case {"cachePoint": {"type": "default", **more}, **others} if not others and more.keys() <= {"ttl"} and None not in more.values():
            return {"type": "ephemeral", **more}
    return None


def _read_choice(value: Json, kept: dict[str, Json]) -> ToolChoice | None:
    match value:
        case None:
            return None
        case {"auto": {**more}, **others} if not more and not others:
            return ToolChoice(mode="auto")
        case {"any": {**more}, **others} if not more and not others:
            return ToolChoice(mode="required")
        case {"tool": {"name": str(name), **more}, **others} if not more and not others:
            return ToolChoice(mode="tool", name=name)
        case Mapping():
            kept["toolChoice"] = value
            return None
    raise bad("toolConfig.toolChoice", "an object such as {'auto': {}}", value)


def _read_format(value: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    """The response format in `outputConfig`, whose schema is JSON in a string. Adds to `extra` what the hub cannot express."""
    match value:
        case None:
            return None
        case {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": str(text), **schema}, **structure}, **more},
            **others,
        } if not structure and not more and not others and schema.keys() <= {"name", "description"}:
            try:
                parsed = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
                raise bad("outputConfig.textFormat.structure.jsonSchema.schema", "JSON in a string", text) from None
            name, description = schema.get("name"), schema.get("description")
            kept = {} if json_text(parsed) == text else {"jsonSchema": text}
            return ResponseFormat(
                type="json_schema",
                name=optional(name, "outputConfig.textFormat.structure.jsonSchema.name") or "",
                description=optional(description, "outputConfig.textFormat.structure.jsonSchema.description"),
                schema=parsed,
                extra=kept,
            )
    extra["outputConfig"] = obj(value, "outputConfig")
    return None


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model goes into the URL."""
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    end = "converse-stream" if request.stream else "converse"
    url = f"{target.base_url}/model/{quote(target.place or model_id(target.model), safe='')}/{end}"
    return HttpRequest("POST", url, headers, sent(write_body(request, target)))


_ROUTE: Final = re.compile(r"(?:converse/|[a-z]{2,3}(?:-[a-z]+)+-\d/)+")


def model_id(model: str) -> str:
    """The model without LiteLLM's prefixes for route and region: `converse/`, `us-east-1/`."""
    found = _ROUTE.match(model)
    return model if found is None else model[found.end() :]


def write_body(request: ChatRequest, target: Target) -> dict[str, Json]:
    """The body for the model of `target`. Raises BadRequestError for content that Converse does not accept."""
    foreign = bool(target.source)
    request = in_common(request, target.source, "bedrock_converse")
    extra = dict(request.extra)
    writer = BlockWriter(foreign=foreign)
    model = model_id(target.model)
    if foreign:
        given = _given(extra)
        extra = {name: value for name, value in extra.items() if name in _OWN} | _tier(request.extra)
        extra["additionalModelRequestFields"] = {**given, **_object(extra.get("additionalModelRequestFields"))}
    own = _object(extra.get("additionalModelRequestFields"))
    fields = write_fields(request, model, own)
    if structured.by_tool(request, target):
        request = structured.as_tool(request, model, thinks="thinking" in fields)
    prompts, turns = placed(request.messages, foreign=foreign, inline=extra.get("system") is msgspec.UNSET)
    said: dict[str, Json] = {
        "messages": write_messages(turns, writer),
        "system": write_system(prompts, writer) or None,
        "inferenceConfig": _write_inference(
            request, _object(extra.get("inferenceConfig")), thinks=request.effort is not None and thinks(fields, own)
        )
        or None,
        "toolConfig": _write_tools(request, writer, model, _object(extra.get("toolConfig"))) or None,
        "outputConfig": _write_format(request.response_format, _object(extra.get("outputConfig"))),
        "additionalModelRequestFields": fields or None,
    }
    if foreign:
        extra.pop("additionalModelRequestFields")
        if not said["messages"]:
            raise BadRequestError("messages: Bedrock's Converse requires a user message besides the system prompt: add one")
    return merged({}, extra, said)


def _object(value: Json) -> dict[str, Json]:
    return dict(value) if isinstance(value, Mapping) else {}


UNSAID: Final = (
    "n", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "user",
)  # fmt: skip
"""The hub's parameters that Converse does not have."""

_NOTHING: Final = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_logprobs": 0}
"""Their default values."""

UNSAID_EXTRA: Final = (
    "logit_bias", "functions", "function_call", "modalities", "audio", "prediction", "web_search_options", "verbosity", "store",
    "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "metadata",
)  # fmt: skip
"""OpenAI's parameters that the hub keeps in `extra` and no model on Bedrock accepts."""

_HINTS: Final = frozenset({"stream_options", "service_tier", "tool_choice", "response_format", "max_completion_tokens"})


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters, by OpenAI's names, that Converse cannot express."""
    names = [name for name in UNSAID if (value := getattr(request, name)) is not None and value != _NOTHING.get(name)]
    names += [name for name in UNSAID_EXTRA if request.extra.get(name) not in (None, False, [], {})]
    if request.parallel_tool_calls is False and request.tools:
        names.append("parallel_tool_calls")
    if request.response_format is not None and request.response_format.type == "json_object":
        names.append("response_format")
    return tuple(names)


def _given(extra: Extra) -> dict[str, Json]:
    """Parameters for the model itself, given in an OpenAI-format call."""
    out = frozenset(UNSAID_EXTRA) | _HINTS | _OWN
    return {name: value for name, value in extra.items() if name not in out and value is not None and value is not msgspec.UNSET}


def _tier(extra: Extra) -> dict[str, Json]:
    """OpenAI's `service_tier` in Bedrock's format (docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html)."""
    tier = extra.get("service_tier")
    if not isinstance(tier, str) or "serviceTier" in extra:
        return {}
    return {"serviceTier": {"type": "default" if tier == "auto" else tier}}


def _write_inference(request: ChatRequest, kept: dict[str, Json], *, thinks: bool) -> dict[str, Json]:
    said: dict[str, Json] = {word: getattr(request, name) for word, name in _INFERENCE.items()}
    said["stopSequences"] = list(request.stop) or None
    if thinks:
        said["temperature"] = None
    return merged({}, kept, said)


def _write_tools(request: ChatRequest, writer: BlockWriter, model: str, kept: dict[str, Json]) -> dict[str, Json]:
    choice = request.tool_choice
    tools = request.tools
    if writer.foreign:
        used = _used(request.messages)
        if choice is not None and choice.mode == "none" and not used:
            return {}  # Converse has no such choice: without tools there is nothing to call
        tools = tools or used
        if not tools:
            return {}
    written = [
        entry for index, tool in enumerate(tools) for entry in (_write_tool(tool, f"tools[{index}]", writer, model), *_tool_cache(tool))
    ]
    return merged({}, kept, {"tools": written or None, "toolChoice": None if choice is None else _write_choice(choice)})


def _used(messages: Iterable[Message]) -> tuple[Tool, ...]:
    """The tools called earlier: a history with calls needs a `toolConfig`, even if no more are wanted."""
    parts: list[Part] = [part for message in messages for part in message.content]
    names = dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall) and part.name)
    return tuple([Tool(name=name) for name in names])


def _tool_cache(tool: Tool) -> list[dict[str, Json]]:
    function = tool.extra.get("function")
    return cache_point(tool.extra) or (cache_point(function) if isinstance(function, Mapping) else [])


def _write_tool(tool: Tool, at: str, writer: BlockWriter, model: str) -> dict[str, Json]:
    extra = writer.kept(tool.extra)
    if tool.type != "function":
        if writer.foreign and tool.extra.keys().isdisjoint(("systemTool", "cachePoint")):
            raise BadRequestError(f"{at}: Bedrock's Converse has no tool of type {tool.type!r}: use a function or a systemTool")
        return {name: value for name, value in tool.extra.items() if name != CACHE}
    inner = extra.pop("toolSpec", None)
    schema = tool.parameters
    if schema is None and writer.foreign:
        schema = {"type": "object", "properties": {}}
    said = {
        "name": tool.name,
        "description": (tool.description or None) if writer.foreign else tool.description,
        "inputSchema": None if schema is None else {"json": schema},
        "strict": ((tool.strict and structured.has_schemas(model)) or None) if writer.foreign else tool.strict,
    }
    return {"toolSpec": merged({}, inner if isinstance(inner, Mapping) else {}, said), **extra}


def _write_choice(choice: ToolChoice) -> dict[str, Json] | None:
    match choice.mode:
        case "none":
            return None
        case "tool":
            return {"tool": {"name": choice.name}}
    return {"auto": {}} if choice.mode == "auto" else {"any": {}}


def _write_format(format_: ResponseFormat | None, kept: dict[str, Json]) -> dict[str, Json] | None:
    if format_ is None or format_.type != "json_schema":
        return None
    text = format_.extra.get("jsonSchema")
    schema = {"schema": text if isinstance(text, str) else json_text(format_.schema if format_.schema is not None else {})}
    schema |= {name: value for name, value in (("name", format_.name), ("description", format_.description)) if value}
    return {**kept, "textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
