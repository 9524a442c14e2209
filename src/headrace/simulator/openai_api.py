"""Requests to an OpenAI-compatible provider: parsing and validation. `openai_answers` writes the responses.

Shapes and messages follow api.openai.com as recorded in 2025 and 2026. Nothing here knows limits, clocks or sockets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.simulator.asks import Ask, Chat, Embed, Models, Rejected, Tool
from headrace.simulator.model import count_tokens

ENCODE: Final = msgspec.json.Encoder().encode
DECODE: Final = msgspec.json.Decoder().decode

Body = Mapping[str, Any]
Check = Callable[[str, Any], None]

MESSAGE_TOKENS: Final = 4
"""Prompt tokens per message besides its text."""
MEDIA_TOKENS: Final = 85
"""Prompt tokens of an image, audio or file, regardless of size."""
MAX_EMBEDDING_INPUTS: Final = 2048


# Validation of single parameters


def _kind_of(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _wrong_type(name: str, expected: str, value: Any) -> Rejected:
    message = f"Invalid type for '{name}': expected {expected}, but got {_kind_of(value)} instead."
    return Rejected(400, message, param=name, code="invalid_type")


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    word, expected = ("integer", "an integer") if integer else ("decimal", "a decimal")

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
            raise _wrong_type(name, expected, value)
        if low <= value <= high:
            return
        side, sign, bound = ("below minimum", ">=", low) if value < low else ("above maximum", "<=", high)
        message = f"Invalid '{name}': {word} {side} value. Expected a value {sign} {bound:g}, but got {value} instead."
        raise Rejected(
            400, message, param=name, code=f"{word}_{side.replace('minimum', 'min').replace('maximum', 'max').replace(' ', '_')}_value"
        )

    return check


def _typed(expected: str, *kinds: type) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _wrong_type(name, expected, value)

    return check


def _one_of(*values: str) -> Check:
    def check(name: str, value: Any) -> None:
        if value not in values:
            quoted = [f"'{choice}'" for choice in values]
            message = f"Invalid value: '{value}'. Supported values are: {', '.join(quoted[:-1])}, and {quoted[-1]}."
            raise Rejected(400, message, param=name, code="invalid_value")

    return check


def _stop(name: str, value: Any) -> None:
    if isinstance(value, list):
        if len(value) > 4:
            raise Rejected(
                400,
                f"Invalid '{name}': array too long. Expected an array with maximum length 4.",
                param=name,
                code="array_above_max_length",
            )
        if all(isinstance(stop, str) for stop in value):
            return
    elif isinstance(value, str):
        return
    raise _wrong_type(name, "a string or an array of strings", value)


def _anything(name: str, value: Any) -> None:
    return None


TEXT: Final = _typed("a string", str)
FLAG: Final = _typed("a boolean", bool)
ARRAY: Final = _typed("an array", list)
OBJECT: Final = _typed("an object", dict)
WHOLE: Final = _number(-(2**63), 2**63 - 1, integer=True)

CHAT_PARAMS: Final[Mapping[str, Check]] = {
    "model": TEXT, "messages": ARRAY, "stream": FLAG, "stream_options": OBJECT, "temperature": _number(0, 2), "top_p": _number(0, 1),
    "n": _number(1, 128, integer=True), "max_tokens": _number(1, math.inf, integer=True),
    "max_completion_tokens": _number(1, math.inf, integer=True), "stop": _stop, "seed": WHOLE, "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2), "logit_bias": OBJECT, "logprobs": FLAG, "top_logprobs": _number(0, 20, integer=True),
    "response_format": OBJECT, "tools": ARRAY, "tool_choice": _typed("a string or an object", str, dict), "parallel_tool_calls": FLAG,
    "user": TEXT, "metadata": OBJECT, "store": FLAG, "service_tier": TEXT, "modalities": ARRAY, "audio": OBJECT, "prediction": OBJECT,
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high", "xhigh"), "verbosity": _one_of("low", "medium", "high"),
    "safety_identifier": TEXT, "prompt_cache_key": TEXT, "prompt_cache_retention": TEXT, "web_search_options": OBJECT,
    "functions": ARRAY, "function_call": _anything,
}  # fmt: skip

TEXT_PARAMS: Final[Mapping[str, Check]] = {
    name: CHAT_PARAMS[name]
    for name in (
        "model", "stream", "stream_options", "temperature", "top_p", "n", "max_tokens", "stop", "seed", "presence_penalty",
        "frequency_penalty", "logit_bias", "user",
    )
} | {
    "prompt": _typed("a string or an array", str, list), "suffix": TEXT, "echo": FLAG, "best_of": _number(1, 20, integer=True),
    "logprobs": _number(0, 5, integer=True),
}  # fmt: skip

EMBEDDING_PARAMS: Final[Mapping[str, Check]] = {
    "model": TEXT, "input": _typed("a string or an array", str, list), "dimensions": _number(1, 1_000_000, integer=True),
    "encoding_format": _one_of("float", "base64"), "user": TEXT,
}  # fmt: skip

ENDPOINTS: Final[Mapping[str, tuple[str, str]]] = {
    "/v1/chat/completions": ("POST", "chat"),
    "/v1/completions": ("POST", "text"),
    "/v1/embeddings": ("POST", "embeddings"),
    "/v1/models": ("GET", "models"),
}


# Reading


def endpoint_of(method: str, path: str) -> str:
    """chat, text, embeddings, models or model. Raises Rejected for an unknown path."""
    known = ENDPOINTS.get(path)
    if known is None and path.startswith("/v1/models/"):
        known = ("GET", "model")
    if known is None:
        raise Rejected(404, f"Invalid URL ({method} {path})")
    if method != known[0]:
        message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
        raise Rejected(405, message, code="method_not_supported")
    return known[1]


def key_of(headers: Mapping[str, str]) -> str | None:
    """The API key of a request in any dialect; None if there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if scheme == "AWS4-HMAC-SHA256":
        return key.strip().removeprefix("Credential=").partition("/")[0]
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or None


