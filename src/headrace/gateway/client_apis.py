"""Front ends: how each kind of client recognizes its responses, keep-alives, rate limits and errors.

The dialects define the formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.calls import EMBEDDINGS
from headrace.dialects import load
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.errors import BadRequestError, Failure, HeadraceError, Kind, error_of
from headrace.gateway.context import RouterCall, wanted
from headrace.gateway.quotas import anthropic_headers, openai_headers
from headrace.gateway.requests import IncomingRequest
from headrace.limits import Left
from headrace.models.cost import Bill
from headrace.served import CONTENT
from headrace.types import ChatRequest
from headrace.wire import HttpResponse

EVENTS: Final = "text/event-stream"


class ClientApi(Struct, frozen=True, eq=False):
    """One kind of client."""

    dialect: str
    alive: bytes
    """A keep-alive: something its clients ignore in a stream."""
    left: Callable[[Sequence[Left]], list[tuple[str, str]]] = openai_headers
    """Renders the rate limit headers for the caller's own limits, as its clients read them."""
    last: bytes = b""
    """The beginning of the line after which its clients stop reading a stream; empty if they read to the end."""

    kind: str = EVENTS
    """The content type of its streams."""

    counted: tuple[str, ...] = ()
    """Headers in which its clients read the input and output tokens of a whole response; empty if they only read the body."""

    def used(self, bill: Bill | None) -> list[tuple[str, str]]:
        """The usage in those headers."""
        if bill is None or not self.counted:
            return []
        return [(name, f"{count:g}") for name, count in zip(self.counted, (bill.input, bill.output), strict=True)]

    def ends(self, piece: bytes) -> bool:
        """Whether a piece of a stream contains the `last` line. A model's text cannot, as JSON escapes line breaks."""
        return bool(self.last) and (piece.startswith(self.last) or b"\n" + self.last in piece)

    def error(self, failure: Failure) -> HttpResponse:
        """A failure as a response in the client's dialect."""
        return load(self.dialect).write_error(failure)

    def broken(self, failure: Failure) -> bytes:
        """The error event for a stream that has begun."""
        return load(self.dialect).write_stream(ChatRequest(model="", messages=())).fail(failure)


OPENAI: Final = ClientApi("openai_chat", b": waiting\n\n", last=b"data: [DONE]")
RESPONDING: Final = ClientApi("openai_responses", b": waiting\n\n", last=b"event: response.completed")
ANTHROPIC: Final = ClientApi("anthropic_messages", b'event: ping\ndata: {"type": "ping"}\n\n', anthropic_headers, b"event: message_stop")
GOOGLE: Final = ClientApi("gemini", b"\r\n")
COHERE: Final = ClientApi("cohere", b": waiting\n\n")
OLLAMA: Final = ClientApi("ollama", b" ", kind="application/x-ndjson")  # a line may begin with spaces
BEDROCK: Final = ClientApi(
    "bedrock_converse",
    event("ping", {}),
    kind="application/vnd.amazon.eventstream",
    counted=("x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count"),
)
"""AWS clients skip events of unknown types."""

_BEDROCKS: Final = re.compile("/model/.+/(?:converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)")
"""More specific than `/model/`, where the admin API has `/model/new` and others."""


def front_of(asked: IncomingRequest) -> ClientApi:
    """The kind of client, by path and headers; also for paths that do not exist."""
    path, headers = asked.path, asked.headers
    if _BEDROCKS.fullmatch(path):  # Claude's clients send anthropic-version here too
        return BEDROCK
    if path.startswith(("/v1beta", "/v1alpha", "/ws/google", "/upload/")) or "/publishers/google/" in path or "x-goog-api-key" in headers:
        return GOOGLE
    if "/messages" in path or "/publishers/anthropic/" in path or "anthropic-version" in headers:
        return ANTHROPIC
    if path.startswith(("/v2/rerank", "/v2/chat", "/v2/embed")) or path in ("/v1/embed", "/v1/chat"):
        return COHERE
    if path.startswith("/api/"):
        return OLLAMA
    return RESPONDING if "/responses" in path else OPENAI


