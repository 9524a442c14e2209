"""Fallback groups of each model group, by the reason why a call leaves it."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.calls import Call, shape
from headrace.errors import BadRequestError, ConfigurationError, Kind
from headrace.routing.events import warn

ANY: Final = "*"
"""As a group's name: every group without fallbacks of its own."""


class Fallbacks(Struct, frozen=True):
    """Fallbacks of each group. Traversal is depth first: the fallbacks of a fallback come before its siblings."""

    general: Mapping[str, tuple[str, ...]] = {}
    context_window: Mapping[str, tuple[str, ...]] = {}
    """For a prompt that is too long for the group; without one, `general` applies."""
    content_policy: Mapping[str, tuple[str, ...]] = {}
    """For content that the provider refuses; without one, `general` applies."""
    default: tuple[str, ...] = ()
    """Fallbacks of every group, tried last."""
    most: int = 5
    """Most groups that one call falls back to (litellm's `max_fallbacks`)."""

    def behind(self, names: Sequence[str], kind: Kind) -> tuple[str, ...]:
        """Fallback groups, best first, for a call that failed with `kind` in a group known by these names."""
        own = _of(_SPECIAL[kind](self), names) if kind in _SPECIAL else ()
        return (*(own or _of(self.general, names)), *self.default)


NO_FALLBACKS: Final = Fallbacks()


def _of(behind: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> tuple[str, ...]:
    return next((behind[name] for name in (*names, ANY) if name in behind), ())


_SPECIAL: Final = {
    Kind.CONTEXT_WINDOW: lambda fallbacks: fallbacks.context_window,
    Kind.CONTENT_POLICY: lambda fallbacks: fallbacks.content_policy,
}


def read_fallbacks(
    general: Any = None, *, context_window: Any = None, content_policy: Any = None, default: Any = None, most: int = 5
) -> Fallbacks:
    """Read litellm's forms. Raises ConfigurationError that names the parameter and the entry."""
    return Fallbacks(
        _mapped(general, "fallbacks"),
        _mapped(context_window, "context_window_fallbacks"),
        _mapped(content_policy, "content_policy_fallbacks"),
        tuple(_names(default or (), "default_fallbacks")),
        most,
    )


def _mapped(given: Any, where: str) -> dict[str, tuple[str, ...]]:
    """Read a list of mappings from a group to its fallback groups."""
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


def check_fallbacks(
    fallbacks: Fallbacks, serves: Callable[[str], bool], step: Callable[[str], str], served: Iterable[str], *, growing: bool = False
) -> None:
    """Check that every name is served and that the fallbacks have no cycle.

    serves: whether a name is a group or a deployment. step: the group that a name counts as. growing: deployments are
    being added one by one, so a name may not be served yet; no call goes there until it is.

    Raises ConfigurationError that names what is not served, or the cycle. A `default_fallbacks` name that is not served
    yet is skipped, with a warning in the log.
    """
    if absent := [name for name in fallbacks.default if not serves(name)]:
        warn(f"default_fallbacks name {', '.join(map(repr, absent))}, which no deployment serves: no call goes there until one does")
    tables = {"fallbacks": fallbacks.general, "context_window_fallbacks": fallbacks.context_window}
    tables |= {"content_policy_fallbacks": fallbacks.content_policy}
    for where, table in tables.items():
        for group, others in table.items():
            for name in others:
                if not serves(name) and not growing:
                    known = ", ".join(repr(name) for name in sorted(served))
                    raise ConfigurationError(f"{where} of {group!r} name {name!r}, which no deployment serves; known: {known}")
        _check_end({step(group): {step(name) for name in others} for group, others in table.items()}, where)


def _check_end(behind: Mapping[str, set[str]], where: str) -> None:
    try:
        graphlib.TopologicalSorter(behind).prepare()
    except graphlib.CycleError as error:
        path = " → ".join(repr(name) for name in reversed(error.args[1]))
        raise ConfigurationError(f"{where} form a cycle: {path}; remove one of them") from None


def given_with(call: Call) -> dict[str, Mapping[str, Any]]:
    """Fallbacks given with one call, in order, each with the options that change for it.

    Accepted: names (`["b"]`), a Router's form (`[{"a": ["b"]}]`), or options (`[{"model": "b", "messages": […]}]`).
    Raises BadRequestError.
    """
    given = call.control.get("fallbacks") or ()
    entries = [given] if isinstance(given, Mapping) else given
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise BadRequestError(f"fallbacks must be a list of model group names, got {shape(given)}")
    found: dict[str, Mapping[str, Any]] = {}
    for number, entry in enumerate(entries):
        if isinstance(entry, str):
            found.setdefault(entry, {})
        elif isinstance(entry, Mapping) and isinstance(entry.get("model"), str):
            found[entry["model"]] = {name: value for name, value in entry.items() if name != "model"}
        elif isinstance(entry, Mapping):
            try:
                found |= {name: {} for name in _of({str(group): _listed(others) for group, others in entry.items()}, [call.model])}
            except ConfigurationError as error:
                raise BadRequestError(f"fallbacks[{number}]: {error.message}", call.model) from None
        else:
            raise BadRequestError(f"fallbacks[{number}] must be a model group's name, or a mapping, got {shape(entry)}", call.model)
    return found


def _listed(names: Any) -> tuple[str, ...]:
    return tuple(_names(names, "the fallbacks of a group"))
