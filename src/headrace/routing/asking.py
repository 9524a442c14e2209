"""Builds what a call asks of the limiter: its charge, tenant and deadline, and which deployments it may use and prefers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from headrace.calls import CHAT, EMBEDDINGS, Call, seconds, shape, whole_number
from headrace.core import requests_for
from headrace.errors import ConfigurationError, HeadraceError
from headrace.limits import Ask, Charge
from headrace.limits.money import PROMPT_DOUBT
from headrace.models.tokens import estimate_encoded
from headrace.ports import Ports
from headrace.routing.affinity import Affinity, caller_of, prefixes, session, session_of
from headrace.routing.budgets import scope_of_tag
from headrace.routing.filters import Wants, fitting, wants_of
from headrace.routing.fleet import Fleet
from headrace.routing.options import Settings
from headrace.routing.scopes import scope_names, unpriced
from headrace.routing.strategies import Prefer, View
from headrace.routing.trail import Member, Trail

DEFAULT_MAX_OUTPUT: Final = 1024
"""Output tokens reserved for a call without max_tokens, until its deployment has shown how many it really writes."""

NOBODY: Final[frozenset[str]] = frozenset()

Choose: TypeAlias = Callable[[Ports, Call, str], Awaitable[str | None]]
"""A custom strategy: returns the id of the deployment it selects for a call to a group, or None."""


class Asking:
    """Turns calls into requests to the limiter (`Ask`), from the configuration and from what was observed."""

    def __init__(self, settings: Settings, fleet: Fleet) -> None:
        self._settings = settings
        self._fleet = fleet
        self._affinity = Affinity(settings.affinity_seconds)
        self._custom: Choose | None = None

    def follow(self, settings: Settings) -> None:
        """Use other settings. Remembered conversations are kept unless `affinity_seconds` changes."""
        if settings.affinity_seconds != self._settings.affinity_seconds:
            self._affinity = Affinity(settings.affinity_seconds)
        self._settings = settings

    async def ask(self, ports: Ports, call: Call, group: str, tried: set[str], trail: Trail) -> Ask:
        now = ports.clock.now()
        charge = charge_of(call)
        given = _routing(call.control, now, self._settings)
        if self._settings.tag_budgets:
            given["scopes"] = (*given.get("scopes", ()), *self._tag_scopes(call.control))
        ends = min(given.pop("deadline", math.inf), trail.ends_at)
        only, avoid = await self._where(ports, call, group, charge, tried, trail, given.get("scopes", ()))
        return Ask(
            group,
            charge,
            charges=self.own_charges(group, call, charge) if self._differs(group, call) else None,
            only=only,
            avoid=avoid,
            again=bool(trail.failed),
            call=trail.number,
            attempt=len(trail.failed) + 1,
            prefer=self._preference(ports, call, group, charge, now),
            deadline=None if ends == math.inf else ends,
            **given,
        )

    def remember(self, call: Call, group: str, member: Member, now: float) -> None:
        """Remember that this deployment served the conversation, if the group has an affinity."""
        keys = self._affine(call, group)
        if keys:
            self._affinity.remember(keys, member.deployment.id, now)

    def use(self, strategy: Any) -> None:
        """Set a custom strategy in litellm's form. Raises ConfigurationError."""
        for name in ("get_available_deployment", "async_get_available_deployment"):
            if not callable(getattr(strategy, name, None)):
                raise ConfigurationError(f"a custom routing strategy needs a method {name}, got {shape(strategy)}")
        self._custom = _custom(strategy)
        self._fleet.changed()

    @property
    def standing(self) -> dict[str, Any]:
        """Defaults for calls that give no tenant, priority, deadline or scopes of their own."""
        return _routing({}, 0.0, self._settings)

    def minds(self, group: str) -> bool:
        """Whether the choice of a deployment in the group depends on more than room, load and chance."""
        settings = self._settings
        return self._custom is not None or settings.by_tags or settings.checks_window or settings.ways.of(group).affinity is not None

    # ---- where it may go ---------------------------------------------------------------------------------------------

    async def _where(
        self, ports: Ports, call: Call, group: str, charge: Charge, tried: set[str], trail: Trail, scopes: Sequence[str]
    ) -> tuple[frozenset[str] | None, frozenset[str]]:
        """The deployments to consider (None for the whole group), and those of them to use only when there is no other."""
        only, avoid = (
            (frozenset([call.deployment]), NOBODY) if call.deployment else self._eligible(group, call, charge, tried, ports.clock.now())
        )
        if trail.only is not None:
            only = trail.only if only is None else (only & trail.only or trail.only)
        elif self._custom is not None and not call.deployment:
            wanted = await self._custom(ports, call, group)
            if wanted is not None and wanted not in avoid and (only is None or wanted in only):
                only = frozenset([wanted])
        if self._fleet.budgets and not self._fleet.budgets.isdisjoint(scopes):
            only = self._of_known_price(group, only)
        if trail.spent:
            only = self._with_money(group, only, trail.spent)
        return only, avoid

    def _with_money(self, group: str, only: frozenset[str] | None, spent: Mapping[str, HeadraceError]) -> frozenset[str]:
        """The deployments whose provider's budget has room. If there is none, raises the latest budget error."""
        left = [member.deployment.id for member in self._fleet.served[group] if member.to.provider.name not in spent]
        found = frozenset(left if only is None else only.intersection(left))
        if not found:
            raise list(spent.values())[-1]
        return found

    def _tag_scopes(self, control: Mapping[str, Any]) -> list[str]:
        """The scopes of its tags' budgets."""
        tags = wants_of(control, 0, self._settings.tag_prefix).tags
        return [scope_of_tag(tag) for tag in sorted(tags) if tag in self._settings.tag_budgets]

    def _eligible(
        self, group: str, call: Call, charge: Charge, tried: set[str], now: float
    ) -> tuple[frozenset[str] | None, frozenset[str]]:
        """The deployments that may serve this call (None for the whole group), and those of them to avoid.

        Only the lowest tier is used. Those already tried for this call, or in cooldown, are avoided while there are
        others, unless most are in cooldown and the others have no room.
        """
        members, settings, fleet = self._fleet.served[group], self._settings, self._fleet
        only: frozenset[str] | None = None
        if group in fleet.particular or settings.by_tags or settings.checks_window or "allowed_model_region" in call.control:
            fit = self._fitting(members, wants_of(call.control, charge.input, settings.tag_prefix))
            if len(fit) < len(members):
                members, only = fit, frozenset([member.deployment.id for member in fit])
        elif len(members) == 1:
            return None, NOBODY
        avoid = self._left_out(group, members, only, charge, tried, now)
        if group in fleet.tiered:
            left = [member for member in members if member.deployment.id not in avoid]
            tiers = [fleet.plan.tier(group, member.deployment) for member in left]
            first = min(tiers)
            only = frozenset([member.deployment.id for member, tier in zip(left, tiers, strict=True) if tier == first])
        return only, avoid

    def _left_out(
        self, group: str, members: Sequence[Member], only: frozenset[str] | None, charge: Charge, tried: set[str], now: float
    ) -> frozenset[str]:
        """Which of these to avoid now; never all of them. only: their ids, None for the whole group."""
        fleet = self._fleet
        resting = fleet.resting(group, now)
        if not (tried or resting):
            return NOBODY
        here = fleet.known[group] if only is None else only
        out = here & tried
        if len(out) == len(here):
            out = NOBODY
        asleep = (here & resting) - out
        left = len(here) - len(out)
        if len(asleep) == left:
            return out  # the limiter waits for the end of the first cooldown
        if left - len(asleep) < self._settings.cooldown.panic * left:
            asked = [member for member in members if member.deployment.id not in out]
            if not fleet.has_room(group, charge, [member for member in asked if member.deployment.id not in asleep], now):
                fleet.wake(asked, now)
                return out
        return out | asleep

    def _fitting(self, members: Sequence[Member], wants: Wants) -> Sequence[Member]:
        settings = self._settings
        deployments = [member.deployment for member in members]
        found = fitting(deployments, wants, by_tags=settings.by_tags, any_tag=settings.any_tag, window=settings.checks_window)
        return members if len(found) == len(members) else [member for member in members if member.deployment in found]

    def _of_known_price(self, group: str, only: frozenset[str] | None) -> frozenset[str]:
        """The deployments with a known price, for a call under a budget.

        One without a price would cost the budget nothing.
        """
        offered = [member for member in self._fleet.served[group] if only is None or member.deployment.id in only]
        known = frozenset([member.deployment.id for member in offered if member.price is not None])
        if not known:
            raise unpriced(group, {member.deployment.model for member in offered})
        return known

    # ---- what it prefers, and what it takes there --------------------------------------------------------------------

    def _preference(self, ports: Ports, call: Call, group: str, charge: Charge, now: float) -> Prefer | None:
        keys = self._affine(call, group)
        served = self._affinity.find(keys, now) if keys else None
        if served is not None:
            return lambda deployment: 0.0 if deployment == served else 1.0
        strategy = self._settings.ways.of(group).strategy
        if strategy is None:
            return None
        ids = self._fleet.ids[group]
        return strategy(View(self._fleet.loads, ports.random, call.stream, charge.input, charge.max_output, ids, now))

    def _affine(self, call: Call, group: str) -> list[int]:
        """Affinity keys of this call; empty where its group has no affinity."""
        match self._settings.ways.of(group).affinity:
            case "prefix" if call.operation is CHAT:
                return prefixes(group, call.prompt)
            case "session":
                name = session_of(call.control)
                return [] if name is None else session(group, name)
            case "caller":
                name = caller_of(call.control)
                return [] if name is None else session(group, name)
        return []

    def _differs(self, group: str, call: Call) -> bool:
        """Whether a call's charge may differ between deployments."""
        fleet = self._fleet
        return group in fleet.priced or group in fleet.capped or call.operation is EMBEDDINGS

    def own_charges(self, group: str, call: Call, charge: Charge) -> dict[str, Charge] | None:
        """The call's charge at each deployment where it differs from `charge`; None if there are none.

        It differs by the deployment's own output limit, by the most that the call can cost where prices are known, and
        by the number of upstream requests that it is split into.
        """
        own: dict[str, Charge] = {}
        silent = call.operation.writes and call.max_output is None
        for member in self._fleet.served[group]:
            price, requests = member.price, requests_for(call, member.to.provider)
            most = member.most_output if silent and member.most_output else charge.max_output
            if price is not None or requests > 1 or most != charge.max_output:
                money = 0 if price is None else price.most(int(charge.input * PROMPT_DOUBT), most)
                own[member.deployment.id] = msgspec.structs.replace(charge, max_output=most, money=money, requests=requests)
        return own or None


