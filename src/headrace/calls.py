"""Prepares a call: sorts the caller's options, checks parameters and encodes the request body."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from headrace.errors import BadRequestError, ConfigurationError
from headrace.media import with_data
from headrace.objects import (
    EmbeddingResponse,
    ImageResponse,
    ImageStreamEvent,
    Json,
    JsonObject,
    ModelResponse,
    ModelResponseStream,
    ModerationResponse,
    OCRResponse,
    RerankResponse,
    TextCompletionResponse,
    TranscriptionResponse,
    TranscriptionStreamEvent,
)
from headrace.wire import Timeouts

DEFAULT_TIMEOUT: Final = 600.0
"""Seconds; the OpenAI SDK's default."""


class Operation(Struct, frozen=True, eq=False):
    """One kind of call: its endpoint and its response types."""

    name: str
    prompt: str
    """Name of the body field that holds the model's input."""
    response: type[JsonObject]
    chunk: type[JsonObject] | None
    method: str = "POST"
    files: tuple[str, ...] = ()
    """Fields that hold files. The body is then multipart form data, and files are read while they are sent."""
    reads: Literal["json", "text", "bytes"] = "json"
    """The response body. `text` means JSON, or plain text if the caller requested it."""
    named: bool = True
    """Whether the body names the model."""
    dialect: str = "openai_chat"
    """The caller's dialect, for both request and response."""
    stored: bool = False
    """Whether the provider stores the response under its id, to be retrieved later."""
    last: str = ""
    """Type of the event that ends the stream, for streams of typed events rather than chat chunks."""
    of: str = ""
    """The API it belongs to, if a provider supports that as a whole: one that stores files also lists, shows and deletes them."""
    instead: frozenset[str] = frozenset()
    """Body fields that can stand in for the prompt: what the provider stores."""

    @property
    def writes(self) -> bool:
        """Whether the model generates text, so that a call can cap its output tokens."""
        return self.chunk is not None and not self.last

    @property
    def spelling(self) -> str:
        """The format of its streams: its dialect's, or typed events that end with the last event and no other terminator."""
        return "openai_events" if self.last else self.dialect

    @property
    def offer(self) -> str:
        """Its name in a provider row's `offers` and `forms`."""
        return self.of or self.name

    def may_lack_prompt(self, body: Mapping[str, Any]) -> bool:
        """Whether the body says otherwise what the model is to answer."""
        return not self.instead.isdisjoint(body)

    @property
    def form(self) -> str:
        """Its name within a form. Operations of one API are told apart by method and path."""
        return f"{self.method} {self.name}" if self.of else self.name


CHAT: Final = Operation("chat", "messages", ModelResponse, ModelResponseStream)
COMPLETIONS: Final = Operation("completions", "prompt", TextCompletionResponse, TextCompletionResponse)
EMBEDDINGS: Final = Operation("embeddings", "input", EmbeddingResponse, None)
MODERATIONS: Final = Operation("moderations", "input", ModerationResponse, None)
RERANK: Final = Operation("rerank", "query", RerankResponse, None)
OCR: Final = Operation("ocr", "document", OCRResponse, None)
IMAGES: Final = Operation("images", "prompt", ImageResponse, ImageStreamEvent, last="image_generation.completed")
IMAGE_EDITS: Final = Operation(
    "image_edits", "image", ImageResponse, ImageStreamEvent, files=("image", "mask"), last="image_edit.completed"
)
IMAGE_VARIATIONS: Final = Operation("image_variations", "image", ImageResponse, None, files=("image",))
SPEECH: Final = Operation("speech", "input", JsonObject, None, reads="bytes")
TRANSCRIPTIONS: Final = Operation(
    "transcriptions", "file", TranscriptionResponse, TranscriptionStreamEvent, files=("file",), reads="text", last="transcript.text.done"
)
TRANSLATIONS: Final = Operation("translations", "file", TranscriptionResponse, None, files=("file",), reads="text")


