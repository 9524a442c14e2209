"""Parameters of a Router: litellm's under their names, headrace's besides, each checked before anything runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypedDict

import msgspec
from msgspec import Struct

from headrace.calls import flag, seconds, shape, timeouts_of, whole_number
from headrace.errors import ConfigurationError, Kind
from headrace.routing.budgets import read_budgets
from headrace.routing.decide import RetryPolicy
from headrace.routing.events import Hook
from headrace.routing.fallbacks import Fallbacks, read_fallbacks
from headrace.routing.health import CheckPolicy, CooldownPolicy
from headrace.routing.retries import by_kind, read_retries
from headrace.routing.unsupported import check_router
from headrace.routing.ways import Ways, read_ways

Check: TypeAlias = Callable[..., Awaitable[bool]]

HEDGED: Final = 0.05
"""The share of calls that `hedge=True` may send a second time."""


class RouterOptions(TypedDict, total=False):
    """Parameters of a Router, all by keyword. None means: not given."""

    num_retries: int | None
    """Further attempts after a failed one. Default: 2."""
    retry_policy: Any
    """Retries by kind of failure: `{"TimeoutErrorRetries": 3, "AuthenticationErrorRetries": 0}`, or an object with such
    attributes."""
    model_group_retry_policy: Mapping[str, Any] | None
    """`retry_policy` by model group."""
    retry_after: float | None
    """Seconds that every retry waits at least."""
    retry_budget: float | None
    """Retries that all calls may have together, as a share of their number. Default: 0.08. None removes the bound."""
    hedge: bool | float | None
    """The share of calls that may have a second, concurrent attempt if the first takes longer than 95 in 100 do; True
    means 0.05. The second goes to another deployment that has room at once. The first response wins; the other attempt
    is cancelled."""
    timeout: Any
    """Seconds for an attempt, or `Timeouts`."""
    stream_timeout: float | None
    """Seconds that a streamed call may wait for its first chunk, and between two chunks. Default: `timeout`."""
    stream_failover: bool | None
    """Whether a streamed chat that breaks off is continued by another deployment that can continue a partial response.
    Default: True."""
    fallbacks: Any
    """`[{"group": ["other"]}]`; "*" stands for every group without fallbacks of its own."""
    context_window_fallbacks: Any
    """Fallbacks for a prompt that is too long for its group; where there are none, `fallbacks` apply."""
    content_policy_fallbacks: Any
    """Fallbacks for content that the provider refuses; where there are none, `fallbacks` apply."""
    default_fallbacks: Sequence[str] | None
    """Fallbacks of every group, tried last."""
    max_fallbacks: int | None
    """Most groups that one call falls back to. Default: 5."""
    model_group_alias: Mapping[str, Any] | None
    """`{"alias": "group"}`, or `{"alias": {"model": "group", "hidden": True}}`."""
    routing_strategy: Any
    """A strategy's name, or a function that takes a `View` and returns a function from deployment id to cost."""
    routing_strategy_args: Mapping[str, Any] | None
    """For "latency-based-routing": `lowest_latency_buffer`, a share; `ttl`, in seconds; `max_latency_list_size`, a
    number of responses."""
    routing_groups: Sequence[Any] | None
    """Several groups under one name, with a strategy of its own: `{"group_name": "fast", "models": ["a", "b"],
    "routing_strategy": "latency-based-routing"}`. With "priority" and `model_priorities`, the lowest number is tried
    first."""
    cooldown_time: float | None
    """Seconds of the first cooldown of a failing deployment."""
    allowed_fails: int | None
    """Consecutive failures tolerated before a cooldown."""
    allowed_fails_policy: Any
    """`allowed_fails` by kind of failure: `{"InternalServerErrorAllowedFails": 5}`."""
    disable_cooldowns: bool | None
    """Whether failing deployments stay in use."""
    panic_threshold: float | None
    """Minimum share of a group that is not in cooldown. With fewer, and no room on those, deployments in cooldown are
    tried early. Default: 0.2."""
    health_check_interval: float | None
    """Seconds between two rounds of background health checks: a small request to each deployment."""
    enable_health_check_routing: bool | None
    """Whether calls avoid a deployment whose check failed. Default: True. Given alone, as in litellm, it also starts
    checks every five minutes."""
    health_check_staleness_threshold: float | None
    """Seconds for which a failed check keeps calls away. Default: twice the interval."""
    health_check_ignore_transient_errors: bool | None
    """Whether a check that timed out or met a rate limit is ignored."""
    background_health_check_model_groups: Sequence[str] | None
    """The groups that health checks cover; by default all."""
    max_wait: float | None
    """Seconds that a call may wait in the queue."""
    max_queue: int | None
    """Calls that may wait in the queue of one group."""
    default_priority: int | None
    """`priority` of calls that give none: 0 interactive, 1 normal, 2 batch."""
    default_max_parallel_requests: int | None
    """Most concurrent calls to a deployment that has neither `max_parallel_requests` nor `rpm` nor `tpm`."""
    default_litellm_params: Mapping[str, Any] | None
    """Default parameters of every call; those of its deployment and its own take precedence."""
    enable_pre_call_checks: bool | None
    """Skip deployments whose context window is known to be too small for the prompt."""
    enable_tag_filtering: bool | None
    """Whether calls are served only by deployments that match their tags."""
    tag_filtering_match_any: bool | None
    """Whether one tag in common is enough; otherwise a deployment must have all tags of a call. Default: True."""
    tag_routing_prefix: str | None
    """A prefix that is removed from a call's tags."""
    ignore_invalid_deployments: bool | None
    """Leave out deployments that cannot work, with a warning, instead of raising."""
    require_keys: bool | None
    """Whether a deployment without a key is an error, as it is by default. If False it is a warning, and the provider
    will refuse its calls."""
    optional_pre_call_checks: Sequence[str] | None
    """litellm's: "prompt_caching", "session_affinity" and "deployment_affinity" prefer the deployment that served the
    same conversation, session or caller before."""
    model_group_affinity_config: Mapping[str, Sequence[str]] | None
    """`optional_pre_call_checks` by model group."""
    deployment_affinity_ttl_seconds: float | None
    """Seconds for which the deployment that served a conversation, session or caller is remembered."""
    provider_budget_config: Mapping[str, Any] | None
    """Budgets in dollars for all calls to a provider: `{"openai": {"budget_limit": 100, "time_period": "1d"}}`."""
    tag_budget_config: Mapping[str, Any] | None
    """Budgets for all calls with a tag, in the form of `provider_budget_config`."""
    redis_url: str | None
    """The store through which processes share their limits: `redis://:password@host:6379/0`, or `rediss://`,
    `valkey://`, `unix://`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`. `os.environ/NAME` stands
    for a variable, here and below."""
    redis_host: str | None
    """Host of the store, in place of `redis_url`."""
    redis_port: int | str | None
    """Port of `redis_host`."""
    redis_password: str | None
    """Password for `redis_host`."""
    redis_db: int | str | None
    """Database number at `redis_host`."""
    cache: Any
    """A `headrace.Cache`, which answers repeated requests."""
    cache_responses: bool | None
    """Whether responses are cached without giving a `cache`: in the store of `redis_url`, else in memory."""
    cache_kwargs: Mapping[str, Any] | None
    """Arguments of the `headrace.Cache` that `cache_responses` makes."""
    caching_groups: Sequence[Sequence[str]] | None
    """Groups that share cached responses: `[("gpt", "gpt-cheap")]`."""
    single_flight: bool | None
    """Whether concurrent identical requests share one call."""
    set_verbose: bool | None
    """Whether the logger `headrace` logs every call, at `debug_level`: "INFO" or "DEBUG"."""
    debug_level: str | None
    """See `set_verbose`."""
    enable_weighted_failover: bool | None
    """Whether the other deployments of a group are tried before its fallback groups. Always true."""
    fallback_access_check: Check | None
    """An async function of `model`, `request_kwargs` and `llm_router`: whether a call may fall back to that group."""
    fallback_budget_check: Check | None
    """Like `fallback_access_check`; both must agree."""
    router_general_settings: Any
    """litellm's: `pass_through_all_models` calls providers directly for models that no group serves."""
    on_event: Hook | None
    """A function that is called with every `headrace.Event` of the Router's calls."""


