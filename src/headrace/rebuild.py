"""Rebuilds a complete response from a stream's chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.calls import encode
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.openai_chat import responses
from headrace.dialects.translate import in_one_text
from headrace.models.counting import token_counter
from headrace.objects import ModelResponse, TextCompletionResponse, Usage
from headrace.types import ChatRequest, StreamEvent
from headrace.wire import Frame

NOTHING_SAID: Final = {"role": "assistant", "content": ""}


def stream_chunk_builder(chunks: Iterable[Any] | None, messages: Sequence[Any] | None = None, **_: Any) -> Any:
    """The `ModelResponse` that `chunks` (objects or mappings) add up to; None for no chunks.

    Merges texts, reasoning, tool calls, log probabilities, usage and unknown fields of each choice. A choice that did
    not finish has `finish_reason` None. Chunks of a text completion give a `TextCompletionResponse`. If no chunk
    reports usage and `messages`, the conversation that was answered, is given, tokens are counted locally.
    """
    chunks = list(chunks or ())
    if not chunks:
        return None
    plain = [_plain(chunk) for chunk in chunks]
    if any(chunk.get("object") == "text_completion" for chunk in plain):
        return _text(plain)
    body = responses.write_response(in_one_text(collect(_events(plain))))
    body |= {"object": "chat.completion", "model": body.get("model") or next((c["model"] for c in plain if c.get("model")), None)}
    answer = ModelResponse.wrap(body)
    answer._hidden_params = dict(getattr(chunks[0], "_hidden_params", None) or {})
    if messages is not None and answer.usage is None:
        answer.usage = _counted(answer, messages)
    return answer


def _counted(answer: ModelResponse, messages: Sequence[Any]) -> Usage:
    model = answer.model or ""
    asked = token_counter(model, messages=messages)
    said = sum(token_counter(model, messages=[choice.message]) - token_counter(model, messages=[NOTHING_SAID]) for choice in answer.choices)
    return Usage(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _plain(chunk: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(encode(chunk if isinstance(chunk, Mapping) else chunk.model_dump()))
    return found


def _events(chunks: Sequence[dict[str, Any]]) -> list[StreamEvent]:
    reader = load("openai_chat").read_stream(ChatRequest(model="", messages=()), Target("", ""))
    events: list[StreamEvent] = []
    for chunk in chunks:
        events += reader.feed(Frame(encode(chunk)))
    return events + reader.feed(Frame(b"[DONE]"))  # an interrupted stream is rebuilt as far as it goes


def _text(chunks: Sequence[dict[str, Any]]) -> TextCompletionResponse:
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for piece in chunk.get("choices") or ():
            choice = choices.setdefault(piece.get("index") or 0, {"index": piece.get("index") or 0, "text": "", "logprobs": None})
            choice["text"] += piece.get("text") or ""
            choice["finish_reason"] = piece.get("finish_reason") or choice.get("finish_reason")
    body = {**chunks[0], "choices": [choices[index] for index in sorted(choices)]}
    return TextCompletionResponse.wrap({**body, "usage": usage} if usage else body)
