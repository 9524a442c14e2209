"""The active deployments of a Router and their state: by id, by group, and which groups need extra checks before a call."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.calls import control_names, most_output
from headrace.destinations import PYTHON, Destination, destination
from headrace.dialects.forms import BUCKETS
from headrace.errors import POLICY, AuthenticationError, ConfigurationError, HeadraceError, Kind
from headrace.limits import Ask, Charge, Limit, Limiter, Place, Profile, Unit, override, profile_of
from headrace.limits.meter import Meter
from headrace.models.cost import Rates
from headrace.options import StorageOptions
from headrace.providers.hybrids import first_set
from headrace.routing.budgets import scope_of_provider, scope_of_tag
from headrace.routing.events import warn
from headrace.routing.fallbacks import NO_FALLBACKS
from headrace.routing.health import woken
from headrace.routing.options import Settings
from headrace.routing.plan import Deployment, Plan, make_plan, own_id, read_deployment, read_deployments
from headrace.routing.scopes import limits_of_scope, unpriced
from headrace.routing.strategies import SHARE, Latency, Load, lowest_cost
from headrace.routing.trail import Member

_FOR_HANDLERS: Final = ("api_key", "base_url", "api_base")

NO_KEY: Final = "no-key-was-given"
"""Sent as the key for a deployment that has none, so that its provider reports the error like that of any other invalid
key."""


class Fleet:
    """Owns the configuration: calls read it, `_adopt` replaces it as a whole."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        self._settings = settings
        self._limiter = limiter
        self._parallel = _parallel(settings)
        self.members: dict[str, Member] = {}
        self.plan = Plan({}, {}, {}, NO_FALLBACKS)
        self.loads: dict[str, Load] = {}
        self.served: dict[str, Sequence[Member]] = {}
        """The members of each group."""
        self.ids: dict[str, Sequence[str]] = {}
        """The deployment ids of each group."""
        self.tiered: set[str] = set()
        """Groups whose members are of more than one tier."""
        self.particular: set[str] = set()
        """Groups with members that do not serve every caller: blocked, or limited to a team."""
        self.priced: set[str] = set()
        """Groups with members whose price is known."""
        self.capped: set[str] = set()
        """Groups with members that set their own output limit."""
        self.known: dict[str, frozenset[str]] = {}
        """`ids` as sets."""
        self._resting: dict[str, Member] = {}
        """Members in cooldown, by id; some may have left it already."""
        self._restless_until = -math.inf
        """Clock seconds after which no member is in cooldown, unless one fails before."""
        self.budgets: set[str] = set()
        """Scopes with a money limit."""
        self.stamp = object()
        """Replaced by a new object whenever the configuration changes; what was derived from the old one is then stale."""

        self._add_budgets(settings)

    def _add_budgets(self, settings: Settings) -> None:
        """Add scopes for the budgets of providers and tags."""
        for provider, limits in settings.provider_budgets.items():
            self.add_scope(scope_of_provider(provider), limits)
        for tag, limits in settings.tag_budgets.items():
            self.add_scope(scope_of_tag(tag), limits)

    def scope_of(self, member: Member) -> str | None:
        """The scope of its provider's budget; None if there is none."""
        provider = member.to.provider.name
        return scope_of_provider(provider) if provider in self._settings.provider_budgets else None

    def account_of(self, id: str) -> str:
        """The account that holds a deployment's limits; deployments may share one."""
        return _account(self.members[id]) or id

    def rests(self, member: Member, until: float) -> None:
        """Note that the member is in cooldown until then, unless it is woken before."""
        self._resting[member.deployment.id] = member
        self._restless_until = max(self._restless_until, until)

    def resting(self, group: str, now: float) -> frozenset[str]:
        """Ids of a group's members in cooldown now.

        The cost grows with the number in cooldown, not with the size of the fleet.
        """
        if now >= self._restless_until:
            return frozenset()
        found = []
        for id, member in list(self._resting.items()):
            if not member.health.cooling(now):
                self._resting.pop(id, None)
            elif id in self.known[group]:
                found.append(id)
        return frozenset(found)

    def wake(self, members: Sequence[Member], now: float) -> None:
        """End the cooldowns of these members; one call will probe each."""
        for member in [member for member in members if member.health.cooling(now)]:
            woken(member.health)
            self._limiter.resume(member.deployment.id, now)

    def untried(self, group: str, tried: set[str], only: frozenset[str] | None, now: float) -> bool:
        """Whether an untried member is left that is not in cooldown.

        Waiting for a cooldown takes longer than trying the others again.
        """
        able = [member for member in self.served.get(group, ()) if only is None or member.deployment.id in only]
        awake = [member for member in able if not member.health.cooling(now)] or able
        return any(member.deployment.id not in tried for member in awake)

    def has_room(self, group: str, charge: Charge, members: Sequence[Member], now: float) -> bool:
        """Whether one of these members could take such a call at once."""
        return self._limiter.peek(Ask(group, charge, only=frozenset([one.deployment.id for one in members])), now).wait <= 0

    # ---- deployments -------------------------------------------------------------------------------------------------

    def set(self, model_list: Sequence[Mapping[str, Any]]) -> None:
        self._adopt(self._read(model_list, self._settings))

    def use(self, settings: Settings, model_list: Sequence[Mapping[str, Any]] | None) -> None:
        """Use other settings.

        model_list: other deployments, None to keep the current ones. Raises before anything has changed.
        """
        deployments: Sequence[Deployment] = list(self.plan.deployments.values())
        if model_list is not None:
            deployments = self._read(model_list, settings)
        make_plan(deployments, aliases=settings.aliases, fallbacks=settings.fallbacks, joint=settings.ways.joint)
        before, self._settings, self._parallel = self._settings, settings, _parallel(settings)
        self._add_budgets(settings)
        anew = [getattr(settings, name) != getattr(before, name) for name in ("defaults", "ways", "parallel")]
        self._adopt(deployments, anew=any(anew))

    def _read(self, model_list: Sequence[Mapping[str, Any]], settings: Settings) -> list[Deployment]:
        found = read_deployments(model_list, os.environ, lenient=settings.lenient)
        return [one for one in found if self._works(one)] if settings.lenient else found

    def _works(self, deployment: Deployment) -> bool:
        """Whether the deployment can be called; if not, logs the reason."""
        try:
            self._place(self._member(self._with_defaults(deployment)))
        except ConfigurationError as error:
            warn(f"left out of the Router: {error}")
            return False
        return True

    def add(self, deployment: Mapping[str, Any]) -> Deployment:
        added = read_deployment(deployment, "deployment", os.environ, taken=self.members)
        self._adopt([*self.plan.deployments.values(), added], growing=True)
        return added

    def upsert(self, deployment: Mapping[str, Any]) -> Deployment:
        others = [other for other in self.plan.deployments.values() if other.id != own_id(deployment)]
        put = read_deployment(deployment, "deployment", os.environ, taken=[other.id for other in others])
        self._adopt([*others, put], growing=True)
        return put

    def delete(self, id: str) -> Deployment | None:
        gone = self.plan.deployments.get(id)
        if gone is not None:
            self._adopt([other for other in self.plan.deployments.values() if other.id != id])
        return gone

    def serving(self, model: str | None) -> Sequence[Deployment]:
        """The deployments behind a group, an alias or a pattern; all of them for None."""
        if model is None:
            return tuple(self.plan.deployments.values())
        return self.plan.groups.get(self.plan.group_of(model) or "", ())

    def offering(self, operation: str, model: str | None) -> list[str]:
        """Ids of deployments whose provider offers an operation, one per account.

        model: a group, or the id of a deployment; None for all.
        """
        found: dict[str, str] = {}
        one = self.members.get(model or "")
        for member in [self.members[deployment.id] for deployment in self.serving(model)] or ([one] if one is not None else []):
            if operation in member.to.provider.offered and _has_bucket(member, operation):
                found.setdefault(member.to.credential, member.deployment.id)
        return list(found.values())

    def concerned(self, member: Member, kind: Kind) -> list[Member]:
        """The members that a failure applies to.

        The deployment alone, all with its key, or all that call the same model at the same address.
        """
        match POLICY[kind].cool:
            case "key":
                return [other for other in self.members.values() if other.to.credential == member.to.credential]
            case "model":
                place = (member.to.base_url, member.to.model)
                return [other for other in self.members.values() if (other.to.base_url, other.to.model) == place]
        return [member]

    def changed(self) -> None:
        self.stamp = object()

    def _adopt(self, deployments: Sequence[Deployment], *, anew: bool = False, growing: bool = False) -> None:
        """growing: more deployments may follow, which fallbacks may already name."""
        self.changed()
        settings = self._settings
        plan = make_plan(deployments, aliases=settings.aliases, fallbacks=settings.fallbacks, joint=settings.ways.joint, growing=growing)
        standing = [self._with_defaults(deployment) for deployment in deployments]
        members = {deployment.id: (None if anew else self._kept(deployment)) or self._member(deployment) for deployment in standing}
        gone = [id for id, member in self.members.items() if members.get(id) is not member]
        come = [self._place(member) for id, member in members.items() if self.members.get(id) is not member]
        self._limiter.swap(gone, come)
        self.members, self.plan = members, plan
        self.loads = {id: member.load for id, member in members.items()}
        self.served = {group: [members[deployment.id] for deployment in served] for group, served in plan.groups.items()}
        self.ids = {group: [deployment.id for deployment in served] for group, served in plan.groups.items()}
        self.known = {group: frozenset(ids) for group, ids in self.ids.items()}
        self._resting = {id: member for id, member in self._resting.items() if members.get(id) is member}
        self.tiered = {group for group, served in plan.groups.items() if len({plan.tier(group, one) for one in served}) > 1}
        self.particular = {group for group, served in plan.groups.items() if any(one.team or one.blocked for one in served)}
        self.capped = {group for group, served in self.served.items() if any(member.most_output for member in served)}
        self._find_prices()

    def _kept(self, deployment: Deployment) -> Member | None:
        """The current member for a deployment that has not changed."""
        known = self.members.get(deployment.id)
        return known if known is not None and known.deployment.same(deployment) else None

    def _with_defaults(self, deployment: Deployment) -> Deployment:
        """The deployment with the Router's `default_litellm_params` applied: call options and body parameters."""
        if not self._settings.defaults:
            return deployment
        ours = control_names()
        control: dict[str, Any] = {}
        body: dict[str, Any] = {}
        for name, value in self._settings.defaults.items():
            (control if name in ours else body)[name] = value
        return msgspec.structs.replace(deployment, control={**control, **deployment.control}, defaults={**body, **deployment.defaults})

    def _member(self, deployment: Deployment) -> Member:
        options = {name: deployment.control[name] for name in _STANDING if name in deployment.control}
        options |= {name: deployment.model_info[name] for name in _OF_THE_MODEL if name in deployment.model_info}
        try:
            # Where the whole model name is the caller's, the provider is not known yet: OpenAI's stands in for it.
            model = "openai/*" if deployment.model == "*" else deployment.model
            to = self._destination(model, deployment)
            if to.provider.base_url == PYTHON:  # a custom handler receives the address and the key as well
                options |= {name: deployment.control[name] for name in _FOR_HANDLERS if name in deployment.control}
            to = msgspec.structs.replace(to, defaults=deployment.defaults, options=options, deployment=deployment.id)
        except HeadraceError as error:
            raise ConfigurationError(f"deployment {deployment.group!r} ({deployment.model}): {error}") from error
        strategy = self._settings.ways.of(deployment.group).strategy
        share = strategy.share if isinstance(strategy, Latency) else SHARE
        load = Load(deployment.weight, rates=self._rates(deployment), share=share)
        return Member(deployment, to, deployment.price, most_output(deployment.defaults), load=load)

    def _destination(self, model: str, deployment: Deployment) -> Destination:
        try:
            return destination(model, deployment.control)
        except AuthenticationError as error:
            if not self._settings.keyless:
                raise
            warn(f"deployment {deployment.group!r}: {error.message}; until then its provider will refuse all calls")
            return destination(model, {**deployment.control, "api_key": NO_KEY})

    def _place(self, member: Member) -> Place:
        deployment = member.deployment
        place = Place(
            deployment.id,
            (deployment.group, *[name for name, group in self._settings.ways.joint.items() if deployment.group in group.models]),
            deployment.limits or self._parallel,
            accounting_of(deployment, member.to.provider.profile),
            _account(member),
            member.to.host,
        )
        blocked = place.never(Charge(input=1, max_output=1))
        if blocked is not None:
            raise _too_small(deployment, *blocked)
        return place

    # ---- prices and scopes -------------------------------------------------------------------------------------------

    def _rates(self, deployment: Deployment) -> Rates | None:
        """Its prices: looked up only for a strategy that uses them."""
        return deployment.known_price if self._settings.ways.uses(lowest_cost) else deployment.price

    def _find_prices(self) -> None:
        """Find which deployments have a price. The model catalogue is consulted only if a budget needs it."""
        for member in self.members.values() if self.budgets else ():
            member.price = member.price or member.deployment.known_price
        for member in self.members.values():
            if self.scope_of(member) in self.budgets and member.price is None:
                raise unpriced(f"provider_budget_config[{member.to.provider.name!r}]", [member.deployment.model])
        self.priced = {group for group, served in self.served.items() if any(member.price is not None for member in served)}

    def add_scope(self, name: str, limits: Mapping[str, Any]) -> None:
        found = limits_of_scope(name, limits)
        self.changed()
        self._limiter.add_scope(name, found)
        self.budgets.discard(name)
        if any(limit.unit is Unit.MONEY for limit in found):
            self.budgets.add(name)
            self._find_prices()

    def remove_scope(self, name: str) -> None:
        self.changed()
        self.budgets.discard(name)
        self._limiter.remove_scope(name)


