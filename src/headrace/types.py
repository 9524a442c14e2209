"""The hub: one common representation of chats, used to translate between dialects. Nothing here knows a wire format.

Every value is frozen and compares by content. At each level, `extra` holds the fields of the source dialect that the
hub does not model, so that they survive in the same dialect and can be reported when another one cannot express them. A
`msgspec.UNSET` in it marks a field that the dialect usually writes and that was omitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

Json: TypeAlias = Any
"""Any JSON value: None, bool, int, float, str, list or dict with str keys."""

Extra: TypeAlias = Mapping[str, Json]
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "pause", "error", "other"]
"""Why the model stopped. `tool_calls` whenever there are calls, whatever the provider says; `pause`: send the turn back unchanged."""


class Value(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Base class of all hub values."""

    extra: Extra = {}


# ---- parts of a message ------------------------------------------------------------------------------------------------------------


class Text(Value, frozen=True):
    text: str
    signature: str | None = None
    """Gemini signs texts too; the signature must be sent back in the same place."""


class Image(Value, frozen=True):
    url: str
    """An `https:` URL, a `data:` URL with its media type, or a reference to the provider's own file storage."""
    detail: str | None = None


class Audio(Value, frozen=True):
    data: str = ""
    """Base64."""
    format: str = ""
    """`wav`, `mp3`, … as OpenAI names them."""
    id: str = ""
    """Id of audio the model generated earlier: it may be sent back by id alone."""
    transcript: str = ""


class File(Value, frozen=True):
    """A document. Either `url` (a `data:` URL for inline bytes) or `id` is set."""

    url: str = ""
    id: str = ""
    name: str = ""


class Thinking(Value, frozen=True):
    """Reasoning that a model showed. It must be sent back unchanged, or the provider rejects the turn.

    `data` is reasoning only the provider can read: Anthropic's redacted thinking, encrypted reasoning of Responses and
    OpenRouter. An empty text with a signature is not an empty part.
    """

    text: str = ""
    signature: str | None = None
    data: str | None = None


class Refusal(Value, frozen=True):
    text: str


class ToolCall(Value, frozen=True):
    """A tool call. `arguments` is JSON as the model wrote it, possibly invalid; for a custom tool, plain text.

    `legacy`: OpenAI's older `function_call`, which has no id.
    """

    id: str
    name: str
    arguments: str = ""
    kind: Literal["function", "custom", "legacy"] = "function"
    signature: str | None = None


class ToolResult(Value, frozen=True):
    """A tool's result. `name` if the caller gave it: Gemini needs it, OpenAI identifies the call by id."""

    call_id: str
    content: tuple[Part, ...] = ()
    name: str | None = None
    is_error: bool = False


class Other(Value, frozen=True):
    """A part that only its own dialect knows (a video, a server tool's result); `extra` holds all of it."""

    type: str


Part: TypeAlias = Text | Image | Audio | File | Thinking | Refusal | ToolCall | ToolResult | Other


class Message(Value, frozen=True):
    """One turn. A `tool` message holds exactly one ToolResult; an assistant's parts are ordered thinking, content, calls."""

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def thinking(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, Thinking))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.content if isinstance(part, ToolCall))


# ---- a request ---------------------------------------------------------------------------------------------------------------------


class Tool(Value, frozen=True):
    """A function the model may call. `type` other than "function": a built-in tool of the provider, described by `extra` alone."""

    name: str = ""
    description: str | None = None
    parameters: Json = None
    """JSON Schema; None for a function without parameters."""
    strict: bool | None = None
    type: str = "function"


class ToolChoice(Value, frozen=True):
    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""
    """Name of the tool, with mode "tool"."""


