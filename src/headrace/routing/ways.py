"""How calls are distributed: strategy and affinity of every group, and routing groups (litellm's `routing_groups`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from headrace.calls import shape, whole_number
from headrace.errors import ConfigurationError
from headrace.routing.strategies import LATENCY, STRATEGIES, Latency, Strategy

Affine: TypeAlias = Literal["prefix", "session", "caller"]
"""What a call has in common with the earlier calls whose deployment it prefers: its conversation's prefix, its
`session_id`, its caller."""

CHECKS: Final[Mapping[str, Affine | None]] = {
    "prompt_caching": "prefix", "session_affinity": "session", "deployment_affinity": "caller", "responses_api_deployment_check": None,
    "enforce_model_rate_limits": None, "router_budget_limiting": None,
}  # fmt: skip
"""litellm's pre-call checks, and the affinity each stands for; None for those that always apply."""

_STICKY: Final[Mapping[str, Affine]] = {"prefix-affinity": "prefix", "session-affinity": "session"}
"""Strategies that are affinities."""


class Way(Struct, frozen=True):
    """How calls to one group are distributed."""

    strategy: Strategy | None = None
    """None leaves the choice to the limiter."""
    affinity: Affine | None = None


class Joint(Struct, frozen=True):
    """A routing group: several model groups under one name."""

    models: tuple[str, ...]
    tiers: Mapping[str, int] = {}
    """Tier of each model, lower is tried first; empty if all are of one tier."""


class Ways(Struct, frozen=True):
    """The `Way` of every group, and the routing groups by name."""

    usual: Way
    own: Mapping[str, Way] = {}
    joint: Mapping[str, Joint] = {}

    def of(self, group: str) -> Way:
        return self.own.get(group, self.usual)

    def uses(self, strategy: Strategy) -> bool:
        """Whether any group uses that strategy."""
        return any(way.strategy is strategy for way in (self.usual, *self.own.values()))


def read_ways(options: Mapping[str, Any]) -> Ways:
    """Read a Router's parameters. Raises ConfigurationError that names the parameter and the entry."""
    strategy = _name(options.get("routing_strategy", "headroom"))
    usual = Way(
        _strategy(strategy, options.get("routing_strategy_args"), "routing_strategy"),
        _affinity(options.get("optional_pre_call_checks", ()), "optional_pre_call_checks", strategy),
    )
    own: dict[str, Way] = {}
    joint: dict[str, Joint] = {}
    for number, given in enumerate(_list(options.get("routing_groups", ()), "routing_groups")):
        where = f"routing_groups[{number}]"
        name, way, group = _routing_group(_fields(given, where), where, usual)
        for claimed in (name, *group.models):
            if claimed in own:
                raise ConfigurationError(f"{where}: {claimed!r} is in another routing group already; a model can be in only one")
            own[claimed] = way
        joint[name] = group
    for model, checks in _mapping(options.get("model_group_affinity_config", {}), "model_group_affinity_config").items():
        affinity = _affinity(checks, f"model_group_affinity_config[{model!r}]", None)
        own[model] = Way(own.get(model, usual).strategy, affinity)
    return Ways(usual, own, joint)


def _routing_group(given: Mapping[str, Any], where: str, usual: Way) -> tuple[str, Way, Joint]:
    unknown = set(given) - {"group_name", "models", "routing_strategy", "routing_strategy_args", "model_priorities"}
    if unknown:
        raise ConfigurationError(f"{where} has no {', '.join(map(repr, sorted(unknown)))}: it takes group_name, models and a strategy")
    name, models = given.get("group_name"), _list(given.get("models", ()), f"{where}.models")
    if not isinstance(name, str) or not name or not models:
        raise ConfigurationError(f"{where} needs group_name and at least one model group (models), got {shape(given)}")
    strategy = _name(given.get("routing_strategy"))
    if strategy == "priority":
        tiers = _mapping(given.get("model_priorities", {}), f"{where}.model_priorities")
        if set(tiers) != set(models):
            raise ConfigurationError(f"{where}.model_priorities must have a number for each of {', '.join(map(repr, models))}")
        numbers = {model: whole_number(f"{where}.model_priorities[{model!r}]", tier, least=1) for model, tier in tiers.items()}
        return name, usual, Joint(tuple(models), numbers)
    if given.get("model_priorities"):
        raise ConfigurationError(f"{where}.model_priorities needs routing_strategy 'priority'")
    way = Way(_strategy(strategy, given.get("routing_strategy_args"), f"{where}.routing_strategy"), _STICKY.get(str(strategy)))
    return name, way, Joint(tuple(models))


def _name(given: Any) -> Any:
    return getattr(given, "value", given)  # litellm's RoutingStrategy is an enumeration


def _strategy(given: Any, args: Any, where: str) -> Strategy | None:
    if not callable(given) and (not isinstance(given, str) or given not in STRATEGIES):
        known = ", ".join(repr(name) for name in STRATEGIES)
        raise ConfigurationError(f"{where} must be one of {known}, or a function of a View, got {shape(given)}")
    if args:
        return _with_args(given, _mapping(args, f"{where}_args"), f"{where}_args")
    return given if callable(given) else STRATEGIES[given]


_NO_ARGS: Final[Mapping[str, str]] = {
    "ttft_percentile": "averages rise at once with a slow response and fall slowly, so no percentile is needed",
}
"""litellm's arguments that have no equivalent, and why."""


def _with_args(strategy: Any, args: Mapping[str, Any], where: str) -> Strategy:
    given = {name: value for name, value in args.items() if value is not None}
    for name in given:
        if name in _NO_ARGS:
            raise ConfigurationError(f"{where} has no {name}: leave it out, {_NO_ARGS[name]}")
        if strategy not in LATENCY:
            said = "limits have their own windows" if name == "ttl" else "it has no arguments"
            raise ConfigurationError(f"{where}.{name} does not apply to {strategy!r}: leave it out, {said}")
        if name not in Latency.__struct_fields__:
            raise ConfigurationError(f"{where} has no {name!r}; known: {', '.join(Latency.__struct_fields__)}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ConfigurationError(f"{where}.{name} must be a number of at least 0, got {shape(value)}")
    return Latency(**given)


def _affinity(checks: Any, where: str, strategy: Any) -> Affine | None:
    checks = _list(checks, where)
    for check in checks:
        if check not in CHECKS:
            raise ConfigurationError(f"{where} has no {check!r}; known: {', '.join(CHECKS)}")
    wanted = [CHECKS[check] for check in checks] + [_STICKY.get(strategy) if isinstance(strategy, str) else None]
    return next((affinity for affinity in ("prefix", "session", "caller") if affinity in wanted), None)


def _fields(given: Any, where: str) -> Mapping[str, Any]:
    dump = getattr(given, "model_dump", None)  # litellm's RoutingGroup
    return _mapping(given if dump is None else dump(exclude_none=True), where)


def _mapping(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} must be a mapping, got {shape(given)}")
    return given


def _list(given: Any, where: str) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigurationError(f"{where} must be a list, got {shape(given)}")
    return given
