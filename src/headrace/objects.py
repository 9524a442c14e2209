"""Response objects: the provider's own JSON with typed access.

An object's `__dict__` *is* the decoded JSON object, so nothing the provider sent is lost, unknown fields included, and
attribute access has no overhead. Item access works too: `response["choices"][0]["message"]`.
Fields that the OpenAI SDK and litellm always have are None when absent. Optional ones are missing, so that
`hasattr(message, "reasoning_content")` tells whether the provider sent any.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

Json: TypeAlias = Any
Wrap: TypeAlias = Callable[[dict[str, Any]], "JsonObject"]

_new: Final = object.__new__


class JsonObject:
    """A JSON object with attribute and item access. `Class(**fields)` builds one; `Class.wrap(fields)` adopts a dict."""

    __slots__ = ("__dict__", "__weakref__", "_hidden_params")

    _parts: ClassVar[tuple[tuple[str, Wrap, bool], ...]] = ()
    """Fields that hold objects: name, function that wraps one, and whether the field holds a list of them."""

    _hidden_params: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        self.__dict__ = self.wrap(fields).__dict__

    @classmethod
    def wrap(cls, fields: dict[str, Any]) -> Self:
        """An object whose state is `fields` itself; objects inside it are wrapped in place."""
        self = _new(cls)
        for name, wrap, many in cls._parts:
            if name not in fields:
                continue
            value = fields[name]
            if not many:
                if type(value) is dict:
                    fields[name] = wrap(value)
            elif type(value) is list:
                if len(value) == 1 and type(value[0]) is dict:  # nearly every response and chunk has one choice
                    fields[name] = [wrap(value[0])]
                else:
                    fields[name] = [wrap(item) if type(item) is dict else item for item in value]
        self.__dict__ = fields
        return self

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__dict__.items())

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def keys(self) -> KeysView[str]:
        return self.__dict__.keys()

    def values(self) -> ValuesView[Any]:
        return self.__dict__.values()

    def items(self) -> ItemsView[str, Any]:
        return self.__dict__.items()

    def model_dump(self, *, mode: str = "python", exclude_none: bool = False, exclude_unset: bool = False, **_: Any) -> dict[str, Any]:
        """Nested plain dicts and lists. Only present fields are dumped, so `exclude_unset` has no effect."""
        return {name: _plain(value, exclude_none) for name, value in self.__dict__.items() if not (exclude_none and value is None)}

    to_dict = model_dump
    dict = model_dump
    json = model_dump
    """Returns a dict, not text, as in litellm; `model_dump_json` returns text."""

    def model_dump_json(self, *, indent: int | None = None, exclude_none: bool = False, **_: Any) -> str:
        text = msgspec.json.encode(self.model_dump(exclude_none=exclude_none))
        return (msgspec.json.format(text, indent=indent) if indent else text).decode()

    to_json = model_dump_json

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copy = type(self).wrap(self.model_dump() if deep else {**self.__dict__})
        if hasattr(self, "_hidden_params"):
            copy._hidden_params = self._hidden_params
        copy.__dict__.update(update or {})
        return copy

    @property
    def model_extra(self) -> Mapping[str, Any]:
        """Fields beyond those this class declares, as in pydantic models."""
        named = {name for cls in type(self).__mro__ for name in vars(cls).get("__annotations__", ())}
        return {name: value for name, value in self.__dict__.items() if name not in named}

    @property
    def model_fields_set(self) -> set[str]:
        return set(self.__dict__)

    @classmethod
    def model_validate(cls, value: Mapping[str, Any] | JsonObject) -> Self:
        return cls.wrap(value.model_dump() if isinstance(value, JsonObject) else {**value})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Mapping[str, Any]:
        """Lets pydantic models have fields of this class, validated from an instance or a mapping."""
        written = {"type": "function-plain", "function": cls.model_dump}
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._checked}, "serialization": written}

    @classmethod
    def _checked(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a {cls.__name__} or a mapping, not a {type(value).__name__}")
        return cls.model_validate(value)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dict):  # litellm's embeddings are dictionaries
            return self.model_dump() == other
        return type(other) is type(self) and self.__dict__ == other.__dict__ if isinstance(other, JsonObject) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, like the SDK classes it stands in for

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_short(value)}' for name, value in self.__dict__.items())})"


def _short(value: Any) -> str:
    if type(value) is list and len(value) > 8 and isinstance(value[0], int | float):
        return f"[{value[0]!r}, {value[1]!r}, … {len(value)} numbers]"
    return repr(value)


def _plain(value: Any, exclude_none: bool = False) -> Any:
    if isinstance(value, JsonObject):
        return value.model_dump(exclude_none=exclude_none)
    if isinstance(value, list):
        return [_plain(item, exclude_none) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, exclude_none) for name, item in value.items()}
    return value


class Function(JsonObject):
    name: str | None = None
    arguments: str = ""
    """JSON text exactly as the model wrote it; may be "", which means no arguments."""

    def __init__(self, **fields: Any) -> None:
        """`arguments` may also be a mapping."""
        given = fields.get("arguments")
        super().__init__(**({**fields, "arguments": msgspec.json.encode(given).decode()} if isinstance(given, Mapping) else fields))


class ChatCompletionMessageToolCall(JsonObject):
    _parts = (("function", Function.wrap, False),)

    id: str | None = None
    type: str | None = "function"
    function: Function


class ChatCompletionDeltaToolCall(ChatCompletionMessageToolCall):
    index: int = 0


class _Said(JsonObject):
    """Common base of messages and their stream deltas."""

    role: str | None = None
    content: str | None = None
    function_call: Any = None

    if TYPE_CHECKING:  # missing unless the provider sent them
        reasoning_content: str | None
        refusal: str | None
        annotations: list[Any] | None
        audio: Any
        images: list[Any] | None
        thinking_blocks: list[Any] | None
        provider_specific_fields: dict[str, Any] | None

    @classmethod
    def wrap(cls, fields: dict[str, Any]) -> Self:
        # Groq, Cerebras, OpenRouter, vLLM and Ollama use `reasoning` where DeepSeek and litellm use `reasoning_content`.
        if "reasoning" in fields and "reasoning_content" not in fields:
            fields["reasoning_content"] = fields["reasoning"]
        if "tool_calls" in fields:
            return super().wrap(fields)
        self = _new(cls)
        self.__dict__ = fields
        return self


class Message(_Said):
    _parts = (("tool_calls", ChatCompletionMessageToolCall.wrap, True),)

    role: str | None = "assistant"
    tool_calls: list[ChatCompletionMessageToolCall] | None = None


class Delta(_Said):
    _parts = (("tool_calls", ChatCompletionDeltaToolCall.wrap, True),)

    tool_calls: list[ChatCompletionDeltaToolCall] | None = None


class TopLogprob(JsonObject):
    token: str
    logprob: float
    bytes: list[int] | None = None


class ChatCompletionTokenLogprob(TopLogprob):
    _parts = (("top_logprobs", TopLogprob.wrap, True),)

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(JsonObject):
    """Log probabilities of tokens (natural logarithm). A provider's own format is available as attributes too."""

    _parts = (
        ("content", ChatCompletionTokenLogprob.wrap, True),
        ("refusal", ChatCompletionTokenLogprob.wrap, True),
    )

    content: list[ChatCompletionTokenLogprob] | None = None
    refusal: list[ChatCompletionTokenLogprob] | None = None


