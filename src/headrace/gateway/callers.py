"""Callers: what a key, a team and a user may do together, precomputed for each call."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from msgspec import Struct

from headrace.errors import Kind
from headrace.gateway.requests import refusal
from headrace.seals import seal_of


class Role(enum.Enum):
    """What a caller may do besides calling models. The names are LiteLLM's."""

    ADMIN = "proxy_admin"
    VIEWER = "proxy_admin_viewer"
    """Sees everything, changes nothing, calls no model."""
    CALLER = "internal_user"
    """Calls models, and sees what is its own."""
    ONLOOKER = "internal_user_viewer"
    """Sees what is its own, and calls no model."""

    @property
    def calls(self) -> bool:
        return self in (Role.ADMIN, Role.CALLER)

    @property
    def sees_all(self) -> bool:
        return self in (Role.ADMIN, Role.VIEWER)


class Caller(Struct, frozen=True, kw_only=True, eq=False):
    """An authenticated caller."""

    key: str = ""
    """The id of its key; "" for the master key, and where no key is required."""
    name: str = ""
    """The alias of its key."""
    team: str = ""
    team_name: str = ""
    user: str = ""
    role: Role = Role.CALLER
    routes: tuple[str, ...] | None = None
    """Paths it may call, as in `headrace.gateway.permissions`; None for all."""
    models: tuple[tuple[str, ...], ...] = ()
    """Names and patterns (`gpt-*`) allowed by its key, its team and its user. A model must match each tuple."""
    aliases: Mapping[str, str] = {}
    """The caller's own names for models."""
    scopes: tuple[str, ...] = ()
    """Its limits, by the limiter's names."""
    model_scopes: tuple[tuple[str, str], ...] = ()
    """Further limits on single models: (name or pattern, scope)."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    content: bool | None = None
    """Whether the content of its calls is recorded; None for the gateway's setting."""
    secret: str = ""
    """The gateway's secret, from which seals are derived."""

    @property
    def owner(self) -> str:
        """The owner of what it creates: its team, else its key or user."""
        return f"team:{self.team}" if self.team else f"key:{self.key}" if self.key else f"user:{self.user}"

    @property
    def seal(self) -> str:
        """Seals the ids given to its owner; "" for an administrator, who sees what everybody created."""
        return "" if self.role is Role.ADMIN else seal_of(self.secret or "-", self.owner)

    @property
    def tenant(self) -> str:
        """The tenant for fair queuing: the key, else the user."""
        return self.key or self.user

    def __repr__(self) -> str:
        return f"<Caller {self.name or self.owner!r}, {self.role.value}>"

    def meant(self, model: str) -> str:
        """The gateway's name of the model that the caller calls `model`."""
        return self.aliases.get(model, model)

    def may_call(self, model: str, group: str | None = None) -> bool:
        """Whether it may call a model. group: the model group behind the name, if it is an alias."""
        return all(_listed(model, names) or (group is not None and _listed(group, names)) for names in self.models)

    def check(self, model: str, group: str | None = None) -> None:
        """Raises PermissionDeniedError if it may not call the model."""
        if not self.role.calls:
            raise refusal(403, Kind.PERMISSION, "this key is read-only: it may not call models")
        if not self.may_call(model, group):
            raise refusal(403, Kind.PERMISSION, f"this key may not call {model!r}; /v1/models lists the models it may call", "model")

    def check_sight(self) -> None:
        """Raises PermissionDeniedError if it may not see what concerns all callers."""
        if not self.role.sees_all:
            raise refusal(
                403, Kind.PERMISSION, "this key may only call models: this needs a key whose user_role is proxy_admin or proxy_admin_viewer"
            )

    def scopes_on(self, model: str, group: str | None = None) -> tuple[str, ...]:
        """The limits on a call of a model. group: the model group behind the name."""
        if not self.model_scopes:
            return self.scopes
        return (*self.scopes, *[scope for name, scope in self.model_scopes if is_named(name, model, group)])

    @property
    def told(self) -> dict[str, str]:
        """Its identity in the fields of LiteLLM's proxy, read by team-specific deployments and by loggers."""
        names = {"user_api_key": self.key, "user_api_key_team_id": self.team, "user_api_key_user_id": self.user}
        return {"user_api_key_alias": self.name, **{name: value for name, value in names.items() if value}}

    def options(self, model: str = "", group: str | None = None) -> dict[str, Any]:
        """The Router options of its calls."""
        told: dict[str, Any] = {"litellm_metadata": self.told} | ({"tenant": self.tenant} if self.tenant else {})
        if scopes := self.scopes_on(model, group):
            told["scopes"] = scopes
        return told


def is_named(name: str, *models: str | None) -> bool:
    """Whether a name or pattern (`gpt-*`) matches one of the models."""
    return any(model is not None and _listed(model, (name,)) for model in models)


def _listed(model: str, names: tuple[str, ...]) -> bool:
    return model in names or any("*" in name and fnmatchcase(model, name) for name in names)


ADMIN: Final = Caller(name="master key", role=Role.ADMIN)
"""The caller with the master key, and every local caller if there is no master key."""


class Keys(Protocol):
    """Finds callers by virtual key."""

    def administrator(self) -> Caller | None:
        """The caller with the master key, if it is cached."""
        return ADMIN

    async def find_administrator(self) -> Caller:
        """The caller with the master key."""
        return ADMIN

    def remembered(self, token: str) -> Caller | None:
        """The caller of a key, if it is cached."""
        ...

    def recognizes(self, token: str) -> bool:
        """Whether the key was valid a while ago, so that presenting it is not guessing."""
        return False

    async def find(self, token: str) -> Caller | None:
        """The caller of a key, or None if it is unknown. Raises a refusal if it is blocked or has expired."""
        ...

    async def named(self, key: str) -> Caller | None:
        """The caller of the key with that id. Raises a refusal if it is blocked or has expired."""
        return None

    def may_be_held(self, customer: str) -> bool:
        """Whether limits of an end user must be looked up; True if that is not cached."""
        return False

    async def customer(self, id: str, model: str, group: str | None) -> tuple[str, ...]:
        """The scopes with an end user's limits on a model. Raises a refusal if it is blocked."""
        return ()

    async def tagged(self, tags: Iterable[str], model: str, group: str | None) -> tuple[str, ...]:
        """The scopes with the limits of tags on a model. Raises a refusal if a tag is not allowed on it."""
        return ()


class NoKeys(Keys):
    """For a gateway with only a master key."""

    def remembered(self, token: str) -> Caller | None:
        return None

    async def find(self, token: str) -> Caller | None:
        return None
