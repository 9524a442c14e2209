"""What refusals say of a limit that is lower than we were told: how much is left of it, and how long that is believed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headrace.errors import Failure, Kind
from headrace.limits import Charge, Limit, Profile, Unit
from headrace.limits.account import Account, Taken
from headrace.limits.learn import Learner
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.meter import Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.view import QuotaView

ASKS = Charge(input=1000)
LIMITS = [Limit(Unit.REQUESTS, 600), Limit(Unit.TOKENS, 600_000)]


def flowing(until: float = 120.0, rate: float = 10.0) -> tuple[Learner, Account, Meter, Meter]:
    """An account with a steady flow of ten calls of a thousand tokens a second; its limits on requests and tokens."""
    account = Account("a", LIMITS, Profile(confidence="documented", token_burst=60.0, request_burst=60.0), MeterSettings())
    for number in range(round(until * rate)):
        take(account, number / rate)
    return Learner(account, LearnSettings()), account, *account.meters


def take(account: Account, now: float) -> Taken:
    taken = account.take(ASKS, account.costs(ASKS), now, False)
    account.settle(taken, None, True, None, now)
    return taken


def refused(learner: Learner, account: Account, now: float, retry_after: float | None, scope: str = "tokens") -> None:
    taken = account.take(ASKS, account.costs(ASKS), now, False)
    failure = Failure(Kind.RATE_LIMIT, "slow down", retry_after=retry_after, scope=scope)  # type: ignore[arg-type]
    account.settle(taken, None, True, failure, now)
    learner.refused(failure, taken, (), now)


def quiet(learner: Learner, account: Account, since: float, until: float) -> None:
    """A flow of five calls a second that are all answered."""
    for tick in range(round(5 * since), round(5 * until)):
        learner.answered(take(account, tick / 5), (), tick / 5)


@pytest.mark.parametrize(("retry_after", "left"), [(30.0, 0.5), (12.0, 0.8), (45.0, 0.5)])
def test_what_the_provider_keeps_until_it_has_room_again_is_its_limit(retry_after: float, left: float) -> None:
    """Half a minute to wait after a steady minute: half of it is allowed. No single refusal takes more than half away."""
    learner, account, _, tokens = flowing()
    refused(learner, account, 120.0, retry_after)
    assert 1 - tokens.margin == pytest.approx(left, abs=0.01)


def test_a_wait_as_long_as_the_window_says_nothing_of_the_limit() -> None:
    learner, account, _, tokens = flowing()
    refused(learner, account, 120.0, 60.0)
    assert tokens.margin == pytest.approx(0.02)


def test_a_second_refusal_without_a_wait_says_what_got_through() -> None:
    learner, account, _, tokens = flowing(rate=6.0)
    refused(learner, account, 120.0, None)
    for tick in range(1, 360):
        take(account, 120.0 + tick / 6)
    account.when(account.costs(ASKS), 180.0, False)  # as whoever lets a call through has looked before
    refused(learner, account, 180.0, None)
    assert tokens.margin == pytest.approx(0.4, abs=0.03)


def test_a_refusal_of_tokens_is_no_step_towards_refusals_of_requests() -> None:
    """Symptom: requests refused soon after tokens were, both at their true half, left a tenth of each."""
    learner, account, requests, tokens = flowing()
    refused(learner, account, 120.0, 30.0, "tokens")
    refused(learner, account, 121.0, 29.0, "requests")
    assert requests.margin == pytest.approx(0.5, abs=0.03)
    assert tokens.margin == pytest.approx(0.5, abs=0.01)


def test_refusals_that_follow_at_once_take_larger_and_larger_steps() -> None:
    """A bucket lets more pass than flows into it: what went through it in a minute says nothing, only that it is refused again."""
    learner, account, _, tokens = flowing()
    margins = []
    for moment in (120, 124, 128, 132):
        refused(learner, account, float(moment), 0.3)
        margins.append(tokens.margin)
        for tick in range(20):
            take(account, moment + tick / 5)
    steps = [later - earlier for earlier, later in pairwise(margins)]
    assert steps == pytest.approx([0.04, 0.08, 0.16], abs=0.001)


def test_two_refusals_at_a_limit_that_was_found_do_not_move_it() -> None:
    """Symptom: a halved limit was asked twice for a little too much within seconds, and a twelfth of it lay idle for minutes."""
    learner, account, _, tokens = flowing(rate=5.2)
    for moment in (120.0, 200.0, 280.0, 360.0):
        refused(learner, account, moment, 1.0)
        for tick in range(1, 380):
            take(account, moment + 1.0 + tick / 4.9)
    refused(learner, account, 440.0, 1.0)
    held = tokens.margin
    for tick in range(8):
        take(account, 441.0 + tick / 4)
    refused(learner, account, 443.4, 0.5)
    assert 0.1 < held < tokens.margin <= held + 0.02


def test_the_same_told_again_is_believed_longer() -> None:
    """Symptom: a limit that stayed halved was tried again every minute, and each time refused."""
    learner, account, _, tokens = flowing()
    refused(learner, account, 120.0, 30.0)
    held = tokens.margin
    quiet(learner, account, 121, 200)
    assert tokens.margin < held, "a minute of quiet narrows it"
    refused(learner, account, 200.0, 1.0)
    held = tokens.margin
    quiet(learner, account, 201, 320)
    assert tokens.margin == held, "told once more it is believed for two"
    quiet(learner, account, 320, 350)
    assert tokens.margin < held


def test_a_margin_is_gone_when_the_headers_name_the_limit_that_was_refused() -> None:
    """Symptom: a refusal had halved the limit, its headers said so as well, and a quarter was used."""
    learner, account, _, tokens = flowing()
    refused(learner, account, 120.0, 30.0)
    learner.answered(take(account, 151.0), (QuotaView("tokens", limit=300_000.0),), 151.0)
    assert tokens.whole == 300_000
    assert tokens.margin <= 0.01
