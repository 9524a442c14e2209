"""Responses over a WebSocket: OpenAI's own client, with a provider of the Responses API and one that only has chats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from tests.client.upstream import Reply, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.fast_path_scene import Alice, Kept, Scripted, answering
from websockets.sync.client import ClientConnection, connect

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.secrets import Secrets
from headrace.simulator.server import Running

pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # OpenAI's client opens a WebSocket in an older way

Eventually = Callable[[Callable[[], bool]], bool]
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}


def router_over(upstream: str) -> Router:
    def entry(name: str, model: str, base_url: str, **given: Any) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream", "base_url": base_url, **given}}

    sim = f"{upstream}/sim/v1"
    return Router(
        [
            entry("own", "openai/gpt-sim", sim),
            entry("other", "siliconflow/gpt-sim", sim),
            entry("slow", "siliconflow/gpt-sim", f"{upstream}/slow/v1"),
            entry("narrow", "siliconflow/gpt-sim", sim, rpm=1, api_key="sk-narrow"),
        ],
        num_retries=0,
    )


@pytest.fixture(scope="module")
def ledger() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def address(upstream: Running, ledger: Kept) -> Iterator[str]:
    with serving(router_over(str(upstream)), Settings(key=KEY), keys=Alice(), ledger=ledger) as base:
        yield base.removeprefix("http://")


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=f"http://{address}/v1", websocket_base_url=f"ws://{address}/v1") as client:
        yield client


def told(connection: Any) -> list[Any]:
    """The events of one response."""
    events: list[Any] = []
    while not events or events[-1].type not in ("response.completed", "response.incomplete", "response.failed", "error"):
        events.append(connection.recv())
    return events


def talking(address: str, key: str = KEY) -> ClientConnection:
    return connect(f"ws://{address}/v1/responses", additional_headers={"authorization": f"Bearer {key}"})


def said(connection: ClientConnection, **event: Any) -> list[dict[str, Any]]:
    """The events that one `response.create` brings."""
    connection.send(json.dumps({"type": "response.create", **event}))
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ("response.completed", "response.incomplete", "response.failed", "error"):
        events.append(json.loads(connection.recv(timeout=30)))
    return events


@pytest.mark.parametrize("model", ["own", "other"])
def test_a_conversation_goes_on_from_what_the_connection_remembers(
    client: openai.OpenAI, ledger: Kept, eventually: Eventually, model: str
) -> None:
    before = len(ledger.records)
    with client.responses.connect() as connection:
        connection.response.create(model=model, input="Name a river. " * 20, store=False)
        first = told(connection)
        connection.response.create(model=model, input="And another.", store=False, previous_response_id=first[-1].response.id)
        second = told(connection)
    assert [events[0].type for events in (first, second)] == ["response.created"] * 2
    assert second[-1].response.output[-1].content[0].text
    assert second[-1].response.usage.input_tokens > first[-1].response.usage.input_tokens
    assert eventually(lambda: len(ledger.records) == before + 2)
    records = ledger.records[before:]
    assert [(one.operation, one.model, one.stream, one.outcome) for one in records] == [("responses", model, True, Outcome.ANSWERED)] * 2
    assert all(one.usage["output"] > 0 for one in records)


def test_a_conversation_was_forgotten_by_who_keeps_none_and_by_another_model(address: str) -> None:
    """Nobody said `store: false`, so it was thought to lie where its first answer came from."""
    with talking(address) as connection:
        before = 0
        id = None
        for model in ("other", "other", "own", "own", "other"):
            done = said(connection, model=model, input="Name a river. " * 5, previous_response_id=id)[-1]
            assert done["type"] == "response.completed", done
            id, used = done["response"]["id"], done["response"]["usage"]["input_tokens"]
            assert used > before or model == "own"  # the simulator keeps what it is asked to keep, and counts it not
            before = used if model == "other" else before


@pytest.mark.parametrize("model", ["own", "other"])
def test_a_tool_is_called_and_answered(client: openai.OpenAI, model: str) -> None:
    choice: Any = {"type": "function", "name": "look"}
    with client.responses.connect() as connection:
        connection.response.create(model=model, input="Look.", store=False, tools=[LOOK], tool_choice=choice)  # type: ignore[list-item]
        done = told(connection)[-1]
        (call,) = [item for item in done.response.output if item.type == "function_call"]
        result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "a mill"}]
        connection.response.create(model=model, input=result, store=False, tools=[LOOK], previous_response_id=done.response.id)  # type: ignore[list-item]
        assert told(connection)[-1].type == "response.completed"


def test_the_official_client_waits_for_events_without_threads_too(address: str) -> None:
    async def talk() -> list[str]:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"http://{address}/v1", websocket_base_url=f"ws://{address}/v1")
        kinds: list[str] = []
        async with client, client.responses.connect() as connection:
            await connection.response.create(model="other", input="Name a river.")
            while not kinds or kinds[-1] != "response.completed":
                kinds.append((await connection.recv()).type)
        return kinds

    assert "response.output_text.delta" in asyncio.run(talk())


def test_another_connections_response_that_nobody_keeps_is_not_found(address: str) -> None:
    """Its id alone would have had the conversation begin anew."""
    with talking(address) as connection:
        id = said(connection, model="other", input="hi")[-1]["response"]["id"]
    with talking(address) as another:
        (error,) = said(another, model="other", input="more", previous_response_id=id, drop_params=True)
    assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")


def test_what_is_prepared_costs_nothing_and_is_gone_on_from(client: openai.OpenAI, ledger: Kept, eventually: Eventually) -> None:
    before = len(ledger.records)
    with client.responses.connect() as connection:
        connection.response.create(model="other", input="Name a river. " * 50, store=False, generate=False)
        ready = told(connection)[-1]
        assert (ready.type, ready.response.output) == ("response.completed", [])
        connection.response.create(model="other", input="Now.", store=False, previous_response_id=ready.response.id)
        assert told(connection)[-1].response.usage.input_tokens > 150
    assert eventually(lambda: len(ledger.records) == before + 1)


def test_lines_beside_one_another_do_not_wait_and_say_whose_they_are(address: str) -> None:
    with talking(address) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "slow", "input": "hi", "store": False, "stream_id": "long"}))
        quick = said(connection, model="other", input="hi", store=False, stream_id="short")
        done = quick[-1]
        assert (done["type"], done["stream_id"]) == ("response.completed", "short")
        fork = {"stream_id": "fork", "previous_response_id": done["response"]["id"]}
        forked = said(connection, model="other", input="more", store=False, **fork)
        assert (forked[-1]["type"], forked[-1]["stream_id"]) == ("response.completed", "fork")


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"model": "nobody", "input": "hi"}, 404, "model_not_found"),
        ({"input": "hi"}, 400, None),
        ({"model": "other", "input": "hi", "previous_response_id": "resp_unknown"}, 400, "previous_response_not_found"),
        ({"model": "other", "input": "hi", "background": True}, 400, None),
        ({"model": "other", "input": "hi", "api_key": "sk-mine"}, 400, None),
        ({"type": "response.stop"}, 400, None),
        ({"model": "other", "input": "hi", "stream_id": 7}, 400, None),
    ],
)
def test_what_cannot_be_is_an_error_event_after_which_the_connection_goes_on(
    address: str, event: dict[str, Any], status: int, code: str | None
) -> None:
    with talking(address) as connection:
        (error,) = said(connection, **event)
        assert (error["type"], error["status"], error["error"]["code"]) == ("error", status, code)
        assert error["error"]["message"]
        assert said(connection, model="other", input="hi")[-1]["type"] == "response.completed"


def test_words_that_are_no_json_are_told_of(address: str) -> None:
    with talking(address) as connection:
        connection.send("{")
        assert json.loads(connection.recv())["error"]["message"].startswith("the body is not JSON")


def test_who_steers_gets_his_words_back(client: openai.OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.steer(input="Another one.", previous_response_id="resp_x")
        answer: Any = connection.recv()
    assert (answer.type, answer.error.code, answer.steer.input) == (
        "response.steer.failed", "steering_not_supported", "Another one.",
    )  # fmt: skip


def test_a_limit_is_kept_for_each_response_and_says_when_to_come_back(address: str) -> None:
    with talking(address) as connection:
        assert said(connection, model="narrow", input="hi")[-1]["type"] == "response.completed"
        (error,) = said(connection, model="narrow", input="hi", max_wait=0)
    assert error["status"] == 429
    assert int(error["headers"]["retry-after"]) > 0


def test_a_key_that_is_nobodys_opens_no_connection(address: str) -> None:
    with pytest.raises(Exception, match="401"):
        talking(address, "sk-wrong")


def test_what_was_said_goes_to_the_provider_once_more(nobody_else_listens: None) -> None:
    Scripted.seen.clear()
    with answering(Scripted) as provider:
        router = Router([{"model_name": "gpt", "litellm_params": {"model": "siliconflow/x", "api_key": "sk-1", "base_url": provider}}])
        with serving(router, Settings(key=KEY)) as base, talking(base.removeprefix("http://")) as connection:
            first = said(connection, model="gpt", input="stream one", store=False, instructions="Be brief.")
            said(connection, model="gpt", input="stream two", store=False, previous_response_id=first[-1]["response"]["id"])
    sent = [[(one["role"], one["content"]) for one in body["messages"]] for _, _, body in Scripted.seen]
    assert sent == [
        [("system", "Be brief."), ("user", "stream one")],
        [("user", "stream one"), ("assistant", "Hello you"), ("user", "stream two")],
    ]


def test_guardrails_look_at_each_response(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "_layers", ())
    Guardrails([Secrets(action="block")]).install()
    with talking(address) as connection:
        (error,) = said(connection, model="other", input=f"sk-ant-api03-{'Ab1' * 20}")
        assert said(connection, model="other", input="hi")[-1]["type"] == "response.completed"
    assert (error["status"], "refuses the input" in error["error"]["message"]) == (400, True)


def test_a_file_that_was_spoken_of_was_forgotten_to_be_at_one_account() -> None:
    """The second response went to any account, which knows no such file."""
    done = {"type": "response.completed", "response": {"id": "resp_1", "object": "response", "status": "completed", "output": []}}
    ended = f"event: response.completed\ndata: {json.dumps(done)}\n\n".encode()
    file = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "user_data", "status": "processed"}
    with standing() as provider:
        accounts = [{"model": "openai/own", "api_key": f"sk-{name}", "base_url": provider.url} for name in ("one", "two")]
        router = Router([{"model_name": "m", "litellm_params": params} for params in accounts], num_retries=0)
        provider.answer(Reply(file), Reply(pieces=[ended]))
        with serving(router, Settings(key=KEY)) as base, openai.OpenAI(api_key=KEY, base_url=f"{base}/v1") as client:
            kept = client.files.create(file=("x", b"x"), purpose="user_data").id
            asked: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": kept}]}]
            with talking(base.removeprefix("http://")) as connection:
                id = None
                for _ in range(8):
                    made = said(connection, model="m", input=asked, store=False, previous_response_id=id)[-1]
                    id, asked = made["response"]["id"], "more"
        assert {seen.headers["authorization"] for seen in provider.seen} == {provider.seen[0].headers["authorization"]}
        assert provider.seen[-1].body["input"][0]["content"][0]["file_id"] == "file-1"


def test_who_leaves_ends_the_call(address: str, ledger: Kept, eventually: Eventually) -> None:
    before = len(ledger.records)
    with talking(address) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "slow", "input": "hi"}))
        assert json.loads(connection.recv())["type"] == "response.created"
    assert eventually(lambda: len(ledger.records) == before + 1)
    assert ledger.records[-1].outcome is Outcome.LEFT


def test_a_response_of_anothers_is_not_gone_on_from(address: str) -> None:
    with talking(address) as mine:
        kept = said(mine, model="own", input="hi")[-1]["response"]["id"]
        assert said(mine, model="own", input="more", previous_response_id=kept)[-1]["type"] == "response.completed"
    with talking(address, "sk-alice") as hers:
        (error,) = said(hers, model="own", input="more", previous_response_id=kept)
    assert error["status"] == 404
