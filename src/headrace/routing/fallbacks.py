"""Which model groups stand behind which, by why a call leaves its own."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.calls import shape
from headrace.errors import ConfigurationError, Kind

ANY: Final = "*"
"""As a group's name: whatever group has no fallbacks of its own."""


class Fallbacks(Struct, frozen=True):
    """Groups behind each group. The walk is depth first: the fallbacks of a fallback come before its siblings."""

    general: Mapping[str, tuple[str, ...]] = {}
    context_window: Mapping[str, tuple[str, ...]] = {}
    """For a prompt too long for the group; then `general` where it has none."""
    content_policy: Mapping[str, tuple[str, ...]] = {}
    """For content that the provider refuses; then `general` where it has none."""
    default: tuple[str, ...] = ()
    """Behind every group, last."""
    most: int = 5
    """Groups that one call falls back to at most (litellm's `max_fallbacks`)."""

    def behind(self, group: str, kind: Kind) -> tuple[str, ...]:
        """Groups to ask after `group`, the best first, for a call that failed there with `kind`."""
        own = _of(_SPECIAL[kind](self), group) if kind in _SPECIAL else ()
        return (*(own or _of(self.general, group)), *self.default)


NO_FALLBACKS: Final = Fallbacks()


def _of(behind: Mapping[str, tuple[str, ...]], group: str) -> tuple[str, ...]:
    return behind.get(group, behind.get(ANY, ()))


_SPECIAL: Final = {
    Kind.CONTEXT_WINDOW: lambda fallbacks: fallbacks.context_window,
    Kind.CONTENT_POLICY: lambda fallbacks: fallbacks.content_policy,
}


def read_fallbacks(
    general: Any = None, *, context_window: Any = None, content_policy: Any = None, default: Any = None, most: int = 5
) -> Fallbacks:
    """litellm's forms. Raises ConfigurationError that names the parameter and the entry."""
    return Fallbacks(
        _mapped(general, "fallbacks"),
        _mapped(context_window, "context_window_fallbacks"),
        _mapped(content_policy, "content_policy_fallbacks"),
        tuple(_names(default or (), "default_fallbacks")),
        most,
    )


def _mapped(given: Any, where: str) -> dict[str, tuple[str, ...]]:
    """A list of mappings from a group to the groups behind it."""
    entries = [given] if isinstance(given, Mapping) else given or ()
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ConfigurationError(f"{where} must be a list like [{{'group': ['other']}}], got {shape(given)}")
    behind: dict[str, tuple[str, ...]] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ConfigurationError(f"{where}[{number}] must be a mapping, got {shape(entry)}")
        for group, others in entry.items():
            behind[group] = (*behind.get(group, ()), *_names(others, f"{where}[{number}][{group!r}]"))
    return behind


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{where} must be a list of model group names, got {shape(value)}")
    return list(value)


def check_fallbacks(fallbacks: Fallbacks, group_of: Mapping[str, str], served: Iterable[str]) -> None:
    """Every name must be served, and every walk must end. group_of: names that callers may use, and their groups.

    Raises ConfigurationError that names what nobody serves, or the loop.
    """
    tables = {"fallbacks": fallbacks.general, "context_window_fallbacks": fallbacks.context_window}
    tables |= {"content_policy_fallbacks": fallbacks.content_policy, "default_fallbacks": {"every group": fallbacks.default}}
    for where, table in tables.items():
        for group, others in table.items():
            for name in others:
                if name not in group_of:
                    known = ", ".join(repr(name) for name in sorted(served))
                    raise ConfigurationError(f"{where} of {group!r} name {name!r}, which no deployment serves; known: {known}")
        if where != "default_fallbacks":
            _check_end({group_of.get(group, group): {group_of[name] for name in others} for group, others in table.items()}, where)


def _check_end(behind: Mapping[str, set[str]], where: str) -> None:
    try:
        graphlib.TopologicalSorter(behind).prepare()
    except graphlib.CycleError as error:
        path = " → ".join(repr(name) for name in reversed(error.args[1]))
        raise ConfigurationError(f"{where} go round in a circle: {path}; take one of them out") from None
