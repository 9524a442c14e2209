"""One attempt of a call on one deployment: reserve, send, settle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.calls import DEFAULT_TIMEOUT, Call, timeouts_of, within
from headrace.core import fetch, open_stream, own_rates
from headrace.destinations import Destination, destination
from headrace.dialects.quota import read_quota
from headrace.errors import HeadraceError, Kind
from headrace.limits import Ask, Availability, Limiter, Reservation, Used
from headrace.options import CloudOptions
from headrace.ports import Ports
from headrace.routing.asking import Asking
from headrace.routing.effort import without_other_efforts
from headrace.routing.events import Event, EventKind, be_verbose, listening, log_settled, tell
from headrace.routing.fleet import Fleet
from headrace.routing.health import failed, succeeded
from headrace.routing.options import Settings
from headrace.routing.patterns import filled, stars_of
from headrace.routing.plan import Deployment
from headrace.routing.trail import Attempt, Member, Over, Trail, used_of

LOOK_AGAIN: Final = 0.25
"""Seconds until a call that waits for reserved budget to be released looks again."""

_ADDRESS: Final = frozenset(CloudOptions.__annotations__) | {
    "api_key", "base_url", "api_base", "custom_llm_provider", "headers", "extra_headers", "organization",
}  # fmt: skip
"""Options of a call that change its destination."""


class Attempts:
    """Attempts on the deployments of a fleet: each holds a reservation before it is sent, and is settled exactly once."""

    def __init__(self, settings: Settings, fleet: Fleet, limiter: Limiter) -> None:
        self.fleet = fleet
        self.limiter = limiter
        self.asking = Asking(settings, fleet)
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Use other settings from the next attempt on."""
        self.settings, self.on_event = settings, settings.on_event
        self.asking.follow(settings)
        level = settings.log_level
        self.log_level = 10 if level is None else 20
        """The level at which every call is logged."""
        if level is not None:
            be_verbose(level)

    # ---- reservations ------------------------------------------------------------------------------------------------

    async def beside(self, ports: Ports, call: Call, group: str, tried: set[str], trail: Trail) -> Attempt | None:
        """One more concurrent attempt, on an untried deployment that has room at once; None if there is none."""
        if not self.fleet.untried(group, tried, trail.only, ports.clock.now()):
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

    async def reserve(self, ports: Ports, call: Call, group: str, tried: set[str], trail: Trail) -> Attempt:
        """An attempt with its reservation; waits for room.

        Raises what the limiter refuses with, or a provider's budget error.
        """
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
        """Why a call may not go to its provider, whose budget has no room for it; the reservation is then released.

        None if it may.
        """
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
        """Exclude this provider from the next choice. If no provider is left, wait for budget that is only reserved.

        Raises `refused` where waiting cannot help.
        """
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
        """The attempt that holds this reservation; None if the configuration was replaced in the meantime."""
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
            self.limiter.pause(member.deployment.id, now + self.settings.cooldown.probe, now)  # this one call probes the deployment for all
        if listening(self.on_event):
            tell(self.on_event, _event("sent", ask, now, member, waited=trail.waited))

    # ---- sending -----------------------------------------------------------------------------------------------------

    async def send(self, ports: Ports, call: Call, lease: Attempt, trail: Trail) -> Any:
        """The deployment's response; its reservation is settled when the response ends, however it ends.

        Raises HeadraceError.
        """
        member = lease.member
        try:
            timeouts = within(timeouts_of(self.time_limit(call, member.deployment), call.stream), trail.ends_at - lease.began)
            to = self.destination(call, member)
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

    def destination(self, call: Call, member: Member) -> Destination:
        """Where the attempt goes, with the deployment's parameters that are sent along with the call's."""
        to = self._place(call, member)
        if call.body.get("reasoning_effort") is None or not (to.defaults or to.options):
            return to
        defaults, options = (without_other_efforts(params, call.body) for params in (to.defaults, to.options))
        return msgspec.structs.replace(to, defaults=defaults, options=options)

    def _place(self, call: Call, member: Member) -> Destination:
        """The deployment's own destination, adapted if the caller gives an address or the model's name contains `*`."""
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
        """Record a success: end the deployment's probation, and remember it for the conversation's affinity."""
        member, now = lease.member, ports.clock.now()
        if member.health.rests:
            self.limiter.resume(member.deployment.id, now)
        succeeded(member.health)
        self.asking.remember(lease.call, lease.ask.group, member, now)

    def time_limit(self, call: Call, deployment: Deployment) -> Any:
        """Time limit: the call's own, else its deployment's, else the Router's; seconds, or what `timeouts_of` accepts."""
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

    # ---- settling ----------------------------------------------------------------------------------------------------

    def settle(
        self, ports: Ports, lease: Attempt, used: Used | None, headers: Mapping[str, str] | None, left: BaseException | None = None
    ) -> None:
        """left: the exception with which the caller left before the end."""
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
        about_itself = not (lease.call.deployment and failure.kind is Kind.NOT_FOUND)  # else a stored object was not found: it is healthy
        if about_itself and len(self.fleet.plan.groups.get(lease.ask.group, ())) > 1:
            for other in self.fleet.concerned(member, failure.kind):
                last = not any(one is not other and not one.health.cooling(now) for one in self.fleet.served.get(lease.ask.group, ()))
                rest = failed(other.health, failure, now, self.settings.cooldown, other.deployment.cooldown, last=last)
                if rest is not None:
                    self.fleet.rests(other, now + rest)
                    self.limiter.pause(other.deployment.id, now + rest, now)
        self._undecided(member, now)

    def _undecided(self, member: Member, now: float) -> None:
        """If the call that probed the deployment ended without a verdict, let the next call probe it."""
        if member.health.on_trial(now):
            self.limiter.resume(member.deployment.id, now)

    def stream_over(self, ports: Ports, lease: Attempt, chunks: Over, error: BaseException | None) -> None:
        if isinstance(error, HeadraceError):
            self.settle_failed(ports, lease, error)
            return
        if error is None:
            self._worked(ports, lease)
        counted = {"prompt_tokens": lease.charge.input, "completion_tokens": chunks.count}
        used = used_of(chunks.usage or counted, lease.member.price)  # without usage, each chunk counts as one token
        self.settle(ports, lease, used, chunks.hidden["additional_headers"], error)

    def queued(self, ask: Ask, now: float, look: Callable[[], Availability]) -> None:
        if listening(self.on_event):
            tell(self.on_event, _event("queued", ask, now, availability=look()))

    def _refused(self, ask: Ask, trail: Trail, error: BaseException, began: float, now: float) -> None:
        trail.waited += now - began
        if listening(self.on_event):
            tell(self.on_event, _event("refused", ask, now, waited=trail.waited, error=error))

    def _over(self, lease: Attempt, used: Used | None, error: BaseException | None, now: float) -> None:
        """Complete and log the record of a call that has ended."""
        record = lease.record
        record["settled"] = used
        log_settled(record, lease.ask.group, error, level=self.log_level)
        if listening(self.on_event):
            tell(self.on_event, _event("settled", lease.ask, now, lease.member, waited=record["waited"], record=record, error=error))


def _event(kind: EventKind, ask: Ask, now: float, member: Member | None = None, **what: Any) -> Event:
    """An event of the attempt that `ask` began, on deployment `member`."""
    if member is not None:
        what |= {"deployment": member.deployment.id, "provider": member.to.provider.name, "model": member.to.model}
    return Event(kind=kind, group=ask.group, call=ask.call, attempt=ask.attempt, at=now, tenant=ask.tenant, **what)
