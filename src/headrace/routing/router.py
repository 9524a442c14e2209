"""Many deployments behind one name. The loop in `_in_group` is the whole story of a call: reserve, attempt, settle, decide."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar, Final, TypeAlias, Unpack

import msgspec
from msgspec import Struct

from headrace.bridge import complete
from headrace.calls import (
    CHAT,
    DEFAULT_TIMEOUT,
    EMBEDDINGS,
    EMPTY,
    Call,
    CloudOptions,
    Operation,
    continued,
    prepare,
    shape,
    timeouts_of,
    whole_number,
)
from headrace.continuing import Continuing
from headrace.core import bound, fetch, open_stream, requests_for, retries_of
from headrace.destinations import Destination, destination
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, BadRequestError, ConfigurationError, Failure, HeadraceError, Kind
from headrace.layers.around import Handler, RouterLayer, around
from headrace.limits import (
    Ask,
    Availability,
    Charge,
    Limit,
    Limiter,
    LimiterSettings,
    Place,
    Profile,
    Reservation,
    Unit,
    Used,
    override,
    profile_of,
)
from headrace.limits.money import PROMPT_DOUBT
from headrace.limits.store import Store
from headrace.models.cost import Rates, bill_of
from headrace.models.tokens import estimate_encoded
from headrace.ports import Ports, Worlds
from headrace.routing.affinity import Affinity, prefixes, session, session_of
from headrace.routing.decide import Fail, Fallback, NextDeployment, RetryHere, Step, decide
from headrace.routing.events import Event, EventKind, listening, log_settled, tell
from headrace.routing.face import Face
from headrace.routing.fallbacks import NO_FALLBACKS
from headrace.routing.filters import Wants, can_continue, fitting, wants_of
from headrace.routing.health import Health, failed, succeeded
from headrace.routing.options import RouterOptions, Settings, read_options, seconds
from headrace.routing.plan import Deployment, Plan, make_plan, own_id, read_deployment, read_deployments, resolved, star_of
from headrace.routing.retries import RetryBudget
from headrace.routing.scopes import ScopeLimits, limits_of_scope, scope_names, unpriced
from headrace.routing.speaking import Speaking
from headrace.routing.strategies import Load, Prefer, View, lowest_cost
from headrace.streams import AsyncStream, Chunks, Stream
from headrace.wire import Timeouts

DEFAULT_MAX_OUTPUT: Final = 1024
"""Output tokens a call without max_tokens is reserved for, until its deployment has shown what it really writes."""


class _Member(Struct, eq=False):
    """A deployment at work."""

    deployment: Deployment
    to: Destination
    price: Rates | None
    """What it costs, as far as anybody has to know."""
    health: Health = msgspec.field(default_factory=Health)
    load: Load = msgspec.field(default_factory=Load)


class _Attempt(Struct, eq=False):
    """One attempt under way, settled exactly once."""

    member: _Member
    reservation: Reservation
    charge: Charge
    call: Call
    began: float
    ask: Ask
    record: dict[str, Any] = msgspec.field(default_factory=dict)
    """How it came about, as its caller reads it."""


class _Trail(Struct, eq=False):
    """What a call has been through, and what stands before it."""

    asked: list[str]
    """Groups, in order."""
    given: Sequence[str]
    """Groups that the caller wants asked before the configured ones."""
    ends_at: float
    """Clock seconds."""
    number: int
    """By which its events name the call."""
    bound: bool = False
    """Whether only one deployment can answer."""
    star: str = ""
    """What of the model's name stands for the `*` of its group."""
    ahead: list[str] = []
    """Groups that stood behind an earlier one and may still be asked, the next one first."""
    errors: list[HeadraceError] = []
    only: frozenset[str] | None = None
    """Deployments that can go on from a begun answer, once there is one."""
    continued: int | None = None
    """Characters of the answer that another deployment had given."""
    retries: int = 0
    """Attempts beyond the first that count against the budget."""
    waited: float = 0.0
    """Seconds in line, over all its attempts."""

    def behind(self, plan: Plan, group: str, kind: Kind) -> list[str]:
        """Groups to ask after a failure of that kind in `group`, the next one first."""
        if self.bound:
            return []
        names = (*self.given, *plan.fallbacks.behind(group, kind), *self.ahead)
        groups = dict.fromkeys([plan.group_of(name) or name for name in names])
        left = plan.fallbacks.most + 1 - len(self.asked)
        return [name for name in groups if name not in self.asked][: max(0, left)]

    def fall_back(self, plan: Plan) -> str:
        """On to the next group."""
        group, *self.ahead = self.behind(plan, self.asked[-1], self.errors[-1].failure.kind)
        self.asked.append(group)
        return group


