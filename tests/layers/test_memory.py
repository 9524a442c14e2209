"""The store in memory: bounded in number and size, the least used go first, nothing outlives its time."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.bridge import complete
from headrace.layers.memory import MemoryStore
from headrace.ports import Ports


class Clock:
    """Set by hand."""

    at = 0.0

    def now(self) -> float:
        return self.at


class Kept:
    """A store whose time is a number."""

    def __init__(self, **bounds: int) -> None:
        self.store = MemoryStore(**{"max_entries": 100, "max_bytes": 1000, **bounds})
        self.clock: Any = Clock()
        self.ports = Ports(None, self.clock, lambda: 0.0)  # type: ignore[arg-type]

    def put(self, key: str, value: bytes = b"x", ttl: float = 10.0) -> None:
        complete(self.store.set(self.ports, key, value, ttl))

    def get(self, key: str) -> bytes | None:
        found = complete(self.store.get(self.ports, key))
        return None if found is None else found.value


def test_an_answer_lives_as_long_as_it_was_told_to() -> None:
    kept = Kept()
    kept.put("a", ttl=10)
    kept.clock.at = 9.9
    assert kept.get("a") == b"x"
    kept.clock.at = 10.0
    assert kept.get("a") is None
    assert len(kept.store) == 0


def test_an_answer_tells_its_age() -> None:
    kept = Kept()
    kept.put("a")
    kept.clock.at = 4.0
    found = complete(kept.store.get(kept.ports, "a"))
    assert found is not None
    assert found.age == 4.0


def test_the_least_used_goes_first() -> None:
    kept = Kept(max_entries=2)
    kept.put("a")
    kept.put("b")
    kept.get("a")
    kept.put("c")
    assert [kept.get(key) for key in "abc"] == [b"x", None, b"x"]


@pytest.mark.parametrize("writes", [["aaa", "bbb", "ccc"], ["aaa", "aaa", "bbb"], ["aaaaaaaa", "b", "c"]])
def test_no_more_bytes_are_kept_than_allowed(writes: list[str]) -> None:
    kept = Kept(max_bytes=6)
    for text in writes:
        kept.put(text[0], text.encode())
    values = [kept.get(key) for key in "abc"]
    assert sum(len(value) for value in values if value) <= 6
    assert values["abc".index(writes[-1][0])] == writes[-1].encode(), "the newest is there"
