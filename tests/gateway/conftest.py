"""A gateway on a real socket in front of strict simulated providers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from headrace import Router
from headrace.gateway.app import gateway
from headrace.gateway.callers import Keys
from headrace.gateway.config import Settings
from headrace.gateway.persistence import Where
from headrace.gateway.records import Ledger
from headrace.gateway.sockets import Connection
from headrace.gateway.state import State
from headrace.layers import around
from headrace.routing import events
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running

KEY = "sk-of-the-gateway"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(autouse=True)
def _official_clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the connections that SDK clients leave to the garbage collector, which warned about them in later tests."""
    made: list[httpx.Client] = []
    begin = httpx.Client.__init__

    def noted(self: httpx.Client, *args: Any, **options: Any) -> None:
        begin(self, *args, **{"verify": False, **options})  # authorities take 50 ms to read, and nothing here is encrypted
        made.append(self)

    monkeypatch.setattr(httpx.Client, "__init__", noted)
    yield
    for client in made:
        client.close()


@pytest.fixture
def nobody_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gateway in this process listens to every call, so calls take the slow path."""
    monkeypatch.setattr(events, "_everywhere", ())
    monkeypatch.setattr(around, "_layers", ())


@contextmanager
def serving(
    router: Router,
    settings: Settings,
    *,
    keys: Keys | None = None,
    ledger: Ledger | None = None,
    state: State | None = None,
    http: type[asyncio.Protocol] = Connection,
    ws: Any = "auto",
    certificate: str | None = None,
) -> Iterator[str]:
    """The gateway's URL while the block runs. http: the HTTP protocol class; uvicorn's own has no fast path.

    certificate: a file with one and its key, for TLS.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    app = gateway(router, settings, keys=keys, ledger=ledger, state=state)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        http=http,
        ws=ws,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def provider(name: str, **given: object) -> ProviderConfig:
    return ProviderConfig(**{"name": name, "ttft": 0.0, "gap": 0.0, "output_tokens": 12.0, **given})


@pytest.fixture(scope="session")
def upstream() -> Iterator[Running]:
    slow = provider("slow", gap=0.2, output_tokens=200.0)
    late = provider("late", ttft=30.0)
    with running(SimulatorConfig(port=0, providers=(provider("sim"), slow, late))) as base:
        yield base


def router_over(upstream: str) -> Router:
    def entry(name: str, at: str, model: str = "openai/gpt-sim", **given: object) -> dict[str, object]:
        params = {"model": model, "api_key": "sk-upstream", "base_url": f"{upstream}/{at}/v1", **given}
        return {"model_name": name, "litellm_params": params}

    return Router(
        [
            entry("gpt", "sim"),
            entry("vectors", "sim", "openai/embed-sim"),
            entry("slow", "slow"),
            entry("late", "late"),
            entry("narrow", "sim", rpm=1, api_key="sk-another-account"),
            entry("unknown-there", "sim", "openai/no-such-model"),
        ],
        num_retries=0,
    )


@pytest.fixture(scope="session")
def base(upstream: Running) -> Iterator[str]:
    with serving(router_over(upstream), Settings(key=KEY, keep_alive=0.2)) as address:
        yield address


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether a condition becomes true within half a minute."""

    def wait(true: Callable[[], bool]) -> bool:
        for _ in range(3000):
            if true():
                return True
            time.sleep(0.01)
        return False

    return wait


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    from tests.gateway.persistence import postgres

    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """An empty database of each kind, and a folder for journals."""
    from tests.gateway.persistence import new_database

    if request.param == "sqlite":
        return Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)
    return Where(new_database(request.getfixturevalue("server")), tmp_path)


@pytest.fixture(name="gateway")
def gateway_with_keys(upstream: object, at: Where) -> Iterator[Any]:
    """A gateway with keys, ledger and priced models."""
    from tests.gateway.persistence import Gateway, kept, priced

    with kept(priced(upstream), at) as (base, state):
        yield Gateway(base, state)
