"""The next step after a failure."""

from __future__ import annotations

import pytest

from headrace.errors import POLICY, Failure, Kind
from headrace.routing.decide import Fail, Fallback, NextDeployment, RetryHere, RetryPolicy, decide

POLICY_2 = RetryPolicy(retries=2, backoff=1.0, backoff_max=4.0, retry_after_max=30.0)


def step(kind: Kind, attempt: int = 1, *, others: bool = False, fallback: bool = False, queued: bool = False, **facts: object) -> object:
    failure = Failure(kind, "said", **facts)  # type: ignore[arg-type]
    return decide(failure, attempt, others=others, fallback=fallback, policy=POLICY_2, jitter=0.0, queued=queued)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_decided_as_its_row_says(kind: Kind) -> None:
    row = POLICY[kind]
    assert isinstance(step(kind, others=True), NextDeployment) == row.elsewhere
    assert isinstance(step(kind), RetryHere) == row.here
    assert isinstance(step(kind, attempt=9), Fail)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.SERVER, Fallback()),
        (Kind.AUTHENTICATION, Fallback()),
        (Kind.QUEUE_TIMEOUT, Fallback()),
        (Kind.NEVER_FITS, Fallback()),
        (Kind.BAD_REQUEST, Fail()),
        (Kind.CONTENT_POLICY, Fallback()),
        (Kind.CONTEXT_WINDOW, Fallback()),
    ],
)
def test_another_group_is_asked_when_this_one_is_used_up(kind: Kind, expected: object) -> None:
    assert step(kind, attempt=3, fallback=True) == expected


@pytest.mark.parametrize(
    ("attempt", "retry_after", "wait"),
    [(1, None, 0.5), (2, None, 1.0), (1, 7.0, 7.0), (2, 0.0, 0.0)],
)
def test_waits_double_unless_the_provider_says_how_long(attempt: int, retry_after: float | None, wait: float) -> None:
    assert step(Kind.SERVER, attempt, retry_after=retry_after) == RetryHere(wait)


def test_a_retry_after_beyond_patience_is_handed_to_the_caller() -> None:
    assert step(Kind.RATE_LIMIT, retry_after=3600.0) == Fail()


def test_jitter_never_shortens_what_the_provider_asked_for() -> None:
    failure = Failure(Kind.RATE_LIMIT, "slow down", retry_after=7.0)
    for jitter in (0.0, 0.5, 0.999):
        decided = decide(failure, 1, others=False, fallback=False, policy=POLICY_2, jitter=jitter)
        assert isinstance(decided, RetryHere)
        assert 7.0 <= decided.after <= 7.2


def test_the_providers_word_on_retrying_outranks_the_table() -> None:
    assert step(Kind.SERVER, retryable=False) == Fail()
    assert isinstance(step(Kind.BAD_REQUEST, retryable=True), RetryHere)


def test_behind_a_queue_a_429_is_a_wait_not_a_failure() -> None:
    """The limiter holds the call until the limit opens; it is not slept through and not given up after two tries."""
    assert step(Kind.RATE_LIMIT, attempt=5, queued=True, retry_after=100.0) == RetryHere(0.0)
    assert step(Kind.RATE_LIMIT, attempt=9, queued=True) == Fail()


def test_a_limit_is_not_waited_out_where_another_group_stands_behind_or_no_further_attempt_is_wanted() -> None:
    """Symptom: with `fallbacks` a call met eight 429s before it went on; with `num_retries=0` it met as many before it raised."""
    assert step(Kind.RATE_LIMIT, attempt=3, queued=True, fallback=True) == Fallback()
    failure, none = Failure(Kind.RATE_LIMIT, "said", retry_after=1.0), RetryPolicy(retries=0)
    for queued in (True, False):
        assert decide(failure, 1, others=False, fallback=False, policy=none, jitter=0.0, queued=queued) == Fail()
        assert decide(failure, 1, others=False, fallback=True, policy=none, jitter=0.0, queued=queued) == Fallback()
