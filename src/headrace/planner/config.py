"""The deployments to plan with, read from a configuration in LiteLLM's form. Keys are neither read nor needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from headrace.calls import shape
from headrace.config_file import read_file
from headrace.errors import ConfigurationError
from headrace.fingerprint import fingerprint
from headrace.limits import Limit, Profile, override, profile_of
from headrace.providers.catalog import resolve
from headrace.routing.plan import Deployment, Plan, make_plan, read_deployment

SECRET: Final = re.compile(r"key|secret|token|password|credential|headers", re.I)
"""Options whose `os.environ/NAME` is not resolved: the reference distinguishes two accounts as well as the key itself."""


class Place(Struct, frozen=True, eq=False):
    """One deployment as the planner sees it."""

    name: str
    """Its `model_info.id`, else its group's name, numbered from the second one on."""
    group: str
    model: str
    limits: tuple[Limit, ...]
    profile: Profile
    account: str
    """Deployments of one account share its limits."""
    order: int = 0

    def __repr__(self) -> str:
        return f"<Place {self.name} {' '.join(f'{limit.label} {limit.amount}' for limit in self.limits) or 'without limits'}>"


class Fleet(Struct, frozen=True, eq=False):
    """All deployments of a configuration, and aliases of their groups."""

    places: tuple[Place, ...]
    aliases: Mapping[str, str] = {}

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(place.group for place in self.places))

    def group_of(self, model: str) -> str | None:
        """The group that `model` means; None if no deployment serves it."""
        name = self.aliases.get(model, model)
        return name if any(place.group == name for place in self.places) else None

    def with_places(self, places: Sequence[Place]) -> Fleet:
        return Fleet(tuple(places), self.aliases)


def read_config(path: Path) -> Fleet:
    """The fleet of a .yaml, .json or .toml file. Raises ConfigurationError that names the file and the mistake."""
    content = read_file(path)
    try:
        return read_fleet(content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def read_fleet(content: Any) -> Fleet:
    """The fleet of a configuration: a mapping with `model_list`, or the bare list. Raises ConfigurationError."""
    entries, settings = (content.get("model_list"), content.get("router_settings")) if isinstance(content, Mapping) else (content, None)
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes) or not entries:
        raise ConfigurationError(f"model_list must be a list of at least one deployment, got {shape(entries)}")
    found: dict[str, Deployment] = {}
    for number, entry in enumerate(entries):
        deployment = read_deployment(_readable(entry), f"model_list[{number}]", _Unread(), taken=found)
        found[deployment.id] = deployment
    aliases = settings.get("model_group_alias") if isinstance(settings, Mapping) else None
    return fleet_of(make_plan(found.values(), aliases=aliases))


def fleet_of(plan: Plan) -> Fleet:
    """The fleet of a Router's plan."""
    places: list[Place] = []
    for deployment in plan.deployments.values():
        places.append(_place(deployment, places))
    return Fleet(tuple(places), plan.aliases)


def _place(deployment: Deployment, before: Sequence[Place]) -> Place:
    control = deployment.control
    address = control.get("base_url") or control.get("api_base")
    found = resolve(deployment.model, custom_llm_provider=control.get("custom_llm_provider"), base_url=address)
    given, own = deployment.profile, found.provider.profile
    return Place(
        name=_name(deployment, before),
        group=deployment.group,
        model=deployment.model,
        limits=deployment.limits,
        profile=override(profile_of(own), given) if isinstance(given, Mapping) else profile_of(given or own),
        account=deployment.quota_group
        or f"{address or found.provider.base_url}|{found.model}|{fingerprint(str(control.get('api_key') or ''))}",
        order=deployment.order,
    )


def _name(deployment: Deployment, before: Sequence[Place]) -> str:
    given = (deployment.given.get("model_info") or {}).get("id")
    if given is not None:
        return str(given)
    same = sum(1 for place in before if place.group == deployment.group)
    return deployment.group if not same else f"{deployment.group} #{same + 1}"


class _Unread(Mapping[str, str]):
    """An environment in which every variable has its own reference as value."""

    def __getitem__(self, name: str) -> str:
        return f"os.environ/{name}"

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _readable(entry: Any) -> Any:
    """The entry with environment variables resolved that are set and hold no secret."""
    params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping):
        return entry
    return {**entry, "litellm_params": {name: _value(str(name), value) for name, value in params.items()}}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str) and value.startswith("os.environ/") and not SECRET.search(name):
        return os.environ.get(value.removeprefix("os.environ/"), value)
    return value
