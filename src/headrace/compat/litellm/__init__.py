"""A drop-in replacement for the `litellm` package: `from litellm import Router` imports headrace's.

`headrace.install_as_litellm()` claims the name in this process; `python -m headrace.compat.litellm script.py …` runs an
unmodified program written for litellm; `import headrace as litellm` offers the same names and settings. Every import
path in `names.PATHS` yields the same objects. Any other name raises an error that says what to use instead.
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
    """Make `import litellm` import headrace in this process. Idempotent.

    Raises RuntimeError if the real litellm has already been imported: the two would not recognise each other's exceptions.
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
    """Apply litellm's settings and callbacks to every call from now on."""
    from headrace.api import Router  # late: only for programs that use litellm's interface

    around.install(stand_around)
    Router.standing = staticmethod(for_routers)


def offer(name: str) -> Any:
    """The value of `litellm.name`, for `import headrace as litellm`. Raises AttributeError."""
    found = getattr(stand_in.module("litellm"), name)
    activate()
    return found


def accept(name: str, value: Any) -> None:
    """Set `litellm.name`, for `import headrace as litellm`."""
    activate()
    setattr(stand_in.module("litellm"), name, value)


def _live_there() -> None:
    """Set `__module__` of response classes to litellm's paths and make them importable there: programs check it (dspy
    only reads its own cache of these), and so does pickle.
    """
    from headrace import objects, served  # late: only for programs that claim the name

    for home, path in ((objects, "litellm.types.utils"), (served, "litellm.types.llms.openai")):
        for name, value in vars(home).items():
            if isinstance(value, type) and issubclass(value, JsonObject) and value.__module__ == home.__name__:
                value.__module__ = path
                setattr(stand_in.module(path), name, value)
