"""The gateway's own settings: their names in a configuration, their values and their meaning."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.calls import flag, shape, whole_number
from headrace.errors import ConfigurationError
from headrace.gateway.default_terms import NOTHING_SAID, DefaultTerms
from headrace.gateway.permissions import Permission, read_permissions, read_routes

MB: Final = 1 << 20
Network: TypeAlias = IPv4Network | IPv6Network
MAX_BODY: Final = 32 * MB
MAX_UPLOAD: Final = 512 * MB  # OpenAI's limit for a file, platform.openai.com/docs/api-reference/files, from memory

DATABASE: Final = "DATABASE_URL"
"""The environment variable for the database of keys and ledger."""


class Settings(Struct, frozen=True):
    """The gateway's own settings."""

    key: str = ""
    """The master key; "" if only programs on this machine may call."""
    max_body: int = MAX_BODY
    """Bytes of a request body."""
    max_upload: int = MAX_UPLOAD
    """Bytes of a multipart form."""
    max_headers: int = 64 << 10
    """Bytes of a request's line and headers."""
    keep_alive: float = 10.0
    """Seconds of silence after which a stream's client gets a keep-alive."""
    slow_client: float = 60.0
    """Seconds that a request may stall while it arrives, and a response while its client does not read."""
    drain: float = 30.0
    """Seconds that calls in flight have to finish once the gateway is told to stop."""
    database: str = ""
    """Database of keys and calls; "" for the environment's. May contain a password."""
    keep: float | None = None
    """Seconds for which calls are kept; None to keep them forever."""
    content: bool = False
    """Whether the content of calls is recorded, unless a key, its user or its team says otherwise."""
    content_max: int = 32 << 10
    """Characters that are kept of a request, and as many of its response."""
    content_keep: float | None = None
    """Seconds for which content is kept; None for as long as the call."""
    jwt: bool = False
    """Whether tokens of an identity provider are accepted in place of keys."""
    permissions: tuple[Permission, ...] = ()
    """What such tokens may do, by whom they belong to."""
    routes: tuple[str, ...] = ()
    """Paths that are served; empty for all."""
    admin_routes: tuple[str, ...] = ()
    """Further paths that are for administrators only."""
    jwt_fields: Mapping[str, Any] = {}
    """The claims of such tokens: `headrace.gateway.keys.identity.Fields`."""
    origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser; `*` for all."""
    networks: tuple[Network, ...] = ()
    """Networks from which calls are accepted; empty for all."""
    forwarded: bool = False
    """Whether a proxy's `x-forwarded-for` is trusted."""
    proxies: tuple[Network, ...] = ()
    """The trusted proxies; empty for a single one on this machine or in a private network."""
    wants_user: bool = False
    """Whether a call must name its end user."""
    own_tags: bool = False
    """Whether a call may only have the tags of its key, its team and its user."""
    default_terms: DefaultTerms = NOTHING_SAID
    """Limits on all calls together, and defaults for new keys and users."""
    reload: float = 2.0
    """Seconds between checks of the configuration's files; 0 reloads on SIGHUP only."""

    def __repr__(self) -> str:
        return f"<Settings {'with' if self.key else 'without'} a key, bodies up to {self.max_body} bytes>"


class Key(Struct, frozen=True):
    """One name in `general_settings`."""

    field: str
    """The field of `Settings`."""
    read: Callable[[str, Any], Any]
    what: str


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where} must be a string, got {shape(value)}")
    return value


def _bytes(where: str, value: Any) -> int:
    return whole_number(where, value, least=1)


def _megabytes(where: str, value: Any) -> int:
    return int(_seconds(where, value, "megabytes") * MB) or 1


def _seconds(where: str, value: Any, unit: str = "seconds") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"{where} must be a number of {unit} of at least 0, got {shape(value)}")
    return float(value)


def _origins(where: str, value: Any) -> tuple[str, ...]:
    named = value if isinstance(value, list) else [value]
    for origin in named:
        if not isinstance(origin, str) or (origin != "*" and not _ORIGIN.fullmatch(origin)):
            raise ConfigurationError(f"{where} must be '*' or a list like ['https://chat.example.com'], got {shape(value)}")
    return tuple(named)


_ORIGIN: Final = re.compile(r"https?://[^/\s]+")


def _networks(where: str, value: Any) -> tuple[Network, ...]:
    try:
        found = tuple([ip_network(one) for one in value if isinstance(one, str)]) if isinstance(value, list) else ()
    except ValueError:
        found = ()
    if not found or len(found) < len(value):
        raise ConfigurationError(f"{where} must be a list of addresses and networks like ['10.0.0.7', '10.1.0.0/16'], got {shape(value)}")
    return found


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must be a mapping, got {shape(value)}")
    return value


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _period(where: str, value: Any) -> float:
    text = value if isinstance(value, str) else ""
    if not text[:-1].isdecimal() or text[-1] not in _UNITS:
        raise ConfigurationError(f"{where} must be like '12h' or '90d', got {shape(value)}")
    return float(int(text[:-1]) * _UNITS[text[-1]])


