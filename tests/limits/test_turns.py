"""Few ask the store at once."""

from __future__ import annotations

from headrace.limits.lock import Lock
from headrace.limits.turns import Turns
from headrace.runtime.virtual import Cancelled, Task, World


class Line:
    """Some who want to ask, one after another, each a second for the answer."""

    def __init__(self, most: int) -> None:
        self.world, self.turns, self.lock, self.most = World(), Turns(), Lock(), most
        self.asking = self.peak = 0
        self.heard: list[tuple[str, float, bool]] = []

    def come(self, name: str, *, in_vain: bool = False) -> Task[None]:
        return self.world.spawn(self._ask(name, in_vain))

    async def _ask(self, name: str, in_vain: bool) -> None:
        if not await self.turns.may_ask(self.most, self.world, self.lock):
            self.heard.append((name, self.world.now(), False))
            return
        self.asking += 1
        self.peak = max(self.peak, self.asking)
        try:
            await self.world.sleep(1.0)
        finally:
            self.asking -= 1
            with self.lock:
                self.turns.asked(in_vain=in_vain)
        self.heard.append((name, self.world.now(), True))


def test_the_others_ask_when_those_before_have_heard() -> None:
    line = Line(2)
    for name in "abcde":
        line.come(name)
    line.world.at(0.5, lambda: line.heard.append(("waiting", len(line.turns), True)))
    line.world.run()
    assert line.heard == [("waiting", 3, True), *[(name, at, True) for name, at in zip("abcde", (1, 1, 2, 2, 3), strict=True)]]
    assert line.peak == 2


def test_when_one_is_refused_those_behind_it_need_not_ask_and_the_first_stands_first_again() -> None:
    line = Line(1)
    for name in "abcd":
        line.come(name, in_vain=name == "a")
    line.world.run()
    assert line.heard == [("a", 1.0, True), ("d", 1.0, False), ("c", 1.0, False), ("b", 1.0, False)]
    line.come("e")
    line.world.run()
    assert line.heard[-1] == ("e", 2.0, True)


def test_whoever_leaves_holds_nobody_up() -> None:
    """In line, called in that very moment, or while it asks."""
    line = Line(1)
    tasks = {name: line.come(name) for name in "abcde"}
    line.world.at(0.5, lambda: tasks["b"].cancel())
    line.world.at(1.5, lambda: tasks["c"].cancel())
    line.world.run()
    assert [(name, at) for name, at, _ in line.heard] == [("a", 1.0), ("d", 2.5), ("e", 3.5)]
    assert line.peak == 1
    assert all(isinstance(tasks[name].exception(), Cancelled) for name in "bc")


def test_one_that_is_called_and_cancelled_in_the_same_moment_passes_its_turn_on() -> None:
    line = Line(1)
    tasks = {name: line.come(name) for name in "abc"}

    def end_both() -> None:
        with line.lock:
            line.turns.asked(in_vain=False)  # b is called
        tasks["b"].cancel()

    line.world.at(0.5, end_both)
    line.world.run(until=0.9)
    assert line.asking == 2, "a, and c in the place of b"
    assert len(line.turns) == 0
