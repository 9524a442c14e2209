"""Addresses of the shared store, and the redis-py client for each.

Single servers (`redis://`, `rediss://`, `valkey://`, `valkeys://`, `unix://`), `redis+sentinel://host,host/service` and
`redis+cluster://host,host`; with TLS `rediss+sentinel://` and `rediss+cluster://`. Query parameters that redis-py knows
(`?socket_timeout=2`) are supported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from headrace.errors import ConfigurationError

TIMEOUT: Final = 1.0
"""Seconds after which an unresponsive store counts as lost."""
CONNECT: Final = 1.0
"""Seconds to connect."""
SINGLE: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
PORTS: Final = {"sentinel": 26379, "cluster": 6379}


class Address(Struct, frozen=True):
    """A store's address and credentials. Hashable, so that a process has one store per address."""

    form: str
    """single, sentinel or cluster."""
    place: str
    """For error messages, without the password."""
    url: str = ""
    """URL of a single server."""
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    """Settings for the client."""

    def __repr__(self) -> str:
        return f"<Address {self.place}>"


def address_of(
    url: Any = None, *, host: Any = None, port: Any = None, password: Any = None, db: Any = None
) -> Address:  # fmt: skip
    """The address from LiteLLM's parameters. Raises ConfigurationError if it is invalid."""
    given = {"password": password, "db": None if db is None else _number("redis_db", db)}
    own = tuple(sorted((name, value) for name, value in given.items() if value is not None))
    if url is None:
        place = f"{host or 'localhost'}:{6379 if port is None else _number('redis_port', port)}"
        return _single(f"redis://{place}", place, own)
    if host is not None or port is not None:
        raise ConfigurationError("redis_url and redis_host/redis_port both say where the store is: set only one of them")
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("redis_url must look like redis://:password@host:6379/0 (or rediss://, valkey://, unix://, …)")
    scheme = url.split("://", 1)[0]
    kind, _, form = scheme.partition("+")
    if kind not in SINGLE or (form and (form not in PORTS or kind == "unix")):
        known = ", ".join([*SINGLE, *[f"redis+{form}" for form in PORTS]])
        raise ConfigurationError(f"redis_url: {scheme!r} is not a scheme; known are {known}")
    rest = url.split("://", 1)[1]
    place = f"{SINGLE[kind]}{'+' if form else ''}{form}://{rest.rsplit('@', 1)[-1].split('?', 1)[0]}"
    if not form:
        return _single(f"{SINGLE[kind]}://{rest}", place, own)
    return _many(form, SINGLE[kind] == "rediss", rest, place, dict(own))


def _single(url: str, place: str, settings: tuple[tuple[str, Any], ...]) -> Address:
    return Address("single", place, url=url, settings=settings)


def _many(form: str, tls: bool, rest: str, place: str, settings: dict[str, Any]) -> Address:
    """Parse an address with several hosts: `user:password@host:port,host:port/service/db?name=value`."""
    address, _, asked = rest.partition("?")
    netloc, _, places = address.partition("/")  # urlsplit rejects an IPv6 host among several
    who, _, where = netloc.rpartition("@")
    user, _, password = who.partition(":")
    path = [unquote(part) for part in places.split("/") if part]
    if form == "sentinel" and not path:
        raise ConfigurationError("redis_url: a sentinel's address ends with the name of the service: redis+sentinel://host:26379/mymaster")
    found = {
        "username": unquote(user) or None, "password": unquote(password) or None, "ssl": True if tls else None,
        "db": _number("redis_url: the database", path[1]) if form == "sentinel" and len(path) > 1 else None,
    }  # fmt: skip
    query = {name: _plain(value) for name, value in parse_qsl(asked)}
    options = query | {name: value for name, value in found.items() if value is not None} | settings
    hosts = tuple([_host(one, PORTS[form]) for one in where.split(",") if one])
    if not hosts:
        raise ConfigurationError(f"redis_url: no host in {place}")
    return Address(form, place, hosts=hosts, service=path[0] if form == "sentinel" else "", settings=tuple(sorted(options.items())))


def _host(text: str, port: int) -> tuple[str, int]:
    name, colon, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    return (name.strip("[]"), _number("redis_url: a port", number)) if colon else (text.strip("[]"), port)


def _number(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)  # litellm reads these from the environment
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, got {type(value).__name__}")
    return value


def _plain(value: str) -> Any:
    """A query parameter's value as a Python value."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value


def client_at(address: Address) -> Any:
    """A redis-py client. Only that of a cluster connects at once, and raises redis-py's errors.

    Raises ConfigurationError if redis-py is not installed or does not know a setting.
    """
    try:
        import redis  # late: only shared limits need it
    except ImportError:
        raise ConfigurationError("shared limits need redis-py: pip install 'headrace[redis]'") from None
    try:
        return _MAKERS[address.form](redis, address, dict(address.settings))
    except (ValueError, TypeError):  # their messages may contain part of the password
        raise ConfigurationError(
            f"redis_url cannot be used ({address.place}): an option that redis-py does not know, or a character of the password that "
            "has to be written as %XX"
        ) from None


def _limits(retries: int) -> dict[str, Any]:
    from redis.backoff import NoBackoff  # late: see `client_at`
    from redis.retry import Retry  # late: see `client_at`

    return {
        "socket_timeout": TIMEOUT, "socket_connect_timeout": CONNECT, "retry": Retry(NoBackoff(), retries), "decode_responses": True,
    }  # fmt: skip


def _server(redis: Any, address: Address, settings: dict[str, Any]) -> Any:
    return redis.Redis.from_url(address.url, **{**_limits(0), **settings})


def _sentinel(redis: Any, address: Address, settings: dict[str, Any]) -> Any:
    from redis.sentinel import Sentinel  # late: see `client_at`

    limits = _limits(0)
    secret = settings.pop("sentinel_password", None)
    asking = {name: limits[name] for name in ("socket_timeout", "socket_connect_timeout")} | {"password": secret}
    if "ssl" in settings:
        asking["ssl"] = settings["ssl"]
    watch: Any = Sentinel(list(address.hosts), sentinel_kwargs=asking, **{**limits, **settings})  # type: ignore[no-untyped-call]
    return watch.master_for(address.service)


def _cluster(redis: Any, address: Address, settings: dict[str, Any]) -> Any:
    from redis.cluster import ClusterNode, RedisCluster  # late: see `client_at`

    nodes = [ClusterNode(host, port) for host, port in address.hosts]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=nodes, **{**_limits(3), **settings})  # retries are needed where a slot has moved


_MAKERS: Final[Mapping[str, Callable[[Any, Address, dict[str, Any]], Any]]] = {
    "single": _server, "sentinel": _sentinel, "cluster": _cluster,
}  # fmt: skip
