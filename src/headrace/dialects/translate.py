"""Translates an OpenAI-format call for a provider that speaks another dialect, and its response back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headrace.dialects import counts, load
from headrace.dialects.amends import Amends, amended
from headrace.dialects.answers import dated
from headrace.dialects.base import Dialect, StreamReader, Target
from headrace.dialects.citation_words import CITATIONS
from headrace.dialects.citations import ANNOTATIONS, CHAT, Citing, for_chat, on_message
from headrace.dialects.counts import Count
from headrace.dialects.fields import common
from headrace.dialects.openai_chat import others, requests, responses
from headrace.dialects.openai_chat.streams import Writer
from headrace.dialects.openai_stream import Said, read_body
from headrace.errors import BadRequestError, UnsupportedParamsError
from headrace.types import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    Json,
    Message,
    Other,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    UsageReported,
)
from headrace.wire import Frame, HttpRequest, HttpResponse


class Translation(Struct, frozen=True, eq=False):
    """One request in the hub's terms, kept to read its response."""

    dialect: Dialect
    target: Target
    request: ChatRequest | EmbeddingRequest
    operation: str
    added: Mapping[str, Json] = {}
    """Provider-specific fields, merged in last and unchanged."""
    amends: Amends | None = None
    """Changes to make to the response, if the request was changed to fit the provider."""
    left_out: tuple[str, ...] = ()
    """Parameters not sent because the provider's dialect cannot express them."""
    count: Count | None = None
    """How to request a token count, if the call is for that alone."""

    def write(self) -> HttpRequest:
        if isinstance(self.request, EmbeddingRequest):
            written: HttpRequest = _embeddings(self.dialect, self.target).write_embedding_request(self.request, self.target)
        else:
            written = self.dialect.write_request(self.request, self.target)
        if not self.added:
            return written
        body = msgspec.json.encode({**msgspec.json.decode(written.body), **self.added})
        return msgspec.structs.replace(written, body=body)

    def read(self, response: HttpResponse) -> dict[str, Json]:
        """The response's body. Raises HeadraceError for an unreadable response, and the provider's error if one came with status 200."""
        if isinstance(self.request, EmbeddingRequest):
            vectors = _embeddings(self.dialect, self.target).read_embedding_response(response, self.request, self.target)
            return others.write_embedding_response(vectors)
        if self.count is not None:
            return self._count(self.count, response)
        answer = self.dialect.read_response(response, self.request, self.target)
        answer = dated(answer, self.target.moment)
        answer = answer if self.amends is None else self.amends.whole(answer)
        body = responses.write_response(in_one_text(answer))
        body["model"] = body.get("model") or self.target.model
        return as_text(body) if self.operation == "completions" else body

    def _count(self, count: Count, response: HttpResponse) -> dict[str, Json]:
        said = read_body(response, provider=self.target.provider, model=self.target.model)
        total = counts.answer(count, said, self.target.provider, self.target.model)
        names = {"request_model": f"{self.target.provider}/{self.target.model}", "model_used": self.target.model}
        return {"total_tokens": total, **names, "tokenizer_type": f"{self.target.provider}_api", "original_response": said}

    def used(self, body: Mapping[str, Json]) -> Any:
        """The response's usage, in OpenAI's format."""
        return body.get("usage")

    def read_stream(self) -> TranslatedChunks:
        if isinstance(self.request, EmbeddingRequest):
            raise BadRequestError("embeddings cannot be streamed: remove stream")
        reader = self.dialect.read_stream(self.request, self.target)
        return TranslatedChunks(reader, self.request, self.operation, self.target.moment, self.amends)


def translate(dialect_name: str, target: Target, operation: str, body: Mapping[str, Json], control: Mapping[str, Any]) -> Translation:
    """Reads `body`, in OpenAI's format, for the dialect of `target`.

    Raises UnsupportedParamsError for parameters that the dialect cannot express, unless `drop_params` or
    `additional_drop_params` drops them; BadRequestError for an invalid body or an operation that the dialect does not
    have.
    """
    dialect = load(dialect_name)
    allowed = control.get("allowed_openai_params") or ()
    added = {name: body[name] for name in allowed if name in body} | dict(control.get("extra_body") or {})
    body = _without(body, control.get("additional_drop_params") or ())
    if operation == "embeddings":
        return Translation(dialect, target, others.read_embedding_request(body), operation, added)
    request = requests.read_request(_as_chat(body) if operation == "completions" else body)
    request, amends = amended(request, "openai_chat", dialect_name, target)
    only_texts = _only_of_texts(body) if operation == "completions" else ()
    unsaid = [name for name in (*only_texts, *dialect.unsaid(request)) if name not in allowed]
    if unsaid and not control.get("drop_params"):
        raise UnsupportedParamsError(
            f"{target.provider} does not support {', '.join(unsaid)}: remove it, or pass drop_params=True to drop it",
            model=target.model,
            llm_provider=target.provider,
        )
    count = counts.COUNTS[dialect_name] if operation == "count_tokens" else None
    return Translation(dialect, target, request, operation, added, amends, tuple(unsaid), count)


def _without(body: Mapping[str, Json], names: Sequence[str]) -> Mapping[str, Json]:
    return {name: value for name, value in body.items() if name not in names} if names else body


def _embeddings(dialect: Dialect, target: Target) -> Any:
    """The dialect. Raises BadRequestError if it has no embeddings."""
    if not hasattr(dialect, "write_embedding_request"):
        raise BadRequestError(f"{target.provider} does not support embeddings", target.model, target.provider)
    return dialect


