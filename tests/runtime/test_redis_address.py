"""Where shared limits are kept: every word in which an address may be given, and what is said of one that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.runtime.redis_address import address_of, client_at


def settings_of(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.connection_pool.connection_kwargs
    return found


def test_litellms_words_and_an_address_mean_the_same() -> None:
    parts = settings_of(client_at(address_of(host="10.0.0.1", port="6380", password="s3cret", db="2")))
    whole = settings_of(client_at(address_of("redis://:s3cret@10.0.0.1:6380/2")))
    for name in ("host", "port", "password", "db"):
        assert parts[name] == whole[name]
    assert parts["port"] == 6380


def test_the_same_address_is_the_same_store() -> None:
    assert address_of(host="10.0.0.1", port="6380") == address_of(host="10.0.0.1", port=6380)
    assert address_of("valkey://10.0.0.1/1") == address_of("redis://10.0.0.1/1")
    assert address_of("redis://10.0.0.1/1") != address_of("redis://10.0.0.1/2")


def test_tls_and_unix_sockets_are_addresses_too() -> None:
    assert client_at(address_of("rediss://10.0.0.1")).connection_pool.connection_class.__name__ == "SSLConnection"
    assert settings_of(client_at(address_of("unix:///run/valkey.sock?db=3"))).items() >= {"path": "/run/valkey.sock", "db": 3}.items()


def test_an_address_may_set_how_long_to_wait() -> None:
    assert settings_of(client_at(address_of("redis://10.0.0.1?socket_timeout=3")))["socket_timeout"] == 3


def test_a_sentinels_address_names_its_hosts_and_the_service() -> None:
    address = address_of("rediss+sentinel://app:p%40ss@one:26380,two,[::1]:7/mymaster/4?sentinel_password=other")
    assert address.hosts == (("one", 26380), ("two", 26379), ("::1", 7))
    assert address.service == "mymaster"
    found = settings_of(client_at(address))
    assert found.items() >= {"username": "app", "password": "p@ss", "db": 4}.items()
    assert found["connection_pool"].sentinel_manager.sentinel_kwargs["password"] == "other"


def test_a_clusters_address_names_some_of_its_nodes() -> None:
    address = address_of("redis+cluster://:geheim@one:7000,two:7001?socket_timeout=2", db=None)
    assert address.form == "cluster"
    assert address.hosts == (("one", 7000), ("two", 7001))
    assert dict(address.settings) == {"password": "geheim", "socket_timeout": 2}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"url": "localhost:6379"}, "redis_url must look like"),
        ({"url": 7}, "redis_url must look like"),
        ({"url": "http://localhost"}, "'http' is not a scheme; known are redis"),
        ({"url": "unix+cluster:///x"}, "not a scheme"),
        ({"url": "redis://a", "host": "b"}, "set only one of them"),
        ({"host": "b", "port": "x"}, "redis_port must be a whole number"),
        ({"host": "b", "db": -1}, "redis_db must be a whole number"),
        ({"url": "redis+sentinel://one:26379"}, "ends with the name of the service"),
        ({"url": "redis+cluster://one:x"}, "a port must be a whole number"),
        ({"url": "redis+cluster://"}, "no host"),
    ],
)
def test_an_address_that_cannot_be_one_is_named(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        address_of(**given)


def test_no_part_of_a_password_reaches_a_complaint() -> None:
    """urllib names what it took for a port, which may be the beginning of a password."""
    address = address_of("redis://user:s3cret#x@host/0")
    with pytest.raises(ConfigurationError, match="has to be written as %XX") as caught:
        client_at(address)
    assert "s3cret" not in str(caught.value) + repr(address)
