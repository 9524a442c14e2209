"""What a Router reports: events, log records and decision records."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace import Router, subscribe
from headrace.errors import ConfigurationError
from headrace.limits import Used
from headrace.routing.events import Event


def test_a_call_emits_events_when_queued_sent_and_settled() -> None:
    told: list[Event] = []
    stage = Stage(provider("a", rpm=60))
    stage.open(stage.deployment("a", rpm=6), on_event=told.append)
    stage.send(11, tenant="anna")
    stage.run()
    kinds = [event.kind for event in told]
    assert (kinds.count("sent"), kinds.count("settled")) == (11, 11)
    assert kinds.count("queued") == sum(served.waited > 0 for served in stage.log) > 2
    places = [event.availability for event in told if event.availability is not None]
    assert [place.position for place in places] == list(range(1, len(places) + 1))
    assert {place.binding for place in places} == {"rpm"}
    waits = [place.wait for place in places]
    assert waits == sorted(waits)
    assert {event.tenant for event in told if event.kind != "settled"} == {"anna"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_decision_record_has_the_settled_usage(stream: bool) -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"))
    stage.send(stream=stream)
    stage.run()
    settled = stage.log[0].record["settled"]
    assert isinstance(settled, Used)
    assert settled.output > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_subscriber_can_correlate_the_events_of_a_call(stream: bool) -> None:
    """Events of all Routers until the subscription ends; each attempt has its own, with provider, model and, at the end, its record."""
    told: list[Event] = []
    end = subscribe(told.append)
    try:
        stage = Stage(provider("a", faults=[{"kind": "status", "status": 500}]), provider("b", rpm=60))
        stage.open(stage.deployment("a", order=1), stage.deployment("b", order=2, rpm=6))
        stage.send(7, stream=stream)
        stage.run()
    finally:
        end()
    stage.send()
    stage.run()
    calls = {event.call: [] for event in told}
    for event in told:
        calls[event.call].append((event.attempt, event.kind))
    assert len(calls) == 7
    assert all(steps[-1] == (steps[-1][0], "settled") for steps in calls.values())
    for steps in calls.values():
        for attempt in {attempt for attempt, _ in steps}:
            kinds = [kind for number, kind in steps if number == attempt]
            assert [kind for kind in kinds if kind != "queued"] == ["sent", "settled"]
    settled = [event for event in told if event.kind == "settled"]
    assert {(event.provider, event.model, event.deployment) for event in settled} >= {("openai", "gpt-sim", "b")}
    assert all(event.record is not None and event.record["deployment"] == event.deployment for event in settled)
    assert all(event.at >= before.at for before, event in pairwise(told))


def test_a_call_refused_in_the_queue_emits_its_error_and_its_wait() -> None:
    told: list[Event] = []
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_parallel_requests=1), on_event=told.append, num_retries=0)
    stage.send()
    stage.send(max_wait=0)
    [given_up] = stage.send()
    stage.at(0.1, given_up.cancel)
    stage.run()
    refused = [event for event in told if event.kind == "refused"]
    assert [type(event.error).__name__ for event in refused] == ["QueueTimeout", "Cancelled"]
    assert [event.waited for event in refused] == [0.0, pytest.approx(0.1)]
    assert stage.idle()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_cancelled_call_is_not_reported_as_a_success(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Symptom: cancelled calls were logged as "ok"."""
    told: list[Event] = []
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"), on_event=told.append)
    with caplog.at_level(logging.DEBUG, logger="headrace"):
        [task] = stage.send(stream=stream)
        stage.at(0.3, task.cancel)
        stage.run()
    assert told[-1].kind == "settled"
    assert told[-1].error is not None
    assert not caplog.records[-1].getMessage().endswith("ok")


def test_a_failed_attempt_is_reported_with_its_error() -> None:
    told: list[Event] = []
    stage = Stage(provider("a", faults=[{"kind": "status", "status": 500}]))
    stage.open(stage.deployment("a"), on_event=told.append, num_retries=0)
    stage.send()
    stage.run()
    assert told[-1].kind == "settled"
    assert told[-1].error is stage.log[0].error is not None


def test_a_failing_hook_does_not_fail_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise ValueError("my own mistake")

    stage = Stage(provider("a", rpm=60))
    stage.open(stage.deployment("a", rpm=6), on_event=broken)
    stage.send(7)
    stage.run()
    assert stage.failed() == []
    assert "on_event failed" in caplog.text


def test_the_log_contains_the_record_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"))
    with caplog.at_level(logging.DEBUG, logger="headrace"):
        stage.send()
        stage.run()
    found: Any = caplog.records[-1]
    assert found.headrace["deployment"] == "a"
    assert "sk-a" not in repr(found.__dict__)


def test_a_hook_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_event"):
        Router([{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "k"}}], on_event="print")  # type: ignore[arg-type]


def test_a_hook_subscribed_twice_gets_events_until_both_subscriptions_end() -> None:
    """Each subscription ends once, even if its end is called several times."""
    told: list[Event] = []

    def hook(event: Event) -> None:
        told.append(event)

    ends = [subscribe(hook), subscribe(hook)]
    try:
        for left in (2, 1, 0):
            told.clear()
            stage = Stage(provider("a"))
            stage.open(stage.deployment("a"))
            stage.send()
            stage.run()
            assert [event.kind for event in told] == ["sent"] * left + ["settled"] * left
            for _ in range(2):
                ends[max(0, left - 1)]()
    finally:
        for end in ends:
            end()
