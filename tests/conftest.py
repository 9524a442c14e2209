"""Fixtures for all tests. Those of one directory are in its own conftest."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings

# Container images often forbid bytecode. Each worker, and each program that a test starts, would then compile all that it imports anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Speed is no test's business, so no example has a deadline. "ci" runs the same examples every time; "explore" looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("ci")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a quarter of the suite's time is spent waiting for sockets, servers and other processes."""
    return (os.cpu_count() or 1) + 1


@dataclass(frozen=True)
class Colour:
    """One of the two ways to call headrace, so that a test is written once for both."""

    name: str

    @property
    def is_async(self) -> bool:
        return self.name == "async"

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `function` returns: a plain function's value, or a coroutine's under an event loop of its own."""
        if not inspect.iscoroutinefunction(function):
            return function(*args, **kwargs)
        return asyncio.run(function(*args, **kwargs))


@pytest.fixture(params=["async", "sync"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(request.param)


@pytest.fixture
def litellm_put_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """litellm's name is nobody's afterwards, and its ways are no other test's."""
    from headrace import Router, objects, served
    from headrace.layers import around

    known = set(sys.modules)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(around, "_layers", around._layers)
    monkeypatch.setattr(Router, "standing", Router.standing)
    for one in [*vars(objects).values(), *vars(served).values()]:
        if isinstance(one, type) and issubclass(one, objects.JsonObject):
            monkeypatch.setattr(one, "__module__", one.__module__)
    yield
    for name in sys.modules.keys() - known:
        if name.partition(".")[0] == "litellm":
            del sys.modules[name]
