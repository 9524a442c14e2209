"""Prometheus metrics around real calls; answers are made here (`mock_response`), the way they take is the real one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.utils import floatToGoString

import headrace
from conftest import Colour
from headrace.calls import CHAT, Call
from headrace.layers import around
from headrace.layers.metrics import LATENCIES, MOST_MODELS, OTHER, Metrics
from headrace.layers.observing import Outcome

MESSAGES = [{"role": "user", "content": "Hello"}]
WHO = {"operation": "chat", "model": "openai/gpt-4o", "provider": "openai", "deployment": ""}


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    before, around._layers = around._layers, ()
    made = Metrics()
    made.install()
    yield made
    around._layers = before


def call(colour: Colour, on: Any = headrace, model: str = "openai/gpt-4o", **options: Any) -> Any:
    async def whole() -> Any:
        answer = await on.acompletion(model, MESSAGES, **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer

    if colour.is_async:
        return asyncio.run(whole())
    answer = on.completion(model, MESSAGES, **options)
    return list(answer) if options.get("stream") else answer


def router(**limits: Any) -> headrace.Router:
    params = {"model": "openai/gpt-4o", "api_key": "k", "mock_response": "Hi there", **limits}
    return headrace.Router([{"model_name": "group", "litellm_params": params, "model_info": {"id": "d"}}])


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"headrace_{name}", {**WHO, **labels})


def test_times_fall_into_the_buckets_that_prometheus_has_them_in(metrics: Metrics) -> None:
    """Also one that is a bound itself, one beyond all bounds, and several of one bucket."""
    seconds = [0.0, 0.01, 0.05, 0.0501, 0.06, 640.0, 1000.0]
    theirs = CollectorRegistry()
    histogram = Histogram("call_seconds", "", WHO, namespace="headrace", buckets=LATENCIES, registry=theirs).labels(**WHO)
    counting = around.counting()
    assert counting is not None
    for one in seconds:
        histogram.observe(one)
        for tell in counting:
            tell(Outcome(Call(CHAT, "openai/gpt-4o", {}, None, [], {}), 0.0, None, one, hidden={"custom_llm_provider": "openai"}))
    assert value(metrics, "call_seconds_bucket", le="0.05") == 3
    for ending in [*({"le": floatToGoString(bound)} for bound in LATENCIES), {"le": "+Inf"}]:
        told = theirs.get_sample_value("headrace_call_seconds_bucket", {**WHO, **ending})
        assert value(metrics, "call_seconds_bucket", **ending) == told is not None
    assert value(metrics, "call_seconds_sum") == pytest.approx(sum(seconds))


def test_plain_answers_that_are_told_together_are_counted_like_any_other(metrics: Metrics) -> None:
    """Whoever has several of them at once tells no more of each than is counted."""
    one_by_one, together, known = around.counting(), around.counting_together(), {"custom_llm_provider": "openai", "model_id": "d"}
    assert one_by_one is not None
    assert together is not None
    answers = [(0.03, 0.0, 23, 28, 326_000), (0.7, 0.2, 5, 0, None), (0.02, 0.0, 9, 3, 90)]
    for model, seconds, waited, input, output, cost in [("one by one", *answer) for answer in answers]:
        told = known | {"model_group": model, "headrace": {"waited": waited}, "response_cost": None if cost is None else cost / 1e9}
        usage = {"prompt_tokens": input, "completion_tokens": output}
        one_by_one[0](Outcome(Call(CHAT, model, {}, None, [], {}), 1.0, None, 1.0 + seconds, hidden=told, usage=usage))
    together[0]([(("chat", "together", "openai", "d"), *answer) for answer in answers])
    lines = metrics.render().decode().splitlines()
    said = [sorted(line.replace(name, "") for line in lines if f'"{name}"' in line) for name in ("one by one", "together")]
    assert [line.rpartition(" ")[0] for line in said[0]] == [line.rpartition(" ")[0] for line in said[1]]
    assert [_number(line) for line in said[0]] == pytest.approx([_number(line) for line in said[1]])
    assert sum("_created" not in line for line in said[1]) > 40


def _number(line: str) -> float:
    """Of a sample, but for the moment at which it began."""
    return 0.0 if "_created" in line else float(line.rpartition(" ")[2])


def test_a_call_is_counted_with_its_tokens_its_cost_and_its_time(metrics: Metrics, colour: Colour) -> None:
    answer = call(colour, mock_response="Hi there")
    assert value(metrics, "calls_total", outcome="ok") == 1
    assert value(metrics, "tokens_total", kind="input") == answer.usage.prompt_tokens > 0
    assert value(metrics, "tokens_total", kind="output") == answer.usage.completion_tokens > 0
    assert value(metrics, "cost_dollars_total") == pytest.approx(answer._hidden_params["response_cost"])
    assert value(metrics, "call_seconds_count") == 1
    assert value(metrics, "first_token_seconds_count") == 0


def test_a_stream_is_counted_at_its_end_with_the_time_to_its_first_token(metrics: Metrics, colour: Colour) -> None:
    chunks = call(colour, mock_response="Hi there", stream=True, stream_options={"include_usage": True})
    assert len(chunks) > 1
    assert value(metrics, "calls_total", outcome="ok") == 1
    assert value(metrics, "first_token_seconds_count") == 1
    assert (value(metrics, "tokens_total", kind="output") or 0) > 0


def test_a_failure_is_counted_by_its_kind(metrics: Metrics, colour: Colour) -> None:
    with pytest.raises(headrace.AuthenticationError):
        call(colour, mock_response=headrace.AuthenticationError("no", "openai", "gpt-4o"))
    assert value(metrics, "calls_total", outcome="authentication") == 1
    assert value(metrics, "calls_total", outcome="ok") is None


def test_a_caller_who_leaves_a_stream_is_counted_once(metrics: Metrics) -> None:
    stream = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one two three", stream=True)
    next(stream)
    stream.close()
    del stream
    assert value(metrics, "calls_total", outcome="left") == 1
    assert value(metrics, "call_seconds_count") == 1


def test_a_routers_call_names_its_group_and_its_deployment(metrics: Metrics, colour: Colour) -> None:
    call(colour, router(rpm=100), "group")
    who = {"model": "group", "deployment": "d"}
    assert value(metrics, "calls_total", outcome="ok", **who) == 1
    assert value(metrics, "queue_wait_seconds_count", **who) == 1


def test_an_answer_from_the_cache_costs_nothing(metrics: Metrics, colour: Colour) -> None:
    params = {"model": "openai/gpt-4o", "api_key": "k", "mock_response": "Hi there"}
    caching = headrace.Router([{"model_name": "group", "litellm_params": params, "model_info": {"id": "d"}}], cache=headrace.Cache())
    for _ in range(3):
        call(colour, caching, "group")
    once = call(colour, router(), "group")
    who = {"model": "group", "deployment": "d"}
    assert value(metrics, "calls_total", outcome="cached", **who) == 2
    assert value(metrics, "tokens_total", kind="output", **who) == 2 * once.usage.completion_tokens


def test_a_watched_router_shows_its_queue_and_what_is_left_of_its_limits(metrics: Metrics, colour: Colour) -> None:
    watched = router(rpm=100)
    metrics.watch(watched)
    call(colour, watched, "group")
    read = metrics.registry.get_sample_value
    assert read("headrace_queue_depth", {"model": "group"}) == 0
    assert read("headrace_limit", {"deployment": "d", "limit": "rpm"}) == 100
    assert read("headrace_limit_headroom", {"deployment": "d", "limit": "rpm"}) == 99
    assert read("headrace_cooldown_seconds", {"deployment": "d"}) == 0


def test_two_routers_with_deployments_of_one_name_are_shown_once(metrics: Metrics) -> None:
    both = [router(rpm=5), router(rpm=5)]
    for each in both:
        metrics.watch(each)
    assert metrics.render().count(b'headrace_limit{deployment="d",limit="rpm"} 5.0') == 1


def test_a_router_that_is_gone_is_not_kept_alive(metrics: Metrics) -> None:
    metrics.watch(router(rpm=5))
    gc.collect()
    assert b'deployment="d"' not in metrics.render()


def test_made_up_model_names_share_one_series_after_a_while(metrics: Metrics) -> None:
    metrics._models = {f"m{number}" for number in range(MOST_MODELS)}
    headrace.completion("openai/anything", MESSAGES, mock_response="x")
    assert value(metrics, "calls_total", model=OTHER, outcome="ok") == 1


def test_what_prometheus_scrapes_reads_as_its_format(metrics: Metrics, colour: Colour) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    call(colour, mock_response="Hi")
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"headrace_calls", "headrace_tokens", "headrace_cost_dollars", "headrace_call_seconds", "headrace_queue_depth"} <= names


def test_metrics_live_in_the_registry_they_are_given() -> None:
    registry = CollectorRegistry()
    assert Metrics(registry, prefix="mine").registry is registry
    assert "mine_queue_depth" in {family.name for family in registry.collect()}


def test_nothing_is_counted_once_it_is_removed(metrics: Metrics) -> None:
    metrics.remove()
    headrace.completion("openai/gpt-4o", MESSAGES, mock_response="x")
    assert value(metrics, "calls_total", outcome="ok") is None


def test_a_measure_that_fails_hurts_no_call(metrics: Metrics, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_who", lambda outcome: 1 / 0)
    assert call(colour, mock_response="Hi").choices[0].message.content == "Hi"


def test_a_stream_that_is_closed_after_its_end_is_counted_once(metrics: Metrics) -> None:
    with headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one two", stream=True) as stream:
        assert len(list(stream)) > 1
    stream.close()
    assert value(metrics, "calls_total", outcome="ok") == 1
    assert value(metrics, "calls_total", outcome="left") is None
