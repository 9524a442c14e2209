"""`litellm_settings.callbacks` and the like: integrations and the operator's own loggers, for every call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from headrace.api import Router
from headrace.calls import shape
from headrace.errors import ConfigurationError
from headrace.layers import around

LISTS: Final = ("callbacks", "success_callback", "failure_callback", "input_callback")

METRICS: Final = "prometheus"
"""Needs no callback: `/metrics` is always served."""

READY: Final = frozenset({METRICS, "langfuse", "langfuse_otel", "opik", "mlflow", "otel"})
"""Integrations that are available under LiteLLM's names."""

GUARDS: Final = frozenset({
    "hide_secrets", "presidio", "lakera_prompt_injection", "detect_prompt_injection", "llamaguard_moderations", "llmguard_moderations",
    "google_text_moderation", "azure_content_safety", "banned_keywords", "blocked_user_check", "aporia_prompt_injection",
})  # fmt: skip
"""LiteLLM's callbacks that refuse calls or mask their content."""


class Found(Struct, frozen=True, eq=False):
    """The callbacks of a configuration."""

    lists: Mapping[str, Sequence[Any]] = {}
    """Names of integrations, objects and functions, by list."""
    unused: tuple[str, ...] = ()


def read_callbacks(given: Mapping[str, Any], folder: Path, problem: Callable[[str], object]) -> Found:
    """The lists of `litellm_settings`. folder: where the operator's own modules are. problem: called with each mistake."""
    lists: dict[str, list[Any]] = {}
    unused = []
    for where in LISTS:
        value = given.get(where) or []
        for name in value if isinstance(value, list) else [value]:
            place = f"litellm_settings.{where}"
            try:
                listener = _listener(name, folder)
            except ConfigurationError as error:
                problem(f"{place}: {error}")
                continue
            if listener is None:
                unused.append(f"{place}: {name}")
            elif listener != METRICS:
                lists.setdefault(where, []).append(listener)
    return Found(lists, tuple(unused))


def _listener(name: Any, folder: Path) -> Any:
    """The name of an integration, or an object of the operator's own; None if it is not available. Raises ConfigurationError."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a callback must be the name of an integration or your own module.object, got {shape(name)}")
    if name in GUARDS:
        raise ConfigurationError(f"{name!r} is not supported: use the section `guardrails`")
    if name in READY:
        return name
    return _own(name, folder) if "." in name and "/" not in name else None


def _own(named: str, folder: Path) -> Any:
    """The object at `module.name`, from a module next to the configuration or an installed one. Raises ConfigurationError."""
    litellm()  # makes litellm's names available, which such modules import
    module, _, name = named.rpartition(".")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # an operator's module may raise anything
        raise ConfigurationError(f"there is no {named!r} ({type(error).__name__}: {error})") from error


def litellm() -> Any:
    """headrace under the name `litellm`, without litellm's defaults: the gateway has settings of its own."""
    standing, layers = Router.standing, around.standing()
    compat = import_module("headrace.compat.litellm")  # by name: few gateways have callbacks
    compat.install_as_litellm()
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).handlers.clear()  # the gateway's own log handles them
    Router.standing = staticmethod(standing)
    if compat.stand_around not in layers:
        around.remove(compat.stand_around)
    return compat


class CallbackService:
    """Runs the configured loggers around every call of the process while the gateway runs."""

    def __init__(self, found: Found) -> None:
        self._runs = False
        self._lists: Mapping[str, Sequence[Any]] = found.lists

    def use(self, found: Found) -> None:
        """Replace the callbacks, from the next call on."""
        self._lists = found.lists
        self._follow()

    async def start(self) -> None:
        self._runs = True
        self._follow()

    async def stop(self) -> None:
        self._runs = False
        self._follow()

    def _follow(self) -> None:
        if not self._lists and "headrace.compat.litellm" not in sys.modules:
            return
        compat = litellm()
        module = compat.stand_in.module("litellm")
        for where in LISTS:
            setattr(module, where, list(self._lists.get(where, ())) if self._runs else [])
        if self._runs and self._lists:
            around.install(compat.stand_around)
        else:
            around.remove(compat.stand_around)
