"""Google's Live sessions through the gateway: the official client over TLS, and a provider that answers turn by turn."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from google import genai
from google.genai import types
from tests.gateway.conftest import KEY, serving
from tests.gateway.fast_path_scene import Alice, Kept
from tests.gateway.speaking import Speaking
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome
from headrace.providers import cloud_auth, cloud_credentials

Eventually = Callable[[Callable[[], bool]], bool]
PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
USAGE = {
    "promptTokenCount": 9, "responseTokenCount": 4, "totalTokenCount": 15, "thoughtsTokenCount": 2, "cachedContentTokenCount": 3,
}  # fmt: skip


class Answering(Speaking):
    """Gemini's Live API as far as a session needs it: wants a key and a setup, answers each turn in binary frames."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        self.heard: list[Any] = []
        self.tokens: list[str | None] = []

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        setup = json.loads(await connection.recv())
        self.asked.append((connection.request.path, connection.request.headers.get("x-goog-api-key"), setup))
        self.tokens.append(connection.request.headers.get("authorization"))
        if not setup["setup"]["model"].endswith("models/gemini-own"):
            await connection.close(1008, f"{setup['setup']['model']} is not found")
            return
        await connection.send(b'{"setupComplete": {}}')
        async for message in connection:
            self.heard.append(json.loads(message))
            turn = {"modelTurn": {"parts": [{"text": "a river"}]}}
            await connection.send(json.dumps({"serverContent": turn}).encode())
            await connection.send(json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}).encode())


@pytest.fixture
def provider() -> Iterator[Answering]:
    with Answering() as made:
        yield made


@pytest.fixture
def ledger() -> Kept:
    return Kept()


@pytest.fixture
def router(provider: Answering) -> Router:
    def entry(name: str, model: str, **more: Any) -> dict[str, Any]:
        params = {"model": model, "api_key": "upstream-key", "base_url": f"http://127.0.0.1:{provider.port}/v1beta", **more}
        return {"model_name": name, "litellm_params": params}

    router = Router(
        [
            entry("talk", "gemini/gemini-own", rpm=100),
            entry("gone", "gemini/gemini-gone"),
            entry("narrow", "gemini/gemini-own", rpm=1, api_key="another-key"),
            entry("chat", "openai/gpt"),
        ],
        num_retries=0,
    )
    router.add_scope("alice", rpm=100)
    return router


@pytest.fixture
def address(router: Router, ledger: Kept) -> Iterator[str]:
    with serving(router, Settings(key=KEY), keys=Alice(), ledger=ledger) as base:
        yield base.replace("http", "ws", 1)


@pytest.mark.parametrize(("path", "first"), [(PATH, json.dumps({"setup": {"model": "models/narrow"}})), ("/v1/realtime?model=narrow", "")])
def test_who_left_while_a_session_waited_in_line_kept_his_place(
    address: str, router: Router, ledger: Kept, eventually: Eventually, path: str, first: str
) -> None:
    def waiting() -> int:
        return int(router.snapshot()["queues"].get("narrow", 0))

    key = {"x-goog-api-key": KEY}
    with connect(f"{address}{PATH}", additional_headers=key) as session:
        session.send(json.dumps({"setup": {"model": "models/narrow"}}))
        session.recv(timeout=30)
    at = urlsplit(address)
    with socket.create_connection((at.hostname, at.port)) as caller:
        caller.sendall(
            f"GET {path} HTTP/1.1\r\nhost: x\r\nx-goog-api-key: {KEY}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        if first:
            assert caller.recv(4096).startswith(b"HTTP/1.1 101")
            text = first.encode()
            caller.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        assert eventually(lambda: waiting() == 1)
    assert eventually(lambda: waiting() == 0)
    assert eventually(lambda: [record.outcome for record in ledger.records] == [Outcome.ANSWERED, Outcome.LEFT])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_session_of_the_official_client_is_passed_on_and_counted(
    router: Router, provider: Answering, ledger: Kept, eventually: Eventually, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    believed = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    async def talk(base: str) -> list[str]:
        options = types.HttpOptions(base_url=base, api_version="v1beta", async_client_args={"ssl": believed})
        client = genai.Client(api_key=KEY, http_options=options)
        said: list[str] = []
        async with client.aio.live.connect(model="talk", config={"response_modalities": ["TEXT"]}) as session:
            for question in ("Name a river.", "And another."):
                await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=question)]))
                said += [message.text async for message in session.receive() if message.text]
        await client.aio.aclose()
        return said

    with serving(router, Settings(key=KEY), ledger=ledger, certificate=str(tmp_path / "own.pem")) as base:
        assert asyncio.run(talk(base)) == ["a river", "a river"]
        assert eventually(lambda: len(ledger.records) == 1)
    ((path, key, setup),) = provider.asked
    assert (path, key, setup["setup"]["model"]) == (PATH, "upstream-key", "models/gemini-own")
    assert setup["setup"]["generationConfig"]["responseModalities"] == ["TEXT"]
    turns = [said["client_content"]["turns"][0] for said in provider.heard]
    assert [turn["parts"][0]["text"] for turn in turns] == ["Name a river.", "And another."]
    record = ledger.records[0]
    assert (record.operation, record.model, record.served, record.outcome) == ("live", "talk", "gemini-own", Outcome.ANSWERED)
    assert (record.usage["input"], record.usage["cached"], record.usage["output"]) == (12, 6, 12)
    used = router.snapshot()["deployments"][record.deployment]
    assert (used["limits"]["rpm"]["used"], used["in_flight"]) == (1, 0)


