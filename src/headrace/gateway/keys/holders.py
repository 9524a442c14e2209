"""Holders: keys, teams, users and everything else that has limits or a budget, all stored alike."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.errors import ConfigurationError
from headrace.limits.limit import NANO, limits_of
from headrace.limits.money import budget_of


class Kind(enum.Enum):
    """The kinds of holders."""

    KEY = "key"
    TEAM = "team"
    USER = "user"
    CUSTOMER = "customer"
    """The end user that a caller names in a call; has no key."""
    BUDGET = "budget"
    """Named limits and a budget, assigned to other holders; makes no calls."""
    ORGANIZATION = "organization"
    """Above teams and keys: its terms apply to all their calls; has no key."""
    TAG = "tag"
    """A label that callers give to some of their calls (`metadata.tags`); has no key."""
    GATEWAY = "gateway"
    """All calls together, and each end user without terms of its own: the periods in which they are counted. Has no key."""
    MODEL = "model"
    """Not a holder: a holder's budget for one model, in the sums of what was spent."""
    MEMBER = "member"
    """Not a holder: a user's budget within a team, in the same sums."""


LIMITS: Final = ("rpm", "tpm", "rpd", "tpd", "max_parallel_requests")


class Allowance(Struct, frozen=True):
    """A budget for one model, or for one member of a team."""

    budget: int
    """Nano-dollars per period."""
    duration: str | None = None
    """As in `Terms.budget_duration`."""

    def period_at(self, now: float) -> tuple[float, float]:
        """Start and end of the period, in Unix seconds."""
        if self.duration is None:
            return 0.0, math.inf
        length = budget_of(max(1, self.budget) / NANO, self.duration, "terms").window
        return now // length * length, now // length * length + length


class Member(Struct, frozen=True, omit_defaults=True):
    """A member of a team."""

    user: str
    role: str = "user"
    """`user` or `admin`."""
    allowance: Allowance | None = None
    """The budget within the team; None for the team's budget of each member."""
    rpm: int | None = None
    tpm: int | None = None

    @property
    def limits(self) -> dict[str, int]:
        """The limits within the team, by their names in the Router."""
        return {name: limit for name, limit in (("rpm", self.rpm), ("tpm", self.tpm)) if limit is not None}


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a holder may do."""

    models: tuple[str, ...] = ()
    """Names and patterns of models; empty for all."""
    aliases: Mapping[str, str] = {}
    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    max_parallel_requests: int | None = None
    budget: int | None = None
    """Nano-dollars per period."""
    budget_duration: str | None = None
    """`30m`, `24h`, `7d`, `1mo` (30 days); None for a budget without periods."""
    budget_since: float = 0.0
    """Start of the first period, in Unix seconds. 0 if everything ever spent counts."""
    role: str = ""
    email: str = ""
    routes: tuple[str, ...] = ()
    """Of a key: the paths it may use, as in `headrace.gateway.permissions`; empty for all."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    members: tuple[Member, ...] = ()
    """The members of a team."""
    each_member: Member | None = None
    """The budget and limits of a team's users who have none of their own within it."""
    model_rpm: Mapping[str, int] = {}
    """Limits and budgets of single models, by name or pattern."""
    model_tpm: Mapping[str, int] = {}
    model_budgets: Mapping[str, Allowance] = {}
    content: bool | None = None
    """Whether the content of calls is recorded; None to inherit."""
    organization: str = ""
    """The organization above a key, a team or a user."""
    budget_id: str = ""
    """The budget that supplies the terms not set here."""

    def check(self, where: str) -> None:
        """Raises ConfigurationError naming the field."""
        named: dict[str, Any] = self.limits
        limits_of(**named)
        for name in self.limited_models:
            single: dict[str, Any] = self.limits_on(name)
            limits_of(**single)
        for name, one in self.model_budgets.items():
            budget_of(max(1, one.budget) / NANO, one.duration, f"{where}.model_max_budget.{name}")
        if self.budget is not None:
            budget_of(max(1, self.budget) / NANO, self.budget_duration, where)
        elif self.budget_duration is not None:
            raise ConfigurationError(f"{where}.budget_duration needs a max_budget")

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, by their names in the Router."""
        return {name: amount for name in LIMITS if (amount := getattr(self, name)) is not None}

    @property
    def binds(self) -> bool:
        """Whether a limit or a budget is set."""
        return self.budget is not None or bool(self.limits or self.model_budgets or self.limited_models)

    @property
    def limited_models(self) -> list[str]:
        """Names and patterns of the models that have limits of their own."""
        return list(dict.fromkeys([*self.model_rpm, *self.model_tpm]))

    def limits_on(self, model: str) -> dict[str, int]:
        """The limits of a model's name or pattern, by their names in the Router."""
        given = {"rpm": self.model_rpm.get(model), "tpm": self.model_tpm.get(model)}
        return {name: amount for name, amount in given.items() if amount is not None}

    def within(self, user: str) -> Member:
        """A user's terms within the team, a member or not."""
        own, each = next((one for one in self.members if one.user == user), Member(user)), self.each_member
        if each is None:
            return own
        limits = {"rpm": each.rpm if own.rpm is None else own.rpm, "tpm": each.tpm if own.tpm is None else own.tpm}
        return replace(own, allowance=own.allowance or each.allowance, **limits)

    def ends_at(self, now: float) -> float:
        """When the first of its current budget periods ends."""
        members = [one.allowance for one in (*self.members, self.each_member) if one is not None and one.allowance is not None]
        return min([self.period_at(now)[1], *[one.period_at(now)[1] for one in (*self.model_budgets.values(), *members)]])

    @property
    def period(self) -> float:
        """Length of the budget's period in seconds; inf without periods."""
        if self.budget is None or self.budget_duration is None:
            return math.inf
        return budget_of(max(1, self.budget) / NANO, self.budget_duration, "terms").window

    def period_at(self, now: float) -> tuple[float, float]:
        """Start and end of the budget's period. Periods follow one another without gaps, whenever calls are made."""
        length = self.period
        if length == math.inf:
            return (self.budget_since, math.inf) if now >= self.budget_since else (0.0, self.budget_since)
        began = self.budget_since + (now - self.budget_since) // length * length
        return began, began + length


