"""The Router's configuration, read once and frozen: deployments, groups, fallbacks. Replaced as a whole when it changes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from headrace.calls import shape, whole_number
from headrace.errors import ConfigurationError
from headrace.limits import Limit, limits_of
from headrace.limits.money import budget_of, price_of
from headrace.models.cost import Rates, is_price, rates_of
from headrace.models.info import find
from headrace.options import CallOptions
from headrace.routing.events import warn
from headrace.routing.fallbacks import NO_FALLBACKS, Fallbacks, check_fallbacks
from headrace.routing.fields import Fields
from headrace.routing.patterns import stars_of
from headrace.routing.unsupported import check_deployment
from headrace.routing.ways import Joint

LIMIT_NAMES: Final = ("rpm", "tpm", "rpd", "tpd", "itpm", "otpm", "max_parallel_requests")

_OWN: Final = frozenset(LIMIT_NAMES) | {
    "model",
    "weight",
    "order",
    "quota_group",
    "stream_timeout",
    "cooldown_time",
    "profile",
    "windows",
    "max_budget",
    "budget_duration",
    "max_input_tokens",
    "tag_regex",
    "num_retries",
    "max_retries",
    "timeout_by_service_tier",
    "stream_timeout_by_service_tier",
}
"""litellm_params for routing. Of the rest, call options go to the call, and everything else into the request body."""

_FACTS: Final = frozenset({"base_model", "region_name", "tags", "use_in_pass_through"})
"""litellm_params that describe a deployment and are never sent."""

_CALL: Final = frozenset([name for name in CallOptions.__annotations__ if name not in _FACTS and not is_price(name)])


class Deployment(Struct, frozen=True, eq=False):
    """One place where a model can be called."""

    id: str
    group: str
    """The model name that callers use (litellm's `model_name`)."""
    model: str
    """`provider/model`."""
    control: Mapping[str, Any]
    """Address, key, time limits: call options that apply unless the caller gives his own."""
    defaults: Mapping[str, Any]
    """Body parameters that apply unless the caller gives his own."""
    limits: tuple[Limit, ...]
    weight: float
    order: int
    """Tier. Lower is tried first; the next only when no deployment of this one is left."""
    price: Rates | None
    """Its price, if configured or needed by a budget."""
    priced_as: str
    """The model whose catalogue price applies if none is configured."""
    cooldown: float | None
    """Seconds of its first cooldown; None for the Router's."""
    tags: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]
    """Matched against a caller's `User-Agent: …`: a match counts as naming the deployment's tags."""
    blocked: bool
    """Whether it serves no calls for now."""
    retries: int | None
    """Further attempts after a failure here; None for the Router's."""
    tier_timeouts: Mapping[bool, Mapping[str, float]]
    """Seconds by a call's `service_tier`, for streams (True) and whole responses (False)."""
    team: str | None
    """The only team it serves; None for all."""
    region: str | None
    window: int | None
    """Tokens of the largest prompt, if configured."""
    quota_group: str | None
    profile: str | Mapping[str, Any] | None
    """How its provider accounts: a profile's name, or fields that override the provider's own profile."""
    given: Mapping[str, Any]
    """The entry as configured. Must be the last field: `same` compares all the others."""

    @property
    def model_name(self) -> str:
        """litellm's name for `group`."""
        return self.group

    @property
    def litellm_params(self) -> Fields:
        """The parameters as configured."""
        return Fields(_mapping(self.given["litellm_params"], "litellm_params"))

    @property
    def model_info(self) -> Fields:
        """As configured, with the id."""
        return Fields({**_mapping(self.given.get("model_info") or {}, "model_info"), "id": self.id})

    def same(self, other: Deployment) -> bool:
        """Whether both describe the same destination with the same limits and settings, however they were written."""
        return astuple(self)[:-1] == astuple(other)[:-1]

    @property
    def known_price(self) -> Rates | None:
        """The configured price, else the catalogue's."""
        return self.price or _price_known_of(self.priced_as)

    def __repr__(self) -> str:
        return f"<Deployment {self.id} {self.group!r} {self.model}>"


