"""The shipped Router keeps limits: neither providers nor headrace refuse a call."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import NeverFits, RateLimitError
from headrace.limits import Limiter, Place
from headrace.runtime.virtual import VirtualWaiter

UNEQUAL = (("a", 600, 60_000), ("b", 300, 60_000), ("c", 120, 12_000))


@pytest.mark.parametrize("enforcer", ["bucket", "sliding", "fixed"])
def test_600_jobs_at_once_all_finish_and_no_provider_refuses_one(enforcer: str) -> None:
    stage = Stage(*(provider(name, rpm=rpm, tpm=tpm, enforcer=enforcer) for name, rpm, tpm in UNEQUAL))
    stage.open(*(stage.deployment(name, rpm=rpm, tpm=tpm) for name, rpm, tpm in UNEQUAL))
    stage.send(600)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() == 0
    assert stage.idle()


@pytest.mark.parametrize("enforcer", ["bucket", "sliding", "fixed"])
@pytest.mark.parametrize("accounting", ["settle", "post"])
def test_short_answers_without_max_tokens_took_a_minute_and_a_half_instead_of_seconds(accounting: str, enforcer: str) -> None:
    """Symptom: 120 calls of 40 tokens at 80,000 a minute were sent one per 0.8 s, as if each had produced 1,024 output tokens."""
    stage = Stage(provider("a", rpm=1000, tpm=80_000, accounting=accounting, enforcer=enforcer))
    stage.open(stage.deployment("a", rpm=1000, tpm=80_000))
    stage.send(120, max_tokens=None)
    stage.run(until=13)
    assert stage.idle()
    assert stage.failed() == []
    assert stage.rejected() == 0


def test_a_provider_stricter_than_configured_is_detected() -> None:
    """It counts 256 tokens for a call without max_tokens that produces 60. A few refusals reveal this, and all calls are answered."""
    stage = Stage(provider("a", rpm=1000, tpm=40_000, accounting="reserve", header_style="none"))
    stage.open(stage.deployment("a", rpm=1000, tpm=40_000))
    stage.send(300, max_tokens=None)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() <= 24


def test_calls_sent_late_by_a_busy_machine_count_from_when_they_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: starting 600 calls blocked the event loop for 1.4 s before the first was sent; ten seconds later eleven were refused."""
    stage = Stage(provider("a", rpm=60, enforcer="sliding", windows=[10]))
    start = stage.providers._start

    async def busy(*arguments: object) -> object:
        await stage.world.sleep(max(0.0, 1.5 - stage.world.now()))
        return await start(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.providers, "_start", busy)
    stage.open(stage.deployment("a", rpm=60, profile={"windows": [10.0]}))
    stage.send(60)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() == 0


def test_retry_after_holds_every_queued_call() -> None:
    """After one 429 with a Retry-After of seven seconds, no call is sent until it has passed."""
    stage = Stage(provider("a", rpm=60, enforcer="sliding"))
    stage.open(stage.deployment("a", rpm=600))
    stage.send(60)
    stage.run(until=30)
    refused = stage.rejected()
    stage.send(20)
    stage.run()
    assert stage.failed() == []
    assert stage.rejected() <= refused + 3


def test_an_unknown_limit_is_discovered_and_then_kept() -> None:
    stage = Stage(provider("a", rpm=60, enforcer="sliding"))
    stage.open(stage.deployment("a"))
    stage.offer(rate=1.5, until=240)
    stage.run()
    assert stage.failed() == []


def test_a_call_larger_than_a_limit_is_refused_with_the_limits_name() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", tpm=100))
    stage.send(max_tokens=5_000)
    stage.run()
    assert isinstance(stage.log[0].error, NeverFits)
    assert "tpm" in str(stage.log[0].error)


def test_a_call_that_may_not_wait_is_told_the_expected_wait() -> None:
    stage = Stage(provider("a", rpm=1, enforcer="sliding"))
    stage.open(stage.deployment("a", rpm=1))
    stage.send()
    stage.run(until=1)
    stage.send(max_wait=0)
    stage.run(until=2)
    error = stage.log[1].error
    assert isinstance(error, RateLimitError)
    assert error.retry_after == pytest.approx(60, abs=3)


def test_a_flooding_tenant_does_not_starve_a_light_one() -> None:
    stage = Stage(provider("a", rpm=600, enforcer="sliding"))
    stage.open(stage.deployment("a", rpm=600))
    stage.send(1500, tenant="flood")
    stage.offer(rate=0.5, until=120, tenant="light")
    stage.run()
    assert stage.rejected() == 0
    waits = sorted(served.waited for served in stage.log if served.tenant == "light" and served.sent > 10)
    assert waits[int(len(waits) * 0.9)] < 5.0


def test_waiting_calls_wake_the_scheduler_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: with two limits on every deployment the queue's timer fired ten thousand times a second."""
    woken = 0
    wait = VirtualWaiter.wait

    async def counted(waiter: VirtualWaiter, timeout: float | None) -> bool:
        nonlocal woken
        woken += 1
        return await wait(waiter, timeout)

    monkeypatch.setattr(VirtualWaiter, "wait", counted)
    stage = Stage(*(provider(name, rpm=rpm, tpm=tpm, accounting="settle") for name, rpm, tpm in UNEQUAL))
    stage.open(*(stage.deployment(name, rpm=rpm, tpm=tpm, profile="groq") for name, rpm, tpm in UNEQUAL))
    stage.send(600)
    stage.run()
    assert stage.failed() == []
    assert woken < 600 * 10


def test_a_call_without_max_tokens_reserves_its_deployments_max_tokens() -> None:
    """Symptom: a deployment with its own max_tokens of 100 reserved 1,024 for each call, and calls failed with NeverFits."""
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", tpm=600, max_tokens=100))
    stage.send(max_tokens=None)
    stage.run()
    assert stage.failed() == []
    assert stage.log[0].record["reserved"].max_output == 100


def test_the_calls_max_tokens_override_the_deployments() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", tpm=600, max_tokens=100))
    stage.send(max_tokens=200)
    stage.run()
    assert stage.log[0].record["reserved"].max_output == 200


def test_the_limiter_knows_which_keys_belong_to_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of one host share what is learned about its enforcement, whatever the rest of the URL is."""
    places: dict[str, str] = {}
    swaps = Limiter.swap

    def swap(self: Limiter, gone: Iterable[str], come: Iterable[Place]) -> None:
        coming = list(come)
        places.update({place.deployment: place.provider for place in coming})
        swaps(self, gone, coming)

    monkeypatch.setattr(Limiter, "swap", swap)
    hosts = {"one": "https://llm.example.com/v1", "two": "https://llm.example.com/v2", "three": "https://other.example.com/v1"}
    params = [{"model": "openai/own", "api_key": f"sk-{id}", "base_url": url} for id, url in hosts.items()]
    entries = [{"model_name": "gpt", "litellm_params": each, "model_info": {"id": id}} for each, id in zip(params, hosts, strict=True)]
    Stage(provider("a")).open(*entries)
    assert places == {"one": "llm.example.com", "two": "llm.example.com", "three": "other.example.com"}
