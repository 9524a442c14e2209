"""Active health checks: a small request to each deployment at intervals, so that no caller has to discover what is broken."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.calls import CHAT, EMBEDDINGS, MODERATIONS, RERANK, Call, Operation, prepare
from headrace.errors import HeadraceError, Kind
from headrace.models.info import find
from headrace.ports import Ports, Waiter
from headrace.routing.fleet import Fleet
from headrace.routing.health import CheckPolicy
from headrace.routing.trail import Member

TENANT: Final = "headrace health check"
"""The tenant of health checks, in events and in the queue."""

MOST_TOKENS: Final = 16
"""The smallest `max_tokens` that every provider accepts (OpenAI's Responses API refuses less)."""

AT_ONCE: Final = 16

_QUESTIONS: Final[dict[str, tuple[Operation, Any, dict[str, Any]]]] = {
    "chat": (CHAT, [{"role": "user", "content": "ping"}], {"max_tokens": MOST_TOKENS}),
    "embedding": (EMBEDDINGS, "ping", {}),
    "rerank": (RERANK, "ping", {"documents": ["ping"]}),
    "moderation": (MODERATIONS, "ping", {}),
}
"""The request for each mode of a model. Image and audio models are not checked: such requests cost money."""

_NOT_SICK: Final = frozenset({Kind.QUEUE_TIMEOUT, Kind.QUEUE_FULL, Kind.NEVER_FITS, Kind.BUDGET, Kind.RATE_LIMIT})
"""Failures that say nothing about health: a deployment without room is busy, and may work."""

_TRANSIENT: Final = frozenset({Kind.RATE_LIMIT, Kind.TIMEOUT})


class Found(Struct, frozen=True):
    """The result of a deployment's latest check."""

    at: float
    """Clock seconds."""
    healthy: bool | None
    """None if the check was inconclusive."""
    error: str = ""


class Checks:
    """Checks the deployments of a Router, and keeps the results."""

    def __init__(self, policy: CheckPolicy, fleet: Fleet, ask: Callable[[Ports, Call], Coroutine[Any, Any, Any]]) -> None:
        """ask: makes a call bound to one deployment; its failure counts against that deployment's health."""
        self._policy = policy
        self._fleet = fleet
        self._ask = ask
        self._lock = threading.Lock()
        self._watcher: Waiter | None = None
        self._process = 0
        self.closed = False
        self.found: dict[str, Found] = {}

    # ---- at intervals ------------------------------------------------------------------------------------------------

    def keep_watch(self, ports: Ports) -> None:
        """Start periodic checks in a background task or thread, unless they already run in this process."""
        if self._policy.interval is None or ports.spawn is None or (self._watcher is not None and self._process == os.getpid()):
            return
        with self._lock:
            if self.closed or (self._watcher is not None and self._process == os.getpid()):
                return
            self._watcher, self._process = ports.clock.waiter(), os.getpid()
        ports.spawn(_watch(weakref.ref(self), ports, self._watcher))

    def left(self, watcher: Waiter) -> None:
        """The watch has ended, perhaps with its event loop: the next call starts another."""
        with self._lock:
            if self._watcher is watcher:
                self._watcher = None

    def close(self) -> None:
        """Stop the watch."""
        with self._lock:
            self.closed, watcher = True, self._watcher
        if watcher is not None:
            watcher.wake()

    async def round(self, ports: Ports) -> float:
        """Run all checks that are due.

        Returns seconds until the next round, which is early enough to check a deployment when its cooldown ends, before
        any caller uses it.
        """
        groups = self._policy.groups
        members = [member for member in self._fleet.members.values() if groups is None or member.deployment.group in groups]
        await self.check(ports, [member for member in members if not _info(member).get("disable_background_health_check")])
        now = ports.clock.now()
        rests = [member.health.until - now for member in members if member.health.until > now]
        return min([self._policy.interval or 0.0, *rests])

    # ---- on demand ---------------------------------------------------------------------------------------------------

    async def check(self, ports: Ports, members: Iterable[Member]) -> None:
        """Check each of them now; the results go to `found`."""
        await _together(ports, [self._check(ports, member) for member in members])

    async def _check(self, ports: Ports, member: Member) -> None:
        call, id = _question(member, self._policy.timeout), member.deployment.id
        if call is None:
            return
        try:
            await self._ask(ports, call)
        except HeadraceError as error:
            kind, now = error.failure.kind, ports.clock.now()
            if kind in _NOT_SICK or (self._policy.forgiving and kind in _TRANSIENT):
                self.found.setdefault(id, Found(now, None, str(error)))
                return
            self.found[id] = Found(now, False, f"{type(error).__name__}: {error}")
            if self._policy.routes:
                member.health.unwell = now + self._policy.staleness
                self._fleet.rests(member, member.health.unwell)
        else:
            self.found[id] = Found(ports.clock.now(), True)


async def _watch(checks: weakref.ref[Checks], ports: Ports, waiter: Waiter) -> None:
    """Run rounds until the Router is closed or garbage-collected."""
    try:
        while (keeper := checks()) is not None and not keeper.closed:
            wait = await keeper.round(ports)
            del keeper
            await waiter.wait(max(wait, 0.05))
    finally:
        if (keeper := checks()) is not None:
            keeper.left(waiter)


def _info(member: Member) -> dict[str, Any]:
    return dict(member.deployment.model_info)


def _question(member: Member, timeout: float) -> Call | None:
    """The check request for this deployment; None for one that cannot be checked cheaply."""
    deployment, info = member.deployment, _info(member)
    facts = find(deployment.priced_as) or {}
    mode = str(info.get("mode") or facts.get("mode") or "chat")
    question = _QUESTIONS.get({"completion": "chat", "responses": "chat"}.get(mode, mode))
    if question is None or "*" in deployment.model:
        return None
    operation, prompt, options = question
    given = {"max_wait": 0.0, "num_retries": 0, "timeout": info.get("health_check_timeout", timeout), "tenant": TENANT}
    call = prepare(operation, deployment.group, prompt, False, {**options, **given})
    call.deployment = deployment.id
    return call


async def _together(ports: Ports, jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all jobs, `AT_ONCE` at a time; one after another where ports block."""
    if ports.blocking or ports.spawn is None:
        for job in jobs:
            await job
        return
    for start in range(0, len(jobs), AT_ONCE):
        await _at_once(ports, jobs[start : start + AT_ONCE])


async def _at_once(ports: Ports, jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    waiter, under_way = ports.clock.waiter(), set(range(len(jobs)))

    async def run(number: int, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        finally:
            under_way.discard(number)
            waiter.wake()

    assert ports.spawn is not None
    cancels = [ports.spawn(run(number, job)) for number, job in enumerate(jobs)]
    try:
        while under_way:
            await waiter.wait(None)
    finally:
        for cancel in cancels if under_way else ():
            cancel()
