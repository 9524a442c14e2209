"""The loop behind a Router: `_in_group` is the whole story of a call: reserve, attempt, settle, decide."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from headrace.bridge import complete
from headrace.calls import CHAT, DEFAULT_TIMEOUT, EMPTY, Call, Operation, altered, continued, ends_at, prepare, timeouts_of, within
from headrace.continuing import Continuing
from headrace.core import bound, direct, fetch, open_stream, own_rates, policy_of
from headrace.destinations import Destination, destination
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, BadRequestError, ConfigurationError, Failure, HeadraceError, Kind
from headrace.layers.around import Handler, RouterLayer, around, check_session
from headrace.limits import Ask, Availability, Charge, Left, Limiter, LimiterSettings, Reservation, Used
from headrace.limits.store import Store
from headrace.objects import BinaryResponse
from headrace.options import CloudOptions
from headrace.ports import Ports, Worlds
from headrace.routing.asking import Asking
from headrace.routing.checks import Checks
from headrace.routing.decide import Fail, Fallback, NextDeployment, RetryHere, Step, decide
from headrace.routing.effort import without_other_efforts
from headrace.routing.events import Event, EventKind, be_verbose, listening, log_settled, tell
from headrace.routing.fallbacks import given_with
from headrace.routing.filters import can_continue
from headrace.routing.fleet import Fleet
from headrace.routing.health import failed, succeeded
from headrace.routing.hedging import Hedging
from headrace.routing.options import Settings, parameter_of, read_options
from headrace.routing.patterns import filled, stars_of
from headrace.routing.plan import Deployment, resolved
from headrace.routing.rehearsing import earnest, rehearsed
from headrace.routing.retries import RetryBudget
from headrace.routing.scopes import scope_names
from headrace.routing.trail import NUMBERS, Attempt, Failed, Held, Member, Over, Trail, used_of
from headrace.streams import AsyncStream, Chunks, Stream


class Engine:
    """Calls by model group: limits kept before anything is sent, load spread, failures taken elsewhere."""

    def __init__(
        self,
        options: Mapping[str, Any],
        worlds: Worlds,
        stores: Callable[..., Store],
        caches: Callable[..., RouterLayer],
    ) -> None:
        """options: `RouterOptions`. stores: opens the store at an address. caches: makes the cache of `cache_kwargs`."""
        self.worlds = worlds
        self.options = options
        """As they were given."""
        self.settings = settings = read_options(options)
        self._on_event = settings.on_event
        queue = LimiterSettings() if settings.max_queue is None else LimiterSettings(max_queue=settings.max_queue)
        make = Limiter if not settings.store else _sharing(stores, settings.store)
        self.limiter: Limiter = make(settings=queue, on_queued=self._queued, random=Random(worlds.random()))
        self._budget = None if settings.retry_budget is None else RetryBudget(settings.retry_budget)
        self._hedging = None if settings.hedge is None else Hedging(settings.hedge)
        self.fleet = Fleet(settings, self.limiter)
        self.asking = Asking(settings, self.fleet)
        self.checks = Checks(settings.checks, self.fleet, self._call)
        self._caches = caches
        self.layers: tuple[RouterLayer, ...] = _layers(settings, caches)
        """What stands around every call, the innermost first."""
        self.router: Any = None
        """Whose engine it is, for functions of the user's own that ask."""
        self._listen(settings.log_level)

    def use(self, options: Mapping[str, Any], model_list: Sequence[Mapping[str, Any]] | None) -> None:
        """Go by other options from the next call on. Raises ConfigurationError before anything has changed."""
        settings, before = read_options(options), self.settings
        if (settings.store, settings.max_queue) != (before.store, before.max_queue):
            raise ConfigurationError("redis_url and its like and max_queue cannot change while a Router runs: start it anew")
        self.fleet.use(settings, model_list)
        self.asking.follow(settings)
        if any(getattr(settings, name) != getattr(before, name) for name in ("single_flight", "cache", "cache_arguments")):
            self.layers = _layers(settings, self._caches)
        if settings.retry_budget != before.retry_budget:
            self._budget = None if settings.retry_budget is None else RetryBudget(settings.retry_budget)
        if settings.checks != before.checks:
            self.checks.close()
            self.checks = Checks(settings.checks, self.fleet, self._call)
        if settings.hedge != before.hedge:
            self._hedging = None if settings.hedge is None else Hedging(settings.hedge)
        self.options, self.settings, self._on_event = options, settings, settings.on_event
        self._listen(settings.log_level)

    def parameter(self, name: str) -> Any:
        """One of its options as it stands."""
        return parameter_of(self.options, name)

    def _listen(self, level: str | None) -> None:
        """At which level the log tells of every call."""
        self.log_level = 10 if level is None else 20
        if level is not None:
            be_verbose(level)

    async def suspending(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str] = EMPTY,
        deployment: str = "",
    ) -> Any:
        """One call of any operation, for whoever awaits it. deployment: the id of the only one that can answer; empty for any."""
        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment = deployment
        answer = await around(self._answer, routed=True)(self.worlds.suspending(), call)
        return AsyncStream(answer) if stream else answer

    async def in_bytes(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str],
        deployment: str,
        before: Failed | None,
    ) -> AsyncStream[bytes] | BinaryResponse:
        """The same for whoever takes bytes. Layers may have made objects of them on the way."""
        from headrace.passing import Spelled, in_bytes  # late: gateways alone take bytes

        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment, call.raw, call.before = deployment, True, before
        answer: Any = await around(self._answer, routed=True)(self.worlds.suspending(), call)
        if not stream:
            return in_bytes(answer)
        # What has no chunks of its own is bytes, whatever layers have asked for.
        pieces: Any = answer if operation.chunk is None or getattr(answer, "raw", False) else Spelled(answer, operation.spelling)
        return AsyncStream(pieces)

    def blocking(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str] = EMPTY,
        deployment: str = "",
    ) -> Any:
        """The same in the calling thread."""
        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment = deployment
        answer = complete(around(self._answer, routed=True)(self.worlds.blocking(), call))
        return Stream(answer) if stream else answer

    # ---- what stands around a call -----------------------------------------------------------------------------------

    def _answer(self, ports: Ports, call: Call) -> Coroutine[Any, Any, Any]:
        """A call through all layers, the outermost first."""
        handler: Handler = self._call
        for layer in self.layers:
            handler = partial(layer.answer, handler, self._known_as)
        return handler(ports, call)

    def _known_as(self, call: Call) -> str:
        """What a call's model is known by in the cache: by one name, whatever its aliases."""
        name = self.fleet.plan.aliases.get(call.model, call.model)
        return self.settings.cached_as.get(name, name)

    # ---- the way of a call -------------------------------------------------------------------------------------------

    async def _call(self, ports: Ports, call: Call) -> Any:
        plan, call = self.fleet.plan, bound(call)
        if not call.deployment and plan.group_of(call.model) is None:
            if self.settings.passes_through:
                return await direct(ports, call)
            call.deployment = call.model if call.model in plan.deployments else ""
        group, lost = self._group_or_loss(call)
        given = given_with(call)
        ends = ends_at(call.control, ports.clock.now())
        trail = Trail(
            [group if call.deployment else plan.step(call.model)], list(given), ends, next(NUMBERS),
            called=call.model, bound=bool(call.deployment), before=call.before,
        )  # fmt: skip
        if call.before is None:
            self.called(ports)
        call.lasts = call.stream and self._lasts(call)
        if (failed := lost or rehearsed(call)) is not None:
            trail.errors.append(failed)
            call, group = self._at(call, await self._fall_back(call, trail), given)
        while True:
            answer = await self._in_group(ports, call, group, trail)
            if answer is not None:
                return self._lasting(ports, call, answer, trail) if call.lasts else answer
            call, group = self._at(call, await self._fall_back(call, trail), given)

    def _at(self, call: Call, name: str, given: Mapping[str, Mapping[str, Any]] = EMPTY) -> tuple[Call, str]:  # type: ignore[assignment]
        """The call as it goes on to a group, to a name that a pattern stands for or to one deployment: with what its caller changed for
        it, and the group."""
        plan, call = self.fleet.plan, earnest(call)
        group, only = plan.place_of(name)
        call = msgspec.structs.replace(call, deployment=only)
        if options := given.get(name):
            call = altered(call, options)
        return msgspec.structs.replace(call, model=name) if group in plan.patterns else call, group

    def called(self, ports: Ports) -> None:
        """One more call has come."""
        if self.settings.checks.interval is not None:
            self.checks.keep_watch(ports)
        if self._budget is not None:
            self._budget.called()
        if self._hedging is not None:
            self._hedging.called()

    @property
    def plain(self) -> bool:
        """Whether there is nothing around a call and beside it but its attempts."""
        settings = self.settings
        more = self.layers or self._hedging is not None or settings.on_event is not None
        return not (more or settings.provider_budgets or settings.tag_budgets)

    async def _fall_back(self, call: Call, trail: Trail) -> str:
        """The next group that the call may go to. Raises its last error where there is none."""
        plan, error = self.fleet.plan, trail.errors[-1]
        while behind := trail.behind(plan, trail.asked[-1], error.failure.kind):
            if await self._may_go(call, behind[0]):
                return trail.fall_back(plan)
            trail.refused.add(behind[0])
        raise error

    async def _may_go(self, call: Call, group: str) -> bool:
        """Whether the user's own checks let a call fall back to that group."""
        for check in self.settings.may_fall_back:
            allowed: Any = check(model=group, request_kwargs=call.control, llm_router=self.router)
            if not (await allowed if hasattr(allowed, "__await__") else allowed):
                return False
        return True

    def _group_or_loss(self, call: Call) -> tuple[str, HeadraceError | None]:
        """The group that a call means; else what is wrong with the name, for which others may stand."""
        try:
            return self._group_of(call), None
        except BadRequestError as error:
            return call.model, error

    def _group_of(self, call: Call) -> str:
        """The group that a call means: by its model, or by the deployment that keeps what it asks for. Raises BadRequestError."""
        if not call.deployment:
            plan = self.fleet.plan
            group = plan.group_of(call.model)
            if group is None:
                known = ", ".join(map(repr, plan.groups)) or "none yet, add_deployment adds them"
                raise BadRequestError(f"no deployment serves {call.model!r}; model groups: {known}", call.model)
            return group
        deployment = self.fleet.plan.deployments.get(call.deployment)
        if deployment is None:
            raise BadRequestError("what is asked for is kept by a deployment that this Router no longer has", call.model)
        return deployment.group

    def _lasts(self, call: Call) -> bool:
        """Whether a stream is continued elsewhere when it breaks off."""
        return self.settings.continues and call.operation is CHAT and (call.body.get("n") or 1) == 1

    def _lasting(self, ports: Ports, call: Call, chunks: Chunks[Any], trail: Trail) -> Any:
        return Continuing(chunks, lambda said, error: self._go_on(ports, call, said, error, trail))

    async def _go_on(self, ports: Ports, call: Call, said: str, error: HeadraceError, trail: Trail) -> Chunks[Any] | None:
        """The rest of an answer that broke off after `said`; None where nobody can go on from there."""
        trail.errors.append(error)
        if not POLICY[error.failure.kind].elsewhere or (self._budget is not None and not self._budget.take()):
            return None
        trail.retries += 1
        trail.continued = len(said)
        group, now = trail.asked[-1], ports.clock.now()
        for step in (group, *trail.behind(self.fleet.plan, group, error.failure.kind)):
            if step != group and not await self._may_go(call, step):
                continue
            call, name = (call, group) if trail.bound else self._at(call, step)
            if not said:  # nothing was said yet: whoever can answer at all can begin anew
                anew = msgspec.structs.replace(call, raw=False)  # its chunks become the first stream's
                answer: Chunks[Any] | None = await self._in_group(ports, anew, name, trail)
                if answer is not None:
                    return answer
                continue
            able = [
                member
                for member in self.fleet.served.get(name, ())
                if can_continue(member.deployment) and not member.health.cooling(now) and call.deployment in ("", member.deployment.id)
            ]
            for mark in dict.fromkeys([member.to.provider.prefill for member in able]):
                trail.only = frozenset([member.deployment.id for member in able if member.to.provider.prefill == mark])
                answer = await self._in_group(ports, continued(call, said, mark), name, trail)
                if answer is not None:
                    return answer
        return None

    async def _in_group(self, ports: Ports, call: Call, group: str, trail: Trail) -> Any:
        """The answer; None when the next group should be asked, for the reason that ends `trail`."""
        tried: set[str] = set()
        attempt = 0
        while True:
            lease: Attempt | None = None
            try:
                before, trail.before = trail.before, None
                if before is not None:
                    lease = before.attempt
                    raise before.error
                lease = await self._reserve(ports, call, group, tried, trail)
                answer = await self._answered(ports, call, lease, group, tried, trail)
            except HeadraceError as error:
                attempt += 1
                trail.errors.append(error)
                if lease is not None:
                    tried.add(lease.member.deployment.id)
                # Without a lease it was our own queue that refused, for every deployment it could have gone to.
                others = lease is not None and not call.deployment and self._untried(group, tried, trail.only, ports.clock.now())
                own = None if lease is None else lease.member.deployment.retries
                match self._next(ports, call, group, error.failure, attempt, others, trail, own):
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

    def _untried(self, group: str, tried: set[str], only: frozenset[str] | None, now: float) -> bool:
        """Whether somebody is left to ask who is awake: to wait for one that rests takes longer than to ask the others again."""
        able = [member for member in self.fleet.served.get(group, ()) if only is None or member.deployment.id in only]
        awake = [member for member in able if not member.health.cooling(now)] or able
        return any(member.deployment.id not in tried for member in awake)

    def _next(
        self, ports: Ports, call: Call, group: str, failure: Failure, attempt: int, others: bool, trail: Trail, own: int | None
    ) -> Step:
        """own: the attempts that the deployment which failed would have."""
        policy = self.settings.retries_for(group)
        if own is not None:
            policy = msgspec.structs.replace(policy, retries=own)
        behind = trail.behind(self.fleet.plan, trail.asked[-1], failure.kind)
        step = decide(
            failure,
            attempt,
            others=others,
            fallback=bool(behind),
            policy=policy_of(call.control, policy),
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

    # ---- one attempt -------------------------------------------------------------------------------------------------

    async def _answered(self, ports: Ports, call: Call, lease: Attempt, group: str, tried: set[str], trail: Trail) -> Any:
        """The answer of this attempt; where hedging is asked for, of a second one beside it should the first take unusually long."""
        attempt = self._attempt(ports, call, lease, trail)
        if self._hedging is None or not _repeatable(call) or trail.bound:
            return await attempt

        async def another() -> Coroutine[Any, Any, Any] | None:
            tried.add(lease.member.deployment.id)
            second = await self._beside(ports, call, group, tried, trail)
            return None if second is None else self._attempt(ports, call, second, trail)

        return await self._hedging.run(
            ports, (group, call.stream), attempt, another, lambda answer: answer.close() if call.stream else None
        )

    async def _beside(self, ports: Ports, call: Call, group: str, tried: set[str], trail: Trail) -> Attempt | None:
        """One more attempt, on a deployment that was not tried and has room at once; None where there is none."""
        if not self._untried(group, tried, trail.only, ports.clock.now()):
            return None
        ask = await self.asking.ask(ports, call, group, tried, trail)
        try:
            reservation = await self.limiter.reserve(msgspec.structs.replace(ask, max_wait=0.0, attempt=ask.attempt + 1), ports.clock)
        except HeadraceError:
            return None
        if self.settings.provider_budgets and await self._over_budget(ports, ask, reservation) is not None:
            return None
        lease = self._lease(ports, call, ask, reservation, trail)
        if lease is not None:
            tried.add(reservation.deployment)
            lease.record["hedge"] = True
        return lease

    async def _reserve(self, ports: Ports, call: Call, group: str, tried: set[str], trail: Trail) -> Attempt:
        while True:
            ask = await self.asking.ask(ports, call, group, tried, trail)
            began = ports.clock.now()
            try:
                reservation = await self.limiter.reserve(ask, ports.clock)
            except BaseException as error:
                self._refused(ask, trail, error, began, ports.clock.now())
                raise
            trail.waited += reservation.waited
            if self.settings.provider_budgets and (refused := await self._over_budget(ports, ask, reservation)) is not None:
                await self._without(ports, group, ask, reservation.deployment, trail, refused)
                continue
            lease = self._lease(ports, call, ask, reservation, trail)
            if lease is not None:
                return lease

    async def _over_budget(self, ports: Ports, ask: Ask, reservation: Reservation) -> HeadraceError | None:
        """Why a call may not go to its provider, whose budget has no room for it: then the reservation is given back."""
        member = self.fleet.members.get(reservation.deployment)
        scope = None if member is None else self.fleet.scope_of(member)
        if scope is None:
            return None
        try:
            refused = await self.limiter.take_also(ask, reservation, scope, ports.clock)
        except BaseException:
            self.limiter.release(reservation, ports.clock.now())
            raise
        if refused is not None:
            self.limiter.release(reservation, ports.clock.now())
        return refused

    async def _without(self, ports: Ports, group: str, ask: Ask, deployment: str, trail: Trail, refused: HeadraceError) -> None:
        """Look elsewhere next time; where nobody else is, wait for money that is only set aside. Raises `refused` where waiting is vain."""
        member = self.fleet.members.get(deployment)
        if member is not None:
            trail.spent[member.to.provider.name] = refused
        if any(other.to.provider.name not in trail.spent for other in self.fleet.served.get(group, ())):
            return
        trail.spent.clear()
        if refused.failure.kind is Kind.BUDGET or ask.max_wait is not None or trail.ends_at < math.inf:
            raise refused
        await ports.clock.sleep(min(refused.failure.retry_after or LOOK_AGAIN, LOOK_AGAIN))

    def _lease(self, ports: Ports, call: Call, ask: Ask, reservation: Reservation, trail: Trail) -> Attempt | None:
        """The attempt that has this room; None when the configuration was swapped in this very moment."""
        now = ports.clock.now()
        member = self.fleet.members.get(reservation.deployment)
        if member is None:
            self.limiter.release(reservation, now)
            return None
        self._sent(member, ask, trail, now)
        return Attempt(member, reservation, reservation.charge, call, now, ask, trail.record(member, reservation, ask))

    def _sent(self, member: Member, ask: Ask, trail: Trail, now: float) -> None:
        member.load.running += 1
        if member.health.on_trial(now) and len(self.fleet.served.get(ask.group, ())) > 1:
            self.limiter.pause(member.deployment.id, now + self.settings.cooldown.probe, now)  # one call finds out for all
        if listening(self._on_event):
            tell(self._on_event, _event("sent", ask, now, member, waited=trail.waited))

    async def _attempt(self, ports: Ports, call: Call, lease: Attempt, trail: Trail) -> Any:
        member = lease.member
        try:
            timeouts = within(timeouts_of(self.time_limit(call, member.deployment), call.stream), trail.ends_at - lease.began)
            to = self._destination(call, member)
            answer: Any = await (open_stream if call.stream else fetch)(ports, call, to, timeouts, lambda: self._leaving(ports, lease))
        except HeadraceError as error:
            self.settle_failed(ports, lease, error)
            raise
        except BaseException as error:
            member.load.at_least(ports.clock.now() - lease.began, call.stream)
            self.settle(ports, lease, None, None, error)
            raise
        hidden = answer.hidden if call.stream else answer._hidden_params
        hidden["model_id"], hidden["model_group"] = member.deployment.id, member.deployment.group
        hidden["headrace"], hidden.rates = lease.record, own_rates(call.control) or member.price
        now = ports.clock.now()
        if call.stream:
            member.load.observe(now - lease.began, stream=True, now=now)
            answer.when_over(lambda chunks, error: self.stream_over(ports, lease, chunks, error))
        else:
            member.load.observe(now - lease.began, stream=False, now=now)
            self._worked(ports, lease)
            used = used_of(hidden.usage, member.price, hidden)
            self.settle(ports, lease, used, hidden["additional_headers"])
        return answer

    def _leaving(self, ports: Ports, lease: Attempt) -> None:
        self.limiter.leaves(lease.reservation, ports.clock.now())

    def _destination(self, call: Call, member: Member) -> Destination:
        """Where the attempt goes, and what the deployment says beside the call."""
        to = self._place(call, member)
        if call.body.get("reasoning_effort") is None or not (to.defaults or to.options):
            return to
        defaults, options = (without_other_efforts(params, call.body) for params in (to.defaults, to.options))
        return msgspec.structs.replace(to, defaults=defaults, options=options)

    def _place(self, call: Call, member: Member) -> Destination:
        """The deployment's own place, unless the caller names another, or the model is a part of its name."""
        deployment = member.deployment
        if "*" not in deployment.model and _ADDRESS.isdisjoint(call.control):
            return member.to
        model = deployment.model
        if "*" in model:
            name = self.fleet.plan.aliases.get(call.model, call.model)
            model = filled(model, stars_of(deployment.group, name) or (name,))
        to = destination(model, {**deployment.control, **call.control})
        return msgspec.structs.replace(to, defaults=member.to.defaults, options=member.to.options, deployment=deployment.id)

    def _worked(self, ports: Ports, lease: Attempt) -> None:
        """A success: whoever was on trial is trusted again, and the conversation is where it was answered."""
        member, now = lease.member, ports.clock.now()
        if member.health.rests:
            self.limiter.resume(member.deployment.id, now)
        succeeded(member.health)
        self.asking.remember(lease.call, lease.ask.group, member, now)

    def time_limit(self, call: Call, deployment: Deployment) -> Any:
        tier = call.body.get("service_tier")
        by_tier = deployment.tier_timeouts[call.stream].get(str(tier)) if tier is not None else None
        for given in (call.control, {"timeout": by_tier}, deployment.control):
            if call.stream and given.get("stream_timeout") is not None:
                return given["stream_timeout"]
            if given.get("timeout") is not None:
                return given["timeout"]
        settings = self.settings
        if call.stream and settings.stream_timeout is not None:
            return settings.stream_timeout
        return DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout

    # ---- endings -----------------------------------------------------------------------------------------------------

    def settle(
        self, ports: Ports, lease: Attempt, used: Used | None, headers: Mapping[str, str] | None, left: BaseException | None = None
    ) -> None:
        """left: what the caller left with, before the end."""
        lease.member.load.running -= 1
        view, now = read_quota(headers, family=lease.member.to.provider.quota) if headers else (), ports.clock.now()
        self.limiter.settle(lease.reservation, used=used, view=view, now=now)
        self._over(lease, used, left, now)
        self._undecided(lease.member, now)

    def settle_failed(self, ports: Ports, lease: Attempt, error: HeadraceError) -> None:
        member, failure, now = lease.member, error.failure, ports.clock.now()
        member.load.running -= 1
        view = read_quota(failure.headers, family=member.to.provider.quota) if failure.headers else ()
        self.limiter.settle(lease.reservation, used=None, sent=failure.sent, failure=failure, view=view, now=now)
        self._over(lease, None, error, now)
        about_itself = not (lease.call.deployment and failure.kind is Kind.NOT_FOUND)  # else what it keeps was not found, and it is well
        if about_itself and len(self.fleet.plan.groups.get(lease.ask.group, ())) > 1:
            for other in self.fleet.concerned(member, failure.kind):
                last = not any(one is not other and not one.health.cooling(now) for one in self.fleet.served.get(lease.ask.group, ()))
                rest = failed(other.health, failure, now, self.settings.cooldown, other.deployment.cooldown, last=last)
                if rest is not None:
                    self.fleet.rests(other, now + rest)
                    self.limiter.pause(other.deployment.id, now + rest, now)
        self._undecided(member, now)

    def _undecided(self, member: Member, now: float) -> None:
        """Where the call that was to find out has ended and nobody knows more, the next one finds out."""
        if member.health.on_trial(now):
            self.limiter.resume(member.deployment.id, now)

    def stream_over(self, ports: Ports, lease: Attempt, chunks: Over, error: BaseException | None) -> None:
        if isinstance(error, HeadraceError):
            self.settle_failed(ports, lease, error)
            return
        if error is None:
            self._worked(ports, lease)
        counted = {"prompt_tokens": lease.charge.input, "completion_tokens": chunks.count}
        used = used_of(chunks.usage or counted, lease.member.price)  # a chunk is about a token, for want of a better word
        self.settle(ports, lease, used, chunks.hidden["additional_headers"], error)

    def _queued(self, ask: Ask, now: float, look: Callable[[], Availability]) -> None:
        if listening(self._on_event):
            tell(self._on_event, _event("queued", ask, now, availability=look()))

    def _refused(self, ask: Ask, trail: Trail, error: BaseException, began: float, now: float) -> None:
        trail.waited += now - began
        if listening(self._on_event):
            tell(self._on_event, _event("refused", ask, now, waited=trail.waited, error=error))

    def _over(self, lease: Attempt, used: Used | None, error: BaseException | None, now: float) -> None:
        """The call has ended: its record is complete."""
        record = lease.record
        record["settled"] = used
        log_settled(record, lease.ask.group, error, level=self.log_level)
        if listening(self._on_event):
            tell(self._on_event, _event("settled", lease.ask, now, lease.member, waited=record["waited"], record=record, error=error))

    def flush(self) -> None:
        """Forget what is only kept for a while: who rests, and answers in memory."""
        self.fleet.wake(list(self.fleet.members.values()), self.worlds.blocking().clock.now())
        for layer in self.layers:
            getattr(layer, "clear", lambda: None)()

    def charge_scope(self, name: str, money: int) -> None:
        self.limiter.charge_scope(name, money, self.worlds.blocking().clock.now())

    # ---- health ------------------------------------------------------------------------------------------------------

    async def check(self, ports: Ports, model: str | None) -> dict[str, Any]:
        """Check those behind `model` now, all for None."""
        serving = self.fleet.serving(model)
        await self.checks.check(ports, [self.fleet.members[deployment.id] for deployment in serving])
        rows = [{"model_id": one.id, "model": one.model, "model_name": one.group, **self.health_of(one.id)} for one in serving]
        well, unwell = ([row for row in rows if row["healthy"] is found] for found in (True, False))
        counts = {"healthy_count": len(well), "unhealthy_count": len(unwell)}
        return {"healthy_endpoints": well, "unhealthy_endpoints": unwell, **counts}

    async def acheck(self, model: str | None) -> dict[str, Any]:
        return await self.check(self.worlds.suspending(), model)

    def blocking_check(self, model: str | None) -> dict[str, Any]:
        return complete(self.check(self.worlds.blocking(), model))

    def health_of(self, id: str) -> dict[str, Any]:
        now, health, found = self.worlds.blocking().clock.now(), self.fleet.members[id].health, self.checks.found.get(id)
        return {
            "healthy": None if found is None else found.healthy,
            "checked": None if found is None else now - found.at,
            "error": "" if found is None else found.error,
            "resting": max(0.0, health.until - now, health.unwell - now),
            "failures": health.fails,
        }

    # ---- where a call would go ----------------------------------------------------------------------------------------

    async def choose(self, operation: Operation, model: str, prompt: Any, options: Mapping[str, Any], deployment: str = "") -> Deployment:
        """The deployment that such a call would go to now. Raises as the call would that waits for nothing."""
        return await self._chosen(self.worlds.suspending(), prepare(operation, model, prompt, False, options), deployment)

    def choose_blocking(
        self, operation: Operation, model: str, prompt: Any, options: Mapping[str, Any], deployment: str = ""
    ) -> Deployment:
        return complete(self._chosen(self.worlds.blocking(), prepare(operation, model, prompt, False, options), deployment))

    async def _chosen(self, ports: Ports, call: Call, deployment: str) -> Deployment:
        """Room is taken as for a call, and given back."""
        call.deployment = deployment
        group = self._group_of(call)
        ask = await self.asking.ask(ports, call, group, set(), Trail([group], (), math.inf, next(NUMBERS)))
        reservation = await self.limiter.reserve(msgspec.structs.replace(ask, max_wait=0.0), ports.clock)
        self.limiter.release(reservation, ports.clock.now())
        return self.fleet.plan.deployments[reservation.deployment]

    # ---- what is no call ----------------------------------------------------------------------------------------------

    async def hold(self, operation: Operation, model: str, options: Mapping[str, Any]) -> Held:
        """Room under a deployment's limits for what somebody else does there. Waits its turn. Raises what a layer says against it."""
        ports, call = self.worlds.suspending(), prepare(operation, model, None, False, options)
        check_session(call)
        group = self._group_of(call)
        trail = Trail([group], (), ends_at(call.control, ports.clock.now()), next(NUMBERS))
        lease = await self._reserve(ports, call, group, set(), trail)
        self.limiter.leaves(lease.reservation, ports.clock.now())
        member = lease.member
        return Held(
            self._destination(call, member),
            lease.record,
            lambda usage: self.settle(ports, lease, used_of(usage, member.price), None),
            lambda error: self.settle_failed(ports, lease, error),
        )

    # ---- looking -----------------------------------------------------------------------------------------------------

    def left(self, scopes: Sequence[str]) -> list[Left]:
        return self.limiter.left(scopes, self.worlds.blocking().clock.now())

    def snapshot(self) -> dict[str, Any]:
        return self.limiter.snapshot(self.worlds.blocking().clock.now())

    def peek(self, model: str, input: int, max_output: int, *, tenant: str, priority: int, scopes: Sequence[str]) -> Availability:
        charge = Charge(input=input, max_output=max_output)
        ask = Ask(self.fleet.plan.group_of(model) or model, charge, tenant=tenant, priority=priority, scopes=scope_names(scopes))
        return self.limiter.peek(ask, self.worlds.blocking().clock.now())


LOOK_AGAIN: Final = 0.25
"""Seconds until a call looks again that waits for money which is only set aside."""


def _event(kind: EventKind, ask: Ask, now: float, member: Member | None = None, **what: Any) -> Event:
    """An event of the attempt that `ask` began, of the deployment it came to."""
    if member is not None:
        what |= {"deployment": member.deployment.id, "provider": member.to.provider.name, "model": member.to.model}
    return Event(kind=kind, group=ask.group, call=ask.call, attempt=ask.attempt, at=now, tenant=ask.tenant, **what)


def _layers(settings: Settings, caches: Callable[..., RouterLayer]) -> tuple[RouterLayer, ...]:
    """The layers that the settings ask for, the innermost first: callers share what no cache has."""
    layers: list[RouterLayer] = []
    if settings.single_flight:
        from headrace.layers.single_flight import SingleFlight  # late: who shares no calls does not pay for it

        layers.append(SingleFlight())
    if settings.cache is not None:
        layers.append(settings.cache)
    elif settings.cache_arguments is not None:
        layers.append(caches(**{name: resolved(value, name, os.environ) for name, value in settings.cache_arguments.items()}))
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


def _repeatable(call: Call) -> bool:
    """Whether two providers may be asked the same at once: nothing is kept there, made ready there or sent from a file."""
    operation = call.operation
    return operation.named and not operation.stored and not operation.files
