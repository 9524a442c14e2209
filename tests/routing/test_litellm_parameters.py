"""Every parameter of litellm's Router (1.106.2) and of its deployments does what it says, or is rejected by name with what to use instead.

The effect of a parameter is tested with the simulator in virtual time; `ELSEWHERE` names the test if another one covers it.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.scenes.stage import Stage, provider

from headrace.errors import BadRequestError, ConfigurationError, ContextWindowExceededError, Timeout

TESTS: Final = Path(__file__).parents[1]

SIGNATURE: Final = {
    "model_list", "assistants_config", "search_tools", "guardrail_list", "redis_url", "redis_host", "redis_port", "redis_password",
    "redis_db", "cache_responses", "cache_kwargs", "caching_groups", "client_ttl", "polling_interval", "default_priority",
    "num_retries", "max_fallbacks", "timeout", "stream_timeout", "default_litellm_params", "default_max_parallel_requests",
    "set_verbose", "debug_level", "default_fallbacks", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
    "model_group_alias", "enable_pre_call_checks", "enable_tag_filtering", "tag_filtering_match_any", "tag_routing_prefix", "plugins",
    "retry_after", "retry_policy", "model_group_retry_policy", "allowed_fails", "allowed_fails_policy", "cooldown_time",
    "disable_cooldowns", "routing_strategy", "optional_pre_call_checks", "routing_strategy_args", "routing_groups",
    "provider_budget_config", "alerting_config", "router_general_settings", "deployment_affinity_ttl_seconds",
    "model_group_affinity_config", "ignore_invalid_deployments", "enable_health_check_routing", "health_check_staleness_threshold",
    "health_check_ignore_transient_errors", "background_health_check_model_groups", "enable_weighted_failover",
    "fallback_access_check", "fallback_budget_check", "auto_router_capability_limit",
}  # fmt: skip
"""Of `litellm.Router.__init__` in 1.106.2, read from its source on 2026-11-28."""

REFUSED: Final[Mapping[str, Any]] = {
    "assistants_config": {"custom_llm_provider": "azure"}, "search_tools": [{"search_tool_name": "x"}], "guardrail_list": [{}],
    "client_ttl": 60, "polling_interval": 0.5, "plugins": [object()], "alerting_config": {"webhook_url": "http://127.0.0.1"},
    "auto_router_capability_limit": 3,
}  # fmt: skip
"""With a value that asks for something."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "redis_url": "client/test_shared_limits.py",
    "redis_host": "runtime/test_redis_address.py", "redis_port": "runtime/test_redis_address.py",
    "redis_password": "runtime/test_redis_address.py", "redis_db": "runtime/test_redis_address.py",
    "cache_responses": "client/test_caching.py", "cache_kwargs": "client/test_caching.py", "caching_groups": "client/test_caching.py",
    "default_litellm_params": "client/test_router.py::test_parameters_of_a_deployment_stand_unless_the_caller_gives_his_own",
    "timeout": "client/test_timeouts.py::test_the_first_token",
    "stream_timeout": "client/test_timeouts.py::test_a_stream_has_its_own_limit_and_a_call_over_its_router",
    "model_list": "client/test_router.py::test_the_users_own_form",
    "model_group_alias": "client/test_router.py::test_an_alias_reaches_its_group",
    "max_fallbacks": "scenes/test_outages.py::test_max_fallbacks_bounds_a_chain",
    "enable_pre_call_checks": "scenes/test_outages.py::test_without_a_fallback_for_long_prompts_the_caller_gets_the_error",
    "provider_budget_config": "scenes/test_provider_budgets.py::test_when_all_provider_budgets_are_spent_the_error_names_them",
    "enable_health_check_routing": "scenes/test_health_checks.py::test_checks_may_only_report",
    "health_check_staleness_threshold": "scenes/test_health_checks.py::test_the_result_of_a_check_expires",
    "health_check_ignore_transient_errors": "scenes/test_health_checks.py::test_a_check_that_times_out_can_be_ignored",
    "background_health_check_model_groups":
        "scenes/test_health_checks.py::test_only_named_groups_are_checked_and_no_excluded_deployment",
    "retry_policy": "scenes/test_outages.py::test_a_retry_policy_by_kind_of_failure_is_followed",
}  # fmt: skip

Check = Callable[[], None]
SHOWN: dict[str, Check] = {}
"""Parameters, and what shows that they do what they say."""