class Settings(Struct, frozen=True):
    """The parameters, checked."""

    retries: RetryPolicy
    group_retries: Mapping[str, RetryPolicy]
    retry_budget: float | None
    hedge: float | None
    cooldown: CooldownPolicy
    checks: CheckPolicy
    provider_budgets: Mapping[str, Mapping[str, Any]]
    tag_budgets: Mapping[str, Mapping[str, Any]]
    """Limits by provider and by tag, as `add_scope` takes them."""
    fallbacks: Fallbacks
    ways: Ways
    may_fall_back: tuple[Check, ...]
    passes_through: bool
    tag_prefix: str
    timeout: Any
    stream_timeout: float | None
    max_wait: float | None
    max_queue: int | None
    priority: int | None
    parallel: int | None
    aliases: Any
    defaults: Mapping[str, Any]
    affinity_seconds: float
    continues: bool
    checks_window: bool
    by_tags: bool
    any_tag: bool
    lenient: bool
    keyless: bool
    """Whether deployments without a key are accepted."""
    store: Mapping[str, Any]
    """Where limits are shared; empty if they are not."""
    cache: Any
    cache_arguments: Mapping[str, Any] | None
    """Arguments of the cache to make; None for none."""
    cached_as: Mapping[str, str]
    """Cache name by group, for groups that share cached responses."""
    single_flight: bool
    on_event: Hook | None
    log_level: str | None

    def retries_for(self, group: str) -> RetryPolicy:
        return self.group_retries.get(group, self.retries)