class Plan(Struct, frozen=True):
    """Everything that determines where a call may go."""

    deployments: Mapping[str, Deployment]
    groups: Mapping[str, tuple[Deployment, ...]]
    aliases: Mapping[str, str]
    fallbacks: Fallbacks
    hidden: frozenset[str] = frozenset()
    """Aliases that are not listed among the models."""

    patterns: tuple[str, ...] = ()
    """Groups whose name contains `*`, the most specific first."""
    tiers: Mapping[str, Mapping[str, int]] = {}
    """For routing groups with priorities: the tier of each group."""

    def tier(self, group: str, deployment: Deployment) -> int:
        """The deployment's tier in that group. Lower is tried first."""
        tiers = self.tiers.get(group)
        return deployment.order if tiers is None else tiers[deployment.group]

    def group_of(self, model: str) -> str | None:
        """The group a caller means: by its name, an alias, or a pattern that it matches."""
        name = self.aliases.get(model, model)
        if name in self.groups:
            return name
        return next((pattern for pattern in self.patterns if stars_of(pattern, name) is not None), None)

    def place_of(self, name: str) -> tuple[str, str]:
        """The group that a name means, and the id if it means one deployment; an empty id for any."""
        group = self.group_of(name)
        if group is None and (one := self.deployments.get(name)) is not None:
            return one.group, one.id
        return group or name, ""

    def serves(self, name: str) -> bool:
        """Whether a name means a group, or a deployment by its id."""
        return self.group_of(name) is not None or name in self.deployments

    def step(self, name: str) -> str:
        """What a trail records for `name`: the group, or the name itself if it only matches a pattern."""
        group = self.group_of(name)
        return name if group is None else self.aliases.get(name, name) if group in self.patterns else group


def read_deployments(model_list: Any, environment: Mapping[str, str], *, lenient: bool = False) -> list[Deployment]:
    """Check and read a `model_list`.

    Raises ConfigurationError that names entry and field. lenient: leave out entries that cannot work, unless none can.
    """
    if not isinstance(model_list, Sequence) or isinstance(model_list, str | bytes):
        raise ConfigurationError(f"model_list must be a list of deployments, got {shape(model_list)}")
    found: dict[str, Deployment] = {}
    wrong: list[ConfigurationError] = []
    for where, entry in _entries(model_list):
        try:
            deployment = read_deployment(entry, where, environment, taken=found)
        except ConfigurationError as error:
            if not lenient:
                raise
            wrong.append(error)
        else:
            found[deployment.id] = deployment
    if wrong and not found:
        raise wrong[0]
    for cause in wrong:
        warn(f"left out of the Router: {cause}")
    return list(found.values())


