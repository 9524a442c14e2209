"""Whose is a place among the calls in flight, for which processes wait: the rule at work, in the model of the script."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.limits.books import Books
from headrace.limits.store import MICRO, Claim, Term, read_answer, settlement

LEASE = 15.0


class Crowd:
    """Processes that always want more, each with calls of its own lengths: they tell an end and ask for the next in one trip."""

    def __init__(self, places: int, processes: int, seconds: float, seed: int) -> None:
        self.places, self.seconds, self.chance = places, seconds, random.Random(seed)
        self.books = Books()
        self.term = Term("in_flight/0", places, 1, 0.0, tolerance=min(1.0, max(0.02, seconds / (2 * places))))
        self.held: list[dict[str, float]] = [{} for _ in range(processes)]
        self.admitted: list[list[float]] = [[] for _ in range(processes)]
        self.due: list[tuple[float, int, str]] = []
        """Moments: of the end of a call, or of a look, whose id is empty."""
        self.looks = [0.0] * processes
        self.dead: set[int] = set()
        self.asked = self.count = self.most = 0
        for process in range(processes):
            self.look(process, self.chance.random())

    def look(self, process: int, at: float) -> None:
        self.looks[process] = at
        heappush(self.due, (at, process, ""))

    def run(self, until: float) -> None:
        while self.due and self.due[0][0] < until:
            now, process, id = heappop(self.due)
            if process in self.dead or (not id and self.looks[process] != now):
                continue
            if id:
                at = self.held[process].pop(id)
                message = settlement("a", id, at, LEASE, [])
                self.books.call("settle", now * MICRO // 1, message.arguments)
            self.ask(process, now)

    def ask(self, process: int, now: float) -> None:
        left = 1
        while left:
            self.count += 1
            self.asked += 1
            id, holds = f"c{self.count}", len(self.held[process])
            claim = Claim("a", id, (self.term,), LEASE, more=True, process=f"p{process}", holds=holds)
            answer = read_answer(self.books.call("admit", now * MICRO // 1, claim.message().arguments))
            left = answer.left
            if answer.granted:
                self.held[process][id] = answer.at
                self.admitted[process].append(now)
                heappush(self.due, (now + self.chance.lognormvariate(0, 0.3) * self.seconds, process, id))
            if not left:
                self.look(process, now + answer.turn)
        self.most = max(self.most, len(self.books.flight))

    def longest_wait(self, process: int, since: float, until: float) -> float:
        moments = [since, *[at for at in self.admitted[process] if since <= at < until], until]
        return max(later - before for before, later in pairwise(moments))


@settings(max_examples=8)
@given(st.integers(1, 24), st.integers(2, 9), st.sampled_from([1.0, 2.0, 6.0]), st.integers(0, 99))
def test_every_process_that_wants_a_place_gets_one_within_a_round_or_two(places: int, processes: int, seconds: float, seed: int) -> None:
    """However few there are, and whoever has them: nobody hands his own on for longer than he may while another has none."""
    crowd = Crowd(places, processes, seconds, seed)
    crowd.run(45)
    assert crowd.most <= places
    round = max(1.0, processes / places) * (2.0 + 1.5 * seconds)
    assert max(crowd.longest_wait(process, 5.0, 45.0) for process in range(processes)) <= 2.5 * round


@pytest.mark.parametrize(("places", "processes", "questions"), [(8, 8, 1.3), (12, 8, 1.4), (20, 6, 1.3)])
def test_places_are_passed_on_without_looking_in_vain_and_come_to_the_same_for_all(places: int, processes: int, questions: float) -> None:
    """Also where they cannot be divided: who has one less than others looks for it as often as it would tell that it lives."""
    crowd = Crowd(places, processes, 2.0, seed=3)
    crowd.run(60)
    counts = [len(one) for one in crowd.admitted]
    assert crowd.asked <= questions * sum(counts)
    assert sum(counts) * 2.0 * 1.05 >= 0.95 * 60 * places
    assert min(counts) >= 0.6 * max(counts)


@pytest.mark.parametrize(("places", "processes", "questions", "use"), [(4, 8, 2.3, 0.91), (2, 3, 1.7, 0.93), (1, 2, 2.1, 0.86)])
def test_a_place_is_left_to_one_that_has_none_just_before_it_looks(places: int, processes: int, questions: float, use: float) -> None:
    """It was left to whoever had waited for two seconds, whenever he came: it lay idle for it, or he looked three times for each."""
    crowds = [Crowd(places, processes, 2.0, seed) for seed in range(3)]
    for crowd in crowds:
        crowd.run(120)
    admitted = sum(len(one) for crowd in crowds for one in crowd.admitted)
    assert sum(crowd.asked for crowd in crowds) <= questions * admitted
    assert admitted * 2.0 * 1.05 >= use * 3 * 120 * places


def test_nobody_waits_for_a_process_that_has_died() -> None:
    """Neither for the place that was left to it, nor for those it held, when their time is over."""
    crowd = Crowd(5, 3, 1.0, seed=1)
    crowd.run(20)
    crowd.dead.add(0)
    held = len(crowd.held[0])
    crowd.run(60)
    for since, until, free in ((22.0, 20 + LEASE - 2, 5 - held), (20 + LEASE + 1, 60, 5)):
        got = sum(since <= at < until for one in crowd.admitted[1:] for at in one)
        assert got * 1.05 >= 0.85 * free * (until - since)
