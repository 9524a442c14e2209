"""The transports, ours and httpx2's adapter, against servers that other people wrote."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp.web
import httpx2
import pytest
import uvicorn
from tests.runtime import programs
from tests.runtime.wires import ASYNC, SYNC, post

import headrace
from headrace.bridge import complete
from headrace.runtime.httpx2_transport import AsyncHttpx2Transport, SyncHttpx2Transport
from headrace.wire import Fault, Timeouts, TransportError

LIMITS = Timeouts(connect=5, first_byte=5, between_bytes=5, total=20)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echoes a body; streams ten numbers under /stream."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/stream":
        for number in range(10):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"" if scope["path"] == "/stream" else body})


@pytest.fixture(scope="module")
def uvicorn_url() -> Iterator[str]:
    yield from serving_uvicorn("httptools")


@pytest.fixture(scope="module")
def uvicorn_h11_url() -> Iterator[str]:
    yield from serving_uvicorn("h11")


def serving_uvicorn(http: Any) -> Iterator[str]:
    config = uvicorn.Config(application, port=0, http=http, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def aiohttp_url() -> Iterator[str]:
    loop = asyncio.new_event_loop()

    async def echo(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        if request.path != "/stream":
            return aiohttp.web.Response(body=await request.read(), content_type="text/plain")
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        for number in range(10):
            await response.write(b"%d\n" % number)
        return response

    app = aiohttp.web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = aiohttp.web.AppRunner(app)

    async def start() -> int:
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def node_url() -> Iterator[str]:
    with programs.node() as url:
        yield url


@pytest.fixture(scope="module")
def nginx_url(uvicorn_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with programs.nginx(uvicorn_url.removeprefix("http://"), tmp_path_factory.mktemp("nginx")) as url:
        yield url


async def lines(stream: Any) -> AsyncIterator[bytes]:
    while data := await stream.read():
        yield data


async def exercise(transport: Any, url: str) -> None:
    """What every transport must do with every server."""
    for size in (0, 10, 100_000, 3_000_000):
        body = b"x" * size
        response = await transport.fetch(post(f"{url}/echo", body), LIMITS)
        assert (response.status, response.body) == (200, body)
    stream = await transport.open(post(f"{url}/stream"), LIMITS)
    assert b"".join([data async for data in lines(stream)]) == b"".join(b"%d\n" % number for number in range(10))
    for _ in range(20):
        left = await transport.open(post(f"{url}/stream"), LIMITS)
        await left.read()
        left.close()
    with pytest.raises(TransportError) as caught:
        await transport.fetch(post(f"{url}/echo", b"x" * 1000), LIMITS, max_body=10)
    assert caught.value.fault is Fault.TOO_LARGE
    assert json.loads((await transport.fetch(post(f"{url}/echo", b'{"a": 1}'), LIMITS)).body) == {"a": 1}


async def with_httpx2(url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        await exercise(AsyncHttpx2Transport(client), url)
        await asyncio.sleep(0.05)  # closings of left streams are still on their way


@pytest.mark.parametrize("server", ["uvicorn_url", "uvicorn_h11_url", "aiohttp_url", "node_url", "nginx_url"])
@pytest.mark.parametrize("kind", ["async", "sync", "httpx2-async", "httpx2-sync"])
def test_a_transport_gets_on_with_a_server(kind: str, server: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(server)
    match kind:
        case "async":
            ASYNC.use(lambda transport: exercise(transport, url))
        case "sync":
            SYNC.use(lambda transport: exercise(transport, url))
        case "httpx2-async":
            asyncio.run(with_httpx2(url))
        case _:
            with httpx2.Client(trust_env=False) as client:
                complete(exercise(SyncHttpx2Transport(client), url))


def ask(url: str) -> Any:
    return headrace.completion("openai/m", [{"role": "user", "content": "hi" * 1000}], base_url=url, api_key="sk-test", num_retries=0)


def test_nginxs_own_error_pages_are_errors_of_their_status(nginx_url: str) -> None:
    """HTML, from a gateway whose server is away and from one that takes no long prompts."""
    with pytest.raises(headrace.BadGatewayError, match="502"):
        ask(f"{nginx_url}/nobody")
    with pytest.raises(headrace.HeadraceError) as caught:
        ask(f"{nginx_url}/small")
    assert caught.value.status_code == 413


async def refused() -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        await AsyncHttpx2Transport(client).fetch(post("http://127.0.0.1:9/"), LIMITS)


def refused_blocking() -> None:
    with httpx2.Client(trust_env=False) as client:
        complete(SyncHttpx2Transport(client).fetch(post("http://127.0.0.1:9/"), LIMITS))


@pytest.mark.parametrize("call", [lambda: asyncio.run(refused()), refused_blocking], ids=["async", "sync"])
def test_httpx2s_failures_have_our_names(call: Callable[[], None]) -> None:
    with pytest.raises(TransportError) as caught:
        call()
    assert (caught.value.fault, caught.value.sent) == (Fault.CONNECT, False)