def _entries(model_list: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each entry with its location. An entry that names several organizations becomes one deployment for each."""
    for number, entry in enumerate(model_list):
        where = f"model_list[{number}]"
        params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
        several = params.get("organization") if isinstance(params, Mapping) else None
        if params is None or not isinstance(several, list | tuple):
            yield where, entry
            continue
        id = own_id(entry)
        for count, organization in enumerate(several):
            info = {**(entry.get("model_info") or {})} | ({"id": f"{id}-{count}"} if id is not None and count else {})
            yield where, {**entry, "litellm_params": {**params, "organization": organization}, "model_info": info}


def read_deployment(entry: Any, where: str, environment: Mapping[str, str], *, taken: Iterable[str] = ()) -> Deployment:
    """Check and read one entry of a `model_list`."""
    entry = _mapping(entry, where)
    params = {name: resolved(value, f"{where}.litellm_params.{name}", environment) for name, value in _params(entry, where).items()}
    info = _mapping(entry.get("model_info") or {}, f"{where}.model_info")
    check_deployment(params, info, where, _CALL)
    group = _text(entry, "model_name", where)
    model = _text(params, "model", f"{where}.litellm_params")
    limits = {name: value for name in LIMIT_NAMES if (value := _limit(name, entry, params, where)) is not None}
    price = price_of({**info, **params}, f"{where}.litellm_params")
    budget = _budget(entry, params, where)
    priced_as = str(params.get("base_model") or info.get("base_model") or model)
    if budget and price is None:
        price = _price_for_budget(priced_as, where)
    return Deployment(
        id=_identity(info, group, params, taken, where),
        group=group,
        model=model,
        control={name: value for name, value in params.items() if (name in _CALL and name not in _OWN) or name == "stream_timeout"},
        defaults={name: value for name, value in params.items() if name not in _OWN | _CALL | _FACTS and not is_price(name)},
        limits=(*limits_of(windows=_windows(entry, params, where), **limits), *budget),
        weight=_weight(params, limits, where),
        order=whole_number(f"{where}.litellm_params.order", params.get("order") or 0),
        price=price,
        priced_as=priced_as,
        cooldown=_seconds(params.get("cooldown_time"), f"{where}.litellm_params.cooldown_time"),
        tags=_tags(params.get("tags"), f"{where}.litellm_params.tags"),
        patterns=_patterns(params.get("tag_regex"), f"{where}.litellm_params.tag_regex"),
        blocked=bool(info.get("blocked")),
        retries=_retries(params, where),
        tier_timeouts={stream: _tier_timeouts(params, name, where) for stream, name in _BY_TIER.items()},
        team=info.get("team_id"),
        region=params.get("region_name") or params.get("aws_region_name") or params.get("vertex_location"),
        window=_window(info, params, model),
        quota_group=params.get("quota_group") or entry.get("quota_group"),
        profile=_profile(params.get("profile"), f"{where}.litellm_params.profile"),
        given=entry,
    )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        dumped: Mapping[str, Any] = dump(exclude_none=True)
        return dumped
    raise ConfigurationError(f"{where} must be a mapping, got {shape(value)}")


def _params(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    if "litellm_params" not in entry:
        raise ConfigurationError(f"{where}.litellm_params is missing: it holds 'model', 'api_key', 'base_url', 'rpm', 'tpm'")
    params = _mapping(entry["litellm_params"], f"{where}.litellm_params")
    given = {name: value for name, value in params.items() if value is not None}
    if "request_timeout" in given:
        given.setdefault("timeout", given.pop("request_timeout"))
    return given


def resolved(value: Any, where: str, environment: Mapping[str, str]) -> Any:
    """`value`, with litellm's `os.environ/NAME` replaced by that environment variable."""
    if not (isinstance(value, str) and value.startswith("os.environ/")):
        return value
    name = value.removeprefix("os.environ/")
    if name not in environment:
        raise ConfigurationError(f"{where} refers to the environment variable {name}, which is not set")
    return environment[name]


def _text(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}.{name} must be a non-empty string, got {shape(value)}")
    return value


def _limit(name: str, entry: Mapping[str, Any], params: Mapping[str, Any], where: str) -> int | None:
    """A limit, from inside `litellm_params` or beside it; inside wins, as in litellm."""
    inside = params.get(name) is not None
    value = params[name] if inside else entry.get(name)
    if value is None:
        return None
    return whole_number(f"{where}.litellm_params.{name}" if inside else f"{where}.{name}", value, least=1)


def _seconds(value: Any, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf):
        raise ConfigurationError(f"{where} must be a number of seconds of at least 0, got {shape(value)}")
    return None if value is None else float(value)


def _tags(value: Any, where: str) -> frozenset[str]:
    if value is not None and (not isinstance(value, Sequence) or isinstance(value, str)):
        raise ConfigurationError(f"{where} must be a list of strings, got {shape(value)}")
    return frozenset(map(str, value or ()))


def _patterns(value: Any, where: str) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple([re.compile(pattern) for pattern in sorted(_tags(value, where))])
    except re.error as error:
        raise ConfigurationError(f"{where} must be a list of regular expressions; one of them is invalid: {error}") from None


def _retries(params: Mapping[str, Any], where: str) -> int | None:
    name = "num_retries" if params.get("num_retries") is not None else "max_retries"
    return None if params.get(name) is None else whole_number(f"{where}.litellm_params.{name}", params[name])


_BY_TIER: Final = {False: "timeout_by_service_tier", True: "stream_timeout_by_service_tier"}


def _tier_timeouts(params: Mapping[str, Any], name: str, where: str) -> dict[str, float]:
    found = {}
    for tier, given in _mapping(params.get(name) or {}, f"{where}.litellm_params.{name}").items():
        seconds = _seconds(given, f"{where}.litellm_params.{name}[{tier!r}]")
        if seconds:
            found[str(tier)] = seconds
    return found


def _window(info: Mapping[str, Any], params: Mapping[str, Any], model: str) -> int | None:
    """The configured context window. The model's own is looked up only when needed."""
    given = info.get("max_input_tokens", params.get("max_input_tokens"))
    return None if given is None else whole_number("max_input_tokens", given, least=1)


def _windows(entry: Mapping[str, Any], params: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]]:
    """Limits without a parameter of their own: `[{"unit": "requests", "amount": 10, "window": 10}]`."""
    inside = "windows" in params
    windows = params["windows"] if inside else entry.get("windows")
    if windows is None:
        return ()
    if not isinstance(windows, Sequence) or isinstance(windows, str):
        place = f"{where}.litellm_params.windows" if inside else f"{where}.windows"
        raise ConfigurationError(f"{place} must be a list like [{{'unit': 'requests', 'amount': 10, 'window': 10}}], got {shape(windows)}")
    return windows


def _budget(entry: Mapping[str, Any], params: Mapping[str, Any], where: str) -> tuple[Limit, ...]:
    """`max_budget` dollars per `budget_duration`, from inside `litellm_params` or beside it."""
    dollars = params.get("max_budget", entry.get("max_budget"))
    if dollars is None:
        return ()
    return (budget_of(dollars, params.get("budget_duration", entry.get("budget_duration")), where),)