def charge_of(call: Call) -> Charge:
    """What a call takes, as far as that is known before it is made."""
    input = estimate_encoded(bytes(call.encoded), call.prompt)
    if not call.operation.writes:
        return Charge(input=input)
    most = call.max_output
    return Charge(input=input, max_output=most or DEFAULT_MAX_OUTPUT, stated=bool(most))


def _routing(control: Mapping[str, Any], now: float, settings: Settings) -> dict[str, Any]:
    """Queueing options of a call (tenant, priority, deadline, max_wait, scopes), with the Router's defaults."""
    given: dict[str, Any] = {"max_wait": settings.max_wait}
    if "tenant" in control:
        given["tenant"] = str(control["tenant"])
    if "priority" in control or settings.priority is not None:
        given["priority"] = whole_number("priority", control.get("priority", settings.priority))
    if "deadline" in control:
        given["deadline"] = now + seconds("deadline", control["deadline"])
    if "max_wait" in control:
        given["max_wait"] = seconds("max_wait", control["max_wait"])
    if "scopes" in control:
        given["scopes"] = scope_names(control["scopes"])
    return given


def _custom(strategy: Any) -> Choose:
    async def choose(ports: Ports, call: Call, group: str) -> str | None:
        asked = {"model": group, "request_kwargs": call.control}
        asked |= {"messages": call.prompt} if call.operation is CHAT else {"input": call.prompt}
        if ports.blocking:
            found = strategy.get_available_deployment(**asked)
        else:
            found = await strategy.async_get_available_deployment(**asked)
        if isinstance(found, Mapping):
            found = (found.get("model_info") or {}).get("id")
        return None if found is None else str(found)

    return choose