class ResponseFormat(Value, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema: Json = None
    strict: bool | None = None
    description: str | None = None


class ChatRequest(Value, frozen=True):
    """A chat request, independent of dialect. None: not set by the caller."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    """Maximum output tokens, reasoning included."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    effort: str | None = None
    """Reasoning effort: none, minimal, low, medium, high, xhigh, max."""
    thinking_budget: int | None = None
    """Reasoning tokens, for dialects with a budget instead of an effort."""
    user: str | None = None
    stream: bool = False
    include_usage: bool = False
    """Whether the caller wants a stream to end with its usage."""


# ---- a response --------------------------------------------------------------------------------------------------------------------


class Usage(Value, frozen=True):
    """Token counts as OpenAI defines them: `input` includes tokens read from and written to a cache, `output` includes reasoning."""

    input: int = 0
    output: int = 0
    total: int = 0
    """As the provider reports it; may exceed the sum."""
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0


class Choice(Value, frozen=True):
    index: int
    message: Message
    finish: FinishReason | None = None
    native_finish: str | None = None
    """The provider's own finish reason, if not its dialect's usual one."""
    logprobs: Json = None
    """In OpenAI's format."""


class ChatResponse(Value, frozen=True):
    id: str = ""
    model: str = ""
    created: int = 0
    """Unix time in seconds; 0 if the provider does not say."""
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None


# ---- a stream ----------------------------------------------------------------------------------------------------------------------


class Started(Value, frozen=True):
    id: str = ""
    model: str = ""
    created: int = 0


class TextDelta(Value, frozen=True):
    """More text of block `block`. Most dialects have one block; Anthropic's starts another at each citation."""

    text: str
    choice: int = 0
    signature: str | None = None
    block: int = 0


class RefusalDelta(Value, frozen=True):
    text: str
    choice: int = 0


class ThinkingDelta(Value, frozen=True):
    """More of thinking block `block`; a signature comes once, with or after the block's last text."""

    text: str = ""
    signature: str | None = None
    data: str | None = None
    block: int = 0
    choice: int = 0


class ToolCallDelta(Value, frozen=True):
    """More of the call at `index`: id and name only in its first delta, `arguments` in pieces or whole."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    kind: Literal["function", "custom", "legacy"] = "function"
    signature: str | None = None
    choice: int = 0


class AudioDelta(Value, frozen=True):
    data: str = ""
    format: str = ""
    id: str = ""
    transcript: str = ""
    choice: int = 0


class Logprobs(Value, frozen=True):
    logprobs: Json
    choice: int = 0


class Noted(Value, frozen=True):
    """Fields not modelled by the hub, received mid-stream, about the response, a choice or its message."""

    level: Literal["response", "choice", "message"] = "response"
    choice: int = 0


class Finished(Value, frozen=True):
    """A choice is complete. At most one per choice: some providers end a stream without a finish reason (Snowflake)."""

    finish: FinishReason
    native_finish: str | None = None
    choice: int = 0


class UsageReported(Value, frozen=True):
    """The usage of the whole stream: at most one, after the last Finished."""

    usage: Usage


StreamEvent: TypeAlias = (
    Started | TextDelta | RefusalDelta | ThinkingDelta | ToolCallDelta | AudioDelta | Logprobs | Noted | Finished | UsageReported
)


# ---- embeddings and text completions -----------------------------------------------------------------------------------------------


class EmbeddingRequest(Value, frozen=True):
    model: str
    input: Json
    """A text, a list of texts, a list of token ids, or a list of such lists."""
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None


class Embedding(Value, frozen=True):
    index: int
    values: tuple[float, ...] | str
    """Numbers, or base64 of little-endian float32 if the caller requested it."""


class EmbeddingResponse(Value, frozen=True):
    model: str = ""
    data: tuple[Embedding, ...] = ()
    usage: Usage | None = None


class TextRequest(Value, frozen=True):
    """A legacy text completion, kept for base models and fill-in-the-middle."""

    model: str
    prompt: Json
    """A text, a list of texts, or token ids."""
    max_tokens: int | None = None
    stream: bool = False


class TextChoice(Value, frozen=True):
    index: int
    text: str
    finish: FinishReason | None = None
    native_finish: str | None = None
    logprobs: Json = None


class TextResponse(Value, frozen=True):
    id: str = ""
    model: str = ""
    created: int = 0
    choices: tuple[TextChoice, ...] = ()
    usage: Usage | None = None
