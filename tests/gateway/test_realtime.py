"""Realtime sessions through the gateway: the official client, and a simulated realtime provider."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import openai
import pytest
from tests.gateway.conftest import KEY, serving
from tests.gateway.speaking import Speaking
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record
from headrace.gateway.websockets import Connection as Session

Eventually = Callable[[Callable[[], bool]], bool]


class Talking(Speaking):
    """Answers every `response.create`; remembers how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.open = 0

    def chosen(self, connection: ServerConnection, offered: Sequence[str]) -> str | None:
        return "realtime" if "realtime" in offered else None

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.asked.append((connection.request.path, {name.lower(): value for name, value in connection.request.headers.raw_items()}))
        self.open += 1
        try:
            await connection.send(json.dumps({"type": "session.created", "event_id": "e", "session": {}}))
            async for message in connection:
                if json.loads(message)["type"] == "response.create":
                    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8, "input_token_details": {"cached_tokens": 2}}
                    done = {
                        "type": "response.done",
                        "event_id": "e2",
                        "response": {"id": "r", "object": "realtime.response", "usage": usage},
                    }
                    await connection.send(json.dumps(done))
        finally:
            self.open -= 1


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


@pytest.fixture
def provider() -> Iterator[Talking]:
    with Talking() as made:
        yield made


@pytest.fixture
def ledger() -> Kept:
    return Kept()


@pytest.fixture
def router(provider: Talking) -> Router:
    params = {"model": "openai/gpt-own", "api_key": "sk-upstream", "base_url": f"http://127.0.0.1:{provider.port}/v1", "rpm": 100}
    return Router([{"model_name": "talk", "litellm_params": params}])


@pytest.fixture
def address(router: Router, ledger: Kept) -> Iterator[str]:
    with serving(router, Settings(key=KEY), ledger=ledger) as base:
        yield base.removeprefix("http://")


def test_a_session_of_the_official_client_is_passed_on_and_counted(
    address: str, provider: Talking, router: Router, ledger: Kept, eventually: Eventually
) -> None:
    async def talk() -> list[str]:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"http://{address}/v1", websocket_base_url=f"ws://{address}/v1")
        async with client.realtime.connect(model="talk") as session:
            seen = [(await session.recv()).type]
            await session.response.create()
            seen.append((await session.recv()).type)
        await client.close()
        return seen

    assert asyncio.run(talk()) == ["session.created", "response.done"]
    path, headers = provider.asked[0]
    assert path == "/v1/realtime?model=gpt-own"
    assert headers["authorization"] == "Bearer sk-upstream"
    assert eventually(lambda: provider.open == 0)
    assert eventually(lambda: len(ledger.records) == 1)
    record = ledger.records[0]
    assert (record.operation, record.model, record.outcome) == ("realtime", "talk", Outcome.ANSWERED)
    assert (record.usage["input"], record.usage["cached"], record.usage["output"]) == (3, 2, 3)
    (used,) = router.snapshot()["deployments"].values()
    assert used["limits"]["rpm"]["used"] == 1
    assert used["in_flight"] == 0


def test_browsers_show_their_key_in_a_subprotocol(address: str, provider: Talking) -> None:
    protocols: Any = ["realtime", f"openai-insecure-api-key.{KEY}"]
    with connect(f"ws://{address}/v1/realtime?model=talk", subprotocols=protocols) as session:
        assert json.loads(session.recv())["type"] == "session.created"
        assert session.subprotocol == "realtime"
    assert KEY not in json.dumps(provider.asked)


def test_who_leaves_frees_the_provider(address: str, provider: Talking, eventually: Eventually) -> None:
    with connect(f"ws://{address}/v1/realtime?model=talk", additional_headers={"authorization": f"Bearer {KEY}"}) as session:
        session.recv()
        assert provider.open == 1
        session.socket.shutdown(socket.SHUT_RDWR)
        assert eventually(lambda: provider.open == 0)


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/realtime?model=talk", "sk-wrong", 401),
        ("/v1/realtime?model=nobody", KEY, 404),
        ("/v1/realtime", KEY, 400),
        ("/v1/elsewhere", KEY, 404),
    ],
)
def test_a_session_that_cannot_be_is_refused_with_its_status(address: str, provider: Talking, path: str, key: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://{address}{path}", additional_headers={"authorization": f"Bearer {key}"})
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body)["error"]["message"]
    assert provider.asked == []


def test_a_refused_session_was_logged_as_an_error_of_the_server(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    with serving(router, Settings(key=KEY), ws=Session) as base, pytest.raises(InvalidStatus):
        connect(f"{base.replace('http', 'ws')}/v1/elsewhere", additional_headers={"authorization": f"Bearer {KEY}"})
    assert [record.message for record in caplog.records if record.name == "uvicorn.error" and record.levelname == "ERROR"] == []


def test_a_provider_that_is_not_there_is_told_and_gives_its_room_back(ledger: Kept) -> None:
    params = {"model": "openai/gpt-own", "api_key": "sk-upstream", "base_url": "http://127.0.0.1:9/v1"}
    router = Router([{"model_name": "talk", "litellm_params": params}])
    with serving(router, Settings(key=KEY), ledger=ledger) as base, pytest.raises(InvalidStatus) as caught:
        connect(f"ws://{base.removeprefix('http://')}/v1/realtime?model=talk", additional_headers={"authorization": f"Bearer {KEY}"})
    assert caught.value.response.status_code == 500
    assert ledger.records[0].outcome is Outcome.FAILED
    (used,) = router.snapshot()["deployments"].values()
    assert used["in_flight"] == 0