class Holder(Struct, frozen=True, kw_only=True):
    """A key, team, user or other holder."""

    kind: Kind
    id: str
    terms: Terms
    created: float
    updated: float
    name: str = ""
    hash: str | None = None
    """SHA-256 of a key's token. The token itself is not stored."""
    former: str | None = None
    """The hash before the last rotation."""
    former_until: float | None = None
    hint: str = ""
    """The part of the token that may be shown."""
    team: str = ""
    user: str = ""
    blocked: bool = False
    expires: float | None = None
    deleted: bool = False
    revision: int = 0

    @property
    def scope(self) -> str:
        """The name of its scope in the limiter."""
        return scope_of(self.kind, self.id)

    def row(self) -> dict[str, Any]:
        """The holder as a row of the table `holders`."""
        row = {name: getattr(self, name) for name in self.__struct_fields__}
        return {**row, "kind": self.kind.value, "terms": msgspec.json.encode(self.terms).decode()}


def of_row(row: Mapping[str, Any]) -> Holder:
    """The holder in a row of the table `holders`."""
    said = {"kind": Kind(row["kind"]), "terms": msgspec.json.decode(row["terms"], type=Terms)}
    return Holder(**{**row, **said, "blocked": bool(row["blocked"]), "deleted": bool(row["deleted"])})


def scope_of(kind: Kind, id: str) -> str:
    """The scope's name. Ids are escaped, as colons separate the parts of the name and callers choose the ids of end users."""
    return f"{kind.value}:{_escaped(id)}"


def _escaped(id: str) -> str:
    return id.replace("%", "%25").replace(":", "%3A")


def member_id(team: str, user: str) -> str:
    """The id of a user's budget within a team, in the sums of what was spent."""
    return f"{scope_of(Kind.TEAM, team)}:{_escaped(user)}"


def budget_id(kind: Kind, id: str, model: str) -> str:
    """The id of a budget for one model, in the sums of what was spent."""
    return f"{scope_of(kind, id)}:{model}"
