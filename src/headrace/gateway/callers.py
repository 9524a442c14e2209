"""Who calls: what a key, a team and a user may do together, ready for the hot path."""

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
    """What somebody may do besides calling models. The names are LiteLLM's."""

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
    """Whoever was let in."""

    key: str = ""
    """The id of its key; empty for the master key, and where no key is asked for."""
    name: str = ""
    """What its key is called."""
    team: str = ""
    team_name: str = ""
    user: str = ""
    role: Role = Role.CALLER
    routes: tuple[str, ...] | None = None
    """Paths that it may ask for, as `headrace.gateway.permissions` has them; None for all."""
    models: tuple[tuple[str, ...], ...] = ()
    """Names and patterns (`gpt-*`): of the key, of its team, of its user. A model must stand in each that is there."""
    aliases: Mapping[str, str] = {}
    """Names of its own for models."""
    scopes: tuple[str, ...] = ()
    """The limits it is under, as the limiter knows them."""
    model_scopes: tuple[tuple[str, str], ...] = ()
    """Further limits that hold for single models: (a name or pattern, the scope)."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    content: bool | None = None
    """Whether what its calls say is remembered with them; None for what the gateway's settings say."""
    secret: str = ""
    """The gateway's own, of which seals are made."""

    @property
    def owner(self) -> str:
        """Whose is what it makes: its team's, else its own."""
        return f"team:{self.team}" if self.team else f"key:{self.key}" if self.key else f"user:{self.user}"

    @property
    def seal(self) -> str:
        """What ids are sealed with that are given out to its owner; empty for an administrator, who sees what everybody made."""
        return "" if self.role is Role.ADMIN else seal_of(self.secret or "-", self.owner)

    @property
    def tenant(self) -> str:
        """Who waits in turn with others: keys do."""
        return self.key or self.user

    def __repr__(self) -> str:
        return f"<Caller {self.name or self.owner!r}, {self.role.value}>"

    def meant(self, model: str) -> str:
        """What it calls `model`, as the gateway calls it."""
        return self.aliases.get(model, model)

    def may_call(self, model: str, group: str | None = None) -> bool:
        """group: the model group behind the name, where it is an alias of one."""
        return all(_listed(model, names) or (group is not None and _listed(group, names)) for names in self.models)

    def check(self, model: str, group: str | None = None) -> None:
        """Raises PermissionDeniedError."""
        if not self.role.calls:
            raise refusal(403, Kind.PERMISSION, "this key is for looking only: it may call no model")
        if not self.may_call(model, group):
            raise refusal(403, Kind.PERMISSION, f"this key may not call {model!r}; /v1/models lists what it may", "model")

    def check_sight(self) -> None:
        """Raises PermissionDeniedError for who may not see what concerns everybody."""
        if not self.role.sees_all:
            raise refusal(403, Kind.PERMISSION, "this key is for calling models: what concerns everybody is for admins, and who may look")

    def scopes_on(self, model: str, group: str | None = None) -> tuple[str, ...]:
        """The limits that a call of a model is under. group: the model group behind the name."""
        if not self.model_scopes:
            return self.scopes
        return (*self.scopes, *[scope for name, scope in self.model_scopes if is_named(name, model, group)])

    @property
    def told(self) -> dict[str, str]:
        """Who it is, in the words of LiteLLM's proxy: deployments may be for one team, and loggers look here."""
        names = {"user_api_key": self.key, "user_api_key_team_id": self.team, "user_api_key_user_id": self.user}
        return {"user_api_key_alias": self.name, **{name: value for name, value in names.items() if value}}

    def options(self, model: str = "", group: str | None = None) -> dict[str, Any]:
        """What the Router is told with each of its calls."""
        told: dict[str, Any] = {"litellm_metadata": self.told} | ({"tenant": self.tenant} if self.tenant else {})
        if scopes := self.scopes_on(model, group):
            told["scopes"] = scopes
        return told


def is_named(name: str, *models: str | None) -> bool:
    """Whether a name or pattern (`gpt-*`) is of one of them."""
    return any(model is not None and _listed(model, (name,)) for model in models)


def _listed(model: str, names: tuple[str, ...]) -> bool:
    return model in names or any("*" in name and fnmatchcase(model, name) for name in names)


ADMIN: Final = Caller(name="master key", role=Role.ADMIN)
"""The master key's, and everybody's on this machine where there is none."""


class Keys(Protocol):
    """Knows virtual keys."""

    def administrator(self) -> Caller | None:
        """Whoever has the master key, as far as that is known without asking anybody."""
        return ADMIN

    async def find_administrator(self) -> Caller:
        return ADMIN

    def remembered(self, token: str) -> Caller | None:
        """Whose key it is, as far as that is known without asking anybody."""
        ...

    def recognizes(self, token: str) -> bool:
        """Whether it was somebody's key a while ago, so that whoever shows it is not guessing."""
        return False

    async def find(self, token: str) -> Caller | None:
        """Whose key it is, None where it is nobody's. Raises a refusal for one that is blocked or has expired."""
        ...

    async def named(self, key: str) -> Caller | None:
        """Whose the key with that id is. Raises a refusal for one that is blocked or has expired."""
        return None

    def may_be_held(self, customer: str) -> bool:
        """Whether limits of a customer's own have to be looked up, as far as that is known without asking anybody."""
        return False

    async def customer(self, id: str) -> tuple[str, ...]:
        """The scopes that hold a customer's limits. Raises a refusal for one that is blocked."""
        return ()

    async def tagged(self, tags: Iterable[str], model: str, group: str | None) -> tuple[str, ...]:
        """The scopes that hold the limits of tags on a model. Raises a refusal where one is not for that model."""
        return ()


class NoKeys(Keys):
    """A gateway with a master key alone."""

    def remembered(self, token: str) -> Caller | None:
        return None

    async def find(self, token: str) -> Caller | None:
        return None