def shows(*names: str) -> Callable[[Check], Check]:
    def note(check: Check) -> Check:
        SHOWN.update(dict.fromkeys(names, check))
        return check

    return note


DEAD = {"kind": "status", "status": 503}
SERVER_ERROR = {"kind": "status", "status": 500}


def two(*, faults_of_a: tuple[Any, ...] = (), groups: tuple[str, str] = ("gpt", "gpt"), params: Any = None, **options: Any) -> Stage:
    """Two deployments, a and b. params: `litellm_params` of each by name."""
    stage = Stage(provider("a", faults=faults_of_a), provider("b"))
    entries = [stage.deployment(name, group=group, **((params or {}).get(name) or {})) for name, group in zip("ab", groups, strict=True)]
    stage.open(*entries, **options)
    return stage


def requests(stage: Stage, name: str) -> int:
    return int(stage.providers.stats()[name]["requests"])


# ---- a Router's own --------------------------------------------------------------------------------------------------


@shows("num_retries")
def _further_attempts_are_counted() -> None:
    for retries in (0, 3):
        stage = Stage(provider("a", faults=(SERVER_ERROR,)))
        stage.open(stage.deployment("a"), num_retries=retries)
        stage.send()
        stage.run()
        assert requests(stage, "a") == 1 + retries


@shows("model_group_retry_policy")
def _a_group_has_its_own_retries() -> None:
    stage = two(faults_of_a=(SERVER_ERROR,), groups=("a", "b"), model_group_retry_policy={"a": {"InternalServerErrorRetries": 4}})
    stage.send(model="a")
    stage.run()
    assert requests(stage, "a") == 5


@shows("retry_after")
def _a_retry_waits_at_least_so_long() -> None:
    stage = Stage(provider("a", faults=(SERVER_ERROR,)))
    stage.open(stage.deployment("a"), num_retries=1, retry_after=20)
    stage.send()
    stage.run()
    assert stage.log[0].done is not None
    assert stage.log[0].done >= 20


@shows("fallbacks", "default_fallbacks")
def _another_group_is_asked() -> None:
    for options in ({"fallbacks": [{"a": ["b"]}]}, {"default_fallbacks": ["b"]}):
        stage = two(faults_of_a=(DEAD,), groups=("a", "b"), num_retries=0, **options)  # type: ignore[arg-type]
        stage.send(model="a")
        stage.run()
        assert stage.log[0].by == "b"


@shows("context_window_fallbacks")
def _a_long_prompt_goes_to_its_own_group() -> None:
    params = {"a": {"max_input_tokens": 10}}
    options: dict[str, Any] = {"groups": ("a", "b"), "params": params, "enable_pre_call_checks": True}
    for fallbacks, by in ([{"a": ["b"]}], "b"), ([], None):
        stage = two(context_window_fallbacks=fallbacks, **options)
        stage.send(model="a")
        stage.run()
        assert stage.log[0].by == by
        assert by or isinstance(stage.log[0].error, ContextWindowExceededError)


@shows("content_policy_fallbacks")
def _refused_content_goes_to_its_own_group() -> None:
    stage = two(
        groups=("a", "b"), params={"a": {"mock_response": "litellm.ContentPolicyViolationError"}}, content_policy_fallbacks=[{"a": ["b"]}]
    )
    stage.send(model="a")
    stage.run()
    assert stage.log[0].by == "b"


@shows("cooldown_time")
def _a_failed_deployment_rests_so_long() -> None:
    stage = two(faults_of_a=(DEAD,), cooldown_time=30, routing_strategy="simple-shuffle")
    stage.offer(rate=2, until=29)
    stage.run()
    assert requests(stage, "a") == 1


@shows("disable_cooldowns")
def _or_it_does_not_rest() -> None:
    stage = two(faults_of_a=(DEAD,), cooldown_time=30, disable_cooldowns=True, routing_strategy="simple-shuffle", retry_budget=None)
    stage.offer(rate=2, until=29)
    stage.run()
    assert requests(stage, "a") > 10


@shows("allowed_fails", "allowed_fails_policy")
def _so_many_failures_are_let_pass() -> None:
    for options in ({"allowed_fails": 4}, {"allowed_fails_policy": {"ServiceUnavailableErrorAllowedFails": 4}}):
        stage = two(faults_of_a=(DEAD,), cooldown_time=300, routing_strategy="simple-shuffle", **options)  # type: ignore[arg-type]
        stage.offer(rate=2, until=60)
        stage.run()
        assert requests(stage, "a") == 5


