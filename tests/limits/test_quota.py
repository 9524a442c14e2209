"""What a process says of a call's end to the shared books, and how long that may wait for company."""

from __future__ import annotations

import pytest

from headrace.errors import Failure, Kind
from headrace.limits import Ask, Charge, Profile, Used, limits_of
from headrace.limits.account import Account
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.quota import Held, Quota, ending, pause_of, terms_of
from headrace.limits.store import Answer, Message

SOON, KEEPS = 0.1, 2.0
CHARGE = Charge(input=100, max_output=900)
HALF = Used(input=100, output=400)


def ended(
    accounting: str,
    used: Used | None = HALF,
    *,
    sent: bool = True,
    failure: Failure | None = None,
    full: float | None = None,
    seen: float = 9.0,
    parallel: int | None = None,
    followed: bool = False,
) -> Message:
    """The end at 10 s of a call that began at 8 s. full: share of each limit that was seen used, and when."""
    profile = Profile(accounting=accounting)  # type: ignore[arg-type]
    account = Account("a", limits_of(rpm=60, tpm=60_000, max_parallel_requests=parallel), profile, MeterSettings())
    quota = Quota(account, "tag")
    taken = account.take(CHARGE, account.costs(CHARGE), 8.0, False)
    held = Held(quota, "c1", 8e6, 8.0, taken, tuple(terms_of(quota, taken, Ask("g", CHARGE), 8.0)))
    if full is not None:
        quota.seen = {term.key: (seen, full * term.room, 0.0) for _, term in held.terms}
    account.settle(taken, used, sent, failure, 10.0)
    return ending(held, used, sent, failure, 10.0, followed=followed)


@pytest.mark.parametrize(("binding", "pause"), [(0, 2.88), (None, 3.0)], ids=["a window's room", "a provider's word"])
def test_who_waits_for_a_window_comes_a_little_before_his_turn(binding: int | None, pause: float) -> None:
    account = Account("a", limits_of(rpm=60), Profile(), MeterSettings())
    quota = Quota(account, "tag")
    taken = account.take(CHARGE, account.costs(CHARGE), 8.0, False)
    terms = terms_of(quota, taken, Ask("g", CHARGE), 8.0)
    answer = Answer(False, 0.0, 0.0, 3.0, 3e6, binding, 1.0, 4, 1, (0.0,), (0.0,), (0.0,))
    assert pause_of(quota, answer, terms) == pytest.approx(pause)


TOKENS = "tokens/60"


def correction(message: Message, key: str) -> tuple[float, float]:
    """What a call cost more than it was charged, and the output that counts besides."""
    at = message.arguments.index(key)
    difference, written = message.arguments[at + 4 : at + 6]
    return float(difference), float(written)


@pytest.mark.parametrize(("accounting", "difference", "written"), [("settle", -500.0, 0.0), ("reserve", 0.0, 0.0), ("post", 0.0, 400.0)])
def test_an_end_says_what_the_provider_will_count(accounting: str, difference: float, written: float) -> None:
    message = ended(accounting)
    assert correction(message, TOKENS) == (difference, written)
    assert correction(message, "requests/60") == (0.0, 0.0)


def test_a_call_that_was_never_sent_gives_back_all_of_it() -> None:
    message = ended("reserve", None, sent=False)
    assert correction(message, TOKENS) == (-1000.0, 0.0)
    assert correction(message, "requests/60") == (-1.0, 0.0)


@pytest.mark.parametrize(
    ("message", "patience"),
    [
        (ended("reserve"), KEEPS),  # nothing comes back
        (ended("settle", full=0.5), KEEPS),  # half of the limit is free
        (ended("settle", full=0.5, seen=-1.0), 0.3),  # or was, some time ago
        (ended("settle"), 0.3),  # nobody knows
        (ended("settle", full=0.9), 0.3),  # as much was used as is given back: 0.005 of a minute
        (ended("settle", Used(input=100, output=800), full=0.9), KEEPS),  # hardly anything
        (ended("settle", Used(input=50, output=0), full=0.9), SOON),  # nearly everything
        (ended("settle", Used(input=100, output=1900), full=0.1), SOON),  # more than was charged: others must not have it too
        (ended("post", full=0.1), SOON),
        (ended("reserve", None, sent=False, full=0.9), SOON),
        (ended("settle", None, failure=Failure(Kind.RATE_LIMIT, "no"), full=0.9), SOON),
        (ended("reserve", parallel=4), 0.0),  # others wait for its place
        (ended("reserve", parallel=4, full=0.9), 0.0),
        (ended("reserve", parallel=4, full=0.9, followed=True), SOON),  # one of ours goes in its place, and asks
        (ended("settle", full=0.1, parallel=4), SOON),  # there are others
    ],
)
def test_an_end_waits_for_a_question_as_long_as_nobody_misses_it(message: Message, patience: float) -> None:
    assert message.patience == pytest.approx(patience)