def as_chat(body: dict[str, Any], model: str) -> dict[str, Any]:
    """A body for Chat Completions. A body in the format of Responses, as Cursor's agent sends it, is converted."""
    if "messages" in body or "input" not in body:
        return body
    from headrace.dialects.base import Target  # late: few callers do
    from headrace.dialects.openai_chat import dialect as chat  # late as well

    target = Target("openai", model or str(body.get("model") or "-"), source="openai_responses")
    request = load("openai_responses").read_request({"model": target.model, **body})
    said: dict[str, Any] = msgspec.json.decode(chat.write_request(request, target).body)
    return {**said, **({"stream": body["stream"]} if "stream" in body else {})}


def no_threads() -> HeadraceError:
    """The error for a conversation stored by Anthropic, of which a call only sends the new turns.

    The next deployment may belong to another account or provider, and the gateway does not know who owns a message.
    Clients that know the error code send the whole conversation instead.
    platform.claude.com/docs/en/build-with-claude/message-threads; the code by anthropic 2.14; read 2026-11.
    """
    said = {"type": "error", "error": {"details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}}
    message = "thread: the gateway stores no conversations: send the whole conversation in messages, without thread"
    return error_of(Failure(Kind.BAD_REQUEST, message, status=400, param="thread", body=said))


def content_wanted(body: dict[str, Any], model: str, *, stream: bool) -> RouterCall:
    """A call of generateContent, whose path says whether it is streamed."""
    body.pop("stream", None)
    return msgspec.structs.replace(wanted(CONTENT, body, model), stream=stream)


# ---- token counts
# ----------------------------------------------------------------------------------------------------------------


def chat_of(dialect: str, body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The prompt of another dialect's body as a chat in OpenAI's format. Raises BadRequestError."""
    from headrace.dialects.base import Target  # late: few callers count tokens
    from headrace.dialects.openai_chat import dialect as chat  # late as well

    request = load(dialect).read_request(body)
    written: dict[str, Any] = msgspec.json.decode(chat.write_request(request, Target("openai", model, source=dialect)).body)
    return {name: written[name] for name in ("messages", "tools", "tool_choice") if name in written}


def anthropic_question(body: dict[str, Any], model: str) -> dict[str, Any]:
    """A body of Messages as a chat in OpenAI's format, for counting tokens."""
    return chat_of("anthropic_messages", {"max_tokens": 1, **body}, model)


def google_question(body: dict[str, Any], model: str) -> dict[str, Any]:
    """A body of countTokens as a chat in OpenAI's format."""
    whole = body.get("generateContentRequest")
    return chat_of("gemini", {"model": model, **(whole if isinstance(whole, dict) else body)}, model)


# ---- Google's embeddings ---------------------------------------------------------------------------------------------------------

_SAID: Final[Mapping[str, str]] = {"outputDimensionality": "dimensions", "taskType": "task_type", "title": "title"}


GOOGLES: Final = frozenset({"task_type", "title"})
"""Those of the parameters that do not affect the vectors of other providers."""


def embed_wanted(body: dict[str, Any], model: str, *, many: bool) -> RouterCall:
    """Google's request for one or many embeddings, as a call in OpenAI's format."""
    questions = body.get("requests") if many else [body]
    if not isinstance(questions, list) or not questions or not all(isinstance(one, dict) for one in questions):
        raise BadRequestError("requests must be a list of at least one request", model)
    options = [{_SAID[name]: one[name] for name in _SAID if name in one} for one in questions]
    if any(other != options[0] for other in options):
        raise BadRequestError("requests with different outputDimensionality, taskType or title must be sent one by one", model)
    texts = [_text(one, f"requests[{number}]." if many else "") for number, one in enumerate(questions)]
    return RouterCall(EMBEDDINGS, model, texts if many else texts[0], False, options[0])


def _text(question: Mapping[str, Any], at: str) -> str:
    content = question.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise BadRequestError(f"{at}content must have parts with text")
    return "".join(part["text"] for part in parts)


def embedded(answer: Any, *, many: bool) -> dict[str, Any]:
    """Google's response for one or many embeddings."""
    vectors = [{"values": one.embedding} for one in answer.data]
    return {"embeddings": vectors} if many else {"embedding": vectors[0]}
