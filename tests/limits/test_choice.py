"""Which of several deployments with room is taken, and what is said of the others."""

from __future__ import annotations

from collections import Counter

from headrace.bridge import complete
from headrace.limits import Ask, Charge, Limiter, Profile, Reservation, Used, limits_of
from headrace.runtime.virtual import World
from limits.town import KINDS, Town, known

NAMES = ("a", "b", "c")


def limiter(**limits: int) -> Limiter:
    made = Limiter()
    for name in NAMES:
        made.add(name, group="chat", limits=limits_of(**limits), profile=Profile(confidence="documented"))
    return made


def call(limiter: Limiter, world: World, **more: object) -> Reservation:
    return complete(limiter.reserve(Ask("chat", Charge(input=100, max_output=100), **more), world))  # type: ignore[arg-type]


def test_slack_deployments_are_used_evenly() -> None:
    """Only the one that is taken is looked at closely; the others are not forgotten for that."""
    world, books, taken = World(), limiter(rpm=6_000, tpm=6_000_000), Counter[str]()
    for _ in range(600):
        held = call(books, world)
        taken[held.deployment] += 1
        books.settle(held, used=Used(input=100, output=50), now=world.now())
        world.run(until=world.now() + 0.2)
    assert all(150 <= taken[name] <= 250 for name in NAMES), taken


def test_a_deployment_that_was_busy_is_used_again_when_it_is_idle() -> None:
    world, books = World(), limiter(rpm=6_000, tpm=6_000_000)
    for _ in range(300):  # a twentieth of its limit: it is slack, and fuller than the others
        books.settle(call(books, world, only=frozenset({"a"})), used=Used(input=100, output=50), now=world.now())
        world.run(until=world.now() + 0.02)
    world.run(until=world.now() + 61)
    taken = Counter(call(books, world).deployment for _ in range(60))
    assert taken["a"] >= 15, taken


def test_the_preferred_of_slack_deployments_is_taken() -> None:
    world, books = World(), limiter(rpm=6_000, tpm=6_000_000)
    for _ in range(5):
        assert call(books, world, prefer={"a": 2.0, "b": 1.0, "c": 3.0}.__getitem__).deployment == "b"


def test_a_slack_deployment_whose_quota_is_held_is_not_taken_and_is_said_to_wait() -> None:
    world, books = World(), limiter(rpm=6_000, tpm=6_000_000)
    for _ in range(6):
        call(books, world)
    books.gate("b", 7.0, world.now())
    for _ in range(20):
        held = call(books, world)
        assert held.deployment != "b"
        assert {one.deployment: one.wait for one in held.decided}["b"] == 7.0


def test_a_call_too_large_for_the_emptiest_goes_where_it_fits() -> None:
    world, books = World(), Limiter()
    books.add("small", group="chat", limits=limits_of(tpm=1_000), profile=Profile())
    books.add("large", group="chat", limits=limits_of(tpm=1_000_000), profile=Profile())
    small = Ask("chat", Charge(input=5, max_output=5))
    for _ in range(10):
        books.settle(complete(books.reserve(small, world)), used=Used(input=5, output=5), now=world.now())
    held = complete(books.reserve(Ask("chat", Charge(input=1_000, max_output=1_000)), world))
    assert held.deployment == "large"
    assert [one.deployment for one in held.decided] == ["small"]


def test_a_burst_is_sorted_while_nothing_is_dear_large_calls_to_where_they_are_small() -> None:
    """Symptom: of a crowd the first 24 went anywhere, and the deployment with few requests was asked for small calls."""
    world, books, went = World(), Limiter(), Counter[tuple[str, int]]()
    known = Profile(confidence="documented", token_burst=60.0, request_burst=60.0)
    books.add("few", group="chat", limits=limits_of(rpm=90, tpm=900_000), profile=known)
    books.add("many", group="chat", limits=limits_of(rpm=600, tpm=120_000), profile=known)
    for number in range(24):
        size = 100 if number % 4 else 3_000
        held = complete(books.reserve(Ask("chat", Charge(input=size, max_output=100)), world))
        went[held.deployment, size] += 1
    assert went["few", 3_000] == 6, went
    assert went["many", 100] >= 14, went


def test_a_crowd_is_shared_out_so_that_each_deployment_gets_what_it_has_room_for() -> None:
    """Large calls where tokens are plenty, small ones where requests are. Were both limits fluids that could be mixed at will, the 1,500
    calls would take 294 s (`benchmarks.limits.virtual`, B5)."""
    town = Town(KINDS["slide60/post"], known("slide60/post"), deployments=((90, 900_000), (600, 120_000)))
    town.backlog(1500)
    town.world.run()
    assert len(town.waits) == 1500
    assert town.refused() == 0
    assert max(began + wait for _, began, wait in town.waits) < 1.1 * 294
