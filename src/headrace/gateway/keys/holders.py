"""Who is let in, and on what terms: keys, teams and users are kept alike."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits.limit import NANO, limits_of
from headrace.limits.money import budget_of


class Kind(enum.Enum):
    KEY = "key"
    TEAM = "team"
    USER = "user"
    CUSTOMER = "customer"
    """Whom callers say they ask for; holds no key."""
    BUDGET = "budget"
    """Limits and a budget under a name, which others are given; calls nothing."""
    ORGANIZATION = "organization"
    """Above teams and keys: its terms bind all calls of theirs; holds no key."""
    TAG = "tag"
    """What callers call some of their calls (`metadata.tags`); holds no key."""
    GATEWAY = "gateway"
    """All calls together, and each customer without terms of its own: in which periods they are summed. Holds no key."""
    MODEL = "model"
    """No holder: what one of them may spend on a model, in the sums of what was spent."""


LIMITS: Final = ("rpm", "tpm", "rpd", "tpd", "max_parallel_requests")


class Member(Struct, frozen=True):
    """Of a team."""

    user: str
    role: str = "user"
    """user or admin."""


class Allowance(Struct, frozen=True):
    """What may be spent on one model."""

    budget: int
    """Nano-dollars in each period."""
    duration: str | None = None
    """As `Terms.budget_duration`."""

    def period_at(self, now: float) -> tuple[float, float]:
        """Beginning and end of the period."""
        if self.duration is None:
            return 0.0, math.inf
        length = budget_of(self.budget / NANO, self.duration, "terms").window
        return now // length * length, now // length * length + length


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key, a team or a user may do."""

    models: tuple[str, ...] = ()
    """Names and patterns; empty for all."""
    aliases: Mapping[str, str] = {}
    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    max_parallel_requests: int | None = None
    budget: int | None = None
    """Nano-dollars in each period."""
    budget_duration: str | None = None
    """`30m`, `24h`, `7d`, `1mo` (30 days); None for ever."""
    budget_since: float = 0.0
    """Where the first period begins; seconds since 1970. 0 where all that was ever spent counts."""
    role: str = ""
    email: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    members: tuple[Member, ...] = ()
    """Of a team."""
    model_rpm: Mapping[str, int] = {}
    """Limits and budgets of single models, by name or pattern."""
    model_tpm: Mapping[str, int] = {}
    model_budgets: Mapping[str, Allowance] = {}
    content: bool | None = None
    """Whether what calls say is remembered with them; None for what others say."""
    organization: str = ""
    """Of a key, a team or a user: the one above it."""
    budget_id: str = ""
    """The budget whose terms these are too, as far as nothing else was said."""

    def check(self, where: str) -> None:
        """Raises ConfigurationError that names the field."""
        named: dict[str, Any] = self.limits
        limits_of(**named)
        for name in self.limited_models:
            single: dict[str, Any] = self.limits_on(name)
            limits_of(**single)
        for name, one in self.model_budgets.items():
            budget_of(one.budget / NANO, one.duration, f"{where}.model_max_budget.{name}")
        if self.budget is not None:
            budget_of(self.budget / NANO, self.budget_duration, where)
        elif self.budget_duration is not None:
            raise ConfigurationError(f"{where}.budget_duration needs a max_budget beside it")

    @property
    def limits(self) -> dict[str, int]:
        """The limits that there are, by their names at a Router."""
        return {name: amount for name in LIMITS if (amount := getattr(self, name)) is not None}

    @property
    def binds(self) -> bool:
        """Whether there is a limit or a budget."""
        return self.budget is not None or bool(self.limits)

    @property
    def limited_models(self) -> list[str]:
        """Names and patterns that have limits of their own."""
        return list(dict.fromkeys([*self.model_rpm, *self.model_tpm]))

    def limits_on(self, model: str) -> dict[str, int]:
        """The limits of a name or pattern, by their names at a Router."""
        given = {"rpm": self.model_rpm.get(model), "tpm": self.model_tpm.get(model)}
        return {name: amount for name, amount in given.items() if amount is not None}

    def ends_at(self, now: float) -> float:
        """When the first of its present budgets ends."""
        return min([self.period_at(now)[1], *[one.period_at(now)[1] for one in self.model_budgets.values()]])

    @property
    def period(self) -> float:
        """Seconds in which the budget may be spent; inf for ever."""
        if self.budget is None or self.budget_duration is None:
            return math.inf
        return budget_of(self.budget / NANO, self.budget_duration, "terms").window

    def period_at(self, now: float) -> tuple[float, float]:
        """Beginning and end of the budget's period: periods follow one another without a gap, whoever looks."""
        length = self.period
        if length == math.inf:
            return (self.budget_since, math.inf) if now >= self.budget_since else (0.0, self.budget_since)
        began = self.budget_since + (now - self.budget_since) // length * length
        return began, began + length


class Holder(Struct, frozen=True, kw_only=True):
    """A key, a team or a user."""

    kind: Kind
    id: str
    terms: Terms
    created: float
    updated: float
    name: str = ""
    hash: str | None = None
    """SHA-256 of a key's token. The token itself is nowhere."""
    former: str | None = None
    """The hash before the last rotation."""
    former_until: float | None = None
    hint: str = ""
    """What may be shown of the token."""
    team: str = ""
    user: str = ""
    blocked: bool = False
    expires: float | None = None
    deleted: bool = False
    revision: int = 0

    @property
    def scope(self) -> str:
        """What its limits are called at the limiter."""
        return scope_of(self.kind, self.id)

    def row(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in self.__struct_fields__}
        return {**row, "kind": self.kind.value, "terms": msgspec.json.encode(self.terms).decode()}


def of_row(row: Mapping[str, Any]) -> Holder:
    said = {"kind": Kind(row["kind"]), "terms": msgspec.json.decode(row["terms"], type=Terms)}
    return Holder(**{**row, **said, "blocked": bool(row["blocked"]), "deleted": bool(row["deleted"])})


def scope_of(kind: Kind, id: str) -> str:
    """A colon has a sense in names of scopes, and callers choose the names of customers."""
    return f"{kind.value}:{id.replace('%', '%25').replace(':', '%3A')}"


def budget_id(kind: Kind, id: str, model: str) -> str:
    """What a budget for one model is called in the sums."""
    return f"{scope_of(kind, id)}:{model}"
