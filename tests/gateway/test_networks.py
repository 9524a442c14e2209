"""Allowed IP addresses and networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving
from tests.gateway.fast_path_scene import HELLO, Client, Scripted, answering, world

from headrace.errors import PermissionDeniedError
from headrace.gateway.config import Settings
from headrace.gateway.general import read_general
from headrace.gateway.guard import caller_of, check_network
from headrace.gateway.sockets import Connection


def test_nobody_calls_from_elsewhere_however_often_they_try(upstream: object) -> None:
    elsewhere = Settings(key=KEY, networks=(ip_network("10.0.0.0/8"),))
    headers = {"authorization": f"Bearer {KEY}"}
    with serving(router_over(str(upstream)), elsewhere) as base, httpx.Client(base_url=base, headers=headers) as client:
        for _ in range(3):  # known heads take the fast path, where nobody looks at addresses
            refused = client.post("/v1/chat/completions", json={**CHAT, "model": "gpt"})
            assert refused.status_code == 403
            assert "allowed_ips" in refused.json()["error"]["message"]
        assert client.get("/health/liveliness").status_code == 200
    with (
        serving(router_over(str(upstream)), Settings(key=KEY, networks=(ip_network("127.0.0.1"),))) as base,
        httpx.Client(base_url=base, headers=headers) as client,
    ):
        assert client.post("/v1/chat/completions", json={**CHAT, "model": "gpt"}).status_code == 200


@pytest.mark.parametrize(
    ("client", "may"),
    [(("10.1.2.3", 5), True), (("::ffff:10.1.2.3", 5), True), (("11.1.2.3", 5), False), (("::1", 5), False), (None, False)],
)
def test_an_address_is_of_a_network_or_not(client: Any, may: bool) -> None:
    check_network(client, ())
    networks = (ip_network("10.0.0.0/8"),)
    if may:
        check_network(client, networks)
    else:
        with pytest.raises(PermissionDeniedError):
            check_network(client, networks)


@pytest.mark.parametrize("given", ["10.0.0.1", [], ["here"], [5], ["10.0.0.1/8"]])
def test_what_is_no_address_is_named(given: Any) -> None:
    wrong: list[str] = []
    read_general({"allowed_ips": given}, wrong.append)
    assert wrong[0].startswith("general_settings.allowed_ips must be a list of addresses and networks")


OWN = ip_network("127.0.0.1")


@pytest.fixture
def provider() -> Iterator[str]:
    with answering(Scripted) as address:
        yield address


@pytest.mark.usefixtures("nobody_else_listens")
def test_who_may_come_takes_the_fast_path_and_nobody_else(provider: str) -> None:
    """With `allowed_ips` every call went the slow path."""
    with world(provider, Connection, networks=(OWN,)) as here:
        assert [here.client.post(HELLO)[0] for _ in range(3)] == [200] * 3
        assert here.taken == [True, True]
    with world(provider, Connection, networks=(OWN,), forwarded=True) as here:
        near, far = {"x-forwarded-for": "9.9.9.9, 127.0.0.1"}, {"x-forwarded-for": "127.0.0.1, 9.9.9.9"}
        assert [here.client.post(HELLO, **near)[0] for _ in range(3)] == [200] * 3
        assert here.taken == [True, True]
        assert [here.client.post(HELLO, **far)[0] for _ in range(3)] == [403] * 3
        with closing(Client(here.base)) as another:  # on the first, the refusal may have come before the rest of its request went out
            assert [another.post(HELLO, **near)[0], another.post(HELLO, **far)[0]] == [200, 403]
        assert here.taken == [True, True, True]


PROXIES = (ip_network("10.0.0.0/8"), ip_network("198.51.100.0/24"))


@pytest.mark.parametrize(
    ("client", "said", "proxies", "seen"),
    [
        (("10.0.0.1", 1), "", (), "10.0.0.1"),
        (("10.0.0.1", 1), "8.8.4.9", (), "8.8.4.9"),
        (("127.0.0.1", 1), "1.1.1.1, 8.8.4.9", (), "8.8.4.9"),
        (("127.0.0.1", 1), "1.1.1.1, 10.0.0.7", (), "10.0.0.7"),
        (("8.8.4.9", 1), "127.0.0.1", (), "8.8.4.9"),
        (None, "8.8.4.9", (), "8.8.4.9"),
        (("10.0.0.1", 1), "1.1.1.1, 8.8.4.9, 198.51.100.3", PROXIES, "8.8.4.9"),
        (("127.0.0.1", 1), "8.8.4.9", PROXIES, "127.0.0.1"),
        (("10.0.0.1", 1), "10.0.0.2", PROXIES, "10.0.0.2"),
        (("10.0.0.1", 1), "8.8.4.9:4711", (), "8.8.4.9"),
        (("10.0.0.1", 1), "[2001:db8::7]:4711", (), "2001:db8::7"),
        (("10.0.0.1", 1), "2001:db8::7", (), "2001:db8::7"),
        (("10.0.0.1", 1), "unknown", (), "unknown"),
    ],
)
def test_a_proxy_is_believed_and_what_stands_before_its_word_is_not(client: Any, said: str, proxies: Any, seen: str) -> None:
    headers = {"x-forwarded-for": said} if said else {}
    found = caller_of(client, headers, Settings(forwarded=True, proxies=proxies))
    assert found[0] == seen
    assert caller_of(client, headers, Settings(proxies=proxies)) == client


def test_who_comes_through_a_proxy_is_not_of_this_machine(upstream: object) -> None:
    """Without a master key only programs on this machine call, though the proxy is one of them."""
    with serving(router_over(str(upstream)), Settings(forwarded=True)) as base, httpx.Client(base_url=base) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"x-forwarded-for": "8.8.4.9"}).status_code == 403
