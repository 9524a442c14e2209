"""What belongs to the public internet."""

from __future__ import annotations

import pytest

from headrace.runtime.http1 import is_public, public_address
from headrace.runtime.proxies import Proxies, Proxy
from headrace.wire import TransportError


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_private(address: str) -> None:
    assert not is_public(address)


def info(*addresses: str) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    return [(2, 1, 6, "", (address, 443)) for address in addresses]


def test_one_private_address_of_a_name_is_enough_to_refuse_it() -> None:
    assert public_address("a", info("8.8.8.8", "1.1.1.1")) == "8.8.8.8"
    for addresses in (info("8.8.8.8", "127.0.0.1"), info()):
        with pytest.raises(TransportError, match="not on the public internet"):
            public_address("a", addresses)


def test_nobody_sees_where_a_proxy_goes() -> None:
    proxies = Proxies(https=Proxy("proxy", 8080))
    assert proxies.choose("https", "a", 443) is not None
    with pytest.raises(TransportError, match="through a proxy"):
        proxies.choose("https", "a", 443, True)