@shows("default_priority")
def _calls_are_of_that_class() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a", max_parallel_requests=1), default_priority=2)
    stage.send(4)
    stage.send(1, priority=0)
    stage.run()
    order = sorted(stage.log, key=lambda served: served.done or 0.0)
    assert order.index(stage.log[-1]) == 1, "the first was on its way already"


@shows("default_max_parallel_requests")
def _so_many_are_in_flight() -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"), default_max_parallel_requests=3)
    stage.send(20)
    stage.run()
    assert stage.providers.stats()["a"]["max_in_flight"] == 3


@shows("enable_tag_filtering", "tag_filtering_match_any", "tag_routing_prefix")
def _tags_choose() -> None:
    params = {"a": {"tags": ["paid", "eu"]}, "b": {"tags": ["free"]}}
    stage = two(params=params, enable_tag_filtering=True, tag_routing_prefix="route:")
    for tags in (["route:free"], ["paid", "free"], ["!eu"], ["&eu"]):
        stage.send(tags=tags)
    stage.run()
    assert [served.by for served in stage.log][0::2] == ["b", "b"]
    assert stage.log[3].by == "a"
    strict = two(params=params, enable_tag_filtering=True, tag_filtering_match_any=False)
    strict.send(tags=["paid", "eu"])
    strict.send(tags=["paid", "free"])
    strict.run()
    assert strict.log[0].by == "a"
    assert isinstance(strict.log[1].error, BadRequestError)


@shows("routing_strategy")
def _a_strategy_chooses() -> None:
    stage = two(params={"a": {"weight": 0}, "b": {"weight": 1}}, routing_strategy="simple-shuffle")
    stage.send(20)
    stage.run()
    assert stage.by("b") == 20


