"""The loop behind a Router.

`_in_group` is one call in one model group: reserve, send, settle, decide what is next. `attempts` has one attempt.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from headrace.bridge import complete
from headrace.calls import CHAT, EMPTY, Call, Operation, altered, continued, ends_at, prepare
from headrace.continuing import Continuing
from headrace.core import bound, direct, policy_of
from headrace.errors import POLICY, BadRequestError, ConfigurationError, Failure, HeadraceError, Kind
from headrace.layers.around import Handler, RouterLayer, around, check_session
from headrace.limits import Ask, Availability, Charge, Left, Limiter, LimiterSettings
from headrace.limits.store import Store
from headrace.objects import BinaryResponse
from headrace.ports import Ports, Worlds
from headrace.routing.attempts import Attempts
from headrace.routing.checks import Checks
from headrace.routing.decide import Fail, Fallback, NextDeployment, RetryHere, Step, decide
from headrace.routing.fallbacks import given_with
from headrace.routing.filters import can_continue
from headrace.routing.fleet import Fleet
from headrace.routing.hedging import Hedging
from headrace.routing.mock_testing import earnest, rehearsed
from headrace.routing.options import Settings, parameter_of, read_options
from headrace.routing.plan import Deployment, resolved
from headrace.routing.retries import RetryBudget
from headrace.routing.scopes import scope_names
from headrace.routing.trail import NUMBERS, Attempt, Failed, Held, Trail, used_of
from headrace.streams import AsyncStream, Chunks, Stream


class Engine:
    """Makes calls by model group: reserves limits before sending, balances load, retries and falls back."""

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
        """The options as given, unchecked."""
        self.settings = settings = read_options(options)
        queue = LimiterSettings() if settings.max_queue is None else LimiterSettings(max_queue=settings.max_queue)
        make = Limiter if not settings.store else _sharing(stores, settings.store)
        self.limiter: Limiter = make(settings=queue, on_queued=self._queued, random=Random(worlds.random()))
        self._budget = None if settings.retry_budget is None else RetryBudget(settings.retry_budget)
        self._hedging = None if settings.hedge is None else Hedging(settings.hedge)
        self.fleet = Fleet(settings, self.limiter)
        self.attempts: Final = Attempts(settings, self.fleet, self.limiter)
        self.checks = Checks(settings.checks, self.fleet, self._call)
        self._caches = caches
        self.layers: tuple[RouterLayer, ...] = _layers(settings, caches)
        """Layers around every call, the innermost first."""
        self.router: Any = None
        """The Router that owns this engine, passed to the user's own checks."""

    def use(self, options: Mapping[str, Any], model_list: Sequence[Mapping[str, Any]] | None) -> None:
        """Use other options from the next call on. Raises ConfigurationError before anything has changed."""
        settings, before = read_options(options), self.settings
        if (settings.store, settings.max_queue) != (before.store, before.max_queue):
            raise ConfigurationError("redis_url (or redis_host, …) and max_queue cannot change while a Router runs: create a new one")
        self.fleet.use(settings, model_list)
        self.attempts.follow(settings)
        if any(getattr(settings, name) != getattr(before, name) for name in ("single_flight", "cache", "cache_arguments")):
            self.layers = _layers(settings, self._caches)
        if settings.retry_budget != before.retry_budget:
            self._budget = None if settings.retry_budget is None else RetryBudget(settings.retry_budget)
        if settings.checks != before.checks:
            self.checks.close()
            self.checks = Checks(settings.checks, self.fleet, self._call)
        if settings.hedge != before.hedge:
            self._hedging = None if settings.hedge is None else Hedging(settings.hedge)
        self.options, self.settings = options, settings

    def parameter(self, name: str) -> Any:
        """The current value of one option."""
        return parameter_of(self.options, name)

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
        """One call of any operation, awaitable. deployment: the id of the only one that may answer; empty for any."""
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
        """`suspending`, answered in bytes. Layers may have parsed the response into objects in between."""
        from headrace.passing import Spelled, in_bytes  # late: gateways alone take bytes

        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment, call.raw, call.before = deployment, True, before
        answer: Any = await around(self._answer, routed=True)(self.worlds.suspending(), call)
        if not stream:
            return in_bytes(answer)
        # An operation without chunk objects yields bytes, whatever the layers asked for.
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
        """`suspending`, blocking the calling thread."""
        call = prepare(operation, model, prompt, stream, options, place)
        call.deployment = deployment
        answer = complete(around(self._answer, routed=True)(self.worlds.blocking(), call))
        return Stream(answer) if stream else answer

    # ---- layers ------------------------------------------------------------------------------------------------------

    def _answer(self, ports: Ports, call: Call) -> Coroutine[Any, Any, Any]:
        """Answer the call through all layers, the outermost first."""
        handler: Handler = self._call
        for layer in self.layers:
            handler = partial(layer.answer, handler, self._known_as)
        return handler(ports, call)

    def _known_as(self, call: Call) -> str:
        """The model's name in cache keys: the same for all its aliases."""
        name = self.fleet.plan.aliases.get(call.model, call.model)
        return self.settings.cached_as.get(name, name)

    # ---- the path of a call ------------------------------------------------------------------------------------------

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
        if (lost := lost or rehearsed(call)) is not None:
            trail.note(lost)
            lost = None
            call, group = self._at(call, await self._fall_back(call, trail), given)
        while True:
            answer = await self._in_group(ports, call, group, trail)
            if answer is not None:
                return self._lasting(ports, call, answer, trail) if call.lasts else answer
            call, group = self._at(call, await self._fall_back(call, trail), given)

    def _at(self, call: Call, name: str, given: Mapping[str, Mapping[str, Any]] = EMPTY) -> tuple[Call, str]:  # type: ignore[assignment]
        """The call as it is sent to `name`, and the group.

        name: a group, a name that a pattern matches, or one deployment. given: the options that the caller changes for
        each name.
        """
        plan, call = self.fleet.plan, earnest(call)
        group, only = plan.place_of(name)
        call = msgspec.structs.replace(call, deployment=only)
        if options := given.get(name):
            call = altered(call, options)
        return msgspec.structs.replace(call, model=name) if group in plan.patterns else call, group

    def called(self, ports: Ports) -> None:
        """Count one more call: for the retry and hedging budgets, and to start periodic health checks."""
        if self.settings.checks.interval is not None:
            self.checks.keep_watch(ports)
        if self._budget is not None:
            self._budget.called()
        if self._hedging is not None:
            self._hedging.called()

    @property
    def plain(self) -> bool:
        """Whether a call consists of its attempts alone: no layers, hedging, events or provider and tag budgets."""
        settings = self.settings
        more = self.layers or self._hedging is not None or settings.on_event is not None
        return not (more or settings.provider_budgets or settings.tag_budgets)

    async def _fall_back(self, call: Call, trail: Trail) -> str:
        """The next group that the call may fall back to. Raises its last error if there is none."""
        assert trail.error is not None
        plan, kind = self.fleet.plan, trail.error.failure.kind
        if call.control.get("disable_fallbacks"):
            raise trail.take()
        while behind := trail.behind(plan, trail.asked[-1], kind):
            if await self._may_go(call, behind[0]):
                return trail.fall_back(plan, kind)
            trail.refused.add(behind[0])
        raise trail.take()

    async def _may_go(self, call: Call, group: str) -> bool:
        """Whether the user's own checks let the call fall back to that group."""
        for check in self.settings.may_fall_back:
            allowed: Any = check(model=group, request_kwargs=call.control, llm_router=self.router)
            if not (await allowed if hasattr(allowed, "__await__") else allowed):
                return False
        return True

    def _group_or_loss(self, call: Call) -> tuple[str, HeadraceError | None]:
        """The call's group, and an error if its model is unknown. Fallbacks may still serve it."""
        try:
            return self._group_of(call), None
        except BadRequestError as error:
            return call.model, error

    def _group_of(self, call: Call) -> str:
        """The call's group: from its model, or from the deployment that stores the requested object.

        Raises BadRequestError.
        """
        if not call.deployment:
            plan = self.fleet.plan
            group = plan.group_of(call.model)
            if group is None:
                known = ", ".join(map(repr, plan.groups)) or "none yet, add_deployment adds them"
                raise BadRequestError(f"no deployment serves {call.model!r}; model groups: {known}", call.model)
            return group
        deployment = self.fleet.plan.deployments.get(call.deployment)
        if deployment is None:
            raise BadRequestError("the requested object is stored by a deployment that this Router no longer has", call.model)
        return deployment.group

    def _lasts(self, call: Call) -> bool:
        """Whether a stream that breaks off is continued on another deployment."""
        return self.settings.continues and call.operation is CHAT and (call.body.get("n") or 1) == 1

    def _lasting(self, ports: Ports, call: Call, chunks: Chunks[Any], trail: Trail) -> Any:
        return Continuing(chunks, lambda said, error: self._go_on(ports, call, said, error, trail))

    async def _go_on(self, ports: Ports, call: Call, said: str, error: HeadraceError, trail: Trail) -> Chunks[Any] | None:
        """The rest of a response that broke off after `said`; None if no deployment can continue it."""
        trail.note(error)
        trail.error = None  # the reader of the stream raises it
        kind = error.failure.kind
        most = policy_of(call.control, self.settings.retries_for(trail.asked[-1])).most(kind, False)
        if not POLICY[kind].elsewhere or trail.breaks >= max(1, most) or (self._budget is not None and not self._budget.take()):
            return None
        trail.breaks += 1
        trail.retries += 1
        trail.continued = len(said)
        try:
            return await self._rest(ports, call, said, kind, trail)
        finally:
            trail.error = None

    async def _rest(self, ports: Ports, call: Call, said: str, kind: Kind, trail: Trail) -> Chunks[Any] | None:
        """The rest of the response from this group or its fallbacks, after a failure of that kind."""
        group, now = trail.asked[-1], ports.clock.now()
        for step in (group, *trail.behind(self.fleet.plan, group, kind)):
            if step != group and not await self._may_go(call, step):
                continue
            call, name = (call, group) if trail.bound else self._at(call, step)
            if not said:  # nothing was produced yet: any deployment can start over
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
        """The response; None if the next group should be tried, because of the error in `trail`."""
        tried: set[str] = set()
        attempt = 0
        while True:
            lease: Attempt | None = None
            try:
                before, trail.before = trail.before, None
                if before is not None:
                    lease = before.attempt
                    raise before.take()
                lease = await self.attempts.reserve(ports, call, group, tried, trail)
                answer = await self._answered(ports, call, lease, group, tried, trail)
            except HeadraceError as error:
                attempt += 1
                trail.note(error)
                if lease is not None:
                    tried.add(lease.member.deployment.id)
                # Without a lease our own queue refused the call, for every deployment it could have used.
                others = lease is not None and not call.deployment and self.fleet.untried(group, tried, trail.only, ports.clock.now())
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
                        trail.error = None
                        raise
            else:
                trail.error = None
                if trail.retries and self._budget is not None:
                    self._budget.helped(trail.retries)
                return answer

    def _next(
        self, ports: Ports, call: Call, group: str, failure: Failure, attempt: int, others: bool, trail: Trail, own: int | None
    ) -> Step:
        """own: the retries that the failed deployment configures for itself."""
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
        """The response of this attempt; with hedging, of a second concurrent one if the first takes unusually long."""
        attempt = self.attempts.send(ports, call, lease, trail)
        if self._hedging is None or not _repeatable(call) or trail.bound:
            return await attempt

        async def another() -> Coroutine[Any, Any, Any] | None:
            tried.add(lease.member.deployment.id)
            second = await self.attempts.beside(ports, call, group, tried, trail)
            return None if second is None else self.attempts.send(ports, call, second, trail)

        return await self._hedging.run(
            ports, (group, call.stream), attempt, another, lambda answer: answer.close() if call.stream else None
        )

    def _queued(self, ask: Ask, now: float, look: Callable[[], Availability]) -> None:
        self.attempts.queued(ask, now, look)

    def flush(self) -> None:
        """Drop temporary state: cooldowns, and responses cached in memory."""
        self.fleet.wake(list(self.fleet.members.values()), self.worlds.blocking().clock.now())
        for layer in self.layers:
            getattr(layer, "clear", lambda: None)()

    def charge_scope(self, name: str, money: int) -> None:
        self.limiter.charge_scope(name, money, self.worlds.blocking().clock.now())

    # ---- health ------------------------------------------------------------------------------------------------------

    async def check(self, ports: Ports, model: str | None) -> dict[str, Any]:
        """Check now the deployments of the group `model`, or the deployment with that id; None checks all."""
        one = self.fleet.plan.deployments.get(model or "")
        serving = self.fleet.serving(model) or ([one] if one is not None else [])
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

    # ---- which deployment a call would use ----------------------------------------------------------------------------

    async def choose(self, operation: Operation, model: str, prompt: Any, options: Mapping[str, Any], deployment: str = "") -> Deployment:
        """The deployment that such a call would use now. Raises what the call would raise with `max_wait=0`."""
        return await self._chosen(self.worlds.suspending(), prepare(operation, model, prompt, False, options), deployment)

    def choose_blocking(
        self, operation: Operation, model: str, prompt: Any, options: Mapping[str, Any], deployment: str = ""
    ) -> Deployment:
        return complete(self._chosen(self.worlds.blocking(), prepare(operation, model, prompt, False, options), deployment))

    async def _chosen(self, ports: Ports, call: Call, deployment: str) -> Deployment:
        """Reserves as a call does, and releases the reservation."""
        call.deployment = deployment
        group = self._group_of(call)
        ask = await self.attempts.asking.ask(ports, call, group, set(), Trail([group], (), math.inf, next(NUMBERS)))
        reservation = await self.limiter.reserve(msgspec.structs.replace(ask, max_wait=0.0), ports.clock)
        self.limiter.release(reservation, ports.clock.now())
        return self.fleet.plan.deployments[reservation.deployment]

    # ---- reservations without a call ----------------------------------------------------------------------------------

    async def hold(self, operation: Operation, model: str, options: Mapping[str, Any]) -> Held:
        """A reservation under a deployment's limits for traffic that this Router does not send.

        Waits in the queue. Raises the objection of a layer.
        """
        ports, call = self.worlds.suspending(), prepare(operation, model, None, False, options)
        check_session(call)
        group = self._group_of(call)
        trail = Trail([group], (), ends_at(call.control, ports.clock.now()), next(NUMBERS))
        lease = await self.attempts.reserve(ports, call, group, set(), trail)
        self.limiter.leaves(lease.reservation, ports.clock.now())
        member = lease.member
        return Held(
            self.attempts.destination(call, member),
            lease.record,
            lambda usage: self.attempts.settle(ports, lease, used_of(usage, member.price), None),
            lambda error: self.attempts.settle_failed(ports, lease, error),
        )

    # ---- introspection -----------------------------------------------------------------------------------------------

    def left(self, scopes: Sequence[str]) -> list[Left]:
        return self.limiter.left(scopes, self.worlds.blocking().clock.now())

    def snapshot(self) -> dict[str, Any]:
        return self.limiter.snapshot(self.worlds.blocking().clock.now())

    def peek(self, model: str, input: int, max_output: int, *, tenant: str, priority: int, scopes: Sequence[str]) -> Availability:
        charge = Charge(input=input, max_output=max_output)
        ask = Ask(self.fleet.plan.group_of(model) or model, charge, tenant=tenant, priority=priority, scopes=scope_names(scopes))
        return self.limiter.peek(ask, self.worlds.blocking().clock.now())


def _layers(settings: Settings, caches: Callable[..., RouterLayer]) -> tuple[RouterLayer, ...]:
    """The layers that the settings ask for, the innermost first: concurrent callers share only what no cache has."""
    layers: list[RouterLayer] = []
    if settings.single_flight:
        from headrace.layers.single_flight import SingleFlight  # late: programs that share no calls do not pay for it

        layers.append(SingleFlight())
    if settings.cache is not None:
        layers.append(settings.cache)
    elif settings.cache_arguments is not None:
        layers.append(caches(**{name: resolved(value, name, os.environ) for name, value in settings.cache_arguments.items()}))
    return tuple(layers)


def _sharing(stores: Callable[..., Store], given: Mapping[str, Any]) -> Callable[..., Limiter]:
    """A factory of limiters that share their limits through the store at that address."""
    from headrace.limits.shared import SharedLimiter  # late: programs that share no limits do not pay for it

    address = {name: resolved(value, f"redis_{name}", os.environ) for name, value in given.items()}
    return partial(SharedLimiter, stores(**address))


def _repeatable(call: Call) -> bool:
    """Whether the call may be sent to two providers at once: it stores, prepares and uploads nothing."""
    operation = call.operation
    return operation.named and not operation.stored and not operation.files