def wrong_key(key: str | None) -> Rejected:
    if key is None:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY)."
        )
        return Rejected(401, message)
    shown = f"{key[:3]}***{key[-4:]}" if len(key) >= 12 else "***"
    return Rejected(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def no_such_model(model: str) -> Rejected:
    return Rejected(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")


def read(endpoint: str, path: str, body: bytes, extra_params: Sequence[str] = ()) -> Ask:
    """The request, independent of dialect. Raises Rejected with the provider's error message."""
    if endpoint == "models":
        return Models()
    if endpoint == "model":
        return Models(path.removeprefix("/v1/models/"))
    content = json_of(body)
    if endpoint == "chat":
        _check(content, CHAT_PARAMS, ("model", "messages"), extra_params)
        return _chat(content)
    if endpoint == "text":
        _check(content, TEXT_PARAMS, ("model", "prompt"), extra_params)
        return _text(content)
    _check(content, EMBEDDING_PARAMS, ("model", "input"), extra_params)
    return _embed(content)


def json_of(body: bytes) -> Body:
    """The JSON object in a body. Raises Rejected for anything else."""
    try:
        content = DECODE(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        raise Rejected(400, "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload.")
    return content


def _check(body: Body, params: Mapping[str, Check], required: Sequence[str], extra: Sequence[str]) -> None:
    for name, value in body.items():
        check = params.get(name)
        if check is None:
            if name not in extra:
                raise Rejected(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        elif value is not None:
            check(name, value)
    for name in required:
        if body.get(name) is None:
            raise Rejected(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def _chat(body: Body) -> Chat:
    messages = body["messages"]
    texts, media = _read_messages(messages)
    tools, offered = _read_tools(body)
    text = "\n".join(texts)
    characters = sum(map(len, texts)) + offered
    logprobs = body.get("top_logprobs") or 0 if body.get("logprobs") else None
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Rejected(400, "'top_logprobs' is only allowed when 'logprobs' is set to true.", param="top_logprobs")
    return Chat(
        model=body["model"],
        text=text,
        last=_last(messages),
        prompt_tokens=count_tokens(characters) + MESSAGE_TOKENS * len(messages) + MEDIA_TOKENS * media,
        max_tokens=_max_tokens(body),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tools=body.get("parallel_tool_calls") is not False,
        schema=_schema(body, text),
        logprobs=logprobs,
        reasoning=body.get("reasoning_effort") not in (None, "none"),
        **_common(body),
    )


def _common(body: Body) -> dict[str, Any]:
    stop = body.get("stop")
    options = body.get("stream_options")
    stream = bool(body.get("stream"))
    if options is not None and not stream:
        raise Rejected(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    return {
        "n": body.get("n") or 1,
        "stream": stream,
        "include_usage": bool(options and options.get("include_usage")),
        "stop": () if not stop else (stop,) if isinstance(stop, str) else tuple(filter(None, stop)),
        # Temperature 0 works like a seed: the same request gets the same response.
        "seed": body["seed"] if body.get("seed") is not None else 0 if body.get("temperature") == 0 else None,
    }


def _max_tokens(body: Body) -> int | None:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Rejected(400, message, param="max_tokens", code="invalid_parameter_combination")
    return new if old is None else old


ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
MEDIA_PARTS: Final = ("image_url", "input_audio", "file")


def _read_messages(messages: Sequence[Any]) -> tuple[list[str], int]:
    """The texts of all messages, and the number of images, audios and files in them. Raises Rejected."""
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Rejected(400, message, param="messages", code="empty_array")
    texts: list[str] = []
    media = 0
    called: set[str] = set()
    for index, message in enumerate(messages):
        _check_message(index, message, called)
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            media += _read_parts(index, content, texts)
        if message.get("tool_calls"):
            _read_calls(f"messages[{index}].tool_calls", message["tool_calls"], texts, called)
    return texts, media


def _check_message(index: int, message: Any, called: set[str]) -> None:
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object", message)
    role = message.get("role")
    if role not in ROLES:
        if role is None:
            raise Rejected(400, f"Missing required parameter: '{where}.role'.", param=f"{where}.role", code="missing_required_parameter")
        _one_of(*ROLES)(f"{where}.role", role)
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise _wrong_type(f"{where}.content", "one of a string or array of objects", content)
    if content is None and not (role == "assistant" and (message.get("tool_calls") or message.get("function_call"))):
        shown = "Invalid value for 'content': expected a string, got null."
        raise Rejected(400, shown, param=f"{where}.content")
    if role == "tool":
        TEXT(f"{where}.tool_call_id", message.get("tool_call_id"))
    if role == "tool" and message["tool_call_id"] not in called:
        text = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise Rejected(400, text, param=f"{where}.role")


def _read_calls(where: str, calls: Any, texts: list[str], called: set[str]) -> None:
    ARRAY(where, calls)
    for number, call in enumerate(calls):
        OBJECT(f"{where}[{number}]", call)
        for name, check in (("id", TEXT), ("type", TEXT), ("function", OBJECT)):
            check(f"{where}[{number}].{name}", call.get(name))
        called.add(call["id"])
        texts.append(ENCODE(call["function"]).decode())


def _read_parts(index: int, parts: Sequence[Any], texts: list[str]) -> int:
    media = 0
    for number, part in enumerate(parts):
        where = f"messages[{index}].content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if not isinstance(text, str):
                raise _wrong_type(f"{where}.{kind}", "a string", text)
            texts.append(text)
        elif kind in MEDIA_PARTS:
            media += 1
        else:
            _one_of("text", *MEDIA_PARTS)(f"{where}.type", kind)
    return media


def _last(messages: Sequence[Any]) -> str:
    if messages[-1].get("role") in ("tool", "function"):
        return ""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return ""


TOOL_NAME: Final = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


def _read_tools(body: Body) -> tuple[tuple[Tool, ...], int]:
    """The tools, and the characters they add to the prompt."""
    offered = body.get("tools")
    if not offered:
        return (), 0
    tools = []
    for index, tool in enumerate(offered):
        where = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise Rejected(
                400, f"Missing required parameter: '{where}.function'.", param=f"{where}.function", code="missing_required_parameter"
            )
        name = function.get("name")
        if not isinstance(name, str) or not TOOL_NAME.match(name):
            message = f"Invalid '{where}.function.name': expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            raise Rejected(400, message, param=f"{where}.function.name", code="invalid_value")
        tools.append(Tool(name, function.get("parameters") or {}, bool(function.get("strict"))))
    return tuple(tools), len(ENCODE(offered))


def _tool_choice(body: Body, tools: Sequence[Tool]) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if not tools:
        raise Rejected(
            400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice"
        )
    if isinstance(choice, str):
        _one_of("none", "auto", "required")("tool_choice", choice)
        return choice
    OBJECT("tool_choice.function", choice.get("function"))
    name = choice["function"].get("name")
    if all(tool.name != name for tool in tools):
        raise Rejected(400, f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
    return f"={name}"


def _schema(body: Body, text: str) -> Mapping[str, Any] | None:
    wanted = body.get("response_format")
    if wanted is None:
        return None
    kind = wanted.get("type")
    _one_of("json_object", "json_schema", "text")("response_format.type", kind)
    if kind == "text":
        return None
    if kind == "json_object":
        if "json" not in text.lower():
            message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            raise Rejected(400, message, param="messages")
        return {}
    described = wanted.get("json_schema")
    if not isinstance(described, dict) or not described.get("name"):
        name = "response_format.json_schema" if not isinstance(described, dict) else "response_format.json_schema.name"
        raise Rejected(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    schema = described.get("schema")
    return schema if isinstance(schema, dict) and schema else {"type": "object"}


def _text(body: Body) -> Chat:
    prompt = body["prompt"]
    if isinstance(prompt, list) and len(prompt) == 1 and not _is_token(prompt[0]):
        prompt = prompt[0]
    if isinstance(prompt, str):
        text, tokens = prompt, count_tokens(len(prompt))
    elif isinstance(prompt, list) and prompt and all(map(_is_token, prompt)):
        text, tokens = " ".join(map(str, prompt)), len(prompt)
    else:
        raise Rejected(400, "Invalid 'prompt': expected exactly one prompt, as a string or as an array of tokens.", param="prompt")
    return Chat(
        model=body["model"], text=text, last="", prompt_tokens=tokens, max_tokens=body.get("max_tokens") or 16,
        logprobs=body.get("logprobs"), legacy=True, echo=bool(body.get("echo")), **_common(body),
    )  # fmt: skip


def _embed(body: Body) -> Embed:
    given = body["input"]
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not inputs or any(not _embeddable(item) for item in inputs):
        raise Rejected(400, "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
    if len(inputs) > MAX_EMBEDDING_INPUTS:
        message = f"Invalid 'input': array too long. Expected at most {MAX_EMBEDDING_INPUTS} items, but got {len(inputs)} instead."
        raise Rejected(400, message, param="input", code="array_above_max_length")
    tokens = sum(count_tokens(len(item)) if isinstance(item, str) else len(item) for item in inputs)
    return Embed(body["model"], inputs, tokens, body.get("dimensions"), body.get("encoding_format") == "base64")


def _embeddable(item: Any) -> bool:
    return bool(item) and (isinstance(item, str) or (isinstance(item, list) and all(map(_is_token, item))))


def _is_token(value: Any) -> bool:
    return type(value) is int