_NUMBERS: Final = count(1)

Choose: TypeAlias = Callable[[Ports, Call, str], Awaitable[str | None]]
"""A strategy of the user's own: the id of the deployment it wants for a call to a group."""


class Router(Face, Speaking):
    """Calls by model group: limits kept before anything is sent, load spread, failures taken elsewhere.

    Not built directly: `headrace.Router` supplies the worlds it runs in.
    """

    worlds: ClassVar[Worlds]
    stores: ClassVar[Callable[..., Store]]
    """Opens the store at an address: `url`, `host`, `port`, `password`, `db`."""
    caches: ClassVar[Callable[..., RouterLayer]]
    """Makes the `headrace.Cache` of `cache_kwargs`."""

    def __init__(
        self,
        model_list: Sequence[Mapping[str, Any]] = (),
        *,
        worlds: Worlds | None = None,
        **options: Unpack[RouterOptions],
    ) -> None:
        self._worlds = worlds or type(self).worlds
        self._settings = settings = read_options(options)
        self._on_event = settings.on_event
        queue = LimiterSettings() if settings.max_queue is None else LimiterSettings(max_queue=settings.max_queue)
        make = Limiter if not settings.store else _sharing(type(self).stores, settings.store)
        self._limiter = make(settings=queue, on_queued=self._queued)
        self._budget = None if settings.retry_budget is None else RetryBudget(settings.retry_budget)
        self._custom: Choose | None = None
        parallel = settings.parallel
        self._parallel = () if parallel is None else (Limit(Unit.IN_FLIGHT, parallel, 0.0, "default_max_parallel_requests"),)
        self._affinity = Affinity(settings.affinity_seconds)
        self._members: dict[str, _Member] = {}
        self._plan = Plan({}, {}, {}, NO_FALLBACKS)
        self._loads: dict[str, Load] = {}
        self._served: dict[str, Sequence[_Member]] = {}
        """The members of each group."""
        self._tiered: set[str] = set()
        """Groups whose members are not all of one tier."""
        self._particular: set[str] = set()
        """Groups with members that are not for everybody."""
        self._priced: set[str] = set()
        """Groups with members whose price is known."""
        self._budgets: set[str] = set()
        """Scopes that count money."""
        self._layers: tuple[RouterLayer, ...] = _layers(settings, type(self))
        """What stands around every call, the innermost first."""
        self.set_model_list(model_list)

    async def _suspending(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        call = prepare(operation, model, prompt, stream, options, place)
        answer = await around(self._answer, routed=True)(self._worlds.suspending(), call)
        return AsyncStream(answer) if stream else answer

    def _blocking(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        call = prepare(operation, model, prompt, stream, options, place)
        answer = complete(around(self._answer, routed=True)(self._worlds.blocking(), call))
        return Stream(answer) if stream else answer

    async def acall(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        *,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str] = EMPTY,
        deployment: str = "",
    ) -> Any:
        """One call of any operation: what the gateway makes of a request. options: of the call and of the body, as they were sent.

        deployment: the id of the only one that can answer, for what a provider keeps; empty for any.
        """
        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment = deployment
        answer = await around(self._answer, routed=True)(self._worlds.suspending(), call)
        return AsyncStream(answer) if stream else answer

    def offering(self, operation: Operation, model: str | None = None) -> list[str]:
        """Ids of deployments whose provider is known to offer an operation, of one group or of all, each account once."""
        found: dict[str, str] = {}
        for member in [self._members[deployment.id] for deployment in self._serving(model)]:
            if operation.name in member.to.provider.offered:
                found.setdefault(member.to.credential, member.deployment.id)
        return list(found.values())

    def serves(self, model: str) -> bool:
        """Whether a group, an alias or a pattern answers to the name."""
        return self._plan.group_of(model) is not None

    # ---- what stands around a call -----------------------------------------------------------------------------------

    def _answer(self, ports: Ports, call: Call) -> Coroutine[Any, Any, Any]:
        """A call through all layers, the outermost first."""
        handler: Handler = self._call
        for layer in self._layers:
            handler = partial(layer.answer, handler, self._known_as)
        return handler(ports, call)

    def _known_as(self, call: Call) -> str:
        """What a call's model is known by in the cache: by one name, whatever its aliases."""
        name = self._plan.aliases.get(call.model, call.model)
        return self._settings.cached_as.get(name, name)

    # ---- the way of a call -------------------------------------------------------------------------------------------

    async def _call(self, ports: Ports, call: Call) -> Any:
        plan, call = self._plan, bound(call)
        group = self._keeper(call) if call.deployment else plan.group_of(call.model)
        if group is None:
            raise BadRequestError(f"no deployment serves {call.model!r}; model groups: {', '.join(map(repr, plan.groups))}", call.model)
        given, ends_at = _names(call.control.get("fallbacks")), self._ends_at(ports, call)
        trail = _Trail([group], given, ends_at, next(_NUMBERS), bound=bool(call.deployment))
        if self._budget is not None:
            self._budget.called()
        while True:
            answer = await self._in_group(ports, call, group, trail)
            if answer is not None:
                return self._lasting(ports, call, answer, trail) if call.stream else answer
            group = trail.fall_back(plan)

    def _keeper(self, call: Call) -> str:
        """The group of the deployment that keeps what the call asks for."""
        deployment = self._plan.deployments.get(call.deployment)
        if deployment is None:
            raise BadRequestError("what is asked for is kept by a deployment that this Router no longer has", call.model)
        return deployment.group

    def _ends_at(self, ports: Ports, call: Call) -> float:
        """When the whole call must be over, its waiting and all its attempts included."""
        total = call.control.get("total_timeout")
        return math.inf if total is None else ports.clock.now() + seconds("total_timeout", total)

    def _lasting(self, ports: Ports, call: Call, chunks: Chunks[Any], trail: _Trail) -> Any:
        """A stream that is continued elsewhere when it breaks off, if that makes sense for the call."""
        if not self._settings.continues or call.operation is not CHAT or (call.body.get("n") or 1) != 1:
            return chunks
        return Continuing(chunks, lambda said, error: self._go_on(ports, call, said, error, trail))

    async def _go_on(self, ports: Ports, call: Call, said: str, error: HeadraceError, trail: _Trail) -> Chunks[Any] | None:
        """The rest of an answer that broke off after `said`; None where nobody can go on from there."""
        trail.errors.append(error)
        if not POLICY[error.failure.kind].elsewhere or (self._budget is not None and not self._budget.take()):
            return None
        trail.retries += 1
        trail.continued = len(said)
        group, now = trail.asked[-1], ports.clock.now()
        for name in (group, *trail.behind(self._plan, group, error.failure.kind)):
            able = [member for member in self._served.get(name, ()) if can_continue(member.deployment) and not member.health.cooling(now)]
            for mark in dict.fromkeys([member.to.provider.prefill for member in able]):
                trail.only = frozenset([member.deployment.id for member in able if member.to.provider.prefill == mark])
                answer: Chunks[Any] | None = await self._in_group(ports, continued(call, said, mark), name, trail)
                if answer is not None:
                    return answer
        return None

    async def _in_group(self, ports: Ports, call: Call, group: str, trail: _Trail) -> Any:
        """The answer; None when the next group should be asked, for the reason that ends `trail`."""
        tried: set[str] = set()
        attempt = 0
        while True:
            lease: _Attempt | None = None
            try:
                lease = await self._reserve(ports, call, group, tried, trail)
                answer = await self._attempt(ports, call, lease, trail)
            except HeadraceError as error:
                attempt += 1
                trail.errors.append(error)
                if lease is not None:
                    tried.add(lease.member.deployment.id)
                # Without a lease it was our own queue that refused, for every deployment it could have gone to.
                others = lease is not None and not trail.bound and self._untried(group, tried, trail.only)
                match self._next(ports, call, group, error.failure, attempt, others, trail):
                    case NextDeployment():
                        continue
                    case RetryHere(after=pause):
                        tried.clear()
                        if pause > 0:
                            await ports.clock.sleep(pause)
                    case Fallback():
                        return None
                    case _:
                        raise
            else:
                if trail.retries and self._budget is not None:
                    self._budget.helped(trail.retries)
                return answer

    def _untried(self, group: str, tried: set[str], only: frozenset[str] | None) -> bool:
        ids = {deployment.id for deployment in self._plan.groups.get(group, ())}
        return bool((ids if only is None else ids & only) - tried)

    def _next(self, ports: Ports, call: Call, group: str, failure: Failure, attempt: int, others: bool, trail: _Trail) -> Step:
        policy = self._settings.retries_for(group)
        behind = trail.behind(self._plan, group, failure.kind)
        step = decide(
            failure,
            attempt,
            others=others,
            fallback=bool(behind),
            policy=msgspec.structs.replace(policy, retries=retries_of(call.control, policy.retries)),
            jitter=ports.random(),
            queued=True,
            time_left=trail.ends_at - ports.clock.now(),
        )
        if not isinstance(step, NextDeployment | RetryHere) or failure.kind is Kind.RATE_LIMIT:
            return step
        if self._budget is not None and not self._budget.take():
            return Fallback() if behind else Fail()
        trail.retries += 1
        return step

    async def _reserve(self, ports: Ports, call: Call, group: str, tried: set[str], trail: _Trail) -> _Attempt:
        while True:
            ask = await self._ask(ports, call, group, tried, trail)
            began = ports.clock.now()
            try:
                reservation = await self._limiter.reserve(ask, ports.clock)
            except BaseException as error:
                self._refused(ask, trail, error, began, ports.clock.now())
                raise
            trail.waited += reservation.waited
            now = ports.clock.now()
            member = self._members.get(reservation.deployment)
            if member is not None:
                self._sent(member, ask, trail, now)
                return _Attempt(member, reservation, reservation.charge, call, now, ask, self._record(member, reservation, ask, trail))
            self._limiter.release(reservation, now)  # the configuration was swapped in this very moment

    def _sent(self, member: _Member, ask: Ask, trail: _Trail, now: float) -> None:
        member.load.running += 1
        if member.health.on_trial(now) and len(self._served.get(ask.group, ())) > 1:
            self._limiter.pause(member.deployment.id, now + self._settings.cooldown.probe, now)  # one call finds out for all
        if listening(self._on_event):
            tell(self._on_event, _event("sent", ask, now, member, waited=trail.waited))

    async def _ask(self, ports: Ports, call: Call, group: str, tried: set[str], trail: _Trail) -> Ask:
        now = ports.clock.now()
        charge = _charge(call)
        given = _routing(call.control, now, self._settings)
        only = frozenset([call.deployment]) if call.deployment else self._eligible(group, call, charge, tried, now)
        if trail.only is not None:
            only = trail.only if only is None else (only & trail.only or trail.only)
        elif self._custom is not None and not call.deployment:
            wanted = await self._custom(ports, call, group)
            only = only if wanted is None or (only is not None and wanted not in only) else frozenset([wanted])
        if self._budgets and not self._budgets.isdisjoint(given.get("scopes", ())):
            only = self._of_known_price(group, only)
        return Ask(
            group,
            charge,
            charges=self._own_charges(group, call, charge) if group in self._priced or call.operation is EMBEDDINGS else None,
            only=only,
            again=bool(trail.errors),
            call=trail.number,
            attempt=len(trail.errors) + 1,
            prefer=self._preference(ports, call, group, charge, now),
            deadline=None if (ends := min(given.pop("deadline", math.inf), trail.ends_at)) == math.inf else ends,
            **given,
        )

    def _preference(self, ports: Ports, call: Call, group: str, charge: Charge, now: float) -> Prefer | None:
        keys = self._affine(call, group)
        served = self._affinity.find(keys, now) if keys else None
        if served is not None:
            return lambda deployment: 0.0 if deployment == served else 1.0
        if self._settings.strategy is None:
            return None
        return self._settings.strategy(View(self._loads, ports.random, call.stream, charge.input, charge.max_output))

    def _affine(self, call: Call, group: str) -> list[int]:
        """What this call has in common with earlier ones, where the Router goes by that."""
        match self._settings.affinity:
            case "prefix" if call.operation is CHAT:
                return prefixes(group, call.prompt)
            case "session":
                name = session_of(call.control)
                return [] if name is None else session(group, name)
        return []

    def _own_charges(self, group: str, call: Call, charge: Charge) -> dict[str, Charge] | None:
        """What the call takes of deployments that differ: the most it can cost where prices are known, the requests it is sent in."""
        own = {}
        for member in self._served[group]:
            price, requests = member.price, requests_for(call, member.to.provider)
            if price is not None or requests > 1:
                money = 0 if price is None else price.most(int(charge.input * PROMPT_DOUBT), charge.max_output)
                own[member.deployment.id] = msgspec.structs.replace(charge, money=money, requests=requests)
        return own or None

    def _eligible(self, group: str, call: Call, charge: Charge, tried: set[str], now: float) -> frozenset[str] | None:
        """Deployments worth asking, None for all: for this call, not tried for it, not resting unless most are, first tier first."""
        members: Sequence[_Member] = self._served[group]
        if group in self._particular or self._settings.by_tags or self._settings.checks_window or "allowed_model_region" in call.control:
            members = self._fitting(members, wants_of(call.control, charge.input))
        elif len(members) == 1 or not (tried or group in self._tiered or any(member.health.until > now for member in members)):
            return None
        left = [member for member in members if member.deployment.id not in tried] or list(members)
        awake = [member for member in left if not member.health.cooling(now)]
        if not awake or len(awake) < self._settings.cooldown.panic * len(left):
            awake = left
        tier = min([member.deployment.order for member in awake])
        return frozenset([member.deployment.id for member in awake if member.deployment.order == tier])

    def _fitting(self, members: Sequence[_Member], wants: Wants) -> Sequence[_Member]:
        settings = self._settings
        deployments = [member.deployment for member in members]
        found = fitting(deployments, wants, by_tags=settings.by_tags, any_tag=settings.any_tag, window=settings.checks_window)
        return members if len(found) == len(members) else [member for member in members if member.deployment in found]

    def _of_known_price(self, group: str, only: frozenset[str] | None) -> frozenset[str]:
        """Where a call may go whose money is counted: what has no price would cost a budget nothing."""
        offered = [member for member in self._served[group] if only is None or member.deployment.id in only]
        known = frozenset([member.deployment.id for member in offered if member.price is not None])
        if not known:
            raise unpriced(group, {member.deployment.model for member in offered})
        return known

    async def _attempt(self, ports: Ports, call: Call, lease: _Attempt, trail: _Trail) -> Any:
        member = lease.member
        try:
            timeouts = self._time_limits(call, member.deployment, trail.ends_at - lease.began)
            to = self._destination(call, member)
            answer: Any = await (open_stream if call.stream else fetch)(ports, call, to, timeouts, lambda: self._leaving(ports, lease))
        except HeadraceError as error:
            self._settle_failed(ports, lease, error)
            raise
        except BaseException as error:
            self._settle(ports, lease, None, None, error)
            raise
        hidden = answer.hidden if call.stream else answer._hidden_params
        hidden["model_id"], hidden["model_group"] = member.deployment.id, member.deployment.group
        hidden["headrace"], hidden.rates = lease.record, member.price
        if call.stream:
            member.load.observe(ports.clock.now() - lease.began, stream=True)
            answer.when_over(lambda chunks, error: self._stream_over(ports, lease, chunks, error))
        else:
            member.load.observe(ports.clock.now() - lease.began, stream=False)
            self._worked(ports, lease)
            used = _used(hidden.usage, member.price)
            self._settle(ports, lease, used, hidden["additional_headers"])
        return answer

    def _leaving(self, ports: Ports, lease: _Attempt) -> None:
        self._limiter.leaves(lease.reservation, ports.clock.now())

    def _destination(self, call: Call, member: _Member) -> Destination:
        """Where the attempt goes: the deployment's own place, unless the caller names another, or the model is a part of its name."""
        deployment = member.deployment
        if "*" not in deployment.model and _ADDRESS.isdisjoint(call.control):
            return member.to
        model = deployment.model
        if "*" in model:
            name = self._plan.aliases.get(call.model, call.model)
            model = model.replace("*", star_of(deployment.group, name) or name)
        to = destination(model, {**deployment.control, **call.control})
        return msgspec.structs.replace(to, defaults=member.to.defaults, options=member.to.options, deployment=deployment.id)

    def _worked(self, ports: Ports, lease: _Attempt) -> None:
        """A success: whoever was on trial is trusted again, and the conversation is where it was answered."""
        member, now = lease.member, ports.clock.now()
        if member.health.rests:
            self._limiter.resume(member.deployment.id, now)
        succeeded(member.health)
        keys = self._affine(lease.call, member.deployment.group)
        if keys:
            self._affinity.remember(keys, member.deployment.id, now)

    def _time_limits(self, call: Call, deployment: Deployment, left: float) -> Timeouts:
        limits = timeouts_of(self._time_limit(call, deployment), call.stream)
        if left == math.inf or (limits.total is not None and limits.total <= left):
            return limits
        return msgspec.structs.replace(limits, total=max(left, 1e-3))

    def _time_limit(self, call: Call, deployment: Deployment) -> Any:
        for given in (call.control, deployment.control):
            if call.stream and given.get("stream_timeout") is not None:
                return given["stream_timeout"]
            if given.get("timeout") is not None:
                return given["timeout"]
        settings = self._settings
        if call.stream and settings.stream_timeout is not None:
            return settings.stream_timeout
        return DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout

    # ---- endings -----------------------------------------------------------------------------------------------------

    def _settle(
        self, ports: Ports, lease: _Attempt, used: Used | None, headers: Mapping[str, str] | None, left: BaseException | None = None
    ) -> None:
        """left: what the caller left with, before the end."""
        lease.member.load.running -= 1
        view, now = read_quota(headers, family=lease.member.to.provider.quota) if headers else (), ports.clock.now()
        self._limiter.settle(lease.reservation, used=used, view=view, now=now)
        self._over(lease, used, left, now)

    def _settle_failed(self, ports: Ports, lease: _Attempt, error: HeadraceError) -> None:
        member, failure, now = lease.member, error.failure, ports.clock.now()
        member.load.running -= 1
        view = read_quota(failure.headers, family=member.to.provider.quota) if failure.headers else ()
        self._limiter.settle(lease.reservation, used=None, sent=failure.sent, failure=failure, view=view, now=now)
        self._over(lease, None, error, now)
        if len(self._plan.groups.get(member.deployment.group, ())) > 1:
            for other in self._concerned(member, failure.kind):
                rest = failed(other.health, failure, now, self._settings.cooldown, other.deployment.cooldown)
                if rest is not None:
                    self._limiter.pause(other.deployment.id, now + rest, now)

    def _concerned(self, member: _Member, kind: Kind) -> list[_Member]:
        """Whom a failure tells of: the deployment alone, all with its key, or all that ask the same model at the same place."""
        match POLICY[kind].cool:
            case "key":
                return [other for other in self._members.values() if other.to.credential == member.to.credential]
            case "model":
                place = (member.to.base_url, member.to.model)
                return [other for other in self._members.values() if (other.to.base_url, other.to.model) == place]
        return [member]

    def _stream_over(self, ports: Ports, lease: _Attempt, chunks: Chunks[Any], error: BaseException | None) -> None:
        if isinstance(error, HeadraceError):
            self._settle_failed(ports, lease, error)
            return
        if error is None:
            self._worked(ports, lease)
        counted = {"prompt_tokens": lease.charge.input, "completion_tokens": chunks.count}
        used = _used(chunks.usage or counted, lease.member.price)  # a chunk is about a token, for want of a better word
        self._settle(ports, lease, used, chunks.hidden["additional_headers"], error)

    def _record(self, member: _Member, reservation: Reservation, ask: Ask, trail: _Trail) -> dict[str, Any]:
        """The decision record: which deployment, after what wait, what bound, what failed before. `settled` follows."""
        return {
            "deployment": member.deployment.id,
            "waited": trail.waited,
            "binding": reservation.binding,
            "candidates": reservation.decided,
            "scopes": ask.scopes,
            "reserved": reservation.charge,
            "settled": None,
            "continued": trail.continued,
            "failed": [(error.failure.kind.value, error.model) for error in trail.errors],
        }

    def _queued(self, ask: Ask, now: float, look: Callable[[], Availability]) -> None:
        if listening(self._on_event):
            tell(self._on_event, _event("queued", ask, now, availability=look()))

    def _refused(self, ask: Ask, trail: _Trail, error: BaseException, began: float, now: float) -> None:
        trail.waited += now - began
        if listening(self._on_event):
            tell(self._on_event, _event("refused", ask, now, waited=trail.waited, error=error))

    def _over(self, lease: _Attempt, used: Used | None, error: BaseException | None, now: float) -> None:
        """The call has ended: its record is complete."""
        record = lease.record
        record["settled"] = used
        log_settled(record, lease.ask.group, error)
        if listening(self._on_event):
            tell(self._on_event, _event("settled", lease.ask, now, lease.member, waited=record["waited"], record=record, error=error))

    def set_custom_routing_strategy(self, custom: Any) -> None:
        """An object with litellm's `get_available_deployment` and `async_get_available_deployment`, each given `model`, `messages`, `input`
        and `request_kwargs`, and giving the entry of `model_list` that should serve the call, or its id; None leaves it to the Router."""
        for name in ("get_available_deployment", "async_get_available_deployment"):
            if not callable(getattr(custom, name, None)):
                raise ConfigurationError(f"a custom routing strategy needs a method {name}, got {shape(custom)}")
        self._custom = _custom(custom)

    # ---- deployments -------------------------------------------------------------------------------------------------

    def set_model_list(self, model_list: Sequence[Mapping[str, Any]]) -> None:
        """Swap the whole configuration. Calls under way end where they are; queued ones see the new deployments."""
        self._adopt(read_deployments(model_list, os.environ, lenient=self._settings.lenient))

    def add_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Add one entry of a model_list. Raises ConfigurationError when it cannot work."""
        added = read_deployment(deployment, "deployment", os.environ, taken=self._members)
        self._adopt([*self._plan.deployments.values(), added])
        return added

    def upsert_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Put a deployment in the place of the one with the same `model_info.id`; add it where there is none."""
        others = [other for other in self._plan.deployments.values() if other.id != own_id(deployment)]
        put = read_deployment(deployment, "deployment", os.environ, taken=[other.id for other in others])
        self._adopt([*others, put])
        return put

    def delete_deployment(self, id: str) -> Deployment | None:
        """Take a deployment out. None when there is none with this id."""
        gone = self._plan.deployments.get(id)
        if gone is not None:
            self._adopt([other for other in self._plan.deployments.values() if other.id != id])
        return gone

    def get_deployment(self, model_id: str) -> Deployment | None:
        return self._plan.deployments.get(model_id)

    def get_model_names(self) -> list[str]:
        """Model groups and their aliases, but for the hidden ones."""
        return [*self._plan.groups, *(alias for alias in self._plan.aliases if alias not in self._plan.hidden)]

    def get_model_ids(self, model_name: str | None = None) -> list[str]:
        return [deployment.id for deployment in self._serving(model_name)]

    def get_model_list(self, model_name: str | None = None) -> list[dict[str, Any]]:
        """The entries as they were configured, with their ids; of one group, or of an alias."""
        return [{**deployment.given, "model_info": deployment.model_info} for deployment in self._serving(model_name)]

    def get_deployment_by_model_group_name(self, model_group_name: str) -> Deployment | None:
        """The first of a group; None when there is no such group."""
        return next(iter(self._serving(model_group_name)), None)

    def _serving(self, model: str | None) -> Sequence[Deployment]:
        if model is None:
            return tuple(self._plan.deployments.values())
        return self._plan.groups.get(self._plan.group_of(model) or "", ())

    @property
    def model_list(self) -> list[Mapping[str, Any]]:
        """The entries as they were configured."""
        return [deployment.given for deployment in self._plan.deployments.values()]

    def _adopt(self, deployments: Sequence[Deployment]) -> None:
        plan = make_plan(deployments, aliases=self._settings.aliases, fallbacks=self._settings.fallbacks)
        members = {deployment.id: self._kept(deployment) or self._member(deployment) for deployment in deployments}
        gone = [id for id, member in self._members.items() if members.get(id) is not member]
        come = [self._place(member) for id, member in members.items() if self._members.get(id) is not member]
        self._limiter.swap(gone, come)
        self._members, self._plan = members, plan
        self._loads = {id: member.load for id, member in members.items()}
        self._served = {group: [members[deployment.id] for deployment in served] for group, served in plan.groups.items()}
        self._tiered = {group for group, served in plan.groups.items() if len({deployment.order for deployment in served}) > 1}
        self._particular = {group for group, served in plan.groups.items() if any(one.team for one in served)}
        self._find_prices()

    def _find_prices(self) -> None:
        """Which deployments have a price. The catalogue is asked only where a budget has to know."""
        for member in self._members.values() if self._budgets else ():
            member.price = member.price or member.deployment.known_price
        self._priced = {group for group, served in self._served.items() if any(member.price is not None for member in served)}

    def _kept(self, deployment: Deployment) -> _Member | None:
        """The member at work for a deployment that is the same as before."""
        known = self._members.get(deployment.id)
        return known if known is not None and known.deployment.same(deployment) else None

    def _member(self, deployment: Deployment) -> _Member:
        defaults = {**self._settings.defaults, **deployment.defaults}
        options = {name: deployment.control[name] for name in _STANDING if name in deployment.control}
        try:
            # Where the whole name is the caller's, nobody knows the provider yet: OpenAI's stands in for it.
            model = "openai/*" if deployment.model == "*" else deployment.model
            to = destination(model, deployment.control)
            to = msgspec.structs.replace(to, defaults=defaults, options=options, deployment=deployment.id)
        except HeadraceError as error:
            raise ConfigurationError(f"deployment {deployment.group!r} ({deployment.model}): {error}") from error
        return _Member(deployment, to, deployment.price, load=Load(weight=deployment.weight, rates=self._rates(deployment)))

    def _rates(self, deployment: Deployment) -> Rates | None:
        """Its prices: looked up only for a strategy that goes by them."""
        return deployment.known_price if self._settings.strategy is lowest_cost else deployment.price

    def _place(self, member: _Member) -> Place:
        deployment = member.deployment
        return Place(
            deployment.id,
            (deployment.group,),
            deployment.limits or self._parallel,
            _profile(deployment, member.to.provider.profile),
            deployment.quota_group or member.to.account,
        )

    # ---- limits of one's own -----------------------------------------------------------------------------------------

    def add_scope(self, name: str, **limits: Unpack[ScopeLimits]) -> None:
        """Limits of one's own (of a key, a team, everybody) for the calls that name them in `scopes`.

        Adding a scope again gives it other limits and keeps what was used. Raises ConfigurationError that names scope and limit.
        """
        found = limits_of_scope(name, limits)
        self._limiter.add_scope(name, found)
        self._budgets.discard(name)
        if any(limit.unit is Unit.MONEY for limit in found):
            self._budgets.add(name)
            self._find_prices()

    def remove_scope(self, name: str) -> None:
        """Forget these limits; calls that name them are refused from now on."""
        self._budgets.discard(name)
        self._limiter.remove_scope(name)

    # ---- looking -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Each deployment's and scope's use of its limits and each group's queue, now.

        `{"deployments": {id: …}, "scopes": {name: …}, "queues": {group: …}}`.
        """
        return self._limiter.snapshot(self._worlds.blocking().clock.now())

    def peek(
        self, model: str, *, input_tokens: int = 0, max_tokens: int = 0, tenant: str = "", priority: int = 1, scopes: Sequence[str] = ()
    ) -> Availability:
        """What a call of that size would find now: how many wait, how long it would, and which limit decides it."""
        group = self._plan.group_of(model) or model
        charge = Charge(input=input_tokens, max_output=max_tokens)
        ask = Ask(group, charge, tenant=tenant, priority=priority, scopes=scope_names(scopes))
        return self._limiter.peek(ask, self._worlds.blocking().clock.now())

    def __repr__(self) -> str:
        groups = ", ".join(f"{name!r} {len(members)}" for name, members in self._plan.groups.items())
        return f"<Router {groups}>"


def _layers(settings: Settings, router: type[Router]) -> tuple[RouterLayer, ...]:
    """The layers that the settings ask for, the innermost first: callers share what no cache has."""
    layers: list[RouterLayer] = []
    if settings.single_flight:
        from headrace.layers.single_flight import SingleFlight  # late: who shares no calls does not pay for it

        layers.append(SingleFlight())
    if settings.cache is not None:
        layers.append(settings.cache)
    elif settings.cache_arguments is not None:
        layers.append(router.caches(**{name: resolved(value, name, os.environ) for name, value in settings.cache_arguments.items()}))
    return tuple(layers)


def _sharing(stores: Callable[..., Store], given: Mapping[str, Any]) -> Callable[..., Limiter]:
    """A limiter that shares its limits through the store at that address."""
    from headrace.limits.shared import SharedLimiter  # late: who shares no limits does not pay for it

    address = {name: resolved(value, f"redis_{name}", os.environ) for name, value in given.items()}
    return partial(SharedLimiter, stores(**address))


_ADDRESS: Final = frozenset(CloudOptions.__annotations__) | {
    "api_key", "base_url", "api_base", "custom_llm_provider", "headers", "extra_headers", "organization",
}  # fmt: skip
"""Options of a call that change where it goes."""

_STANDING: Final = ("drop_params", "extra_body", "extra_query", "api_version", "fetch_media", "mock_response")


def _event(kind: EventKind, ask: Ask, now: float, member: _Member | None = None, **what: Any) -> Event:
    """An event of the attempt that `ask` began, of the deployment it came to."""
    if member is not None:
        what |= {"deployment": member.deployment.id, "provider": member.to.provider.name, "model": member.to.model}
    return Event(kind=kind, group=ask.group, call=ask.call, attempt=ask.attempt, at=now, tenant=ask.tenant, **what)


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


def _profile(deployment: Deployment, provider: str) -> Profile:
    """How the deployment's provider accounts, in the configuration's words where it has some."""
    given = deployment.profile
    return override(profile_of(provider), given) if isinstance(given, Mapping) else profile_of(given or provider)


def _charge(call: Call) -> Charge:
    most = 0 if call.operation.chunk is None else call.max_output or DEFAULT_MAX_OUTPUT
    return Charge(input=estimate_encoded(bytes(call.encoded), call.prompt), max_output=most)


def _routing(control: Mapping[str, Any], now: float, settings: Settings) -> dict[str, Any]:
    """What a caller said about his call's place in the line, else what stands for all."""
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


def _used(usage: Any, price: Rates | None) -> Used | None:
    """What the provider says was used; None when it says nothing."""
    if usage is None:
        return None
    money = 0 if price is None else price.of(bill_of(usage))
    details = usage.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if details is not None else 0) or 0
    input = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    return Used(input=input, output=usage.get("completion_tokens") or usage.get("output_tokens") or 0, cached=cached, money=money)


def _names(fallbacks: Any) -> Sequence[str]:
    """Fallbacks given with one call: a list of group names."""
    if fallbacks is None:
        return ()
    if not isinstance(fallbacks, Sequence) or isinstance(fallbacks, str) or not all(isinstance(name, str) for name in fallbacks):
        raise BadRequestError(f"fallbacks must be a list of model group names, got {shape(fallbacks)}")
    return fallbacks
