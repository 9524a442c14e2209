"""Provider outages: retries, cooldowns, fallbacks and timeouts of the shipped Router in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import AuthenticationError, ContextWindowExceededError, Timeout

DEAD = ({"kind": "status", "status": 503},)


def outages(stage: Stage, *names: str, since: float, lasts: float, gap: float = 0.0) -> None:
    """One provider after the other fails and recovers."""
    for name in names:
        stage.at(since, lambda name=name: stage.providers.control(provider=name, dies=True))  # type: ignore[misc]
        stage.at(since + lasts, lambda name=name: stage.providers.control(provider=name, recovers=True))  # type: ignore[misc]
        since += lasts + gap


def test_a_rolling_outage_of_every_deployment_fails_no_call() -> None:
    stage = Stage(*(provider(name) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"))
    outages(stage, "a", "b", "c", since=20, lasts=30, gap=10)
    stage.offer(rate=10, until=150)
    stage.run()
    assert stage.failed() == []
    assert all(stage.by(name) > 100 for name in "abc")
    assert stage.idle()


def test_two_of_three_dead_at_once_fail_no_call() -> None:
    stage = Stage(*(provider(name) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"))
    outages(stage, "a", since=10, lasts=40)
    outages(stage, "b", since=10, lasts=40)
    stage.offer(rate=5, until=60)
    stage.run()
    assert stage.failed() == []
    assert stage.by("c", 12, 48) >= 5 * 35


def test_a_provider_that_never_responds_is_abandoned_after_its_timeout() -> None:
    stage = Stage(provider("mute", faults=({"kind": "hang"},)), provider("b"))
    stage.open(stage.deployment("mute"), stage.deployment("b"), timeout=5)
    stage.offer(rate=2, until=60)
    stage.run()
    assert stage.failed() == []
    assert stage.by("mute") == 0
    waits = sorted(served.done - served.sent for served in stage.log if served.done is not None)
    assert waits[-1] < 12, "at most one time limit and an answer"
    assert stage.idle()


@pytest.mark.parametrize("streams", [False, True])
def test_three_failures_in_ten_on_every_deployment_are_hidden_from_callers(streams: bool) -> None:
    faults = ({"kind": "status", "status": 500, "probability": 0.3},)
    stage = Stage(*(provider(name, faults=faults) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"), num_retries=6)
    stage.offer(rate=10, until=120, **({"stream": True} if streams else {}))
    stage.run()
    assert len(stage.failed()) <= len(stage.log) * 0.01
    served = [stage.by(name) for name in "abc"]
    assert min(served) > sum(served) / 10, "nobody is shut out for failures that everybody has"


@pytest.mark.parametrize("seed", [3, 5, 23, 33])
def test_calls_do_not_wait_for_a_cooldown_while_others_respond(seed: int) -> None:
    """Symptom: a call that had tried all other deployments waited for the last one until its cooldown ended."""
    faults = ({"kind": "status", "status": 500, "probability": 0.3},)
    stage = Stage(*(provider(name, faults=faults) for name in "abc"), seed=seed)
    stage.open(*(stage.deployment(name) for name in "abc"), num_retries=6)
    stage.offer(rate=10, until=120)
    stage.run()
    assert len(stage.failed()) <= len(stage.log) * 0.005, "0.3 to the seventh power, and a little"
    waits = sorted(served.waited for served in stage.log if served.by)
    assert waits[int(len(waits) * 0.98)] < 5, "a rest of all is short"


def test_when_a_probing_call_is_cancelled_the_next_call_probes() -> None:
    """Symptom: the deployment was not used for another half minute."""
    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a"), stage.deployment("b"), num_retries=0)
    stage.providers.control(provider="a", dies=True)
    stage.providers.control(provider="b", dies=True)
    stage.send(20)
    stage.run(until=4)
    for name in "ab":
        stage.providers.control(provider=name, recovers=True)
    tasks: list[Any] = []
    stage.at(6, lambda: tasks.extend(stage.send(2)))
    stage.at(6.1, lambda: [task.cancel() for task in tasks])
    stage.at(7, lambda: stage.send(4))
    stage.run()
    assert [served.done is not None and served.done < 9 for served in stage.log[-4:]] == [True] * 4
    assert stage.idle()


def test_one_bad_key_among_five_costs_one_attempt_a_minute() -> None:
    stage = Stage(*(provider(name) for name in "abcd"), provider("locked", api_keys=("another",)))
    stage.open(*(stage.deployment(name) for name in ("a", "b", "c", "d", "locked")))
    stage.offer(rate=10, until=180)
    stage.run()
    assert stage.failed() == []
    assert stage.providers.stats()["locked"]["statuses"]["401"] <= 5


def test_after_a_total_outage_calls_succeed_again_within_one_cooldown() -> None:
    stage = Stage(*(provider(name) for name in "ab"))
    stage.open(*(stage.deployment(name) for name in "ab"))
    for name in "ab":
        outages(stage, name, since=30, lasts=30)
    stage.offer(rate=4, until=120)
    stage.run()
    assert [served for served in stage.failed() if not 25 <= served.sent <= 60] == []
    assert len([served for served in stage.log if served.by and 60 <= served.sent < 120]) >= 4 * 59
    assert stage.idle()


def test_retries_do_not_multiply_an_outage() -> None:
    """With all providers down, there is one retry for ten calls."""
    stage = Stage(*(provider(name, faults=({"kind": "status", "status": 500},)) for name in "abc"))
    stage.open(*(stage.deployment(name) for name in "abc"), num_retries=5, disable_cooldowns=True)
    stage.offer(rate=50, until=100)
    stage.run()
    attempts = sum(row["requests"] for row in stage.providers.stats().values())
    assert len(stage.failed()) == len(stage.log) == 5000
    assert attempts <= 1.1 * len(stage.log)


def test_without_a_retry_budget_each_call_uses_all_its_retries() -> None:
    stage = Stage(provider("a", faults=({"kind": "status", "status": 500},)))
    stage.open(stage.deployment("a"), num_retries=2, retry_budget=None)
    stage.offer(rate=5, until=60)
    stage.run()
    assert stage.providers.stats()["a"]["requests"] == 3 * 300


def test_after_a_cooldown_a_single_call_probes_the_deployment() -> None:
    stage = Stage(provider("mute", faults=({"kind": "hang"},)), provider("b"))
    stage.open(
        stage.deployment("mute", weight=1), stage.deployment("b", weight=1),
        routing_strategy="simple-shuffle", cooldown_time=10, timeout=3, retry_budget=None,
    )  # fmt: skip
    stage.offer(rate=20, until=95)
    stage.run()
    assert stage.failed() == []
    assert stage.providers.stats()["mute"]["requests"] <= 3 * 20 + 6, "the calls of the first three seconds, then one a rest"


def test_a_chain_of_three_groups_follows_each_groups_own_fallbacks() -> None:
    stage = Stage(provider("a", faults=DEAD), provider("b", faults=DEAD), provider("c"))
    stage.open(
        *(stage.deployment(name, group=name) for name in "abc"), fallbacks=[{"a": ["b"]}, {"b": ["c"]}], num_retries=0
    )  # fmt: skip
    stage.send(model="a")
    stage.run()
    assert stage.log[0].by == "c"


def test_max_fallbacks_bounds_a_chain() -> None:
    stage = Stage(provider("a", faults=DEAD), provider("b", faults=DEAD), provider("c"))
    stage.open(
        *(stage.deployment(name, group=name) for name in "abc"), fallbacks=[{"a": ["b"]}, {"b": ["c"]}], num_retries=0, max_fallbacks=1
    )  # fmt: skip
    stage.send(model="a")
    stage.run()
    assert stage.log[0].error is not None
    assert stage.providers.stats()["c"]["requests"] == 0


def test_a_prompt_too_long_goes_to_the_group_for_long_prompts() -> None:
    stage = Stage(provider("small"), provider("large"), provider("other"))
    stage.open(
        stage.deployment("small", group="small", max_input_tokens=10),
        stage.deployment("large", group="large"),
        stage.deployment("other", group="other"),
        fallbacks=[{"small": ["other"]}],
        context_window_fallbacks=[{"small": ["large"]}],
        enable_pre_call_checks=True,
    )
    stage.send(model="small")
    stage.run()
    assert stage.log[0].by == "large"


def test_without_a_fallback_for_long_prompts_the_caller_gets_the_error() -> None:
    stage = Stage(provider("small"))
    stage.open(stage.deployment("small", max_input_tokens=10), enable_pre_call_checks=True)
    stage.send()
    stage.run()
    assert isinstance(stage.log[0].error, ContextWindowExceededError)
    assert stage.providers.stats()["small"]["requests"] == 0


def test_the_total_timeout_covers_waiting_and_all_attempts() -> None:
    stage = Stage(provider("mute", faults=({"kind": "hang"},)), provider("mute2", faults=({"kind": "hang"},)))
    stage.open(stage.deployment("mute"), stage.deployment("mute2"), timeout=8)
    stage.send(total_timeout=10)
    stage.run()
    [served] = stage.log
    assert isinstance(served.error, Timeout)
    assert served.done is not None
    assert served.done - served.sent == pytest.approx(10, abs=0.5)
    assert stage.idle()


def test_a_retry_policy_by_kind_of_failure_is_followed() -> None:
    stage = Stage(provider("a", api_keys=("another",)))
    stage.open(stage.deployment("a"), retry_policy={"AuthenticationErrorRetries": 2})
    stage.send()
    stage.run()
    assert isinstance(stage.log[0].error, AuthenticationError)
    assert stage.providers.stats()["a"]["requests"] == 3


def test_the_configuration_can_be_replaced_under_load() -> None:
    stage = Stage(*(provider(name) for name in "abc"))
    router = stage.open(stage.deployment("a", rpm=120), stage.deployment("b", rpm=120))
    for when in range(10, 100, 10):
        names = ("b", "c") if when % 20 else ("a", "b")
        stage.at(when, lambda names=names: router.set_model_list([stage.deployment(name, rpm=120) for name in names]))  # type: ignore[misc]
    stage.offer(rate=3, until=110)
    stage.run()
    assert stage.failed() == []
    assert all(stage.by(name) > 0 for name in "abc")
    assert stage.idle()


def test_a_conversation_stays_on_its_deployment() -> None:
    stage = Stage(*(provider(name) for name in "abcd"))
    stage.open(*(stage.deployment(name) for name in "abcd"), routing_strategy="prefix-affinity")
    talks: list[list[dict[str, Any]]] = [[{"role": "user", "content": f"Tale {number}. " * 20}] for number in range(8)]
    for turn in range(5):
        for talk in talks:
            stage.at(turn * 10, lambda talk=list(talk): stage.send(messages=talk))  # type: ignore[misc]
            talk += [{"role": "assistant", "content": "…"}, {"role": "user", "content": f"Go on {turn}."}]
    stage.run()
    by_talk = [{stage.log[turn * 8 + number].by for turn in range(5)} for number in range(8)]
    assert all(len(served) == 1 for served in by_talk), by_talk
    assert len(set().union(*by_talk)) > 1


def test_a_session_stays_on_its_deployment() -> None:
    stage = Stage(*(provider(name) for name in "abcd"))
    stage.open(*(stage.deployment(name) for name in "abcd"), optional_pre_call_checks=["session_affinity"])
    for when in range(6):
        stage.at(when * 5, lambda: stage.send(session_id="s"))
    stage.run()
    assert len({served.by for served in stage.log}) == 1


def test_a_custom_strategy_chooses_the_deployment() -> None:
    class Always:
        def get_available_deployment(self, model: str, **_: Any) -> dict[str, Any]:
            raise AssertionError("this world suspends")

        async def async_get_available_deployment(self, model: str, **_: Any) -> dict[str, Any]:
            return {"model_name": model, "model_info": {"id": "b"}}

    stage = Stage(provider("a"), provider("b"))
    stage.open(stage.deployment("a"), stage.deployment("b")).set_custom_routing_strategy(Always())
    stage.send(5)
    stage.run()
    assert [served.by for served in stage.log] == ["b"] * 5


def blip(stage: Stage, names: str, at: float) -> None:
    for name in names:
        stage.at(at, lambda name=name: stage.providers.control(provider=name, dies=True))  # type: ignore[misc]
        stage.at(at + 4, lambda name=name: stage.providers.control(provider=name, recovers=True))  # type: ignore[misc]


def test_below_the_panic_threshold_deployments_in_cooldown_are_tried_at_once() -> None:
    """Symptom: with nine of ten deployments in cooldown for minutes, calls waited although the tenth could not carry the load."""
    stage = Stage(*(provider(name) for name in "abcdefghi"), provider("small", rpm=6))
    stage.open(*(stage.deployment(name) for name in "abcdefghi"), stage.deployment("small", rpm=6), cooldown_time=300)
    blip(stage, "abcdefghi", at=10)
    stage.offer(rate=10, until=60)
    stage.run()
    late = [served for served in stage.log if served.sent >= 20]
    assert [served for served in late if served.error is not None] == []
    assert max(served.waited for served in late) < 5
    assert stage.idle()


def test_above_the_panic_threshold_deployments_in_cooldown_are_not_tried() -> None:
    stage = Stage(*(provider(name) for name in "abcdef"))
    stage.open(*(stage.deployment(name) for name in "abcdef"), cooldown_time=300, num_retries=4)
    blip(stage, "abcd", at=10)
    stage.offer(rate=10, until=60)
    stage.run()
    assert stage.failed() == []
    assert sum(stage.by(name, since=16) for name in "abcd") == 0