class Logprobs(JsonObject):
    """Log probabilities of a text completion: parallel lists with one entry per token."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class Choices(JsonObject):
    _parts = (
        ("message", Message.wrap, False),
        ("logprobs", ChoiceLogprobs.wrap, False),
    )

    index: int = 0
    finish_reason: str | None = None
    message: Message

    def __init__(self, **fields: Any) -> None:
        """Omitted fields default to an empty response, as in litellm."""
        super().__init__(**{"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": None}, **fields})

    if TYPE_CHECKING:  # missing unless the provider sent them
        logprobs: ChoiceLogprobs | None


class StreamingChoices(JsonObject):
    _parts = (
        ("delta", Delta.wrap, False),
        ("logprobs", ChoiceLogprobs.wrap, False),
    )

    index: int = 0
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None
    delta: Delta

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"finish_reason": None, "index": 0, "delta": {}, **fields})


class TextChoices(JsonObject):
    _parts = (("logprobs", Logprobs.wrap, False),)

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class TokensDetails(JsonObject):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class Usage(JsonObject):
    """Token counts. As at OpenAI, `prompt_tokens` includes cached and `completion_tokens` includes reasoning tokens."""

    _parts = (
        ("prompt_tokens_details", TokensDetails.wrap, False),
        ("completion_tokens_details", TokensDetails.wrap, False),
    )

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: TokensDetails | None = None
    completion_tokens_details: TokensDetails | None = None


class _Answer(JsonObject):
    id: str = ""
    object: str = ""
    created: int = 0
    model: str | None = None

    @property
    def _response_headers(self) -> Mapping[str, str]:
        headers: Mapping[str, str] = self._hidden_params.get("additional_headers", {})
        return headers


class ModelResponse(_Answer):
    """A chat completion."""

    _parts = (
        ("choices", Choices.wrap, True),
        ("usage", Usage.wrap, False),
    )

    object: str = "chat.completion"
    choices: list[Choices]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"object": "chat.completion", **fields, "choices": fields.get("choices") or [Choices()]})


class ModelResponseStream(_Answer):
    """One chunk of a streamed chat completion."""

    _parts = (
        ("choices", StreamingChoices.wrap, True),
        ("usage", Usage.wrap, False),
    )

    object: str = "chat.completion.chunk"
    choices: list[StreamingChoices]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    moderation: Any = None
    """Like `service_tier`, read by the OpenAI SDK's own chunk accumulators (openai 3)."""