def _price_known_of(model: str) -> Rates | None:
    """The catalogue's price; None if unknown."""
    facts = find(model)
    return None if facts is None else rates_of(facts)


def _price_for_budget(model: str, where: str) -> Rates:
    price = _price_known_of(model)
    if price is None:
        raise ConfigurationError(
            f"{where}.max_budget needs prices, and none are known for {model!r}: give input_cost_per_token and "
            "output_cost_per_token in litellm_params, or its base_model"
        )
    return price


def _profile(given: Any, where: str) -> str | Mapping[str, Any] | None:
    if given is None or isinstance(given, str | Mapping):
        return given
    raise ConfigurationError(f"{where} must be a profile's name or a mapping of its facts, got {shape(given)}")


def _weight(params: Mapping[str, Any], limits: Mapping[str, int], where: str) -> float:
    """As in litellm: `weight`, else in proportion to `rpm`, else to `tpm`, else equal."""
    weight = params.get("weight")
    if weight is None:
        return float(limits.get("rpm") or limits.get("tpm", 0) / 1000 or 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise ConfigurationError(f"{where}.litellm_params.weight must be a number of at least 0, got {shape(weight)}")
    return float(weight)


def _identity(info: Mapping[str, Any], group: str, params: Mapping[str, Any], taken: Iterable[str], where: str) -> str:
    """`model_info.id`, else a digest of the configuration: the same configuration gives the same id on every host."""
    given = info.get("id")
    if given is not None:
        if str(given) in taken:
            raise ConfigurationError(f"{where}.model_info.id repeats {given!r}: every deployment needs its own")
        return str(given)
    import hashlib  # late: it loads OpenSSL, and most deployments are read once in a process's life

    plain = msgspec.json.encode([group, sorted((name, repr(value)) for name, value in params.items())])
    digest = hashlib.sha256(plain).hexdigest()[:12]
    repeats = sum(1 for other in taken if other.startswith(digest))
    return f"{digest}-{repeats}" if repeats else digest


def own_id(entry: Any) -> str | None:
    """The id that an entry gives its deployment; None if it gives none."""
    given = (_mapping(entry, "deployment").get("model_info") or {}).get("id")
    return None if given is None else str(given)


def make_plan(
    deployments: Iterable[Deployment], *, aliases: Any = None, fallbacks: Fallbacks = NO_FALLBACKS,
    joint: Mapping[str, Joint] | None = None, growing: bool = False,
) -> Plan:  # fmt: skip
    """Group the deployments.

    Check that aliases, fallbacks and routing groups name existing groups, and that fallbacks have no cycle.

    growing: fallbacks may name groups that do not exist yet.
    """
    by_id = {deployment.id: deployment for deployment in deployments}
    groups: dict[str, list[Deployment]] = {}
    for deployment in by_id.values():
        groups.setdefault(deployment.group, []).append(deployment)
    patterns = sorted((name for name in groups if "*" in name), key=len, reverse=True)
    joint = joint or {}
    groups |= _joined(joint, groups)
    given = _mapping(aliases or {}, "model_group_alias")
    plan = Plan(
        by_id,
        {name: tuple(members) for name, members in groups.items()},
        {str(alias): _alias(target, alias) for alias, target in given.items()},
        fallbacks,
        frozenset(str(alias) for alias, target in given.items() if isinstance(target, Mapping) and target.get("hidden")),
        tuple(patterns),
        {name: group.tiers for name, group in joint.items() if group.tiers},
    )
    _check(plan, growing)
    return plan


def _joined(joint: Mapping[str, Joint], groups: Mapping[str, list[Deployment]]) -> dict[str, list[Deployment]]:
    """The deployments of each routing group."""
    for name, group in joint.items():
        if name in groups:
            raise ConfigurationError(f"routing_groups: {name!r} is also the name of a model group; give the routing group another name")
        for model in group.models:
            if model not in groups:
                raise ConfigurationError(f"routing_groups: {name!r} names {model!r}, which no deployment serves; known: {_list(groups)}")
    return {name: [one for model in group.models for one in groups[model]] for name, group in joint.items()}


def _alias(target: Any, alias: str) -> str:
    if isinstance(target, Mapping):
        target = target.get("model")
    if not isinstance(target, str):
        raise ConfigurationError(f"model_group_alias[{alias!r}] must name a model group, got {shape(target)}")
    return target


def _check(plan: Plan, growing: bool) -> None:
    for alias, target in plan.aliases.items():
        if target not in plan.groups:
            raise ConfigurationError(
                f"model_group_alias[{alias!r}] names {target!r}, which no deployment serves; known: {_list(plan.groups)}"
            )
    check_fallbacks(plan.fallbacks, plan.serves, plan.step, plan.groups, growing=growing)


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
