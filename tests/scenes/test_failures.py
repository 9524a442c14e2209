"""Failing providers: what callers see, and what the Router does."""

from __future__ import annotations

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import AuthenticationError, HeadraceError, InternalServerError


def test_a_failing_provider_is_avoided_and_used_again_after_its_cooldown() -> None:
    """Calls move to the survivor within one failure, and return after the cooldown."""
    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a"), stage.deployment("b"))
    stage.at(30, lambda: stage.providers.control(provider="a", dies=True))
    stage.at(60, lambda: stage.providers.control(provider="a", recovers=True))
    stage.offer(rate=2, until=120)
    stage.run()
    assert stage.failed() == []
    assert stage.by("a", 0, 29) > 0
    assert stage.by("a", 32, 58) == 0
    assert stage.by("a", since=115) > 0
    assert stage.idle()


def test_one_bad_key_among_three_is_routed_around() -> None:
    stage = Stage(provider("a"), provider("b"), provider("locked", api_keys=("another",)))
    stage.open(*(stage.deployment(name) for name in ("a", "b", "locked")))
    stage.offer(rate=5, until=60)
    stage.run()
    assert stage.failed() == []
    assert stage.by("locked") == 0
    assert stage.providers.stats()["locked"]["statuses"].get("401", 0) <= 10


def test_a_single_deployment_is_retried_before_the_caller_gets_the_error() -> None:
    stage = Stage(provider("a", faults=({"kind": "status", "status": 500},)))
    stage.open(stage.deployment("a"), num_retries=2)
    stage.send()
    stage.run()
    [served] = stage.log
    assert isinstance(served.error, InternalServerError)
    assert stage.providers.stats()["a"]["requests"] == 3


def test_a_rejected_key_is_not_retried() -> None:
    stage = Stage(provider("a", api_keys=("another",)))
    stage.open(stage.deployment("a"))
    stage.send()
    stage.run()
    assert isinstance(stage.log[0].error, AuthenticationError)
    assert stage.providers.stats()["a"]["requests"] == 1


def test_random_failures_are_hidden_from_callers() -> None:
    """Three deployments, each failing three calls in ten: retries elsewhere hide nearly all of it."""
    faults = ({"kind": "status", "status": 500, "probability": 0.3},)
    stage = Stage(*(provider(name, faults=faults) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"), num_retries=5)
    stage.offer(rate=5, until=120)
    stage.run()
    assert len(stage.failed()) <= len(stage.log) * 0.01
    assert stage.idle()


def test_a_fallback_chain_is_followed_to_its_end() -> None:
    dead = ({"kind": "status", "status": 503},)
    stage = Stage(provider("a", faults=dead), provider("b", faults=dead), provider("c"))
    stage.open(
        stage.deployment("a", group="first"),
        stage.deployment("b", group="second"),
        stage.deployment("c", group="third"),
        fallbacks=[{"first": ["second", "third"]}],
        num_retries=0,
    )
    stage.send(model="first")
    stage.run()
    assert stage.log[0].by == "c"
    assert [kind for kind, _ in stage.log[0].record["failed"]] == ["overloaded", "overloaded"]


def test_a_stream_that_fails_before_its_first_token_goes_elsewhere() -> None:
    stage = Stage(provider("a", faults=({"kind": "reset"},)), provider("b"))
    stage.open(stage.deployment("a"), stage.deployment("b"))
    stage.send(10, stream=True)
    stage.run()
    assert stage.failed() == []
    assert stage.by("b") == 10
    assert stage.idle()


def test_a_cancelled_call_frees_everything_it_held() -> None:
    """A tenth of the calls are cancelled at a random time: in the queue, waiting for a response, or reading a stream."""
    stage = Stage(provider("a", rpm=120, enforcer="sliding"), provider("b", rpm=60, enforcer="sliding"))
    stage.open(stage.deployment("a", rpm=120), stage.deployment("b", rpm=60))
    tasks = [*stage.send(150), *stage.send(150, stream=True)]
    for task in tasks[::10]:
        stage.at(stage.world.random.random() * 60, task.cancel)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() == 0
    assert sum(served.left for served in stage.log) > 0
    assert stage.idle()


@pytest.mark.parametrize("kind", ["hang", "reset", "cut"])
def test_every_way_a_stream_can_end_is_settled(kind: str) -> None:
    stage = Stage(provider("a", faults=({"kind": "cut", "after": 5, "every": 2},)))
    stage.open(stage.deployment("a", tpm=1_000_000), num_retries=0)
    stage.offer(rate=2, until=20, stream=True)
    stage.run()
    assert all(isinstance(served.error, HeadraceError) or served.by == "a" for served in stage.log)
    assert stage.idle()


def test_a_failed_call_keeps_its_place_in_the_queue() -> None:
    """Symptom: calls that failed at a failing deployment in the first second were answered after all others."""
    stage = Stage(provider("a", rpm=60, enforcer="sliding"), provider("dead", faults=({"kind": "status", "status": 500},)))
    stage.open(stage.deployment("a", rpm=60), stage.deployment("dead", rpm=60, weight=1), cooldown_time=300)
    stage.send(100)
    stage.run()
    assert stage.failed() == []
    rerouted = [served for served in stage.log if served.record["failed"]]
    assert rerouted
    others = sorted(served.done for served in stage.log if not served.record["failed"])
    assert all(served.done <= others[len(others) // 2] for served in rerouted)


def test_a_stream_that_ends_at_once_is_settled() -> None:
    stage = Stage(provider("a", output_tokens=1.0, gap=0.0, ttft=0.0))
    stage.open(stage.deployment("a", tpm=100_000))
    stage.send(20, stream=True, max_tokens=1)
    stage.run()
    assert stage.failed() == []
    assert stage.idle()