@cache
def control_names() -> frozenset[str]:
    """Names of options that are handled by headrace, not sent to the model."""
    from headrace.options import CallOptions, RoutingOptions  # late: types for editors, slow to build, and not needed at import

    return frozenset(CallOptions.__annotations__) | frozenset(RoutingOptions.__annotations__)


# Options internal to litellm: programs written for it pass them, providers reject them.
_NEVER_SENT: Final = frozenset({
    "id", "model_info", "retry_strategy", "verbose", "acompletion", "aembedding", "atext_completion", "aimg_generation", "atranscription",
    "aspeech",
})  # fmt: skip

_REFUSED: Final[Mapping[str, str]] = {
    "model_list": "make a Router: Router(model_list).completion(…)",
    "deployment_id": "name the model 'azure/your-deployment'",
    "api_type": "name the provider in the model, as in 'azure/your-deployment'",
    "shared_session": "leave it out, since all calls share connections; or set litellm.aclient_session",
}
"""Unsupported litellm options whose absence would be noticed, and what to use instead."""

_THEIRS: Final = ("_", "litellm_")
"""Prefixes of options that only litellm reads."""

_FOR_LAYERS: Final = frozenset({
    "enable_json_schema_validation", "guardrails", "litellm_call_id", "litellm_metadata", "logger_fn", "mock_timeout", "no-log",
    "use_litellm_proxy", "client", "mock_testing_fallbacks", "mock_testing_context_fallbacks", "mock_testing_content_policy_fallbacks",
    "mock_testing_rate_limit_error", "mock_tool_calls", "success_callback", "failure_callback", "callbacks", "langfuse_host",
    "langfuse_public_key", "litellm_session_id", "litellm_trace_id", "modify_params", "langfuse_secret", "langfuse_secret_key",
})  # fmt: skip
"""Options for the layers around a call; never sent."""


class Call(Struct, eq=False):
    """One call as the caller made it, before a destination is chosen."""

    operation: Operation
    model: str
    body: dict[str, Json]
    """The request body without its model."""
    prompt: Any
    """The model's input, as the caller passed it."""
    encoded: msgspec.Raw
    """The prompt as JSON, encoded once for all attempts."""
    control: dict[str, Any] = {}
    stream: bool = False
    place: Mapping[str, str] = {}
    """Path parameters: the id of a file, a batch, …"""
    deployment: str = ""
    """The deployment that stores the requested object; empty for any."""
    raw: bool = False
    """Whether the caller takes raw bytes in its own dialect instead of objects. A layer that needs objects sets it to False."""
    before: Any = None
    """The first attempt, if it was already made and failed: `headrace.routing.trail.Failed`."""
    lasts: bool = False
    """Whether an interrupted stream is continued on another deployment. If so, its text is recorded."""

    @property
    def max_output(self) -> int | None:
        """The caller's cap on output tokens; None if not set."""
        return most_output(self.body)


def most_output(body: Mapping[str, Any]) -> int | None:
    """The cap on output tokens in a request body of any dialect, times `n`; None if not set."""
    said = body.get("generationConfig")
    inner = said.get("maxOutputTokens") if isinstance(said, Mapping) else None
    most = inner or next((body[name] for name in _MOST_OUTPUT if body.get(name)), None)
    many = body.get("n")
    return most * (many if isinstance(many, int) and many > 0 else 1) if isinstance(most, int) and most > 0 else None


