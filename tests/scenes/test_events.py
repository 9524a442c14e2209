"""What a Router tells: the hook, the log, the decision record."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace import Router
from headrace.errors import ConfigurationError
from headrace.limits import Used
from headrace.routing.events import Event


def test_each_call_is_told_of_when_it_queues_is_sent_and_is_settled() -> None:
    told: list[Event] = []
    stage = Stage(provider("a", rpm=60))
    stage.open(stage.deployment("a", rpm=6), on_event=told.append)
    stage.send(8, tenant="anna")
    stage.run()
    kinds = [event.kind for event in told]
    assert (kinds.count("sent"), kinds.count("settled")) == (8, 8)
    assert kinds.count("queued") == sum(served.waited > 0 for served in stage.log) > 2
    places = [event.availability for event in told if event.availability is not None]
    assert [place.position for place in places] == list(range(1, len(places) + 1))
    assert {place.binding for place in places} == {"rpm"}
    waits = [place.wait for place in places]
    assert waits == sorted(waits)
    assert {event.tenant for event in told if event.kind != "settled"} == {"anna"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_record_says_in_the_end_what_was_settled(stream: bool) -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"))
    stage.send(stream=stream)
    stage.run()
    settled = stage.log[0].record["settled"]
    assert isinstance(settled, Used)
    assert settled.output > 0


def test_a_failed_attempt_is_told_with_its_error() -> None:
    told: list[Event] = []
    stage = Stage(provider("a", faults=[{"kind": "status", "status": 500}]))
    stage.open(stage.deployment("a"), on_event=told.append, num_retries=0)
    stage.send()
    stage.run()
    assert told[-1].kind == "settled"
    assert told[-1].error is stage.log[0].error is not None


def test_a_hook_that_fails_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise ValueError("my own mistake")

    stage = Stage(provider("a", rpm=60))
    stage.open(stage.deployment("a", rpm=6), on_event=broken)
    stage.send(7)
    stage.run()
    assert stage.failed() == []
    assert "on_event failed" in caplog.text


def test_the_log_has_the_record_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
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
