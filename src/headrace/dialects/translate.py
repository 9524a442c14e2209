"""A call in OpenAI's words to a provider that speaks another dialect, and its answer back in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headrace.dialects import counts, load
from headrace.dialects.base import Dialect, StreamReader, Target
from headrace.dialects.citation_words import CITATIONS
from headrace.dialects.citations import ANNOTATIONS, CHAT, Citing, for_chat, on_message
from headrace.dialects.counts import Count
from headrace.dialects.fields import common
from headrace.dialects.local_calls import CalledBack, called_back
from headrace.dialects.local_tools import NO_FORMS, Form, as_functions, takes_bare
from headrace.dialects.openai_chat import others, requests, responses
from headrace.dialects.openai_chat.streams import Writer
from headrace.dialects.openai_stream import Said, read_body
from headrace.errors import BadRequestError, UnsupportedParamsError
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, Json, Message, Other, StreamEvent, Text, TextDelta, UsageReported
from headrace.wire import Frame, HttpRequest, HttpResponse


class Translation(Struct, frozen=True, eq=False):
    """One request as the provider's dialect means it, kept to read its answer by."""

    dialect: Dialect
    target: Target
    request: ChatRequest | EmbeddingRequest
    operation: str
    added: Mapping[str, Json] = {}
    """Fields of the provider's own, written last and as they are."""
    forms: Mapping[str, Form] = NO_FORMS
    """What functions of the request are to the caller: tools that take bare text."""
    left_out: tuple[str, ...] = ()
    """Parameters the provider is not told, because its dialect has no word for them."""
    count: Count | None = None
    """How a count of tokens is asked for, where that is all that is wanted."""

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
        """The answer's body. Raises HeadraceError for one that cannot be read, and what an error under status 200 says."""
        if isinstance(self.request, EmbeddingRequest):
            vectors = _embeddings(self.dialect, self.target).read_embedding_response(response, self.request, self.target)
            return others.write_embedding_response(vectors)
        if self.count is not None:
            return self._count(self.count, response)
        answer = self.dialect.read_response(response, self.request, self.target)
        body = responses.write_response(in_one_text(called_back(answer, self.forms)))
        body["model"] = body.get("model") or self.target.model
        return as_text(body) if self.operation == "completions" else body

    def _count(self, count: Count, response: HttpResponse) -> dict[str, Json]:
        said = read_body(response, provider=self.target.provider, model=self.target.model)
        total = counts.answer(count, said, self.target.provider, self.target.model)
        names = {"request_model": f"{self.target.provider}/{self.target.model}", "model_used": self.target.model}
        return {"total_tokens": total, **names, "tokenizer_type": f"{self.target.provider}_api", "original_response": said}

    def used(self, body: Mapping[str, Json]) -> Any:
        """What the answer says it used, in OpenAI's form."""
        return body.get("usage")

    def read_stream(self) -> TranslatedChunks:
        if isinstance(self.request, EmbeddingRequest):
            raise BadRequestError("embeddings cannot be streamed: leave stream out")
        return TranslatedChunks(self.dialect.read_stream(self.request, self.target), self.request, self.operation, self.forms)


def translate(dialect_name: str, target: Target, operation: str, body: Mapping[str, Json], control: Mapping[str, Any]) -> Translation:
    """Read `body`, which is OpenAI's, for the dialect of `target`.

    Raises UnsupportedParamsError for parameters the dialect cannot say, unless `drop_params` or `additional_drop_params` leaves them
    out; BadRequestError for a body that is none, and for an operation the dialect does not have.
    """
    dialect = load(dialect_name)
    allowed = control.get("allowed_openai_params") or ()
    added = {name: body[name] for name in allowed if name in body} | dict(control.get("extra_body") or {})
    body = _without(body, control.get("additional_drop_params") or ())
    if operation == "embeddings":
        return Translation(dialect, target, others.read_embedding_request(body), operation, added)
    request = requests.read_request(_as_chat(body) if operation == "completions" else body)
    request, forms = as_functions(request, "openai_chat", bare=takes_bare(dialect_name, target.provider))
    only_texts = _only_of_texts(body) if operation == "completions" else ()
    unsaid = [name for name in (*only_texts, *dialect.unsaid(request)) if name not in allowed]
    if unsaid and not control.get("drop_params"):
        raise UnsupportedParamsError(
            f"{target.provider} has no {', '.join(unsaid)}: leave it out, or pass drop_params=True to have it left out",
            model=target.model,
            llm_provider=target.provider,
        )
    count = counts.COUNTS[dialect_name] if operation == "count_tokens" else None
    return Translation(dialect, target, request, operation, added, forms, tuple(unsaid), count)


def _without(body: Mapping[str, Json], names: Sequence[str]) -> Mapping[str, Json]:
    return {name: value for name, value in body.items() if name not in names} if names else body


def _embeddings(dialect: Dialect, target: Target) -> Any:
    """The dialect, when it has embeddings."""
    if not hasattr(dialect, "write_embedding_request"):
        raise BadRequestError(f"{target.provider} has no embeddings", target.model, target.provider)
    return dialect


# ---- text completions: a chat of one message ---------------------------------------------------------------------------------------


def _as_chat(body: Mapping[str, Json]) -> dict[str, Json]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequestError("prompt: this provider completes one text at a time, give a string")
    rest = {name: value for name, value in body.items() if name not in ("prompt", "best_of", "echo", "suffix")}
    return {**rest, "messages": [{"role": "user", "content": prompt}]}


def _only_of_texts(body: Mapping[str, Json]) -> list[str]:
    """What no chat can be asked for, where it is. The best of as many as are wanted are all of them."""
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


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def in_one_text(answer: ChatResponse) -> ChatResponse:
    """`answer` as OpenAI's clients read it: a message's content is one string. Blocks they cannot read stand beside it, as in a stream."""
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

    __slots__ = ("_calls", "_citing", "_operation", "_reader", "_writer", "said", "usage")

    def __init__(self, reader: StreamReader, request: ChatRequest, operation: str, forms: Mapping[str, Form] = NO_FORMS) -> None:
        self._calls = CalledBack(forms) if forms else None
        self._reader = reader
        self._writer = Writer(request)
        self._citing = Citing(CHAT)
        self._operation = operation
        self.usage: dict[str, Any] | None = None
        self.said: Said | None = None
        """Notes what the stream says, where somebody has asked for that."""

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        return self._made(self._reader.feed(frame, last=last))

    def rest(self) -> Sequence[dict[str, Any]]:
        return self._made(self._reader.close())

    def pieces(self, frame: Frame, *, last: bool = False) -> Iterator[bytes | dict[str, Any]]:
        """The chunks, as bytes those that say a text, a thought or arguments alone: nobody has anything to change in them."""
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
        """The events with citations where callers look for them; the usage is noted."""
        for event in events:
            if type(event) is UsageReported:
                self.usage = responses.write_usage(event.usage)
            told = self._citing.feed(event)
            yield from told if self._calls is None else (one for each in told for one in self._calls.feed(each))

    def _chunk(self, told: StreamEvent) -> dict[str, Any] | None:
        chunk = self._writer.chunks.feed(told)
        if chunk is None:
            return None
        if self.said is not None:
            self.said.note(chunk)
        return as_text(chunk) if self._operation == "completions" else chunk


def plain(body: Mapping[str, Any]) -> dict[str, Json]:
    """A body whose prompt was encoded already, as values."""
    return {name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value for name, value in body.items()}