# ---- text completions: a chat with one message -------------------------------------------------------------------------------------


def _as_chat(body: Mapping[str, Json]) -> dict[str, Json]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequestError("prompt: this provider completes one text at a time: pass a string")
    rest = {name: value for name, value in body.items() if name not in ("prompt", "best_of", "echo", "suffix")}
    return {**rest, "messages": [{"role": "user", "content": prompt}]}


def _only_of_texts(body: Mapping[str, Json]) -> list[str]:
    """The given parameters that a chat cannot express. `best_of` equal to `n` asks for nothing extra."""
    best_of = body.get("best_of")
    asked = {
        "suffix": bool(body.get("suffix")),
        "echo": bool(body.get("echo")),
        "best_of": best_of is not None and best_of != (body.get("n") or 1),
    }
    return [name for name, given in asked.items() if given]


def as_text(body: dict[str, Json]) -> dict[str, Json]:
    choices = [
        {
            "index": choice["index"],
            "text": (choice.get("message") or choice.get("delta") or {}).get("content") or "",
            "finish_reason": choice.get("finish_reason"),
            "logprobs": None,
        }
        for choice in body["choices"]
    ]
    return {**body, "object": "text_completion", "choices": choices}


# ---- responses ---------------------------------------------------------------------------------------------------------------------


def in_one_text(answer: ChatResponse) -> ChatResponse:
    """`answer` with each message's content as one string, as OpenAI's clients expect.

    Other blocks go into `content_blocks`, as in streams.
    """
    choices = [
        msgspec.structs.replace(choice, message=_in_one_text(choice.message)) if _is_mixed(choice.message) else choice
        for choice in answer.choices
    ]
    return msgspec.structs.replace(answer, choices=tuple(choices))


def _is_mixed(message: Message) -> bool:
    texts = [part for part in message.content if isinstance(part, Text)]
    return len(texts) > 1 or any(text.extra for text in texts) or any(isinstance(part, Other) for part in message.content)


def _in_one_text(message: Message) -> Message:
    texts = [part for part in message.content if isinstance(part, Text)]
    said = Text(text="".join(part.text for part in texts), signature=next((part.signature for part in texts if part.signature), None))
    blocks = [dict(common(part.extra)) for part in message.content if isinstance(part, Other)]
    beside: dict[str, Json] = {"content_blocks": blocks} if blocks else {}
    beside |= for_chat(on_message(message, {}).extra.get(ANNOTATIONS) or ())
    cited = [citation for part in texts if isinstance(them := part.extra.get(CITATIONS), list) for citation in them]
    beside |= {CITATIONS: cited} if cited else {}
    first = texts[0] if texts else None
    parts = [said if part is first else part for part in message.content if part is first or not isinstance(part, Text | Other)]
    return msgspec.structs.replace(message, content=tuple(parts), extra={**message.extra, **beside})


# ---- streams -----------------------------------------------------------------------------------------------------------------------


class TranslatedChunks:
    """A provider's stream as the chunks OpenAI would have sent."""

    __slots__ = ("_amending", "_citing", "_moment", "_operation", "_reader", "_writer", "said", "usage")

    def __init__(self, reader: StreamReader, request: ChatRequest, operation: str, moment: int = 0, amends: Amends | None = None) -> None:
        self._moment = moment
        self._amending = None if amends is None else amends.streamed()
        self._reader = reader
        self._writer = Writer(request)
        self._citing = Citing(CHAT)
        self._operation = operation
        self.usage: dict[str, Any] | None = None
        self.said: Said | None = None
        """Records the streamed content, if requested."""

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        return self._made(self._reader.feed(frame, last=last))

    def rest(self) -> Sequence[dict[str, Any]]:
        return self._made(self._reader.close())

    def pieces(self, frame: Frame, *, last: bool = False) -> Iterator[bytes | dict[str, Any]]:
        """The chunks. Those with text, reasoning or arguments only are bytes, because nothing in them has to be changed."""
        for told in self._told(self._reader.feed(frame, last=last)):
            if self._operation == "chat" and (piece := self._writer.piece(told)) is not None:
                if self.said is not None:
                    self.said.note_piece({"content": told.text} if type(told) is TextDelta else {"tool_calls": True})
                yield piece
            elif (chunk := self._chunk(told)) is not None:
                yield chunk

    def _made(self, events: Sequence[Any]) -> list[dict[str, Any]]:
        return [chunk for told in self._told(events) if (chunk := self._chunk(told)) is not None]

    def _told(self, events: Sequence[Any]) -> Iterator[StreamEvent]:
        """The events with citations where OpenAI's clients expect them; records the usage."""
        for event in events:
            if type(event) is UsageReported:
                self.usage = responses.write_usage(event.usage)
            elif type(event) is Started:
                event = dated(event, self._moment)
            told = self._citing.feed(event)
            yield from told if self._amending is None else (one for each in told for one in self._amending.feed(each))

    def _chunk(self, told: StreamEvent) -> dict[str, Any] | None:
        chunk = self._writer.chunks.feed(told)
        if chunk is None:
            return None
        if self.said is not None:
            self.said.note(chunk)
        return as_text(chunk) if self._operation == "completions" else chunk


def plain(body: Mapping[str, Any]) -> dict[str, Json]:
    """A body with its pre-encoded values decoded."""
    return {name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value for name, value in body.items()}