def read_options(given: Mapping[str, Any]) -> Settings:
    """Check every parameter. Raises ConfigurationError that names it, the value's shape and the fix."""
    options = {name: value for name, value in given.items() if value is not None}
    check_router(options, RouterOptions.__annotations__)
    retries = RetryPolicy(
        retries=whole_number("num_retries", options.get("num_retries", 2)),
        retry_after_min=seconds("retry_after", options.get("retry_after", 0)),
    )
    retries, group_retries = read_retries(retries, options.get("retry_policy"), options.get("model_group_retry_policy"))
    timeouts_of(options.get("timeout"), False), timeouts_of(options.get("stream_timeout"), True)
    return Settings(
        retries=retries,
        group_retries=group_retries,
        retry_budget=None if "retry_budget" in given and given["retry_budget"] is None else _share("retry_budget", options, 0.08),
        hedge=_hedge(options.get("hedge")),
        cooldown=_cooldown(options),
        checks=_health_checks(options),
        provider_budgets=read_budgets(options.get("provider_budget_config", {}), "provider_budget_config"),
        tag_budgets=read_budgets(options.get("tag_budget_config", {}), "tag_budget_config"),
        fallbacks=read_fallbacks(
            options.get("fallbacks"),
            context_window=options.get("context_window_fallbacks"),
            content_policy=options.get("content_policy_fallbacks"),
            default=options.get("default_fallbacks"),
            most=whole_number("max_fallbacks", options.get("max_fallbacks", 5)),
        ),
        ways=read_ways(options),
        may_fall_back=_checks(options),
        passes_through=_passes_through(options.get("router_general_settings")),
        tag_prefix=_text("tag_routing_prefix", options.get("tag_routing_prefix", "")),
        timeout=options.get("timeout"),
        stream_timeout=options.get("stream_timeout"),
        max_wait=seconds("max_wait", options["max_wait"]) if "max_wait" in options else None,
        max_queue=whole_number("max_queue", options["max_queue"]) if "max_queue" in options else None,
        priority=whole_number("default_priority", options["default_priority"]) if "default_priority" in options else None,
        parallel=_parallel(options),
        aliases=options.get("model_group_alias"),
        defaults=_defaults(options),
        affinity_seconds=seconds("deployment_affinity_ttl_seconds", options.get("deployment_affinity_ttl_seconds", 3600)),
        continues=_flag("stream_failover", options, usual=True),
        checks_window=_flag("enable_pre_call_checks", options),
        by_tags=_flag("enable_tag_filtering", options),
        any_tag=_flag("tag_filtering_match_any", options, usual=True),
        lenient=_flag("ignore_invalid_deployments", options),
        keyless=options.get("require_keys") is False,
        store=_store(options),
        cache=_cache(options),
        cache_arguments=_cache_arguments(options),
        cached_as=_cached_as(options.get("caching_groups", ())),
        single_flight=_flag("single_flight", options),
        on_event=_hook(options.get("on_event")),
        log_level=_log_level(options),
    )


