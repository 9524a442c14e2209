"""A simulated provider asked in other dialects: the same model, limits and faults behind each. In both colours, by headrace itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from openai.types.responses import Response

import headrace
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running
from simulator.conftest import Wire

MODELS = {
    "responses": "openai/gpt-sim", "messages": "anthropic/gpt-sim", "content": "gemini/gpt-sim",
}  # fmt: skip
DIALECTS = pytest.mark.parametrize("dialect", list(MODELS))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


@pytest.fixture(scope="module")
def base() -> Iterator[Running]:
    quick = {"ttft": 0.0, "gap": 0.0, "output_tokens": 20.0}
    strict = ProviderConfig(name="strict", rpm=1.0, **quick)
    with running(
        SimulatorConfig(port=0, providers=(ProviderConfig(name="a", reasoning_content=True, reasoning_tokens=5.0, **quick), strict))
    ) as base:
        yield base


@pytest.fixture(params=["async", "sync"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(colour: str, base: Running, dialect: str, provider: str = "a", said: str = "hello", **options: Any) -> Any:
    """An answer in the dialect's own words; the list of events of a stream."""
    given: dict[str, Any] = {"base_url": base.url(provider), "api_key": "sk-test", "num_retries": 0, **options}
    name, arguments = {
        "responses": ("responses", (said, MODELS[dialect])),
        "messages": ("anthropic_messages", (100, [{"role": "user", "content": said}], MODELS[dialect])),
        "content": ("generate_content", (MODELS[dialect], said)),
    }[dialect]

    async def suspended() -> Any:
        answer = await getattr(headrace, f"a{name}")(*arguments, **given)
        return [event async for event in answer] if given.get("stream") else answer

    if colour == "async":
        return asyncio.run(suspended())
    answer = getattr(headrace, name)(*arguments, **given)
    return list(answer) if given.get("stream") else answer


def text_of(dialect: str, answer: Any) -> str:
    match dialect:
        case "responses":
            return str(answer.output_text)
        case "messages":
            return "".join(block.text for block in answer.content if block.type == "text")
    return str(answer.text)


def streamed(dialect: str, events: list[Any]) -> str:
    match dialect:
        case "responses":
            return "".join(event.delta for event in events if event.type == "response.output_text.delta")
        case "messages":
            deltas = [event.delta for event in events if event.type == "content_block_delta"]
            return "".join(delta.text for delta in deltas if delta.type == "text_delta")
    return "".join(event.text for event in events)


@DIALECTS
def test_the_same_request_has_the_same_answer_whole_and_streamed(colour: str, base: Running, dialect: str) -> None:
    sure: dict[str, Any] = {"config": {"temperature": 0}} if dialect == "content" else {"temperature": 0}
    whole = text_of(dialect, call(colour, base, dialect, **sure))
    assert len(whole) > 10
    assert streamed(dialect, call(colour, base, dialect, stream=True, **sure)) == whole


def test_answers_of_responses_are_what_the_official_client_reads(colour: str, base: Running) -> None:
    answer = call(colour, base, "responses", reasoning={"effort": "low"})
    made = Response.model_validate(answer.model_dump())
    assert made.id.startswith("resp_")
    assert made.output[0].type == "reasoning"
    assert made.usage is not None
    assert made.usage.output_tokens_details.reasoning_tokens == 5


@DIALECTS
def test_tools_are_called(colour: str, base: Running, dialect: str) -> None:
    options: dict[str, Any] = {
        "responses": {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}], "tool_choice": "required"},
        "messages": {"tools": [{"name": "f", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
        "content": {
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        },
    }[dialect]
    for stream in (False, True):
        dumped = json.dumps(call(colour, base, dialect, stream=stream, **options), default=lambda value: value.model_dump())
        assert '"f"' in dumped
        assert '"city' in dumped.replace("\\", "")


@DIALECTS
def test_limits_are_held_and_told_in_the_dialects_words(colour: str, base: Running, dialect: str) -> None:
    with suppress(headrace.RateLimitError):  # whoever asked before may have used it up
        call(colour, base, dialect, "strict")
    with pytest.raises(headrace.RateLimitError) as caught:
        call(colour, base, dialect, "strict")
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 60


@DIALECTS
@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("status=529", headrace.ServiceUnavailableError),
        ("status=401", headrace.AuthenticationError),
        ("cut; after=3", headrace.TruncatedStream),
        ("error_event; after=3; status=500", headrace.InternalServerError),
        ("unfinished; after=3", headrace.TruncatedStream),
        ("garbage; after=3", headrace.APIResponseValidationError),
    ],
)
def test_faults_are_told_in_the_dialects_words(base: Running, dialect: str, fault: str, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        call("sync", base, dialect, stream=True, extra_headers={"x-simulate": fault})


def test_a_request_that_is_none_is_refused_in_the_dialects_words(base: Running) -> None:
    with Wire(base) as wire:
        wire.chat("/a/v1/messages", messages=7)
        reply = wire.reply()
    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "invalid_request_error"


def test_headers_tell_anthropics_limits_as_anthropic_does(base: Running) -> None:
    base.control(provider="a", rpm=100_000)
    answer = call("sync", base, "messages")
    headers = answer._hidden_params["additional_headers"]
    assert headers["anthropic-ratelimit-requests-limit"] == "100000"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
