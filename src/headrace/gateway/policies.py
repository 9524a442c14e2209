"""The sections `policies` and `policy_attachments`, in LiteLLM's format: which guardrails apply to whose calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from headrace.calls import flag, shape
from headrace.errors import BadRequestError, ConfigurationError, HeadraceError
from headrace.gateway.admin.forms import check_names, mapping, text, texts
from headrace.gateway.callers import Caller


class Policy(Struct, frozen=True):
    """Guardrails to add to, and remove from, those of the policy it inherits from."""

    add: tuple[str, ...] = ()
    """Guardrails, by name."""
    remove: tuple[str, ...] = ()
    inherit: str | None = None
    models: tuple[str, ...] = ()
    """Names and regular expressions of the models it applies to; empty for all."""

    def is_for(self, models: Iterable[str]) -> bool:
        """Whether it applies to one of these models."""
        return not self.models or any(re.fullmatch(wanted, model) for wanted in self.models for model in models)


class Attachment(Struct, frozen=True):
    """The calls that a policy applies to. Each list has names and patterns; an empty list matches everything."""

    policy: str
    teams: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    default: bool = False
    """Applies only if no other attachment does."""

    def holds(self, caller: Caller, models: tuple[str, ...]) -> bool:
        """Whether it applies to a caller's call. models: all names of the call's model.

        Tags are those of key, team and user, so a caller cannot evade a rule by tagging a call.
        """
        return (
            _some(self.teams, caller.team, caller.team_name)
            and _some(self.keys, caller.key, caller.name)
            and _some(self.models, *models)
            and _some(self.tags, *caller.tags)
        )


def _some(patterns: tuple[str, ...], *names: str) -> bool:
    return not patterns or "*" in patterns or any(name and fnmatchcase(name, pattern) for name in names for pattern in patterns)


class Policies(Struct, frozen=True):
    """All policies of a configuration."""

    known: Mapping[str, Policy] = {}
    attached: tuple[Attachment, ...] = ()

    def rules(self, caller: Caller, models: tuple[str, ...]) -> frozenset[str]:
        """The guardrails that apply to a caller's calls of a model."""
        chains = [(one, self._chain(one.policy, models)) for one in self.attached if one.holds(caller, models)]
        found = [(one, chain) for one, chain in chains if chain]
        others = [chain for one, chain in found if not one.default] or [chain for _, chain in found]
        return frozenset().union(*[_joined(chain) for chain in others])

    def _chain(self, name: str | None, models: tuple[str, ...]) -> list[Policy]:
        """A policy and those it inherits from, topmost first, as far as they apply to the model."""
        found: list[Policy] = []
        while name is not None:
            policy = self.known[name]
            found += [policy] if policy.is_for(models) else []
            name = policy.inherit
        return found[::-1]


NO_POLICIES: Final = Policies()


def _joined(chain: Iterable[Policy]) -> set[str]:
    names: set[str] = set()
    for policy in chain:
        names = (names | set(policy.add)) - set(policy.remove)
    return names


# ---- parsing
# ---------------------------------------------------------------------------------------------------------------------


def read_policies(policies: Any, attachments: Any, rules: Iterable[str], problem: Callable[[str], object]) -> Policies:
    """Parse both sections. rules: the existing guardrails. problem: called with each mistake and its place."""
    known: dict[str, Policy] = {}
    named = _section("policies", policies, dict, problem)
    for name, entry in named.items():
        try:
            known[name] = _policy(entry, frozenset(rules))
        except HeadraceError as error:
            problem(f"policies.{name}: {error.failure.message}")
    for name in list(known):
        if reason := _broken(name, named, known):
            problem(f"policies.{name}.inherit: {reason}")
            del known[name]
    found: list[Attachment] = []
    for number, entry in enumerate(_section("policy_attachments", attachments, list, problem)):
        try:
            found.append(_attachment(entry, named))
        except HeadraceError as error:
            problem(f"policy_attachments[{number}]: {error.failure.message}")
    return Policies(known, tuple([one for one in found if one.policy in known]))


def _section(name: str, given: Any, kind: type, problem: Callable[[str], object]) -> Any:
    if given is not None and not isinstance(given, kind):
        problem(f"{name} must be a {'mapping' if kind is dict else 'list'}, got {shape(given)}")
    return given if isinstance(given, kind) else kind()


def _broken(name: str, named: Mapping[str, Any], known: Mapping[str, Policy]) -> str:
    """What is wrong with the policies that a policy inherits from; "" for nothing."""
    seen, above = {name}, known[name].inherit
    while above is not None:
        if above in seen:
            return "the policies inherit from one another in a cycle"
        if above not in known:
            return "" if above in named else f"there is no policy {above!r}"
        seen.add(above)
        above = known[above].inherit
    return ""


def _policy(entry: Any, rules: frozenset[str]) -> Policy:
    said = mapping("a policy", entry)
    check_names(said, ("inherit", "description", "guardrails", "condition"))
    given, condition = mapping("guardrails", said.get("guardrails") or {}), mapping("condition", said.get("condition") or {})
    check_names(given, ("add", "remove"))
    check_names(condition, ("model",))
    add, remove = (texts(f"guardrails.{word}", given.get(word) or []) for word in ("add", "remove"))
    if unknown := [name for name in (*add, *remove) if name not in rules]:
        raise BadRequestError(f"there is no guardrail {unknown[0]!r}; known: {', '.join(sorted(rules)) or 'none'}")
    models = condition.get("model") or []
    return Policy(add, remove, text("inherit", said["inherit"]) if said.get("inherit") else None, _models(models))


def _models(given: Any) -> tuple[str, ...]:
    """Names and regular expressions. Each entry also matches as a literal name."""
    named = texts("condition.model", [given] if isinstance(given, str) else given)
    for one in named:
        try:
            re.compile(one)
        except re.error as error:
            raise BadRequestError(f"condition.model: {one!r} is not a regular expression ({error})") from None
    return (*[re.escape(one) for one in named], *named)


_LISTS: Final = ("teams", "keys", "models", "tags")


def _attachment(entry: Any, named: Mapping[str, Any]) -> Attachment:
    said = mapping("an attachment", entry)
    check_names(said, ("policy", "scope", "default", *_LISTS))
    policy = text("policy", said.get("policy"))
    if policy not in named:
        raise BadRequestError(f"there is no policy {policy!r}")
    if said.get("scope") not in (None, "*"):
        raise ConfigurationError(f"scope must be '*', or left out if any of {', '.join(_LISTS)} is given; got {shape(said['scope'])}")
    lists = {} if said.get("scope") else {word: texts(word, said.get(word) or []) for word in _LISTS}
    return Attachment(policy, **lists, default=flag("default", said.get("default", False)))