def _defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """`default_litellm_params` without what only `Router.chat` uses."""
    given = _mapping("default_litellm_params", options.get("default_litellm_params", {}))
    return {name: value for name, value in given.items() if name not in ("model", "acompletion")}


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What litellm calls a Router's settings: the given value or the default of each."""
    return {name: usual if given.get(name) is None else given[name] for name, usual in _SETTINGS.items()}


def parameter_of(given: Mapping[str, Any], name: str) -> Any:
    """The given value of one parameter, or its default; None for what is off by default."""
    return (_SETTINGS | _USUAL).get(name) if given.get(name) is None else given[name]


_USUAL: Final[dict[str, Any]] = {
    "max_fallbacks": 5, "default_litellm_params": {}, "enable_pre_call_checks": False, "tag_filtering_match_any": True,
    "cache_responses": False, "cache_kwargs": {}, "set_verbose": False, "debug_level": "INFO", "ignore_invalid_deployments": False,
    "deployment_affinity_ttl_seconds": 3600, "enable_health_check_routing": False,
}  # fmt: skip

_SETTINGS: Final[dict[str, Any]] = {
    "routing_strategy": "headroom", "routing_strategy_args": {}, "routing_groups": [], "num_retries": 2, "retry_after": 0,
    "retry_policy": None, "model_group_retry_policy": {}, "timeout": None, "allowed_fails": None,
    "cooldown_time": CooldownPolicy().cooldown, "fallbacks": [], "context_window_fallbacks": [], "content_policy_fallbacks": [],
    "model_group_alias": {}, "enable_weighted_failover": True, "enable_tag_filtering": False, "tag_routing_prefix": "",
}  # fmt: skip


def _cooldown(options: Mapping[str, Any]) -> CooldownPolicy:
    policy = CooldownPolicy(disabled=_flag("disable_cooldowns", options), panic=_share("panic_threshold", options, 0.2))
    if "cooldown_time" in options:
        policy = msgspec.structs.replace(policy, cooldown=seconds("cooldown_time", options["cooldown_time"]))
    if "allowed_fails" in options:
        policy = msgspec.structs.replace(policy, allowed_fails=whole_number("allowed_fails", options["allowed_fails"]))
    counts: Mapping[Kind, int] = {}
    if "allowed_fails_policy" in options:
        counts = by_kind(options["allowed_fails_policy"], "AllowedFails", "allowed_fails_policy")
    return msgspec.structs.replace(policy, by_kind=counts)


def _checks(options: Mapping[str, Any]) -> tuple[Check, ...]:
    given = {name: options[name] for name in ("fallback_access_check", "fallback_budget_check") if name in options}
    for name, check in given.items():
        if not callable(check):
            raise ConfigurationError(f"{name} must be an async function of model, request_kwargs and llm_router, got {shape(check)}")
    return tuple(given.values())


def _passes_through(given: Any) -> bool:
    """Read litellm's RouterGeneralSettings. `async_only_mode` has no effect: no client is made before it is needed."""
    dump = getattr(given, "model_dump", None)
    fields = _mapping("router_general_settings", dump() if dump is not None else {} if given is None else given)
    if unknown := set(fields) - {"async_only_mode", "pass_through_all_models"}:
        raise ConfigurationError(f"router_general_settings has no {min(unknown)!r}; known: async_only_mode, pass_through_all_models")
    return bool(fields.get("pass_through_all_models"))


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise ConfigurationError(f"{name} must be a string, got {shape(given)}")
    return given


