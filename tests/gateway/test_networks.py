"""Addresses from which alone may be called."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving

from headrace.errors import PermissionDeniedError
from headrace.gateway.config import Settings
from headrace.gateway.general import read_general
from headrace.gateway.guard import check_network


def test_nobody_calls_from_elsewhere_however_often_they_try(upstream: object) -> None:
    elsewhere = Settings(key=KEY, networks=(ip_network("10.0.0.0/8"),))
    headers = {"authorization": f"Bearer {KEY}"}
    with serving(router_over(str(upstream)), elsewhere) as base, httpx.Client(base_url=base, headers=headers) as client:
        for _ in range(3):  # known heads go the straight way, where nobody looks at addresses
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
