"""An upstream and both colours of the client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from tests.client.upstream import Client, Handler, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Upstream(f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.RequestHandlerClass = type("Handler", (Handler,), {"upstream": made})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(params=["async", "sync"])
def client(request: pytest.FixtureRequest, upstream: Upstream) -> Client:
    return Client(request.param, upstream)
