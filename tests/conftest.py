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

# Container images often disable bytecode files. Each worker, and each program that a test starts, would then compile all its imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests do not measure speed, so examples have no deadline. "ci" runs the same examples every time; "explore" looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("ci")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because a quarter of the suite's time is spent waiting for sockets, servers and processes."""
    return (os.cpu_count() or 1) + 1


@dataclass(frozen=True)
class Colour:
    """The sync or the async interface of headrace, so that a test is written once for both."""

    name: str

    @property
    def is_async(self) -> bool:
        return self.name == "async"

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of `function`, run in an event loop of its own if it returns a coroutine."""
        if not inspect.iscoroutinefunction(function):
            return function(*args, **kwargs)
        return asyncio.run(function(*args, **kwargs))


@pytest.fixture(params=["async", "sync"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(request.param)


@pytest.fixture
def litellm_put_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Afterwards the name litellm is free again, and its settings affect no other test."""
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
