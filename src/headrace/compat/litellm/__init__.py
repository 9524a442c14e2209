"""Stand in for the `litellm` package, so that `from litellm import Router` gives headrace's.

`headrace.install_as_litellm()` takes the name in this process; `python -m headrace.compat.litellm script.py …` runs a program that was
written for litellm as it is; `import headrace as litellm` finds the same names and settings. Every import path of `names.PATHS` gives
the same objects. Asking for anything else raises an error that says what to use.
"""

from __future__ import annotations

import sys
from typing import Any

from headrace.compat.litellm import openai_bases, stand_in
from headrace.compat.litellm.calls import stand_around
from headrace.compat.litellm.settings import for_routers
from headrace.layers import around
from headrace.objects import JsonObject


def install_as_litellm() -> None:
    """From now on `import litellm` means headrace, in this process. Calling it again changes nothing.

    Raises RuntimeError when the real litellm was imported already: two of them would not recognise each other's exceptions.
    """
    present = sys.modules.get("litellm")
    if isinstance(present, stand_in.StandIn):
        return
    if present is not None:
        raise RuntimeError("litellm is imported already: call headrace.install_as_litellm() before anything imports it")
    activate()
    sys.modules["litellm"] = stand_in.module("litellm")
    sys.meta_path.insert(0, stand_in.Finder())
    sys.meta_path.insert(0, openai_bases.Watcher())
    openai_bases.bind()
    _live_there()


def activate() -> None:
    """From now on litellm's settings and callbacks count for every call."""
    from headrace.api import Router  # late: with whoever asks for litellm's ways

    around.install(stand_around)
    Router.standing = staticmethod(for_routers)


def offer(name: str) -> Any:
    """What `litellm.name` is, for `import headrace as litellm`. Raises AttributeError."""
    found = getattr(stand_in.module("litellm"), name)
    activate()
    return found


def accept(name: str, value: Any) -> None:
    """`litellm.name = value`, for the same."""
    activate()
    setattr(stand_in.module("litellm"), name, value)


def _live_there() -> None:
    """Classes of answers say that they are litellm's, and are found there: programs look (dspy reads its cache of nobody else's), and
    pickle does."""
    from headrace import objects, served  # late: with whoever takes the name

    for home, path in ((objects, "litellm.types.utils"), (served, "litellm.types.llms.openai")):
        for name, value in vars(home).items():
            if isinstance(value, type) and issubclass(value, JsonObject) and value.__module__ == home.__name__:
                value.__module__ = path
                setattr(stand_in.module(path), name, value)