def _log_level(options: Mapping[str, Any]) -> str | None:
    """The level at which calls are logged; None if `set_verbose` is off."""
    level = _text("debug_level", options.get("debug_level", "INFO")).upper()
    if level not in ("INFO", "DEBUG"):
        raise ConfigurationError(f"debug_level must be 'INFO' or 'DEBUG', got {shape(options.get('debug_level'))}")
    return level if _flag("set_verbose", options) else None


def _health_checks(options: Mapping[str, Any]) -> CheckPolicy:
    wanted = "health_check_interval" in options or _flag("enable_health_check_routing", options)
    details = ("health_check_staleness_threshold", "health_check_ignore_transient_errors", "background_health_check_model_groups")
    if not wanted:
        for name in details:
            if options.get(name):
                raise ConfigurationError(f"{name} is for health checks, which are off: set health_check_interval, in seconds")
        return CheckPolicy()
    interval = seconds("health_check_interval", options.get("health_check_interval", 300.0))
    if interval == 0:
        raise ConfigurationError("health_check_interval must be a number of seconds above 0, got the number 0")
    groups = options.get("background_health_check_model_groups")
    if groups is not None and (isinstance(groups, str) or not isinstance(groups, Sequence | set | frozenset)):
        raise ConfigurationError(f"background_health_check_model_groups must be a list of model group names, got {shape(groups)}")
    return CheckPolicy(
        interval,
        seconds("health_check_staleness_threshold", options.get("health_check_staleness_threshold") or 2 * interval),
        routes=_flag("enable_health_check_routing", options, usual=True),
        forgiving=_flag("health_check_ignore_transient_errors", options),
        groups=None if groups is None else frozenset(map(str, groups)),
    )


def _parallel(options: Mapping[str, Any]) -> int | None:
    given = options.get("default_max_parallel_requests")
    return None if given is None else whole_number("default_max_parallel_requests", given, least=1)


_STORE: Final = ("redis_url", "redis_host", "redis_port", "redis_password", "redis_db")


def _store(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {name.removeprefix("redis_"): options[name] for name in _STORE if name in options}
    if found and not found.get("url") and not found.get("host"):
        raise ConfigurationError("a shared store needs redis_url or redis_host; redis_port, redis_password and redis_db only add to them")
    return found


def _cache(options: Mapping[str, Any]) -> Any:
    given = options.get("cache")
    if given is not None and not callable(getattr(given, "answer", None)):
        raise ConfigurationError(f"cache must be a headrace.Cache, got {shape(given)}")
    return given


def _cache_arguments(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments of the cache that `cache_responses` asks for; by default it uses the store that shares the limits."""
    if not _flag("cache_responses", options) or options.get("cache") is not None:
        return None
    given = _mapping("cache_kwargs", options.get("cache_kwargs", {}))
    store = {} if "type" in given else _store(options)
    return {**({"type": "redis"} | store if store else {}), **given}


def _cached_as(groups: Any) -> dict[str, str]:
    if (
        not isinstance(groups, Sequence)
        or isinstance(groups, str)
        or any(not isinstance(some, Sequence | set | frozenset) or isinstance(some, str) for some in groups)
    ):
        raise ConfigurationError(f"caching_groups must be a list of tuples of group names, got {shape(groups)}")
    return {str(name): min(map(str, some)) for some in groups for name in some}


def _hedge(given: Any) -> float | None:
    if given is None or given is False:
        return None
    return _share("hedge", {"hedge": HEDGED if given is True else given}, HEDGED) or None


def _hook(given: Any) -> Hook | None:
    if given is not None and not callable(given):
        raise ConfigurationError(f"on_event must be a function of one event, got {shape(given)}")
    return given  # type: ignore[no-any-return]


def _flag(name: str, options: Mapping[str, Any], *, usual: bool = False) -> bool:
    return flag(name, options.get(name, usual))


def _share(name: str, options: Mapping[str, Any], usual: float) -> float:
    given = options.get(name, usual)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise ConfigurationError(f"{name} must be a share from 0 to 1, got {shape(given)}")
    return float(given)


def _mapping(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{name} must be a mapping, got {shape(given)}")
    return dict(given)
