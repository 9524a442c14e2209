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
from headrace.gateway.permissions import Permission, read_permissions, read_routes
from headrace.gateway.standing import NOTHING_SAID, Standing

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
    standing: Standing = NOTHING_SAID
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
    "master_key": Key("key", _text, "the key that may do everything; without it only programs on this machine may call"),
    "max_body": Key("max_body", _bytes, "bytes of a request, 32 MB unless told otherwise"),
    "max_request_size_mb": Key("max_body", _megabytes, "the same in megabytes, in LiteLLM's word"),
    "max_upload": Key("max_upload", _bytes, "bytes of a form with files, 512 MB unless told otherwise"),
    "max_headers": Key("max_headers", _bytes, "bytes of a request's line and headers, 64 kB unless told otherwise"),
    "allow_origins": Key(
        "origins", _origins, "sites whose pages may call from a browser, such as `https://chat.example.com`; `*` for all; none without it"
    ),
    "allowed_ips": Key(
        "networks",
        _networks,
        "addresses and networks from which alone is called; all without it",
    ),
    "use_x_forwarded_for": Key(
        "forwarded",
        flag,
        "whether a proxy before the gateway says from where is called: the last address of `x-forwarded-for` counts, where that comes from "
        "this machine or a private network; no",
    ),
    "trusted_proxies": Key(
        "proxies", _networks, "addresses and networks of several such proxies: the last address counts that is none of theirs"
    ),
    "mcp_trusted_proxy_ranges": Key("proxies", _networks, "the same in LiteLLM's word"),
    "enforce_user_param": Key("wants_user", flag, "whether every call has to say whom it is for (`user`); no"),
    "reject_clientside_metadata_tags": Key(
        "own_tags", flag, "whether calls with tags of their own are refused, so that only those of key, team and user count; no"
    ),
    "keep_alive": Key("keep_alive", _seconds, "seconds of silence after which a stream is given a sign of life, 10 unless told otherwise"),
    "slow_client": Key(
        "slow_client", _seconds, "seconds that a request may pause while it arrives, and an answer while it is not taken, 60"
    ),
    "drain": Key("drain", _seconds, "seconds that calls under way have to end in once the gateway is told to stop, 30"),
    "reload": Key("reload", _seconds, "seconds between looks at the configuration's files, 2; 0 looks on SIGHUP alone"),
    "database_url": Key("database", _text, "where keys and calls are kept: `sqlite:///file` or `postgresql://…`; else `DATABASE_URL`"),
    "store_model_in_db": Key("", flag, "whether the file may name no model, since all of them were added at run time (`/model/new`); no"),
    "maximum_spend_logs_retention_period": Key("keep", _period, "for how long calls are remembered, such as `90d`; for ever without it"),
    "content": Key(
        "content", flag, "whether what calls say is remembered with them, secrets masked; keys, users and teams may say otherwise; no"
    ),
    "store_prompts_in_spend_logs": Key("content", flag, "the same in LiteLLM's word"),
    "content_max": Key("content_max", _bytes, "characters that are kept of a question, and as many of its answer, 32768"),
    "content_keep": Key("content_keep", _period, "for how long they are, such as `7d`; as long as the call without it"),
    "enable_jwt_auth": Key(
        "jwt", flag, "whether tokens of an identity provider are taken; `JWT_PUBLIC_KEY_URL` and `JWT_AUDIENCE` name it, `JWT_ISSUER` may"
    ),
    "litellm_jwtauth": Key("jwt_fields", _mapping, "where in such a token user, team and scope stand"),
    "role_permissions": Key(
        "permissions",
        read_permissions,
        "what such tokens may do, by role: `[{role: team, models: [gpt-*], routes: [/v1/chat/completions]}]`",
    ),
    "allowed_routes": Key(
        "routes", read_routes, "paths and patterns that alone may be asked for, by whomever; LiteLLM's kinds of them too"
    ),
    "admin_only_routes": Key("admin_routes", read_routes, "those for administrators alone"),
    "background_health_checks": Key("", flag, "whether the deployments are asked a small question, beside the calls; no"),
    "health_check_interval": Key("", _seconds, "every so many seconds, 300 unless told otherwise"),
    "enable_health_check_routing": Key("", flag, "whether calls keep away from those whose check failed; no"),
    "health_check_staleness_threshold": Key("", _seconds, "seconds for which they do: twice the interval unless told otherwise"),
    "health_check_ignore_transient_errors": Key("", flag, "whether a check that failed for its time or a rate limit says nothing; no"),
    "secret_hook": Key("", _text, "`package.module:function`, which is given NAME for every value `secret://NAME` and gives the secret"),
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