_MOST_OUTPUT: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""What dialects call it."""


def continued(call: Call, said: str, mark: str = "") -> Call:
    """The call that continues a chat whose response began with `said`. `mark`: a field to set on the assistant message."""
    message = {"role": "assistant", "content": said, **({mark: True} if mark else {})}
    prompt = [*call.prompt, message]
    encoded = msgspec.Raw(encode(prompt))
    left = {name: max(1, most - len(said) // 4) for name in _MOST if isinstance(most := call.body.get(name), int)}
    body = {**call.body, **left, "messages": encoded}
    return msgspec.structs.replace(call, prompt=prompt, encoded=encoded, body=body, raw=False, lasts=False)


_MOST: Final = ("max_tokens", "max_completion_tokens")

TEXTS: Final = ("text", "srt", "vtt")
"""Transcription formats that are not JSON."""

EMPTY: Final[Mapping[str, str]] = {}
NOTHING: Final = msgspec.Raw(b"")


def prepare(
    operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
) -> Call:
    """Sort and check the caller's options. Raises BadRequestError or ConfigurationError that names the argument."""
    if not isinstance(model, str) or not model:
        raise BadRequestError(f"model must be a non-empty string such as 'openai/gpt-4o', got {shape(model)}")
    control: dict[str, Any] = {}
    body: dict[str, Json] = {}
    ours = control_names()
    for name, value in options.items():
        if value is None or name in _NEVER_SENT:
            continue
        if name in _REFUSED:
            raise BadRequestError(f"{name} is not supported: {_REFUSED[name]}", model)
        if name in _FOR_LAYERS or (name in ours and not (name == "metadata" and operation.dialect != CHAT.dialect)):
            control[name] = value
        elif not name.startswith(_THEIRS):
            body[name] = value
    if "request_timeout" in control:
        control.setdefault("timeout", control.pop("request_timeout"))
    if "response_format" in body:
        body["response_format"] = response_format(body["response_format"])
    encoded = NOTHING
    if operation.files:
        body |= _opened({**body, operation.prompt: prompt}, operation.files)
    elif operation.prompt and not (prompt is None and operation.may_lack_prompt(body)):
        if operation is CHAT and isinstance(prompt, list | tuple):
            prompt = with_data(prompt)
        encoded = body[operation.prompt] = _encode_prompt(operation, prompt)
    if stream:
        if operation.reads == "text" and body.get("response_format") in TEXTS:
            raise BadRequestError(f"response_format {body['response_format']!r} cannot be streamed: use json, or leave stream out", model)
        if operation.of != "files":  # streaming a file is up to the transport; the provider takes no such parameter
            body["stream"] = True
    return Call(operation, model, body, prompt, encoded, control, stream, place)


def altered(call: Call, options: Mapping[str, Any]) -> Call:
    """The call with changed options, which may include its prompt. Raises as `prepare` does."""
    said = dict(options)
    prompt = said.pop(call.operation.prompt, call.prompt) if call.operation.prompt else call.prompt
    anew = prepare(call.operation, call.model, prompt, call.stream, {**call.control, **call.body, **said}, call.place)
    return msgspec.structs.replace(call, body=anew.body, control=anew.control, prompt=anew.prompt, encoded=anew.encoded)


