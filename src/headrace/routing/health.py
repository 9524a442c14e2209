"""Which deployments are worth asking: cooldowns from what happened on them.

A deployment rests after failures that are its own (not the caller's, not a rate limit: that one gates the quota instead)
and comes back after its cooldown; each further failure doubles the rest, one success ends the matter.
"""

from __future__ import annotations

from msgspec import Struct

from headrace.errors import POLICY, Failure


class CooldownPolicy(Struct, frozen=True):
    cooldown: float = 5.0
    """Seconds a deployment rests after its first failures."""
    allowed_fails: int = 0
    """Failures in a row that are let pass before it rests."""
    longest: float = 60.0
    """Seconds; rests double up to this."""
    key_rest: float = 60.0
    """Seconds a deployment rests when its key or its model is refused: nothing short will mend that."""
    disabled: bool = False


class Health(Struct, eq=False):
    """How one deployment has been doing. `fails` counts failures in a row, `until` is clock seconds."""

    fails: int = 0
    until: float = float("-inf")
    rests: int = 0
    last: str = ""

    def cooling(self, now: float) -> bool:
        return now < self.until


def succeeded(health: Health) -> None:
    """A success ends the matter."""
    health.fails = 0
    health.rests = 0


def failed(health: Health, failure: Failure, now: float, policy: CooldownPolicy) -> float | None:
    """Note the failure. Seconds of rest if the deployment is to rest now, else None."""
    cool = POLICY[failure.kind].cool
    if policy.disabled or cool in (None, "limit"):
        return None
    health.fails += 1
    health.last = failure.kind.value
    if health.cooling(now) or (cool == "deployment" and health.fails <= policy.allowed_fails):
        return None
    first = policy.cooldown if cool == "deployment" else policy.key_rest
    rest = min(first * 2.0**health.rests, max(first, policy.longest))
    health.rests += 1
    health.until = now + rest
    return rest
