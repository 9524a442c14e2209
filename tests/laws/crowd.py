"""Many callers at a limiter in virtual time, with an independent account of what was admitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from headrace.errors import Failure, HeadraceError, Kind
from headrace.limits import Ask, Charge, Limit, Limiter, LimiterSettings, Profile, Reservation, Unit, Used
from headrace.runtime.virtual import Cancelled, Task, World

Ending: TypeAlias = Literal["served", "unknown", "refused", "released"]
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Call:
    """One call to make."""

    at: float
    prompt: int = 10
    most: int = 10
    """max_tokens."""
    output: int = 5
    lasts: float = 1.0
    tenant: str = ""
    weight: float = 1.0
    priority: int = 1
    scopes: tuple[str, ...] = ()
    money: int = 0
    spent: int = 0
    max_wait: float | None = None
    leaves: float | None = None
    """Seconds after which the caller cancels."""
    ending: Ending = "served"

    def ask(self) -> Ask:
        charge = Charge(input=self.prompt, max_output=self.most, money=self.money)
        return Ask(
            "g", charge, tenant=self.tenant, weight=self.weight, priority=self.priority, scopes=self.scopes, max_wait=self.max_wait
        )  # fmt: skip


@dataclass(eq=False)
class Grant:
    """One admitted call."""

    call: Call
    deployment: str
    at: float
    waited: float
    ended: float = math.inf

    def cost(self, unit: Unit, accounting: str, now: float) -> float:
        """Its cost against a limit at `now`, by what was charged when it was admitted."""
        call, over = self.call, self.ended <= now
        if over and call.ending == "released":
            return 0.0
        if over and call.ending == "refused":
            return 0.0
        if unit is Unit.REQUESTS:
            return 1.0
        if unit is Unit.MONEY:
            return call.spent if over and call.ending == "served" else call.money
        if unit is Unit.INPUT:
            return call.prompt
        settled = over and call.ending == "served" and accounting == "settle"
        output = 0 if accounting == "post" else call.output if settled else call.most
        return output if unit is Unit.OUTPUT else call.prompt + output


@dataclass
class Crowd:
    """Callers of one limiter, and a record of what happened to each call."""

    limiter: Limiter
    world: World = field(default_factory=World)
    accounting: str = "reserve"
    grants: list[Grant] = field(default_factory=list)
    errors: list[tuple[Call, float, HeadraceError]] = field(default_factory=list)
    waiting: dict[Call, float] = field(default_factory=dict)
    tasks: list[Task[None]] = field(default_factory=list)

    def come(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self.world.at(call.at, lambda call=call: self._arrive(call))  # type: ignore[misc]

    def _arrive(self, call: Call) -> None:
        task = self.world.spawn(self.serve(call))
        self.tasks.append(task)
        if call.leaves is not None:
            self.world.at(call.at + call.leaves, task.cancel)

    async def serve(self, call: Call) -> None:
        self.waiting[call] = self.world.now()
        try:
            held = await self.limiter.reserve(call.ask(), self.world)
        except HeadraceError as error:
            self.errors.append((call, self.world.now(), error))
            return
        finally:
            began = self.waiting.pop(call)
        grant = Grant(call, held.deployment, self.world.now(), self.world.now() - began)
        self.grants.append(grant)
        try:
            await self.world.sleep(call.lasts)
            self._end(grant, held)
        except Cancelled:
            self.limiter.settle(held, used=None, now=self.world.now())  # its request was on its way
            grant.call, grant.ended = Call(**{**vars(call), "ending": "unknown"}), self.world.now()
            raise

    def _end(self, grant: Grant, held: Reservation) -> None:
        call, now = grant.call, self.world.now()
        grant.ended = now
        if call.ending == "released":
            self.limiter.release(held, now)
        elif call.ending == "refused":
            self.limiter.settle(held, used=None, failure=Failure(Kind.BAD_REQUEST, "no"), now=now)
        else:
            used = Used(input=call.prompt, output=call.output, money=call.spent) if call.ending == "served" else None
            self.limiter.settle(held, used=used, now=now)
        self.limiter.settle(held, used=Used(input=9_999, output=9_999, money=9_999), now=now)  # a second word does not count
        self.limiter.release(held, now)

    def at(self, deployment: str | None = None, scope: str | None = None) -> list[Grant]:
        """The calls admitted to a deployment, or under a scope, in order."""
        return [
            grant
            for grant in self.grants
            if (deployment is None or grant.deployment == deployment) and (scope is None or scope in grant.call.scopes)
        ]


def most_in_a_window(grants: Sequence[Grant], unit: Unit, window: float, accounting: str) -> float:
    """The highest use of any window, computed at each grant from the costs known at that time."""
    most = 0.0
    for grant in grants:
        now = grant.at
        inside = [other for other in grants if now - window + TOLERANCE < other.at <= now]
        most = max(most, sum(other.cost(unit, accounting, now) for other in inside))
    return most


def most_at_once(grants: Sequence[Grant]) -> int:
    return max((sum(other.at <= grant.at < other.ended for other in grants) for grant in grants), default=0)


def moments(until: float, step: float = 0.5) -> Iterator[float]:
    """Times that never coincide with the time at which a limit has room again."""
    count = 0
    while (at := count * step + 0.13717) < until:
        yield at
        count += 1


def limiter_of(
    *limits: Limit, deployments: int = 1, profile: Profile | None = None, settings: LimiterSettings | None = None
) -> Limiter:  # fmt: skip
    """A limiter with deployments d0, d1, …, each with these limits."""
    limiter = Limiter(settings=settings, random=Random(1))
    for number in range(deployments):
        limiter.add(f"d{number}", group="g", limits=limits, profile=profile or Profile())
    return limiter


SECONDS = st.integers(0, 480).map(lambda quarters: quarters / 4)


def calls(**fixed: object) -> st.SearchStrategy[Call]:
    """A strategy for calls of every kind; keyword arguments fix some fields."""
    traits: dict[str, st.SearchStrategy[object]] = {
        "at": SECONDS,
        "prompt": st.integers(0, 400),
        "most": st.integers(0, 400),
        "output": st.integers(0, 400),
        "lasts": st.sampled_from((0.0, 0.25, 3.0, 20.0)),
        "tenant": st.sampled_from("abc"),
        "priority": st.sampled_from((0, 1, 1, 2)),
        "scopes": st.sampled_from(((), ("key",), ("key", "team"), ("key", "team", "all"), ("all",))),
        "leaves": st.none() | st.none() | st.sampled_from((0.0, 0.25, 1.0, 7.0, 30.0)),
        "ending": st.sampled_from(("served", "served", "served", "unknown", "refused", "released")),
    }
    given = {**traits, **{name: st.just(value) for name, value in fixed.items()}}
    return st.builds(_sound, st.fixed_dictionaries(given))


def _sound(traits: dict[str, object]) -> Call:
    """Output is at most max_tokens, and cost at most the reserved cost."""
    call = Call(**traits)  # type: ignore[arg-type]
    return Call(**{**vars(call), "output": min(call.output, call.most), "spent": min(call.spent, call.money)})