@pytest.mark.parametrize("path", [PATH, PATH.replace("Content", "Music")])
def test_a_key_in_the_address_stays_here(address: str, provider: Answering, path: str) -> None:
    with connect(f"{address}/{path}?key={KEY}") as session:  # clients leave a second slash behind a base address that has one
        session.send(json.dumps({"setup": {"model": "models/talk"}}))
        assert json.loads(session.recv()) == {"setupComplete": {}}
    assert KEY not in json.dumps(provider.asked)
    assert provider.asked[0][0] == path


@pytest.mark.parametrize(
    ("first", "code", "why"),
    [
        ("{", 1008, "setup.model"),
        ('{"setup": {}}', 1008, "setup.model"),
        ('{"setup": {"model": "models/nobody"}}', 1008, "nobody"),
        ('{"setup": {"model": "models/chat"}}', 1008, "openai has no Live sessions"),
        ('{"setup": {"model": "models/gone"}}', 1008, "gemini-gone is not found"),
    ],
)
def test_a_session_that_cannot_be_is_closed_with_why(
    address: str, router: Router, ledger: Kept, first: str, code: int, why: str, eventually: Eventually
) -> None:
    with connect(f"{address}{PATH}", additional_headers={"x-goog-api-key": KEY}) as session:
        session.send(first)
        with pytest.raises(ConnectionClosed) as caught:
            session.recv(timeout=30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code
    assert why in caught.value.rcvd.reason
    assert eventually(lambda: all(used["in_flight"] == 0 for used in router.snapshot()["deployments"].values()))


SERVICE = json.dumps({"type": "service_account", "project_id": "p", "client_email": "a@b.iam"})
VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"


@pytest.mark.parametrize(("asked", "model"), [(PATH, "models/own"), (VERTEX, "projects/mine/locations/x/publishers/google/models/own")])
def test_vertex_is_asked_with_a_token_and_by_its_own_name_for_the_model(
    provider: Answering, monkeypatch: pytest.MonkeyPatch, asked: str, model: str
) -> None:
    made = SimpleNamespace(token="", expiry=None)
    made.refresh = lambda _: setattr(made, "token", "ya29.token")
    monkeypatch.setattr(cloud_credentials, "_google_credentials", lambda _: made)
    monkeypatch.setattr(cloud_credentials, "_google_request", lambda: None)
    cloud_auth._signer.cache_clear()
    base = f"http://127.0.0.1:{provider.port}/v1beta1/projects/p/locations/l"
    params = {
        "model": "vertex_ai/gemini-own",
        "vertex_credentials": SERVICE,
        "vertex_project": "p",
        "vertex_location": "l",
        "base_url": base,
    }
    with (
        serving(Router([{"model_name": "own", "litellm_params": params}], num_retries=0), Settings(key=KEY)) as gateway,
        connect(gateway.replace("http", "ws", 1) + asked, additional_headers={"authorization": f"Bearer {KEY}"}) as session,
    ):
        session.send(json.dumps({"setup": {"model": model}}))
        assert json.loads(session.recv(timeout=30)) == {"setupComplete": {}}
    assert provider.asked[0][0] == VERTEX
    assert provider.asked[0][2]["setup"]["model"] == "projects/p/locations/l/publishers/google/models/gemini-own"
    assert provider.tokens == ["Bearer ya29.token"]


def test_who_asks_as_vertex_has_it_reaches_the_gemini_api_too(address: str, provider: Answering) -> None:
    with connect(f"{address}{VERTEX}", additional_headers={"authorization": f"Bearer {KEY}"}) as session:
        session.send(json.dumps({"setup": {"model": "projects/mine/locations/x/publishers/google/models/talk"}}))
        assert json.loads(session.recv(timeout=30)) == {"setupComplete": {}}
    assert provider.asked[0][0] == PATH


def test_a_wrong_key_is_refused_before_anything_is_said(address: str, provider: Answering) -> None:
    with pytest.raises(Exception, match="401"), connect(f"{address}{PATH}?key=wrong"):
        pass
    assert provider.asked == []


def test_a_file_of_anothers_is_not_spoken_of(address: str, provider: Answering) -> None:
    file = {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/of-bob"}}
    with connect(f"{address}{PATH}", additional_headers={"x-goog-api-key": "sk-alice"}) as session:
        session.send(json.dumps({"setup": {"model": "models/talk"}}))
        session.recv(timeout=30)
        session.send(json.dumps({"clientContent": {"turns": [{"role": "user", "parts": [file]}], "turnComplete": True}}))
        with pytest.raises(ConnectionClosed, match="of-bob"):
            session.recv(timeout=30)
    assert provider.heard == []