@shows("routing_strategy_args")
def _its_arguments_count() -> None:
    def shares(**arguments: float) -> float:
        stage = Stage(provider("a", ttft=0.20), provider("b", ttft=0.21))
        entries = [stage.deployment(name) for name in "ab"]
        stage.open(*entries, routing_strategy="latency-based-routing", routing_strategy_args=arguments)
        stage.offer(rate=0.2, until=600)
        stage.run()
        return stage.by("b") / len(stage.log)

    assert shares(lowest_latency_buffer=5.0) > 0.3, "the slower one counts as equal"
    stage = two()
    for arguments, said in (
        ({"ttft_percentile": 0.9}, "ttft_percentile: leave it out"),
        ({"window": 3}, "has no 'window'; known: lowest_latency_buffer, ttl, max_latency_list_size"),
        ({"ttl": -1}, "ttl must be a number of at least 0"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            stage.open(stage.deployment("a"), routing_strategy="latency-based-routing", routing_strategy_args=arguments)
    with pytest.raises(ConfigurationError, match="ttl does not apply to 'usage-based-routing-v2'"):
        stage.open(stage.deployment("a"), routing_strategy="usage-based-routing-v2", routing_strategy_args={"ttl": 60})


@shows("routing_groups")
def _groups_of_groups_have_a_strategy_of_their_own() -> None:
    group = {"group_name": "both", "models": ["a", "b"], "routing_strategy": "priority", "model_priorities": {"a": 2, "b": 1}}
    stage = two(groups=("a", "b"), routing_groups=[group])
    stage.send(5, model="both")
    stage.run(until=10)
    assert stage.by("b") == 5
    stage.providers.control(provider="b", dies=True)
    stage.send(5, model="both")
    stage.run()
    assert stage.failed() == []
    assert stage.by("a") == 5
    weighted = {"group_name": "both", "models": ["a", "b"], "routing_strategy": "simple-shuffle"}
    stage = two(groups=("a", "b"), params={"a": {"weight": 0}}, routing_groups=[weighted])
    stage.send(10, model="both")
    stage.run()
    assert stage.by("b") == 10
    with pytest.raises(ConfigurationError, match=r"routing_groups: 'both' names 'c', which no deployment serves; known: 'a', 'b'"):
        two(groups=("a", "b"), routing_groups=[{**weighted, "models": ["a", "c"]}])
    with pytest.raises(ConfigurationError, match=r"routing_groups\[0\].model_priorities must have a number for each of 'a', 'b'"):
        two(groups=("a", "b"), routing_groups=[{**group, "model_priorities": {"a": 1}}])


@shows("optional_pre_call_checks", "deployment_affinity_ttl_seconds")
def _a_session_stays_for_a_while() -> None:
    checks = {"optional_pre_call_checks": ["session_affinity"], "deployment_affinity_ttl_seconds": 100}
    stage = two(**checks, routing_strategy="simple-shuffle")
    for when in range(0, 80, 4):
        stage.at(when, lambda: stage.send(session_id="s"))
    for when in range(1_000, 12_000, 500):
        stage.at(when, lambda: stage.send(session_id="s"))
    stage.run()
    assert len({served.by for served in stage.log[:20]}) == 1
    assert len({served.by for served in stage.log[20:]}) == 2, "forgotten in between"
    with pytest.raises(ConfigurationError, match="optional_pre_call_checks has no 'psychic'"):
        two(optional_pre_call_checks=["psychic"])


@shows("model_group_affinity_config")
def _a_group_has_its_own_affinity() -> None:
    stage = Stage(*(provider(name) for name in "abcd"))
    entries = [stage.deployment(name, group="sticky" if name in "ab" else "free") for name in "abcd"]
    config = {"sticky": ["deployment_affinity"]}
    stage.open(*entries, model_group_affinity_config=config, routing_strategy="simple-shuffle")
    for when in range(0, 100, 5):
        stage.at(when, lambda: stage.send(model="sticky", metadata={"user_api_key_hash": "k"}))
        stage.at(when, lambda: stage.send(model="free", metadata={"user_api_key_hash": "k"}))
    stage.run()
    by = [served.by for served in stage.log]
    assert len({name for name in by if name in ("a", "b")}) == 1
    assert {name for name in by if name in ("c", "d")} == {"c", "d"}


@shows("enable_weighted_failover")
def _others_of_the_group_come_before_other_groups() -> None:
    for value in (True, False):
        stage = Stage(provider("a", faults=(DEAD,)), provider("b"), provider("c"))
        entries = [stage.deployment("a", weight=1000), stage.deployment("b"), stage.deployment("c", group="other")]
        stage.open(*entries, fallbacks=[{"gpt": ["other"]}], routing_strategy="simple-shuffle", enable_weighted_failover=value)
        stage.send(10)
        stage.run()
        assert stage.by("b") == 10


@shows("fallback_access_check", "fallback_budget_check")
def _the_users_own_checks_stand_before_fallbacks() -> None:
    asked: list[Any] = []

    async def check(*, model: str, request_kwargs: Mapping[str, Any], llm_router: Any) -> bool:
        asked.append((model, request_kwargs.get("tenant"), llm_router))
        return model == "c"

    for name in ("fallback_access_check", "fallback_budget_check"):
        stage = Stage(provider("a", faults=(DEAD,)), provider("b"), provider("c"))
        entries = [stage.deployment(one, group=one) for one in "abc"]
        router = stage.open(*entries, fallbacks=[{"a": ["b", "c"]}], num_retries=0, **{name: check})
        stage.send(model="a", tenant="anna")
        stage.run()
        assert stage.log[0].by == "c"
        assert requests(stage, "b") == 0
        assert asked[-2:] == [("b", "anna", router), ("c", "anna", router)]
    stage = two(faults_of_a=(DEAD,), groups=("a", "b"), fallbacks=[{"a": ["b"]}], num_retries=0, fallback_access_check=check)
    stage.send(model="a")
    stage.run()
    assert stage.log[0].error is not None, "there is nobody else"


@shows("ignore_invalid_deployments")
def _what_cannot_work_is_left_out() -> None:
    stage = Stage(provider("a"))
    wrong = {"model_name": "gpt", "litellm_params": {"model": "opnai/x", "rpm": -1}}
    router = stage.open(stage.deployment("a"), wrong, ignore_invalid_deployments=True)
    assert router.get_model_ids() == ["a"]
    with pytest.raises(ConfigurationError):
        stage.open(stage.deployment("a"), wrong)


@shows("router_general_settings")
def _unknown_models_are_passed_through() -> None:
    for settings, passes in ({"pass_through_all_models": True, "async_only_mode": True}, True), ({"async_only_mode": True}, False):
        stage = Stage(provider("a"))
        router = stage.open(stage.deployment("a"), router_general_settings=settings)
        call = router.acompletion(
            "openai/gpt-sim", [{"role": "user", "content": "hi"}], api_key="sk-a", base_url=stage.providers.url("a"), max_tokens=5
        )
        if passes:
            assert stage.world.complete(call).choices[0].message.content
        else:
            with pytest.raises(BadRequestError, match="no deployment serves"):
                stage.world.complete(call)
    with pytest.raises(ConfigurationError, match="router_general_settings has no 'asynch'"):
        stage.open(stage.deployment("a"), router_general_settings={"asynch": True})


@shows("set_verbose", "debug_level")
def _the_log_tells_of_every_call() -> None:
    logger = logging.getLogger("headrace")
    before, seen = (logger.level, list(logger.handlers)), []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append((record.levelname, record.getMessage()))  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        for options in ({}, {"set_verbose": True}, {"set_verbose": True, "debug_level": "DEBUG"}):
            logger.setLevel(logging.WARNING)
            stage = Stage(provider("a"))
            stage.open(stage.deployment("a"), **options)
            stage.send()
            stage.run()
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]
    told = [message for level, message in seen if level == "INFO"]
    assert len(told) == 2
    assert told[0].startswith("gpt on a after")
    with pytest.raises(ConfigurationError, match="debug_level must be 'INFO' or 'DEBUG'"):
        two(debug_level="LOUD")


# ---- a deployment's --------------------------------------------------------------------------------------------------

PARAMS: Final = {
    "model", "custom_llm_provider", "tpm", "rpm", "itpm", "otpm", "order", "weight", "max_parallel_requests", "api_key", "api_base",
    "api_version", "timeout", "stream_timeout", "timeout_by_service_tier", "stream_timeout_by_service_tier", "max_retries",
    "num_retries", "drop_params", "organization", "region_name", "tags", "tag_regex", "max_budget", "budget_duration",
    "cooldown_time", "mock_response", "input_cost_per_token", "output_cost_per_token", "input_cost_per_second",
    "output_cost_per_second", "use_in_pass_through", "configurable_clientside_auth_params", "litellm_credential_name",
    "provider_affinity_header", "max_file_size_mb", "default_api_key_tpm_limit", "default_api_key_rpm_limit", "keepalive_seconds",
    "allow_client_keepalive_override", "use_litellm_proxy", "use_chat_completions_api", "use_xai_oauth", "fireworks_forward_user_id",
    "merge_reasoning_content_in_choices", "auto_router_config_path", "auto_router_config", "auto_router_default_model",
    "auto_router_embedding_model", "auto_router_max_input_chars", "complexity_router_config", "complexity_router_default_model",
    "adaptive_router_default_model", "adaptive_router_config", "quality_router_config", "quality_router_default_model",
    "vector_store_id", "milvus_text_field", "milvus_db_name", "milvus_partition_names", "valkey_host", "valkey_port",
    "vertex_project", "vertex_location", "vertex_credentials", "aws_access_key_id", "aws_secret_access_key", "aws_region_name",
    "azure_ad_token",
}  # fmt: skip
"""Of `litellm.types.router.GenericLiteLLMParams` in 1.106.2 and of its Router, read from the source on 2026-11-28."""

NOT_OFFERED: Final = {
    "configurable_clientside_auth_params", "litellm_credential_name", "provider_affinity_header", "max_file_size_mb",
    "default_api_key_tpm_limit", "default_api_key_rpm_limit", "keepalive_seconds", "allow_client_keepalive_override", "use_litellm_proxy",
    "use_chat_completions_api", "use_xai_oauth", "fireworks_forward_user_id", "merge_reasoning_content_in_choices", "vector_store_id",
    *(name for name in PARAMS if name.startswith(("auto_router_", "complexity_", "adaptive_", "quality_", "milvus_", "valkey_"))),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PARAMS - NOT_OFFERED))
