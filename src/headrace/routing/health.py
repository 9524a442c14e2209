"""Which deployments are worth asking: cooldowns from what happened on them.

A deployment rests after failures that are its own (not the caller's, not a rate limit: that one gates the quota instead).
When its rest is over one call tries it: a success ends the matter, another failure doubles the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from headrace.errors import POLICY, Failure, Kind

SPORADIC: Final = frozenset({Kind.SERVER, Kind.BAD_GATEWAY, Kind.TRUNCATED, Kind.BAD_RESPONSE})
"""Failures that a working deployment has now and then: one alone is no reason to leave it."""

LASTING: Final = frozenset({Kind.AUTHENTICATION, Kind.PAYMENT, Kind.PERMISSION, Kind.NOT_FOUND, Kind.QUOTA_EXHAUSTED})
"""Failures that nothing short will mend."""


class CooldownPolicy(Struct, frozen=True):
    cooldown: float = 5.0
    """Seconds a deployment rests after its first failures."""
    allowed_fails: int | None = None
    """Failures in a row that are let pass before it rests; None: one, of a kind that comes now and then."""
    by_kind: Mapping[Kind, int] = {}
    """The same for a kind of failure."""
    longest: float = 60.0
    """Seconds; rests double up to this."""
    lasting: float = 60.0
    """Seconds a deployment rests when its key or its model is refused."""
    probe: float = 30.0
    """Seconds that the call which tries a rested deployment may take, until another one may."""
    panic: float = 0.2
    """The share of a group that must be awake; with fewer, and no room there, whoever rests is asked before its time."""
    certain: int = 5
    """Failures in a row, of a kind that comes now and then, that are let pass where nobody else of the group is awake."""
    disabled: bool = False

    def lets_pass(self, kind: Kind) -> int:
        usual = (1 if kind in SPORADIC else 0) if self.allowed_fails is None else 0 if kind in LASTING else self.allowed_fails
        return self.by_kind.get(kind, usual)


class CheckPolicy(Struct, frozen=True):
    """Active health checks."""

    interval: float | None = None
    """Seconds between two rounds; None for none but those that are asked for."""
    staleness: float = 600.0
    """Seconds for which a check that failed keeps calls away."""
    routes: bool = True
    """Whether it does."""
    forgiving: bool = False
    """Whether a check that failed for its time or a rate limit says nothing."""
    groups: frozenset[str] | None = None
    """Whom it concerns; None for all."""
    timeout: float = 10.0
    """Seconds that a check may take."""


class Health(Struct, eq=False):
    """How one deployment has been doing. `fails` counts failures in a row, `until` is clock seconds."""

    fails: int = 0
    until: float = float("-inf")
    rests: int = 0
    last: str = ""
    unwell: float = float("-inf")
    """Clock seconds until which the word of a health check counts that found it broken."""

    def cooling(self, now: float) -> bool:
        return now < self.until or now < self.unwell

    def on_trial(self, now: float) -> bool:
        """Whether it has rested, and nobody knows yet if it works again."""
        return self.rests > 0 and not self.cooling(now)


def succeeded(health: Health) -> None:
    """A success ends the matter."""
    health.fails = 0
    health.rests = 0
    health.until = float("-inf")
    health.unwell = float("-inf")


def woken(health: Health) -> None:
    """Its rest is over before its time; whether it works again is not known."""
    health.until = float("-inf")
    health.unwell = float("-inf")


def failed(
    health: Health, failure: Failure, now: float, policy: CooldownPolicy, cooldown: float | None = None, *, last: bool = False
) -> float | None:
    """Note the failure. Seconds of rest if the deployment is to rest now, else None. cooldown: the deployment's own.

    last: nobody else of its group is awake. Then all fail alike, or nearly, and a rest helps nobody: it takes more failures, and does not
    double.
    """
    if policy.disabled or POLICY[failure.kind].cool in (None, "limit"):
        return None
    health.fails += 1
    health.last = failure.kind.value
    if health.cooling(now) or (health.fails <= _passed(failure.kind, policy, last) and not health.rests):
        return None
    first = policy.lasting if failure.kind in LASTING else policy.cooldown if cooldown is None else cooldown
    rest = first if last else min(first * 2.0**health.rests, max(first, policy.longest))
    health.rests += 1
    health.until = now + rest
    return rest


def _passed(kind: Kind, policy: CooldownPolicy, last: bool) -> int:
    passed = policy.lets_pass(kind)
    return max(passed, policy.certain) if last and kind in SPORADIC else passed
