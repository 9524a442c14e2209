"""Proxies: which one, and how it is spoken to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from tests.runtime.wires import OK, OURS, Driver, post, serving

from headrace.errors import ConfigurationError
from headrace.runtime.proxies import read_proxies
from headrace.wire import Fault, TransportError

both = pytest.mark.parametrize("driver", OURS, ids=repr)


@pytest.mark.parametrize(
    ("environment", "scheme", "host", "port", "proxy"),
    [
        ({}, "https", "api.openai.com", 443, None),
        ({"HTTPS_PROXY": "http://p:1"}, "https", "api.openai.com", 443, "p"),
        ({"HTTPS_PROXY": "http://p:1"}, "http", "api.openai.com", 80, None),
        ({"HTTPS_PROXY": "p:1"}, "https", "api.openai.com", 443, "p"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "https", "x", 443, "low"),
        ({"ALL_PROXY": "http://p:1"}, "http", "x", 80, "p"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "http", "x", 80, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "openai.com"}, "https", "api.openai.com", 443, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": ".openai.com"}, "https", "api.openai.com", 443, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "openai.com"}, "https", "notopenai.com", 443, "p"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "localhost, 127.0.0.1"}, "http", "127.0.0.1", 80, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http", "10.1.2.3", 80, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http", "11.1.2.3", 80, "p"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "local:8080"}, "http", "local", 8080, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "local:8080"}, "http", "local", 80, "p"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "::1"}, "http", "::1", 80, None),
    ],
)
def test_the_environment_chooses(environment: dict[str, str], scheme: str, host: str, port: int, proxy: str | None) -> None:
    chosen = read_proxies(environment).choose(scheme, host, port)
    assert (chosen.host if chosen else None) == proxy


@pytest.mark.parametrize(("address", "said"), [("socks5://p:1", "SOCKS proxy.*httpx2"), ("ftp://p:1", "must be http://host:port")])
def test_an_address_that_cannot_be_a_proxy_is_refused(address: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_proxies({"ALL_PROXY": address})


def test_a_proxys_password_is_shown_nowhere() -> None:
    assert "secret" not in repr(read_proxies({"ALL_PROXY": "http://me:secret@p:1"}))


@both
def test_plain_http_names_the_whole_url_and_authorizes(driver: Driver) -> None:
    with serving(["read", OK]) as proxy:
        address = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        assert driver.fetch(post("http://provider.example/v1"), proxy=address).body == b"ok"
    assert proxy.requests[0].startswith(b"POST http://provider.example/v1 HTTP/1.1\r\n")
    assert b"proxy-authorization: Basic bWU6cEBzcw==" in proxy.requests[0]


@contextmanager
def tunnelling(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that answers one CONNECT and then passes bytes both ways."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def serve() -> None:
        client, _ = listener.accept()
        asked.append(client.recv(65536))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        upstream = socket.create_connection(("127.0.0.1", port))
        with client, upstream:
            back = threading.Thread(target=pump, args=(upstream, client), daemon=True)
            back.start()
            pump(client, upstream)
            back.join(5)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        thread.join(5)
        listener.close()


@both
def test_https_goes_through_a_tunnel(driver: Driver, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(["read", OK], tls=context) as server, tunnelling(server.port) as (port, asked):
        response = driver.fetch(
            post(f"https://localhost:{server.port}/v1"), verify=str(tmp_path / "ca.pem"), proxy=f"http://me:pw@127.0.0.1:{port}"
        )
        assert response.body == b"ok"
    assert asked[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert b"proxy-authorization: Basic bWU6cHc=" in asked[0]
    assert b"proxy-authorization" not in server.requests[0]


@both
@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"nonsense\r\n\r\n", b""])
def test_a_proxy_that_refuses_is_named(driver: Driver, answer: bytes) -> None:
    with serving(["read", answer, "close"]) as proxy, pytest.raises(TransportError) as caught:
        driver.fetch(post("https://provider.example/v1"), proxy=f"http://127.0.0.1:{proxy.port}")
    assert (caught.value.fault, caught.value.sent) == (Fault.PROXY, False)
