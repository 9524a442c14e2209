"""From what a caller wrote to what a provider gets: options sorted, parameters checked, the body encoded."""

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
"""Seconds, the OpenAI SDK's."""


class Operation(Struct, frozen=True, eq=False):
    """One kind of call: where it goes and what comes back."""

    name: str
    prompt: str
    """The body's field that holds what the model reads."""
    response: type[JsonObject]
    chunk: type[JsonObject] | None
    method: str = "POST"
    files: tuple[str, ...] = ()
    """Fields that hold files: then the body is a form, and is read from them while it is sent."""
    reads: Literal["json", "text", "bytes"] = "json"
    """What comes back; text: JSON, or the text alone where that was asked for."""
    named: bool = True
    """Whether the body names the model."""
    dialect: str = "openai_chat"
    """The caller's: the words he asks in and is answered in."""
    stored: bool = False
    """Whether the provider keeps the answer under its id, to be asked for later."""
    last: str = ""
    """The type of event that ends its stream, where that is one of typed events and of no chat's chunks."""
    of: str = ""
    """What it is a part of, where a provider has all of that or nothing: whoever keeps files lists, shows and deletes them."""

    @property
    def writes(self) -> bool:
        """Whether the model writes text, of which a call may say the most."""
        return self.chunk is not None and not self.last

    @property
    def spelling(self) -> str:
        """How its streams are spelled: as its dialect's, or as typed events that nothing closes but the last of them."""
        return "openai_events" if self.last else self.dialect

    @property
    def offer(self) -> str:
        """The word for it in a row's `offers` and `forms`."""
        return self.of or self.name

    @property
    def form(self) -> str:
        """What a form of it is called: parts of one offer are told apart by method and place."""
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
    """Names of options that are not the model's."""
    from headrace.options import CallOptions, RoutingOptions  # late: types for editors, slow to make; an import need not wait for them

    return frozenset(CallOptions.__annotations__) | frozenset(RoutingOptions.__annotations__)


# What litellm keeps to itself: programs written for it pass these, providers refuse them.
_NEVER_SENT: Final = frozenset({
    "id", "model_info", "retry_strategy", "verbose", "acompletion", "aembedding", "atext_completion", "aimg_generation", "atranscription",
    "aspeech",
})  # fmt: skip

_REFUSED: Final[Mapping[str, str]] = {
    "model_list": "deployments are a Router's: Router(model_list).completion(…)",
    "deployment_id": "name the model 'azure/your-deployment'",
    "api_type": "say whose the model is in its name, 'azure/your-deployment'",
    "shared_session": "leave it out, connections are shared by all calls; or set litellm.aclient_session",
}
"""Of those what would be missed, and what to use."""

_THEIRS: Final = ("_", "litellm_")
"""How names begin that litellm's programs give to litellm alone."""

_FOR_LAYERS: Final = frozenset({
    "enable_json_schema_validation", "guardrails", "litellm_call_id", "litellm_metadata", "logger_fn", "mock_timeout", "no-log",
    "use_litellm_proxy", "client", "mock_testing_fallbacks", "mock_testing_context_fallbacks", "mock_testing_content_policy_fallbacks",
    "mock_testing_rate_limit_error", "mock_tool_calls", "success_callback", "failure_callback", "callbacks", "langfuse_host",
    "langfuse_public_key", "litellm_session_id", "litellm_trace_id", "modify_params", "langfuse_secret", "langfuse_secret_key",
})  # fmt: skip
"""What layers around a call may look at; never sent either."""


class Call(Struct, eq=False):
    """One call as the caller meant it, before a destination is chosen."""

    operation: Operation
    model: str
    body: dict[str, Json]
    """The provider's body without its model."""
    prompt: Any
    """What the model reads, as the caller gave it."""
    encoded: msgspec.Raw
    """The same as JSON: encoded once, however many attempts follow."""
    control: dict[str, Any] = {}
    stream: bool = False
    place: Mapping[str, str] = {}
    """What stands in the path: the id of a file, a batch, …"""
    deployment: str = ""
    """The one that keeps what the call asks for; empty for any."""
    raw: bool = False
    """Whether its caller takes bytes in his own dialect in place of objects. A layer that needs objects asks for them."""
    before: Any = None
    """Its first attempt, where that was made already and failed: `headrace.routing.trail.Failed`."""
    lasts: bool = False
    """Whether its stream is continued elsewhere should it break off: then what it says is noted."""

    @property
    def max_output(self) -> int | None:
        """The most tokens the caller lets the model write, where the caller said so."""
        return most_output(self.body)


def most_output(body: Mapping[str, Any]) -> int | None:
    """The most tokens that a body lets the model write, in whatever dialect's word; None where it does not say."""
    said = body.get("generationConfig")
    inner = said.get("maxOutputTokens") if isinstance(said, Mapping) else None
    most = inner or next((body[name] for name in _MOST_OUTPUT if body.get(name)), None)
    many = body.get("n")
    return most * (many if isinstance(many, int) and many > 0 else 1) if isinstance(most, int) and most > 0 else None