def _opened(body: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The files of a form, with their start positions noted, so that every attempt sends them from there."""
    from headrace.multipart import open_file  # late: few calls send files

    return {name: open_file(body[name], name) for name in fields if name in body}


def _encode_prompt(operation: Operation, prompt: Any) -> msgspec.Raw:
    if operation is CHAT and (not isinstance(prompt, list | tuple) or not prompt):
        raise BadRequestError(f"messages must be a non-empty list of messages, got {shape(prompt)}")
    if operation is CHAT:
        _check_messages(prompt)
    if operation is not CHAT and not prompt:
        raise BadRequestError(f"{operation.prompt} must not be empty, got {shape(prompt)}")
    return msgspec.Raw(encode(prompt))


def _check_messages(messages: Sequence[Any]) -> None:
    for number, message in enumerate(messages):
        if type(message) is not dict and not isinstance(message, Mapping) and not hasattr(message, "model_dump"):
            raise BadRequestError(
                f"messages[{number}] must be a mapping such as {{'role': 'user', 'content': 'Hello'}}, got {shape(message)}"
            )


def response_format(wanted: Any) -> Any:
    """A pydantic class as OpenAI's strict JSON schema; any other value unchanged."""
    if not isinstance(wanted, type):
        return wanted
    schema = getattr(wanted, "model_json_schema", None)
    if schema is None:
        raise BadRequestError(f"response_format must be a mapping or a pydantic model class, got the class {wanted.__name__}")
    return {"type": "json_schema", "json_schema": {"name": wanted.__name__, "schema": _strict(schema()), "strict": True}}


def _strict(schema: Any) -> Any:
    """OpenAI's strict subset: no additional properties, every property required (platform.openai.com/docs/guides/structured-outputs)."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items() if name != "default"}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        strict["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        strict |= {"additionalProperties": False, "required": list(schema["properties"])}
    if "$ref" in strict and len(strict) > 1:
        strict = {"$ref": strict["$ref"]}  # strict mode refuses siblings of $ref
    return strict


def _plain(value: Any) -> Any:
    """Encode what msgspec cannot: headrace objects, pydantic models, mappings, numpy arrays."""
    if dump := getattr(value, "model_dump", None):
        return dump(exclude_none=True)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: Any) -> bytes:
    """JSON bytes. Raises BadRequestError for values that JSON cannot represent."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from error


def shape(value: Any) -> str:
    """A description of an invalid value without its content, so that errors never repeat a secret or a prompt."""
    match value:
        case None:
            return "nothing"
        case str():
            return f"a string of {len(value)} characters"
        case bool() | int() | float():
            return f"the {type(value).__name__} {value!r}"
        case list() | tuple() | dict() | set():
            return f"a {type(value).__name__} of {len(value)} items"
    return f"a {type(value).__name__}"


@lru_cache(maxsize=256)
def _seconds(timeout: float, stream: bool) -> Timeouts:
    if stream:
        # A long response is not a failure: for a stream, the timeout bounds the wait for the first token and each gap after it.
        return Timeouts(connect=min(10.0, timeout), first_byte=timeout, between_bytes=timeout)
    return Timeouts(connect=min(10.0, timeout), total=timeout)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def timeouts_of(timeout: Any, stream: bool) -> Timeouts:
    """`Timeouts` from a number of seconds, `Timeouts`, or an object with httpx's `connect` and `read`. None means the default."""
    if timeout is None:
        return _seconds(DEFAULT_TIMEOUT, stream)
    if isinstance(timeout, Timeouts):
        return timeout
    if isinstance(timeout, str):  # YAML and .env files give strings
        timeout = _number(timeout)
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        if not 0 < timeout < float("inf"):
            raise ConfigurationError(f"timeout must be a positive number of seconds, got {timeout!r}")
        return _seconds(float(timeout), stream)
    if hasattr(timeout, "connect") and hasattr(timeout, "read"):
        return Timeouts(connect=timeout.connect, first_byte=timeout.read, between_bytes=timeout.read)
    raise ConfigurationError(f"timeout must be seconds, headrace.Timeouts or an httpx Timeout, got {shape(timeout)}")


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """`value` as a whole number. Accepts strings of digits, as YAML and .env give them. Raises ConfigurationError that
    names the field."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, got {shape(value)}")
    return value


def seconds(name: str, value: Any) -> float:
    """`value` as seconds, at least 0. Raises ConfigurationError that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigurationError(f"{name} must be a number of seconds of at least 0, got {shape(value)}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """A boolean, or its text "true" or "false" as environment variables have it. Raises ConfigurationError that names the parameter."""
    said = value.lower() if isinstance(value, str) else value
    if said not in (True, False, "true", "false"):
        raise ConfigurationError(f"{name} must be true or false, got {shape(value)}")
    return said in (True, "true")


def ends_at(control: Mapping[str, Any], now: float) -> float:
    """The time by which the whole call must end (`total_timeout`), including queueing and all attempts; inf if not set."""
    total = control.get("total_timeout")
    return math.inf if total is None else now + seconds("total_timeout", total)


def within(limits: Timeouts, left: float) -> Timeouts:
    """`limits` capped to the `left` seconds that remain for an attempt."""
    if left == math.inf or (limits.total is not None and limits.total <= left):
        return limits
    return msgspec.structs.replace(limits, total=max(left, 1e-3))
