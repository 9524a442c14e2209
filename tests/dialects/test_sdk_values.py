"""Whatever the official clients' types allow is read and written again, also what no recording shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from dialects.sdk_values import Maker
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.errors import APIResponseValidationError, HeadraceError
from headrace.types import ChatRequest, Json
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
FULL = (0.15, 0.4, 0.7)


class Types(NamedTuple):
    """A dialect's own types, as its official client has them."""

    requests: tuple[Any, ...]
    answers: tuple[Any, ...]
    event: Any


@cache
def types_of(dialect: str) -> Types:
    match dialect:
        case "openai_chat":
            from openai.types.chat import ChatCompletion, ChatCompletionChunk
            from openai.types.chat import completion_create_params as chat

            return Types((chat.CompletionCreateParamsNonStreaming,), (ChatCompletion,), ChatCompletionChunk)
        case "openai_responses":
            from openai.types.responses import Response, ResponseStreamEvent
            from openai.types.responses import response_create_params as responses

            return Types((responses.ResponseCreateParamsNonStreaming,), (Response,), ResponseStreamEvent)
        case "anthropic_messages":
            from anthropic.types import Message
            from anthropic.types import message_create_params as messages
            from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
            from anthropic.types.beta import message_create_params as beta

            both = messages.MessageCreateParamsNonStreaming, beta.MessageCreateParamsNonStreaming
            return Types(both, (Message, BetaMessage), BetaRawMessageStreamEvent)
    from google.genai import types as genai

    return Types((_gemini_request(),), (genai.GenerateContentResponse,), genai.GenerateContentResponse)


def _gemini_request() -> type[BaseModel]:
    from google.genai import types as genai

    fields: dict[str, Any] = {
        "contents": (list[genai.Content], ...),
        "systemInstruction": (genai.Content | None, None),
        "tools": (list[genai.Tool] | None, None),
        "toolConfig": (genai.ToolConfig | None, None),
        "generationConfig": (genai.GenerationConfig | None, None),
    }
    return create_model("GenerateContent", __config__=ConfigDict(extra="forbid"), **fields)


NAMED: Mapping[str, Mapping[str, Callable[[Random], Any]]] = {
    "openai_responses": {"error": lambda _: None, "status": lambda chance: chance.choice(("completed", "incomplete", "in_progress"))},
    "anthropic_messages": {"name": lambda _: "f", "stop_reason": lambda chance: chance.choice(("end_turn", "max_tokens", "pause_turn"))},
    "gemini": {"role": lambda chance: chance.choice(("user", "model")), "topK": lambda _: 7, "name": lambda _: "f"},
}
"""What the types allow and the service does not say, or refuses: failures, roles of any name, half a token."""

DECIDED: Mapping[str, str] = {
    "anthropic_messages": r"^\.content\[\d+\]\.id: '' ",
}
"""What is written otherwise than it came: ids that callers need."""

ELSEWHERE = frozenset({"model", "betas", "max_completion_tokens"})
"""Fields of a request that stand in its address or a header, or that are the other word for a field given as well."""

DIALECTS = pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic_messages", "gemini"])


def made(dialect: str, seed: int, of: Any) -> Any:
    return Maker(seed, full=FULL[seed % len(FULL)], named=NAMED.get(dialect)).made(of)


def differing(one: Json, other: Json, at: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from differing(one.get(name, "absent"), other.get(name, "absent"), f"{at}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differing(left, right, f"{at}[{index}]")
    elif one != other:
        yield f"{at}: {one!r:.80} became {other!r:.80}"


def undecided(dialect: str, one: Json, other: Json) -> list[str]:
    return [problem for problem in differing(one, other) if not re.search(DECIDED.get(dialect, "^$"), problem)]


@DIALECTS
def test_any_answer_that_the_official_type_allows_is_written_as_it_came(dialect: str) -> None:
    speaks, answers = load(dialect), types_of(dialect).answers
    wrong = []
    for seed in range(120):
        body = made(dialect, seed, answers[seed % len(answers)])
        if dialect == "gemini" and not body.get("candidates"):
            continue
        hub = speaks.read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, TARGET)
        wrong += [f"{seed}: {problem}" for problem in undecided(dialect, body, json.loads(json.dumps(speaks.write_response(hub))))]
    assert not wrong


@DIALECTS
def test_any_request_that_the_official_type_allows_is_produced_again(dialect: str) -> None:
    """What is produced is read as the same once more, and nothing is gone."""
    speaks, requests = load(dialect), types_of(dialect).requests
    wrong = []
    for seed in range(120):
        body = {**made(dialect, seed, requests[seed % len(requests)]), "model": "model"}
        if not speakable(dialect, body):
            continue
        produced = json.loads(speaks.write_request(speaks.read_request(body), TARGET).body)
        again = json.loads(speaks.write_request(speaks.read_request({**body, **produced}), TARGET).body)
        wrong += [f"{seed}: {problem}" for problem in undecided(dialect, produced, again)]
        gone = [name for name in body.keys() - produced.keys() if body[name] not in (None, [], {}, False, "")]
        wrong += [f"{seed}: {name} is lost" for name in gone if name not in ELSEWHERE]
    assert not wrong


def speakable(dialect: str, body: Mapping[str, Json]) -> bool:
    """An input says something, and a result whose it is."""
    if dialect != "openai_responses":
        return True
    said = body.get("input")
    results = [it for it in said if it.get("type") == "function_call_output"] if isinstance(said, list) else []
    return said is not None and all(it.get("call_id") for it in results)


@DIALECTS
def test_any_event_that_the_official_type_allows_is_taken(dialect: str) -> None:
    speaks, event = load(dialect), types_of(dialect).event
    wrong = []
    for seed in range(150):
        maker, reader = Maker(seed, full=FULL[seed % len(FULL)], named=NAMED.get(dialect)), speaks.read_stream(ASKED, TARGET)
        for _ in range(4):
            body = maker.made(event)
            try:
                reader.feed(Frame(json.dumps(body).encode(), body.get("type")))
            except APIResponseValidationError as error:
                wrong.append(f"{seed}: {body.get('type')}: {error}")
            except HeadraceError:
                break  # the event was an error
    assert not wrong


def test_an_id_alone_refers_to_an_item() -> None:
    body = {"model": "m", "input": [{"id": "msg_1"}, {"role": "user", "content": "go on"}]}
    produced = json.loads(load("openai_responses").write_request(load("openai_responses").read_request(body), TARGET).body)
    assert produced["input"][0] == {"id": "msg_1"}


def test_a_stored_prompt_needs_no_input() -> None:
    for where in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}):
        body = {"model": "m", **where}
        assert load("openai_responses").read_request(body).messages == ()


def test_a_result_may_say_by_name_whose_it_is() -> None:
    body = {"model": "m", "input": [{"type": "function_call_output", "name": "f", "output": "1"}]}
    produced = json.loads(load("openai_responses").write_request(load("openai_responses").read_request(body), TARGET).body)
    assert produced["input"] == body["input"]


def test_reasoning_of_an_unknown_shape_is_kept() -> None:
    message = {"role": "assistant", "content": "hi", "reasoning": {"steps": [1]}}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    hub = load("openai_chat").read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, TARGET)
    assert load("openai_chat").write_response(hub)["choices"] == body["choices"]