_MOST_OUTPUT: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""What dialects call it."""


def continued(call: Call, said: str, mark: str = "") -> Call:
    """A chat whose answer began with `said` already: what is left of it is asked for, in objects. mark: a field that the message needs."""
    message = {"role": "assistant", "content": said, **({mark: True} if mark else {})}
    prompt = [*call.prompt, message]
    encoded = msgspec.Raw(encode(prompt))
    left = {name: max(1, most - len(said) // 4) for name in _MOST if isinstance(most := call.body.get(name), int)}
    body = {**call.body, **left, "messages": encoded}
    return msgspec.structs.replace(call, prompt=prompt, encoded=encoded, body=body, raw=False, lasts=False)


_MOST: Final = ("max_tokens", "max_completion_tokens")

TEXTS: Final = ("text", "srt", "vtt")
"""Forms of a transcription that are no JSON."""

EMPTY: Final[Mapping[str, str]] = {}
NOTHING: Final = msgspec.Raw(b"")


def prepare(
    operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
) -> Call:
    """Sort the caller's options. Raises BadRequestError or ConfigurationError that names the argument."""
    if not isinstance(model, str) or not model:
        raise BadRequestError(f"model must be a non-empty string such as 'openai/gpt-4o', got {shape(model)}")
    control: dict[str, Any] = {}
    body: dict[str, Json] = {}
    ours = control_names()
    for name, value in options.items():
        if value is None or name in _NEVER_SENT:
            continue
        if name in _REFUSED:
            raise BadRequestError(f"{name} is not taken: {_REFUSED[name]}", model)
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
    elif operation.prompt:
        if operation is CHAT and isinstance(prompt, list | tuple):
            prompt = with_data(prompt)
        encoded = body[operation.prompt] = _encode_prompt(operation, prompt)
    if stream:
        if operation.reads == "text" and body.get("response_format") in TEXTS:
            raise BadRequestError(
                f"response_format {body['response_format']!r} cannot be streamed: ask for json, or leave stream out", model
            )
        if operation.of != "files":  # how a file is read its provider need not know
            body["stream"] = True
    return Call(operation, model, body, prompt, encoded, control, stream, place)


def altered(call: Call, options: Mapping[str, Any]) -> Call:
    """The call with other options, its prompt among them. Raises as `prepare` does."""
    said = dict(options)
    prompt = said.pop(call.operation.prompt, call.prompt) if call.operation.prompt else call.prompt
    anew = prepare(call.operation, call.model, prompt, call.stream, {**call.control, **call.body, **said}, call.place)
    return msgspec.structs.replace(call, body=anew.body, control=anew.control, prompt=anew.prompt, encoded=anew.encoded)


def _opened(body: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The files of a form, looked at once: an attempt after the first begins where the first began."""
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
    """A pydantic class as OpenAI's strict JSON schema; anything else as it is."""
    if not isinstance(wanted, type):
        return wanted
    schema = getattr(wanted, "model_json_schema", None)
    if schema is None:
        raise BadRequestError(f"response_format must be a mapping or a pydantic model class, got the class {wanted.__name__}")
    return {"type": "json_schema", "json_schema": {"name": wanted.__name__, "schema": _strict(schema()), "strict": True}}


def _strict(schema: Any) -> Any:
    """OpenAI's strict subset: no further properties, every property required (platform.openai.com/docs/guides/structured-outputs)."""
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
    """What msgspec does not know: our own objects, pydantic models, mappings."""
    if dump := getattr(value, "model_dump", None):
        return dump(exclude_none=True)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: Any) -> bytes:
    """JSON bytes. Raises BadRequestError for what JSON cannot say."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from error


def shape(value: Any) -> str:
    """What a bad value looks like, without its content: an error must not repeat a secret or a prompt."""
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
        # A long answer is no fault: for a stream the figure bounds the wait for the first token and each silence after it.
        return Timeouts(connect=min(10.0, timeout), first_byte=timeout, between_bytes=timeout)
    return Timeouts(connect=min(10.0, timeout), total=timeout)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def timeouts_of(timeout: Any, stream: bool) -> Timeouts:
    """A number of seconds, `Timeouts`, or an object with httpx's `connect` and `read`."""
    if timeout is None:
        return _seconds(DEFAULT_TIMEOUT, stream)
    if isinstance(timeout, Timeouts):
        return timeout
    if isinstance(timeout, str):  # YAML and .env give them
        timeout = _number(timeout)
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        if not 0 < timeout < float("inf"):
            raise ConfigurationError(f"timeout must be a positive number of seconds, got {timeout!r}")
        return _seconds(float(timeout), stream)
    if hasattr(timeout, "connect") and hasattr(timeout, "read"):
        return Timeouts(connect=timeout.connect, first_byte=timeout.read, between_bytes=timeout.read)
    raise ConfigurationError(f"timeout must be seconds, headrace.Timeouts or an httpx Timeout, got {shape(timeout)}")


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """`value` as a whole number, or a ConfigurationError that names the field. Strings of digits count: YAML and .env give them."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, got {shape(value)}")
    return value


def seconds(name: str, value: Any) -> float:
    """A number of seconds. Raises ConfigurationError that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigurationError(f"{name} must be a number of seconds of at least 0, got {shape(value)}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Yes or no; as a text too, as the environment has it. Raises ConfigurationError that names the parameter."""
    said = value.lower() if isinstance(value, str) else value
    if said not in (True, False, "true", "false"):
        raise ConfigurationError(f"{name} must be true or false, got {shape(value)}")
    return said in (True, "true")


def ends_at(control: Mapping[str, Any], now: float) -> float:
    """When the whole call must be over (`total_timeout`), its waiting and all its attempts included."""
    total = control.get("total_timeout")
    return math.inf if total is None else now + seconds("total_timeout", total)


def within(limits: Timeouts, left: float) -> Timeouts:
    """The limits of an attempt that has `left` seconds in all."""
    if left == math.inf or (limits.total is not None and limits.total <= left):
        return limits
    return msgspec.structs.replace(limits, total=max(left, 1e-3))
