"""Modules under litellm's names, created on demand. Attributes are looked up in the tables of `names`; settings are stored as set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from os import PathLike
from types import ModuleType
from typing import Any, Final

from headrace.compat.litellm import names
from headrace.compat.litellm.globals import DEFAULTS, SET

VERSION: Final = "1.106.2"
"""The litellm release whose interface is provided."""

_modules: dict[str, StandIn] = {}


class StandIn(ModuleType):
    """A module under litellm's name. Attributes may be set freely, as its users do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _find(self.__name__, name)
        vars(self).setdefault(name, value)
        return vars(self)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing `litellm.responses.main` must not replace the function `litellm.responses`.
        if isinstance(value, StandIn) and (self.__name__, name) in names.BOTH:
            return
        super().__setattr__(name, value)
        if self.__name__ == "litellm" and (meant := SET.get(name)) and value:
            meant(value)

    def __dir__(self) -> Iterable[str]:
        known = names.listed(self.__name__)
        return sorted({*(name for name in vars(self) if name in known or not name.endswith("Error")), *known})

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} by headrace>"


def module(path: str) -> StandIn:
    """The module of a path in `names.PATHS`, created once."""
    if path not in _modules:
        made = StandIn(path, "headrace in litellm's place")
        made.__spec__ = ModuleSpec(path, Finder(), origin="headrace", is_package=True)
        made.__path__ = []
        made.__package__ = path
        _modules[path] = made
    return _modules[path]


def setting(name: str) -> Any:
    """The current value of `litellm.name`; None if it was never set or read."""
    return vars(module("litellm")).get(name)


def _find(path: str, name: str) -> Any:
    """A module's attribute: an object from the tables, a setting, or a submodule. Raises AttributeError that says what to use instead."""
    if home := names.home_of(path, name):
        found = import_module(home[0])
        return getattr(found, home[1]) if home[1] else found
    if path == "litellm" and name in DEFAULTS:
        return DEFAULTS[name]()
    if f"{path}.{name}" in names.PATHS:
        return module(f"{path}.{name}")
    raise AttributeError(names.missing(path, name))


class Finder(MetaPathFinder, Loader):
    """Finds the modules, and the distribution whose version programs query."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "litellm":
            return None
        if fullname in names.PATHS:
            return module(fullname).__spec__
        raise ModuleNotFoundError(names.missing(*fullname.rpartition(".")[::2]), name=fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: attributes are looked up on access."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        if context is None or context.name in (None, "litellm"):  # all distributions, or this one
            yield _Metadata()


class _Metadata(Distribution):
    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: litellm\nVersion: {VERSION}\n" if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> Any:
        raise FileNotFoundError(f"{path}: litellm is headrace here and has no files of its own")