GENERAL: Final[Mapping[str, Key]] = {
    "master_key": Key("key", _text, "The key that may do everything. Without one, only programs on this machine may call."),
    "max_body": Key("max_body", _bytes, "Maximum bytes of a request body. Default: 32 MB."),
    "max_request_size_mb": Key("max_body", _megabytes, "LiteLLM's name for `max_body`, in megabytes."),
    "max_upload": Key("max_upload", _bytes, "Maximum bytes of a multipart form, such as an uploaded file. Default: 512 MB."),
    "max_headers": Key("max_headers", _bytes, "Maximum bytes of the request line and headers. Default: 64 kB."),
    "allow_origins": Key(
        "origins",
        _origins,
        "Origins whose pages may call from a browser, such as `https://chat.example.com`; `*` for all. Default: none.",
    ),
    "allowed_ips": Key("networks", _networks, "The only addresses and networks from which calls are accepted. Default: all."),
    "use_x_forwarded_for": Key(
        "forwarded",
        flag,
        "Whether the client's address is taken from a proxy's `x-forwarded-for`: its last address, if the proxy is on this machine or "
        "in a private network. Default: false.",
    ),
    "trusted_proxies": Key(
        "proxies",
        _networks,
        "Addresses and networks of the proxies, if there are several. The client's address is then the last one that is not a proxy's.",
    ),
    "mcp_trusted_proxy_ranges": Key("proxies", _networks, "LiteLLM's name for `trusted_proxies`."),
    "enforce_user_param": Key("wants_user", flag, "Whether every call must name its end user (`user`). Default: false."),
    "reject_clientside_metadata_tags": Key(
        "own_tags",
        flag,
        "Whether calls that set tags are refused, so that only the tags of key, team and user apply. Default: false.",
    ),
    "keep_alive": Key("keep_alive", _seconds, "Seconds of silence after which a stream gets a keep-alive. Default: 10."),
    "slow_client": Key(
        "slow_client",
        _seconds,
        "Seconds that a request may stall while it is read, and a response while the client does not read it. Default: 60.",
    ),
    "drain": Key("drain", _seconds, "Seconds that calls in flight have to finish when the gateway stops. Default: 30."),
    "reload": Key("reload", _seconds, "Seconds between checks of the configuration's files; 0 reloads on SIGHUP only. Default: 2."),
    "database_url": Key(
        "database",
        _text,
        "The database of keys and calls: `sqlite:///file` or `postgresql://…`. Default: `DATABASE_URL`.",
    ),
    "store_model_in_db": Key(
        "",
        flag,
        "Whether the file may have no models because all are added at run time (`/model/new`). Default: false.",
    ),
    "maximum_spend_logs_retention_period": Key("keep", _period, "How long calls are kept, such as `90d`. Default: forever."),
    "content": Key(
        "content",
        flag,
        "Whether the content of calls is recorded, with secrets masked. Keys, users and teams may override it. Default: false.",
    ),
    "store_prompts_in_spend_logs": Key("content", flag, "LiteLLM's name for `content`."),
    "content_max": Key("content_max", _bytes, "Characters recorded of each request and of each response. Default: 32768."),
    "content_keep": Key("content_keep", _period, "How long content is kept, such as `7d`. Default: as long as the call."),
    "enable_jwt_auth": Key(
        "jwt",
        flag,
        "Whether tokens of an identity provider are accepted. Configure it with `JWT_PUBLIC_KEY_URL`, `JWT_AUDIENCE` and, optionally, "
        "`JWT_ISSUER`.",
    ),
    "litellm_jwtauth": Key("jwt_fields", _mapping, "The claims that hold user, team and scope in such a token."),
    "role_permissions": Key(
        "permissions",
        read_permissions,
        "What such tokens may do, by role: `[{role: team, models: [gpt-*], routes: [/v1/chat/completions]}]`.",
    ),
    "allowed_routes": Key(
        "routes",
        read_routes,
        "The only paths that are served: paths, patterns, or LiteLLM's names for groups of them. Default: all.",
    ),
    "admin_only_routes": Key("admin_routes", read_routes, "Further paths that are for administrators only."),
    "background_health_checks": Key("", flag, "Whether the deployments get small test calls in the background. Default: false."),
    "health_check_interval": Key("", _seconds, "Seconds between two rounds of these checks. Default: 300."),
    "enable_health_check_routing": Key("", flag, "Whether calls avoid deployments whose check failed. Default: false."),
    "health_check_staleness_threshold": Key(
        "", _seconds, "Seconds for which a failed check keeps calls away. Default: twice the interval."
    ),
    "health_check_ignore_transient_errors": Key("", flag, "Whether a check that timed out or met a rate limit is ignored. Default: false."),
    "secret_hook": Key(
        "",
        _text,
        "`package.module:function`, which is called with NAME for every value `secret://NAME` and returns the secret.",
    ),
}
"""Other names of LiteLLM's have no effect here and are listed when the gateway starts."""


def read_general(given: Mapping[str, Any], wrong: Callable[[str], object]) -> tuple[dict[str, Any], list[str]]:
    """Fields for `Settings`, and the names that have no effect. wrong: called with each mistake."""
    fields: dict[str, Any] = {}
    idle = []
    for name, value in given.items():
        key = GENERAL.get(name)
        if key is None:
            idle.append(f"general_settings.{name}")
        elif value is not None:
            try:
                read = key.read(f"general_settings.{name}", value)
                fields |= {key.field: read} if key.field else {}
            except ConfigurationError as error:
                wrong(str(error))
    return fields, idle
