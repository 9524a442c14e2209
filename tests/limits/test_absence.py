"""What stands on our own books for others while the store is lost: longer than it was charged there, as calls on blocks go later."""

from __future__ import annotations

import pytest

from headrace.limits import Profile, limits_of
from headrace.limits.absence import grow, shrink
from headrace.limits.account import Account
from headrace.limits.blocks import LENGTH
from headrace.limits.meter import MeterSettings
from headrace.limits.quota import Quota, windows_of


def seen(looks: list[tuple[float, float]], *, used: float) -> Quota:
    """looks: what had ever been charged by when. used: by all, at the last of them."""
    quota = Quota(Account("a", limits_of(rpm=60), Profile(), MeterSettings()), "tag")
    (term,) = windows_of(quota)
    for at, ever in looks:
        quota.saw(term, at, used, 100.0, ever)
    return quota


def entries(quota: Quota) -> list[tuple[float, float]]:
    return [(entry.at, entry.cost) for entry in quota.account.meters[0]._log._entries]


LOOKS = [(0.0, 0.0), (20.0, 20.0), (40.0, 20.0), (58.0, 40.0)]


@pytest.mark.parametrize(
    ("own", "books"),
    [
        ({10.0: 1, 50.0: 1}, [(10.0, 1), (20 + LENGTH, 9), (50.0, 1), (58 + LENGTH, 9), (60.0, 1)]),
        ({45.0: 7, 50.0: 8}, [(20 + LENGTH, 10), (45.0, 2), (50.0, 8), (60.0, 1)]),  # more than our part: the rest is for others to leave
    ],
)
def test_our_part_of_what_all_charged_leaves_the_window_when_that_does(own: dict[float, float], books: list[tuple[float, float]]) -> None:
    quota = seen(LOOKS, used=40)
    meter = quota.account.meters[0]
    for at, cost in own.items():
        meter.take(cost, cost, at)
    shrink(quota, 0.5, [], 60.0)
    assert meter.limit.amount == 30
    assert entries(quota) == books
    grow(quota, 60.0)
    assert (meter.limit.amount, meter.eases) == (60, True)
    assert meter.used == sum(own.values())


def test_what_was_given_back_is_not_on_the_books_of_a_lost_store() -> None:
    """Calls that use less than they might: what was ever charged is more than what all have used."""
    quota = seen(LOOKS, used=12)
    shrink(quota, 0.5, [], 60.0)
    assert entries(quota) == [(58 + LENGTH, 6), (60.0, 1)]


def test_a_full_window_of_which_much_left_since_we_looked_may_have_been_filled_again() -> None:
    """By others, as fast as the flow lets them: what left was not free for us alone."""
    quota = seen([(0.0, 0.0), (0.5, 30.0), (30.0, 30.0), (58.0, 60.0)], used=60)
    ((seen_at, used, _),) = quota.seen.values()
    quota.seen[next(iter(quota.seen))] = (seen_at, used, -100.0)  # the flow was not ahead: it may run ahead by its tolerance
    shrink(quota, 0.5, [], 61.7)
    assert entries(quota) == [(58 + LENGTH, 15), (61.7, pytest.approx(0.5 * (3.7 + 5.0)))]


def test_of_what_was_charged_before_we_looked_it_is_taken_that_it_was_just_before() -> None:
    quota = seen([(58.0, 1000.0)], used=40)
    shrink(quota, 0.5, [], 60.0)
    assert entries(quota) == [(58 + LENGTH, 20), (60.0, 1)]


def test_a_share_of_less_than_one_call_lets_nothing_through_until_the_store_is_back() -> None:
    quota = seen(LOOKS, used=40)
    shrink(quota, 0.01, [], 60.0)
    assert not quota.account.has_room((0.0, (1.0,)), 500.0, urgent=False)
    grow(quota, 500.0)
    assert quota.account.has_room((0.0, (1.0,)), 500.1, urgent=False)


def test_books_that_begin_anew_are_looked_at_anew() -> None:
    quota = seen([*LOOKS, (59.0, 4.0)], used=4)
    shrink(quota, 0.5, [], 60.0)
    assert entries(quota) == [(59 + LENGTH, 2), (60.0, 0.5)]


@pytest.mark.parametrize("word", [0.0, 65.0, 90.0])
def test_a_turn_ends_with_the_store_that_gave_it_and_a_providers_word_does_not(word: float) -> None:
    """A process waited for a turn among all while its own part of the limit was free."""
    quota = seen(LOOKS, used=40)
    if word:
        quota.account.held_until = word
    quota.shut(80.0)
    quota.shut(84.0)
    assert quota.account.held_until == max(84.0, word)
    shrink(quota, 0.5, [], 62.0)
    assert max(quota.account.held_until, 62.0) == max(word, 62.0)
    assert quota.shut_until <= 62.0
