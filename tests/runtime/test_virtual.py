"""The virtual world: its order, its clock, and how tasks end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ports import Clock
from headrace.runtime import virtual
from headrace.runtime.virtual import Cancelled, Stuck, World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


async def note(world: World, seconds: float, log: list[tuple[float, str]], name: str) -> None:
    await world.sleep(seconds)
    log.append((world.now(), name))


def test_time_jumps_to_the_next_event(world: World) -> None:
    log: list[tuple[float, str]] = []
    for name, seconds in [("late", 86_400.0), ("soon", 0.5), ("never", math.inf), ("now", 0.0), ("past", -1.0)]:
        world.spawn(note(world, seconds, log, name))
    world.run()
    assert log == [(0.0, "now"), (0.0, "past"), (0.5, "soon"), (86_400.0, "late")]


def test_a_run_stops_at_its_end_and_goes_on_from_there(world: World) -> None:
    log: list[tuple[float, str]] = []
    for second in (1.0, 2.0, 3.0):
        world.spawn(note(world, second, log, str(second)))
    world.run(until=2)
    assert [name for _, name in log] == ["1.0", "2.0"]
    world.run(until=2.5)
    assert world.now() == 2.5
    world.run()
    assert (world.now(), len(log)) == (3.0, 3)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3)), max_size=30))
def test_events_come_in_order_of_time_then_of_arrival(plan: list[tuple[float, int]]) -> None:
    world, log = World(), []

    async def walk(number: int, pause: float, steps: int) -> None:
        for _ in range(steps):
            await world.sleep(pause)
            log.append((world.now(), number))

    for number, (pause, steps) in enumerate(plan):
        world.spawn(walk(number, pause, steps))
    world.run()
    assert [when for when, _ in log] == sorted(when for when, _ in log)
    once = [(pause, number) for number, (pause, steps) in enumerate(plan) if steps == 1 and plan.count((pause, 1)) > 1]
    order = [number for when, number in log if (when, number) in once]
    for pause in {pause for pause, _ in once}:
        same = [number for number in order if plan[number] == (pause, 1)]
        assert same == sorted(same)


def test_the_same_program_takes_the_same_course() -> None:
    def course() -> list[tuple[float, str]]:
        with World(seed=7) as world:
            log: list[tuple[float, str]] = []
            for number in range(50):
                world.spawn(note(world, world.random.random(), log, str(number)))
            world.run()
            return log

    assert course() == course()


def test_actions_happen_at_their_time(world: World) -> None:
    seen: list[float] = []
    world.at(30, lambda: seen.append(world.now()))
    world.at(10, lambda: world.at(5, lambda: seen.append(world.now())))
    world.run()
    assert seen == [10, 30]


def test_a_clock_jump_makes_everything_due_happen_at_once_and_in_order(world: World) -> None:
    log: list[tuple[float, str]] = []
    for name, seconds in [("b", 20.0), ("a", 10.0), ("c", 4000.0)]:
        world.spawn(note(world, seconds, log, name))
    world.run(until=5)
    world.jump(3600)
    world.run()
    assert log == [(3605.0, "a"), (3605.0, "b"), (4000.0, "c")]
    with pytest.raises(ValueError, match="never goes back"):
        world.jump(-1)


def test_a_task_is_awaited_by_many(world: World) -> None:
    async def work() -> int:
        await world.sleep(1)
        return 42

    task = world.spawn(work())

    async def ask() -> int:
        return await task

    askers = [world.spawn(ask()) for _ in range(3)]
    with pytest.raises(Stuck, match="has not ended"):
        _ = task.result
    world.run()
    assert [asker.result for asker in askers] == [42, 42, 42]
    assert (task.done, task.exception(), world.complete(ask())) == (True, None, 42)


async def fail(world: World, after: float = 0.0) -> None:
    await world.sleep(after)
    raise KeyError("lost")


def test_an_uncollected_failure_surfaces_in_run(world: World) -> None:
    world.spawn(fail(world, 1))
    with pytest.raises(KeyError):
        world.run()
    world.run()


def test_an_awaited_failure_is_the_awaiters(world: World) -> None:
    async def catch() -> str:
        task = world.spawn(fail(world, 1))
        await world.sleep(5)
        try:
            await task
        except KeyError:
            return "caught"
        return "missed"

    catcher = world.spawn(catch())
    world.run()
    assert catcher.result == "caught"


def test_a_collected_failure_does_not_surface(world: World) -> None:
    task = world.spawn(fail(world))
    world.at(1, lambda: seen.append(task.exception()))
    seen: list[BaseException | None] = []
    world.run()
    assert isinstance(seen[0], KeyError)


def test_cancelling_throws_where_the_task_waits(world: World) -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await world.sleep(100)
        except Exception:
            log.append("mistaken for a failure")
        finally:
            log.append(f"left at {world.now()}")

    task = world.spawn(work())
    world.at(3, task.cancel)
    world.run()
    assert log == ["left at 3.0"]
    assert task.cancelled
    assert isinstance(task.exception(), Cancelled)
    assert not task.cancel()


def test_a_cancelled_task_may_clean_up_slowly_or_go_on(world: World) -> None:
    async def stubborn() -> str:
        try:
            await world.sleep(100)
        except Cancelled:
            await world.sleep(1)
        return "went on"

    task = world.spawn(stubborn())
    world.at(3, task.cancel)
    world.run()
    assert (task.result, world.now()) == ("went on", 4)


def test_a_task_cancelled_before_its_first_step_never_runs(world: World) -> None:
    log: list[tuple[float, str]] = []
    task = world.spawn(note(world, 0, log, "ran"))
    task.cancel()
    world.run()
    assert (task.cancelled, log) == (True, [])


def test_a_task_can_cancel_itself(world: World) -> None:
    async def quit_later() -> None:
        task.cancel()
        await world.sleep(50)

    task = world.spawn(quit_later())
    world.run()
    assert (task.cancelled, world.now()) == (True, 0)


def test_who_awaits_a_cancelled_task_is_told(world: World) -> None:
    task = world.spawn(note(world, 9, [], "x"))
    world.at(1, task.cancel)

    async def ask() -> str:
        try:
            await task
        except Cancelled:
            return f"cancelled at {world.now():.0f}"
        return "finished"

    assert world.complete(ask()) == "cancelled at 1"


def test_a_waiter_is_woken_or_times_out(world: World) -> None:
    waiter = world.waiter()

    async def wait(timeout: float | None) -> tuple[bool, float]:
        return await waiter.wait(timeout), world.now()

    world.at(2, waiter.wake)
    assert world.complete(wait(5)) == (True, 2)
    assert world.complete(wait(5)) == (False, 7)
    waiter.wake()
    assert world.complete(wait(None)) == (True, 7)
    assert world.complete(wait(0)) == (False, 7)


def test_a_wake_at_the_very_moment_of_the_timeout_is_not_lost(world: World) -> None:
    waiter = world.waiter()

    async def twice() -> list[bool]:
        return [await waiter.wait(5), await waiter.wait(1)]

    task = world.spawn(twice())
    world.run(until=1)
    world.at(5, waiter.wake)
    world.run()
    assert task.result.count(True) == 1


def test_an_old_timeout_does_not_wake_a_later_wait(world: World) -> None:
    waiter = world.waiter()

    async def wait() -> float:
        await waiter.wait(5)
        await world.sleep(100)
        return world.now()

    world.at(1, waiter.wake)
    assert world.complete(wait()) == 101


def test_a_forgotten_timeout_does_not_move_the_clock(world: World) -> None:
    waiter = world.waiter()

    async def wait() -> None:
        await waiter.wait(600)

    world.spawn(wait())
    world.at(1, waiter.wake)
    world.run()
    assert world.now() == 1


def test_waiting_for_nothing_is_told_by_name(world: World) -> None:
    async def hopeless() -> None:
        await world.waiter().wait(None)

    with pytest.raises(Stuck, match="hopeless"):
        world.complete(hopeless())


def test_turning_in_circles_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "STANDSTILL", 1_000)

    async def spin() -> None:
        while True:
            await world.sleep(0)

    world.spawn(spin())
    with pytest.raises(Stuck, match="time does not move"):
        world.run()


def test_awaiting_another_world_is_refused(world: World) -> None:
    async def stray() -> None:
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        finally:
            loop.close()

    world.spawn(stray())
    with pytest.raises(Stuck, match="other than a virtual port"):
        world.run()


def test_waiting_outside_a_task_is_refused(world: World) -> None:
    waiting = world.waiter().wait(1)
    with pytest.raises(Stuck, match="inside a task"):
        waiting.send(None)


def test_closing_a_world_lets_every_task_clean_up() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await world.sleep(1e9)
        finally:
            log.append("cleaned up")

    with World() as world:
        world.spawn(work())
        world.run(until=1)
        world.spawn(work())
    assert log == ["cleaned up"]


def test_a_task_that_refuses_to_end_is_named() -> None:
    async def refuse() -> None:
        while True:
            try:
                await world.sleep(1e9)
            except Cancelled:
                refused.append(1)
                if len(refused) > 300:
                    raise

    refused: list[int] = []
    world = World()
    world.spawn(refuse())
    world.run(until=1)
    with pytest.raises(Stuck, match="refuse"):
        world.close()
    for _ in range(3):
        refused.extend([1] * 300)
    world.close()


def test_a_world_is_a_clock(world: World) -> None:
    clock: Clock = world
    assert clock.now() == 0.0
