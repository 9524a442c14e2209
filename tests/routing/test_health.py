"""Cooldowns: which deployments, and for how long."""

from __future__ import annotations

import pytest

from headrace.errors import Failure, Kind
from headrace.routing.health import CooldownPolicy, Health, failed, succeeded

POLICY = CooldownPolicy(cooldown=5.0, longest=20.0, allowed_fails=0)


def fail(health: Health, kind: Kind, now: float, policy: CooldownPolicy = POLICY) -> float | None:
    return failed(health, Failure(kind, "said"), now, policy)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (Kind.SERVER, 5.0),
        (Kind.OVERLOADED, 5.0),
        (Kind.TIMEOUT, 5.0),
        (Kind.CONNECTION, 5.0),
        (Kind.AUTHENTICATION, 60.0),
        (Kind.NOT_FOUND, 60.0),
        (Kind.RATE_LIMIT, None),
        (Kind.BAD_REQUEST, None),
        (Kind.CONTEXT_WINDOW, None),
    ],
)
def test_a_deployment_rests_for_its_own_failures_only(kind: Kind, rest: float | None) -> None:
    health = Health()
    assert fail(health, kind, 0.0) == rest
    assert health.cooling(4.9) == (rest is not None)


def test_each_further_failure_doubles_the_rest_and_a_success_ends_it() -> None:
    health = Health()
    assert [fail(health, Kind.SERVER, now) for now in (0.0, 5.0, 15.0, 35.0)] == [5.0, 10.0, 20.0, 20.0]
    succeeded(health)
    assert fail(health, Kind.SERVER, 100.0) == 5.0


def test_failures_of_calls_sent_before_the_rest_do_not_prolong_it() -> None:
    health = Health()
    assert fail(health, Kind.SERVER, 0.0) == 5.0
    assert [fail(health, Kind.SERVER, 0.1) for _ in range(50)] == [None] * 50
    assert not health.cooling(5.0)


def test_allowed_failures_pass_before_a_deployment_rests() -> None:
    health, policy = Health(), CooldownPolicy(allowed_fails=2)
    assert [fail(health, Kind.SERVER, 0.0, policy) for _ in range(3)] == [None, None, 5.0]


@pytest.mark.parametrize(("kind", "rests"), [(Kind.SERVER, [None, 5.0]), (Kind.TRUNCATED, [None, 5.0]), (Kind.CONNECTION, [5.0, None])])
def test_a_failure_that_comes_now_and_then_is_let_pass_once(kind: Kind, rests: list[float | None]) -> None:
    health, policy = Health(), CooldownPolicy()
    assert [fail(health, kind, now, policy) for now in (0.0, 1.0)] == rests


def test_one_more_failure_on_trial_is_enough() -> None:
    health, policy = Health(), CooldownPolicy()
    fail(health, Kind.CONNECTION, 0.0, policy)
    assert health.on_trial(6.0)
    assert fail(health, Kind.SERVER, 6.0, policy) == 10.0
    succeeded(health)
    assert not health.on_trial(60.0)


def test_failures_let_pass_may_differ_by_kind() -> None:
    policy = CooldownPolicy(allowed_fails=0, by_kind={Kind.TIMEOUT: 1})
    assert fail(Health(), Kind.TIMEOUT, 0.0, policy) is None
    assert fail(Health(), Kind.SERVER, 0.0, policy) == 5.0


def test_a_deployment_may_have_a_rest_of_its_own() -> None:
    assert failed(Health(), Failure(Kind.CONNECTION, "said"), 0.0, POLICY, 1.5) == 1.5
    assert failed(Health(), Failure(Kind.AUTHENTICATION, "said"), 0.0, POLICY, 1.5) == 60.0


def test_cooldowns_can_be_switched_off() -> None:
    assert fail(Health(), Kind.SERVER, 0.0, CooldownPolicy(disabled=True)) is None


def test_a_success_of_a_call_under_way_ends_the_rest() -> None:
    health = Health()
    fail(health, Kind.SERVER, 0.0)
    succeeded(health)
    assert not health.cooling(0.1)


def last(health: Health, kind: Kind, now: float) -> float | None:
    return failed(health, Failure(kind, "said"), now, CooldownPolicy(), last=True)


def test_where_nobody_else_is_awake_it_takes_more_failures_and_rests_do_not_double() -> None:
    health = Health()
    assert [last(health, Kind.SERVER, 0.0) for _ in range(6)] == [None] * 5 + [5.0]
    assert [last(health, Kind.SERVER, now) for now in (6.0, 12.0)] == [5.0, 5.0]


def test_where_nobody_else_is_awake_a_failure_that_leaves_no_doubt_still_counts_at_once() -> None:
    assert last(Health(), Kind.CONNECTION, 0.0) == 5.0
    assert last(Health(), Kind.AUTHENTICATION, 0.0) == 60.0
