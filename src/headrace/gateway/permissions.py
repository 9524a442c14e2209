"""Which callers may use which paths: lists of paths and patterns, and LiteLLM's names for groups of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from headrace.calls import shape
from headrace.errors import ConfigurationError, Kind
from headrace.gateway.callers import Caller, Role
from headrace.gateway.client_apis import ANTHROPIC, GOOGLE, OPENAI, RESPONDING, ClientApi, front_of
from headrace.gateway.requests import IncomingRequest, refusal

_ADMIN: Final = (
    "/key/", "/team/", "/user/", "/customer/", "/end_user/", "/budget/", "/tag/", "/model/", "/v1/model/", "/model_group/", "/spend/",
    "/organization/", "/global/", "/health", "/utils/", "/v2/key/", "/v2/team/", "/v2/user/", "/v2/model/", "/ui", "/cost/",
    "/metrics", "/openapi.json",
)  # fmt: skip
"""Beginnings of paths that call no model. Bedrock's calls begin with `/model/` too and are recognized by their ends."""
_TELLING: Final = ("/info", "/list", "/available_roles", "/aliases", "/settings")


_MODELS: Final = ("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream", "/count-tokens")


def _calls(path: str) -> bool:
    return path != "/" and (not path.startswith(_ADMIN) or path.endswith(_MODELS))


def _is_of(path: str, *fronts: ClientApi) -> bool:
    """Whether a path calls a model for these front ends. Judged by the path alone, as the caller chooses the headers."""
    return _calls(path) and front_of(IncomingRequest("POST", path, {}, {})) in fronts


KINDS: Final[Mapping[str, Callable[[str], bool]]] = {
    "llm_api_routes": _calls,
    "openai_routes": lambda path: _is_of(path, OPENAI, RESPONDING),
    "anthropic_routes": lambda path: _is_of(path, ANTHROPIC),
    "google_routes": lambda path: _is_of(path, GOOGLE),
    "info_routes": lambda path: not _calls(path) and path.endswith(_TELLING),
    "management_routes": lambda path: not _calls(path) and not path.startswith(("/spend/", "/global/", "/ui", "/metrics")),
    "spend_tracking_routes": lambda path: path.startswith("/spend/"),
    "global_spend_tracking_routes": lambda path: path.startswith("/global/"),
    "public_routes": lambda path: path in ("/", "/openapi.json") or path.startswith("/health/"),
}


class Permission(Struct, frozen=True):
    """What tokens of one role may do (`role_permissions`)."""

    role: str
    models: tuple[str, ...] | None = None
    """Names and patterns of models; None for all."""
    routes: tuple[str, ...] | None = None


ROLES: Final = ("proxy_admin", "team", "internal_user")
"""To whom a token may belong."""


def is_among(routes: Iterable[str], path: str) -> bool:
    """Whether a path is in a list. `/v1/models`, `/models` and `/openai/v1/models` count as the same path."""
    plain = _plain(path)
    return any(KINDS[route](path) if route in KINDS else fnmatchcase(plain, _plain(route)) for route in routes)


def _plain(path: str) -> str:
    return _BASE.sub("", path)


_BASE: Final = re.compile(r"^(?:/openai|/anthropic)?(?:/v1)?(?=/)")


def check_path(path: str, caller: Caller, allowed: tuple[str, ...], admins: tuple[str, ...]) -> None:
    """Raises PermissionDeniedError. allowed: the paths that are served; empty for all. admins: those for administrators only."""
    if (allowed and not is_among(allowed, path)) or (caller.routes is not None and not is_among(caller.routes, path)):
        raise refusal(403, Kind.PERMISSION, f"this key may not use {path}")
    if admins and caller.role is not Role.ADMIN and is_among(admins, path):
        raise refusal(403, Kind.PERMISSION, f"{path} is for administrators only")


# ---- parsing
# ---------------------------------------------------------------------------------------------------------------------


def read_routes(where: str, value: Any) -> tuple[str, ...]:
    """A list of paths, patterns and groups of paths. Raises ConfigurationError naming an invalid entry."""
    names = read_names(where, value)
    if unknown := [one for one in names if one not in KINDS and not one.startswith(("/", "*"))]:
        raise ConfigurationError(f"{where}: {unknown[0]!r} is neither a path nor one of {', '.join(KINDS)}")
    return names


def read_permissions(where: str, value: Any) -> tuple[Permission, ...]:
    """Parse `[{"role": "team", "models": ["gpt-*"], "routes": ["/v1/chat/completions"]}]`. Raises ConfigurationError."""
    if not isinstance(value, list):
        raise ConfigurationError(f"{where} must be a list of roles, got {shape(value)}")
    return tuple([_permission(f"{where}[{number}]", one) for number, one in enumerate(value)])


def _permission(where: str, given: Any) -> Permission:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} must be a mapping with role, models and routes, got {shape(given)}")
    if unknown := sorted(map(str, given.keys() - {"role", "models", "routes"})):
        raise ConfigurationError(f"{where}.{unknown[0]} is not known; known: role, models, routes")
    if given.get("role") not in ROLES:
        raise ConfigurationError(f"{where}.role must be one of {', '.join(ROLES)}, got {shape(given.get('role'))}")
    models, routes = given.get("models"), given.get("routes")
    return Permission(
        given["role"],
        None if models is None else read_names(f"{where}.models", models),
        None if routes is None else read_routes(f"{where}.routes", routes),
    )


def read_names(where: str, value: Any) -> tuple[str, ...]:
    """A list of strings as a tuple. Raises ConfigurationError."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigurationError(f"{where} must be a list of strings, got {shape(value)}")
    return tuple(value)