def test_a_deployments_parameter_never_reaches_the_body_unless_the_provider_knows_it(name: str) -> None:
    """Symptom: what the Router had no meaning for was sent to the provider."""
    from headrace.models.cost import is_price
    from headrace.routing.plan import _CALL, _FACTS, _OWN

    assert name in _OWN | _CALL | _FACTS or is_price(name)


@pytest.mark.parametrize("name", sorted(NOT_OFFERED))
def test_a_deployments_parameter_that_means_nothing_is_refused_by_name(name: str) -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=rf"model_list\[0\].litellm_params.{name} is not supported: .+"):
        stage.open(stage.deployment("a", **{name: ["x"]}))
    stage.open(stage.deployment("a", **{name: None}))


@pytest.mark.parametrize("name", ["access_windows", "team_public_model_name", "allow_fail_open", "enable_tag_filtering"])
def test_model_info_that_would_be_ignored_is_refused_by_name(name: str) -> None:
    stage = Stage(provider("a"))
    entry = stage.deployment("a")
    with pytest.raises(ConfigurationError, match=rf"model_info.{name} is not supported: .+"):
        stage.open({**entry, "model_info": {name: True}})


def test_a_clouds_credential_that_nobody_knows_is_no_field_of_the_body() -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=r"aws_secret_acess_key is not a known credential; did you mean 'aws_secret_access_key'"):
        stage.open(stage.deployment("a", aws_secret_acess_key="x"))


