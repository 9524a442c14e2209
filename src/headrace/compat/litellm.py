"""Stand in for the `litellm` package, so that `from litellm import Router` gives headrace's.

What is offered under its name: the calls, the Router, the exceptions and the response classes. Asking for anything else
raises an error that says it is not here.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import headrace
from headrace import errors, objects

_CALLS: Final = ("completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding")
_RESPONSES: Final = tuple(
    f"{colour}{name}"
    for name in ("responses", "get_responses", "delete_responses", "cancel_responses", "list_input_items")
    for colour in ("", "a")
)
_CONTENT: Final = ("generate_content", "agenerate_content", "generate_content_stream", "agenerate_content_stream")

_EXCEPTIONS: Final = tuple(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.HeadraceError) and value.__module__ == errors.__name__
)

_CLASSES: Final = tuple(
    name
    for name, value in vars(objects).items()
    if isinstance(value, type) and issubclass(value, objects.JsonObject) and not name.startswith("_")
)

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "litellm": (*_CALLS, *_RESPONSES, "anthropic_messages", "Router", *_EXCEPTIONS, *_CLASSES),
    "litellm.anthropic": (),
    "litellm.anthropic.messages": ("create", "acreate"),
    "litellm.exceptions": _EXCEPTIONS,
    "litellm.google_genai": _CONTENT,
    "litellm.main": (*_CALLS, *_CLASSES),
    "litellm.responses": (),
    "litellm.responses.main": (*_RESPONSES, "ResponsesAPIResponse"),
    "litellm.router": ("Router",),
    "litellm.types": (),
    "litellm.types.llms": (),
    "litellm.types.llms.openai": ("ResponsesAPIResponse",),
    "litellm.types.utils": _CLASSES,
    "litellm.utils": _CLASSES,
}
"""Every import path, and the names under it: one object under all of them."""

_OTHERWISE_NAMED: Final = {
    ("litellm", "anthropic_messages"): "aanthropic_messages",  # there it is a coroutine function
    ("litellm.anthropic.messages", "create"): "anthropic_messages",
    ("litellm.anthropic.messages", "acreate"): "aanthropic_messages",
}
"""Paths and names under which litellm has what we call otherwise."""


class _StandIn(ModuleType):
    """A module under litellm's name. Attributes may be set freely, as its users do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"{self.__name__}.{name} is not part of what headrace offers in litellm's name; use headrace itself, or litellm without "
            f"headrace.install_as_litellm()"
        )


def install_as_litellm() -> None:
    """From now on `import litellm` means headrace, in this process. Calling it again changes nothing.

    Raises RuntimeError when the real litellm was imported already: two of them would not recognise each other's exceptions.
    """
    present = sys.modules.get("litellm")
    if isinstance(present, _StandIn):
        return
    if present is not None:
        raise RuntimeError("litellm is imported already: call headrace.install_as_litellm() before anything imports it")
    for path, names in _MODULES.items():
        sys.modules[path] = _stand_in(path, names)
    for path in _MODULES:
        parent, _, name = path.rpartition(".")
        if parent and name not in _MODULES[parent]:  # `litellm.responses` is a function, whatever else is there to be imported from
            setattr(sys.modules[parent], name, sys.modules[path])


def _stand_in(path: str, names: tuple[str, ...]) -> ModuleType:
    module = _StandIn(path, "headrace in litellm's place")
    package = any(other.startswith(f"{path}.") for other in _MODULES)
    module.__spec__ = ModuleSpec(path, None, origin="headrace", is_package=package)
    module.__package__ = path if package else path.rpartition(".")[0]
    if package:
        module.__path__ = []
    for name in names:
        setattr(module, name, _named(_OTHERWISE_NAMED.get((path, name), name)))
    return module


def _named(name: str) -> Any:
    for home in (errors, objects):
        if hasattr(home, name):
            return getattr(home, name)
    return getattr(headrace, name)