class TextCompletionResponse(_Answer):
    """A legacy text completion, or one chunk of its stream."""

    _parts = (
        ("choices", TextChoices.wrap, True),
        ("usage", Usage.wrap, False),
    )

    object: str = "text_completion"
    choices: list[TextChoices]
    usage: Usage | None = None


class ModerationResponse(_Answer):
    """Whether texts or images are harmful, by category."""

    _parts = (("results", JsonObject.wrap, True),)

    results: list[Any]


class OCRResponse(_Answer):
    """Text recognized in a document: `pages`, each with its text as `markdown`."""

    _parts = (("pages", JsonObject.wrap, True), ("usage_info", JsonObject.wrap, False))

    pages: list[Any]
    usage_info: Any = None


class RerankResponse(_Answer):
    """Documents ranked by relevance, most relevant first."""

    _parts = (
        ("results", JsonObject.wrap, True),
        ("usage", Usage.wrap, False),
        ("meta", JsonObject.wrap, False),
    )

    results: list[Any]
    meta: Any = None
    usage: Usage | None = None

    @classmethod
    def wrap(cls, fields: dict[str, Any]) -> Self:
        if "results" not in fields and "data" in fields:  # as Voyage names it
            fields["results"] = fields.pop("data")
        return super().wrap(fields)


class ImageObject(JsonObject):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class ImageResponse(_Answer):
    _parts = (
        ("data", ImageObject.wrap, True),
        ("usage", JsonObject.wrap, False),
    )

    data: list[ImageObject]
    usage: Any = None


class ImageStreamEvent(JsonObject):
    """One event of a streamed image; `type` tells which. A partial image has its index, the completed one its `usage`."""

    _parts = (("usage", JsonObject.wrap, False),)

    type: str = ""
    b64_json: str | None = None
    partial_image_index: int | None = None
    usage: Any = None


class TranscriptionResponse(_Answer):
    """The text of an audio recording."""

    _parts = (
        ("segments", JsonObject.wrap, True),
        ("words", JsonObject.wrap, True),
        ("usage", JsonObject.wrap, False),
    )

    text: str = ""


class TranscriptionStreamEvent(JsonObject):
    """One event of a streamed transcription; `type` tells which. Has a `delta` while streaming, `text` and `usage` at the end."""

    _parts = (("usage", JsonObject.wrap, False),)

    type: str = ""
    delta: str | None = None
    text: str | None = None
    usage: Any = None


class BinaryResponse:
    """Binary content that a provider generated or stored: speech, a file."""

    __slots__ = ("_hidden_params", "content", "headers")

    def __init__(self, content: bytes, headers: Mapping[str, str], hidden: dict[str, Any]) -> None:
        self.content = content
        self.headers = headers
        self._hidden_params = hidden

    @property
    def text(self) -> str:
        return self.content.decode()

    def read(self) -> bytes:
        return self.content

    async def aread(self) -> bytes:
        return self.content

    def iter_bytes(self, chunk_size: int = 65_536) -> Iterator[bytes]:
        return (self.content[at : at + chunk_size] for at in range(0, len(self.content), chunk_size))

    def write_to_file(self, file: str | Path) -> None:
        with open(file, "wb") as out:
            out.write(self.content)

    stream_to_file = write_to_file

    def __repr__(self) -> str:
        return f"<BinaryResponse {self.headers.get('content-type', '')} {len(self.content)} bytes>"


class Embedding(JsonObject):
    index: int = 0
    object: str = "embedding"
    embedding: list[float]
    """Numbers. If base64 was requested, text with little-endian float32; the OpenAI SDK declares the same type for both."""


class EmbeddingResponse(_Answer):
    _parts = (
        ("data", Embedding.wrap, True),
        ("usage", Usage.wrap, False),
    )

    object: str = "list"
    data: list[Embedding]
    usage: Usage | None = None
