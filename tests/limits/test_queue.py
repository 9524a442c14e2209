"""The line before a model group, place by place."""

from __future__ import annotations

from headrace.limits.queue import Crowd, FairQueue, Place


def line_of(*places: Place) -> FairQueue[Place]:
    line: FairQueue[Place] = FairQueue()
    for place in places:
        line.push(place)
    return line


def place(tenant: str, *, cost: float = 1.0, weight: float = 1.0, priority: int = 1, lane: str | None = None) -> Place:
    return Place(tenant, weight, priority, cost, lane=lane)


def order(line: FairQueue[Place]) -> str:
    """Tenants in the order in which they are served."""
    served = ""
    while line:
        first = line.first(1)[0]
        served += first.tenant
        line.serve(first)
    return served


def test_tenants_take_turns() -> None:
    assert order(line_of(*[place("a") for _ in range(3)], *[place("b") for _ in range(3)])) == "ababab"


def test_a_weight_of_two_gets_two_turns() -> None:
    served = order(line_of(*[place("a", weight=2.0) for _ in range(8)], *[place("b") for _ in range(8)]))
    assert served[:9].count("a") == 6


def test_the_highest_class_in_which_somebody_waits_is_known_whoever_comes_and_goes() -> None:
    batch, normal, urgent = place("batch", priority=2), place("normal"), place("urgent", priority=0)
    line = line_of(batch)
    assert line.first_class == 2
    line.push(urgent)
    line.push(normal)
    assert line.first_class == 0
    line.leave(urgent)
    assert line.first_class == 1
    line.serve(normal)
    assert line.first_class == 2
    line.leave(batch)
    assert line.first_class > 2


def test_a_higher_class_goes_first() -> None:
    assert order(line_of(place("batch", priority=2), place("normal"), place("urgent", priority=0))) == "urgentnormalbatch"


def test_whoever_was_away_has_saved_up_no_turns() -> None:
    line = line_of(*[place("a") for _ in range(100)])
    for _ in range(50):
        line.serve(line.first(1)[0])
    for _ in range(10):
        line.push(place("b"))
    assert sorted(order(line)[:4]) == ["a", "a", "b", "b"]


def test_one_that_comes_back_goes_to_the_front_of_its_own_line() -> None:
    line = line_of(place("a", cost=1), place("a", cost=2))
    again = place("a", cost=3)
    line.push(again, first=True)
    assert [one.cost for one in line.first(3)] == [3, 1, 2]


def test_leaving_twice_is_leaving_once() -> None:
    gone = place("a")
    line = line_of(gone, place("a"))
    line.leave(gone)
    line.leave(gone)
    assert len(line) == 1


def test_lanes_of_one_tenant_keep_the_order_of_arrival() -> None:
    line = line_of(*[place("a", cost=number, lane="xyz"[number % 3]) for number in range(1, 10)])
    assert [one.cost for one in line.first(9)] == list(range(1, 10))


def test_whoever_is_shut_out_is_passed_over_and_holds_nobody_up() -> None:
    line = line_of(*[place("a", lane="shut") for _ in range(100)], place("a", cost=7.0), place("b", cost=9.0))
    asked = []

    def shut(one: Place) -> bool:
        asked.append(one)
        return one.lane == "shut"

    assert [one.cost for one in line.first(24, shut)] == [7.0, 9.0]
    assert len(asked) < 10


def test_one_who_is_shut_out_does_not_hide_those_behind_him_in_his_lane() -> None:
    """A large call may be shut out of what a small one with the same scopes still finds room in."""
    line = line_of(*[place("a", lane="team", cost=900.0) for _ in range(3)], place("a", lane="team", cost=5.0))
    assert [one.cost for one in line.first(24, lambda one: one.cost > 100.0)] == [5.0]


def test_hundreds_of_tenants_who_are_shut_out_do_not_hide_the_one_who_is_not() -> None:
    line = line_of(*[place(f"shut{number}", lane="shut") for number in range(300)], place("z", cost=5.0))
    assert [one.cost for one in line.first(24, lambda one: one.lane == "shut")] == [5.0]


def test_what_is_ahead_of_a_new_tenant_is_one_turn_of_each_other() -> None:
    line = line_of(*[place("a", cost=10.0) for _ in range(10)])
    assert line.ahead_of("a", 1.0, 1, 10.0) == (10.0, 100.0)
    assert line.ahead_of("b", 1.0, 1, 10.0)[0] == 0.0
    assert line.ahead_of("b", 1.0, 2, 10.0) == (10.0, 100.0)


def test_a_crowd_is_all_who_wait_in_its_lines() -> None:
    """An ended call has to look at the lines only where somebody waits, however many model groups there are."""
    crowd = Crowd()
    lines: list[FairQueue[Place]] = [FairQueue(crowd), FairQueue(crowd)]
    places = [place(tenant) for tenant in "abc"]
    for number, one in enumerate(places):
        lines[number % 2].push(one)
    assert crowd.size == 3
    lines[0].leave(places[0])
    lines[0].leave(places[0])
    lines[1].serve(places[1])
    assert crowd.size == 1
    lines[0].serve(places[2])
    assert crowd.size == 0
