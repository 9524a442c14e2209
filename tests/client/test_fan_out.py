"""Several chats in one call of a Router, over real sockets: results in order, failures in their places; or only the fastest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from tests.client.upstream import CHAT, Reply, Upstream, chunk, sse, standing, wait_until

import headrace
from headrace.calls import Operation
from headrace.errors import BadRequestError, HeadraceError, InternalServerError
from headrace.objects import JsonObject

T = TypeVar("T")
HI = [{"role": "user", "content": "hi"}]
YO = [{"role": "user", "content": "yo"}]
SSE = {"content-type": "text/event-stream"}


def run(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)


def entry(name: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/m", "api_key": f"sk-{name}", **params}}


def mocked(*names: str, **more: Any) -> headrace.Router:
    return headrace.Router([entry(name, mock_response=f"from {name}", **more) for name in names], num_retries=0)


def texts(answers: list[Any]) -> list[str]:
    return [type(one).__name__ if isinstance(one, HeadraceError) else one.choices[0].message.content for one in answers]


def test_one_conversation_is_answered_by_every_model() -> None:
    assert texts(run(mocked("a", "b").abatch_completion(["b", "a"], HI))) == ["from b", "from a"]


def test_several_conversations_are_answered_by_every_model_each() -> None:
    found = run(mocked("a", "b").abatch_completion(["a", "b"], [HI, YO, HI]))
    assert [texts(some) for some in found] == [["from a", "from b"]] * 3


def test_a_chat_that_fails_stands_as_its_error_in_its_place() -> None:
    assert texts(run(mocked("a").abatch_completion(["nobody", "a"], HI))) == ["BadRequestError", "from a"]
    asked = mocked("a").abatch_completion_one_model_multiple_requests("a", [HI, [], YO])
    assert texts(run(asked)) == ["from a", "BadRequestError", "from a"]


def test_conversations_of_a_batch_keep_their_order(upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT))
    router = headrace.Router([entry("gpt", base_url=upstream.url, max_parallel_requests=3)])
    asked = [[{"role": "user", "content": str(number)}] for number in range(9)]
    assert texts(run(router.abatch_completion_one_model_multiple_requests("gpt", asked))) == ["hello"] * 9
    assert sorted(seen.body["messages"][0]["content"] for seen in upstream.seen) == [str(number) for number in range(9)]


def test_models_must_be_a_list() -> None:
    with pytest.raises(BadRequestError, match="models must be a list"):
        run(mocked("a").abatch_completion("a", HI))  # type: ignore[arg-type]


def test_the_fastest_answer_is_taken_and_the_other_call_is_given_up(upstream: Upstream) -> None:
    """The slow one would take a minute: its connection is closed, and its room is free when the answer is there."""
    upstream.answer(Reply(pieces=[b"{", upstream.hold], headers={"content-type": "application/json"}))
    with standing() as quick:
        router = headrace.Router([entry("slow", base_url=upstream.url), entry("quick", base_url=quick.url)], num_retries=0)

        async def ask() -> tuple[Any, Any]:
            answer = await asyncio.wait_for(router.abatch_completion_fastest_response("slow, quick", HI), 20)
            return answer, router.snapshot()

        answer, left = run(ask())
    assert answer._hidden_params["model_group"] == "quick"
    assert answer._hidden_params["fastest_response_batch_completion"] is True
    assert [row["in_flight"] for row in left["deployments"].values()] == [0, 0]


def test_the_fastest_stream_is_taken(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop")), headers=SSE))
    router = headrace.Router([entry("stream", base_url=upstream.url), entry("broken", mock_response=RuntimeError("no"))], num_retries=0)

    async def ask() -> list[str]:
        stream = await router.abatch_completion_fastest_response("broken,stream", HI, stream=True)
        return [piece.choices[0].delta.content or "" async for piece in stream]

    assert "".join(run(ask())) == "hello"


def test_a_stream_that_began_too_late_is_closed(upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer(Reply(pieces=[*sse(chunk("hel"), done=False), upstream.hold], headers=SSE))
    router = headrace.Router([entry(name, base_url=upstream.url) for name in ("a", "b")], num_retries=0)

    async def ask() -> list[int]:
        async with await router.abatch_completion_fastest_response("a,b", HI, stream=True) as stream:
            await anext(stream)
            return sorted(row["in_flight"] for row in router.snapshot()["deployments"].values())

    assert run(ask()) == [0, 1]


def test_when_all_fail_the_caller_is_told_why() -> None:
    error = InternalServerError("boom", "openai", "m")
    router = headrace.Router([entry("a", mock_response=error), entry("b", mock_response=error)], num_retries=0)
    with pytest.raises(InternalServerError, match="boom"):
        run(router.abatch_completion_fastest_response("a,b", HI))


def test_a_caller_who_leaves_leaves_nothing_behind(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[b"{", upstream.hold], headers={"content-type": "application/json"}))
    router = headrace.Router([entry(name, base_url=upstream.url) for name in ("a", "b")], num_retries=0)

    async def leave() -> int:
        asking = asyncio.ensure_future(router.abatch_completion_fastest_response("a,b", HI))
        assert await asyncio.to_thread(wait_until, lambda: len(upstream.seen) == 2)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return len(asyncio.all_tasks())

    assert run(leave()) == 1
    assert [row["in_flight"] for row in router.snapshot()["deployments"].values()] == [0, 0]


def test_scheduled_calls_go_by_their_priority() -> None:
    """One may go at once; of the two that wait, the later one with the lower number goes first."""
    served: list[str] = []
    router = mocked("a", max_parallel_requests=1)

    async def one(name: str, priority: int) -> None:
        await router.schedule_acompletion("a", [{"role": "user", "content": name}], priority=priority)
        served.append(name)

    async def all_of_them() -> None:
        held = await router.hold(Operation("session", "", JsonObject, None), "a", {})
        calls = [asyncio.ensure_future(one("later", 5)), asyncio.ensure_future(one("urgent", 0))]
        await asyncio.sleep(0.05)
        held.settle(None)
        await asyncio.gather(*calls)

    run(all_of_them())
    assert served == ["urgent", "later"]


def test_a_scheduled_stream_is_a_stream() -> None:
    async def read() -> str:
        stream = await mocked("a").schedule_acompletion("a", HI, 1, stream=True)
        return "".join([piece.choices[0].delta.content or "" async for piece in stream])

    assert run(read()) == "from a"