_STANDING: Final = (
    "drop_params", "extra_body", "extra_query", "api_version", "fetch_media", "mock_response", "cache_control_injection_points",
    *StorageOptions.__annotations__,
)  # fmt: skip


_OF_THE_MODEL: Final = ("max_output_tokens", "base_model")
"""What `model_info` may say of a model that the catalog does not know by its name."""


def _has_bucket(member: Member, operation: str) -> bool:
    """Whether the provider has a place to store objects of this operation: a cloud's files need the user's own bucket."""
    form = member.to.provider.forms.get(operation, "")
    if operation != "files" or form not in BUCKETS:
        return True
    return any(member.to.options.get(name) or first_set(variables, os.environ) for name, variables in BUCKETS[form].items())


def _account(member: Member) -> str | None:
    return member.deployment.quota_group or member.to.account


def _parallel(settings: Settings) -> tuple[Limit, ...]:
    most = settings.parallel
    return () if most is None else (Limit(Unit.IN_FLIGHT, most, 0.0, "default_max_parallel_requests"),)


def _too_small(deployment: Deployment, meter: Meter, cost: float) -> ConfigurationError:
    limit = meter.limit
    return ConfigurationError(
        f"deployment {deployment.group!r} ({deployment.model}): {limit.label} is smaller than one request: the smallest takes "
        f"{cost:.0f} {limit.unit.value}, and {min(limit.amount, meter.capacity):g} are allowed at once. Raise it, or leave it out"
    )


def accounting_of(deployment: Deployment, provider: str) -> Profile:
    """The accounting profile of the deployment's provider, with what its configuration overrides."""
    given = deployment.profile
    return override(profile_of(provider), given) if isinstance(given, Mapping) else profile_of(given or provider)
