"""What to do after a failed attempt: a pure function over the table in `errors.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from headrace.errors import POLICY, Failure, Kind


class RetryPolicy(Struct, frozen=True):
    """How often and with what backoff to retry."""

    retries: int = 2
    """Further attempts after the first, in one model group."""
    by_kind: Mapping[Kind, int] = {}
    """Further attempts by kind of failure. Overrides everything else, also where the table says that a retry cannot help."""
    rate_limited_retries: int = 8
    """Further attempts after a provider's 429, when the call waits in a queue until the limit opens."""
    backoff: float = 0.5
    """Seconds before the first retry on the same deployment; doubles each time."""
    backoff_max: float = 8.0
    """Seconds. Also the longest sleep on a provider's Retry-After for a call that is not queued."""
    retry_after_max: float = 60.0
    """Seconds. With a longer Retry-After the call fails instead of sleeping."""
    retry_after_min: float = 0.0
    """Seconds that every retry waits at least (litellm's `retry_after`)."""

    def most(self, kind: Kind, queued: bool, fallback: bool = False) -> int:
        """Further attempts after a failure of that kind.

        `rate_limited_retries` applies only to queued calls that have retries and no fallback group.
        """
        waits = queued and kind is Kind.RATE_LIMIT and self.retries > 0 and not fallback
        return self.by_kind.get(kind, self.rate_limited_retries if waits else self.retries)


class RetryHere(Struct, frozen=True):
    after: float
    """Seconds."""


class NextDeployment(Struct, frozen=True):
    pass


class Fallback(Struct, frozen=True):
    """Leave this model group. The caller of `decide` knows whether there is another one."""


class Fail(Struct, frozen=True):
    pass


Step: TypeAlias = RetryHere | NextDeployment | Fallback | Fail

_ANOTHER_MODEL = frozenset({
    Kind.NEVER_FITS, Kind.QUEUE_FULL, Kind.QUEUE_TIMEOUT, Kind.BUDGET, Kind.CONTEXT_WINDOW, Kind.CONTENT_POLICY, Kind.UNSUPPORTED_PARAMS,
})  # fmt: skip
"""Failures that another deployment of the same model cannot avoid, but another model may."""


def decide(
    failure: Failure, attempt: int, *, others: bool, fallback: bool, policy: RetryPolicy, jitter: float, queued: bool = False,
    time_left: float = math.inf,
) -> Step:  # fmt: skip
    """The next step after attempt number `attempt` (1 is the first) failed.

    others: another deployment of the group is left to try; fallback: there is a fallback group; jitter: a random number
    from [0, 1); queued: a limiter holds the call back until the provider's limit opens again; time_left: seconds until
    the whole call must end.
    """
    row = POLICY[failure.kind]
    if time_left <= 0:
        return Fail()
    if attempt <= policy.most(failure.kind, queued, fallback):
        if others and row.elsewhere:
            return NextDeployment()
        if queued and failure.kind is Kind.RATE_LIMIT:
            return RetryHere(0.0)  # the limiter knows when the limit opens; sleeping here as well would lose the call's place in the queue
        here = row.here if failure.retryable is None else failure.retryable
        here = here or failure.kind in policy.by_kind
        wait = _wait(failure, attempt, policy, jitter)
        if here and wait <= min(policy.retry_after_max, time_left):
            return RetryHere(wait)
    if fallback and (row.elsewhere or failure.kind in _ANOTHER_MODEL):
        return Fallback()
    return Fail()


def _wait(failure: Failure, attempt: int, policy: RetryPolicy, jitter: float) -> float:
    """Seconds: what the provider asked for plus jitter, never less; without that, exponential backoff with jitter."""
    bound = min(policy.backoff_max, policy.backoff * 2.0 ** (attempt - 1))
    if failure.retry_after is not None:
        return max(failure.retry_after, policy.retry_after_min) + 0.1 * bound * jitter
    return max(bound * (0.5 + 0.5 * jitter), policy.retry_after_min)
