"""A stream that breaks off in the middle and is continued by another deployment."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream, chunk, sse

import headrace
from headrace import TruncatedStream
from headrace.layers import around
from headrace.layers.observing import Outcome, observe

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def begun(*texts: str, **delta: Any) -> Reply:
    """A stream that is cut after some texts."""
    pieces = [chunk(text) for text in texts]
    pieces[0]["choices"][0]["delta"] |= {"role": "assistant", **delta}
    return Reply(pieces=sse(*pieces, done=False), cut=True)


def rest(*texts: str) -> Reply:
    pieces = [chunk(text, id="other") for text in texts]
    pieces[0]["choices"][0]["delta"]["role"] = "assistant"
    return Reply(pieces=sse(*pieces, chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}))


def router(upstream: Upstream, able: bool = True, **options: Any) -> headrace.Router:
    def entry(id: str, **info: Any) -> dict[str, Any]:
        params = {"model": f"openai/{id}", "api_base": upstream.url, "api_key": "sk-t", "order": 1 if id == "first" else 2}
        return {"model_name": "chat", "litellm_params": params, "model_info": {"id": id, **info}}

    return headrace.Router([entry("first"), entry("second", supports_assistant_prefill=able)], **options)


def stream(client: Client, upstream: Upstream, **options: Any) -> list[Any]:
    on = options.pop("on", None) or router(upstream)
    chunks: list[Any] = client.call("completion", "chat", [{"role": "user", "content": "hi"}], on=on, stream=True, **options)
    return chunks


def text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_another_deployment_goes_on_where_the_first_broke_off(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("A water ", "mill "), rest("grinds", " corn."))
    chunks = stream(client, upstream, max_tokens=100)
    assert text(chunks) == "A water mill grinds corn."
    assert {chunk.id for chunk in chunks} == {"c"}
    assert [chunk.choices[0].delta.get("role") for chunk in chunks if chunk.choices and chunk.choices[0].delta.get("role")] == ["assistant"]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == ["stop"]
    sent = upstream.seen[-1].body
    assert sent["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "A water mill"}]
    assert sent["max_tokens"] == 97
    record = chunks[-1]._hidden_params["headrace"]
    assert (record["deployment"], record["continued"]) == ("second", 12)
    assert record["failed"] == [("truncated", "first")]


@pytest.mark.parametrize("begins", [" grinds", "grinds", "  grinds"])
def test_white_space_at_the_seam_is_said_once(client: Client, upstream: Upstream, begins: str) -> None:
    """What was said ends in white space that no provider takes: the next one may say it again, or not."""
    upstream.answer(begun("A mill "), rest(begins))
    assert text(stream(client, upstream)) == "A mill " + begins.removeprefix(" ")


def test_nobody_goes_on_who_cannot(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("A water ", "mill"), rest("never asked for"))
    with pytest.raises(TruncatedStream) as caught:
        stream(client, upstream, on=router(upstream, able=False))
    assert caught.value.received == "A water mill"
    assert len(upstream.seen) == 1


def test_it_can_be_switched_off(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("A water ", "mill"), rest("never asked for"))
    with pytest.raises(TruncatedStream):
        stream(client, upstream, on=router(upstream, stream_failover=False))


@pytest.mark.parametrize(
    "delta", [{"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}}]}, {"reasoning_content": "Hm."}]
)
def test_what_is_more_than_text_is_not_made_up(client: Client, upstream: Upstream, delta: dict[str, Any]) -> None:
    upstream.answer(begun("A", **delta), rest("never asked for"))
    with pytest.raises(TruncatedStream) as caught:
        stream(client, upstream)
    assert caught.value.received == "A"


def test_the_next_one_may_break_off_as_well(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("one "), begun("two "), rest("three"))
    assert text(stream(client, upstream)) == "one two three"
    assert upstream.seen[-1].body["messages"][-1]["content"] == "one two"


@pytest.mark.parametrize(("retries", "asked"), [(0, 2), (1, 2), (3, 4)])
def test_a_stream_that_always_breaks_off_is_not_continued_for_ever(client: Client, upstream: Upstream, retries: int, asked: int) -> None:
    upstream.answer(*(begun("and ") for _ in range(6)))
    with pytest.raises(TruncatedStream) as caught:
        stream(client, upstream, on=router(upstream, num_retries=retries, retry_budget=None, cooldown_time=0))
    assert caught.value.received == "and " * asked
    assert len(upstream.seen) == asked


def test_when_nobody_is_left_the_first_error_is_told_with_all_that_came(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("one "), Reply({"error": {"message": "no"}}, status=401))
    with pytest.raises(TruncatedStream) as caught:
        stream(client, upstream)
    assert caught.value.received == "one "


def test_a_call_without_a_router_ends_as_it_broke_off(client: Client, upstream: Upstream) -> None:
    upstream.answer(begun("one "))
    with pytest.raises(TruncatedStream):
        client.chat(stream=True)


def test_who_measures_calls_sees_the_rest_as_well(client: Client, upstream: Upstream) -> None:
    """A layer that stands around the stream holds on to its chunks' queue."""
    outcomes: list[Outcome] = []

    async def measured(ports: Any, call: Any, handler: Any, routed: bool) -> Any:
        return await observe(ports, call, handler, outcomes.append)

    upstream.answer(begun("A water ", "mill "), rest("grinds", " corn."))
    around.install(measured)
    try:
        assert text(stream(client, upstream)) == "A water mill grinds corn."
    finally:
        around.remove(measured)
    assert [outcome.word for outcome in outcomes] == ["ok"]


@pytest.mark.parametrize("said", ["", " \n"])
def test_an_answer_that_broke_off_before_its_first_word_begins_anew_elsewhere(client: Client, upstream: Upstream, said: str) -> None:
    """Symptom: a stream that was cut after the role, before any text, was an error, though nothing had been said yet."""
    upstream.answer(begun(said), rest("A water mill."))
    chunks = stream(client, upstream, on=router(upstream, able=False))
    assert text(chunks) == f"{said}A water mill."
    assert [chunk.choices[0].delta.get("role") for chunk in chunks if chunk.choices and chunk.choices[0].delta.get("role")] == ["assistant"]
    assert upstream.seen[-1].body["messages"] == [{"role": "user", "content": "hi"}], "no begun answer is sent along"
    assert {chunk.id for chunk in chunks} == {"c"}