def test_a_deployments_own_retries_are_counted() -> None:
    for name in ("num_retries", "max_retries"):
        stage = Stage(provider("a", faults=(SERVER_ERROR,)))
        stage.open(stage.deployment("a", **{name: 4}), num_retries=0)
        stage.send()
        stage.run()
        assert requests(stage, "a") == 5


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_service_tier_has_its_own_time(stream: bool) -> None:
    stage = Stage(provider("a", faults=({"kind": "hang"},)))
    name = "stream_timeout_by_service_tier" if stream else "timeout_by_service_tier"
    stage.open(stage.deployment("a", timeout=100, **{name: {"flex": 300, "priority": 7}}), num_retries=0)
    for tier in ("flex", "priority", "default", None):
        stage.send(stream=stream, service_tier=tier)
    stage.run()
    assert all(isinstance(served.error, Timeout) for served in stage.log)
    assert [round((served.done or 0) - served.sent) for served in stage.log] == [300, 7, 100, 100]


def test_a_callers_program_chooses_by_a_pattern() -> None:
    stage = two(params={"a": {"tag_regex": ["^User-Agent: claude-code/"]}}, enable_tag_filtering=True)
    stage.send(5, metadata={"user_agent": "claude-code/2.1"})
    stage.send(5, metadata={"user_agent": "curl/8"})
    stage.run()
    assert [served.by for served in stage.log] == ["a"] * 5 + ["b"] * 5
    with pytest.raises(ConfigurationError, match="tag_regex must be a list of regular expressions"):
        two(params={"a": {"tag_regex": ["("]}})


def test_a_blocked_deployment_serves_nobody() -> None:
    stage = Stage(provider("a"), provider("b"))
    blocked = stage.deployment("a")
    stage.open({**blocked, "model_info": {"id": "a", "blocked": True}}, stage.deployment("b"))
    stage.send(10)
    stage.run()
    assert stage.by("b") == 10


# ---- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOWN)
def test_a_parameter_does_what_it_says(name: str) -> None:
    SHOWN[name]()


@pytest.mark.parametrize("name", REFUSED)
def test_a_parameter_that_means_nothing_is_refused_by_name(name: str) -> None:
    stage = Stage(provider("a"))
    with pytest.raises(ConfigurationError, match=f"Router has no {name}: .+"):
        stage.open(stage.deployment("a"), **{name: REFUSED[name]})


@pytest.mark.parametrize(("name", "usual"), [("client_ttl", 3600), ("polling_interval", 0.003), ("plugins", []), ("alerting_config", None)])
def test_what_litellm_has_by_default_asks_for_nothing(name: str, usual: Any) -> None:
    stage = Stage(provider("a"))
    stage.open(stage.deployment("a"), **{name: usual})


def test_an_unknown_parameter_is_refused_whatever_its_value() -> None:
    """Symptom: `num_retry=0` was taken and ignored."""
    stage = Stage(provider("a"))
    for value in (0, False, "", []):
        with pytest.raises(ConfigurationError, match="no parameter 'num_retry'; did you mean 'num_retries'"):
            stage.open(stage.deployment("a"), num_retry=value)


def test_every_parameter_of_litellms_router_is_in_the_table() -> None:
    assert sorted(SIGNATURE) == sorted([*SHOWN, *REFUSED, *ELSEWHERE])


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_is_shown_elsewhere_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    source = ast.parse((TESTS / path).read_text("utf-8"))
    names = {node.name for node in ast.walk(source) if isinstance(node, ast.FunctionDef)}
    assert name in names if name else names
