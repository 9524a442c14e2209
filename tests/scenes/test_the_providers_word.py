"""The shipped Router follows the limits that providers report in headers and refusals, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.scenes.stage import Stage, provider

from headrace.dialects.quota import read_quota
from headrace.errors import Failure, Kind
from headrace.limits import Ask, Charge, Limiter, Profile, Used, limits_of
from headrace.routing.events import Event
from headrace.routing.strategies import STRATEGIES


@dataclass
class Told:
    """When calls were sent, according to the Router's events."""

    stage: Stage
    sent: list[tuple[float, str | None]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if event.kind == "sent":
            self.sent.append((self.stage.world.now(), event.deployment))

    def between(self, since: float, until: float) -> int:
        return sum(since < when < until for when, _ in self.sent)


def refusing(name: str, at: float, retry_after: float) -> Any:
    """A provider that returns 429 with this Retry-After for 0.3 seconds from `at` on."""
    return provider(name, faults=[{"kind": "status", "status": 429, "retry_after": retry_after, "since": at, "until": at + 0.3}])


@pytest.mark.parametrize("shared", ["quota_group", "same key, address and model"])
def test_a_retry_after_of_seven_seconds_holds_all_deployments_of_the_account(shared: str) -> None:
    stage = Stage(refusing("a", 10.0, 7.0))
    told = Told(stage)
    keys = {"quota_group": "one", "api_key": "sk-other"} if shared == "quota_group" else {}
    first = stage.deployment("a", rpm=3000, **({"quota_group": "one"} if keys else {}))
    second = {**stage.deployment("a", rpm=3000, group="other", **keys), "model_info": {"id": "sibling"}}
    stage.open(first, second, on_event=told)
    stage.offer(rate=5, until=40)
    stage.offer(rate=5, until=40, model="other")
    stage.run()
    assert stage.failed() == []
    refused = stage.providers.stats()["a"]["statuses"]["429"]
    assert 1 <= refused <= 4, "those that were on their way already"
    assert told.between(10.8, 17.0) == 0
    assert told.between(17.0, 19.0) > 20, "all who waited"
    assert {deployment for when, deployment in told.sent if when > 17.0} == {"a", "sibling"}
    assert stage.idle()


def test_other_accounts_continue_while_one_is_held() -> None:
    refusal = {"kind": "status", "status": 429, "retry_after": 7.0, "since": 10.0, "until": 12.0}
    stage = Stage(provider("a", faults=[refusal]), provider("b"))
    told = Told(stage)
    stage.open(stage.deployment("a", rpm=3000), stage.deployment("b", rpm=3000), on_event=told)
    stage.offer(rate=5, until=30)
    stage.run()
    assert stage.failed() == []
    assert {deployment for when, deployment in told.sent if 12.5 < when < 17.0} == {"b"}


def rejected_since(stage: Stage, moment: float) -> list[int]:
    """The number of refusals up to a time, in a list that is filled when the time comes."""
    seen: list[int] = []
    stage.at(moment, lambda: seen.append(stage.rejected()))
    return seen


@pytest.mark.parametrize("headers", ["openai", "none"])
@pytest.mark.parametrize("enforcer", ["bucket", "sliding", "fixed"])
def test_a_limit_halved_during_a_run_is_kept_within_two_windows(headers: str, enforcer: str) -> None:
    stage = Stage(provider("a", rpm=120, enforcer=enforcer, header_style=headers))
    stage.open(stage.deployment("a", rpm=120))
    stage.at(180, lambda: stage.providers.control(provider="a", rpm=60))
    stage.offer(rate=1.5, until=600)
    felt = 180 if headers == "openai" else 300  # a bucket that was full says nothing until it is empty
    before, after = rejected_since(stage, 180), rejected_since(stage, felt + 120)
    stage.run(until=600)
    assert before == [0]
    assert stage.rejected() <= 12
    assert stage.rejected() - after[0] <= (0 if headers == "openai" else 4)
    assert stage.failed() == []
    served = sum(one.done is not None and one.done > 300 for one in stage.log)
    assert served >= 0.8 * 60 * 5, "and what is left is used"


def test_unknown_limits_are_discovered_with_about_one_refusal_each_and_then_kept() -> None:
    stage = Stage(*(provider(name, rpm=60, enforcer="sliding") for name in "ab"))
    stage.open(stage.deployment("a"), stage.deployment("b"))
    stage.offer(rate=3, until=600)
    early = rejected_since(stage, 120)
    stage.run(until=600)
    assert 1 <= early[0] <= 5, "the first refusal of each, and what was on its way beside it"
    assert stage.rejected() - early[0] <= 4
    assert stage.failed() == []


def test_unexplained_refusals_widen_the_margin_and_their_absence_narrows_it() -> None:
    stage = Stage(provider("a", rpm=480, enforcer="sliding", header_style="none"))
    stage.open(stage.deployment("a", rpm=600))
    stage.send(2000)
    room: list[float] = []
    for moment in (1, 240, 7200):
        stage.at(moment, lambda: room.append(stage.router.snapshot()["deployments"]["a"]["limits"]["rpm"]["limit"]))
    for moment in range(300, 7200, 30):
        stage.at(moment, stage.send)
    stage.run()
    assert room[0] == 600
    assert room[1] < 550
    assert room[2] > 595
    assert stage.failed() == []


HALF = 300_000
FAMILIES: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
    ("openai", {"rpm": 600_000}, {"x-ratelimit-limit-requests": "300000", "x-ratelimit-remaining-requests": "280000"}, "rpm"),
    ("openai", {"tpm": 600_000}, {"x-ratelimit-limit-tokens": "300000", "x-ratelimit-remaining-tokens": "280000"}, "tpm"),
    ("anthropic", {"rpm": 600_000}, {"anthropic-ratelimit-requests-limit": "300000"}, "rpm"),
    (
        "anthropic",
        {"itpm": 600_000},
        {"anthropic-ratelimit-input-tokens-limit": "300000", "anthropic-ratelimit-input-tokens-reset": "2026-08-17T20:54:20Z"},
        "itpm",
    ),
    ("anthropic", {"otpm": 600_000}, {"anthropic-ratelimit-output-tokens-limit": "300000"}, "otpm"),
    ("groq", {"rpd": 600_000}, {"x-ratelimit-limit-requests": "300000", "x-ratelimit-remaining-requests": "280000"}, "rpd"),
    ("cerebras", {"tpm": 600_000}, {"x-ratelimit-limit-tokens-minute": "300000", "x-ratelimit-remaining-tokens-minute": "280000"}, "tpm"),
    ("mistral", {"tpm": 600_000}, {"x-ratelimit-limit-tokens-minute": "300000"}, "tpm"),
    ("fireworks", {"otpm": 600_000}, {"x-ratelimit-limit-tokens-generated": "300000"}, "otpm"),
    ("", {"rpm": 600_000}, {"ratelimit": '"api";r=280000;t=30', "ratelimit-policy": '"api";q=300000;w=60'}, "rpm"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "limits", "headers", "name"), FAMILIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_lower_limit_in_any_providers_headers_takes_effect_at_once(
    family: str, limits: dict[str, Any], headers: dict[str, str], name: str
) -> None:
    stage = Stage(provider("a"))
    limiter = Limiter()
    limiter.add("a", group="g", limits=limits_of(**limits), profile=Profile())
    held = stage.world.complete(limiter.reserve(Ask("g", Charge(input=10, max_output=10)), stage.world))
    limiter.settle(held, used=Used(input=10, output=5), view=read_quota(headers, family=family), now=1.0)
    assert limiter.snapshot(2.0)["deployments"]["a"]["limits"][name]["limit"] == pytest.approx(HALF, rel=0.2)


def test_groqs_daily_request_header_does_not_change_the_limit_per_minute() -> None:
    stage = Stage(provider("a"))
    limiter = Limiter()
    limiter.add("a", group="g", limits=limits_of(rpm=600), profile=Profile())
    held = stage.world.complete(limiter.reserve(Ask("g", Charge()), stage.world))
    view = read_quota({"x-ratelimit-limit-requests": "300000", "x-ratelimit-remaining-requests": "0"}, family="groq")
    limiter.settle(held, used=Used(), view=view, failure=Failure(Kind.RATE_LIMIT, "no", retry_after=5.0, scope="day"), now=1.0)
    assert limiter.snapshot(2.0)["deployments"]["a"]["limits"]["rpm"]["limit"] == 600
    assert limiter.snapshot(2.0)["deployments"]["a"]["held"] == pytest.approx(4.0)


# ---- what callers and clocks do


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_cancelling_a_tenth_of_all_calls_does_not_affect_the_others(stream: bool) -> None:
    stage = Stage(*(provider(name, rpm=300, tpm=60_000, enforcer="sliding") for name in "ab"))
    stage.open(*(stage.deployment(name, rpm=300, tpm=60_000) for name in "ab"))
    tasks = stage.send(600, stream=stream)
    for number, task in enumerate(tasks[::10]):
        stage.at(0.05 + number * 0.7, task.cancel)
    stage.run()
    assert sum(served.left for served in stage.log) > 40
    assert stage.failed() == []
    assert sum(served.by is not None for served in stage.log) >= 540
    assert stage.rejected() == 0
    assert stage.idle()


@pytest.mark.parametrize("seconds", [20.0, 90.0, 86_400.0])
def test_calls_continue_normally_after_the_machine_slept(seconds: float) -> None:
    stage = Stage(provider("a", rpm=120, enforcer="sliding"))
    stage.open(stage.deployment("a", rpm=120))
    stage.send(400)
    for moment in (7.0, 61.0, 130.0):
        stage.at(moment, lambda: stage.world.jump(seconds))
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() <= 1, "one was on its way when the machine fell asleep, and arrived when it woke"
    assert stage.idle()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_breaks_a_limit(strategy: str) -> None:
    unequal = (("a", 300, 60_000), ("b", 120, 12_000))
    stage = Stage(*(provider(name, rpm=rpm, tpm=tpm, enforcer="sliding") for name, rpm, tpm in unequal))
    stage.open(*(stage.deployment(name, rpm=rpm, tpm=tpm) for name, rpm, tpm in unequal), routing_strategy=strategy)
    stage.send(300)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() == 0
