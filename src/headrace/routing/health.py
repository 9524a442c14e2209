"""Passive health: which deployments are in cooldown because of failures.

A deployment goes into cooldown after failures of its own: not those of the caller, and not rate limits, which gate the
quota instead. After the cooldown one call probes it. A success ends the episode; another failure doubles the cooldown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from headrace.errors import POLICY, Failure, Kind

SPORADIC: Final = frozenset({Kind.SERVER, Kind.BAD_GATEWAY, Kind.TRUNCATED, Kind.BAD_RESPONSE})
"""Failures that a working deployment has now and then. One alone is no reason for a cooldown."""

LASTING: Final = frozenset({Kind.AUTHENTICATION, Kind.PAYMENT, Kind.PERMISSION, Kind.NOT_FOUND, Kind.QUOTA_EXHAUSTED})
"""Failures that will not go away soon."""


class CooldownPolicy(Struct, frozen=True):
    cooldown: float = 5.0
    """Seconds of the first cooldown of a deployment."""
    allowed_fails: int | None = None
    """Consecutive failures tolerated before a cooldown. None tolerates one, of a sporadic kind."""
    by_kind: Mapping[Kind, int] = {}
    """The same by kind of failure."""
    longest: float = 60.0
    """Seconds; cooldowns double up to this."""
    lasting: float = 60.0
    """Seconds of cooldown when the deployment's key or model is refused."""
    probe: float = 30.0
    """Seconds that the call which probes a deployment may take before another one may."""
    panic: float = 0.2
    """Minimum share of a group that is not in cooldown. With fewer, and no room on those, deployments in cooldown are
    tried early."""
    certain: int = 5
    """Consecutive sporadic failures tolerated while no other deployment of the group is available."""
    disabled: bool = False

    def lets_pass(self, kind: Kind) -> int:
        usual = (1 if kind in SPORADIC else 0) if self.allowed_fails is None else 0 if kind in LASTING else self.allowed_fails
        return self.by_kind.get(kind, usual)


class CheckPolicy(Struct, frozen=True):
    """Active health checks."""

    interval: float | None = None
    """Seconds between two rounds; None for no periodic checks."""
    staleness: float = 600.0
    """Seconds for which a failed check keeps calls away."""
    routes: bool = True
    """Whether a failed check keeps calls away."""
    forgiving: bool = False
    """Whether a check that timed out or met a rate limit is inconclusive."""
    groups: frozenset[str] | None = None
    """Groups that are checked; None for all."""
    timeout: float = 10.0
    """Seconds that one check may take."""


class Health(Struct, eq=False):
    """Health of one deployment.

    `fails` counts consecutive failures; `until`, the end of its cooldown, is in clock seconds.
    """

    fails: int = 0
    until: float = float("-inf")
    rests: int = 0
    last: str = ""
    unwell: float = float("-inf")
    """Clock seconds until which a failed health check keeps calls away."""

    def cooling(self, now: float) -> bool:
        return now < self.until or now < self.unwell

    def on_trial(self, now: float) -> bool:
        """Whether its cooldown is over, but no call has succeeded since."""
        return self.rests > 0 and not self.cooling(now)


def succeeded(health: Health) -> None:
    """Record a success: resets failures and cooldowns."""
    health.fails = 0
    health.rests = 0
    health.until = float("-inf")
    health.unwell = float("-inf")


def woken(health: Health) -> None:
    """End the cooldown early; whether the deployment works again is not known."""
    health.until = float("-inf")
    health.unwell = float("-inf")


def failed(
    health: Health, failure: Failure, now: float, policy: CooldownPolicy, cooldown: float | None = None, *, last: bool = False
) -> float | None:
    """Record the failure. Returns seconds of cooldown if the deployment must go into one now, else None.

    cooldown: the deployment's own base. last: no other deployment of its group is available. Then all fail alike, and a
    cooldown does not help: more failures are tolerated, and the cooldown does not double.
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
